"""Whether work comes faster and faster, and what it will need when new instances are warm."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from lambdas.domain.capacity import Load
from lambdas.domain.policy import Model

FAST_S = 15.0
SLOW_S = 60.0
"""Over how long arrivals are averaged: a quick average and a slow one tell the slope."""
DRAIN_SHARE = 0.5
"""What has piled up is to be worked off within this share of the time that warming up took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """How work comes, as beat follows it.

    Attributes:
        fast: Attempts a second, averaged over about `FAST_S`.
        slow: The same over about `SLOW_S`.
    """

    fast: float = 0.0
    slow: float = 0.0

    @classmethod
    def read(cls, document: Mapping[str, Any] | None) -> Self:
        """What `document` wrote, or nothing so far."""
        return cls(**document) if document else cls()

    def document(self) -> dict[str, float]:
        """What `read` reads."""
        return asdict(self)

    @property
    def slope(self) -> float:
        """Attempts a second, more in every second; 0 when they get fewer.

        Source:
            An exponential average lags behind a ramp by its time constant, so two of them differ
            by the slope times the difference of theirs.
        """
        return max(0.0, (self.fast - self.slow) / (SLOW_S - FAST_S))

    def after(self, rate: float, seconds: float) -> "Arrivals":
        """The averages after so many seconds at a rate."""

        def moved(average: float, constant_s: float) -> float:
            return rate + (average - rate) * math.exp(-seconds / constant_s)

        return Arrivals(fast=moved(self.fast, FAST_S), slow=moved(self.slow, SLOW_S))


def arrived(load: Load, ended: int, before: Load, ended_before: int) -> int:
    """Attempts that came between two looks: what is there, plus what went.

    Args:
        load: Now.
        ended: Attempts that ended since counting began.
        before: At the earlier look.
        ended_before: Those that had ended then.

    Returns:
        Never less than 0: jobs that are cancelled or moved leave without having ended.
    """
    there = sum(load.waiting.values()) + load.in_use
    there_before = sum(before.waiting.values()) + before.in_use
    return max(0, there - there_before + ended - ended_before)


def needed(model: Model, arrivals: Arrivals, load: Load) -> float:
    """Instances that the work will need when an instance that is asked for now is warm.

    Args:
        model: Its concurrency, service and warm-up times.
        arrivals: How work comes.
        load: What there is now.

    Returns:
        Enough for the rate that is expected then, and to work off within `DRAIN_SHARE` of the
        warm-up time what will have piled up until then.

    Source:
        Flow balance: piled up = backlog + arrivals - what the present instances work off, the
        arrivals going on with their slope.
    """
    warm_s = model.warm_up_s
    one = model.concurrency / model.service_s
    then = arrivals.fast + arrivals.slope * (FAST_S + warm_s)
    coming = (arrivals.fast + then) / 2 * warm_s
    piled_up = max(0.0, sum(load.waiting.values()) + coming - load.instances * one * warm_s)
    return (then + piled_up / (DRAIN_SHARE * warm_s)) / one


def burst_ratio(model: Model, arrivals: Arrivals, load: Load) -> float:
    """Instances needed when new ones are warm / instances now, of which one is assumed at least."""
    return needed(model, arrivals, load) / max(1, load.instances)
