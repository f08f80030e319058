"""What happens to whole regions, and what is left when they are back."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from moto import mock_aws

from spillway.twin.alarms import Alarms
from spillway.twin.apigateway import ApiGateway
from spillway.twin.calls import LATENCY_S, Call, Fault, Hook
from spillway.twin.clock import START_S, Scheduler
from spillway.twin.containers import Python
from spillway.twin.dynamodb import DynamoDb
from spillway.twin.event_sources import EventSource, EventSources
from spillway.twin.events import EventRule, Events
from spillway.twin.functions import Answer, FunctionDefinition, Functions
from spillway.twin.http import Transport
from spillway.twin.metrics import Metric, Metrics
from spillway.twin.regions import Condition, Regions, Services, UnknownRegionError
from spillway.twin.resources import Resource
from spillway.twin.s3 import S3
from spillway.twin.sagemaker import Assumptions, SageMaker
from spillway.twin.scaling import Scaling
from spillway.twin.schedules import Rule, Schedules, Target
from spillway.twin.sqs import Sqs

HERE, THERE, THIRD = "us-east-1", "us-east-2", "us-west-2"
EVERYWHERE = (HERE, THERE, THIRD)
ACCOUNT = "123456789012"
ONCE = Config(
    retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=2
)
KEY = {
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
ONE = {"pk": {"S": "one"}}


class Code:
    """What a function does: `handle(event, client, sleep)`."""

    def __init__(self, handle: Callable[..., Any]) -> None:
        self.handle = handle

    def environment(
        self, *, environ: Any, session: Any, sleep: Any, **_: Any
    ) -> Callable[..., Any]:
        """Start an execution environment."""
        client = partial(session.client, config=ONCE)
        return lambda event, _: self.handle(event, client, sleep)


class World:
    """Every service in three regions, and functions that are told what to do."""

    def __init__(self, assumptions: Assumptions | None = None, *, seed: int = 1) -> None:
        self.scheduler = scheduler = Scheduler(virtual=True, seed=seed)
        self.hook = Hook(scheduler)
        self.sqs = Sqs(scheduler)
        self.functions = Functions(scheduler, self.hook, cold_start_s=0.0)
        self.sources = EventSources(scheduler, self.hook, self.sqs, self.functions)
        self.schedules = Schedules(scheduler, self.functions)
        self.gateway = ApiGateway(scheduler, self.functions)
        echo = partial(Python, answers=lambda body: {"echo": body}, service_s=10.0)
        self.sagemaker = SageMaker(scheduler, {"model": echo}, assumptions=assumptions)
        self.dynamodb = DynamoDb(scheduler, lag_s=1.0)
        self.s3 = S3(scheduler, lag_s=5.0)
        self.events = Events(scheduler, self.functions, self.schedules)
        self.metrics = Metrics(scheduler)
        self.acted: list[tuple[str, str]] = []
        self.alarms = Alarms(
            scheduler,
            self.metrics,
            act=lambda region, action, event: self.acted.append((region, event.state.value)),
        )
        self.scaling = Scaling(scheduler, self.sagemaker, self.alarms)
        services = Services(
            alarms=self.alarms,
            dynamodb=self.dynamodb,
            event_sources=self.sources,
            events=self.events,
            functions=self.functions,
            gateway=self.gateway,
            metrics=self.metrics,
            s3=self.s3,
            sagemaker=self.sagemaker,
            scaling=self.scaling,
            schedules=self.schedules,
        )
        self.hook.consistency = self.dynamodb
        self.regions = Regions(self.hook, services, names=EVERYWHERE)
        self.runs: list[tuple[float, str, Any]] = []

    def close(self) -> None:
        """End it all."""
        self.scheduler.close()
        for service in (
            self.scaling,
            self.alarms,
            self.metrics,
            self.sagemaker,
            self.s3,
            self.dynamodb,
            self.functions,
            self.sqs,
        ):
            service.close()
        self.hook.close()

    def client(self, service: str, region: str) -> Any:
        """An operator's client."""
        return self.hook.session(region=region).client(service)

    def resource(self, kind: str, region: str, name: str, **properties: Any) -> Resource:
        """A resource as a template has it."""
        return Resource(
            type=f"AWS::{kind}",
            logical_id=kind.rpartition(":")[2],
            physical_id=name,
            region=region,
            account=ACCOUNT,
            stack="stack",
            properties=properties,
        )

    def deploy(self, region: str, name: str, handle: Callable[..., Any], **settings: Any) -> None:
        """Deploy a function that notes when and where it ran, and with what."""

        def noted(event: Any, client: Any, sleep: Any) -> Any:
            self.runs.append((self.scheduler.now() - START_S, region, event))
            return handle(event, client, sleep)

        self.functions.deploy(
            FunctionDefinition(name=name, region=region, code=Code(noted), **settings)
        )

    def run(self, region: str, handle: Callable[..., Any], **settings: Any) -> Any:
        """Run code as a function of a region; its result."""
        self.deploy(region, "probe", handle, **settings)
        task = self.functions.invoke(region, "probe")
        answer: Answer = self.scheduler.call(self.scheduler.wait, task)
        assert not answer.error, answer.payload
        return answer.json()

    def outcome(self, region: str, call: Callable[[Any], Any]) -> tuple[str, float]:
        """How one AWS call of a function in a region ends, and after how many seconds."""

        def probe(event: Any, client: Any, sleep: Any) -> Any:
            began_s = self.scheduler.now()
            try:
                call(client)
            except Exception as error:  # noqa: BLE001 the test looks at it
                said = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
                return [said or type(error).__name__, self.scheduler.now() - began_s]
            return ["", self.scheduler.now() - began_s]

        ended, seconds = self.run(region, probe, timeout_s=300)
        return ended, seconds

    def queue(self, region: str, name: str = "work", **attributes: str) -> str:
        """Make a queue; its URL."""
        made = self.client("sqs", region).create_queue(QueueName=name, Attributes=attributes)
        return str(made["QueueUrl"])

    def table(self, name: str, *, strong: bool) -> None:
        """Make a global table of all three regions."""
        properties: dict[str, Any] = KEY | {"Replicas": [{"Region": one} for one in EVERYWHERE]}
        if strong:
            properties["MultiRegionConsistency"] = "STRONG"
        self.dynamodb.create(self.resource("DynamoDB::GlobalTable", HERE, name, **properties))

    def put(self, region: str, value: str, table: str = "eventual") -> None:
        """Write the one item, as an operator."""
        item = ONE | {"v": {"S": value}}
        self.client("dynamodb", region).put_item(TableName=table, Item=item)

    def values(self, table: str = "eventual") -> list[str]:
        """The one item in every region, as an operator sees it."""
        found = [
            self.client("dynamodb", region).get_item(TableName=table, Key=ONE).get("Item", {})
            for region in EVERYWHERE
        ]
        return [item.get("v", {}).get("S", "") for item in found]

    def api(self, region: str) -> httpx.Client:
        """A client of a region's API."""
        return httpx.Client(
            transport=Transport(self.scheduler, self.gateway, region=region),
            base_url="http://api",
            timeout=httpx.Timeout(10.0, connect=3.0),
        )

    def deploy_api(self, region: str, handle: Callable[..., Any]) -> None:
        """Deploy an API whose one function answers everything."""
        self.deploy(region, "submit", handle, timeout_s=29)

        def create(kind: str, **properties: Any) -> Resource:
            resource = self.resource(f"ApiGateway::{kind}", region, kind, **properties)
            return self.gateway.create(resource) or resource

        api = create("RestApi", Name="app")
        ids = {"RestApiId": api.physical_id}
        root = api.attributes["RootResourceId"]
        path = create("Resource", ParentId=root, PathPart="{proxy+}", **ids)
        arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:submit"
        create(
            "Method",
            HttpMethod="ANY",
            ResourceId=path.physical_id,
            Integration={"Type": "AWS_PROXY", "Uri": f"arn:path/functions/{arn}/invocations"},
            **ids,
        )
        deployment = create("Deployment", **ids)
        create("Stage", StageName="api", DeploymentId=deployment.physical_id, **ids)

    def deploy_endpoint(self, region: str) -> str:
        """Deploy an endpoint whose model takes 10 s, one request at a time; its results' queue."""
        where = {"LocationConstraint": region}
        self.client("s3", region).create_bucket(
            Bucket="payloads",
            **({} if region == HERE else {"CreateBucketConfiguration": where}),
        )
        results = self.queue(region, "results")
        topic = self.client("sns", region).create_topic(Name="results")["TopicArn"]
        self.client("sns", region).subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=f"arn:aws:sqs:{region}:{ACCOUNT}:results",
            Attributes={"RawMessageDelivery": "true"},
        )
        outputs = {
            "S3OutputPath": "s3://payloads/results",
            "NotificationConfig": {"SuccessTopic": topic, "ErrorTopic": topic},
        }
        variant = {"VariantName": "live", "ModelName": "model", "InitialInstanceCount": 1}
        for kind, properties in (
            ("Model", {"ModelName": "model"}),
            (
                "EndpointConfig",
                {
                    "EndpointConfigName": "config",
                    "ProductionVariants": [variant],
                    "AsyncInferenceConfig": {"OutputConfig": outputs},
                },
            ),
            ("Endpoint", {"EndpointName": "model", "EndpointConfigName": "config"}),
        ):
            self.sagemaker.create(self.resource(f"SageMaker::{kind}", region, kind, **properties))
        return results

    def invoke(self, region: str, *names: str) -> None:
        """Queue requests at the endpoint."""
        for name in names:
            self.client("sagemaker-runtime", region).invoke_endpoint_async(
                EndpointName="model", Body=b"1", InferenceId=name
            )

    def notices(self, region: str, url: str) -> list[str]:
        """Status and id of the notifications that came."""
        found = []
        client = self.client("sqs", region)
        while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            found += [json.loads(message["Body"]) for message in messages]
        return sorted(f"{each['invocationStatus']} {each['inferenceId']}" for each in found)


