"""What SageMaker promises about asynchronous endpoints, with the page that says so."""

import base64
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from moto import mock_aws

from spillway.twin.clock import Scheduler
from spillway.twin.containers import Answer, Factory, Python, Simulated
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.sagemaker import Assumptions, Endpoint, SageMaker

REGION, ACCOUNT = "us-east-1", "123456789012"
NAME = "app-embedder-v1"


def resource(kind: str, logical_id: str = "X", **properties: Any) -> Resource:
    """Make a resource as a stack would deploy it."""
    return Resource(
        type=f"AWS::SageMaker::{kind}",
        logical_id=logical_id,
        physical_id=f"stack-{logical_id}",
        region=REGION,
        account=ACCOUNT,
        stack="stack",
        properties=properties,
    )


class Bench:
    """An endpoint with its bucket, topics and the queue that hears of results."""

    def __init__(self, scheduler: Scheduler, session: boto3.Session) -> None:
        self.scheduler = scheduler
        self.s3 = session.client("s3")
        self.sqs = session.client("sqs")
        self.control = session.client("sagemaker")
        self.runtime = session.client("sagemaker-runtime")
        self.s3.create_bucket(Bucket="payloads")
        self.results = self.sqs.create_queue(QueueName="results")["QueueUrl"]
        sns = session.client("sns")
        self.topics = {
            name: sns.create_topic(Name=name)["TopicArn"] for name in ("succeeded", "failed")
        }
        for topic in self.topics.values():
            sns.subscribe(
                TopicArn=topic,
                Protocol="sqs",
                Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:results",
                Attributes={"RawMessageDelivery": "true"},
            )

    def deploy(
        self,
        factory: Factory,
        *,
        concurrency: int = 1,
        instances: int = 1,
        assumptions: Assumptions | None = None,
        **settings: Any,
    ) -> Endpoint:
        """Deploy the endpoint; it is in service when this returns, if it ever will be."""
        self.sagemaker = SageMaker(
            self.scheduler, {NAME: factory}, assumptions=assumptions, **settings
        )
        self.sagemaker.create(
            resource("Model", ModelName="embedder", PrimaryContainer={"Environment": {"A": "1"}})
        )
        self.sagemaker.create(
            resource(
                "EndpointConfig",
                EndpointConfigName="embedder-config",
                ProductionVariants=[
                    {
                        "VariantName": "live",
                        "ModelName": "embedder",
                        "InstanceType": "ml.g5.xlarge",
                        "InitialInstanceCount": instances,
                    }
                ],
                AsyncInferenceConfig={
                    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": concurrency},
                    "OutputConfig": {
                        "S3OutputPath": "s3://payloads/results/embedder/v1",
                        "S3FailurePath": "s3://payloads/failures/embedder/v1",
                        "NotificationConfig": {
                            "SuccessTopic": self.topics["succeeded"],
                            "ErrorTopic": self.topics["failed"],
                            "IncludeInferenceResponseIn": [
                                "SUCCESS_NOTIFICATION_TOPIC",
                                "ERROR_NOTIFICATION_TOPIC",
                            ],
                        },
                    },
                },
            )
        )
        self.sagemaker.create(
            resource("Endpoint", EndpointName=NAME, EndpointConfigName="embedder-config")
        )
        return self.sagemaker.endpoint(REGION, NAME)

    def invoke(self, body: Any = None, **options: Any) -> Any:
        """Queue JSON, or what `InputLocation` names."""
        if "InputLocation" not in options:
            options["Body"] = json.dumps(body).encode()
        return self.runtime.invoke_endpoint_async(EndpointName=NAME, **options)

    def notices(self) -> list[dict[str, Any]]:
        """Take the notifications that came."""
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.results, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(
                    QueueUrl=self.results, ReceiptHandle=message["ReceiptHandle"]
                )
        return found

    def object(self, location: str) -> bytes:
        """Read what lies at an `s3://` address."""
        bucket, _, key = location.removeprefix("s3://").partition("/")
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def objects(self) -> list[str]:
        """List the keys of the bucket."""
        return [
            str(item["Key"])
            for item in self.s3.list_objects_v2(Bucket="payloads").get("Contents", [])
        ]

    def counts(self) -> tuple[str, int, int]:
        """Give status, current and desired instances, as operators see them."""
        described = self.control.describe_endpoint(EndpointName=NAME)
        (variant,) = described["ProductionVariants"]
        return (
            described["EndpointStatus"],
            variant["CurrentInstanceCount"],
            variant["DesiredInstanceCount"],
        )


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    """Read the service models once; SageMaker's alone takes half a second."""
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)


