"""HTTP to the twin: sockets on the wall clock, clients in this process on either clock."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, cast

import boto3
import httpx
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError
from moto import mock_aws

from spillway.twin.apigateway import ApiGateway
from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.functions import FunctionDefinition, Functions
from spillway.twin.http import ApiServer, AsyncTransport, AwsServer, Transport
from spillway.twin.resources import Resource

REGIONS = ("us-east-1", "us-west-2")


class Echo:
    """The code of a function that tells what it was asked, after a while."""

    def __init__(self) -> None:
        self.takes_s = 0.0
        self.answers: Callable[[str, Any], Any] = lambda region, event: {
            "statusCode": 200,
            "headers": {"X-Region": region},
            "multiValueHeaders": {"X-Two": ["a", "b"]},
            "body": json.dumps(
                {
                    "at": event["requestContext"]["path"],
                    "path": event["path"],
                    "query": event["queryStringParameters"],
                    "body": event["body"],
                    "key": event["headers"].get("authorization")
                    or event["headers"].get("Authorization"),
                }
            ),
        }

    def environment(self, *, environ: Any, sleep: Callable[[float], None], **_: Any) -> Any:
        """Start an execution environment."""

        def handle(event: Any, _: Any) -> Any:
            sleep(self.takes_s)
            return self.answers(environ["AWS_REGION"], event)

        return handle


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Close what a test opens, the last first."""
    with ExitStack() as opened:
        yield opened


def deployed(scheduler: Scheduler, opened: ExitStack) -> tuple[ApiGateway, Echo]:
    """Deploy one API of one greedy route in every region."""
    function, hook = Echo(), Hook(scheduler)
    functions = Functions(scheduler, hook, cold_start_s=0.0)
    opened.callback(hook.close)
    opened.callback(functions.close)
    gateway = ApiGateway(scheduler, functions)
    for region in REGIONS:
        functions.deploy(
            FunctionDefinition(name="submit", region=region, timeout_s=60, code=function)
        )

        def create(kind: str, region: str = region, **properties: Any) -> Resource:
            resource = Resource(
                type=f"AWS::ApiGateway::{kind}",
                logical_id=kind,
                physical_id=kind,
                region=region,
                account="123456789012",
                stack="stack",
                properties=properties,
            )
            return gateway.create(resource) or resource

        api = create("RestApi", Name="app")
        ids = {"RestApiId": api.physical_id}
        path = create(
            "Resource", ParentId=api.attributes["RootResourceId"], PathPart="{proxy+}", **ids
        )
        arn = f"arn:aws:lambda:{region}:123456789012:function:submit"
        create(
            "Method",
            HttpMethod="ANY",
            ResourceId=path.physical_id,
            Integration={"Type": "AWS_PROXY", "Uri": f"arn:path/functions/{arn}/invocations"},
            **ids,
        )
        deployment = create("Deployment", **ids)
        create("Stage", StageName="api", DeploymentId=deployment.physical_id, **ids)
    return gateway, function


@pytest.fixture
def virtual() -> Iterator[Scheduler]:
    """Give a virtual clock."""
    scheduler = Scheduler(virtual=True, seed=1)
    yield scheduler
    scheduler.close()


@pytest.fixture
def wall() -> Iterator[Scheduler]:
    """Give a wall clock whose loop runs in a thread."""
    scheduler = Scheduler(virtual=False)
    scheduler.start()
    yield scheduler
    scheduler.close()


def test_a_client_in_this_process_needs_no_port(virtual: Scheduler, opened: ExitStack) -> None:
    """Another team's test talks to the stacks in milliseconds, with the client it knows."""
    gateway, function = deployed(virtual, opened)
    function.takes_s = 3.0
    start_s = virtual.now()
    transport = Transport(virtual, gateway, region="us-west-2")
    with httpx.Client(transport=transport, base_url="http://api") as client:
        response = client.post("/v1/jobs?wait=3", json={"a": 1}, headers={"Authorization": "key"})
    assert response.status_code == 200
    assert response.headers["x-region"] == "us-west-2"
    assert response.headers.get_list("x-two") == ["a", "b"]
    assert response.json() == {
        "at": "/v1/jobs",
        "path": "/v1/jobs",
        "query": {"wait": "3"},
        "body": '{"a":1}',
        "key": "key",
    }
    assert virtual.now() == start_s + 3


