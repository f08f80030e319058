"""Whether to take a job."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.admission import Decision, bell_needed, decide, load_of
from lambdas.domain.errors import ApiError
from tests.domain.api_policy import ANYBODY, TIERS, model, snapshot


def decided(seen: dict[str, Any], *, deadline_s: float = 600, tier: str = "standard") -> Decision:
    """Decide about one job of the embedder."""
    return decide(
        caller=ANYBODY,
        model=model(),
        tiers=TIERS,
        tier=tier,
        snapshot=seen,
        deadline_s=deadline_s,
        now_ms=0,
    )


def refusal(seen: dict[str, Any], **options: Any) -> ApiError:
    """The refusal of one job of the embedder."""
    found = decided(seen, **options).refusal
    assert found is not None
    return found


def test_an_idle_region_takes_a_job() -> None:
    """A service that refuses without need is down."""
    assert decided(snapshot()) == Decision(refusal=None, predicted_wait_s=0.0)


def test_without_a_snapshot_jobs_are_taken() -> None:
    """The first minute of a region, and a beat that is late, must not stop anybody."""
    assert decided({}).refusal is None


def test_an_unknown_model_in_the_snapshot_is_taken_as_idle() -> None:
    """A model that was just deployed has not been seen yet."""
    assert decided(snapshot() | {"models": {}}).refusal is None


@given(
    st.integers(0, 5000),
    st.integers(0, 3),
    st.floats(1, 600),
    st.sampled_from([tier.name for tier in TIERS]),
)
def test_a_job_that_comes_back_when_told_is_taken(
    waiting: int, instances: int, deadline_s: float, tier: str
) -> None:
    """A Retry-After that is too short makes clients knock in vain; one without reason, wait.

    Once that time has passed, and nothing new has come, the backlog has shrunk by as much.
    """
    seen = snapshot(instances=instances, in_use=8, waiting={tier: waiting})
    decision = decided(seen, deadline_s=deadline_s, tier=tier)
    if decision.refusal is None:
        assert decision.predicted_wait_s <= deadline_s
    else:
        after_s = decision.refusal.retry_after_s
        assert after_s is not None
        assert decision.predicted_wait_s - after_s <= deadline_s + 1e-9
        assert after_s - 1 < decision.predicted_wait_s - deadline_s


def test_a_tier_does_not_wait_for_less_urgent_ones() -> None:
    """A batch run must not close the door for people who wait."""
    seen = snapshot(in_use=8, waiting={"batch": 100_000})

    assert decided(seen, tier="interactive", deadline_s=30).refusal is None
    assert refusal(seen, tier="batch", deadline_s=30).code == "deadline_unreachable"


def test_a_region_without_instances_counts_their_warm_up() -> None:
    """A deadline within the warm-up cannot be met, however short the queue is."""
    seen = snapshot(instances=0)

    assert refusal(seen, deadline_s=60).retry_after_s == pytest.approx(181, abs=1)
    assert decided(seen, deadline_s=300).refusal is None


@pytest.mark.parametrize(("unfinished", "taken"), [(99, True), (100, False), (5000, False)])
def test_the_in_flight_cap_is_the_number_that_was_set(unfinished: int, *, taken: bool) -> None:
    """A tenant that plans with its cap must be able to use all of it."""
    assert (decided(snapshot(tenants={"acme": unfinished})).refusal is None) == taken


def test_the_cap_is_the_tenants_own() -> None:
    """One tenant's backlog must not be another's refusal."""
    assert decided(snapshot(tenants={"rival": 5000})).refusal is None


def test_over_the_cap_the_time_to_come_back_grows_with_the_excess() -> None:
    """Everybody back at once, five seconds later, is the same flood again."""
    few = refusal(snapshot(tenants={"acme": 101}))
    many = refusal(snapshot(tenants={"acme": 500}))

    assert few.retry_after_s == 5
    assert many.retry_after_s == 101
    assert "500 unfinished" in many.message


def test_a_bell_is_needless_behind_a_backlog() -> None:
    """Every bell is a function call; the next free slot rings anyway."""
    load = load_of(snapshot(waiting={"batch": 39}), "embedder")

    assert bell_needed(model(), load)
    assert not bell_needed(model(), replace(load, waiting={"batch": 40}))
    assert bell_needed(model(), replace(load, instances=2, waiting={"batch": 40}))
