"""How long a job really takes: what a configuration expects is only where the measuring begins."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Self

from lambdas.domain.policy import Model

MEMORY_S = 600.0
"""Over how long it is averaged: jobs change with the hour, and not with the minute."""
REMEMBERED_SHARE = 0.25
"""What is expected, or was known before a quiet night, weighs as much as this part of the jobs that
an instance holds: little, because jobs at work soon tell more."""
SERVICE_S_MIN = 0.001


def _least(model: Model) -> float:
    return max(1.0, REMEMBERED_SHARE * model.concurrency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What instances have been busy with lately.

    Attributes:
        busy_s: Seconds that places on instances were in use, older ones counting less.
        ended: Attempts that ended in that time, likewise.
    """

    busy_s: float
    ended: float

    @classmethod
    def read(cls, document: Mapping[str, float] | None, model: Model) -> Self:
        """What `document` wrote; without it a few jobs that took as long as expected."""
        if document:
            return cls(**document)
        return cls(busy_s=_least(model) * model.service_s, ended=_least(model))

    def document(self) -> dict[str, float]:
        """What `read` reads."""
        return asdict(self)

    def of(self, model: Model) -> Model:
        """The model with the service time that was measured.

        Source:
            Little's law: jobs at work = rate of endings x service time. It counts those that are
            at work already, so that long jobs show before the first of them has ended.
        """
        measured_s = self.busy_s / self.ended
        longest_s = float(model.invocation_timeout_s)
        return replace(model, service_s=min(longest_s, max(SERVICE_S_MIN, measured_s)))

    def after(self, seconds: float, *, at_work: float, ended: int, model: Model) -> Self:
        """The pace after so many seconds.

        Args:
            seconds: Since the last look.
            at_work: Jobs at work, which is no more than the instances hold: others wait in line.
            ended: Attempts that ended meanwhile.
            model: Whose. What is known is never forgotten wholly, so that the first jobs after
                a quiet night do not look endless.
        """
        kept = math.exp(-seconds / MEMORY_S)
        remembered, least = self.ended * kept, _least(model)
        weight = max(1.0, least / remembered) if remembered > 0 else 1.0
        return replace(
            self,
            busy_s=self.busy_s * kept * weight + at_work * seconds,
            ended=max(least, remembered) + ended,
        )
