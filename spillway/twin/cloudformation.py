"""CloudFormation: a synthesized cloud assembly becomes stacks in moto.

moto's own CloudFormation resolves the templates and keeps the stacks, so that describe calls work.
Types that it lacks, or whose behaviour the twin adds, are created by the twin's services. Nothing
is skipped: a type or property that is not in `SUPPORTED`, `BY_MOTO` or `NO_EFFECT` is an error
that names it, found in every template before anything is created.
"""

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

from moto.cloudformation import parsing
from moto.cloudformation.models import Stack, cloudformation_backends
from moto.core.exceptions import ServiceException
from moto.ssm.models import ssm_backends
from werkzeug.exceptions import HTTPException

from spillway.twin.resources import Deploy, Resource, UnsupportedError

SUPPORTED: Final[Mapping[str, str]] = {
    "AWS::ApiGateway::Account": "CloudWatchRoleArn",
    "AWS::ApiGateway::Authorizer": "AuthorizerResultTtlInSeconds AuthorizerUri IdentitySource "
    "IdentityValidationExpression Name RestApiId Type",
    "AWS::ApiGateway::BasePathMapping": "DomainName RestApiId Stage",
    "AWS::ApiGateway::Deployment": "Description RestApiId",
    "AWS::ApiGateway::DomainName": "DomainName EndpointConfiguration RegionalCertificateArn "
    "SecurityPolicy Tags",
    "AWS::ApiGateway::GatewayResponse": "ResponseParameters ResponseTemplates ResponseType "
    "RestApiId StatusCode",
    "AWS::ApiGateway::Method": "ApiKeyRequired AuthorizationType AuthorizerId HttpMethod "
    "Integration OperationName RequestModels RequestParameters RequestValidatorId ResourceId "
    "RestApiId MethodResponses",
    "AWS::ApiGateway::Model": "ContentType Description Name RestApiId Schema",
    "AWS::ApiGateway::RequestValidator": "Name RestApiId ValidateRequestBody "
    "ValidateRequestParameters",
    "AWS::ApiGateway::Resource": "ParentId PathPart RestApiId",
    "AWS::ApiGateway::RestApi": "BinaryMediaTypes Description DisableExecuteApiEndpoint "
    "EndpointConfiguration MinimumCompressionSize Name Policy Tags",
    "AWS::ApiGateway::Stage": "AccessLogSetting DeploymentId Description MethodSettings RestApiId "
    "StageName Tags TracingEnabled Variables",
    "AWS::ApplicationAutoScaling::ScalableTarget": "MaxCapacity MinCapacity ResourceId RoleARN "
    "ScalableDimension ScheduledActions.EndTime ScheduledActions.ScalableTargetAction.MaxCapacity "
    "ScheduledActions.ScalableTargetAction.MinCapacity ScheduledActions.Schedule "
    "ScheduledActions.ScheduledActionName ScheduledActions.StartTime ScheduledActions.Timezone "
    "ServiceNamespace SuspendedState.DynamicScalingInSuspended "
    "SuspendedState.DynamicScalingOutSuspended SuspendedState.ScheduledScalingSuspended",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "PolicyName PolicyType ResourceId "
    "ScalableDimension ScalingTargetId ServiceNamespace "
    "StepScalingPolicyConfiguration.AdjustmentType StepScalingPolicyConfiguration.Cooldown "
    "StepScalingPolicyConfiguration.MetricAggregationType "
    "StepScalingPolicyConfiguration.MinAdjustmentMagnitude "
    "StepScalingPolicyConfiguration.StepAdjustments.MetricIntervalLowerBound "
    "StepScalingPolicyConfiguration.StepAdjustments.MetricIntervalUpperBound "
    "StepScalingPolicyConfiguration.StepAdjustments.ScalingAdjustment "
    + " ".join(
        f"TargetTrackingScalingPolicyConfiguration.{name}"
        for name in (
            "CustomizedMetricSpecification.Dimensions",
            "CustomizedMetricSpecification.MetricName",
            "CustomizedMetricSpecification.Metrics.Expression",
            "CustomizedMetricSpecification.Metrics.Id",
            "CustomizedMetricSpecification.Metrics.Label",
            "CustomizedMetricSpecification.Metrics.MetricStat.Metric",
            "CustomizedMetricSpecification.Metrics.MetricStat.Stat",
            "CustomizedMetricSpecification.Metrics.ReturnData",
            "CustomizedMetricSpecification.Namespace",
            "CustomizedMetricSpecification.Statistic",
            "DisableScaleIn",
            "PredefinedMetricSpecification.PredefinedMetricType",
            "ScaleInCooldown",
            "ScaleOutCooldown",
            "TargetValue",
        )
    ),
    "AWS::CloudWatch::Alarm": "ActionsEnabled AlarmActions AlarmDescription AlarmName "
    "ComparisonOperator DatapointsToAlarm Dimensions EvaluateLowSampleCountPercentile "
    "EvaluationPeriods ExtendedStatistic InsufficientDataActions MetricName Metrics.Expression "
    "Metrics.Id Metrics.Label Metrics.MetricStat.Metric Metrics.MetricStat.Period "
    "Metrics.MetricStat.Stat Metrics.Period Metrics.ReturnData Namespace OKActions Period "
    "Statistic Tags Threshold TreatMissingData "
    "WarmUpConfiguration.OnlyStartEvaluatingAfterWarmUpPeriodEnds "
    "WarmUpConfiguration.WarmUpPeriodDurationInMinutes",
    "AWS::CloudWatch::CompositeAlarm": "ActionsEnabled AlarmActions AlarmDescription AlarmName "
    "AlarmRule InsufficientDataActions OKActions Tags",
    "AWS::DynamoDB::GlobalTable": "AttributeDefinitions BillingMode GlobalSecondaryIndexes "
    "GlobalTableWitnesses KeySchema LocalSecondaryIndexes MultiRegionConsistency "
    "Replicas.DeletionProtectionEnabled Replicas.GlobalSecondaryIndexes.IndexName "
    "Replicas.PointInTimeRecoverySpecification Replicas.Region Replicas.SSESpecification "
    "Replicas.Tags SSESpecification StreamSpecification TableName TimeToLiveSpecification",
    "AWS::DynamoDB::Table": "AttributeDefinitions BillingMode DeletionProtectionEnabled "
    "GlobalSecondaryIndexes KeySchema LocalSecondaryIndexes PointInTimeRecoverySpecification "
    "SSESpecification TableName Tags TimeToLiveSpecification",
    "AWS::Events::Rule": "Description EventPattern Name ScheduleExpression State Targets",
    "AWS::Lambda::EventInvokeConfig": "FunctionName MaximumEventAgeInSeconds "
    "MaximumRetryAttempts Qualifier",
    "AWS::Lambda::EventSourceMapping": "BatchSize Enabled EventSourceArn FunctionName "
    "FunctionResponseTypes MaximumBatchingWindowInSeconds ScalingConfig Tags",
    # Architecture, layers, logging and tracing make no difference where Python is already there,
    # and loops are not looked for.
    "AWS::Lambda::Function": "Architectures Code Description Environment EphemeralStorage "
    "FunctionName Handler KmsKeyArn Layers LoggingConfig MemorySize ReservedConcurrentExecutions "
    "RecursiveLoop Role Runtime Tags Timeout TracingConfig",
    "AWS::Route53::HealthCheck": "HealthCheckConfig.EnableSNI HealthCheckConfig.FailureThreshold "
    "HealthCheckConfig.FullyQualifiedDomainName HealthCheckConfig.Port "
    "HealthCheckConfig.RequestInterval HealthCheckConfig.ResourcePath HealthCheckConfig.Type "
    "HealthCheckTags",
    "AWS::Route53::RecordSet": "AliasTarget.DNSName AliasTarget.EvaluateTargetHealth "
    "AliasTarget.HostedZoneId Failover HealthCheckId HostedZoneId Name Region SetIdentifier Type",
    # Who may read a bucket makes no difference where nobody is refused.
    "AWS::S3::Bucket": "BucketEncryption BucketName LifecycleConfiguration.Rules.Id "
    "LifecycleConfiguration.Rules.AbortIncompleteMultipartUpload "
    "LifecycleConfiguration.Rules.ExpirationInDays LifecycleConfiguration.Rules.Prefix "
    "LifecycleConfiguration.Rules.ExpiredObjectDeleteMarker "
    "LifecycleConfiguration.Rules.NoncurrentVersionExpiration.NoncurrentDays "
    "LifecycleConfiguration.Rules.Status OwnershipControls PublicAccessBlockConfiguration "
    "ReplicationConfiguration.Role ReplicationConfiguration.Rules.DeleteMarkerReplication "
    "ReplicationConfiguration.Rules.Destination.Bucket "
    "ReplicationConfiguration.Rules.Destination.EncryptionConfiguration "
    "ReplicationConfiguration.Rules.Filter.Prefix ReplicationConfiguration.Rules.Id "
    "ReplicationConfiguration.Rules.Priority "
    "ReplicationConfiguration.Rules.SourceSelectionCriteria "
    "ReplicationConfiguration.Rules.Status Tags VersioningConfiguration",
    "AWS::SNS::Subscription": "Endpoint Protocol RawMessageDelivery TopicArn",
    "AWS::SageMaker::Endpoint": "EndpointConfigName EndpointName RetainAllVariantProperties Tags",
    "AWS::SageMaker::EndpointConfig": "AsyncInferenceConfig EndpointConfigName KmsKeyId "
    "ProductionVariants Tags",
    "AWS::SageMaker::Model": "EnableNetworkIsolation ExecutionRoleArn ModelName "
    "PrimaryContainer Tags VpcConfig",
}
"""What the twin's services run, by type: properties, with dots where not all of one is run."""