@pytest.fixture
def bench(session: boto3.Session) -> Iterator[Bench]:
    """Give a bench on the virtual clock."""
    with mock_aws():
        scheduler = Scheduler(virtual=True, seed=1)
        bench = Bench(scheduler, session)
        try:
            yield bench
        finally:
            bench.sagemaker.close()
            scheduler.close()


def echo(service_s: float = 10.0, **options: Any) -> Factory:
    """Serve by repeating the question."""
    return partial(Python, answers=lambda body: {"echo": body}, service_s=service_s, **options)


def test_a_result_is_an_object_and_a_notification(bench: Bench) -> None:
    """A job whose answer never comes back is lost work.

    Amazon SageMaker Developer Guide, "Check prediction results" (async-inference-check-predictions)
    for the message; API reference, AsyncInferenceNotificationConfig for the included response.
    """
    bench.deploy(echo())
    reply = bench.invoke(
        "text", InferenceId="job_1.1", ContentType="application/json", Accept="application/json"
    )
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert reply["InferenceId"] == "job_1.1"
    assert reply["OutputLocation"] == "s3://payloads/results/embedder/v1/job_1.1.out"
    assert reply["FailureLocation"].startswith("s3://payloads/failures/embedder/v1/")
    assert bench.objects() == []

    bench.scheduler.run_for(11)

    assert json.loads(bench.object(reply["OutputLocation"])) == {"echo": "text"}
    (notice,) = bench.notices()
    received, finished = notice.pop("receivedTime"), notice.pop("eventTime")
    assert (received, finished) == ("2026-01-05T00:00:00.000Z", "2026-01-05T00:00:10.000Z")
    included = notice.pop("responseBody")
    assert json.loads(base64.b64decode(included["content"])) == {"echo": "text"}
    assert included["encoding"] == "BASE64"
    assert notice == {
        "awsRegion": REGION,
        "invocationStatus": "Completed",
        "requestParameters": {
            "endpointName": NAME,
            "contentType": "application/json",
            "accept": "application/json",
        },
        "responseParameters": {
            "contentType": "application/json",
            "outputLocation": reply["OutputLocation"],
        },
        "inferenceId": "job_1.1",
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }


def test_the_input_may_lie_in_s3_and_the_output_where_the_caller_says(bench: Bench) -> None:
    """Sweep looks for an answer under a name that it can compute.

    SageMaker Runtime API reference, InvokeEndpointAsync: InputLocation, S3OutputPathExtension,
    Filename.
    """
    bench.deploy(echo())
    bench.s3.put_object(Bucket="payloads", Key="inputs/1", Body=b'"big"')
    reply = bench.invoke(
        InputLocation="s3://payloads/inputs/1", S3OutputPathExtension="job_1", Filename="1.json"
    )
    bench.scheduler.run_for(11)
    assert reply["OutputLocation"] == "s3://payloads/results/embedder/v1/job_1/1.json"
    assert json.loads(bench.object(reply["OutputLocation"])) == {"echo": "big"}
    (notice,) = bench.notices()
    assert notice["requestParameters"]["inputLocation"] == "s3://payloads/inputs/1"