@pytest.fixture
def assumptions() -> Assumptions:
    """What the world assumes about AWS."""
    return Assumptions()


@pytest.fixture
def world(assumptions: Assumptions) -> Iterator[World]:
    """A fresh world, all of it sound."""
    with mock_aws(config={"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}):
        world = World(assumptions)
        try:
            yield world
        finally:
            world.close()


# ---- kill


def test_executions_die_where_they_are(world: World) -> None:
    """What a dying region was doing is half done; code that cannot bear that loses jobs."""
    steps: list[str] = []

    def work(event: Any, client: Any, sleep: Any) -> None:
        steps.append("begun")
        try:
            sleep(10)
            steps.append("not reached")
        finally:
            client("sqs").list_queues()
            steps.append("nor this")

    world.deploy(THERE, "work", work, timeout_s=60)
    task = world.functions.invoke(THERE, "work")
    world.scheduler.run_for(1)

    world.regions.kill(THERE)
    world.scheduler.run_for(1)

    assert task.result().error == "Unhandled"
    assert steps == ["begun"]
    assert world.regions.condition(THERE) == Condition(killed=True)


def test_an_execution_dies_that_has_not_begun(world: World) -> None:
    """Whoever waits for it must hear of its end, and its concurrency must be free again."""
    url = world.queue(THERE)
    world.deploy(THERE, "work", lambda event, client, sleep: None, reserved_concurrency=1)
    arn = f"arn:aws:sqs:{THERE}:{ACCOUNT}:work"
    world.sources.add(EventSource(queue_arn=arn, function="work"))
    world.client("sqs", THERE).send_message(QueueUrl=url, MessageBody="x")
    world.scheduler.run_until_true(lambda: bool(world.functions.running(THERE, "work")), 5)

    world.regions.kill(THERE)
    world.scheduler.run_for(1)
    assert (world.runs, world.functions.running(THERE, "work")) == ([], 0)

    world.regions.restore(THERE)
    world.scheduler.run_for(60)
    assert len(world.runs) == 1


def test_a_function_may_kill_its_own_region(world: World) -> None:
    """A simulation chooses the moment by a call; that call is where the caller dies."""
    steps: list[str] = []

    def work(event: Any, client: Any, sleep: Any) -> None:
        steps.append("begun")
        client("sqs").list_queues()
        steps.append("not reached")

    world.deploy(THERE, "work", work)

    def strike(call: Call) -> bool:
        world.regions.kill(call.region)
        return True

    world.hook.fail(Fault("slow", operation="ListQueues", when=strike))
    task = world.functions.invoke(THERE, "work")
    world.scheduler.run_for(5)

    assert steps == ["begun"]
    assert task.result().error == "Unhandled"


def test_nothing_begins_in_a_dead_region(world: World) -> None:
    """A region that still does a little is not dead, and its jobs would run twice."""
    world.deploy(THERE, "work", lambda event, client, sleep: None)
    url = world.queue(THERE)
    arn = f"arn:aws:sqs:{THERE}:{ACCOUNT}:work"
    world.sources.add(EventSource(queue_arn=arn, function="work"))
    target = Target(arn=f"arn:aws:lambda:{THERE}:{ACCOUNT}:function:work", input='"tick"')
    world.schedules.add(
        Rule(name="tick", region=THERE, expression="rate(1 minute)", targets=[target])
    )
    world.regions.kill(THERE)
    world.client("sqs", THERE).send_message(QueueUrl=url, MessageBody="x")
    world.functions.invoke_async(THERE, "work", '"event"')

    world.scheduler.run_for(150)
    assert world.runs == []

    world.regions.restore(THERE)
    world.scheduler.run_for(40)
    what = [event if isinstance(event, str) else "message" for _, _, event in world.runs]
    # The two ticks of the outage are gone for good; the third comes at its own time.
    assert sorted(what) == ["event", "message", "tick"]
    assert next(at_s for at_s, _, event in world.runs if event == "tick") == pytest.approx(180, 1)


def test_a_dead_region_watches_nothing(world: World) -> None:
    """Its metrics stop with it: an alarm there neither fires nor tells the others.

    What EventBridge had accepted is delivered when the region is back.
    """
    world.deploy(THERE, "work", lambda event, client, sleep: None)
    arn = f"arn:aws:lambda:{THERE}:{ACCOUNT}:function:work"
    properties = {
        "AlarmName": "high",
        "Namespace": "Spillway",
        "MetricName": "Pressure",
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": [arn],
    }
    for region in (HERE, THERE):
        world.alarms.put(ACCOUNT, region, properties)
    pattern = {"source": ["aws.cloudwatch"]}
    world.events.add(
        EventRule(name="on", region=THERE, pattern=pattern, targets=(Target(arn=arn),))
    )
    world.events.put(THERE, {"source": "aws.cloudwatch"})
    world.regions.kill(THERE)
    for region in (HERE, THERE):
        world.metrics.put(region, Metric("Spillway", "Pressure"), [5.0])
    world.scheduler.run_for(120)
    assert world.acted == [(HERE, "ALARM")]
    assert world.runs == []

    world.regions.restore(THERE)
    world.metrics.put(THERE, Metric("Spillway", "Pressure"), [5.0])
    world.scheduler.run_for(120)
    assert world.acted == [(HERE, "ALARM"), (THERE, "ALARM")]
    assert [event for _, _, event in world.runs] == [{"source": "aws.cloudwatch"}]


def test_a_dead_region_is_not_scaled(world: World) -> None:
    """A fleet that grew while nobody served it would be paid for, and would look alive."""
    world.deploy_endpoint(THERE)
    endpoint = world.sagemaker.endpoint(THERE, "model")
    schedule = {
        "ScheduledActionName": "each",
        "Schedule": "rate(5 minutes)",
        "ScalableTargetAction": {"MinCapacity": 3},
    }
    properties: dict[str, Any] = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/model/variant/live",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "MinCapacity": 1,
        "MaxCapacity": 4,
        "ScheduledActions": [schedule],
    }
    kind = "ApplicationAutoScaling::ScalableTarget"
    world.scaling.create(world.resource(kind, THERE, "target", **properties))
    world.regions.kill(THERE)
    world.scheduler.run_for(400)
    assert endpoint.desired == 1
    world.regions.restore(THERE)
    world.scheduler.run_for(300)
    assert endpoint.desired == 3


def test_messages_in_flight_come_back_by_the_clock(world: World) -> None:
    """SQS does not notice that its consumer died; the visibility timeout passes meanwhile."""
    url = world.queue(THERE, VisibilityTimeout="60")
    world.deploy(THERE, "work", lambda event, client, sleep: sleep(20), timeout_s=30)
    arn = f"arn:aws:sqs:{THERE}:{ACCOUNT}:work"
    world.sources.add(EventSource(queue_arn=arn, function="work"))
    world.client("sqs", THERE).send_message(QueueUrl=url, MessageBody="x")
    world.scheduler.run_for(10)
    world.regions.kill(THERE)
    world.scheduler.run_for(10)
    world.regions.restore(THERE)
    world.scheduler.run_for(100)

    begun = [at_s for at_s, _, _ in world.runs]
    assert len(begun) == 2
    assert begun[1] - begun[0] == pytest.approx(60, abs=1)


def test_events_too_old_for_their_function_are_dropped(world: World) -> None:
    """Lambda keeps an event for MaximumEventAgeInSeconds, also through an outage."""
    world.deploy(THERE, "work", lambda event, client, sleep: None, event_age_s_max=60.0)
    world.regions.kill(THERE)
    world.functions.invoke_async(THERE, "work", "1")
    world.scheduler.run_for(100)
    world.regions.restore(THERE)
    world.scheduler.run_for(10)

    assert world.runs == []
    assert world.functions.dropped["work"] == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client("sqs", THERE).list_queues(),
        lambda client: client("lambda", THERE).invoke(FunctionName="f"),
        lambda client: client("dynamodb", THERE).get_item(TableName="strong", Key=ONE),
        # The bucket is there, whatever the client's own region.
        lambda client: client("s3", HERE).get_object(Bucket="there", Key="k"),
    ],
)
def test_calls_to_a_dead_region_cannot_connect(world: World, call: Callable[[Any], Any]) -> None:
    """Whoever waits longer than its timeout for a dead region dies with it."""
    world.table("strong", strong=True)
    where = {"LocationConstraint": THERE}
    world.client("s3", THERE).create_bucket(Bucket="there", CreateBucketConfiguration=where)
    world.client("s3", THERE).put_object(Bucket="there", Key="k", Body=b"x")
    world.regions.kill(THERE)

    assert world.outcome(HERE, call) == (ConnectTimeoutError.__name__, 1.0)
    assert world.outcome(HERE, lambda client: client("sqs").list_queues())[0] == ""

    world.regions.restore(THERE)
    ended, _ = world.outcome(HERE, call)
    assert ended in ("", "ResourceNotFoundException")


