"""A model in a region: queues by tier, endpoints by version, fleets within bounds."""

import json
from functools import partial
from typing import Any

import pytest
import yaml
from aws_cdk import App
from aws_cdk.assertions import Template

from config.schema import Artifact, Deployment, Version
from spillway.twin.containers import Answer, Simulated
from spillway.twin.twin import Twin
from stacks.model_stack import ModelStack
from tests.stacks.assemblies import ROOT, Assembly, Synthesize, changed_dev, listed, statements

EMBEDDER = "Model-embedder-us-east-1"
CHAT = "Model-chat-us-east-1"
BUCKET = "spillway-dev-123456789012-us-east-1-payloads"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hub-token-AbCdEf"
PACKAGE = "arn:aws:sagemaker:{region}:123456789012:model-package/embedder/1"
NETWORK = {"us-east-1": {"subnets": ["subnet-1"], "security_groups": ["sg-1"]}}


def two_versions(document: dict[str, Any]) -> None:
    """A model with an older version, a network and a volume; and one that is switched off."""
    del document["cost_hourly_max_usd"]  # Nobody lists the price of one of its instance types.
    embedder, chat = document["models"]["embedder"], document["models"]["chat"]
    v1 = embedder["versions"]["v1"]
    embedder["versions"]["v2"] = {
        **v1,
        "instance_type": "ml.m6i.xlarge",
        "volume_gb": 64,
        "inference_ami": "al2-ami-sagemaker-inference-gpu-3-1",
        "environment": {"WORKERS": "2"},
        "secrets": {"HF_TOKEN": SECRET},
    }
    embedder.update(wanted="v2", network=NETWORK, instances_min=0)
    chat["state"] = "off"
    document["models"]["busy"] = {**embedder, "instances_min": 2}
    document["models"]["old"] = {**embedder, "state": "draining", "instances_min": 2}