BY_MOTO: Final[Mapping[str, str]] = {
    "AWS::IAM::ManagedPolicy": "Description ManagedPolicyName Path PolicyDocument Roles",
    "AWS::IAM::Policy": "PolicyDocument PolicyName Roles",
    "AWS::IAM::Role": "AssumeRolePolicyDocument Description ManagedPolicyArns MaxSessionDuration "
    "Path PermissionsBoundary Policies RoleName Tags",
    "AWS::KMS::Alias": "AliasName TargetKeyId",
    "AWS::KMS::Key": "Description EnableKeyRotation Enabled KeyPolicy KeySpec KeyUsage "
    "PendingWindowInDays RotationPeriodInDays Tags",
    "AWS::Logs::LogGroup": "KmsKeyId LogGroupClass LogGroupName RetentionInDays Tags",
    "AWS::SNS::Topic": "DisplayName KmsMasterKeyId Tags TopicName",
    "AWS::SQS::Queue": "DelaySeconds KmsDataKeyReusePeriodSeconds KmsMasterKeyId "
    "MaximumMessageSize MessageRetentionPeriod QueueName ReceiveMessageWaitTimeSeconds "
    "RedriveAllowPolicy RedrivePolicy SqsManagedSseEnabled Tags VisibilityTimeout",
    "AWS::SSM::Parameter": "Description Name Tags Type Value",
}
"""What moto itself runs, by type."""