def test_an_input_that_is_not_there_fails(bench: Bench) -> None:
    """A payload erased too early must end its job, not hang it.

    Developer Guide, "Check prediction results": a failed invocation is notified on the error topic.
    """
    bench.deploy(echo())
    bench.invoke(InputLocation="s3://payloads/inputs/gone")
    bench.invoke(InputLocation="s3://elsewhere/gone")
    bench.scheduler.run_for(1)
    assert [notice["invocationStatus"] for notice in bench.notices()] == ["Failed", "Failed"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"Body": b"{}", "InputLocation": "s3://payloads/x"}, "exactly one"),
        ({}, "exactly one"),
        ({"Body": b"x" * 128_001}, "128000"),
        ({"Body": b"{}", "InferenceId": "x" * 65}, "64"),
        ({"Body": b"{}", "CustomAttributes": "x" * 1025}, "1024"),
        ({"Body": b"{}", "RequestTTLSeconds": 59}, "RequestTTLSeconds"),
        ({"Body": b"{}", "InvocationTimeoutSeconds": 3601}, "InvocationTimeoutSeconds"),
    ],
)
def test_what_sagemaker_refuses_is_refused_here(
    bench: Bench, options: dict[str, Any], part: str
) -> None:
    """A limit found only in the cloud is found too late.

    SageMaker Runtime API reference, InvokeEndpointAsync: Body and InputLocation are mutually
    exclusive, Body at most 128,000 bytes, and the lengths and ranges of its headers.
    """
    bench.deploy(echo())
    with pytest.raises((ClientError, ParamValidationError), match=part):
        bench.runtime.invoke_endpoint_async(EndpointName=NAME, **options)
    assert bench.sagemaker.endpoint(REGION, NAME).backlog == 0


def test_an_unknown_endpoint_and_a_synchronous_call_are_refused(bench: Bench) -> None:
    """A typing error in a name must not look like an empty queue.

    Developer Guide, "Asynchronous inference": such an endpoint takes asynchronous calls only.
    """
    bench.deploy(echo())
    with pytest.raises(ClientError) as unknown:
        bench.runtime.invoke_endpoint_async(EndpointName="nobody", Body=b"{}")
    assert unknown.value.response["Error"]["Code"] == "ValidationError"
    assert unknown.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(ClientError, match="asynchronous"):
        bench.runtime.invoke_endpoint(EndpointName=NAME, Body=b"{}")
    with pytest.raises(ClientError, match="Could not find endpoint") as undescribed:
        bench.control.describe_endpoint(EndpointName="nobody")
    assert undescribed.value.response["Error"]["Code"] == "ValidationException"


def test_an_instance_gets_no_more_requests_at_once_than_configured(bench: Bench) -> None:
    """Priority holds only while SageMaker's own queue is as deep as we think.

    API reference, AsyncInferenceClientConfig: MaxConcurrentInvocationsPerInstance.
    """
    endpoint = bench.deploy(echo(10), concurrency=2, instances=2)
    for number in range(7):
        bench.invoke(number, InferenceId=f"n{number}")
    assert (endpoint.backlog, len(endpoint.waiting)) == (7, 3)
    bench.scheduler.run_for(11)
    assert [notice["inferenceId"] for notice in bench.notices()] == ["n0", "n1", "n2", "n3"]
    bench.scheduler.run_for(10)
    assert [notice["inferenceId"] for notice in bench.notices()] == ["n4", "n5", "n6"]


def test_a_request_that_waits_too_long_expires(bench: Bench) -> None:
    """A lease must cover the queue's longest stay, and nothing older may still run.

    SageMaker Runtime API reference, InvokeEndpointAsync, RequestTTLSeconds: "maximum age in
    seconds a request can be in the queue before it is marked as expired".
    """
    endpoint = bench.deploy(echo(100))
    bench.invoke("first", InferenceId="first", RequestTTLSeconds=60)
    bench.invoke("second", InferenceId="second", RequestTTLSeconds=60)
    bench.scheduler.run_for(61)
    (notice,) = bench.notices()
    assert (notice["inferenceId"], notice["invocationStatus"]) == ("second", "Failed")
    bench.scheduler.run_for(60)
    (notice,) = bench.notices()
    assert (notice["inferenceId"], notice["invocationStatus"]) == ("first", "Completed")
    assert endpoint.backlog == 0