def test_without_a_region_the_path_begins_with_it(virtual: Scheduler, opened: ExitStack) -> None:
    """One address serves every region, and links that a function derives lead back to it."""
    gateway, _ = deployed(virtual, opened)
    with httpx.Client(transport=Transport(virtual, gateway), base_url="http://api") as client:
        response = client.get("/us-east-1/v1/jobs")
        assert response.headers["x-region"] == "us-east-1"
        assert (response.json()["at"], response.json()["path"]) == (
            "/us-east-1/v1/jobs",
            "/v1/jobs",
        )
        lost = client.get("/v1/jobs")
    assert lost.status_code == 404
    assert "/us-east-1/, /us-west-2/" in lost.json()["error"]["message"]


def test_a_clients_timeout_counts_in_the_twins_time(virtual: Scheduler, opened: ExitStack) -> None:
    """A client that gives up too early in production gives up here, in no time."""
    gateway, function = deployed(virtual, opened)
    function.takes_s = 20.0
    transport = Transport(virtual, gateway, region="us-east-1")
    with httpx.Client(transport=transport, base_url="http://api", timeout=5) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.get("/v1")
        # From within a task, as the clients of a replay are, it is no different.
        with pytest.raises(httpx.ReadTimeout):
            virtual.call(client.get, "/v1")
        assert client.get("/v1", timeout=25).status_code == 200


def test_tasks_ask_at_the_same_time(virtual: Scheduler, opened: ExitStack) -> None:
    """A replay has many requests under way at once."""
    gateway, function = deployed(virtual, opened)
    function.takes_s = 10.0
    start_s = virtual.now()
    transport = Transport(virtual, gateway, region="us-east-1")
    with httpx.Client(transport=transport, base_url="http://api", timeout=60) as client:
        tasks = [virtual.spawn(client.get, f"/v1/{number}") for number in range(20)]
        assert virtual.run_until_true(lambda: all(task.done for task in tasks), 60)
    assert [task.result().json()["path"] for task in tasks] == [f"/v1/{n}" for n in range(20)]
    assert virtual.now() == start_s + 10


