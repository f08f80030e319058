"""What one fault must not do to others: hold their slots, end their repair, hush their bells."""

import base64
import json
import secrets
from datetime import UTC, datetime
from secrets import token_bytes
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.endpoints import Endpoints
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger, UnreadError
from lambdas.handlers.sweep import Sweep
from tests.end_to_end.world import Script, Tenant, World

SOON_S = 30.0
"""Much sooner than a slot that nobody holds is found, which takes two minutes."""


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """One tenant for all."""
    return module_world.tenant()


def is_job(call: Any, job: str) -> bool:
    """Whether a call writes this job."""
    return bool(call.params.get("Key", {}).get("pk", {}).get("S") == f"job#{job}")


@pytest.mark.parametrize(
    "body",
    [
        {"format": 1, "job": "job_" + "a" * 26, "attempt": 10**40},
        {"format": 1, "job": "job_" + "a" * 26, "attempt": True},
        {"format": 1, "job": "job_" + "a" * 3000, "attempt": 1},
        {"format": 1, "job": "", "attempt": 1},
    ],
    ids=["attempt-huge", "attempt-no-number", "id-huge", "id-empty"],
)
def test_a_message_that_the_ledger_cannot_be_asked_for_is_dropped(
    world: World, client: Tenant, body: dict[str, Any]
) -> None:
    """It used to end its round with every slot of it, again at each of its fifty deliveries."""
    for _ in range(2):
        world.put_message(body)
    job = client.submit()

    world.assert_rest(SOON_S)

    assert client.view(job)["status"] == "completed"


def test_a_job_that_cannot_be_started_holds_up_no_other(world: World, client: Tenant) -> None:
    """The ledger refuses one job; the others of its round start, and their slots come back."""
    ids: list[str] = []
    world.fail(
        "InternalServerError",
        function="dispatch",
        operation="UpdateItem",
        times=3,
        when=lambda call: bool(ids) and is_job(call, ids[0]),
    )
    ids.append(client.submit(tier="batch"))
    ids.extend(client.submit(tier="batch") for _ in range(3))

    world.until(lambda: all(client.view(job)["status"] == "completed" for job in ids), SOON_S)
    assert len(world.slots()) <= 1, "only the slot that the refused job may hold is kept"


@pytest.mark.parametrize(
    ("times", "status", "replayed"), [(1, 202, None), (3, 503, "true")], ids=["once", "every-try"]
)
def test_only_a_request_that_the_client_repeats_is_called_a_replay(
    world: World, client: Tenant, times: int, status: int, replayed: str | None
) -> None:
    """The ledger knows a write of its own that timed out; a client that asks again does not."""
    body = {"model": "small", "input": {"text": "hello"}}
    key = f"times-{times}"
    fault = world.fail("timeout_after", function="submit", operation="PutItem", times=times)

    first = client.post(body, key=key)
    answer = first if status == 202 else client.post(body, key=key)

    assert (fault.hits, first.status_code) == (times, status)
    assert answer.headers.get("Idempotent-Replayed") == replayed
    world.assert_rest()
    assert client.view(answer.json()["id"])["attempt"] == 1


def is_attempt(call: Any, job: str) -> bool:
    """Whether a call hands this job to its endpoint."""
    return str(call.params.get("InferenceId", "")).startswith(job)


@pytest.mark.parametrize("code", ["ValidationError", "ValidationException"])
def test_a_request_that_sagemaker_refuses_for_good_ends_at_once(
    world: World, client: Tenant, code: str
) -> None:
    """It used to be sent again every five seconds, in a slot that others waited for."""
    ids: list[str] = []
    refused = world.fail(
        code,
        function="dispatch",
        operation="InvokeEndpointAsync",
        times=None,
        when=lambda call: bool(ids) and is_attempt(call, ids[0]),
    )
    ids.append(client.submit())
    other = client.submit()

    world.assert_rest(SOON_S)

    view = client.view(ids[0])
    assert (view["status"], view["attempt"], refused.hits) == ("failed", 3, 3)
    assert view["error"]["code"] == "invocation_refused"
    assert world.deployment.account not in view["error"]["message"]
    assert client.view(other)["status"] == "completed"


@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceUnavailable", "InternalFailure"])
def test_an_endpoint_that_stutters_costs_no_attempt(
    world: World, client: Tenant, code: str
) -> None:
    """An outage of a minute would use up the attempts of every job in the queue."""
    fault = world.fail(code, function="dispatch", operation="InvokeEndpointAsync", times=4)
    job = client.submit()

    world.until(lambda: client.view(job)["status"] == "completed", 120)

    assert (fault.hits, client.view(job)["attempt"]) == (4, 1)


