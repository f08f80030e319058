"""What the one seam promises: every send is seen, takes time, and can go wrong on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from moto import mock_aws

from spillway.twin.calls import OPERATOR, Call, Caller, Fault, FunctionDied, Hook
from spillway.twin.clock import START_S, Scheduler

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"
STANDARD = Config(retries={"mode": "standard", "total_max_attempts": 3}, read_timeout=2)
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=2)


@pytest.fixture
def table(world: World) -> Callable[[], dict[str, Any]]:
    """A table `t`; returns what item `a` holds."""
    client = world.client("dynamodb")
    client.create_table(
        TableName="t",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def item() -> dict[str, Any]:
        answer = client.get_item(TableName="t", Key={"pk": {"S": "a"}})
        found: dict[str, Any] = answer.get("Item", {})
        return found

    return item


def count(world: World, config: Config, **fault: Any) -> Any:
    """Add 1 to item `a` as a function would, with a fault; the error, if it got one."""
    if fault:
        world.hook.fail(Fault(operation="UpdateItem", **fault))
    session = world.hook.session(region=REGION, function="f")
    client = session.client("dynamodb", config=config)
    try:
        client.update_item(
            TableName="t",
            Key={"pk": {"S": "a"}},
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
    except Exception as error:  # noqa: BLE001 the test looks at it
        return error
    return None


@pytest.mark.usefixtures("table")
def test_a_call_takes_time_in_which_others_run(world: World) -> None:
    """Races between two functions happen exactly at their calls."""
    world.hook.latency_s["dynamodb"] = 1.0
    world.hook.latency_spread = 0.0
    seen: list[float] = []

    def work() -> None:
        count(world, ONCE)
        seen.append(world.scheduler.now() - START_S)

    world.scheduler.spawn(work)
    world.scheduler.after(0.4, world.scheduler.spawn, work)
    world.scheduler.run_for(5)
    assert seen == [1.0, pytest.approx(1.4)]


def test_an_operator_costs_no_time(world: World, table: Callable[[], dict[str, Any]]) -> None:
    """A test that only looks must not move the clock."""
    table()
    assert world.scheduler.now() == START_S
    assert world.hook.log[-1].function == OPERATOR


@pytest.mark.usefixtures("table")
def test_the_log_tells_who_called_what(world: World) -> None:
    """Costs per job and the simulation's histories are read from it."""
    ended: list[Call] = []
    world.hook.log.observers.append(ended.append)
    count(world, ONCE)
    call = world.hook.log[-1]
    assert (call.function, call.service, call.operation) == ("f", "dynamodb", "UpdateItem")
    assert (call.region, call.caller_region, call.number) == (REGION, REGION, 1)
    assert call.params["Key"] == {"pk": {"S": "a"}}
    assert call.request_bytes > 50
    assert call.status == 200
    assert call.ended_s > call.at_s
    assert world.hook.log.counts["f", "dynamodb", "UpdateItem"] == 1
    assert ended == [call]
    assert "f#1 dynamodb.UpdateItem us-east-1 200" in str(call)


def test_a_function_can_die_before_or_after_any_call(
    world: World, table: Callable[[], dict[str, Any]]
) -> None:
    """The process dying at any AWS call must be simulated at exactly that call."""
    client = world.client("dynamodb", "f")

    def put(name: str) -> None:
        client.put_item(TableName="t", Item={"pk": {"S": "a"}, name: {"S": "x"}})

    def work() -> None:
        try:
            put("first")
            put("second")
        except Exception:  # noqa: BLE001 a dead process handles no errors
            put("handled")
        finally:
            put("finally")

    for action, left in (("die_before", {"first"}), ("die_after", {"second"})):
        task = world.scheduler.spawn(work)
        task.context = Caller("f", REGION)
        task.on_done(lambda _: None)
        fault = world.hook.fail(Fault(action, function="f", number=2))
        world.scheduler.run_for(5)
        assert isinstance(task.error, FunctionDied)
        assert fault.hits == 1
        assert set(table()) - {"pk"} == left


