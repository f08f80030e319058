"""What a long backlog costs: every strong read of a job is paid."""

from types import SimpleNamespace

import pytest

from lambdas.adapters import ledger
from lambdas.adapters.gate import Gate
from lambdas.domain.job import Status
from lambdas.handlers import sweep
from tests.handlers.region import MODEL, Region, aws

MINUTE_S = 60


@pytest.fixture(autouse=True)
def _short_pages(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LIVE_PAGE", 2)
    region.create_dead_letters()


def repaired(region: Region, *, last_digit: int) -> set[str]:
    """Let sweep run in the next minute whose number ends so; the jobs that it read."""
    region.sleep(MINUTE_S - region.now_s % MINUTE_S + 1)
    while region.now_s // MINUTE_S % 10 != last_digit:
        region.sleep(MINUTE_S)
    region.calls.clear()
    region.handler(sweep)({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))
    return {
        key["pk"]["S"].removeprefix("job#")
        for operation, params in region.calls
        if operation == "BatchGetItem"
        for key in params["RequestItems"][region.names.ledger]["Keys"]
    }


def test_a_backlog_that_only_waits_is_not_read_every_minute(region: Region) -> None:
    """A thousand jobs that wait for ten hours were six hundred thousand paid reads."""
    jobs = []
    for _ in range(6):
        jobs.append(region.submitted())
        region.sleep(0.01)
    assert repaired(region, last_digit=3) == set(jobs[:2])
    assert repaired(region, last_digit=0) == set(jobs)


def test_a_deadline_is_kept_wherever_in_the_backlog_its_job_stands(region: Region) -> None:
    """Else its client reads `queued` long after the moment that it named."""
    jobs = []
    for deadline_s in (7200, 7200, 7200, 7200, 60):
        jobs.append(region.submitted(deadline_s=deadline_s))
        region.sleep(0.01)
    region.sleep(MINUTE_S)
    assert repaired(region, last_digit=3) == {*jobs[:2], jobs[4]}
    assert region.job(jobs[4]).status is Status.EXPIRED


def test_a_lease_that_ran_out_is_seen_wherever_its_job_stands(region: Region) -> None:
    """Its slot in the gate is old: that is what makes sweep look at all jobs."""
    jobs = []
    for _ in range(5):
        jobs.append(region.submitted())
        region.sleep(0.01)
    slot = f"{int(region.now_s * 1000)}.run.0"
    assert Gate(aws("dynamodb"), region.names.gate).reserve(MODEL, {slot}, capacity=4)
    region.start(jobs[4])
    region.sleep(region.policy.models[MODEL].lease_s + MINUTE_S)
    assert repaired(region, last_digit=3) == set(jobs)
    assert region.job(jobs[4]).attempt == 2