NO_EFFECT: Final[Mapping[str, str]] = {
    "AWS::Budgets::Budget": "nothing costs money here",
    "AWS::CDK::Metadata": "tells AWS which constructs were used",
    "AWS::CertificateManager::Certificate": "nothing is encrypted on its way here",
    "AWS::CloudWatch::Dashboard": "is looked at in the console",
    "AWS::Lambda::LayerVersion": "the functions' dependencies are installed here",
    "AWS::Lambda::Permission": "nobody is refused here; templates tests read permissions",
    "AWS::S3::BucketPolicy": "nobody is refused here",
    "AWS::SNS::TopicPolicy": "nobody is refused here",
    "AWS::SQS::QueuePolicy": "nobody is refused here",
    "AWS::WAFv2::LoggingConfiguration": "there is no web to be attacked from",
    "AWS::WAFv2::WebACL": "there is no web to be attacked from",
    "AWS::WAFv2::WebACLAssociation": "there is no web to be attacked from",
}
"""Types that stand in templates and do nothing on one machine, with the reason."""

SECTIONS: Final = (
    "AWSTemplateFormatVersion Conditions Description Mappings Metadata Outputs Parameters "
    "Resources Rules"
)
"""Rules only check parameters before a deployment, so they need no run."""

STORED_PARAMETER: Final = "AWS::SSM::Parameter::Value<String>"
BOOTSTRAP: Final = "/cdk-bootstrap/"
BOOTSTRAP_VERSION: Final = "30"
"""Newer than any assembly requires: here there is nothing to bootstrap."""


