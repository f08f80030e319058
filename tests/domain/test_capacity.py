"""How much may be on its way to an endpoint, and how long new work waits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.breaker import Breaker
from lambdas.domain.capacity import (
    CAPACITY_FRESH_S,
    Load,
    backlog,
    oldest_waiting,
    predicted_wait_s,
    pressure,
    slots,
    usable_slots,
)
from lambdas.domain.policy import Model
from tests.domain.test_dispatch import TIERS


def model(**changes: object) -> Model:
    """A model of ordinary size."""
    values: dict[str, object] = {
        "name": "chat",
        "state": "live",
        "versions": {"v1": 1.0},
        "concurrency": 16,
        "service_s": 2.0,
        "warm_up_s": 258.0,
        "handoff_s": 0.5,
        "instances_min": 1,
        "instances_max": 4,
        "invocation_timeout_s": 300,
        "request_ttl_s": 300,
        "attempts_max": 3,
        "retry_delay_s": 5.0,
        "input_bytes_max": 1_000_000,
    }
    return Model(**(values | changes))  # type: ignore[arg-type]


def test_prefetch_covers_the_hand_off_and_no_more() -> None:
    """Every job beyond that waits in a queue that knows no priority."""
    assert slots(model(), 1) == 16 + 4  # 16 jobs / 2 s x 0.5 s
    assert slots(model(service_s=0.01), 1) == 32
    assert slots(model(), 0) == 0


@given(instances=st.integers(0, 50), service_s=st.floats(0.001, 600))
def test_slots_grow_with_instances_and_stay_within_twice_the_work(
    instances: int, service_s: float
) -> None:
    """A flood into the model server would undo every priority."""
    served = model(service_s=service_s)
    assert instances * 16 <= slots(served, instances) <= 2 * instances * 16
    assert slots(served, instances) <= slots(served, instances + 1)


def test_a_stale_gate_gives_a_trickle() -> None:
    """When beat is gone the instances may be too: neither a flood nor a stop."""
    fresh = usable_slots(model(), capacity=64, age_s=1, breaker=Breaker())
    stale = usable_slots(model(), capacity=64, age_s=CAPACITY_FRESH_S + 1, breaker=Breaker())
    never = usable_slots(model(), capacity=None, age_s=0, breaker=Breaker())
    nothing = usable_slots(model(), capacity=0, age_s=CAPACITY_FRESH_S + 1, breaker=Breaker())
    assert (fresh, stale, never, nothing) == (64, 4, 4, 1)


def test_a_model_that_fails_most_jobs_gets_one_probe_at_a_time() -> None:
    """A bad version must not burn the whole queue in minutes."""
    for breaker, usable in (
        (Breaker(ok=4, bad=6), 1),
        (Breaker(ok=2, open_ms=5), 1),
        (Breaker(ok=6, bad=6), 64),
        (Breaker(ok=0, bad=5), 64),
    ):
        assert usable_slots(model(), capacity=64, age_s=1, breaker=breaker) == usable
    late = CAPACITY_FRESH_S + 1
    assert usable_slots(model(), capacity=64, age_s=late, breaker=Breaker(open_ms=5)) == 1
    assert usable_slots(model(), capacity=0, age_s=1, breaker=Breaker(open_ms=5)) == 0


def test_a_model_that_is_off_gets_nothing() -> None:
    """Its endpoints are gone."""
    assert usable_slots(model(state="off"), capacity=64, age_s=1, breaker=Breaker()) == 0


@given(
    instances=st.integers(0, 8),
    in_use=st.integers(0, 200),
    waiting=st.fixed_dictionaries({tier.name: st.integers(0, 10_000) for tier in TIERS}),
)
def test_predicted_waits_are_finite_and_rise_with_the_backlog(
    instances: int, in_use: int, waiting: dict[str, int]
) -> None:
    """Admission and Retry-After stand on it, also with no instance at all."""
    load = Load(instances=instances, in_use=in_use, waiting=waiting)
    more = Load(
        instances=instances,
        in_use=in_use,
        waiting=waiting | {"interactive": waiting["interactive"] + 100},
    )
    for tier in TIERS:
        wait_s = predicted_wait_s(model(), TIERS, tier.name, load)
        assert math.isfinite(wait_s)
        assert 0 <= wait_s <= predicted_wait_s(model(), TIERS, tier.name, more)


def test_urgent_work_is_not_behind_patient_work() -> None:
    """A thousand batch jobs must cost an interactive one only their guaranteed share."""
    load = Load(instances=1, in_use=20, waiting={"batch": 1000})
    assert predicted_wait_s(model(), TIERS, "interactive", load) < 2
    assert predicted_wait_s(model(), TIERS, "batch", load) > 100


def test_pressure_is_the_worst_tiers_wait_over_its_target() -> None:
    """Above 1 somebody's promise is about to be broken, however few they are."""
    busy = Load(instances=1, in_use=20, waiting={"interactive": 79, "batch": 0})
    # 79 before it, 4 beyond what works, and itself, at 8 a second and 0.3 of that for nobody else.
    assert (
        pressure(model(), TIERS, busy) == predicted_wait_s(model(), TIERS, "interactive", busy) / 5
    )
    assert pressure(model(), TIERS, busy) > 2
    assert pressure(model(), TIERS, Load(instances=1, in_use=3, waiting={})) == 0


def test_pressure_without_instances_is_finite_and_asks_for_nothing_while_nothing_waits() -> None:
    """An alarm on it must neither divide by zero nor wake a model that nobody uses."""
    assert pressure(model(), TIERS, Load(instances=0, in_use=0, waiting={"batch": 0})) == 0
    one = pressure(model(), TIERS, Load(instances=0, in_use=0, waiting={"batch": 1}))
    assert 0 < one < 1
    urgent = pressure(model(), TIERS, Load(instances=0, in_use=0, waiting={"interactive": 1}))
    assert 1 < urgent < 1000


def test_messages_of_jobs_that_ended_are_no_backlog() -> None:
    """A tenant that cancels ten thousand jobs must not buy GPUs for their messages."""
    assert backlog({"batch": 10_000, "standard": 3}, {"batch": 4}) == {"batch": 4, "standard": 0}


@pytest.mark.parametrize(
    ("unfinished", "waiting", "in_use", "accepted"),
    [
        (0, 0, 0, None),
        (3, 3, 0, 10),
        (3, 1, 2, 30),
        (2, 0, 2, None),
        (3, 0, 1, 20),  # one has lost its message
        (3, 9, 2, 10),  # messages of jobs that have ended
        (3, 1, 9, 30),  # slots of other tiers
    ],
)
def test_the_oldest_that_waits_is_behind_those_at_work(
    unfinished: int, waiting: int, in_use: int, accepted: int | None
) -> None:
    """An alarm on waits must not ring for a long job at work, nor be quiet for one forgotten."""
    created = [10, 20, 30][:unfinished]
    found = oldest_waiting(created, unfinished=unfinished, waiting=waiting, in_use=in_use)
    assert found == accepted
