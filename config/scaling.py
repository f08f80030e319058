"""How a model's fleets are scaled: what may be configured, and the numbers that follow from it.

Nobody types step sizes in: they follow from how long a job takes and an instance needs to warm up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from config.fields import Strict, problem, text
from lambdas.domain.demand import DRAIN_SHARE
from lambdas.domain.schedule import Cron

FAST_PERIOD_S = 10
PERIOD_S = 60
"""Periods of alarms, in seconds: those that buy look at every ten, which costs three times more."""
OUT_POINTS = (2, 3)
"""How many of how many data points buy: one alone may be a beat that saw half of a burst."""
PRESSURES = (1, 2, 4, 8, 16, 32, 64)
"""From which pressures steps begin; the first is where a target begins to be missed."""
RATIOS = tuple(
    Fraction(ratio)
    for ratio in (
        "1 11/10 6/5 5/4 4/3 3/2 5/3 7/4 2 7/3 5/2 8/3 3 7/2 4 5 6 8 12 20".split()  # noqa: SIM905
    )
)
"""From which burst ratios steps begin, as many as a policy may have. Up to three for each one,
fleets of up to three get exactly what they need; larger ones a little less, and the rest later."""
BELOW = 0.005
SPARES = ((1, 1), (3, 2), (6, 4), (12, 8), (24, 16))
"""From so many spare instances, so many are let go at once: at most two thirds of them."""
IN_POINTS_MIN = 3
IN_WARM_UPS = 2
"""For so many warm-up times an instance must be spare: one that goes just before the next burst is
missed for one of them, and is paid for as long without being of use."""


class Schedule(Strict):
    """From a time on, another minimum of the version that answers, until the next one."""

    cron: Annotated[
        str,
        text(
            r"^\S+( \S+){5}$",
            "six fields of Application Auto Scaling, MINUTE HOUR DAY MONTH WEEKDAY YEAR, like "
            '"0 7 ? * MON-FRI *"',
            100,
        ),
    ]
    timezone: Annotated[
        str, text(r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", "a time zone, like Europe/Berlin", 64)
    ] = "UTC"
    instances_min: Annotated[int, Field(ge=0, le=500, description="Fewest from then on.")]

    @field_validator("cron")
    @classmethod
    def _followed(cls, expression: str) -> str:
        try:
            Cron.read(expression)
        except ValueError as error:
            example = 'like "0 7 ? * MON-FRI *": MINUTE HOUR DAY MONTH WEEKDAY YEAR'
            raise problem("", f"{error}; {example}", expression) from None
        return expression

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise problem("", "is not known; it must be one like Europe/Berlin", name) from None
        return name


class Scaling(Strict):
    """How a model's fleets are scaled."""

    schedule: Annotated[tuple[Schedule, ...], Field(max_length=50)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a policy.

    Attributes:
        lower: From where on, above the alarm's threshold.
        upper: Up to where, or None.
        change: Instances, or percent of those there are.
    """

    lower: float
    upper: float | None
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What the alarms of one fleet do.

    Attributes:
        pressure: By the version's pressure above 1, percent.
        burst: By its burst ratio above 1, percent.
        spare: By its spare instances above 1, instances.
        spare_points: Minutes for which instances must be spare.
        spare_cooldown_s: Between two steps in.
    """

    pressure: tuple[Step, ...]
    burst: tuple[Step, ...]
    spare: tuple[Step, ...]
    spare_points: int
    spare_cooldown_s: int


def steps(*, target_wait_s: float, warm_up_s: float, instances_max: int) -> Steps:
    """Compute the steps of a fleet.

    Args:
        target_wait_s: Of the most urgent tier.
        warm_up_s: Seconds from asking for an instance to its first answer.
        instances_max: More are never asked for, so larger steps are left out.

    Source:
        Flow balance: with n instances a wait of w seconds is n x w instance seconds of work, which
        n x w / window further instances work off within a window: w / window of those there are.
        The window is the part of the warm-up time that `DRAIN_SHARE` allows for it.
    """
    most = 100 * max(1, instances_max - 1)
    window_s = DRAIN_SHARE * warm_up_s
    by_pressure = [
        (float(pressure), math.ceil(100 * pressure * target_wait_s / window_s))
        for pressure in PRESSURES
    ]
    # At exactly 1 the alarm is quiet, so the least change is an instance. A ratio is a quotient,
    # which may come out a little less than it is.
    by_ratio = [
        (max(1.0, round(float(ratio) - BELOW, 3)), max(1, math.ceil(100 * (ratio - 1))))
        for ratio in RATIOS
    ]
    return Steps(
        pressure=_steps([(lower, min(change, most)) for lower, change in by_pressure]),
        burst=_steps([(lower, min(change, most)) for lower, change in by_ratio]),
        spare=_steps(
            [(float(lower), -change) for lower, change in SPARES if lower <= instances_max]
        ),
        spare_points=max(IN_POINTS_MIN, math.ceil(IN_WARM_UPS * warm_up_s / PERIOD_S)),
        spare_cooldown_s=math.ceil(window_s),
    )


def _steps(changes: Sequence[tuple[float, int]]) -> tuple[Step, ...]:
    """Steps from where they begin; neighbours that change the same are one."""
    found: list[tuple[float, int]] = []
    for lower, change in changes:
        if not found or found[-1][1] != change:
            found.append((lower, change))
    bounds = [lower - found[0][0] for lower, _ in found]
    return tuple(
        Step(lower=lower, upper=upper, change=change)
        for lower, upper, (_, change) in zip(bounds, [*bounds[1:], None], found, strict=True)
    )
