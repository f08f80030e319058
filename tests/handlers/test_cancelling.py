"""Cancelling a job that the model works on: its slot stays taken until the model is done."""

import json
import secrets
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.adapters.endpoints import output_key
from lambdas.adapters.gate import Gate
from lambdas.domain.job import Status, inference_id
from lambdas.handlers import complete, sweep
from lambdas.handlers.ports import endings
from lambdas.wiring import Execution
from tests.handlers.region import HERE, MODEL, DiedError, Region, aws

SLOT = "s.1"
"""What `Region.start` gives a job; sweep takes it for one that was reserved long ago."""
LEASE_S = 60
LARGE = secrets.token_hex(8_000)
SAID: dict[str, dict[str, Any]] = {
    "answers": {"invocationStatus": "Completed", "responseBody": {"content": '"late"'}},
    "answers at length": {"invocationStatus": "Completed"},
    "fails": {"invocationStatus": "Failed", "failureReason": "out of memory"},
}


@pytest.fixture(autouse=True)
def dead_letters(region: Region) -> None:
    """Sweep looks into them first."""
    region.create_dead_letters()


def gate(region: Region) -> Gate:
    """The region's gate."""
    return Gate(aws("dynamodb"), region.names.gate)


def running(region: Region, **fields: Any) -> str:
    """A job that the model works on."""
    job = region.submitted(**fields)
    region.start(job)
    assert gate(region).reserve(MODEL, {SLOT}, capacity=4)
    return job


def cancel(region: Region, job: str) -> Any:
    """Cancel it as its client."""
    return region.ask("POST /v1/jobs/{id}/cancel", job=job)


def hear(region: Region, job: str, end: str, *, attempt: int = 1) -> None:
    """Let complete hear of the attempt's end."""
    said = SAID[end] | {"inferenceId": inference_id(job, attempt)}
    record = {"messageId": "n-1", "body": json.dumps(said)}
    done = region.handler(complete)({"Records": [record]}, None)
    assert done == {"batchItemFailures": []}


def repair(region: Region) -> None:
    """Let sweep run once."""
    region.handler(sweep)({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))


def holds(region: Region) -> tuple[set[str], list[str]]:
    """Slots in use, and the jobs that the live index shows."""
    live = [job.id for page in region.ledger.live(HERE, MODEL) for job in page]
    return set(gate(region).state(MODEL).used), live


def test_the_slot_of_a_cancelled_job_is_taken_while_the_model_is_at_work(region: Region) -> None:
    """A slot that is given away too early puts more work on the GPU than it has room for."""
    job = running(region)

    reply = cancel(region, job)
    repair(region)

    assert (reply.status, reply.json["status"]) == (200, "cancelled")
    assert holds(region) == ({SLOT}, [job])
    assert region.job(job).input is None


@pytest.mark.parametrize("end", SAID)
def test_the_end_of_a_cancelled_attempt_frees_its_slot(region: Region, end: str) -> None:
    """The model has room again, and the client still reads that the job was cancelled."""
    job = running(region)
    region.put_object(HERE, output_key(MODEL, "v1", job, 1))
    cancel(region, job)

    for _ in range(2):  # SNS and SQS deliver at least once
        hear(region, job, end)

        assert holds(region) == (set(), [])
    view = region.ask("GET /v1/jobs/{id}", job=job).json
    assert view["status"] == "cancelled"
    assert (view["output"], view["output_url"], view["error"]) == (None, None, None)
    assert region.messages()[1:] == [], "it is not tried again"


def test_a_cancelled_attempt_that_is_never_heard_of_ends_with_its_lease(region: Region) -> None:
    """Without a notification the slot would be lost, or the job run again for nobody."""
    job = running(region)
    cancel(region, job)
    region.sleep(LEASE_S - 1)
    repair(region)
    assert holds(region) == ({SLOT}, [job])

    region.sleep(1)
    repair(region)

    assert holds(region) == (set(), [])
    assert region.job(job).status is Status.CANCELLED
    assert region.messages()[1:] == [], "it is not tried again"


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("end", ["answers at length", "fails", "lease"])
def test_a_death_while_a_cancelled_attempt_ends_is_made_good(
    region: Region, end: str, number: int
) -> None:
    """Whoever repeats it, or sweeps, finds the job or its slot."""
    job = running(region)
    cancel(region, job)
    if end == "lease":
        region.sleep(LEASE_S)

    def die() -> None:
        raise DiedError

    region.calls.clear()
    region.faults = {f"UpdateItem#{number}": die}
    with pytest.raises(DiedError):
        repair(region) if end == "lease" else hear(region, job, end)
    region.faults = {}
    region.forget_environments()
    repair(region) if end == "lease" else hear(region, job, end)

    assert holds(region) == (set(), [])