class AssemblyError(ValueError):
    """A cloud assembly that is missing, incomplete or out of date, and what to do about it."""


class DeploymentError(ValueError):
    """AWS would refuse a resource; the message names type, stack and logical id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackArtifact:
    """One stack of an assembly.

    Args:
        id: The artifact's id, which is the stack's construct path.
        name: CloudFormation's stack name.
        account: Twelve digits.
        region: Where it is deployed.
        template: Parsed, with its resources put behind those that they depend on.
        assets: Directory of each file asset by its object key.
        dependencies: Ids of artifacts that must come first.
    """

    id: str
    name: str
    account: str
    region: str
    template: Mapping[str, Any]
    assets: Mapping[str, Path]
    dependencies: tuple[str, ...]


class Assembly:
    """A synthesized cloud assembly, usually `cdk.out`.

    Raises:
        AssemblyError: It is not there, or has a shape that the twin does not know.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            manifest = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise AssemblyError(f"{self.path} holds no assembly: run `make synth`") from error
        self._artifacts: Mapping[str, Any] = manifest.get("artifacts", {})
        for name, artifact in self._artifacts.items():
            if artifact["type"] == "cdk:cloud-assembly":
                raise AssemblyError(f"{self.path}: {name} is a stage, and stages are not read")

    @cached_property
    def stacks(self) -> list[StackArtifact]:
        """The stacks, each behind those that it depends on."""
        stacks = {
            name: self._stack(name, artifact)
            for name, artifact in self._artifacts.items()
            if artifact["type"] == "aws:cloudformation:stack"
        }
        wanted = {
            name: [other for other in stack.dependencies if other in stacks]
            for name, stack in stacks.items()
        }
        return [stacks[name] for name in _sorted_by_need(wanted)]

    def _stack(self, name: str, artifact: Mapping[str, Any]) -> StackArtifact:
        properties = artifact["properties"]
        account, _, region = artifact["environment"].removeprefix("aws://").partition("/")
        if not account.isdigit() or region.startswith("unknown"):
            raise AssemblyError(f"stack {name} names no account and region: {account}/{region}")
        dependencies = artifact.get("dependencies", [])
        assets: dict[str, Path] = {}
        for other in dependencies:
            if self._artifacts[other]["type"] == "cdk:asset-manifest":
                assets |= self._files(self._artifacts[other]["properties"]["file"])
        return StackArtifact(
            id=name,
            name=properties.get("stackName", name),
            account=account,
            region=region,
            template=_in_order(self._read(properties["templateFile"])),
            assets=assets,
            dependencies=tuple(dependencies),
        )

    def _read(self, name: str) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except OSError as error:
            raise AssemblyError(f"{self.path / name} is missing: run `make synth` again") from error
        return document

    def _files(self, manifest: str) -> Iterator[tuple[str, Path]]:
        for asset in self._read(manifest).get("files", {}).values():
            for destination in asset["destinations"].values():
                yield destination["objectKey"], self.path / asset["source"]["path"]


