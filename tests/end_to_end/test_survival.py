"""A job with everything that a job can have survives a death at any call.

Its input and its answer lie in the bucket, its first attempt fails, and a webhook is told. Each
case kills one execution before its first call or after one that has an effect, counted over all
executions of that function.
"""

import secrets
from typing import Any

import pytest

from lambdas.adapters.gate import RATE_WINDOW_S
from tests.end_to_end.world import RECOVERY_S, Script, Tenant, World

CALLS = {
    # Every call of a normal run, attempt by attempt. A test holds the lists against a real run.
    "submit": [
        "dynamodb GetItem",  # the tenant's secret for webhooks
        "dynamodb GetItem",  # an earlier job of this key
        "dynamodb UpdateItem",  # the rate
        "dynamodb GetItem",  # the snapshot
        "s3 PutObject",
        "sqs SendMessage",
        "dynamodb PutItem",
        "lambda Invoke",
    ],
    "dispatch": [
        "dynamodb GetItem",
        "dynamodb UpdateItem",
        "sqs ReceiveMessage",
        "dynamodb UpdateItem",
        "sagemaker-runtime InvokeEndpointAsync",
        "sqs DeleteMessageBatch",
        # the second attempt, found by beat
        "dynamodb GetItem",
        "dynamodb UpdateItem",
        "sqs ReceiveMessage",
        "dynamodb UpdateItem",
        "sagemaker-runtime InvokeEndpointAsync",
        "sqs DeleteMessageBatch",
        "sqs ReceiveMessage",
        "sqs ReceiveMessage",
        "dynamodb UpdateItem",
    ],
    "complete": [
        "dynamodb GetItem",
        "dynamodb GetItem",  # is the version on trial, or taken back?
        "dynamodb GetItem",  # is the breaker open?
        "sqs SendMessage",  # the second attempt's message
        "dynamodb UpdateItem",
        "dynamodb UpdateItem",
        "dynamodb UpdateItem",  # what the attempt used
        # the second attempt
        "dynamodb GetItem",
        "s3 GetObject",
        "dynamodb UpdateItem",
        "sqs SendMessage",  # the webhook's
        "dynamodb UpdateItem",
        "dynamodb UpdateItem",  # what the job used
    ],
}
COMMIT = ("complete", 10)
BEGINS = {"submit": {1}, "dispatch": {1, 7}, "complete": {1, 8}}
"""The first calls of executions."""
READS = {"GetItem", "GetObject"}
MOMENTS = [
    pytest.param(function, number, moment, id=f"{function}-{number}-{call.split()[1]}-{moment}")
    for function, calls in CALLS.items()
    for number, call in enumerate(calls, 1)
    for moment in ("before", "after")
    # Who dies before a call leaves what who dies after the one before it leaves, and reads leave
    # nothing: what differs is where an execution begins, and each call that has an effect.
    if (number in BEGINS[function] if moment == "before" else call.split()[1] not in READS)
]
ANSWER = {"noise": secrets.token_hex(70_000)}
"""Too large for the ledger and for a notification."""


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """One tenant for all: jobs are told apart by their keys."""
    return module_world.tenant(webhooks=True)


def rich(name: str) -> dict[str, Any]:
    """A job with everything."""
    return {
        "input": {"name": name, "noise": secrets.token_hex(4000)},
        "webhook": "https://example.com/told",
        "metadata": {"name": name},
    }


def commits(world: World, job: str) -> int:
    """How often somebody was told that this job's result is committed."""
    return sum(
        call.params["Key"]["pk"]["S"] == f"job#{job}"
        and call.params["ExpressionAttributeValues"][":target"]["S"] == "completed"
        and call.status == 200
        for call in world.calls.of(service="dynamodb", operation="UpdateItem")
        if ":target" in call.params.get("ExpressionAttributeValues", {})
    )