def test_an_async_client_works_on_both_clocks(
    virtual: Scheduler, wall: Scheduler, opened: ExitStack
) -> None:
    """Half of all Python services are asynchronous."""

    async def ask(scheduler: Scheduler) -> list[int]:
        gateway, _ = deployed(scheduler, opened)
        transport = AsyncTransport(scheduler, gateway, region="us-east-1")
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            answers = await asyncio.gather(*(client.get(f"/v1/{n}") for n in range(3)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask(virtual)) == [200] * 3
    assert asyncio.run(ask(wall)) == [200] * 3


def test_the_openai_client_takes_such_a_client(virtual: Scheduler, opened: ExitStack) -> None:
    """The promise is: the client that you already have."""
    gateway, function = deployed(virtual, opened)
    function.answers = lambda _, event: {
        "statusCode": 200,
        "body": json.dumps(
            {
                "object": "list",
                "model": json.loads(event["body"])["model"],
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        ),
    }
    transport = Transport(virtual, gateway, region="us-east-1")
    with httpx.Client(transport=transport) as http_client:
        client = openai.OpenAI(
            api_key="key",
            base_url="http://api/v1",
            http_client=http_client,  # type: ignore[arg-type]
            max_retries=0,
        )
        answer = client.embeddings.create(model="embedder", input="x", encoding_format="float")
    assert answer.data[0].embedding == [0.5]


def test_every_region_is_served_on_one_port(wall: Scheduler, opened: ExitStack) -> None:
    """Whoever has curl can try the deployment, from several terminals at once."""
    gateway, function = deployed(wall, opened)
    function.takes_s = 0.05
    server = ApiServer(wall, gateway)
    server.start()
    try:
        with httpx.Client(base_url=server.url) as client:
            response = client.post(
                "/us-west-2/v1/a%2Fb?x=1&x=2", content=b"body", headers={"Authorization": "key"}
            )
            assert client.get("/nowhere").status_code == 404
            assert client.post("/us-east-1/v1", content=b"x" * 10_485_761).status_code == 413

        async def many() -> list[int]:
            async with httpx.AsyncClient(base_url=server.url) as client:
                answers = await asyncio.gather(*(client.get("/us-east-1/v1") for _ in range(50)))
            return [answer.status_code for answer in answers]

        assert asyncio.run(many()) == [200] * 50
    finally:
        server.close()
    assert response.headers["x-region"] == "us-west-2"
    assert response.headers.get_list("x-two") == ["a", "b"]
    assert response.json() == {
        "at": "/us-west-2/v1/a%2Fb",
        "path": "/v1/a%2Fb",
        "query": {"x": "2"},
        "body": "body",
        "key": "key",
    }


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/us-east-1/v1/a%0Ab"), ("TRACE", "/us-east-1/v1"), ("X", "/")]
)
def test_the_gateway_answers_whatever_is_asked(
    wall: Scheduler, opened: ExitStack, method: str, path: str
) -> None:
    """A server before it that answered some requests itself would answer in another form."""
    gateway, _ = deployed(wall, opened)
    server = ApiServer(wall, gateway)
    server.start()
    try:
        answer = httpx.request(method, server.url + path)
    finally:
        server.close()
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()


def test_other_peoples_boto3_works_against_a_port(wall: Scheduler) -> None:
    """Operator commands, the AWS command line and other languages need an endpoint URL only."""
    session = boto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-west-2"
    )
    loopback = {"passthrough": {"urls": [r"http://127\.0\.0\.1.*"], "services": []}}
    with mock_aws(config=cast("Any", {"core": loopback})):
        server = AwsServer(wall)
        server.start()
        try:
            queues = session.client("sqs", endpoint_url=server.url)
            queues.create_queue(QueueName="over-http")
            store = session.client("s3", endpoint_url=server.url)
            store.create_bucket(
                Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
            )
            store.put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
            assert len(store.get_object(Bucket="bucket", Key="k")["Body"].read()) == 100_000
        finally:
            server.close()
        (found,) = session.client("sqs").list_queues()["QueueUrls"]
        assert found.endswith("/over-http")


@pytest.mark.parametrize("before", [False, True], ids=["during", "before"])
def test_a_region_that_is_away_breaks_its_connections_off(
    wall: Scheduler, opened: ExitStack, before: bool
) -> None:
    """A status would be an answer: only a broken connection makes a client look elsewhere."""
    gateway, function = deployed(wall, opened)
    function.takes_s = 0.1
    away = {"us-east-1"} if before else set()
    gateway.connection = lambda region: None if region in away else 0
    server = ApiServer(wall, gateway)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=5) as client:
            if not before:
                wall.post(wall.after, 0.05, away.add, "us-east-1")
            with pytest.raises(httpx.RemoteProtocolError):
                client.get("/us-east-1/v1")
            assert client.get("/us-west-2/v1").status_code == 200
            away.clear()
            assert client.get("/us-east-1/v1").status_code == 200
    finally:
        server.close()


def test_aws_of_a_region_that_is_away_does_not_answer(wall: Scheduler) -> None:
    """An operator rehearses here what happens when the region of the tables is down."""
    away = {"us-west-2"}
    once = Config(retries={"total_max_attempts": 1})
    loopback = {"passthrough": {"urls": [r"http://127\.0\.0\.1.*"], "services": []}}
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")
    with mock_aws(config=cast("Any", {"core": loopback})):
        server = AwsServer(wall, away=away.__contains__)
        server.start()

        def queues(region: str) -> Any:
            client = session.client("sqs", region_name=region, endpoint_url=server.url, config=once)
            return client.list_queues()

        try:
            with pytest.raises(ConnectionClosedError):
                queues("us-west-2")
            # Another deployment of this process may have queues there.
            assert queues("us-east-1")["ResponseMetadata"]["HTTPStatusCode"] == 200
            away.clear()
            assert "QueueUrls" not in queues("us-west-2")
        finally:
            server.close()
