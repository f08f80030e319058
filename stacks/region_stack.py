"""Everything of one region that does not belong to a single model."""

from pathlib import Path

from aws_cdk import CfnOutput, Duration, Environment, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from config.operator_alarms import of_region
from config.schema import Deployment
from stacks.acknowledgement import acknowledge
from stacks.alarms_construct import Alarms, AlarmsTopic
from stacks.api_construct import Api
from stacks.buckets import private_bucket, replicate
from stacks.dashboards_construct import Dashboard
from stacks.encryption import let_services_use, own_key
from stacks.firewall_construct import Firewall
from stacks.functions_construct import Functions, settings
from stacks.lifetime import LOG_RETENTION, removal
from stacks.messages_construct import Messages
from stacks.routing_stack import api_parameter


class RegionStack(Stack):
    """The gate, payloads, messages, functions, alarms and API of a region.

    Models are found by their names, never by reference, so that no change here reaches them.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        deployment: Deployment,
        region: str,
        code: Path,
        layer: Path,
    ) -> None:
        super().__init__(
            scope,
            f"Region-{region}",
            stack_name=f"{deployment.name}-Region-{region}",
            description=f"Spillway {deployment.name}: API and functions.",
            env=Environment(account=deployment.account, region=region),
            termination_protection=deployment.retain,
        )
        key = own_key(
            self,
            "Key",
            deployment=deployment,
            alias=deployment.names.key_alias,
            description=f"Payloads, messages, slots and logs of {deployment.name}.",
        )
        if key is not None:
            let_services_use(key, deployment=deployment, region=region)
        self._gate(deployment, key)
        self._payloads(deployment, region, key)
        self._endpoint_logs(deployment, key)
        messages = Messages(
            self,
            "Messages",
            deployment=deployment,
            key=key,
            timeouts_s={name: setting.timeout_s for name, setting in settings(deployment).items()},
        )
        AlarmsTopic(self, "AlarmsTopic", deployment=deployment, region=region, key=key)
        Alarms(
            self, "Alarms", deployment=deployment, region=region, of=of_region(deployment, region)
        )
        Dashboard(self, "Dashboard", deployment=deployment, regions=[region])
        functions = Functions(
            self,
            "Functions",
            deployment=deployment,
            region=region,
            code=lambda_.Code.from_asset(str(code)),
            layer=lambda_.Code.from_asset(str(layer)),
            key=key,
        ).functions
        concurrency = deployment.concurrency
        self._feed(functions["complete"], messages.results, batch=10, most=concurrency.complete)
        self._feed(functions["notify"], messages.webhooks, batch=1, most=20)
        self._feed(functions["record"], messages.deliveries, batch=10, most=5)
        # One of the reserved executions is for the tick, which is no message.
        self._feed(functions["beat"], messages.beats, batch=1, most=concurrency.beat - 1)
        self._tick(functions["beat"])
        self._tick(functions["sweep"])
        self._tick(functions["batches"])
        self._tick(functions["release"])
        self._hear_guards(deployment, functions["release"])
        api = Api(
            self,
            "Api",
            deployment=deployment,
            submit=functions["submit"],
            authorize=functions["authorize"],
            key=key,
        ).rest_api
        Firewall(self, "Firewall", deployment=deployment, stage_arn=api.deployment_stage.stage_arn)
        if deployment.domain is not None:
            ssm.StringParameter(
                self,
                "ApiId",
                parameter_name=api_parameter(deployment),
                string_value=api.rest_api_id,
                description="The API of this region, for its names in the domain.",
            )
        CfnOutput(self, "Url", value=api.url, description="Where clients send their jobs.")

    def _gate(self, deployment: Deployment, key: kms.IKey | None) -> None:
        """Slots, rates and credits: regional, and rebuilt from the ledger when lost.

        What tenants used is not: a gate that is lost takes its counters along.
        """
        table = dynamodb.Table(
            self,
            "Gate",
            table_name=deployment.names.gate,
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if key else None,
            encryption_key=key,
            time_to_live_attribute="expires_s",
            removal_policy=removal(retain=deployment.retain),
        )
        acknowledge(
            table,
            {
                "AwsSolutions-DDB3": "Slots are rebuilt from the ledger; a restored gate would "
                "hold slots of old jobs."
            },
        )

    def _payloads(self, deployment: Deployment, region: str, key: kms.IKey | None) -> None:
        """Inputs, uploads, results and failures; submit writes second copies of inputs itself."""
        bucket = private_bucket(
            self, "Payloads", deployment=deployment, name=deployment.names.bucket(region), key=key
        )
        others = [other for other in deployment.regions if other != region]
        after = deployment.region_after(region)
        # A job may be moved anywhere, and what it was uploaded with is too large to be brought.
        targets = {"uploads/": others}
        if after is not None:
            targets["outputs/"] = [after]
        if deployment.replicate_results and after is not None:
            targets["results/"] = [after]
        replicate(bucket, deployment=deployment, region=region, targets=targets)

    def _endpoint_logs(self, deployment: Deployment, key: kms.IKey | None) -> None:
        """What the containers of models print, kept here before their endpoints exist.

        SageMaker would make a log group that is kept for ever; and a log group knows a key by
        its id alone, which only this stack has. They go with their version, so that the same
        version can come back. This stack is deployed before the model's, so a version that is
        taken out prints to nowhere for its last minutes: what it printed goes with it anyway, and
        its role may not make a group that would be in the way of its return.
        """
        for model_name, model in deployment.models.items():
            for version in model.versions if model.state != "off" else ():
                endpoint = deployment.names.endpoint(model_name, version)
                logs.LogGroup(
                    self,
                    f"Log-{model_name}-{version}",
                    log_group_name=f"/aws/sagemaker/Endpoints/{endpoint}",
                    retention=LOG_RETENTION[deployment.log_retention_days],
                    encryption_key=key,
                    removal_policy=removal(retain=False),
                )

    def _feed(self, function: lambda_.Function, queue: sqs.Queue, *, batch: int, most: int) -> None:
        """Let a queue drive a function.

        The mapping never runs more executions than are reserved and used by nobody else: throttled
        messages would count as received, and end among the dead letters.
        """
        lambda_.EventSourceMapping(
            function,
            "Feed",
            target=function,
            event_source_arn=queue.queue_arn,
            batch_size=batch,
            max_concurrency=most,
            report_batch_item_failures=True,
        )

    def _hear_guards(self, deployment: Deployment, function: lambda_.Function) -> None:
        """Let release look at once when a guard alarm fires; what is missed it sees by its tick."""
        events.Rule(
            function,
            "Guards",
            event_pattern=events.EventPattern(
                source=["aws.cloudwatch"],
                detail_type=["CloudWatch Alarm State Change"],
                detail={
                    "alarmName": [{"prefix": f"{deployment.name}-guard-"}],
                    "state": {"value": ["ALARM"]},
                },
            ),
            targets=[
                targets.LambdaFunction(
                    function, max_event_age=Duration.minutes(1), retry_attempts=0
                )
            ],
        )

    def _tick(self, function: lambda_.Function) -> None:
        """Run a function every minute; a late tick is dropped, because the next one is near."""
        events.Rule(
            function,
            "Tick",
            schedule=events.Schedule.rate(Duration.minutes(1)),
            targets=[
                targets.LambdaFunction(
                    function, max_event_age=Duration.minutes(1), retry_attempts=0
                )
            ],
        )