def assert_done_once(world: World, client: Tenant, job: str) -> None:
    """It is completed with the answer of its last attempt, and nothing is left of it."""
    view, item = client.view(job), world.ledger_item(job)
    assert view["status"] == "completed", view
    assert item["output_key"]["S"].endswith(f"/{job}/{view['attempt']}.json")
    stored = world.aws("s3").get_object(
        Bucket=world.names.bucket(world.region), Key=item["output_key"]["S"]
    )
    assert stored["Body"].read().decode() == f'{{"noise": "{ANSWER["noise"]}"}}'
    assert {identity for identity, _ in world.delivered} == {f"msg_{job}_completed"}


def test_the_cases_are_all_the_calls(world: World, client: Tenant) -> None:
    """A call that is added later gets its crash tests, or this fails."""
    world.model("small").answers(Script({"normal": [RuntimeError("passing"), ANSWER]}))
    world.run_for(RATE_WINDOW_S)  # a second submission in one window asks the gate before it rings
    before = len(world.calls)

    job = client.submit(**rich("normal"))
    world.assert_rest()

    made: dict[str, list[str]] = {function: [] for function in CALLS}
    begins: dict[str, set[int]] = {function: set() for function in CALLS}
    for call in list(world.calls)[before:]:
        for function, calls in made.items():
            if call.function == world.names.function(function):
                calls.append(f"{call.service} {call.operation}")
                if call.number == 1:
                    begins[function].add(len(calls))
    assert made == CALLS
    assert begins == BEGINS
    assert_done_once(world, client, job)
    assert commits(world, job) == 1


@pytest.mark.parametrize(("function", "number", "moment"), MOMENTS)
def test_a_death_at_any_call_of_a_full_job_loses_and_doubles_nothing(
    world: World, client: Tenant, function: str, number: int, moment: str
) -> None:
    """Whoever saw 202 gets one result and one webhook, whichever call was a function's last."""
    name = f"{function}-{number}-{moment}"
    world.model("small").answers(Script({name: [RuntimeError("passing"), ANSWER]}))
    body = rich(name)
    fault = world.fail(f"die_{moment}", function=function, skip=number - 1)

    job = client.submit(key=name, **body)
    world.assert_rest(RECOVERY_S)

    assert fault.hits == 1
    assert_done_once(world, client, job)
    # After the commit itself nobody lives to hear that it took effect.
    assert commits(world, job) == int((function, number, moment) != (*COMMIT, "after"))
    again = client.post({"model": "small", "tier": "interactive", **body}, key=name)
    assert (again.status_code, again.json()["id"]) == (200, job)
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("function", ["submit", "dispatch", "complete"])
def test_a_time_out_of_any_ledger_write_is_no_second_result(
    world: World, client: Tenant, function: str
) -> None:
    """A write that happened although nobody heard so must be known as our own."""
    name = f"timeout-{function}"
    world.model("small").answers(Script({name: [ANSWER]}))
    fault = world.fail(
        "timeout_after",
        function=function,
        service="dynamodb",
        when=lambda call: (
            call.params.get("TableName") == world.names.ledger
            and call.operation in {"PutItem", "UpdateItem"}
        ),
    )

    job = client.submit(key=name, **rich(name))
    world.assert_rest()

    assert fault.hits == 1
    assert_done_once(world, client, job)
    assert client.view(job)["attempt"] == 1
    # The write that counted was not heard of; its repetition was refused, with our own token.
    assert commits(world, job) == int(function != "complete")


@pytest.mark.parametrize("service", ["dynamodb", "sqs", "s3", "lambda", "sagemaker-runtime"])
@pytest.mark.parametrize("action", ["throttle", "timeout_before", "timeout_after", "unreachable"])
def test_a_service_that_stutters_costs_time_and_no_job(
    world: World, client: Tenant, service: str, action: str
) -> None:
    """Every service throttles somebody every day."""
    name = f"{service}-{action}"
    world.model("small").answers(Script({name: [ANSWER]}))
    faults = [
        world.fail(action, function=function, service=service, times=2)
        for function in ("submit", "dispatch", "complete")
    ]

    job = client.submit(key=name, **rich(name))
    world.assert_rest()

    assert sum(fault.hits for fault in faults) > 0
    assert_done_once(world, client, job)
    assert commits(world, job) == 1
