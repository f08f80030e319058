"""Scheduled actions of Application Auto Scaling: when they run, and the bounds that they set.

The pages: docs.aws.amazon.com/autoscaling/application/userguide, "How scheduled scaling works"
and "Schedule recurring scaling actions"; API reference, "PutScheduledAction".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from spillway.twin.schedules import next_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledAction:
    """New bounds at certain times.

    Args:
        expression: `at(…)`, `rate(…)` or `cron(…)`.
        zone: Of the times in it.
        created_s: What a rate counts from.
        start_s: When a recurring one runs for the first time, if told.
        end_s: After which it runs no more, if told.
        least: The new MinCapacity, if told.
        most: The new MaxCapacity, if told.
    """

    expression: str
    zone: ZoneInfo
    created_s: float
    start_s: float | None
    end_s: float | None
    least: int | None
    most: int | None

    def next_s(self, after_s: float) -> float | None:
        """When it runs next, strictly after a time; None if never again.

        "If you specify a start time, Application Auto Scaling performs the action at that time,
        and then performs the action based on the specified recurrence."

        Raises:
            ValueError: Application Auto Scaling would refuse the expression.
            UnsupportedError: It uses L, W or #.
        """
        once = re.fullmatch(r"at\((.+)\)", self.expression)
        if once is not None:
            when_s = datetime.fromisoformat(once[1]).replace(tzinfo=self.zone).timestamp()
            return when_s if when_s > after_s else None
        if self.start_s is not None and after_s < self.start_s:
            found: float | None = self.start_s
        else:
            found = next_s(self.expression, self.created_s, after_s, zone=self.zone)
        over = found is not None and self.end_s is not None and found > self.end_s
        return None if over else found


def read_scheduled_action(properties: Mapping[str, Any], now_s: float) -> ScheduledAction:
    """Read a scheduled action of a template or a call.

    Args:
        properties: Schedule, Timezone, StartTime, EndTime and ScalableTargetAction.
        now_s: Seconds since the epoch.

    Raises:
        ValueError: Application Auto Scaling would refuse it.
        UnsupportedError: The twin cannot run its schedule.
    """
    change = properties.get("ScalableTargetAction") or {}
    least, most = change.get("MinCapacity"), change.get("MaxCapacity")
    if least is None and most is None:
        raise ValueError("ScalableTargetAction sets neither MinCapacity nor MaxCapacity")
    start_s = _moment_s(properties.get("StartTime"))
    action = ScheduledAction(
        expression=str(properties.get("Schedule")),
        zone=_zone(properties.get("Timezone") or "UTC"),
        created_s=now_s if start_s is None else start_s,
        start_s=start_s,
        end_s=_moment_s(properties.get("EndTime")),
        least=None if least is None else int(least),
        most=None if most is None else int(most),
    )
    action.next_s(now_s)
    if start_s is not None and not action.expression.startswith("at("):
        next_s(action.expression, start_s, start_s, zone=action.zone)
    return action


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"Timezone {name!r} is not known") from error


def _moment_s(given: Any) -> float | None:
    """A time of a template, as ISO 8601 in UTC, or of a call, as seconds since the epoch."""
    if given is None or isinstance(given, int | float):
        return given
    moment = datetime.fromisoformat(str(given))
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
