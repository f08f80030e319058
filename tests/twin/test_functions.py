"""What Lambda does around a handler, with the page that says so."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from spillway.twin.calls import Caller, Fault
from spillway.twin.functions import (
    FunctionDefinition,
    ThrottledError,
    UnknownFunctionError,
    _load,
)
from spillway.twin.resources import Resource

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"


def resource(kind: str, name: str, **properties: Any) -> Resource:
    """Make a resource as a stack would deploy it."""
    return Resource(
        type=f"AWS::Lambda::{kind}",
        logical_id="X",
        physical_id=name,
        region=REGION,
        account="123456789012",
        stack="stack",
        properties=properties,
    )


def test_a_warm_environment_is_used_again(world: World) -> None:
    """Cold starts must cost what they cost, and no more often.

    Lambda developer guide, "Understanding the Lambda execution environment lifecycle": Lambda
    keeps the environment for some time in anticipation of another invocation.
    """
    code = world.deploy("f", lambda *_: "hi")
    for _ in range(3):
        assert world.invoke("f").json() == "hi"
    assert len(code.environs) == 1
    assert [report.init_s for report in world.functions.reports] == [0.25, 0, 0]
    world.scheduler.run_for(world.functions.idle_s + 1)
    world.invoke("f")
    assert len(code.environs) == 2


def test_an_environment_serves_one_invocation_at_a_time(world: World) -> None:
    """State of one request must not meet another's.

    Lambda developer guide, "Understanding Lambda function scaling": for each concurrent request,
    Lambda provisions a separate instance of your execution environment.
    """
    code = world.deploy("f", lambda event, context, session, sleep: sleep(1.0))
    tasks = [world.functions.invoke(REGION, "f") for _ in range(3)]
    world.scheduler.run_for(5)
    assert all(task.result().error == "" for task in tasks)
    assert len(code.environs) == 3


def test_functions_find_lambdas_own_variables(world: World) -> None:
    """Wiring reads the region and the code's directory from them.

    Lambda developer guide, "Defined runtime environment variables".
    """
    code = world.deploy("f", lambda *_: None, environment={"COLOR": "red"}, memory_mb=512)
    world.invoke("f")
    environ = code.environs[0]
    assert environ["COLOR"] == "red"
    assert environ["AWS_REGION"] == REGION
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == "f"
    assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert environ["LAMBDA_TASK_ROOT"] == ""


def test_reserved_concurrency_is_a_ceiling(world: World) -> None:
    """The wait function must not eat the dispatchers' room.

    Lambda developer guide, "Configuring reserved concurrency for a function"; API reference,
    "Invoke": TooManyRequestsException, status 429.
    """
    world.deploy("f", lambda event, context, session, sleep: sleep(1.0), reserved_concurrency=1)
    world.deploy("off", lambda *_: None, reserved_concurrency=0)
    world.functions.invoke(REGION, "f")
    with pytest.raises(ThrottledError, match="Reserved"):
        world.functions.invoke(REGION, "f")
    once = Config(retries={"total_max_attempts": 1, "mode": "standard"})
    client = world.hook.session(region=REGION).client("lambda", config=once)
    with pytest.raises(ClientError) as caught:
        client.invoke(FunctionName="off")
    assert caught.value.response["Error"]["Code"] == "TooManyRequestsException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    world.scheduler.run_for(2)
    assert world.invoke("f").error == ""


def test_unreserved_functions_share_a_regions_thousand(world: World) -> None:
    """A flood in one function throttles the others, reserved ones excepted.

    Lambda developer guide, "Lambda quotas": 1,000 concurrent executions.
    """
    world.deploy("f", lambda event, context, session, sleep: sleep(1.0))
    world.deploy("g", lambda *_: None)
    world.deploy("own", lambda *_: None, reserved_concurrency=990)
    for _ in range(10):
        world.functions.invoke(REGION, "f")
    with pytest.raises(ThrottledError, match="ConcurrentInvocationLimitExceeded"):
        world.functions.invoke(REGION, "g")
    assert world.invoke("own").error == ""


def test_errors_are_answers(world: World) -> None:
    """Callers tell a function's failure from Lambda's by FunctionError.

    Lambda developer guide, "Lambda function handler in Python" / "Python exceptions"; API
    reference, "Invoke": the status code is 200 even if the function failed.
    """

    def fail(*_: Any) -> None:
        raise KeyError("nope")

    world.deploy("f", fail)
    answer = world.client("lambda").invoke(FunctionName="f", Payload=b"{}")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    body = json.loads(answer["Payload"].read())
    assert body["errorType"] == "KeyError"
    assert body["errorMessage"] == "'nope'"
    assert body["stackTrace"]
    # The runtime logs it too, which matters to whoever promises clean logs.
    assert any("[ERROR] KeyError" in line.text for line in world.functions.logs)


@pytest.mark.parametrize(
    ("value", "kind"),
    [({1, 2}, "Runtime.MarshalError"), ("x" * 6_300_000, "Function.ResponseSizeTooLarge")],
    ids=["not JSON", "too large"],
)
def test_answers_that_lambda_cannot_return_are_errors(world: World, value: Any, kind: str) -> None:
    """A result over 6 MB works in no environment, so it must not work here.

    Lambda developer guide, "Lambda quotas": 6 MB for request and response.
    """
    world.deploy("f", lambda *_: value)
    answer = world.invoke("f")
    assert (answer.error, answer.json()["errorType"]) == ("Unhandled", kind)


def test_decimals_become_numbers(world: World) -> None:
    """DynamoDB's numbers are Decimals, which the Python runtime encodes (its JSON encoder)."""
    world.deploy("f", lambda *_: {"n": Decimal("1.5")})
    assert world.invoke("f").json() == {"n": 1.5}