def test_a_call_on_its_way_when_the_region_dies_may_have_had_its_effect(world: World) -> None:
    """The caller cannot tell whether it happened, and must not guess."""
    world.hook.latency_spread = 0.0
    world.hook.latency_s["sqs"] = 1.0
    url = world.queue(THERE)

    def send(client: Any) -> None:
        client("sqs", THERE).send_message(QueueUrl=url, MessageBody="x")

    for kill_after_s, messages in ((0.25, 0), (0.75, 1)):
        world.scheduler.after(kill_after_s, world.regions.kill, THERE)
        ended, seconds = world.outcome(HERE, send)
        assert ended == ReadTimeoutError.__name__
        assert seconds == pytest.approx(2.0)
        world.regions.restore(THERE)
        counts = world.client("sqs", THERE).get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )["Attributes"]
        assert int(counts["ApproximateNumberOfMessages"]) == messages


def test_a_function_can_still_die_at_a_call_to_a_dead_region(world: World) -> None:
    """Faults come together; a death must not wait for better days."""
    world.regions.kill(THERE)
    ignored = world.hook.fail(Fault("throttle", region=THERE))
    fault = world.hook.fail(Fault("die_after", region=THERE))
    world.deploy(HERE, "work", lambda event, client, sleep: client("sqs", THERE).list_queues())
    task = world.functions.invoke(HERE, "work")
    world.scheduler.run_for(5)

    assert task.result().json()["errorType"] == "Runtime.ExitError"
    assert (fault.hits, ignored.hits) == (1, 0)


