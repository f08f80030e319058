"""The twin opens, deploys, serves and closes; and the project's own stacks run on it."""

import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.awslambda.models import LambdaBackend
from moto.cloudwatch.models import CloudWatchBackend
from moto.dynamodb.responses import DynamoHandler
from moto.s3 import notifications
from moto.sagemaker.responses import SageMakerResponse

import app
from spillway.twin.cloudformation import AssemblyError
from spillway.twin.containers import Simulated
from spillway.twin.http import AwsServer
from spillway.twin.twin import Twin

ACCOUNT, REGION = "111122223333", "us-east-1"
CODE = '''"""A function that copies messages to a table."""

import json
import time

METRIC = json.dumps(
    {
        "_aws": {
            "Timestamp": "NOW",
            "CloudWatchMetrics": [
                {"Namespace": "Twin", "Dimensions": [[]], "Metrics": [{"Name": "Copied"}]}
            ],
        },
        "Copied": 1,
    }
).replace('"NOW"', "NOW")


class Handle:
    """What the twin looks for."""

    def environment(self, *, environ, session, sleep, **_):
        table = session.client("dynamodb", config=None)

        def handle(event, context):
            for record in event["Records"]:
                item = {"pk": {"S": record["body"]}, "task": {"S": environ["TASK"]}}
                table.put_item(TableName="done", Item=item)
            print(METRIC.replace("NOW", str(int(time.time() * 1000))))

        return handle


class Note:
    """Logs what it gets."""

    def environment(self, *, environ, session, sleep, **_):
        return lambda event, context: print("noted", event["alarmData"]["alarmName"])


handle = Handle()
note = Note()
'''
RESOURCES = {
    "Done": {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "TableName": "done",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        },
    },
    "Todo": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "todo"}},
    "News": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "news"}},
    "Subscription": {
        "Type": "AWS::SNS::Subscription",
        "Properties": {
            "Protocol": "sqs",
            "TopicArn": {"Ref": "News"},
            "Endpoint": {"Fn::GetAtt": ["Todo", "Arn"]},
            "RawMessageDelivery": True,
        },
    },
    "Copy": {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": "copy",
            "Handler": "twin_copy.handle",
            "Role": "arn:aws:iam::111122223333:role/copy",
            "Code": {"S3Bucket": "assets", "S3Key": "code.zip"},
            "Environment": {"Variables": {"TASK": {"Ref": "AWS::StackName"}}},
        },
    },
    "Source": {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "EventSourceArn": {"Fn::GetAtt": ["Todo", "Arn"]},
            "FunctionName": {"Ref": "Copy"},
        },
    },
}

WATCHING = {
    "Copied": {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": "copied",
            "Namespace": "Twin",
            "MetricName": "Copied",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": [
                {"Ref": "Pages"},
                {"Fn::GetAtt": ["Note", "Arn"]},
                f"arn:aws:sns:{REGION}:{ACCOUNT}:gone",
                f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:gone",
                f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:gone",
            ],
        },
    },
    "Any": {
        "Type": "AWS::CloudWatch::CompositeAlarm",
        "Properties": {"AlarmName": "any", "AlarmRule": {"Fn::Sub": 'ALARM("${Copied.Arn}")'}},
    },
    "OnAny": {
        "Type": "AWS::Events::Rule",
        "Properties": {
            "EventPattern": {
                "source": ["aws.cloudwatch"],
                "detail": {"alarmName": [{"Ref": "Any"}], "state": {"value": ["ALARM"]}},
            },
            "Targets": [{"Arn": {"Fn::GetAtt": ["Paged", "Arn"]}, "Id": "queue"}],
        },
    },
    "Note": {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": "note",
            "Handler": "twin_copy.note",
            "Role": "arn:aws:iam::111122223333:role/note",
            "Code": {"S3Bucket": "assets", "S3Key": "code.zip"},
        },
    },
    "Pages": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "pages"}},
    "Paged": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "paged"}},
    "ToPaged": {
        "Type": "AWS::SNS::Subscription",
        "Properties": {
            "Protocol": "sqs",
            "TopicArn": {"Ref": "Pages"},
            "Endpoint": {"Fn::GetAtt": ["Paged", "Arn"]},
            "RawMessageDelivery": True,
        },
    },
}
"""What watches the stack: an alarm on what the function logs, and everything that it tells."""