def test_a_run_that_takes_too_long_fails_and_frees_its_place(bench: Bench) -> None:
    """A model that hangs must not hold a slot for ever.

    SageMaker Runtime API reference, InvokeEndpointAsync, InvocationTimeoutSeconds.
    """
    bench.deploy(echo(100))
    bench.invoke("slow", InferenceId="slow", InvocationTimeoutSeconds=5)
    bench.invoke("next", InferenceId="next")
    bench.scheduler.run_for(150)
    slow, following = bench.notices()
    assert (slow["inferenceId"], slow["invocationStatus"]) == ("slow", "Failed")
    assert "timed out" in slow["failureReason"]
    assert following["inferenceId"] == "next"
    assert following["eventTime"] == "2026-01-05T00:01:45.000Z"


def test_a_models_error_reaches_the_failure_path_and_the_error_topic(bench: Bench) -> None:
    """A user whose prompt breaks the model wants to read why.

    API reference, AsyncInferenceOutputConfig (S3FailurePath) and AsyncInferenceNotificationConfig
    (ErrorTopic, ERROR_NOTIFICATION_TOPIC).
    """

    def answers(_: Any) -> Any:
        raise ValueError("too many tokens")

    bench.deploy(partial(Python, answers=answers))
    reply = bench.invoke("text", InferenceId="job")
    bench.scheduler.run_for(1)
    (notice,) = bench.notices()
    assert notice["invocationStatus"] == "Failed"
    assert notice["failureReason"].startswith("ClientError: Received server error (500) from model")
    assert "responseParameters" not in notice
    assert "too many tokens" in base64.b64decode(notice["responseBody"]["content"]).decode()
    assert b"too many tokens" in bench.object(reply["FailureLocation"])
    assert len(bench.objects()) == 1


def test_a_large_response_is_not_included(bench: Bench) -> None:
    """Complete must fetch what does not fit a message.

    API reference, AsyncInferenceNotificationConfig: included "only if the response size is less
    than or equal to 128 KB".
    """
    bench.deploy(partial(Python, answers=lambda size: b"x" * size))
    bench.invoke(128 * 1024)
    bench.invoke(128 * 1024 + 1)
    bench.scheduler.run_for(1)
    assert ["responseBody" in notice for notice in bench.notices()] == [True, False]


def test_new_instances_serve_only_when_warm(bench: Bench) -> None:
    """Scaling that pretends to be instant hides every burst.

    Developer Guide, "Custom inference code with hosting services": an instance is in service once
    its container answers pings; API reference, ProductionVariantSummary, for the two counts.
    """
    bench.deploy(echo(10, warm_up_s=240))
    assert bench.counts() == ("InService", 1, 1)
    for _ in range(3):
        bench.invoke("x")
    bench.control.update_endpoint_weights_and_capacities(
        EndpointName=NAME,
        DesiredWeightsAndCapacities=[{"VariantName": "live", "DesiredInstanceCount": 3}],
    )
    assert bench.counts() == ("Updating", 1, 3)
    with pytest.raises(ClientError, match="in-progress") as busy:
        bench.control.update_endpoint_weights_and_capacities(
            EndpointName=NAME,
            DesiredWeightsAndCapacities=[{"VariantName": "live", "DesiredInstanceCount": 2}],
        )
    assert busy.value.response["Error"]["Code"] == "ValidationException"
    bench.scheduler.run_for(239)
    assert bench.counts() == ("Updating", 1, 3)
    bench.scheduler.run_for(2)
    assert bench.counts() == ("InService", 3, 3)