def test_a_timeout_may_have_had_its_effect(
    world: World, table: Callable[[], dict[str, Any]]
) -> None:
    """A write that happened and was not acknowledged is the classic double."""
    before = world.scheduler.now()
    assert isinstance(count(world, ONCE, action="timeout_after"), ReadTimeoutError)
    assert world.scheduler.now() - before == pytest.approx(2.0)
    assert table()["n"] == {"N": "1"}
    assert isinstance(count(world, ONCE, action="timeout_before"), ReadTimeoutError)
    assert table()["n"] == {"N": "1"}


def test_resends_are_calls_of_their_own(world: World, table: Callable[[], dict[str, Any]]) -> None:
    """AWS sees each send of botocore: a timed-out ADD that is sent again counts twice."""
    assert count(world, STANDARD, action="timeout_after") is None
    assert table()["n"] == {"N": "2"}
    sends = world.hook.log.of(function="f")
    assert [call.error for call in sends] == ["ReadTimeoutError", ""]
    # botocore's back-off passed in the twin's time.
    assert sends[1].at_s > sends[0].ended_s


def test_an_unreachable_service_costs_the_connect_timeout(
    world: World, table: Callable[[], dict[str, Any]]
) -> None:
    """A region cut off must cost callers what it would cost them in AWS."""
    config = ONCE.merge(Config(connect_timeout=1))
    before = world.scheduler.now()
    assert isinstance(count(world, config, action="unreachable"), ConnectTimeoutError)
    assert world.scheduler.now() - before == pytest.approx(1.0)
    assert table() == {}


@pytest.mark.parametrize(
    ("service", "operation", "params", "code"),
    [
        ("dynamodb", "list_tables", {}, "ThrottlingException"),
        ("sqs", "list_queues", {}, "RequestThrottled"),
        ("s3", "list_objects_v2", {"Bucket": "bucket"}, "SlowDown"),
        ("sns", "list_topics", {}, "Throttling"),
        ("lambda", "invoke", {"FunctionName": "f"}, "TooManyRequestsException"),
        ("sagemaker", "list_models", {}, "ThrottlingException"),
        ("cloudwatch", "list_metrics", {}, "ThrottlingException"),
    ],
)
def test_throttling_speaks_every_protocol(
    world: World, service: str, operation: str, params: dict[str, str], code: str
) -> None:
    """Adapters recognise throttling by its code, which differs from service to service."""
    world.hook.fail(Fault("throttle", times=None))
    client = world.hook.session(region=REGION).client(service, config=ONCE)
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**params)
    assert caught.value.response["Error"]["Code"] == code
    assert world.hook.log[-1].error == code


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ReplicatedWriteConflictException", 400),
        ("InternalServerError", 500),
        ("ServiceUnavailable", 503),
    ],
)
def test_any_error_can_be_answered(
    world: World, table: Callable[[], dict[str, Any]], code: str, status: int
) -> None:
    """Errors that moto never raises must be handled as well."""
    error = count(world, ONCE, action=code)
    assert error.response["Error"]["Code"] == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert table() == {}


def test_a_receive_can_find_nothing(world: World) -> None:
    """SQS asks only some of its servers in a short poll (developer guide, "Short polling")."""
    url = world.queue()
    client = world.client("sqs")
    client.send_message(QueueUrl=url, MessageBody="x")
    world.hook.fail(Fault("empty", operation="ReceiveMessage"))
    assert "Messages" not in client.receive_message(QueueUrl=url)
    assert len(client.receive_message(QueueUrl=url)["Messages"]) == 1


def test_rules_choose_their_calls(world: World, table: Callable[[], dict[str, Any]]) -> None:
    """A fault must strike where it is meant to, and as often."""
    fault = Fault("InternalServerError", operation="UpdateItem", function="f", skip=1, times=2)
    world.hook.fail(fault)
    world.hook.fail(Fault("die_before", region="eu-west-1"))
    world.hook.fail(Fault("die_before", when=lambda call: call.service == "s3"))
    assert [count(world, ONCE) is None for _ in range(5)] == [True, False, False, True, True]
    assert table()["n"] == {"N": "3"}
    assert fault.hits == 2


