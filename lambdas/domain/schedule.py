"""Minimums by the clock: which one holds now.

Application Auto Scaling sets the same ones for the wanted version. It knows neither which version
answers nor what was set before a deployment; beat does, so every version's floor is made here.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lambdas.domain.policy import Model

LOOK_BACK_DAYS_MAX = 366
"""Within which a schedule's last time is looked for: one that comes once a year is found."""
FIELDS = ("minute", "hour", "day", "month", "weekday", "year")
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))
MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
NAMES: Mapping[str, Mapping[str, int]] = {"month": MONTHS, "weekday": WEEKDAYS}


@dataclass(frozen=True, slots=True)
class Cron:
    """When a schedule comes, in its time zone; each field's allowed values.

    Source:
        Application Auto Scaling user guide, "Schedule recurring scaling actions using cron
        expressions": six fields, weekdays from 1 for SUN, and `?` in one of the two day fields.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    years: frozenset[int]

    @classmethod
    def read(cls, text: str) -> Self:
        """Read an expression of six fields, without `cron(…)` around it.

        Raises:
            ValueError: It is none, or one that is not followed here; the message says what is.
        """
        parts = text.split()
        if len(parts) != len(FIELDS):
            raise ValueError(f"must have six fields, {' '.join(FIELDS).upper()}")
        if [parts[2], parts[4]].count("?") != 1:
            raise ValueError("must have ? as its day or as its weekday, and not as both")
        return cls(
            *(
                _values(part, name, *bounds)
                for part, name, bounds in zip(parts, FIELDS, RANGES, strict=True)
            )
        )

    def last_s(self, now_s: float, zone: tzinfo) -> float | None:
        """When it came last, in seconds since the epoch; None if not within a year."""
        today = datetime.fromtimestamp(now_s, zone)
        for back in range(LOOK_BACK_DAYS_MAX + 1):
            day = today.date() - timedelta(days=back)
            fits = day.year in self.years and day.month in self.months and day.day in self.days
            if not fits or day.isoweekday() % 7 + 1 not in self.weekdays:
                continue
            for hour in sorted(self.hours, reverse=True):
                for minute in sorted(self.minutes, reverse=True):
                    # As a time since the epoch: clocks that are set back show an hour twice.
                    at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                    if at.timestamp() <= now_s:
                        return at.timestamp()
        return None


def minimum(model: Model, *, now_ms: int) -> int:
    """Fewest instances of a model's live version now, by its schedule or, before that, in general.

    Args:
        model: Its minimum and its schedule.
        now_ms: This region's time.
    """
    came = []
    for number, each in enumerate(model.schedule):
        last_s = Cron.read(each.cron).last_s(now_ms / 1000, _zone(each.timezone))
        if last_s is not None:
            came.append((last_s, number, each.instances_min))
    return max(came)[2] if came else model.instances_min


def _zone(name: str) -> tzinfo:
    """A time zone; UTC where the machine does not know it, for a wrong hour ends no beat.

    Synthesis refuses names that nobody knows, and Lambda's machines have the zones since 2024
    (amazonlinux/amazon-linux-2023, issue 615).
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _values(text: str, field: str, lowest: int, highest: int) -> frozenset[int]:
    """The values that one field allows."""
    names = NAMES.get(field, {})
    allowed = f"from {lowest} to {highest}"
    allowed += f" or {', '.join(names)}" if names else ""
    said = (
        f"has {text!r} as its {field}; allowed are * and numbers {allowed}, ranges (a-b), steps "
        "(*/n) and lists of these with commas"
    )
    found: set[int] = set()
    for part in text.split(","):
        plain = re.sub("[A-Z]+", lambda word: str(names.get(word[0], word[0])), part)
        match = re.fullmatch(r"(\*|\?|(\d+)(?:-(\d+))?)(?:/(\d+))?", plain)
        if match is None or (match[1] == "?" and field not in {"day", "weekday"}):
            raise ValueError(said)
        first = int(match[2]) if match[2] else lowest
        last = int(match[3]) if match[3] else (highest if not match[2] or match[4] else first)
        if not lowest <= first <= last <= highest or match[4] == "0":
            raise ValueError(said)
        found.update(range(first, last + 1, int(match[4] or 1)))
    return frozenset(found)
