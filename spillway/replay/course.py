"""What happened in the course of a replay: when jobs came, how long they waited, who served."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field


def _numbers() -> "array[float]":
    return array("d")


@dataclass(slots=True)
class Jobs:
    """Jobs of one tier that started: when each came and how long it waited, in seconds."""

    came_s: "array[float]" = field(default_factory=_numbers)
    waited_s: "array[float]" = field(default_factory=_numbers)


@dataclass(slots=True)
class Course:
    """A replay over its time; seconds since its first request.

    Attributes:
        tiers: Their jobs.
        at_s: When it was looked at the instances.
        billed: How many there were then, those that warm up among them.
        serving: How many of them took jobs.
    """

    tiers: dict[str, Jobs]
    at_s: "array[float]" = field(default_factory=_numbers)
    billed: "array[float]" = field(default_factory=_numbers)
    serving: "array[float]" = field(default_factory=_numbers)

    @classmethod
    def of(cls, tiers: Iterable[str]) -> "Course":
        """Nothing has happened yet."""
        return cls({tier: Jobs() for tier in tiers})

    def look(self, at_s: float, *, billed: int, serving: int) -> None:
        """Note how many instances there are."""
        self.at_s.append(at_s)
        self.billed.append(billed)
        self.serving.append(serving)

    def started(self, tier: str, came_s: float, waited_s: float) -> None:
        """Note a job that has started."""
        jobs = self.tiers[tier]
        jobs.came_s.append(came_s)
        jobs.waited_s.append(waited_s)
