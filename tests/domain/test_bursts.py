"""How fast work comes, and whether it comes faster and faster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.bursts import SLOPE_SHARE, Arrivals, arrived, fast_s
from tests.domain.api_policy import model

BEAT_S = 5.0
MODEL = model()


def followed(rates: list[float]) -> Arrivals:
    """What beat knows after so many beats."""
    arrivals = Arrivals()
    for rate in rates:
        arrivals = arrivals.after(rate, BEAT_S, model=MODEL)
    return arrivals


def test_a_steady_rate_goes_on() -> None:
    """Every busy model would else look like one that bursts."""
    arrivals = followed([3.0] * 1000)
    assert arrivals.fast == pytest.approx(3, abs=0.01)
    assert arrivals.ahead(MODEL) == pytest.approx(3, abs=0.01)


def test_a_ramp_goes_on_for_as_long_as_an_instance_warms_up() -> None:
    """An instance for the rate of now is too few when it comes."""
    each_s = 0.01
    arrivals = followed([each_s * BEAT_S * beat for beat in range(1000)])
    lag_s = fast_s(MODEL.warm_up_s, MODEL.service_s)
    then = each_s * (BEAT_S * 1000 - lag_s + SLOPE_SHARE * MODEL.warm_up_s)
    assert arrivals.ahead(MODEL) == pytest.approx(then, rel=0.01)


def test_a_rate_that_falls_is_no_burst() -> None:
    """Instances that are bought at the end of one come too late."""
    arrivals = followed([9.0] * 600 + [1.0] * 6)
    assert arrivals.ahead(MODEL) == arrivals.fast


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_what_came_is_what_is_there_and_what_went(there: int, new: int, ended: int) -> None:
    """Nobody counts arrivals one by one: that would be a write for each."""
    ended = min(ended, there)
    now, before = {"batch": there + new - ended}, {"batch": there}
    came = arrived(
        now, {"batch": 100 + ended, "standard": 7}, before, {"batch": 100, "standard": 7}
    )
    assert came == {"batch": new, "standard": 0}


def test_jobs_that_leave_without_an_end_are_no_negative_arrivals() -> None:
    """A client that cancels everything does not undo what others ask for."""
    assert arrived({}, {}, {"batch": 9}, {}) == {"batch": 0}