def test_a_job_that_an_earlier_release_cancelled_at_work_ends_as_it_used_to(region: Region) -> None:
    """During a deployment such items are there: they are off the index, and have no lease."""
    job = running(region)
    cancel(region, job)
    aws("dynamodb").update_item(
        TableName=region.names.ledger,
        Key={"pk": {"S": f"job#{job}"}},
        UpdateExpression="REMOVE live, lease_ms",
    )

    hear(region, job, "answers")

    assert holds(region) == (set(), [])
    assert region.job(job).status is Status.CANCELLED


# ---- races


def test_a_job_that_starts_while_it_is_cancelled_keeps_its_slot(region: Region) -> None:
    """The client saw it wait; the write finds it at work."""
    job = region.submitted()
    region.calls.clear()
    region.faults = {"UpdateItem#1": lambda: region.start(job)}

    assert cancel(region, job).json["status"] == "cancelled"

    assert region.job(job).slot == SLOT
    assert holds(region)[1] == [job]


def test_a_job_that_goes_back_to_its_queue_while_it_is_cancelled_is_off_the_index(
    region: Region,
) -> None:
    """Its attempt failed just then: nobody works on it, so nothing must wait for an end."""
    job = running(region)
    region.calls.clear()
    region.faults = {"UpdateItem#1": lambda: hear(region, job, "fails")}

    assert cancel(region, job).json["status"] == "cancelled"

    assert region.job(job).attempt == 2
    assert holds(region) == (set(), [])


def test_a_job_that_ends_while_it_is_cancelled_keeps_its_result(region: Region) -> None:
    """The answer was committed first, and perhaps read."""
    job = running(region)
    region.calls.clear()
    region.faults = {"UpdateItem#1": lambda: hear(region, job, "answers")}

    reply = cancel(region, job)

    assert (reply.status, reply.error["code"]) == (409, "job_finished")
    assert region.job(job).status is Status.COMPLETED


def test_a_cancellation_gives_up_on_a_job_that_never_stands_still(region: Region) -> None:
    """An endless loop would hold the client's request until the function times out."""
    job = region.submitted()
    writes: list[int] = []

    def change() -> None:
        writes.append(1)
        current = region.job(job)
        if current.status is Status.QUEUED:
            region.start(job)
        else:
            region.ledger.apply(current, "retry", now_ms=1, attempt=current.attempt + 1)

    region.calls.clear()
    region.faults = {"UpdateItem": change}

    reply = cancel(region, job)

    assert (reply.status, reply.error["code"]) == (409, "job_changing")
    assert len(writes) == 4


def test_an_expiry_that_comes_too_late_leaves_a_cancelled_attempt_alone(region: Region) -> None:
    """The reader's clock is ahead; the job started in time, and the model is at work on it."""
    job = region.submitted(deadline_s=60)
    waiting = region.job(job)
    region.start(job)
    assert gate(region).reserve(MODEL, {SLOT}, capacity=4)
    cancel(region, job)

    environ = {"AWS_REGION": HERE, "LAMBDA_TASK_ROOT": str(region.tmp_path)}
    ports = endings(Execution(environ=environ, session=region, sleep=region.sleep))
    assert not ports.expired(waiting, now_ms=waiting.deadline_ms).won
    ports.settle()

    assert holds(region) == ({SLOT}, [job])


# ---- afterwards


def test_a_cancelled_job_is_forgotten_also_when_no_end_was_heard(region: Region) -> None:
    """Retention is a promise, whatever the model does."""
    job = running(region)
    cancel(region, job)

    region.ledger.forget(job)

    assert region.ledger.get(job) is None
    assert holds(region)[1] == []
    hear(region, job, "answers at length")


def test_an_erased_job_keeps_its_slot_until_the_model_is_done(region: Region) -> None:
    """Erasing is cancelling and more: the GPU is as busy."""
    job = running(region, value=LARGE)

    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200
    repair(region)
    assert holds(region) == ({SLOT}, [job])
    region.put_object(HERE, output_key(MODEL, "v1", job, 1))
    hear(region, job, "answers at length")

    assert holds(region) == (set(), [])
    assert not region.objects()


def test_an_erased_job_whose_end_is_never_heard_of_leaves_no_result(region: Region) -> None:
    """The model wrote it after the client was told that it is gone."""
    job = running(region)
    region.ask("DELETE /v1/jobs/{id}", job=job)
    region.put_object(HERE, output_key(MODEL, "v1", job, 1))

    region.sleep(LEASE_S)
    repair(region)

    assert holds(region) == (set(), [])
    assert not region.objects()
