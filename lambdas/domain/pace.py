"""How long a job really takes, from what ended lately."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import exp
from typing import Any, Self

from lambdas.domain.capacity import Load
from lambdas.domain.policy import Model

WINDOW_WARM_UPS = 1.0
"""Over so many warm-up times is looked back: what is bought now serves after one."""
FULL_SHARE = 0.98
EXPECTED_ATTEMPTS = 10.0
"""The configured time counts like so many attempts, so that two odd ones do not buy a fleet."""
TIMES_MAX = 10.0
"""Neither so many times more nor less than configured is believed: something else is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Attempts that ended lately, and how long they took; older ones count less.

    Attributes:
        attempts: How many.
        seconds: All of them together, from the start of each to its answer.
    """

    attempts: float = 0.0
    seconds: float = 0.0

    @classmethod
    def read(cls, document: Mapping[str, Any] | None) -> Self:
        """What `document` wrote, or nothing so far."""
        return cls(**document) if document else cls()

    def document(self) -> dict[str, float]:
        """What `read` reads."""
        return asdict(self)

    def after(self, attempts: float, seconds: float, *, elapsed_s: float, model: Model) -> "Pace":
        """The pace some time later, in which attempts ended that took so many seconds."""
        kept = exp(-elapsed_s / (WINDOW_WARM_UPS * model.warm_up_s))
        return Pace(attempts=kept * self.attempts + attempts, seconds=kept * self.seconds + seconds)

    @staticmethod
    def spent_s(model: Model, load: Load, ended_s: float, *, elapsed_s: float) -> float:
        """Seconds to count for the attempts that ended between two looks.

        Args:
            model: Its concurrency.
            load: What there is now.
            ended_s: What those that ended took.
            elapsed_s: Between the looks.

        Returns:
            What all instances worked while none of them has a place left: those that end early say
            nothing of those that go on, but work done is time spent (Little's law).
        """
        places = load.instances * model.concurrency
        full = any(load.waiting.values()) and load.in_use >= FULL_SHARE * places > 0
        return places * elapsed_s if full else ended_s

    def of(self, model: Model) -> Model:
        """The model with the time that its jobs take at present.

        An attempt's time has its hand-off in it, and a wait of as long in SageMaker's queue while
        work waits: the configured time is believed if it lies within that.
        """
        expected_s = model.service_s
        whole_s = expected_s + model.handoff_s
        seen_s = (self.seconds + EXPECTED_ATTEMPTS * whole_s) / (self.attempts + EXPECTED_ATTEMPTS)
        found_s = min(max(expected_s, seen_s - 2 * model.handoff_s), seen_s)
        return replace(
            model, service_s=min(max(found_s, expected_s / TIMES_MAX), expected_s * TIMES_MAX)
        )
