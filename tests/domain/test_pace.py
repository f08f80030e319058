"""How long jobs really take."""

from dataclasses import replace

import pytest

from lambdas.domain.capacity import Load
from lambdas.domain.pace import TIMES_MAX, Pace
from tests.domain.api_policy import model

CHAT = replace(model(), service_s=20.0, handoff_s=0.5)


def test_jobs_that_take_longer_than_expected_are_believed() -> None:
    """A fleet for the expected time would be too small by as much, all day."""
    many = Pace(attempts=1000, seconds=60_000)
    assert Pace().of(CHAT).service_s == 20
    assert many.of(CHAT).service_s == pytest.approx(59, abs=1)
    assert Pace(attempts=1, seconds=600).of(CHAT).service_s < 80, "one odd job is no pace"
    assert Pace(attempts=1000, seconds=1e9).of(CHAT).service_s == 20 * TIMES_MAX


def test_the_hand_off_is_no_longer_job() -> None:
    """Of jobs of a twentieth of a second nearly all is hand-off: it would buy ten times as much."""
    short = replace(CHAT, service_s=0.05)
    assert Pace(attempts=1000, seconds=900).of(short).service_s == 0.05


def test_what_ended_long_ago_is_forgotten() -> None:
    """Yesterday's long answers are not today's."""
    pace = Pace(attempts=1000, seconds=60_000).after(0, 0, elapsed_s=86_400, model=CHAT)
    assert pace.of(CHAT).service_s == pytest.approx(20, abs=0.1)
    assert Pace.read(pace.document()) == pace


def test_full_slots_tell_how_long_jobs_take_that_have_not_ended() -> None:
    """The first to end are the short ones: by them, long work would be seen too late."""
    full = Load(instances=2, in_use=9, waiting={"batch": 5})
    assert Pace.spent_s(CHAT, full, 7.0, elapsed_s=5) == 2 * CHAT.concurrency * 5
    assert Pace.spent_s(CHAT, replace(full, instances=4), 7.0, elapsed_s=5) == 7
    assert Pace.spent_s(CHAT, replace(full, waiting={}), 7.0, elapsed_s=5) == 7
