"""Whether another attempt follows, and when."""

from typing import Any

import pytest

from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Model
from lambdas.domain.retries import DELAY_S_MAX, retry_delay_s
from tests.domain.api_policy import model

NOW_MS = 1_000_000


def job(**changes: Any) -> Job:
    """A job whose first attempt has just failed."""
    values: dict[str, Any] = {
        "id": "job_a",
        "status": Status.IN_PROGRESS,
        "attempt": 1,
        "owner": "us-east-1",
        "home": "us-east-1",
        "tenant": "acme",
        "model": "embedder",
        "tier": "batch",
        "created_ms": 0,
        "deadline_ms": NOW_MS + 10_000_000,
        "request_hash": b"h",
    }
    return Job(**values | changes)


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 5), (2, 10), (3, 20), (30, DELAY_S_MAX)])
def test_every_further_attempt_waits_twice_as_long(attempt: int, delay_s: float) -> None:
    """A model that is down must not be hit by all its retries at once."""
    patient = model(attempts_max=100)

    assert retry_delay_s(job(attempt=attempt), patient, now_ms=NOW_MS) == delay_s


@pytest.mark.parametrize(
    ("attempt", "served_by"), [(3, model()), (1, None)], ids=["used-up", "model-is-gone"]
)
def test_there_is_an_end_to_attempts(attempt: int, served_by: Model | None) -> None:
    """A job that always fails must not run for ever, and one of no model not at all."""
    assert retry_delay_s(job(attempt=attempt), served_by, now_ms=NOW_MS) is None


@pytest.mark.parametrize(("left_ms", "tried"), [(5_001, True), (5_000, False), (-1, False)])
def test_no_attempt_follows_that_could_not_start_in_time(left_ms: int, tried: bool) -> None:
    """Its client would wait for the deadline, and then not learn what failed."""
    late = job(deadline_ms=NOW_MS + left_ms)

    assert (retry_delay_s(late, model(), now_ms=NOW_MS) is not None) == tried


def test_moves_cost_no_attempts() -> None:
    """It is not a job's fault that its region is lost, drained or busy."""
    moved = job(attempt=5, moves=4)

    assert retry_delay_s(moved, model(), now_ms=NOW_MS) == 5