FLEET = {
    "Model": {"Type": "AWS::SageMaker::Model", "Properties": {"ModelName": "model"}},
    "Configuration": {
        "Type": "AWS::SageMaker::EndpointConfig",
        "Properties": {
            "EndpointConfigName": "configuration",
            "ProductionVariants": [
                {
                    "VariantName": "live",
                    "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                    "InitialInstanceCount": 1,
                }
            ],
            "AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://results/"}},
        },
    },
    "Endpoint": {
        "Type": "AWS::SageMaker::Endpoint",
        "Properties": {
            "EndpointName": "endpoint",
            "EndpointConfigName": {"Fn::GetAtt": ["Configuration", "EndpointConfigName"]},
        },
    },
    "Fleet": {
        "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
        "DependsOn": ["Endpoint"],
        "Properties": {
            "ServiceNamespace": "sagemaker",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "ResourceId": "endpoint/endpoint/variant/live",
            "MinCapacity": 0,
            "MaxCapacity": 0,
            "SuspendedState": {"DynamicScalingInSuspended": True},
            "ScheduledActions": [
                {
                    "ScheduledActionName": "begin",
                    "Schedule": "at(2026-01-05T00:10:00)",
                    "Timezone": "UTC",
                    "ScalableTargetAction": {"MinCapacity": 0, "MaxCapacity": 4},
                }
            ],
        },
    },
    "Out": {
        "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
        "Properties": {
            "PolicyName": "out",
            "PolicyType": "StepScaling",
            "ScalingTargetId": {"Ref": "Fleet"},
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "ExactCapacity",
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        },
    },
    "Track": {
        "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
        "Properties": {
            "PolicyName": "track",
            "PolicyType": "TargetTrackingScaling",
            "ScalingTargetId": {"Ref": "Fleet"},
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": 5,
                "CustomizedMetricSpecification": {
                    "Namespace": "AWS/SageMaker",
                    "MetricName": "ApproximateBacklogSizePerInstance",
                    "Dimensions": [{"Name": "EndpointName", "Value": "endpoint"}],
                    "Statistic": "Average",
                },
            },
        },
    },
    "Stuck": {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "Namespace": "AWS/SageMaker",
            "MetricName": "HasBacklogWithoutCapacity",
            "Dimensions": [{"Name": "EndpointName", "Value": "endpoint"}],
            "Statistic": "Maximum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "AlarmActions": [{"Ref": "Out"}],
        },
    },
}
"""An endpoint without instances until ten past midnight, and what makes it grow then."""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write an assembly of one stack: a queue whose messages a function copies to a table."""
    for directory in (tmp_path / "here", tmp_path / "out" / "asset"):
        (directory / "twin_copy").mkdir(parents=True)
        (directory / "twin_copy" / "__init__.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    importlib.invalidate_caches()
    documents = {
        "manifest.json": {
            "artifacts": {
                "Small": {
                    "type": "aws:cloudformation:stack",
                    "environment": f"aws://{ACCOUNT}/{REGION}",
                    "properties": {"templateFile": "Small.json", "stackName": "app-Small"},
                    "dependencies": ["Small.assets"],
                },
                "Small.assets": {
                    "type": "cdk:asset-manifest",
                    "properties": {"file": "assets.json"},
                },
            }
        },
        "Small.json": {"Resources": RESOURCES},
        "assets.json": {
            "files": {
                "a": {
                    "source": {"path": "asset"},
                    "destinations": {"here": {"objectKey": "code.zip"}},
                }
            }
        },
    }
    for name, document in documents.items():
        (tmp_path / "out" / name).write_text(json.dumps(document), encoding="utf-8")
    return tmp_path / "out"


@pytest.fixture
def opened() -> Iterator[Callable[..., Twin]]:
    """Open twins that are closed after the test."""
    twins: list[Twin] = []

    def opening(path: Path, **settings: Any) -> Twin:
        wanted: dict[str, Any] = {"virtual": True, "containers": {}}
        twins.append(Twin(path, **(wanted | settings)))
        return twins[-1].deploy()

    yield opening
    for twin in twins:
        twin.close()


def done(client: Any) -> dict[str, str]:
    """Read what the function copied."""
    items = client.scan(TableName="done")["Items"]
    return {item["pk"]["S"]: item["task"]["S"] for item in items}


def test_what_the_template_connects_is_connected(small: Path, opened: Callable[..., Twin]) -> None:
    """A deployment whose queue reaches no function accepts work and does none."""
    twin = opened(small)
    operator = twin.operator(REGION)
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:news"
    operator.client("sns").publish(TopicArn=topic, Message="one")
    twin.scheduler.run_for(5)
    assert done(operator.client("dynamodb")) == {"one": "app-Small"}
    assert [call.function for call in twin.hook.log.of(operation="PutItem")] == ["copy"]


def test_alarms_reach_whom_they_should(small: Path, opened: Callable[..., Twin]) -> None:
    """A bad version is taken back only if its metric, its alarm and its function are connected.

    What does not exist is not told, and holds up nothing (CloudWatch user guide, "Using Amazon
    CloudWatch alarms": it does not "detect any errors resulting from an attempt to invoke
    nonexistent actions").
    """
    document = {"Resources": RESOURCES | WATCHING}
    (small / "Small.json").write_text(json.dumps(document), encoding="utf-8")
    twin = opened(small)
    sqs = twin.operator(REGION).client("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="todo")["QueueUrl"], MessageBody="x")
    twin.scheduler.run_for(70)

    assert [line.text for line in twin.functions.logs if line.function == "note"] == [
        "noted copied"
    ]
    answer = sqs.receive_message(
        QueueUrl=sqs.get_queue_url(QueueName="paged")["QueueUrl"], MaxNumberOfMessages=10
    )
    bodies = [json.loads(message["Body"]) for message in answer["Messages"]]
    assert {body.get("AlarmName") or body["detail"]["alarmName"] for body in bodies} == {
        "copied",
        "any",
    }
    shown = twin.operator(REGION).client("cloudwatch").describe_alarms(AlarmNames=["copied", "any"])
    states = [alarm["StateValue"] for alarm in shown["MetricAlarms"] + shown["CompositeAlarms"]]
    assert states == ["ALARM", "ALARM"]


def test_alarms_scale_the_fleet_that_they_should(small: Path, opened: Callable[..., Twin]) -> None:
    """A fleet whose alarm, policy and target are not connected leaves its queue to itself."""
    (small / "Small.json").write_text(json.dumps({"Resources": FLEET}), encoding="utf-8")
    container = partial(Simulated, service_s=lambda _: 3600.0, warm_up_s=100.0)
    twin = opened(small, containers={"endpoint": container})
    endpoint = twin.sagemaker.endpoint(REGION, "endpoint")
    operator = twin.operator(REGION)
    runtime = operator.client("sagemaker-runtime")
    for _ in range(12):
        runtime.invoke_endpoint_async(EndpointName="endpoint", Body=b"{}")
    twin.scheduler.run_for(590)
    assert endpoint.desired == 0
    twin.scheduler.run_for(80)
    # The step asks for one, tracking for a third of the backlog: the largest wins.
    assert endpoint.desired == 3
    scaling = operator.client("application-autoscaling")
    described = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert {policy["PolicyName"]: len(policy["Alarms"]) for policy in described} == {
        "out": 0,
        "track": 2,
    }
    found = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    assert [activity["Cause"] for activity in found] == [
        "an alarm called policy track",
        "the target was registered",
    ]


def test_somebody_elses_boto3_reaches_the_deployment(
    small: Path, opened: Callable[..., Twin]
) -> None:
    """A team's own test uses clients that never heard of the twin; none may reach AWS."""
    twin = opened(small)
    client = boto3.client("sqs", region_name=REGION)
    assert client.get_queue_url(QueueName="todo")["QueueUrl"].split("/")[3] == ACCOUNT
    client.send_message(
        QueueUrl=client.get_queue_url(QueueName="todo")["QueueUrl"], MessageBody="x"
    )
    twin.scheduler.run_for(5)
    assert done(boto3.client("dynamodb", region_name=REGION)) == {"x": "app-Small"}


def test_operators_reach_the_deployment_over_http(small: Path, opened: Callable[..., Twin]) -> None:
    """An operator's command in another process sees the same stacks, in the same account."""
    twin = opened(small, virtual=False)
    server = AwsServer(twin.scheduler)
    twin.scheduler.start()
    server.start()

    def client(service: str) -> Any:
        session: Any = boto3.Session(region_name=REGION)
        return session.client(
            service,
            endpoint_url=server.url,
            config=Config(retries={"total_max_attempts": 1}),
        )

    try:
        sqs = client("sqs")
        sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="todo")["QueueUrl"], MessageBody="x")
        ends_s = time.monotonic() + 10
        while not (copied := done(client("dynamodb"))) and time.monotonic() < ends_s:
            pass
        (stack,) = client("cloudformation").describe_stacks()["Stacks"]
    finally:
        server.close()
    assert copied == {"x": "app-Small"}
    assert f":{ACCOUNT}:stack/app-Small/" in stack["StackId"]