def _sorted_by_need(wanted: Mapping[str, list[str]]) -> list[str]:
    """Put names behind the names that they want, otherwise in their order."""
    done: dict[str, None] = {}
    visiting: set[str] = set()

    def visit(name: str) -> None:
        if name in done:
            return
        if name in visiting:
            raise AssemblyError(f"{name} depends on itself")
        visiting.add(name)
        for other in wanted[name]:
            visit(other)
        done[name] = None

    for name in wanted:
        visit(name)
    return list(done)


_PLACEHOLDER: Final = re.compile(r"\$\{([^!.}]+)[^}]*\}")


def _referred(value: Any) -> Iterator[str]:
    """Names that a part of a template refers to."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner[0] if isinstance(inner, list) else inner.partition(".")[0]
            else:
                if key == "Fn::Sub":
                    yield from _PLACEHOLDER.findall(inner[0] if isinstance(inner, list) else inner)
                yield from _referred(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _referred(inner)


def _in_order(template: dict[str, Any]) -> dict[str, Any]:
    """Put resources behind those that they need.

    moto creates in the template's order and what is referred to on the way, so without this a
    reference could create a resource before what it depends on.
    """
    resources: dict[str, Any] = template.get("Resources", {})
    wanted: dict[str, list[str]] = {}
    for name, resource in resources.items():
        explicit = resource.get("DependsOn", [])
        explicit = [explicit] if isinstance(explicit, str) else explicit
        referred = [*explicit, *_referred(resource.get("Properties", {}))]
        wanted[name] = [other for other in referred if other in resources]
    return template | {"Resources": {name: resources[name] for name in _sorted_by_need(wanted)}}


def problems(stack: StackArtifact) -> list[str]:
    """Everything in a stack's template that the twin cannot run, one line each."""
    found = [
        f"stack {stack.name}: section {section} is not run by the twin"
        for section in stack.template
        if section not in SECTIONS.split()
    ]
    for logical_id, resource in stack.template["Resources"].items():
        kind = resource["Type"]
        place = f"{kind} ({logical_id} in stack {stack.name})"
        if kind in NO_EFFECT:
            continue
        known = SUPPORTED.get(kind, BY_MOTO.get(kind))
        if known is None:
            found.append(f"{place}: the twin does not run this type")
            continue
        allowed = frozenset(known.split())
        for name, value in resource.get("Properties", {}).items():
            found += [
                f"{place}: the twin does not run property {path}"
                for path in _unknown(name, value, allowed)
            ]
    return found


def _unknown(path: str, value: Any, allowed: frozenset[str]) -> list[str]:
    if path in allowed:
        return []
    if not any(name.startswith(f"{path}.") for name in allowed):
        return [path]
    if isinstance(value, list):
        return sorted({bad for inner in value for bad in _unknown(path, inner, allowed)})
    if not isinstance(value, Mapping):
        return [path]
    return [
        bad for key, inner in value.items() for bad in _unknown(f"{path}.{key}", inner, allowed)
    ]