def test_a_timeout_kills_the_execution_and_its_environment(world: World) -> None:
    """A function that hangs must not finish later, nor poison the next event.

    Lambda developer guide, "Configure Lambda function timeout", and "Understanding the Lambda
    execution environment lifecycle": after a timeout the environment is reset.
    """
    seen: list[str] = []

    def hang(event: Any, context: Any, session: Any, sleep: Any) -> None:
        try:
            sleep(event["s"])
            seen.append("done")
        finally:
            session.client("sqs").list_queues()
            seen.append("reached AWS")

    code = world.deploy("f", hang, timeout_s=2.0)
    answer = world.invoke("f", {"s": 60})
    assert answer.json()["errorType"] == "Sandbox.Timedout"
    assert "timed out after 2.00 seconds" in answer.json()["errorMessage"]
    assert world.functions.reports[-1].duration_s == pytest.approx(2.0)
    world.scheduler.run_for(100)
    assert seen == []
    assert world.invoke("f", {"s": 0}).error == ""
    assert len(code.environs) == 2


def test_the_remaining_time_runs_down(world: World) -> None:
    """Dispatch stops in time because it asks.

    Lambda developer guide, "Using the Lambda context object to retrieve Python function
    information".
    """

    def ask(event: Any, context: Any, session: Any, sleep: Any) -> list[Any]:
        before = context.get_remaining_time_in_millis()
        sleep(1.5)
        return [before, context.get_remaining_time_in_millis(), context.function_name]

    world.deploy("f", ask, timeout_s=3.0)
    assert world.invoke("f").json() == [3000, 1500, "f"]


def test_death_at_a_call_takes_the_environment_along(world: World) -> None:
    """The next event must start cold, as after any crash.

    Lambda developer guide, "Understanding the Lambda execution environment lifecycle".
    """

    def swallow(event: Any, context: Any, session: Any, sleep: Any) -> str:
        try:
            session.client("sqs").list_queues()
        except BaseException:  # noqa: BLE001 even so
            return "survived"
        return "fine"

    code = world.deploy("f", swallow)
    world.hook.fail(Fault("die_after", function="f", number=1))
    assert world.invoke("f").json()["errorType"] == "Runtime.ExitError"
    assert world.invoke("f").json() == "fine"
    assert len(code.environs) == 2


def test_a_whole_region_can_be_killed(world: World) -> None:
    """Losing a region loses every execution in it, at whatever point it is."""
    world.deploy("f", lambda event, context, session, sleep: sleep(2.0))
    tasks = [world.functions.invoke(REGION, "f") for _ in range(2)]
    world.scheduler.run_for(1)
    assert world.functions.kill(REGION) == 2
    world.scheduler.run_for(1)
    assert {task.result().json()["errorType"] for task in tasks} == {"Runtime.ExitError"}
    assert world.functions.running(REGION, "f") == 0


def test_functions_invoke_functions(world: World) -> None:
    """Submit asks wait and waits itself; both take time and room.

    API reference, "Invoke": RequestResponse is the default invocation type.
    """
    world.deploy("inner", lambda event, context, session, sleep: sleep(1.0) or event)

    def outer(event: Any, context: Any, session: Any, sleep: Any) -> Any:
        answer = session.client("lambda").invoke(FunctionName="inner", Payload=b'{"x": 1}')
        return json.loads(answer["Payload"].read())

    world.deploy("outer", outer)
    assert world.invoke("outer").json() == {"x": 1}
    call = world.hook.log.of(operation="Invoke")[0]
    assert call.function == "outer"
    assert call.execution == world.functions.reports[-1].execution