def test_the_same_seed_runs_the_same_again(small: Path) -> None:
    """A failure that cannot be repeated cannot be repaired."""

    def calls(seed: int) -> list[tuple[float, str, str]]:
        with Twin(small, virtual=True, containers={}, seed=seed) as twin:
            client = twin.deploy().operator(REGION).client("sqs")
            url = client.get_queue_url(QueueName="todo")["QueueUrl"]
            for body in "abcde":
                client.send_message(QueueUrl=url, MessageBody=body)
            twin.scheduler.run_for(30)
            return [
                (call.at_s, call.operation, f"{call.execution} {call.params}")
                for call in twin.hook.log
            ]

    first = calls(1)
    assert len([call for call in first if call[1] == "PutItem"]) == 5
    assert calls(1) == first
    assert calls(2) != first


def test_nothing_of_a_twin_is_left_behind(small: Path) -> None:
    """A test after it meets no foreign state, clock, account or handler."""
    owners = (
        (LambdaBackend, "invoke"),
        (DynamoHandler, "transact_write_items"),
        (notifications, "send_event"),
        (SageMakerResponse, "describe_endpoint"),
        (CloudWatchBackend, "put_metric_alarm"),
        (CloudWatchBackend, "put_metric_data"),
    )
    before = [getattr(owner, name) for owner, name in owners]
    now_s = time.time()
    environment = dict(os.environ)
    Twin(small, virtual=True, containers={}).deploy().close()
    assert [getattr(owner, name) for owner, name in owners] == before
    assert dict(os.environ) == environment
    assert now_s <= time.time() < now_s + 60
    with Twin(small, virtual=True, containers={}) as twin:
        assert "QueueUrls" not in twin.operator(REGION).client("sqs").list_queues()


