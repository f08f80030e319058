"""How fast work comes, and whether it comes faster and faster."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from lambdas.domain.policy import Model

FAST_SHARE = 0.125
FAST_SHARE_MAX = 0.5
FAST_SERVICES = 1.0
SLOPE_SHARE = 0.7
"""How much is made of a slope: few of them go on for all of the time that warming up takes."""


def averaged(average: float, value: float, seconds: float, *, constant_s: float) -> float:
    """An exponential average after so many seconds at a value."""
    return value + (average - value) * math.exp(-seconds / constant_s)


def fast_s(warm_up_s: float, service_s: float) -> float:
    """Seconds over which the fast average of arrivals is taken.

    Args:
        warm_up_s: What the slow average is taken over. The difference of the two tells the slope,
            so nothing is foretold for longer than it was watched: a guess far ahead from what came
            in some seconds would buy a fleet for every hiccup.
        service_s: Of a job. What comes within one runs side by side, so for an endpoint it is as
            even as its average.
    """
    return min(max(FAST_SHARE * warm_up_s, FAST_SERVICES * service_s), FAST_SHARE_MAX * warm_up_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """How work comes, as beat follows it.

    Attributes:
        fast: Attempts a second, averaged over about `fast_s`.
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

    def ahead(self, model: Model) -> float:
        """Attempts a second that are to be expected after the warm-up time; never fewer than now.

        Source:
            An exponential average lags behind a ramp by its time constant, so two of them differ
            by the slope times the difference of theirs.
        """
        share = fast_s(model.warm_up_s, model.service_s) / model.warm_up_s
        return self.fast + SLOPE_SHARE * max(0.0, self.fast - self.slow) / (1 - share)

    def scaled(self, share: float) -> "Arrivals":
        """The averages of a part of the attempts."""
        return Arrivals(fast=self.fast * share, slow=self.slow * share)

    def after(self, rate: float, seconds: float, *, model: Model) -> "Arrivals":
        """The averages after so many seconds at a rate."""
        fast = fast_s(model.warm_up_s, model.service_s)
        return Arrivals(
            fast=averaged(self.fast, rate, seconds, constant_s=fast),
            slow=averaged(self.slow, rate, seconds, constant_s=model.warm_up_s),
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
