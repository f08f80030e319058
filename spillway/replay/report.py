"""What came of a replay: nobody lost, and how long each tier waited."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spillway.replay.course import Course
from spillway.replay.outage import Seen

PERCENTILES: Final = (50, 95, 99)
ENDED: Final = frozenset({"completed", "failed", "refused", "cancelled", "expired"})


@dataclass(slots=True)
class Tier:
    """Jobs of one tier: eight bytes for each that started."""

    target_wait_s: float
    accepted: int = 0
    completed: int = 0
    lost: int = 0
    in_time: int = 0
    waits_s: "array[float]" = field(default_factory=lambda: array("d"))

    def started(self, wait_s: float) -> None:
        """Count a job that waited so long for its start."""
        self.waits_s.append(wait_s)
        self.in_time += wait_s <= self.target_wait_s

    def percentiles(self) -> dict[str, float | None]:
        """Waits in seconds by nearest rank; None if nothing started."""
        ordered = sorted(self.waits_s)
        return {f"p{rank}": percentile(ordered, rank) for rank in PERCENTILES}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is.

    Attributes:
        clock_s: Seconds since the first request, on the deployment's clock.
        offered: Requests sent so far.
        accepted: Jobs accepted so far.
        waiting: Jobs that wait, by tier.
        running: Jobs handed over to endpoints; None where only the client's view is known, which
            counts them as waiting.
    """

    clock_s: float
    offered: int
    accepted: int
    waiting: Mapping[str, int]
    running: int | None

    @property
    def ended(self) -> int:
        """Jobs that have ended, or are about to."""
        return max(0, self.accepted - (self.running or 0) - sum(self.waiting.values()))


def percentile(ordered: Sequence[float], rank: int) -> float | None:
    """The smallest value that at least `rank` percent do not exceed; None without values."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)], 3)


@dataclass(slots=True)
class Report:
    """A replay's outcome.

    Attributes:
        tiers: By name, most urgent first.
        offered: Rows of the trace.
        turned_away: Answers other than 202, by their code.
        ended: Accepted jobs in a terminal state, by that state.
        retried: Accepted jobs that needed more than one attempt.
        interrupted: Attempts that an instance began again, because another one was let go.
        moved: Accepted jobs that went from one region's queue to another's.
        outage: What became of a region that was lost meanwhile; None if none was.
        gpu_hours: Hours of instances, warm-up included; None where nobody could look.
        gpu_hours_bound: What no policy could go below that keeps its targets; None where nobody
            computed it.
        scaling: What scaled the fleets.
        course: What happened over the time, where somebody could look.
        calls: AWS calls that the jobs caused; None where nobody could look.
        simulated_s: Seconds from the first request to the last end, on the deployment's clock.
        wall_s: Seconds that the replay took.
    """

    tiers: dict[str, Tier]
    offered: int = 0
    turned_away: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    retried: int = 0
    interrupted: int = 0
    moved: int = 0
    outage: Seen | None = None
    gpu_hours: float | None = None
    gpu_hours_bound: float | None = None
    scaling: str = "alarms"
    course: Course | None = None
    calls: int | None = None
    simulated_s: float = 0.0
    wall_s: float = 0.0

    @classmethod
    def of(cls, targets_s: Mapping[str, float]) -> "Report":
        """An empty report of tiers with these target waits."""
        return cls({name: Tier(target_wait_s) for name, target_wait_s in targets_s.items()})

    @property
    def accepted(self) -> int:
        """Jobs that the service promised to run."""
        return sum(tier.accepted for tier in self.tiers.values())

    @property
    def lost(self) -> int:
        """Jobs in no terminal state at the end, gone, or with a result that is not theirs."""
        return sum(tier.lost for tier in self.tiers.values())

    @property
    def over_bound(self) -> float | None:
        """GPU-hours / the fewest that any policy could spend; None without either."""
        if self.gpu_hours is None or not self.gpu_hours_bound:
            return None
        return self.gpu_hours / self.gpu_hours_bound

    def turn_away(self, code: str) -> None:
        """Count a request that was not accepted."""
        self.turned_away[code] = self.turned_away.get(code, 0) + 1

    def end(self, tier: str, status: str) -> None:
        """Count an accepted job by its last state."""
        if status in ENDED:
            self.ended[status] = self.ended.get(status, 0) + 1
            self.tiers[tier].completed += status == "completed"
        else:
            self.tiers[tier].lost += 1

    def document(self) -> dict[str, Any]:
        """What `spillway replay --json` prints."""
        jobs = self.accepted
        wall_s = max(self.wall_s, 1e-9)
        return {
            "offered": self.offered,
            "accepted": jobs,
            "turned_away": self.turned_away,
            "completed": self.ended.get("completed", 0),
            "failed": self.ended.get("failed", 0) + self.ended.get("refused", 0),
            "expired": self.ended.get("expired", 0),
            "cancelled": self.ended.get("cancelled", 0),
            "lost": self.lost,
            "retried": self.retried,
            "interrupted": self.interrupted,
            "moved": self.moved,
            "outage": None if self.outage is None else self.outage.document(),
            "wait_s": {name: tier.percentiles() for name, tier in self.tiers.items()},
            "attainment": {
                name: round(tier.in_time / tier.accepted, 4) if tier.accepted else None
                for name, tier in self.tiers.items()
            },
            "target_wait_s": {name: tier.target_wait_s for name, tier in self.tiers.items()},
            "scaling": self.scaling,
            "gpu_hours": _rounded(self.gpu_hours, 4),
            "gpu_hours_bound": _rounded(self.gpu_hours_bound, 4),
            "gpu_hours_over_bound": _rounded(self.over_bound, 3),
            "calls_per_job": round(self.calls / jobs, 2) if self.calls and jobs else None,
            "simulated_s": round(self.simulated_s, 1),
            "wall_s": round(self.wall_s, 1),
            "jobs_per_s": round(jobs / wall_s, 1),
        }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
