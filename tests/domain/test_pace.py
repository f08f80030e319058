"""How long a job really takes."""

import pytest

from lambdas.domain.pace import Pace
from lambdas.domain.policy import Model
from tests.domain.api_policy import model

BEAT_S = 5.0
CHAT = model(concurrency=16, service_s=2.0, invocation_timeout_s=600)


def watched(seconds: float, *, at_work: float, every_s: float, pace: Pace | None = None) -> Pace:
    """The pace after a time in which an attempt ended every so many seconds."""
    pace, ended = pace or Pace.read(None, CHAT), 0
    for beat in range(1, int(seconds / BEAT_S) + 1):
        now = int(beat * BEAT_S / every_s)
        pace = pace.after(BEAT_S, at_work=at_work, ended=now - ended, model=CHAT)
        ended = now
    return pace


def service_s(pace: Pace, of: Model = CHAT) -> float:
    """What it makes of the expected two seconds."""
    return pace.of(of).service_s


def test_what_the_configuration_expects_is_where_it_begins() -> None:
    """The first deployment has measured nothing, and must scale all the same."""
    assert service_s(Pace.read(None, CHAT)) == 2.0


def test_jobs_that_take_longer_are_known_by_what_they_occupy() -> None:
    """With an expectation 30 times too low, a fleet would be bought 30 times too small."""
    # 16 at work, one of which ends every four seconds: each takes 64 s.
    assert service_s(watched(1800, at_work=16, every_s=4)) == pytest.approx(64, rel=0.05)


def test_long_jobs_show_before_the_first_one_ends() -> None:
    """Whoever waits for the first answer of a slow model buys its fleet a minute too late."""
    assert service_s(watched(60, at_work=16, every_s=1e9)) > 20


def test_a_quiet_night_does_not_make_the_first_jobs_endless() -> None:
    """Hours later nothing is remembered; five seconds of work must not look like an hour."""
    night = watched(8 * 3600, at_work=0, every_s=1e9)
    morning = night.after(BEAT_S, at_work=16, ended=0, model=CHAT)
    assert service_s(night) == pytest.approx(2.0)
    assert service_s(morning) < 30


def test_no_job_is_expected_to_outlast_its_timeout() -> None:
    """An endpoint that answers nothing would otherwise ask for every GPU there is."""
    stuck = watched(4 * 3600, at_work=16, every_s=1e9)
    assert service_s(stuck) == 600


def test_what_was_measured_is_read_again() -> None:
    """Every beat begins where the last one stopped."""
    pace = watched(600, at_work=16, every_s=4)
    assert Pace.read(pace.document(), CHAT) == pace