def test_an_endpoint_may_scale_to_zero_and_queue_meanwhile(bench: Bench) -> None:
    """A version nobody wants must cost nothing, and lose nothing.

    Developer Guide, "Autoscale an asynchronous endpoint": it scales down to zero instances, and
    "requests that are received when there are zero instances are queued".
    """
    endpoint = bench.deploy(echo(10, warm_up_s=100))
    bench.sagemaker.resize(endpoint, 0)
    assert bench.counts() == ("InService", 0, 0)
    bench.invoke("x")
    bench.scheduler.run_for(50)
    assert endpoint.backlog == 1
    bench.sagemaker.resize(endpoint, 1)
    bench.scheduler.run_for(111)
    assert [notice["invocationStatus"] for notice in bench.notices()] == ["Completed"]


def test_an_instance_is_billed_from_its_request_to_its_release(bench: Bench) -> None:
    """GPU hours in a report must be those of the bill.

    Amazon SageMaker pricing: instances are charged per second from launch until stopped.
    """
    endpoint = bench.deploy(echo(warm_up_s=100))
    start_s = bench.scheduler.now()
    bench.scheduler.run_for(100)
    bench.sagemaker.resize(endpoint, 2)
    bench.scheduler.run_for(200)
    bench.sagemaker.resize(endpoint, 0)
    bench.scheduler.run_for(300)
    now_s = bench.scheduler.now()
    assert bench.sagemaker.instance_seconds(start_s, now_s) == 300 + 200
    assert bench.sagemaker.instance_seconds(start_s + 200, now_s) == 200
    assert {use.instance_type for use in bench.sagemaker.usage()} == {"ml.g5.xlarge"}


@pytest.mark.parametrize(
    ("in_flight", "statuses"),
    [("requeued", ["Completed"]), ("failed", ["Failed"]), ("silent", [])],
)
def test_a_request_on_an_instance_that_goes(
    bench: Bench, in_flight: Any, statuses: list[str]
) -> None:
    """Each answer to what scale-in does to running work must be survivable.

    Not documented: docs, table of assumptions.
    """
    endpoint = bench.deploy(
        echo(10), instances=2, assumptions=Assumptions(in_flight=in_flight), notice_s=0.0
    )
    bench.invoke("one")
    bench.sagemaker.delete(endpoint) if in_flight == "silent" else None
    if in_flight != "silent":
        bench.sagemaker.resize(endpoint, 0)
        bench.sagemaker.resize(endpoint, 1)
    bench.scheduler.run_for(30)
    assert [notice["invocationStatus"] for notice in bench.notices()] == statuses


@pytest.mark.parametrize(("answer", "runs"), [("both_run", 2), ("second_dropped", 1)])
def test_two_invocations_with_one_inference_id(bench: Bench, answer: Any, runs: int) -> None:
    """A message delivered twice is invoked twice; the commit stays single either way.

    Not documented: docs, table of assumptions.
    """
    bench.deploy(echo(1), assumptions=Assumptions(same_inference_id=answer))
    for _ in range(2):
        assert bench.invoke("x", InferenceId="same")["InferenceId"] == "same"
    bench.scheduler.run_for(10)
    assert len(bench.notices()) == runs


def test_a_failed_notification_may_name_only_its_input(bench: Bench) -> None:
    """Complete must find the job by whatever the notification carries.

    Not documented: docs, table of assumptions.
    """
    bench.deploy(
        partial(Python, answers=lambda _: Answer(status=400)),
        assumptions=Assumptions(failure_notice="input_location"),
    )
    bench.s3.put_object(Bucket="payloads", Key="in", Body=b"1")
    bench.invoke(InputLocation="s3://payloads/in", InferenceId="x")
    bench.scheduler.run_for(1)
    (notice,) = bench.notices()
    assert "inferenceId" not in notice
    assert notice["requestParameters"] == {"inputLocation": "s3://payloads/in"}