def check_code(stacks: list[StackArtifact]) -> None:
    """Make sure that functions run the code that is here, not an older synthesis of it.

    Raises:
        AssemblyError: The Python files of an asset differ from the package of the same name.
    """
    checked = set()
    for stack in stacks:
        for resource in stack.template["Resources"].values():
            if resource["Type"] != "AWS::Lambda::Function":
                continue
            properties = resource["Properties"]
            directory = stack.assets.get(str(properties["Code"].get("S3Key")))
            package = str(properties.get("Handler", "")).partition(".")[0]
            if directory is None or (directory, package) in checked:
                continue
            checked.add((directory, package))
            found = importlib.util.find_spec(package)
            if found is None or not found.submodule_search_locations:
                raise AssemblyError(f"package {package!r} of {directory} cannot be imported here")
            here = Path(found.submodule_search_locations[0])
            if _digest(directory / package) != _digest(here):
                raise AssemblyError(
                    f"{directory} is not the code in {here}: run `make synth`, so that the twin "
                    "runs what would be deployed"
                )


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(directory.rglob("*.py")):
        digest.update(f"{file.relative_to(directory)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


UPDATED: Final = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::CloudWatch::Alarm",
        "AWS::IAM::Role",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Function",
        *NO_EFFECT,
    }
)
"""Types that are changed in place; any other is created once, and never changed or deleted."""


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The resources that an update creates or changes, each behind those that it needs.

    What a function's new code leaves behind, its settings for asynchronous events, is set anew.

    Raises:
        DeploymentError: A new resource has the name of another one that is still there.
        UnsupportedError: A resource is gone, or changed in a way that the twin cannot follow.
    """
    _check_names(before, after)
    if gone := sorted(before.keys() - after.keys()):
        kinds = ", ".join(f"{before[name]['Type']} ({name})" for name in gone)
        raise UnsupportedError(f"the twin deletes no resources: {kinds}")
    changed: list[str] = []
    for name, resource in after.items():
        kind, former = resource["Type"], before.get(name)
        follows = kind == "AWS::Lambda::EventInvokeConfig" and not {*changed}.isdisjoint(
            _referred(resource.get("Properties", {}))
        )
        if former == resource and not follows:
            continue
        if former is not None and (kind not in UPDATED or former["Type"] != kind):
            raise UnsupportedError(f"{kind} ({name}): the twin does not change this type")
        changed.append(name)
    return changed


def _check_names(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """See to it that no new resource takes the name of one that is there.

    An update creates before it deletes ("Update behaviors of stack resources"), so another logical
    id for the same name is refused, by the check of a change set before it changes anything
    ("Validate stack deployments", both in the CloudFormation user guide).

    Raises:
        DeploymentError: One does.
    """
    taken = {
        (resource["Type"], name): logical_id
        for logical_id, resource in before.items()
        if isinstance(name := _given_name(resource), str)
    }
    for logical_id in after.keys() - before.keys():
        kind, name = after[logical_id]["Type"], _given_name(after[logical_id])
        if isinstance(name, str) and (kind, name) in taken:
            former = taken[kind, name]
            raise DeploymentError(f"{kind} ({logical_id}): {name} already exists, as {former}")


def _given_name(resource: Mapping[str, Any]) -> Any:
    """The name that a template gives a resource, if it does."""
    return resource.get("Properties", {}).get(_name_property(resource["Type"]))


def _name_property(kind: str) -> str:
    """The property that names resources of a type.

    `LayerVersion` has none of its own, and a rule's is called `Name`.
    """
    last = kind.rpartition(":")[2]
    names = {
        "CompositeAlarm": "AlarmName",
        "GlobalTable": "TableName",
        "Model": "ModelName",
        "RestApi": "",
        "Rule": "Name",
    }
    return names.get(last, f"{last}Name")


class CloudFormation:
    """Creates the stacks of an assembly in moto, for as long as it is open.

    Args:
        services: What creates the resources of each type in `SUPPORTED`.
    """

    def __init__(self, services: Mapping[str, Deploy]) -> None:
        self.resources: list[Resource] = []
        self._types = {
            name: _Type(name, services[name], self) for name in SUPPORTED if name in services
        } | {name: _Type(name, _stand, self) for name in NO_EFFECT}
        self._stacks: dict[tuple[str, str, str], StackArtifact] = {}
        self._undo = ExitStack()
        by_moto = parsing.resource_class_from_type
        read_template = Stack.parse_template
        for owner, name, ours in (
            # moto asks here for every type; its own table could not be put back afterwards.
            (parsing, "resource_class_from_type", partial(self._class, by_moto)),
            # PyYAML's pure Python loader takes seconds for a JSON template.
            (Stack, "parse_template", staticmethod(partial(_parse, read_template))),
        ):
            self._undo.enter_context(mock.patch.object(owner, name, ours))

    def close(self) -> None:
        """Give moto its own types back."""
        self._undo.close()

    def deploy(self, assembly: Assembly) -> None:
        """Create every stack, in an order in which each finds what it needs.

        Raises:
            UnsupportedError: Templates contain what the twin cannot run; nothing was created.
            DeploymentError: AWS would refuse a resource.
        """
        found = [problem for stack in assembly.stacks for problem in problems(stack)]
        if found:
            raise UnsupportedError("\n".join(found))
        for stack in assembly.stacks:
            self._create(stack)

    def update(self, assembly: Assembly) -> None:
        """Change the stacks to those of another assembly, one after the other.

        Raises:
            UnsupportedError: The twin cannot run what is new, or cannot make a change; nothing was
                changed.
            DeploymentError: AWS would refuse a resource; nothing was changed if its name is taken.
        """
        found = [problem for stack in assembly.stacks for problem in problems(stack)]
        if found:
            raise UnsupportedError("\n".join(found))
        changes = [
            (stack, _changed(former.template["Resources"], stack.template["Resources"]))
            for stack in assembly.stacks
            for former in [self._known(stack)]
        ]
        for stack, names in changes:
            self._update(stack, names)

    def _known(self, stack: StackArtifact) -> StackArtifact:
        key = (stack.account, stack.region, stack.name)
        if key not in self._stacks:
            raise UnsupportedError(f"stack {stack.name}: the twin adds no stacks")
        return self._stacks[key]

    def _update(self, stack: StackArtifact, names: list[str]) -> None:
        """Create and change some resources of a stack, in their order."""
        self._stacks[stack.account, stack.region, stack.name] = stack
        backend = cloudformation_backends[stack.account][stack.region]
        resources = backend.get_stack(stack.name).resource_map
        template = json.loads(json.dumps(stack.template))
        known, templates = resources._parsed_resources, template["Resources"]  # noqa: SLF001 moto's own update keeps no order
        resources._template, resources._resource_json_map = template, templates  # noqa: SLF001
        for name in names:
            if name not in known:
                _ = resources[name]
                continue
            known[name] = parsing.parse_and_update_resource(
                name, templates[name], resources, stack.account, stack.region
            )

    def _create(self, stack: StackArtifact) -> None:
        for parameter in stack.template.get("Parameters", {}).values():
            if parameter["Type"] == STORED_PARAMETER:
                self._store(stack, parameter["Default"])
        self._stacks[stack.account, stack.region, stack.name] = stack
        cloudformation_backends[stack.account][stack.region].create_stack(
            name=stack.name, template=json.dumps(stack.template), parameters={}
        )

    def _store(self, stack: StackArtifact, name: str) -> None:
        """Make sure that a stored parameter is there: of bootstrapping, or of another stack."""
        store = ssm_backends[stack.account][stack.region]
        if name.startswith(BOOTSTRAP):
            store.put_parameter(
                name=name,
                description="",
                value=BOOTSTRAP_VERSION,
                parameter_type="String",
                allowed_pattern="",
                keyid="",
                overwrite=True,
                tags=[],
                data_type="text",
                tier=None,
                policies=None,
            )
        elif store.get_parameter(name) is None:
            raise DeploymentError(f"stack {stack.name}: there is no parameter {name} in its region")

    def _class(self, by_moto: Callable[[str], Any], kind: str) -> Any:
        if kind in self._types:
            return self._types[kind]
        if kind in BY_MOTO:
            return by_moto(kind)
        raise UnsupportedError(f"{kind}: the twin does not run this type")

    def asset(self, resource: Resource) -> Path | None:
        """The directory of the code that a function names."""
        if resource.type != "AWS::Lambda::Function":
            return None
        key = str(resource.properties["Code"].get("S3Key"))
        stack = self._stacks[resource.account, resource.region, resource.stack]
        if key not in stack.assets:
            raise ValueError(f"the assembly has no asset {key}: run `make synth`")
        return stack.assets[key]


def _parse(read_template: Callable[[str], dict[str, Any]], template: str) -> dict[str, Any]:
    if template.lstrip().startswith("{"):
        document: dict[str, Any] = json.loads(template)
        return document
    return read_template(template)


def _stand(resource: Resource) -> Resource:
    """Let a type without effect stand where other resources refer to it."""
    _, service, kind = resource.type.split("::")
    service = {"CertificateManager": "acm"}.get(service, service.lower())
    arn = (
        f"arn:aws:{service}:{resource.region}:{resource.account}:"
        f"{kind.lower()}/{resource.physical_id}"
    )
    # The reference of a layer and of a certificate is its ARN.
    identity = arn if kind in {"Certificate", "LayerVersion"} else resource.physical_id
    return replace(resource, physical_id=identity, attributes={"Arn": arn, "Id": identity})


class _Type:
    """What moto takes for the class of one type of resource."""

    def __init__(self, name: str, deploy: Deploy, owner: CloudFormation) -> None:
        self._name = name
        self._deploy = deploy
        self._owner = owner
        self._name_property = _name_property(name)

    def has_cfn_attr(self, attribute: str) -> bool:
        """Outputs are checked when they are resolved."""
        return True

    def create_from_cloudformation_json(
        self,
        resource_name: str,
        cloudformation_json: Mapping[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> "_Created":
        stack = kwargs["StackId"].split("/")[1]
        properties = cloudformation_json.get("Properties") or {}
        logical_id = kwargs["LogicalId"]
        return self._deployed(
            Resource(
                type=self._name,
                logical_id=logical_id,
                physical_id=str(properties.get(self._name_property) or f"{stack}-{logical_id}"),
                region=region_name,
                account=account_id,
                stack=stack,
                properties=properties,
            )
        )

    def _deployed(self, resource: Resource) -> "_Created":
        place = f"{self._name} ({resource.logical_id} in stack {resource.stack})"
        try:
            resource = replace(resource, asset=self._owner.asset(resource))
            resource = self._deploy(resource) or resource
        except UnsupportedError as error:
            raise UnsupportedError(f"{place}: {error}") from error
        except (KeyError, ValueError, HTTPException, ServiceException) as error:
            raise DeploymentError(f"{place}: {error}") from error
        self._owner.resources.append(resource)
        return _Created(resource)

    def update_from_cloudformation_json(
        self, original_resource: "_Created", cloudformation_json: Mapping[str, Any], **_: Any
    ) -> "_Created":
        former = original_resource.resource
        self._owner.resources.remove(former)
        properties = cloudformation_json.get("Properties") or {}
        return self._deployed(replace(former, properties=properties))

    def delete_from_cloudformation_json(self, *args: Any) -> None:
        raise UnsupportedError(f"{self._name}: the twin keeps its stacks until it is closed")


class _Created:
    """What moto keeps of a resource that a service created."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.physical_resource_id = resource.physical_id
        self.type = self.cf_resource_type = resource.type
        self.logical_resource_id = resource.logical_id

    def get_cfn_attribute(self, name: str) -> str:
        resource = self.resource
        if name not in resource.attributes:
            raise UnsupportedError(
                f"{resource.type} ({resource.logical_id} in stack {resource.stack}): "
                f"the twin does not know attribute {name}"
            )
        return resource.attributes[name]

    def is_created(self) -> bool:
        return True
