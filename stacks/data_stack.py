"""The global tables, in the primary region: the ledger and the directory."""

from aws_cdk import Environment, Stack
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from config.schema import Deployment
from stacks.lifetime import removal

TEXT = dynamodb.AttributeType.STRING
NUMBER = dynamodb.AttributeType.NUMBER
POINT_IN_TIME = dynamodb.PointInTimeRecoverySpecification(point_in_time_recovery_enabled=True)


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
                _by_age("listing", partition="tenant_day"),
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