def test_an_endpoint_that_is_not_there_yet_fails_no_job(world: World, client: Tenant) -> None:
    """A release names a version before its endpoint exists; its jobs wait, and lose no attempt."""
    endpoint = world.names.endpoint("small", "v1")
    said = ClientError(
        {"Error": {"Code": "ValidationError", "Message": f"Endpoint {endpoint} not found."}},
        "InvokeEndpointAsync",
    )
    invoke = Endpoints.invoke

    def absent(self: Endpoints, **request: Any) -> None:
        with mock.patch.object(self.client, "invoke_endpoint_async", side_effect=said):
            invoke(self, **request)

    with mock.patch.object(Endpoints, "invoke", absent):
        job = client.submit()
        world.run_for(90)
        assert client.view(job)["status"] in {"queued", "in_progress"}
        assert client.view(job)["attempt"] == 1

    world.until(lambda: client.view(job)["status"] == "completed", 300)
    assert client.view(job)["attempt"] == 1


def test_a_refused_invocation_whose_dispatcher_dies_is_refused_again(
    world: World, client: Tenant
) -> None:
    """Between the refusal and the attempt's end nothing is lost: its message comes back."""
    world.fail("ValidationError", function="dispatch", operation="InvokeEndpointAsync", times=2)
    world.fail("die_before", function="dispatch", service="sqs", operation="SendMessage")
    job = client.submit()

    world.assert_rest()

    assert (client.view(job)["status"], client.view(job)["attempt"]) == ("completed", 2)


def test_slots_whose_reservation_was_not_answered_are_not_lost(world: World) -> None:
    """The SDK asks again, and finds the tokens of its first request where they fill the gate."""
    gate = Gate(world.aws("dynamodb"), world.names.gate)
    tokens = {"1.run.0", "1.run.1"}
    fault = world.fail("timeout_after", operation="UpdateItem")

    assert gate.reserve("elsewhere", tokens, capacity=2)

    assert fault.hits == 1
    assert gate.state("elsewhere").used == tokens
    assert not gate.reserve("elsewhere", {"2.run.0"}, capacity=2)


@pytest.mark.parametrize("operation", ["ReceiveMessage", "DeleteMessageBatch"])
def test_a_round_that_breaks_off_gives_its_slots_back(
    world: World, client: Tenant, operation: str
) -> None:
    """A queue that does not answer costs the round, not its slots."""
    fault = world.fail("ServiceUnavailable", function="dispatch", operation=operation, times=3)
    job = client.submit()

    world.until(lambda: fault.hits == 3 and not world.slots(), SOON_S)
    world.until(lambda: client.view(job)["status"] == "completed", SOON_S)


def test_one_job_that_cannot_be_repaired_keeps_no_other_from_it(
    world: World, client: Tenant
) -> None:
    """Two leases run out; what S3 says of the first one's answer does not end the sweep."""
    world.fail("die_before", function="complete", times=None)
    first, second = client.submit(), client.submit()
    world.fail(
        "AccessDenied",
        function="sweep",
        service="s3",
        times=None,
        when=lambda call: first in str(call.params.get("Key")),
    )

    world.until(lambda: client.view(second)["status"] == "completed", 600)

    assert client.view(first)["status"] == "in_progress"


def test_what_is_left_unread_is_not_taken_for_missing() -> None:
    """Else its dead letter would be deleted, and its slot given away."""

    class Throttled:
        def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
            return {"Responses": {}, "UnprocessedKeys": RequestItems}

    client: Any = Throttled()
    with pytest.raises(UnreadError):
        Ledger(client, "ledger").get_many(["job_" + "a" * 26])


def test_every_unfinished_job_is_looked_at() -> None:
    """A slot whose job was not reached would be taken for nobody's."""

    class Long:
        pages = 0

        def query(self, **_: Any) -> dict[str, Any]:
            self.pages += 1
            name = {"pk": {"S": f"job#{self.pages}"}, "created_ms": {"N": "1"}}
            item = {**name, "tenant": {"S": "t"}, "tier": {"S": "batch"}, "deadline_ms": {"N": "9"}}
            return {"Items": [item]} | ({"LastEvaluatedKey": name} if self.pages < 200 else {})

    client: Any = Long()
    assert sum(len(page) for page in Ledger(client, "ledger").live("here", "small")) == 200


def test_a_slot_that_a_retry_did_not_give_back_is_found(world: World, client: Tenant) -> None:
    """Once the job is queued again nobody knows its former slot: only sweep sees it."""
    world.model("small").answers(Script({"slot": [RuntimeError("once"), {"fine": True}]}))
    fault = world.fail(
        "die_before",
        function="complete",
        operation="UpdateItem",
        when=lambda call: call.params.get("TableName") == world.names.gate,
    )
    job = client.submit(input={"name": "slot"})
    world.until(lambda: client.view(job)["status"] == "completed")
    world.run_for(SOON_S)
    assert (fault.hits, len(world.slots())) == (1, 1)

    world.until(lambda: not world.slots(), 180 - SOON_S)


