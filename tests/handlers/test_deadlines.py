"""Deadlines: six days at most, kept to by whatever starts jobs, and no end of those that run."""

from lambdas.domain.job import Status
from lambdas.domain.retries import retry_delay_s
from tests.handlers.region import Region

SIX_DAYS_S = 518_400


def start(region: Region, job: str) -> bool:
    """Try to start a job now, as dispatch does."""
    at_ms = int(region.now_s * 1000)
    return region.ledger.apply(
        region.job(job),
        "start",
        now_ms=at_ms,
        started_ms=at_ms,
        lease_ms=at_ms + 60_000,
        version="v1",
        slot="s.1",
        message="m-1",
    ).won


def test_a_job_may_wait_for_six_days(region: Region) -> None:
    """Batch work over a long weekend; a queue keeps its message for seven."""
    reply = region.submit(deadline_s=SIX_DAYS_S)

    assert reply.status == 202
    assert reply.json["created_at"] == "2023-11-14T22:13:20.000Z"
    assert reply.json["deadline_at"] == "2023-11-20T22:13:20.000Z"
    refused = region.submit(deadline_s=SIX_DAYS_S + 1)
    assert (refused.status, refused.error["param"]) == (400, "deadline_s")


def test_a_job_starts_until_its_deadline_and_not_at_it(region: Region) -> None:
    """A message that comes late must not spend a GPU on an answer that nobody waits for."""
    early, late = (region.submitted(name, deadline_s=SIX_DAYS_S) for name in ("early", "late"))

    region.sleep(SIX_DAYS_S - 1)
    assert start(region, early)
    region.sleep(1)
    assert not start(region, late)

    view = region.ask("GET /v1/jobs/{id}", job=late).json
    assert (view["status"], view["started_at"]) == ("expired", None)
    assert view["error"]["code"] == "deadline_exceeded"


def test_a_deadline_does_not_end_what_runs(region: Region) -> None:
    """The GPU's time is spent by then; the model's own timeout is the bound."""
    job = region.submitted(deadline_s=10)
    assert start(region, job)
    region.sleep(60)

    assert region.ask("GET /v1/jobs/{id}", job=job).json["status"] == "in_progress"
    at_ms = int(region.now_s * 1000)
    done = region.ledger.apply(region.job(job), "complete", now_ms=at_ms, finished_ms=at_ms)
    assert done.won
    assert region.job(job).status is Status.COMPLETED


def test_nothing_is_tried_again_after_its_deadline(region: Region) -> None:
    """Another attempt would start too late; the job says what it failed of instead."""
    job = region.submitted(deadline_s=10)
    assert start(region, job)
    model = region.policy.models["embedder"]

    for later_s, again in ((1, True), (11, False)):
        at_ms = int((region.now_s + later_s) * 1000)
        delay_s = retry_delay_s(region.job(job), model, now_ms=at_ms, spared=False)
        assert (delay_s is not None) is again