def test_an_operator_looks_into_a_dead_region(world: World) -> None:
    """A test that cannot look cannot tell what was lost."""
    url = world.queue(THERE)
    world.regions.kill(THERE)
    now_s = world.scheduler.now()
    world.client("sqs", THERE).send_message(QueueUrl=url, MessageBody="x")
    assert world.scheduler.now() == now_s


def test_the_api_of_a_dead_region_cannot_be_reached(world: World) -> None:
    """Clients fail over by what they see: no connection, or an answer that never comes."""
    world.deploy_api(THERE, lambda event, client, sleep: sleep(5) or {"statusCode": 204})
    world.deploy_api(HERE, lambda event, client, sleep: {"statusCode": 204})
    world.scheduler.after(2, world.regions.kill, THERE)
    began_s = world.scheduler.now()
    with pytest.raises(httpx.ReadTimeout):
        world.api(THERE).get("/x")
    assert world.scheduler.now() - began_s == pytest.approx(10)
    with pytest.raises(httpx.ConnectTimeout):
        world.api(THERE).get("/x")
    assert world.scheduler.now() - began_s == pytest.approx(13)
    assert world.api(HERE).get("/x").status_code == 204
    world.regions.restore(THERE)
    assert world.api(THERE).get("/x").status_code == 204


