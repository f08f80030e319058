"""Minimums by the clock: which one holds, and what may be configured."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from lambdas.domain.policy import Minimum, Model
from lambdas.domain.schedule import Cron, minimum
from tests.domain.api_policy import model

BERLIN = "Europe/Berlin"
DAY = Minimum(cron="0 7 ? * MON-FRI *", timezone=BERLIN, instances_min=6)
EVENING = Minimum(cron="30 19 ? * * *", timezone=BERLIN, instances_min=1)


def at(text: str, zone: str = BERLIN) -> int:
    """A local time in milliseconds since the epoch."""
    return int(1000 * datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def scheduled(*schedule: Minimum) -> Model:
    """A model with a minimum of two."""
    return model(instances_min=2, schedule=schedule)


@pytest.mark.parametrize(
    ("now", "instances"),
    [
        ("2026-11-20T06:59:59", 1),  # a Friday
        ("2026-11-20T07:00:00", 6),
        ("2026-11-20T19:29:00", 6),
        ("2026-11-20T19:30:00", 1),
        ("2026-11-22T12:00:00", 1),
        ("2026-11-23T08:00:00", 6),
        ("2026-07-06T07:00:00", 6),  # an hour earlier in UTC
    ],
)
def test_the_last_time_that_came_says_how_many(now: str, instances: int) -> None:
    """A minimum that is an hour late in summer misses the hour for which it was made."""
    assert minimum(scheduled(EVENING, DAY), now_ms=at(now)) == instances


def test_without_one_that_came_the_models_minimum_holds() -> None:
    """A schedule for next year says nothing of this one."""
    assert minimum(scheduled(), now_ms=at("2026-11-20T12:00:00")) == 2
    later = Minimum(cron="0 7 1 1 ? 2030", timezone="UTC", instances_min=9)
    assert minimum(scheduled(later), now_ms=at("2026-11-20T12:00:00")) == 2


def test_a_machine_that_knows_no_time_zone_goes_on() -> None:
    """A beat that dies of a missing file would take the region down."""
    unknown = Minimum(cron="0 7 ? * * *", timezone="Nowhere/There", instances_min=4)
    assert minimum(scheduled(unknown), now_ms=at("2026-11-20T12:00:00")) == 4


def test_every_field_counts() -> None:
    """Fields of Application Auto Scaling: minute, hour, day, month, weekday, year."""
    cron = Cron.read("*/20 8-9,22 1/15 JAN-MAR,NOV ? 2026")
    assert cron.minutes == {0, 20, 40}
    assert cron.hours == {8, 9, 22}
    assert cron.days == {1, 16, 31}
    assert cron.months == {1, 2, 3, 11}
    assert cron.weekdays == set(range(1, 8))
    now_s = at("2026-11-20T12:00:00", "UTC") / 1000
    last_s = cron.last_s(now_s, UTC)
    assert last_s == at("2026-11-16T22:40:00", "UTC") / 1000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 7 ? * MON-FRI", "six fields, MINUTE HOUR DAY"),
        ("0 7 * * * *", "must have [?] as its day or as its weekday"),
        ("0 7 ? * ? *", "must have [?] as its day or as its weekday"),
        ("0 24 ? * * *", "'24' as its hour; allowed are .* from 0 to 23"),
        ("0 7 L * ? *", "'L' as its day"),
        ("0 7 ? * 2#1 *", "'2#1' as its weekday; .* or SUN, MON"),
        ("0 7 ? * FRI-MON *", "'FRI-MON'"),
        ("? 7 ? * * *", "'[?]' as its minute"),
        ("*/0 7 ? * * *", "'[*]/0'"),
        ("0 7 ? JANUARY * *", "'JANUARY' as its month; .* JAN, FEB"),
    ],
)
def test_what_is_not_followed_is_refused_with_what_is(text: str, said: str) -> None:
    """A typing error would else show on Monday at seven."""
    with pytest.raises(ValueError, match=said):
        Cron.read(text)
