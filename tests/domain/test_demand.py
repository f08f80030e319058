"""How many instances a version's work needs."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.bursts import Arrivals
from lambdas.domain.demand import (
    NEEDED_UTILIZATION,
    Demand,
    burst_ratio,
    floor,
    kept,
    needed,
    part,
    spare,
    version_pressure,
)
from tests.domain.api_policy import TIERS, model

ONE = model().concurrency / model().service_s
"""Jobs a second of one instance."""


def steady(rate: float) -> Arrivals:
    """A rate that stays."""
    return Arrivals(fast=rate, slow=rate)


def demand(instances: int = 1, **changes: Any) -> Demand:
    """Nothing to do."""
    idle = Demand(
        instances=instances,
        ordered=instances,
        in_use=0,
        held=0,
        waiting={},
        oldest_s={},
        arrivals={},
    )
    return replace(idle, **changes)


def alone(load: Demand, *, floor: int = 0) -> int:
    """Spare instances of the only version."""
    number = kept(model(), TIERS, {"v1": load}, {"v1": floor}, named={"v1"})["v1"]
    return spare(load, kept=number)


def test_enough_is_wanted_for_the_rate_and_for_what_piles_up() -> None:
    """Instances for the rate alone would never get rid of what waited for them."""
    busy = demand(arrivals={"interactive": steady(ONE)})
    assert needed(model(), TIERS, busy) == pytest.approx(1 / NEEDED_UTILIZATION)
    behind = replace(busy, waiting={"interactive": ONE * model().warm_up_s})
    assert needed(model(), TIERS, behind) == pytest.approx(1 / NEEDED_UTILIZATION + 2)
    rising = demand(arrivals={"interactive": Arrivals(fast=2 * ONE, slow=ONE)})
    assert burst_ratio(model(), TIERS, rising) > 3


def test_patient_work_fills_slack_and_buys_nothing_that_it_can_do_without() -> None:
    """A night's batch would else buy the whole fleet, though one instance has an hour for it."""
    hour = ONE * 3000
    assert burst_ratio(model(), TIERS, demand(waiting={"batch": hour})) == 1
    assert burst_ratio(model(), TIERS, demand(waiting={"interactive": hour})) > 10
    busy = {"interactive": steady(ONE / 2)}
    assert burst_ratio(model(), TIERS, demand(waiting={"batch": hour}, arrivals=busy)) > 1
    late = demand(waiting={"batch": hour}, oldest_s={"batch": 7200})
    assert burst_ratio(model(), TIERS, late) > 5, "work that is due is urgent, whatever its tier"


def test_without_instances_the_first_one_is_the_measure() -> None:
    """A ratio to nothing would be no number that an alarm can compare."""
    assert burst_ratio(model(), TIERS, demand(0)) == 0
    some = demand(0, arrivals={"interactive": steady(ONE)})
    assert 1 < burst_ratio(model(), TIERS, some) < 10


def test_what_was_asked_for_is_not_asked_for_again() -> None:
    """SageMaker takes minutes: every look meanwhile would buy the same instances once more."""
    waiting = {"interactive": ONE * 600}
    asked = demand(1, waiting=waiting)
    number = int(needed(model(), TIERS, asked)) + 1
    assert burst_ratio(model(), TIERS, asked) > 2
    assert burst_ratio(model(), TIERS, replace(asked, ordered=number)) <= 1


def test_a_queue_that_is_gone_before_an_instance_is_warm_buys_none() -> None:
    """It would come when nobody needs it, and is paid for ten minutes."""
    short = demand(waiting={"interactive": ONE * 60})
    assert version_pressure(model(), TIERS, short) == 0
    long = demand(waiting={"interactive": ONE * 600})
    assert version_pressure(model(), TIERS, long) > 1


def test_any_work_wakes_a_version_without_instances() -> None:
    """Also a single job that has a whole day."""
    assert version_pressure(model(), TIERS, demand(0)) == 0
    assert version_pressure(model(), TIERS, demand(0, waiting={"batch": 0.05})) > 0


def test_spare_is_what_neither_work_nor_a_floor_needs() -> None:
    """An instance that is let go too soon is bought again, and warms up again."""
    rate = {"interactive": steady(ONE)}
    assert alone(demand(4), floor=1) == 3
    assert alone(demand(4)) == 4
    assert alone(demand(4, arrivals=rate)) == 2
    assert alone(demand(4, held=2.5 * model().concurrency, in_use=12)) == 2, "long jobs go on"
    assert alone(replace(demand(4), ordered=6)) == 0, "just asked for"


def test_the_old_version_stays_until_the_new_one_has_what_it_needs() -> None:
    """A release of a busy model would else lose the fleet before it has another one."""
    parts = {
        "v1": demand(4),
        "v2": demand(1, arrivals={"interactive": steady(3 * ONE)}),
        "v0": demand(1),
    }
    floors = {"v0": 0, "v1": 0, "v2": 1}
    assert kept(model(), TIERS, parts, floors, named={"v1", "v2"}) == {"v0": 0, "v1": 4, "v2": 5}
    parts["v2"] = replace(parts["v2"], instances=5, ordered=5)
    assert kept(model(), TIERS, parts, floors, named={"v1", "v2"}) == {"v0": 0, "v1": 0, "v2": 5}


def test_the_floor_is_the_live_versions_minimum_and_one_for_a_version_on_trial() -> None:
    """The old version sleeps after a release; a version that nobody asks is judged all the same."""
    assert floor(model(), least=2, warm=False) == 2
    assert floor(model(), least=0, warm=False) == 0
    assert floor(model(), least=0, warm=True) == 1
    assert floor(model(state="draining"), least=2, warm=False) == 0


def test_a_fleet_below_its_floor_is_asked_for_at_once() -> None:
    """After a rollback the version before has a minimum too, though no scalable target says so."""
    assert burst_ratio(model(), TIERS, demand(1), floor=3) == 3
    assert burst_ratio(model(), TIERS, demand(3), floor=3) == 1
    assert burst_ratio(model(), TIERS, demand(4), floor=3) < 1


@given(
    ordered=st.integers(0, 20),
    rates=st.lists(st.floats(0, 50), min_size=6, max_size=6),
    waiting=st.lists(st.integers(0, 5000), min_size=3, max_size=3),
)
def test_nothing_is_spare_and_needed_at_once(
    ordered: int, rates: list[float], waiting: list[int]
) -> None:
    """A fleet that is asked to grow and to shrink flaps."""
    names = [tier.name for tier in TIERS]
    load = demand(
        ordered,
        waiting=dict(zip(names, waiting, strict=True)),
        arrivals={
            name: Arrivals(fast=rates[2 * index], slow=rates[2 * index + 1])
            for index, name in enumerate(names)
        },
    )
    left = alone(load)
    assert 0 <= left <= ordered
    assert needed(model(), TIERS, load) >= 0


def test_a_version_has_its_part_of_the_work_and_all_of_its_instances() -> None:
    """A canary with a twentieth of the jobs must not buy for all of them."""
    whole = demand(4, in_use=8, waiting={"batch": 100}, arrivals={"batch": steady(10)})
    canary = part(whole, {"batch": 0.05}, instances=1, ordered=1)
    assert (canary.waiting, canary.in_use) == ({"batch": 5}, 2)
    assert canary.of("batch") == steady(0.5)
    assert part(whole, {}, instances=1, ordered=1).waiting == {"batch": 0}