def test_an_outage_shorter_than_a_request_loses_it_too(world: World) -> None:
    """Its function died; nobody is there to answer."""
    world.deploy_api(THERE, lambda event, client, sleep: sleep(5) or {"statusCode": 204})
    world.scheduler.after(2, world.regions.kill, THERE)
    world.scheduler.after(2.001, world.regions.restore, THERE)
    with pytest.raises(httpx.ReadTimeout):
        world.api(THERE).get("/x")


# ---- endpoints


@pytest.mark.parametrize(
    ("assumptions", "after"),
    [
        (Assumptions(in_flight="requeued"), ["Completed a", "Completed b"]),
        (Assumptions(in_flight="failed"), ["Completed b", "Failed a"]),
        (Assumptions(in_flight="silent"), ["Completed b"]),
    ],
)
def test_what_an_endpoint_computed_is_lost_or_comes_later(
    world: World, assumptions: Assumptions, after: list[str]
) -> None:
    """What becomes of a request in flight is not documented: each answer must be survived."""
    url = world.deploy_endpoint(THERE)
    world.invoke(THERE, "a", "b")
    world.scheduler.run_for(5)
    world.regions.kill(THERE)
    world.scheduler.run_for(100)
    assert world.notices(THERE, url) == []
    world.regions.restore(THERE)
    world.scheduler.run_for(25)
    assert world.notices(THERE, url) == after


