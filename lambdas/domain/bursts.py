"""How fast work comes, and whether it comes faster and faster."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

FAST_SHARE = 0.125
"""Arrivals are averaged over the time that an instance needs to warm up, and over this part of it.

The difference of the two tells the slope, so nothing is foretold for longer than it was watched:
a guess far ahead from what came in some seconds would buy a fleet for every hiccup.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """How work comes, as beat follows it.

    Attributes:
        fast: Attempts a second, averaged over about `FAST_SHARE` of the warm-up time.
        slow: The same over about the warm-up time.
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

    def ahead(self) -> float:
        """Attempts a second that are to be expected after the warm-up time; never fewer than now.

        Source:
            An exponential average lags behind a ramp by its time constant, so two of them differ
            by the slope times the difference of theirs.
        """
        slope = max(0.0, self.fast - self.slow) / (1 - FAST_SHARE)  # each warm-up time
        return self.fast + slope

    def scaled(self, share: float) -> "Arrivals":
        """The averages of a part of the attempts."""
        return Arrivals(fast=self.fast * share, slow=self.slow * share)

    def after(self, rate: float, seconds: float, *, warm_up_s: float) -> "Arrivals":
        """The averages after so many seconds at a rate."""

        def moved(average: float, constant_s: float) -> float:
            return rate + (average - rate) * math.exp(-seconds / constant_s)

        return Arrivals(
            fast=moved(self.fast, FAST_SHARE * warm_up_s), slow=moved(self.slow, warm_up_s)
        )


def arrived(
    unfinished: Mapping[str, int],
    ended: Mapping[str, int],
    before: Mapping[str, int],
    ended_before: Mapping[str, int],
) -> dict[str, int]:
    """Attempts that came between two looks, by tier: what is there, plus what went.

    Args:
        unfinished: Jobs that wait or run now, by tier.
        ended: Attempts that ended since counting began, by tier.
        before: Unfinished jobs at the earlier look.
        ended_before: Those that had ended then.

    Returns:
        Never less than 0: jobs that are cancelled or moved leave without having ended.
    """
    return {
        tier: max(
            0,
            unfinished.get(tier, 0)
            - before.get(tier, 0)
            + ended.get(tier, 0)
            - ended_before.get(tier, 0),
        )
        for tier in {*unfinished, *ended, *before, *ended_before}
    }