@pytest.fixture(scope="module")
def releases(synthesize: Synthesize, tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A deployment in the middle of releases."""
    return synthesize(changed_dev(tmp_path_factory.mktemp("releases"), two_versions))


@pytest.mark.parametrize("tier", ["interactive", "standard", "batch"])
def test_a_job_waits_in_its_tiers_queue_for_a_week(dev: Assembly, tier: str) -> None:
    """Batch work waits through a weekend, and a message in doubt is kept and not lost."""
    name = f"spillway-dev-embedder-{tier}"
    waiting = dev.one("AWS::SQS::Queue", stack=EMBEDDER, QueueName=name).properties
    dead = dev.one("AWS::SQS::Queue", stack=EMBEDDER, QueueName=f"{name}-dead")

    assert waiting["MessageRetentionPeriod"] == 7 * 86_400
    assert waiting["MessageRetentionPeriod"] > dev.deployment.limits.deadline_s_max
    assert waiting["VisibilityTimeout"] == 120
    assert waiting["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": [dead.logical_id, "Arn"]},
        "maxReceiveCount": 50,
    }
    assert dead.properties["MessageRetentionPeriod"] == 14 * 86_400


def test_dispatch_may_hold_a_message_for_its_whole_run(dev: Assembly) -> None:
    """A message that shows again while its dispatcher runs is started twice."""
    dispatch = dev.one(
        "AWS::Lambda::Function", stack="Region-us-east-1", FunctionName="spillway-dev-dispatch"
    )
    queue = dev.one("AWS::SQS::Queue", stack=CHAT, QueueName="spillway-dev-chat-batch")

    assert queue.properties["VisibilityTimeout"] >= 2 * dispatch.properties["Timeout"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"concurrency": 7, "warm_up_s": 100.0, "instances_max": 3}, True),
        ({"versions": {"startup_timeout_s": 900, "usd_per_hour": 2.0, "service": {}}}, True),
        ({"versions": {"image": "123456789012.dkr.ecr.{region}.amazonaws.com/x:2"}}, False),
        ({"versions": {"artifact": {"s3": "s3://{region}-models/v1/other.tar.gz"}}}, False),
        ({"versions": {"environment": {"WORKERS": "2"}}}, False),
        ({"versions": {"secrets": {"HF_TOKEN": SECRET}}}, False),
        ({"versions": {"instance_type": "ml.g5.2xlarge"}}, False),
        ({"versions": {"package": PACKAGE}}, False),
    ],
)
def test_a_version_that_is_edited_asks_for_a_name_that_is_taken(
    change: dict[str, Any], same: bool
) -> None:
    """Another image under the same name would be everywhere at once, past release and guards.

    Another logical id with the same name is a new resource, which CloudFormation refuses.
    """

    def endpoint(change: dict[str, Any]) -> tuple[str, str]:
        document = yaml.safe_load((ROOT / "config" / "dev.yaml").read_text())
        embedder = document["models"]["embedder"]
        embedder["versions"]["v1"] |= change.get("versions", {})
        embedder |= {name: value for name, value in change.items() if name != "versions"}
        deployment = Deployment.model_validate_json(json.dumps(document))
        stack = ModelStack(App(), deployment=deployment, region="us-east-1", model="embedder")
        (found,) = Template.from_stack(stack).find_resources("AWS::SageMaker::Endpoint").items()
        return found[0], found[1]["Properties"]["EndpointName"]

    before, after = endpoint({}), endpoint(change)
    assert before[1] == after[1] == "spillway-dev-embedder-v1"
    assert (before[0] == after[0]) is same


def test_what_is_deployed_keeps_its_ids_whatever_our_schema_becomes() -> None:
    """Endpoints of every deployment would have other ids, and no model could be deployed any more.

    If this fails, mend `Version.content`, and leave the digest here as it is.
    """
    version = Version(
        image="123456789012.dkr.ecr.{region}.amazonaws.com/chat:1.0.0",
        artifact=Artifact(hub="org/chat", revision="0123456"),
        instance_type="ml.g5.xlarge",
        environment={"B": "2", "A": "1"},
    )

    assert version.content == "802d5bf6d937"


def test_results_come_back_by_notification_and_bucket(dev: Assembly) -> None:
    """Complete reads small results out of the notification and big ones from the bucket."""
    configuration = dev.one("AWS::SageMaker::EndpointConfig", stack=EMBEDDER).properties
    topics = "arn:aws:sns:us-east-1:123456789012:spillway-dev"

    assert configuration["AsyncInferenceConfig"] == {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
        "OutputConfig": {
            "S3OutputPath": f"s3://{BUCKET}/results/embedder/v1/",
            "S3FailurePath": f"s3://{BUCKET}/failures/embedder/v1/",
            "NotificationConfig": {
                "SuccessTopic": f"{topics}-succeeded",
                "ErrorTopic": f"{topics}-failed",
                "IncludeInferenceResponseIn": [
                    "SUCCESS_NOTIFICATION_TOPIC",
                    "ERROR_NOTIFICATION_TOPIC",
                ],
            },
        },
    }


def test_an_endpoint_is_found_by_its_version(dev: Assembly) -> None:
    """Dispatch addresses endpoints by name; what cannot be changed has no name to collide."""
    endpoint = dev.one("AWS::SageMaker::Endpoint", stack=EMBEDDER)
    configuration = dev.one("AWS::SageMaker::EndpointConfig", stack=EMBEDDER)

    assert endpoint.properties["EndpointName"] == "spillway-dev-embedder-v1"
    assert endpoint.properties["RetainAllVariantProperties"] is True
    assert "EndpointConfigName" not in configuration.properties
    assert "ModelName" not in dev.one("AWS::SageMaker::Model", stack=EMBEDDER).properties


def test_the_configuration_reaches_the_container(dev: Assembly) -> None:
    """The image and weights of the region, and the settings."""
    embedder = dev.one("AWS::SageMaker::Model", stack="Model-embedder-us-west-2").properties
    chat = dev.one("AWS::SageMaker::Model", stack=CHAT).properties

    assert embedder["PrimaryContainer"] == {
        "Image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/embedder:1.0.0",
        "ModelDataUrl": "s3://spillway-dev-models-us-west-2/embedder/v1/model.tar.gz",
    }
    assert chat["PrimaryContainer"]["Environment"] == {
        "HF_MODEL_ID": "Qwen/Qwen2.5-7B-Instruct",
        "HF_REVISION": "a09a35458c702b33eeacc393d103063234e8bc28",
        "OPTION_MAX_ROLLING_BATCH_SIZE": "16",
    }


def test_a_container_gets_the_address_of_its_secret_and_may_read_it(releases: Assembly) -> None:
    """A token in a template is a token that everybody can read."""
    environments = [
        model.properties["PrimaryContainer"].get("Environment")
        for model in releases.resources("AWS::SageMaker::Model", stack=EMBEDDER)
    ]
    allowed = [
        statement["Resource"]
        for statement in statements(releases.one("AWS::IAM::Role", stack=EMBEDDER))
        if "secretsmanager:GetSecretValue" in listed(statement["Action"])
    ]

    assert {"WORKERS": "2", "HF_TOKEN_SECRET_ARN": SECRET} in environments
    assert allowed == [SECRET]


def test_a_model_may_read_its_inputs_and_write_its_results(dev: Assembly) -> None:
    """A container of one model must not read another model's results."""
    allowed = {
        action: statement["Resource"]
        for statement in statements(dev.one("AWS::IAM::Role", stack=CHAT))
        for action in listed(statement["Action"])
    }

    arn = f"arn:aws:s3:::{BUCKET}"
    second = arn.replace("payloads", "replica")  # of jobs moved here from other regions
    assert allowed["s3:GetObject"] == [
        f"{place}/{what}/*" for place in (arn, second) for what in ("inputs", "uploads")
    ]
    assert allowed["s3:PutObject"] == [f"{arn}/failures/chat/*", f"{arn}/results/chat/*"]
    assert allowed["sns:Publish"] == [
        "arn:aws:sns:us-east-1:123456789012:spillway-dev-failed",
        "arn:aws:sns:us-east-1:123456789012:spillway-dev-succeeded",
    ]
    assert allowed["ecr:BatchGetImage"] == (
        "arn:aws:ecr:us-east-1:763104351884:repository/djl-inference"
    )
    assert "secretsmanager:GetSecretValue" not in allowed
    assert not [action for action in allowed if action.startswith("ec2:")]
    # A group that it made would be kept for ever, and in the way of a version that comes back.
    assert "logs:CreateLogGroup" not in allowed


def test_sagemaker_may_write_under_our_key(prod: Assembly) -> None:
    """Without the key, every result of an encrypted deployment would be a failure."""
    role = prod.one("AWS::IAM::Role", stack=CHAT)
    configuration = prod.one("AWS::SageMaker::EndpointConfig", stack=CHAT).properties
    (use,) = (s for s in statements(role) if "kms:GenerateDataKey" in s["Action"])

    assert use["Condition"] == {
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/spillway-prod"}
    }
    output = configuration["AsyncInferenceConfig"]["OutputConfig"]
    assert output["KmsKeyId"] == "arn:aws:kms:us-east-1:123456789012:alias/spillway-prod"


def fleets(assembly: Assembly, stack: str) -> dict[str, tuple[int, int]]:
    """The bounds of each fleet of a stack, by endpoint."""
    return {
        fleet.properties["ResourceId"]: (
            fleet.properties["MinCapacity"],
            fleet.properties["MaxCapacity"],
        )
        for fleet in assembly.resources("AWS::ApplicationAutoScaling::ScalableTarget", stack=stack)
    }


def test_a_fleet_keeps_within_its_bounds(dev: Assembly) -> None:
    """Nobody pays for more GPUs than configured, nor waits for the first one by accident."""
    assert fleets(dev, EMBEDDER) == {"endpoint/spillway-dev-embedder-v1/variant/live": (1, 2)}
    assert fleets(dev, CHAT) == {"endpoint/spillway-dev-chat-v1/variant/live": (1, 4)}
    for fleet in dev.resources("AWS::ApplicationAutoScaling::ScalableTarget"):
        assert fleet.properties["ScalableDimension"] == "sagemaker:variant:DesiredInstanceCount"
        (endpoint,) = fleet.body["DependsOn"]
        assert dev.templates[fleet.stack]["Resources"][endpoint]["Type"].endswith("Endpoint")


def test_the_version_before_stays_and_may_sleep(releases: Assembly) -> None:
    """Going back must always be possible: its bounds allow a fleet of none.

    Nothing scales it in yet, so every version that is listed keeps an instance.
    """
    assert fleets(releases, EMBEDDER) == {
        "endpoint/spillway-dev-embedder-v1/variant/live": (0, 2),
        "endpoint/spillway-dev-embedder-v2/variant/live": (0, 2),
    }


def test_a_draining_model_may_sleep_when_it_is_done(releases: Assembly) -> None:
    """Its bounds allow a fleet of none; until something scales it in, only `off` ends its cost."""
    assert {bounds[0] for bounds in fleets(releases, "Model-old-us-east-1").values()} == {0}
    assert len(releases.resources("AWS::SageMaker::Endpoint", stack="Model-old")) == 2


def test_a_model_that_is_off_costs_nothing(releases: Assembly) -> None:
    """Its queues stay, so that no message of an old job is lost; its endpoints go."""
    kinds = {resource.kind for resource in releases.resources(stack=CHAT)}

    assert kinds == {"AWS::SQS::Queue", "AWS::SQS::QueuePolicy"}


def test_every_endpoint_starts_with_one_instance(releases: Assembly) -> None:
    """SageMaker creates none without an instance; the scalable target asks for the others.

    A count that followed `instances_min` would make another endpoint configuration of every
    change, and so replace the fleet.
    """
    counts = []
    for configuration in releases.resources("AWS::SageMaker::EndpointConfig"):
        (variant,) = configuration.properties["ProductionVariants"]
        assert variant["VariantName"] == "live"
        counts.append(variant["InitialInstanceCount"])

    assert set(counts) == {1}
    assert releases.deployment.models["busy"].instances_min == 2
    assert fleets(releases, "Model-busy-us-east-1") == {
        "endpoint/spillway-dev-busy-v1/variant/live": (0, 2),
        "endpoint/spillway-dev-busy-v2/variant/live": (2, 2),
    }


def test_the_scalable_target_raises_a_fleet_to_its_minimum(releases: Assembly) -> None:
    """A fleet that stays at the one instance of its first start misses its target waits."""
    container = partial(Simulated, service_s=lambda _: 1.0, answers=lambda _: Answer())
    endpoints = {
        str(endpoint.properties["EndpointName"]): container
        for endpoint in releases.resources("AWS::SageMaker::Endpoint")
    }
    with Twin(releases.path, virtual=True, containers=endpoints) as twin:
        twin.deploy()
        sagemaker = twin.operator("us-east-1").client("sagemaker")

        def instances(version: str) -> tuple[int, int]:
            reply = sagemaker.describe_endpoint(EndpointName=f"spillway-dev-busy-{version}")
            (variant,) = reply["ProductionVariants"]
            return variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]

        at_once = instances("v2")
        twin.scheduler.run_for(900)

        assert at_once[0] == 2
        assert instances("v2") == (2, 2)
        assert instances("v1") == (0, 0), "the version that is not wanted goes to sleep"


def test_a_version_brings_what_its_instances_need(releases: Assembly) -> None:
    """Network, volume, image and time to start are the version's own."""
    models = releases.resources("AWS::SageMaker::Model", stack=EMBEDDER)
    variants = {
        variant["InstanceType"]: variant
        for configuration in releases.resources("AWS::SageMaker::EndpointConfig", stack=EMBEDDER)
        for variant in configuration.properties["ProductionVariants"]
    }

    assert {str(model.properties["VpcConfig"]) for model in models} == {
        str({"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]})
    }
    assert variants["ml.m6i.xlarge"]["VolumeSizeInGB"] == 64
    assert variants["ml.m6i.xlarge"]["InferenceAmiVersion"].startswith("al2-ami")
    assert "VolumeSizeInGB" not in variants["ml.g5.xlarge"]
    for variant in variants.values():
        assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 600
        assert variant["ModelDataDownloadTimeoutInSeconds"] == 600
    role = releases.one("AWS::IAM::Role", stack=EMBEDDER)
    assert "ec2:CreateNetworkInterface" in str(list(statements(role)))
