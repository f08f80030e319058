"""The global tables, in the primary region: the ledger and the directory; and what shows all."""

from aws_cdk import Environment, Stack
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from config.costs import HOURS_PER_MONTH
from config.schema import Deployment
from stacks.dashboards_construct import Dashboard
from stacks.lifetime import removal

TEXT = dynamodb.AttributeType.STRING
NUMBER = dynamodb.AttributeType.NUMBER
POINT_IN_TIME = dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=True)

BUDGET_SUBSCRIBERS_MAX = 10
"""Addresses of one notification (AWS Budgets API reference, "CreateNotification")."""


class DataStack(Stack):
    """What a deployment must not lose, replicated to all of its regions."""

    def __init__(self, scope: Construct, *, deployment: Deployment) -> None:
        super().__init__(
            scope,
            "Data",
            stack_name=f"{deployment.name}-Data",
            description=f"Spillway {deployment.name}: ledger and directory, in every region.",
            env=Environment(account=deployment.account, region=deployment.primary_region),
            termination_protection=deployment.retain,
        )
        self._ledger(deployment)
        self._directory(deployment)
        self._budget(deployment)
        if len(deployment.regions) > 1:
            Dashboard(self, "Dashboard", deployment=deployment, regions=deployment.regions)

    def _ledger(self, deployment: Deployment) -> None:
        """Jobs, releases and leases: one truth, strongly consistent between regions.

        It has no time to live and no local index, which strong tables refuse at deployment.
        """
        several = len(deployment.regions) > 1
        dynamodb.TableV2(
            self,
            "Ledger",
            table_name=deployment.names.ledger,
            partition_key=dynamodb.Attribute(name="pk", type=TEXT),
            global_secondary_indexes=[
                _by_age("live", partition="live", also=["tenant", "tier", "deadline_ms"]),
                _by_age("listing", partition="tenant_day", also=["request_hash"]),
            ],
            replicas=_replicas(deployment),
            multi_region_consistency=(dynamodb.MultiRegionConsistency.STRONG if several else None),
            witness_region=deployment.witness,
            point_in_time_recovery_specification=POINT_IN_TIME,
            removal_policy=removal(retain=deployment.retain),
        )

    def _directory(self, deployment: Deployment) -> None:
        """Tenants, keys and snapshots: read everywhere, eventually the same everywhere."""
        dynamodb.TableV2(
            self,
            "Directory",
            table_name=deployment.names.directory,
            partition_key=dynamodb.Attribute(name="pk", type=TEXT),
            replicas=_replicas(deployment),
            time_to_live_attribute="expires_s",
            point_in_time_recovery_specification=POINT_IN_TIME,
            removal_policy=removal(retain=deployment.retain),
        )

    def _budget(self, deployment: Deployment) -> None:
        """Who pays is told before the month is over: a limit at synth does not see prices change.

        It counts all of the account's SageMaker in the regions, by the service and not by tags,
        which somebody would have to activate for billing first.
        """
        if deployment.cost_hourly_max_usd is None:
            return
        monthly_usd = round(deployment.cost_hourly_max_usd * HOURS_PER_MONTH, 2)
        subscribers = [
            budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=address)
            for address in deployment.alarms.emails[:BUDGET_SUBSCRIBERS_MAX]
        ]
        told = [("ACTUAL", 80), ("FORECASTED", 100)] if subscribers else []
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=f"{deployment.name}-instances",
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=monthly_usd, unit="USD"),
                cost_filters={
                    "Service": ["Amazon SageMaker"],
                    "Region": list(deployment.regions),
                },
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        comparison_operator="GREATER_THAN",
                        notification_type=kind,
                        threshold=percent,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=subscribers,
                )
                for kind, percent in told
            ]
            or None,
        )


def _replicas(deployment: Deployment) -> list[dynamodb.ReplicaTableProps]:
    """The replicas beside the one in the stack's own region."""
    return [dynamodb.ReplicaTableProps(region=region) for region in deployment.regions[1:]]


def _by_age(
    name: str, *, partition: str, also: list[str] | None = None
) -> dynamodb.GlobalSecondaryIndexPropsV2:
    """An index by age. It repeats only attributes that never change: a change is a write more."""
    return dynamodb.GlobalSecondaryIndexPropsV2(
        index_name=name,
        partition_key=dynamodb.Attribute(name=partition, type=TEXT),
        sort_key=dynamodb.Attribute(name="created_ms", type=NUMBER),
        projection_type=(
            dynamodb.ProjectionType.INCLUDE if also else dynamodb.ProjectionType.KEYS_ONLY
        ),
        non_key_attributes=also,
    )