def test_a_message_that_is_faster_than_the_ledger_waits_for_a_moment(
    world: World, client: Tenant
) -> None:
    """In a burst dispatchers are there before submit has written the job: seconds would be lost."""
    slow = world.fail("slow", function="submit", operation="PutItem", delay_s=0.2)
    bell = {"model": "small", "tier": "interactive", "jobs": 1}
    world.aws("lambda").invoke(
        FunctionName=world.names.function("dispatch"),
        InvocationType="Event",
        Payload=json.dumps(bell),
    )
    job = client.submit()
    world.run_for(1)

    started = [
        call
        for call in world.calls.of(service="dynamodb", operation="UpdateItem")
        if call.params["Key"]["pk"] in (f"job#{job}", {"S": f"job#{job}"})
        and call.function.endswith("dispatch")
    ]
    assert slow.hits == 1
    assert len(started) > 1, "it was not early"
    assert client.view(job)["started_at"] is not None


def test_bells_ring_while_beat_is_silent(world: World, client: Tenant) -> None:
    """What beat saw before it fell silent says nothing of the work that waits now."""
    world.fail("die_before", function="beat", times=None)
    world.run_for(61)
    gate = world.aws("dynamodb")
    key = {"pk": {"S": "snapshot"}}
    item = gate.get_item(TableName=world.names.gate, Key=key)["Item"]
    document = json.loads(item["document"]["S"])
    document["models"]["small"]["waiting"]["interactive"] = 500
    item["document"]["S"] = json.dumps(document)
    gate.put_item(TableName=world.names.gate, Item=item)

    job = client.submit()

    world.until(lambda: client.view(job)["status"] == "completed", SOON_S)


def test_a_job_that_completed_at_last_shows_no_error(world: World, client: Tenant) -> None:
    """The error belonged to an earlier attempt; clients take one for a failed job's."""
    script = Script({"twice": [RuntimeError("once"), {"fine": True}]})
    world.model("small").answers(script)
    job = client.submit(input={"name": "twice"})

    world.until(lambda: client.view(job)["status"] == "completed")

    assert client.view(job)["attempt"] == 2
    assert client.view(job)["error"] is None


def test_the_answer_of_an_erased_job_is_not_looked_for(world: World, client: Tenant) -> None:
    """Its object may be gone: the notification would come back until it is a dead letter."""
    noise = {"noise": secrets.token_hex(70_000)}
    world.model("small").answers(lambda _: noise, service_s=5)
    job = client.submit()
    world.until(lambda: client.view(job)["status"] == "in_progress")
    version = client.view(job)["version"]
    world.fail("die_before", function="complete")  # told again after three minutes
    world.run_for(10)

    assert client.client().delete(f"/v1/jobs/{job}").status_code == 200
    mark = world.log_mark()
    world.run_for(200)

    lines = [line for line in world.log_lines(mark) if "another try" in str(line)]
    assert not lines
    bucket, prefix = world.names.bucket(world.region), f"results/small/{version}/{job}/"
    listed = world.aws("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    assert listed["KeyCount"] == 0


def test_retention_keeps_up_with_a_busy_tenant(world: World) -> None:
    """More jobs of a day than one page lists are all forgotten, the oldest first."""
    table, policy, now_ms = world.names.ledger, world.deployment.policy(), 1_800_000_000_000
    dynamodb = world.aws("dynamodb")
    old_ms = now_ms - 1000 * policy.retention_s - 2 * 86_400_000
    day = datetime.fromtimestamp(old_ms / 1000, UTC).date().isoformat()
    ids = ["job_" + base64.b32encode(token_bytes(17))[:26].decode().lower() for _ in range(1100)]
    for number, job_id in enumerate(ids):
        finished = {
            "owner": {"S": world.region},
            "home": {"S": world.region},
            "tenant": {"S": "busy"},
            "tenant_day": {"S": f"busy#{day}"},
            "model": {"S": "small"},
            "tier": {"S": "batch"},
            "status": {"S": "completed"},
            "attempt": {"N": "1"},
            "created_ms": {"N": str(old_ms + number)},
            "deadline_ms": {"N": str(old_ms + 60_000)},
            "finished_ms": {"N": str(old_ms + number)},
            "request_hash": {"B": b"x"},
        }
        dynamodb.put_item(TableName=table, Item={"pk": {"S": f"job#{job_id}"}, **finished})
    ledger, unused = Ledger(dynamodb, table), cast("Any", None)
    sweep = Sweep(
        region=world.region,
        policy=policy,
        endings=cast("Any", SimpleNamespace(ledger=ledger)),
        payloads=unused,
        directory=unused,
        metrics=unused,
    )
    counts = {"forgotten": 0}

    assert not sweep._forget("busy", counts, now_ms, lambda: 0), "no time is left"
    assert sweep._forget("busy", counts, now_ms, lambda: 60_000)

    assert counts["forgotten"] == 1100
    assert not ledger.get_many(ids)