def test_a_twin_that_cannot_open_leaves_nothing_behind(small: Path) -> None:
    """After one error message the next attempt must not fail for another reason."""
    (small / "asset" / "twin_copy" / "__init__.py").write_text("old = 1\n", encoding="utf-8")
    now_s = time.time()
    for _ in range(2):
        with pytest.raises(AssemblyError, match="make synth"):
            Twin(small, virtual=True, containers={})
    assert now_s <= time.time() < now_s + 60


# ---- the project's own stacks


@pytest.fixture(scope="module", params=["dev", "prod"])
def synthesized(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Synthesize a deployment from the files as they are."""
    directory = tmp_path_factory.mktemp(request.param)
    app.create(outdir=directory, context={"config": f"config/{request.param}.yaml"}).synth()
    return f"spillway-{request.param}", directory


def test_the_projects_stacks_run(
    synthesized: tuple[str, Path], opened: Callable[..., Twin]
) -> None:
    """What `cdk deploy` would send is what the demo and everybody's tests run on."""
    deployment, assembly = synthesized
    container = partial(Simulated, service_s=lambda _: 0.1)
    endpoints = [f"{deployment}-embedder-v1", f"{deployment}-chat-v1"]
    started_s = time.perf_counter()
    twin = opened(assembly, containers=dict.fromkeys(endpoints, container))
    # One fixture for other teams' tests: seconds, not minutes.
    assert time.perf_counter() - started_s < 6
    assert twin.regions[:2] == ["us-east-1", "us-east-2"]
    for region in twin.regions:
        operator = twin.operator(region)
        stacks = operator.client("cloudformation").describe_stacks()["Stacks"]
        assert {stack["StackStatus"] for stack in stacks} == {"CREATE_COMPLETE"}
        assert {f"{deployment}-Region-{region}", f"{deployment}-Model-chat-{region}"} <= {
            stack["StackName"] for stack in stacks
        }
        for name in endpoints:
            endpoint = operator.client("sagemaker").describe_endpoint(EndpointName=name)
            assert endpoint["EndpointStatus"] == "InService"
        answer = twin.api(region).get("/v1/jobs")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