@pytest.mark.parametrize(
    ("told", "said"),
    [("status", "Received client error (400) from model."), ("general", "The model")],
)
def test_a_failed_notification_tells_the_containers_status_or_not(
    bench: Bench, told: Any, said: str
) -> None:
    """Complete reads from it whose fault a failure is, and must do without.

    Not documented: docs, table of assumptions.
    """
    bench.deploy(
        partial(Python, answers=lambda _: Answer(status=400)),
        assumptions=Assumptions(failure_reason=told),
    )
    bench.invoke("x")
    bench.scheduler.run_for(1)
    (notice,) = bench.notices()
    assert notice["failureReason"].startswith(f"ClientError: {said}")


@pytest.mark.parametrize(("answer", "count"), [("at_least_once", 2), ("sometimes_never", 0)])
def test_notifications_come_twice_or_never(bench: Bench, answer: Any, count: int) -> None:
    """SNS delivers at least once, and nobody promises that SageMaker always publishes.

    Amazon SNS Developer Guide, "Message delivery": duplicates are possible; the rest is an
    assumption.
    """
    bench.deploy(
        echo(1), assumptions=Assumptions(notifications=answer, notifications_odd_share=1.0)
    )
    bench.invoke("x")
    bench.scheduler.run_for(3)
    assert len(bench.notices()) == count
    assert len(bench.objects()) == 1


@pytest.mark.parametrize(
    ("output", "first"), [("object_first", (1, 0)), ("notification_first", (0, 1))]
)
def test_object_and_notification_come_in_either_order(
    bench: Bench, output: Any, first: tuple[int, int]
) -> None:
    """Complete may be told of an object before it can read it.

    Not documented: docs, table of assumptions.
    """
    bench.deploy(echo(1), assumptions=Assumptions(output=output), notice_s=5.0)
    bench.invoke("x")
    bench.scheduler.run_for(2)
    assert (len(bench.objects()), len(bench.notices())) == first
    bench.scheduler.run_for(5)
    assert len(bench.objects()) == 1


def test_the_queue_may_take_any_order(bench: Bench) -> None:
    """Nothing may rely on the order of SageMaker's queue.

    Not documented: docs, table of assumptions.
    """
    bench.deploy(echo(1), assumptions=Assumptions(queue="any_order"))
    for number in range(20):
        bench.invoke(number, InferenceId=f"{number:02}")
    bench.scheduler.run_for(30)
    order = [notice["inferenceId"] for notice in bench.notices()]
    assert len(order) == 20
    assert order != sorted(order)


def test_an_expired_request_may_vanish(bench: Bench) -> None:
    """Only the lease then tells that a job is still owed.

    Not documented: docs, table of assumptions.
    """
    bench.deploy(echo(100), assumptions=Assumptions(expired="silent"))
    bench.invoke("first")
    bench.invoke("second", RequestTTLSeconds=60)
    bench.scheduler.run_for(90)
    assert bench.notices() == []


def test_the_included_response_may_be_text(bench: Bench) -> None:
    """Complete reads whichever encoding comes.

    Not documented: docs, table of assumptions.
    """
    bench.deploy(echo(1), assumptions=Assumptions(included_response="text"))
    bench.invoke("x")
    bench.scheduler.run_for(3)
    (notice,) = bench.notices()
    assert notice["responseBody"] == {"content": '{"echo": "x"}'}


def test_a_container_that_breaks_off_is_replaced(bench: Bench) -> None:
    """One crashed process must not swallow every request after it.

    Developer Guide, "Custom inference code with hosting services": unhealthy containers are
    replaced.
    """

    class Crashing(Simulated):
        def invoke(self, body: bytes, headers: Any, reply: Any) -> None:
            self._scheduler.after(1, reply, None)

    made: list[int] = []

    def factory(scheduler: Scheduler, environment: Any) -> Simulated:
        made.append(1)
        kind = Crashing if len(made) == 1 else Simulated
        return kind(scheduler, environment, service_s=lambda _: 1.0, warm_up_s=60)

    bench.deploy(factory)
    bench.invoke("a", InferenceId="a")
    bench.invoke("b", InferenceId="b")
    bench.scheduler.run_for(2)
    assert bench.counts() == ("Updating", 0, 1)
    bench.scheduler.run_for(70)
    assert [n["invocationStatus"] for n in bench.notices()] == ["Failed", "Completed"]