def test_requests_expire_while_their_region_is_down(world: World) -> None:
    """A request's time to live is a promise about the clock, not about the region."""
    url = world.deploy_endpoint(THERE)
    client = world.client("sagemaker-runtime", THERE)
    world.invoke(THERE, "a")
    client.invoke_endpoint_async(
        EndpointName="model", Body=b"1", InferenceId="b", RequestTTLSeconds=60
    )
    world.regions.kill(THERE)
    world.scheduler.run_for(100)
    world.regions.restore(THERE)
    world.scheduler.run_for(15)
    assert world.notices(THERE, url) == ["Completed a", "Failed b"]


def test_a_notice_caught_by_the_outage_comes_after_it(world: World) -> None:
    """The object is there, and nobody was told: complete must cope with being told late."""
    url = world.deploy_endpoint(THERE)
    world.invoke(THERE, "a")
    world.scheduler.run_for(10.01)
    world.regions.kill(THERE)
    world.scheduler.run_for(10)
    assert world.notices(THERE, url) == []
    world.regions.restore(THERE)
    world.scheduler.run_for(1)
    assert world.notices(THERE, url) == ["Completed a"]


# ---- replicas


@pytest.mark.parametrize("how", ["kill", "isolate"])
def test_an_eventual_replica_catches_up_both_ways(world: World, how: str) -> None:
    """Replicas that stay different give two answers to one question for ever.

    "If a replica in a MREC global table becomes isolated or impaired, any data that has not yet
    been replicated to other Regions will be replicated when the replica becomes healthy", and of
    concurrent changes the one with the latest timestamp wins (DynamoDB developer guide, "How
    global tables work", V2globaltables_HowItWorks.html).
    """
    world.table("eventual", strong=False)
    world.put(THERE, "mine")
    world.scheduler.run_for(0.5)
    getattr(world.regions, how)(THERE)
    world.scheduler.run_for(5)
    assert world.values() == ["", "mine", ""]
    for value in ("second", "third"):
        world.put(HERE, value)
        world.scheduler.run_for(5)
    assert world.values() == ["third", "mine", "third"]
    world.regions.restore(THERE)
    world.scheduler.run_for(0.9)
    assert world.values() == ["third", "mine", "third"]
    world.scheduler.run_for(0.2)
    assert world.values() == ["third"] * 3


def test_the_last_write_wins_though_it_was_made_in_the_lost_region(world: World) -> None:
    """The write that the dying region took last is the latest, and reaches the others."""
    world.table("eventual", strong=False)
    world.put(HERE, "first")
    world.put(THERE, "last")
    world.regions.kill(THERE)
    world.scheduler.run_for(5)
    assert world.values() == ["first", "last", "first"]
    world.regions.restore(THERE)
    world.scheduler.run_for(1.1)
    assert world.values() == ["last"] * 3


def test_the_strong_table_needs_two_of_its_regions(world: World) -> None:
    """The ledger must survive the loss of one region, and refuse to fork after two.

    "Item changes in an MRSC global table replica are synchronously replicated to at least one
    other Region before the write operation returns" (How global tables work).
    """
    world.table("ledger", strong=True)

    def put(client: Any) -> None:
        client("dynamodb").put_item(TableName="ledger", Item=ONE)

    world.regions.kill(THERE)
    assert [world.outcome(region, put)[0] for region in (HERE, THIRD)] == ["", ""]
    world.regions.isolate(THIRD)
    assert world.outcome(HERE, put)[0] == "InternalServerError"
    assert world.outcome(THIRD, put)[0] == ConnectTimeoutError.__name__
    world.regions.restore(THIRD)
    assert [world.outcome(region, put)[0] for region in (HERE, THIRD)] == ["", ""]


