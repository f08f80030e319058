"""Whether work comes faster and faster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.bursts import Arrivals, arrived, burst_ratio, needed
from lambdas.domain.capacity import Load
from tests.domain.api_policy import model

BEAT_S = 5.0
IDLE = Load(instances=1, in_use=0, waiting={})


def followed(rates: list[float]) -> Arrivals:
    """What beat knows after so many beats."""
    arrivals = Arrivals()
    for rate in rates:
        arrivals = arrivals.after(rate, BEAT_S)
    return arrivals


def test_a_steady_rate_has_no_slope() -> None:
    """Every busy model would else look like one that bursts."""
    arrivals = followed([3.0] * 200)
    assert arrivals.fast == pytest.approx(3, abs=0.01)
    assert arrivals.slope == pytest.approx(0, abs=0.001)


def test_the_slope_of_a_ramp_is_found() -> None:
    """It says what will come while a new instance warms up."""
    arrivals = followed([0.1 * BEAT_S * beat for beat in range(200)])
    assert arrivals.slope == pytest.approx(0.1, rel=0.05)


def test_a_rate_that_falls_is_no_burst() -> None:
    """Instances that are bought at the end of one come too late."""
    assert followed([9.0] * 60 + [1.0] * 6).slope == 0


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_what_came_is_what_is_there_and_what_went(
    waiting: int, at_work: int, new: int, ended: int
) -> None:
    """Nobody counts arrivals one by one: that would be a write for each."""
    ended = min(ended, at_work)
    before = Load(instances=1, in_use=at_work, waiting={"batch": waiting})
    now = Load(instances=1, in_use=at_work - ended, waiting={"batch": waiting + new})
    assert arrived(now, 100 + ended, before, 100) == new


def test_jobs_that_leave_without_an_end_are_no_negative_arrivals() -> None:
    """A client that cancels everything does not undo what others ask for."""
    before = Load(instances=1, in_use=0, waiting={"batch": 9})
    assert arrived(IDLE, 0, before, 0) == 0


def test_enough_is_wanted_for_the_rate_and_for_what_piles_up() -> None:
    """Instances for the rate alone would never get rid of what waited for them."""
    one = model().concurrency / model().service_s
    steady = Arrivals(fast=one, slow=one)
    assert burst_ratio(model(), steady, IDLE) == pytest.approx(1)
    behind = Load(instances=1, in_use=0, waiting={"batch": int(one * model().warm_up_s)})
    assert needed(model(), steady, behind) == pytest.approx(1 + 2, rel=0.01)
    assert burst_ratio(model(), Arrivals(fast=3 * one, slow=one), IDLE) > 3


def test_without_instances_the_first_one_is_the_measure() -> None:
    """A ratio to nothing would be no number that an alarm can compare."""
    one = model().concurrency / model().service_s
    none = Load(instances=0, in_use=0, waiting={})
    assert burst_ratio(model(), Arrivals(), none) == 0
    assert 1 < burst_ratio(model(), Arrivals(fast=one, slow=one), none) < 10
