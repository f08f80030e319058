"""The functions of a region: their code, roles, logs and settings."""

from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from config.schema import Deployment
from stacks.lifetime import LOG_RETENTION, removal
from stacks.permissions import Permissions
from stacks.roles import Grant, role_of

RUNTIME = lambda_.Runtime.PYTHON_3_14
ARCHITECTURE = lambda_.Architecture.ARM_64


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one function runs.

    Attributes:
        memory_mb: Memory; processor time grows with it.
        timeout_s: Longest run.
        reserved: Executions at a time, guaranteed and bounded; none shares the account's.
        tick: Whether a late asynchronous event is worthless, because a newer one follows.
        continues: Whether the function calls itself, which Lambda stops after 16 calls otherwise.
    """

    memory_mb: int
    timeout_s: int
    reserved: int | None = None
    tick: bool = False
    continues: bool = False


def settings(deployment: Deployment) -> dict[str, Settings]:
    """The settings of every function."""
    reserved = deployment.concurrency
    judges = any(model.output and model.output.schema_ for model in deployment.models.values())
    return {
        "authorize": Settings(memory_mb=256, timeout_s=5),
        # API Gateway ends a request at 29 s; submit outlives the wait that it asks for.
        "submit": Settings(memory_mb=512, timeout_s=29),
        "wait": Settings(memory_mb=128, timeout_s=29, reserved=reserved.wait_open),
        "linger": Settings(memory_mb=128, timeout_s=29, reserved=reserved.wait_kept),
        "dispatch": Settings(
            memory_mb=256, timeout_s=60, reserved=reserved.dispatch, tick=True, continues=True
        ),
        # A batch of answers is held against JSON Schemas in half of its time, with more processor.
        "complete": Settings(
            memory_mb=1024 if judges else 256, timeout_s=30, reserved=reserved.complete
        ),
        "notify": Settings(memory_mb=256, timeout_s=30),
        "record": Settings(memory_mb=128, timeout_s=30),
        "beat": Settings(memory_mb=256, timeout_s=20, reserved=reserved.beat, tick=True),
        "sweep": Settings(memory_mb=256, timeout_s=58, reserved=reserved.sweep, tick=True),
        # One works on all batches of the region; a file of 200 MB is read and checked in one go.
        "batches": Settings(memory_mb=1769, timeout_s=300, reserved=1, tick=True),
        "release": Settings(memory_mb=256, timeout_s=30, reserved=reserved.release, tick=True),
    }


class Functions(Construct):
    """Every function of a region, by name in `functions`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        region: str,
        code: lambda_.Code,
        layer: lambda_.Code,
        key: kms.IKey | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._deployment = deployment
        self._permissions = Permissions(deployment, region)
        self._key = key
        self._code = code
        self._layer = lambda_.LayerVersion(
            self,
            "Dependencies",
            description=f"Dependencies of the functions of {deployment.name}.",
            code=layer,
            compatible_runtimes=[RUNTIME],
            compatible_architectures=[ARCHITECTURE],
        )
        self.functions: dict[str, lambda_.Function] = {
            name: self._function(name, setting) for name, setting in settings(deployment).items()
        }

    def _function(self, name: str, setting: Settings) -> lambda_.Function:
        within = Construct(self, name.capitalize())
        physical = self._deployment.names.function(name)
        log = logs.LogGroup(
            within,
            "Log",
            log_group_name=f"/aws/lambda/{physical}",
            retention=LOG_RETENTION[self._deployment.log_retention_days],
            encryption_key=self._key,
            removal_policy=removal(retain=self._deployment.retain),
        )
        write_log = Grant(
            actions=("logs:CreateLogStream", "logs:PutLogEvents"), resources=(log.log_group_arn,)
        )
        role: iam.Role = role_of(
            within,
            "Role",
            service="lambda.amazonaws.com",
            grants=[write_log, *self._permissions.of(name)],
        )
        function = lambda_.Function(
            within,
            "Function",
            function_name=physical,
            description=f"Spillway {self._deployment.name}: {name}.",
            runtime=RUNTIME,
            architecture=ARCHITECTURE,
            code=self._code,
            handler=f"lambdas.handlers.{name}.handle",
            layers=[self._layer],
            role=role,
            memory_size=setting.memory_mb,
            timeout=Duration.seconds(setting.timeout_s),
            reserved_concurrent_executions=setting.reserved,
            recursive_loop=lambda_.RecursiveLoop.ALLOW if setting.continues else None,
            environment={
                "SPILLWAY_FUNCTION": name,
                "POWERTOOLS_SERVICE_NAME": "spillway",
                "POWERTOOLS_LOG_LEVEL": "INFO",
            },
            log_group=log,
            # Lambda's own START, END and REPORT lines would be most of the bytes we pay for.
            logging_format=lambda_.LoggingFormat.JSON,
            application_log_level_v2=lambda_.ApplicationLogLevel.INFO,
            system_log_level_v2=lambda_.SystemLogLevel.WARN,
        )
        if setting.tick:
            lambda_.CfnEventInvokeConfig(
                within,
                "Invocation",
                function_name=function.function_name,
                qualifier="$LATEST",
                maximum_event_age_in_seconds=60,
                maximum_retry_attempts=0,
            )
        return function