def test_a_caller_may_lose_patience(world: World) -> None:
    """The invoked function runs on when its caller has hung up.

    Lambda developer guide, "Invoke a Lambda function synchronously": the client's timeout must
    allow for long functions.
    """
    world.deploy("slow", lambda event, context, session, sleep: sleep(10.0), timeout_s=60)
    config = Config(read_timeout=2, retries={"total_max_attempts": 1, "mode": "standard"})
    client = world.hook.session(region=REGION).client("lambda", config=config)
    with pytest.raises(ReadTimeoutError):
        client.invoke(FunctionName="slow")
    world.scheduler.run_for(20)
    assert world.functions.reports[-1].duration_s == pytest.approx(10.0)


def test_unknown_functions_and_large_events_are_refused(world: World) -> None:
    """Wrong names and payloads over the limit must fail here as they would in AWS.

    API reference, "Invoke": ResourceNotFoundException 404, RequestTooLargeException 413; 6 MB
    for synchronous and 1 MB for asynchronous invocations.
    """
    world.deploy("f", lambda *_: None)
    client = world.client("lambda")
    for code, arguments in (
        ("ResourceNotFoundException", {"FunctionName": "none"}),
        ("RequestTooLargeException", {"Payload": b'"' + b"x" * 6_300_000 + b'"'}),
        (
            "RequestTooLargeException",
            {"Payload": b'"' + b"x" * 1_100_000 + b'"', "InvocationType": "Event"},
        ),
    ):
        with pytest.raises(ClientError) as caught:
            client.invoke(**({"FunctionName": "f"} | arguments))
        assert caught.value.response["Error"]["Code"] == code
    with pytest.raises(UnknownFunctionError):
        world.functions.invoke(REGION, "none")


def test_an_asynchronous_invocation_is_answered_at_once(world: World) -> None:
    """A bell must not make submit wait.

    API reference, "Invoke": Event, status 202, and an ARN is as good as a name.
    """
    world.deploy("f", lambda event, context, session, sleep: sleep(1.0))
    arn = f"arn:aws:lambda:{REGION}:123456789012:function:f"
    answer = world.client("lambda").invoke(FunctionName=arn, InvocationType="Event")
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert len(world.functions.reports) == 0
    world.scheduler.run_for(5)
    assert len(world.functions.reports) == 1


def test_asynchronous_events_are_repeated_after_errors(world: World) -> None:
    """Two more attempts, after one and two minutes, unless configured otherwise.

    Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation".
    """
    times: list[float] = []

    def fail(*_: Any) -> None:
        times.append(world.scheduler.now())
        raise ValueError

    world.deploy("f", fail)
    world.functions.invoke_async(REGION, "f", {})
    world.scheduler.run_for(1000)
    assert [later - times[0] for later in times] == pytest.approx([0, 60, 180], abs=1)
    assert world.functions.dropped["f"] == 1

    times.clear()
    world.deploy("f", fail, retries_max=0)
    world.functions.invoke_async(REGION, "f", {})
    world.scheduler.run_for(1000)
    assert len(times) == 1


def test_throttled_events_wait_until_they_are_too_old(world: World) -> None:
    """A bell that finds all dispatchers busy rings again, up to its maximum age.

    Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation":
    the interval grows exponentially from 1 second to 5 minutes; "Configuring error handling
    settings": MaximumEventAgeInSeconds.
    """
    settings = {"reserved_concurrency": 1, "timeout_s": 900.0, "event_age_s_max": 60.0}
    world.deploy("f", lambda event, context, session, sleep: sleep(event["s"]), **settings)
    world.functions.invoke_async(REGION, "f", {"s": 10})
    world.scheduler.run_for(1)
    world.functions.invoke_async(REGION, "f", {"s": 0})
    world.scheduler.run_for(30)
    assert len(world.functions.reports) == 2
    assert world.functions.reports[1].at_s - world.functions.reports[0].at_s == pytest.approx(
        16, abs=1
    )

    world.functions.invoke_async(REGION, "f", {"s": 300})
    world.scheduler.run_for(1)
    world.functions.invoke_async(REGION, "f", {"s": 0})
    world.scheduler.run_for(400)
    assert len(world.functions.reports) == 3
    assert world.functions.dropped["f"] == 1


