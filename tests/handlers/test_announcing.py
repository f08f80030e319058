"""A client that asked to hear of its job's end hears of it, whoever dies while the job ends."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lambdas.adapters.endpoints import output_key
from lambdas.handlers import sweep
from tests.handlers.region import HERE, MODEL, DiedError, Region, aws

LEASE_S = 60
DEADLINE_S = 60


@pytest.fixture(autouse=True)
def deliverable(region: Region) -> None:
    """Sweep looks into dead letters; a webhook needs its tenant's secret."""
    region.create_dead_letters()
    aws("dynamodb").put_item(
        TableName=region.names.directory,
        Item={"pk": {"S": "webhook#acme"}, "secret": {"S": "whsec_" + "A" * 32}},
    )


def repair(region: Region) -> None:
    """Let sweep run once."""
    region.handler(sweep)({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))


def cancelled(region: Region, job: str) -> None:
    """Its client takes it back."""
    region.ask("POST /v1/jobs/{id}/cancel", job=job)


def erased(region: Region, job: str) -> None:
    """Its client takes it back for good."""
    region.ask("DELETE /v1/jobs/{id}", job=job)


def read_late(region: Region, job: str) -> None:
    """Its client looks after its deadline."""
    region.sleep(DEADLINE_S)
    region.ask("GET /v1/jobs/{id}", job=job)


def swept_late(region: Region, _job: str) -> None:
    """Nobody looks at it until sweep does."""
    region.sleep(DEADLINE_S)
    repair(region)


def never_answered(region: Region, job: str) -> None:
    """Its last attempt's lease runs out."""
    for attempt in range(2, 4):
        region.start(job)
        region.ledger.apply(region.job(job), "retry", now_ms=1, attempt=attempt)
    region.start(job)
    region.sleep(LEASE_S)
    repair(region)


def answered_unheard(region: Region, job: str) -> None:
    """Its notification was lost, but its answer is there."""
    region.start(job)
    region.put_object(HERE, output_key(MODEL, "v1", job, 1))
    region.sleep(LEASE_S)
    repair(region)


ENDS: dict[Callable[[Region, str], None], str] = {
    cancelled: "cancelled",
    erased: "cancelled",
    read_late: "expired",
    swept_late: "expired",
    never_answered: "failed",
    answered_unheard: "completed",
}
MOMENTS = ("UpdateItem done#1", "SendMessage#1", "SendMessage done#1", "UpdateItem#2")


def submitted(region: Region) -> str:
    """A job whose client wants to hear of it."""
    return region.submitted(webhook="https://example.com/done", deadline_s=DEADLINE_S)


def told(region: Region, job: str) -> set[str]:
    """What its client is told."""
    return {notice["event"] for notice in region.notices() if notice["job"] == job}


def live(region: Region) -> list[str]:
    """Jobs that something is still to be done for."""
    return [job.id for page in region.ledger.live(HERE, MODEL) for job in page]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_every_end_is_told_once_and_then_done_with(
    region: Region, end: Callable[[Region, str], None]
) -> None:
    """A job that is never done with is looked at by every sweep for seven days."""
    job = submitted(region)

    end(region, job)

    assert region.job(job).status == ENDS[end]
    assert told(region, job) == {f"job.{ENDS[end]}"}
    assert live(region) == []
    aws("sqs").purge_queue(QueueUrl=region.names.queue_url(HERE, region.names.webhooks))
    region.sleep(120)
    repair(region)
    assert region.notices() == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_an_end_whose_author_died_is_told_by_sweep(
    region: Region, end: Callable[[Region, str], None], moment: str
) -> None:
    """Nobody else comes back to a job that has ended."""
    job = submitted(region)

    def die() -> None:
        raise DiedError

    region.calls.clear()
    region.faults = {moment: die}
    try:
        end(region, job)
    except DiedError:
        pass
    else:
        pytest.fail("it makes no such call")
    region.faults = {}
    region.forget_environments()
    # The first sweep may still find the author at work.
    for _ in range(3):
        region.sleep(60)
        repair(region)

    assert region.job(job).status == ENDS[end]
    assert told(region, job) == {f"job.{ENDS[end]}"}
    assert live(region) == []


def test_an_end_that_is_just_being_told_is_left_to_its_author(region: Region) -> None:
    """Sweep would tell every client twice."""
    job = submitted(region)
    seen: list[int] = []

    def look() -> None:
        seen.append(1)
        repair(region)

    region.calls.clear()
    region.faults = {"UpdateItem done#1": look}

    cancelled(region, job)

    assert seen
    assert [notice["job"] for notice in region.notices()] == [job]


def test_a_job_without_a_webhook_costs_no_further_write(region: Region) -> None:
    """Most jobs have none."""
    job = region.submitted()
    region.calls.clear()

    cancelled(region, job)

    writes = [
        params["TableName"] for operation, params in region.calls if operation == "UpdateItem"
    ]
    # The end, and that it is counted.
    assert writes == [region.names.ledger, region.names.gate]