def test_objects_are_replicated_when_both_buckets_are_there(world: World) -> None:
    """A copy that was under way when the region died is made later; S3 keeps trying."""
    rule = {
        "Status": "Enabled",
        "Destination": {"Bucket": "arn:aws:s3:::copies"},
    }
    for region, name, more in (
        (THERE, "copies", {}),
        (HERE, "originals", {"ReplicationConfiguration": {"Rules": [rule]}}),
    ):
        versioned = {"VersioningConfiguration": {"Status": "Enabled"}}
        self_ = world.resource("S3::Bucket", region, name, **versioned, **more)
        world.s3.create(self_)
    world.client("s3", HERE).put_object(Bucket="originals", Key="k", Body=b"x")
    world.regions.kill(THERE)
    world.scheduler.run_for(60)
    there = world.client("s3", THERE)
    assert "Contents" not in there.list_objects_v2(Bucket="copies")
    world.regions.restore(THERE)
    world.scheduler.run_for(6)
    assert there.get_object(Bucket="copies", Key="k")["Body"].read() == b"x"


# ---- isolation


def get(table: str, region: str | None = None) -> Callable[[Any], Any]:
    """A read of the one item."""
    return lambda client: client("dynamodb", region).get_item(TableName=table, Key=ONE)


def test_a_region_cut_off_from_global_tables_keeps_everything_else(world: World) -> None:
    """The nastiest partition: the region looks well, and must stop by itself."""
    world.table("ledger", strong=True)
    world.table("directory", strong=False)
    local = world.resource("DynamoDB::Table", THERE, "gate", **KEY)
    world.dynamodb.create(local)
    world.deploy_api(THERE, lambda event, client, sleep: {"statusCode": 204})
    world.regions.isolate(THERE)

    for table in ("ledger", "directory"):
        assert world.outcome(THERE, get(table)) == (ConnectTimeoutError.__name__, 1.0)
        assert world.outcome(THERE, get(table, HERE))[0] == ConnectTimeoutError.__name__
        assert world.outcome(HERE, get(table, THERE))[0] == ConnectTimeoutError.__name__
        assert world.outcome(HERE, get(table))[0] == ""
    names = {"RequestItems": {"ledger": {"Keys": [ONE]}}}
    assert world.outcome(THERE, lambda client: client("dynamodb").batch_get_item(**names))[0]
    assert world.outcome(THERE, get("gate"))[0] == ""
    assert world.outcome(THERE, lambda client: client("sqs").list_queues())[0] == ""
    assert world.outcome(HERE, lambda client: client("sqs", THERE).list_queues())[0] == ""
    assert world.api(THERE).get("/x").status_code == 204

    world.regions.restore(THERE)
    assert world.outcome(THERE, get("ledger"))[0] == ""


def test_a_region_cut_off_from_clients_works_on(world: World) -> None:
    """Its queue must still be worked off, and its lease is not lost."""
    world.table("ledger", strong=True)
    world.deploy_api(THERE, lambda event, client, sleep: {"statusCode": 204})
    world.regions.isolate(THERE, "clients")
    with pytest.raises(httpx.ConnectTimeout):
        world.api(THERE).get("/x")
    assert world.outcome(THERE, get("ledger"))[0] == ""
    assert world.outcome(HERE, lambda client: client("sqs", THERE).list_queues())[0] == ""
    world.regions.restore(THERE)
    assert world.api(THERE).get("/x").status_code == 204


# ---- slowness and clocks


def test_a_slow_region_is_slow_for_everybody(world: World) -> None:
    """A region that is not dead but slow is what timeouts and probes are tuned against."""
    world.hook.latency_spread = 0.0
    world.hook.latency_s["sqs"] = 0.1
    world.regions.slow(THERE, 8)

    def seconds(caller: str, target: str) -> float:
        return world.outcome(caller, lambda client: client("sqs", target).list_queues())[1]

    assert seconds(THERE, THERE) == pytest.approx(0.8)
    assert seconds(THERE, HERE) == pytest.approx(0.8)
    assert seconds(HERE, THERE) == pytest.approx(0.8)
    assert seconds(HERE, THIRD) == pytest.approx(0.1)
    world.regions.restore(THERE)
    assert seconds(THERE, THERE) == pytest.approx(0.1)