def test_an_endpoint_whose_container_never_answers_fails(bench: Bench) -> None:
    """A wrong image must be seen as a failed deployment, with its reason.

    Developer Guide, "Custom inference code with hosting services": eight minutes to answer pings;
    API reference, DescribeEndpoint: Failed and FailureReason.
    """

    class Mute(Simulated):
        def ready(self) -> bool:
            return False

    bench.deploy(partial(Mute, service_s=lambda _: 1.0))
    assert bench.counts()[0] == "Creating"
    assert not bench.sagemaker.settled
    bench.scheduler.run_for(481)
    described = bench.control.describe_endpoint(EndpointName=NAME)
    assert described["EndpointStatus"] == "Failed"
    assert "ping health check" in described["FailureReason"]


def test_endpoints_are_listed_and_deleted(bench: Bench) -> None:
    """Operators look with the AWS command line, here as there.

    API reference, ListEndpoints and DeleteEndpoint.
    """
    endpoint = bench.deploy(echo(10))
    bench.invoke("x")
    (listed,) = bench.control.list_endpoints(NameContains="embedder")["Endpoints"]
    assert (listed["EndpointName"], listed["EndpointStatus"]) == (NAME, "InService")
    assert bench.control.list_endpoints(NameContains="chat")["Endpoints"] == []
    bench.control.delete_endpoint(EndpointName=NAME)
    assert bench.control.list_endpoints()["Endpoints"] == []
    assert not endpoint.instances
    assert len(bench.sagemaker.usage()) == 1


def test_a_model_may_be_swapped_while_it_serves(bench: Bench) -> None:
    """A test changes what a model answers in the middle of a scenario."""
    bench.deploy(echo(1))
    bench.sagemaker.serve(NAME, partial(Python, answers=lambda _: "other", service_s=1))
    reply = bench.invoke("x")
    bench.scheduler.run_for(2)
    assert bench.object(reply["OutputLocation"]) == b'"other"'


def test_what_cannot_run_is_named(bench: Bench) -> None:
    """A template that would do something else here than on AWS must not deploy quietly."""
    bench.deploy(echo())
    with pytest.raises(UnsupportedError, match="AsyncInferenceConfig"):
        bench.sagemaker.create(resource("EndpointConfig", ProductionVariants=[{}]))
    with pytest.raises(ValueError, match="InitialInstanceCount"):
        bench.sagemaker.create(
            resource(
                "EndpointConfig",
                AsyncInferenceConfig={},
                ProductionVariants=[{"InitialInstanceCount": 0}],
            )
        )
    with pytest.raises(ValueError, match="endpoint configuration"):
        bench.sagemaker.create(resource("Endpoint", EndpointConfigName="none"))
    with pytest.raises(ValueError, match="give a container"):
        bench.sagemaker.create(
            resource("Endpoint", EndpointName="other", EndpointConfigName="embedder-config")
        )


def test_references_are_what_cloudformation_gives(bench: Bench) -> None:
    """A stack that refers to a model by the wrong attribute must fail here too.

    CloudFormation user guide, AWS::SageMaker::Model, EndpointConfig, Endpoint: Ref gives the ARN,
    Fn::GetAtt the name.
    """
    bench.deploy(echo())
    created = bench.sagemaker.create(resource("Model", "Embedder"))
    assert created is not None
    assert created.physical_id == f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model/stack-embedder"
    assert created.attributes == {"ModelName": "stack-Embedder"}
