"""When another model takes a job over."""

from dataclasses import replace

import pytest

from lambdas.domain import fallback
from lambdas.domain.policy import Policy
from lambdas.domain.retries import retry_delay_s, tries
from tests.domain.api_policy import model, policy
from tests.domain.test_retries import NOW_MS, job


def pair(**changes: str) -> Policy:
    """A large model, and a small one that takes over from it."""
    return policy(large=model("large", fallback="small"), small=model("small", **changes))


def test_a_job_whose_attempts_are_used_up_falls_back() -> None:
    """An answer of the smaller model is worth more than none."""
    other = fallback.after_failure(job(model="large", attempt=3), pair(), now_ms=NOW_MS)

    assert other is not None
    assert other.name == "small"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "small"},
        {"model": "gone"},
        {"asked": "larger"},
        {"deadline_ms": NOW_MS},
    ],
    ids=["no-fallback", "model-is-gone", "fell-back-before", "too-late"],
)
def test_a_job_without_another_model_or_time_fails(changes: dict[str, str]) -> None:
    """Its client should read what failed, not wait for what cannot come."""
    failed = job(**{"model": "large", "attempt": 3} | changes)

    assert fallback.after_failure(failed, pair(), now_ms=NOW_MS) is None


@pytest.mark.parametrize("state", ["draining", "off"])
def test_a_model_that_takes_no_new_jobs_takes_none_over(state: str) -> None:
    """An operator who empties a model must not see it fill from another one."""
    failed = job(model="large", attempt=3)

    assert fallback.after_failure(failed, pair(state=state), now_ms=NOW_MS) is None


@pytest.mark.parametrize("moves", [None, 2])
def test_the_attempts_of_the_fallback_model_are_counted_anew(moves: int | None) -> None:
    """It would else have a single one, or none."""
    failed = job(model="large", attempt=5, moves=moves)
    small = pair().models["small"]

    values = fallback.taken_over(failed, small)
    fallen = replace(failed, **values)

    assert (fallen.model, fallen.asked, fallen.wished) == ("small", "large", "large")
    assert (fallen.attempt, tries(fallen)) == (6, 1)
    assert retry_delay_s(replace(fallen, attempt=7), small, now_ms=NOW_MS) is not None
    assert retry_delay_s(replace(fallen, attempt=8), small, now_ms=NOW_MS) is None
