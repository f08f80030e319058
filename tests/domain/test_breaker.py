"""The breaker opens when most attempts fail, and closes when the model answers again."""

from lambdas.domain.breaker import COUNTED_MAX, PROBES_MIN, Breaker


def test_it_opens_when_most_of_some_attempts_fail() -> None:
    """A bad version must not burn the queue; a few bad inputs must not stop a good one."""
    assert Breaker(ok=4, bad=6).open
    assert not Breaker(ok=5, bad=5).open
    assert not Breaker(bad=9).open
    assert Breaker(ok=4, bad=6).at_beat(now_ms=7) == Breaker(open_ms=7)


def test_it_stays_open_however_slow_the_probes_are() -> None:
    """Failures that are forgotten would let the whole queue in, again and again."""
    breaker = Breaker(ok=PROBES_MIN - 1, open_ms=7)
    for beat in range(1000):
        breaker = breaker.at_beat(now_ms=beat)
    assert breaker == Breaker(ok=PROBES_MIN - 1, open_ms=7)


def test_it_closes_after_answers_in_a_row() -> None:
    """One lucky answer of a version that fails most says nothing."""
    failed = Breaker(ok=2, bad=1, open_ms=7).at_beat(now_ms=8)
    assert failed == Breaker(open_ms=7)
    assert not Breaker(ok=PROBES_MIN, open_ms=7).at_beat(now_ms=9).open


def test_a_long_time_of_health_is_outweighed_soon() -> None:
    """A model that answered a million jobs must not fail as many before anybody notices."""
    busy = Breaker(ok=1_000_000).at_beat(now_ms=0)
    assert busy.ok == COUNTED_MAX
    assert Breaker(ok=busy.ok, bad=COUNTED_MAX + 1).open


def test_a_slow_model_trips_it_too() -> None:
    """Three failures a minute are all that a slow one can have."""
    breaker = Breaker()
    for beat in range(12 * 10):
        breaker = breaker.at_beat(now_ms=beat)
        if breaker.open:
            break
        if beat % 4 == 0:
            breaker = Breaker(ok=breaker.ok, bad=breaker.bad + 1)
    assert breaker.open