def test_a_slow_region_only_takes_longer(world: World, table: Callable[[], dict[str, Any]]) -> None:
    """Slowness is the fault that hides behind no error."""
    assert count(world, ONCE, action="slow", delay_s=1.5) is None
    assert world.scheduler.now() - START_S > 1.5
    assert table()["n"] == {"N": "1"}


@pytest.mark.usefixtures("table")
def test_retry_quotas_belong_to_an_environment(world: World) -> None:
    """One function's bad day must not use up the retries of all others (botocore: 500 tokens)."""
    world.hook.fail(Fault("timeout_before", operation="UpdateItem", times=None))
    mine = Caller("f", REGION)

    def sends(caller: Caller) -> int:
        before = len(world.hook.log)
        task = world.scheduler.spawn(count, world, STANDARD)
        task.context = caller
        world.scheduler.run_for(60)
        return len(world.hook.log) - before

    assert [sends(mine) for _ in range(60)][-1] == 1
    assert sends(Caller("f", REGION)) == 3


def test_presigned_addresses_work_without_a_call(world: World) -> None:
    """Results are handed out as presigned addresses."""
    address = world.client("s3").generate_presigned_url(
        "get_object", Params={"Bucket": "bucket", "Key": "k"}, ExpiresIn=60
    )
    assert "X-Amz-Signature" in address or "Signature" in address
    assert len(world.hook.log) == 0


def test_streams_of_answers_stay_readable(world: World) -> None:
    """The log counts bytes; it must not eat them."""
    client = world.client("s3")
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="k", Body=b"x" * 5000)
    assert client.get_object(Bucket="bucket", Key="k")["Body"].read() == b"x" * 5000
    assert world.hook.log[-1].response_bytes == 5000


def test_a_shells_endpoint_is_for_other_programs() -> None:
    """Whoever exported what `make local` prints could run no demo and no test any more."""
    program = (
        "from spillway.twin.calls import Hook\n"
        "from spillway.twin.clock import Scheduler\n"
        "hook = Hook(Scheduler(virtual=True))\n"
        "for service in ('dynamodb', 's3'):\n"
        "    client = hook.session(region='us-east-1').client(service)\n"
        "    print(client.meta.endpoint_url)\n"
    )
    set_here = {f"AWS_ENDPOINT_URL{which}": "http://127.0.0.1:1" for which in ("", "_S3")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **set_here},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "127.0.0.1" not in done.stdout
    assert "dynamodb.us-east-1.amazonaws.com" in done.stdout


def test_calls_are_made_in_the_stacks_account() -> None:
    """Names carry the account; a call into another one would find nothing."""
    with mock_aws():
        scheduler = Scheduler(virtual=True)
        hook = Hook(scheduler, account="999988887777")
        url = hook.session(region=REGION).client("sqs").create_queue(QueueName="q")["QueueUrl"]
        scheduler.close()
        hook.close()
    assert "/999988887777/" in url


def history(seed: int) -> list[str]:
    """Two functions racing for one item, with faults by chance, as told by the log."""
    with mock_aws():
        scheduler = Scheduler(virtual=True, seed=seed)
        hook = Hook(scheduler)
        hook.fail(Fault("throttle", probability=0.3, times=None))
        operator = hook.session(region=REGION).client("sqs")
        hook.rules, rules = [], hook.rules
        url = operator.create_queue(QueueName="q")["QueueUrl"]
        hook.rules = rules

        def work(name: str) -> None:
            client = hook.session(region=REGION, function=name).client("sqs", config=STANDARD)
            for number in range(10):
                try:
                    client.send_message(QueueUrl=url, MessageBody=f"{name}{number}")
                except ClientError:
                    client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])

        tasks = [scheduler.spawn(work, name) for name in ("a", "b")]
        for task in tasks:
            task.on_done(lambda _: None)
        scheduler.run_for(300)
        found = [str(call) for call in hook.log]
        scheduler.close()
        hook.close()
    return found


def test_the_same_seed_gives_the_same_history() -> None:
    """A failing simulation is reported by its seed alone."""
    assert history(3) == history(3)
    assert history(3) != history(4)
    assert len(history(3)) > 20