def test_asynchronous_events_may_be_lost_or_doubled(world: World) -> None:
    """Bells are hints; the simulation loses and doubles them.

    API reference, "Invoke": events may be lost, and occasionally the function receives the same
    event multiple times.
    """
    world.deploy("f", lambda *_: None)
    world.functions.async_duplicated = 1.0
    world.functions.invoke_async(REGION, "f")
    world.functions.async_lost = 1.0
    world.functions.invoke_async(REGION, "f")
    world.scheduler.run_for(5)
    assert len(world.functions.reports) == 2
    assert world.functions.dropped["f"] == 1


def test_what_functions_print_is_their_log(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tests read every line that functions log, and the terminal stays clean.

    Lambda developer guide, "Working with Lambda function logs".
    """

    def speak(event: Any, context: Any, session: Any, sleep: Any) -> None:
        print("one", 1)  # noqa: T201
        sleep(1.0)
        print("two", end="")  # noqa: T201

    world.deploy("f", speak)
    world.invoke("f")
    print("mine")  # noqa: T201
    lines = [(line.function, line.text) for line in world.functions.logs]
    assert lines == [("f", "one 1"), ("f", "two")]
    assert world.functions.log_bytes["f"] == len("one 1\ntwo\n")
    assert capsys.readouterr().out == "mine\n"


def test_templates_deploy_functions(world: World) -> None:
    """A property of a template must arrive where it acts."""
    deployed = world.functions.create(
        resource(
            "Function",
            "f",
            Handler="package.module.handle",
            Timeout=29,
            MemorySize=256,
            ReservedConcurrentExecutions=7,
            Environment={"Variables": {"A": "b"}},
            Role="arn:role",
        )
    )
    assert deployed is not None
    assert deployed.attributes["Arn"].endswith(":function:f")
    settings = {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}
    world.functions.create(resource("EventInvokeConfig", "x", FunctionName="f", **settings))
    assert world.functions.definition(REGION, "f") == FunctionDefinition(
        name="f",
        region=REGION,
        handler="package.module.handle",
        environment={"A": "b"},
        timeout_s=29,
        memory_mb=256,
        reserved_concurrency=7,
        role_arn="arn:role",
        event_age_s_max=60,
        retries_max=0,
    )


def test_code_is_imported_by_its_handler(world: World, tmp_path: Any) -> None:
    """The code of a template's asset must run, also where the package is not installed.

    Lambda developer guide, "Define Lambda function handler in Python".
    """
    (tmp_path / "asset_of_a_test.py").write_text("handle = 'the code'", encoding="utf-8")
    definition = FunctionDefinition(
        name="f", region=REGION, handler="asset_of_a_test.handle", asset=tmp_path
    )
    assert _load(definition) == "the code"
    world.functions.deploy(FunctionDefinition(name="f", region=REGION, handler="none.at_all"))
    answer = world.invoke("f").json()
    assert answer["errorType"] == "Runtime.ImportModuleError"
    assert "none" in answer["errorMessage"]


def test_an_execution_is_one_caller(world: World) -> None:
    """Faults count calls within one execution, not since the environment began."""
    numbers: list[int] = []

    def call(event: Any, context: Any, session: Any, sleep: Any) -> None:
        session.client("sqs").list_queues()
        task = world.scheduler.current
        assert task is not None
        assert isinstance(task.context, Caller)
        numbers.append(world.hook.log[-1].number)

    world.deploy("f", call)
    world.invoke("f")
    world.invoke("f")
    assert numbers == [1, 1]


def test_a_regions_clocks_may_be_wrong(world: World) -> None:
    """Leases must hold although machines disagree about the time; AWS itself does not disagree."""
    seen: list[float] = []

    def look(event: Any, context: Any, session: Any, sleep: Any) -> None:
        seen.append(time.time() - world.scheduler.now())
        session.client("sqs").send_message(QueueUrl=url, MessageBody="x", DelaySeconds=5)
        sleep(1.0)
        seen.append(time.time() - world.scheduler.now())

    url = world.queue()
    world.functions.skew_s[REGION] = -30.0
    world.deploy("f", look)
    world.invoke("f")
    assert seen == pytest.approx([-30.0, -30.0])
    assert time.time() == world.scheduler.now()
    queue = world.sqs.queue(world.arn(url))
    assert queue.approximate_number_of_messages_delayed == 1
    world.scheduler.run_for(4.1)
    assert queue.approximate_number_of_messages == 1
