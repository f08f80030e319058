"""Whether another attempt follows, and when."""

from dataclasses import replace
from typing import Any

import pytest

from lambdas.domain.breaker import Breaker
from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Model
from lambdas.domain.release import Release
from lambdas.domain.retries import (
    DELAY_S_MAX,
    SPARED_MAX,
    is_spared,
    may_spare,
    retry_delay_s,
    tries,
)
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


def test_spared_attempts_cost_none_and_are_bounded() -> None:
    """It is not a job's fault that a version is bad; but one may be what every version fails of."""
    patient = model(attempts_max=1)

    assert retry_delay_s(job(), patient, now_ms=NOW_MS) is None
    assert retry_delay_s(job(), patient, now_ms=NOW_MS, spared=True) == 5
    assert retry_delay_s(job(attempt=4, spared=3), patient, now_ms=NOW_MS) is None
    assert retry_delay_s(job(attempt=4, spared=3), model(), now_ms=NOW_MS) == 40


@pytest.mark.parametrize("outage_s", [7200, 80_000])
def test_a_job_with_time_outlasts_an_outage(outage_s: int) -> None:
    """A short queue would else burn all that is spared within minutes."""
    one = job(deadline_ms=NOW_MS + 1000 * 86_400)
    at_s = 0.0
    while at_s < outage_s:
        assert may_spare(one)
        wait_s = retry_delay_s(one, model(), now_ms=NOW_MS + round(1000 * at_s), spared=True)
        assert wait_s is not None, at_s
        one = replace(one, attempt=one.attempt + 1, spared=(one.spared or 0) + 1)
        at_s += wait_s

    assert at_s < outage_s + DELAY_S_MAX, "it is answered then"
    assert tries(one) == 1


def test_a_spared_attempt_waits_for_half_of_the_time_left_at_most() -> None:
    """It would else end long before its deadline, of what is not its fault."""
    late = job(attempt=10, spared=9, deadline_ms=NOW_MS + 300_000)

    assert retry_delay_s(late, model(), now_ms=NOW_MS, spared=True) == 150


@pytest.mark.parametrize(
    ("version", "changes", "spared"),
    [
        ("v1", {}, False),
        ("v2", {"candidate": "v2"}, True),
        ("v1", {"candidate": "v2"}, False),
        ("v2", {"quarantined": {"v2": "slow"}}, True),
    ],
)
def test_a_failure_of_a_version_that_is_not_trusted_is_spared(
    version: str, changes: Any, spared: bool
) -> None:
    """Whoever tries a version out must not pay for it with other people's jobs."""
    release = Release(model="chat", revision=1, live="v1", **changes)
    failed = job(version=version)

    assert is_spared(failed, release=release, breaker=Breaker()) is spared
    assert is_spared(failed, release=release, breaker=Breaker(open_ms=1))
    assert not is_spared(failed, release=None, breaker=Breaker())
    worn = job(version=version, spared=SPARED_MAX)
    assert not is_spared(worn, release=release, breaker=Breaker(open_ms=1)), "its own input may be"