def test_on_the_wall_clock_slowness_is_added_to_what_passes_anyway() -> None:
    """`spillway local` adds no latency of its own; ten times nothing would be nothing."""
    scheduler = Scheduler(virtual=False)
    hook = Hook(scheduler, latency_spread=0.0)
    network = Mock()
    network.cut.return_value = False
    network.factor.return_value = 11.0
    hook.network = network
    with mock_aws(config={"core": {"reset_boto3_session": False}}):
        client = hook.session(region=HERE, function="f").client("sqs", config=ONCE)
        client.list_queues()
    call = hook.log[-1]
    hook.close()
    scheduler.close()
    assert call.ended_s - call.at_s > 9 * LATENCY_S["sqs"]


@pytest.mark.parametrize("factor", [30, 60])
def test_a_call_slower_than_its_timeout_still_happens(world: World, factor: float) -> None:
    """A client that gave up is not told; the request is on its way or done."""
    world.hook.latency_spread = 0.0
    world.hook.latency_s["sqs"] = 0.1
    url = world.queue(THERE)
    world.regions.slow(THERE, factor)
    ended, seconds = world.outcome(
        THERE, lambda client: client("sqs").send_message(QueueUrl=url, MessageBody="x")
    )
    assert ended == ReadTimeoutError.__name__
    assert seconds == pytest.approx(2.0)
    world.scheduler.run_for(5)
    assert len(world.client("sqs", THERE).receive_message(QueueUrl=url)["Messages"]) == 1


def test_clocks_of_regions_differ(world: World) -> None:
    """A lease that compared two regions' clocks would be lost or kept by mistake."""
    world.regions.skew(THERE, 30.0)
    world.deploy(THERE, "now", lambda event, client, sleep: None)

    def now(region: str) -> float:
        import time  # noqa: PLC0415 as a function's code reads it

        told: float = world.run(region, lambda event, client, sleep: time.time())
        return told - world.scheduler.now()

    assert now(HERE) == pytest.approx(0, abs=1)
    assert now(THERE) == pytest.approx(30, abs=1)
    world.regions.restore(THERE)
    assert world.regions.condition(THERE).skew_s == 30.0
    world.regions.restore_all()
    assert now(THERE) == pytest.approx(0, abs=1)


# ---- names


def test_what_does_not_exist_is_named(world: World) -> None:
    """A typing error in a test must not look like a region that survives everything."""
    regions = world.regions
    wrong: list[Callable[[str], None]] = [
        regions.kill,
        regions.isolate,
        partial(regions.slow, factor=2.0),
        partial(regions.skew, seconds=2.0),
        regions.restore,
    ]
    for method in wrong:
        with pytest.raises(UnknownRegionError, match="us-east-9; there is us-east-1, us-east-2"):
            method("us-east-9")
    with pytest.raises(ValueError, match="global, clients"):
        world.regions.isolate(HERE, "the world")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="factor"):
        world.regions.slow(HERE, 0.5)


def test_everything_may_be_done_twice(world: World) -> None:
    """Two operators at night do the same thing."""
    for _ in range(2):
        world.regions.kill(THERE)
        world.regions.isolate(THERE, "clients")
    for _ in range(2):
        world.regions.restore(THERE)
    assert world.regions.condition(THERE) == Condition()
    assert world.outcome(HERE, lambda client: client("sqs", THERE).list_queues())[0] == ""


def history(seed: int) -> list[str]:
    """A function that is called all the time while its regions come and go, told by the log."""
    with mock_aws(config={"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}):
        world = World(seed=seed)
        try:
            world.table("ledger", strong=True)

            def work(event: Any, client: Any, sleep: Any) -> None:
                for number in range(20):
                    with suppress(Exception):
                        item = ONE | {"v": {"N": str(number)}}
                        client("dynamodb").put_item(TableName="ledger", Item=item)

            for region in EVERYWHERE:
                world.deploy(region, "work", work, timeout_s=60)
                world.functions.invoke(region, "work")
            for at_s, act, region in (
                (0.1, world.regions.kill, THERE),
                (0.2, world.regions.isolate, THIRD),
                (2.0, world.regions.restore, THERE),
                (3.0, world.regions.restore, THIRD),
            ):
                world.scheduler.after(at_s, act, region)
            world.scheduler.run_for(120)
            return [str(call) for call in world.hook.log]
        finally:
            world.close()


def test_the_same_seed_gives_the_same_outage() -> None:
    """A failing simulation is reported by its seed alone."""
    assert history(3) == history(3)
    assert history(3) != history(4)
    assert any("ReplicatedWriteConflictException" in line for line in history(3))
    assert any("ConnectTimeoutError" in line for line in history(3))
