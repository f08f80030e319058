"""Where a waiting job stands, and when it will probably start."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lambdas.domain.admission import load_of
from lambdas.domain.bursts import Arrivals
from lambdas.domain.capacity import predicted_wait_s
from lambdas.domain.policy import Model, Tier


class Waiter(Protocol):
    """A job that waits, in full or as the live index shows it."""

    @property
    def tier(self) -> str:
        """How urgent it is."""

    @property
    def created_ms(self) -> int:
        """When it was accepted."""

    @property
    def deadline_ms(self) -> int:
        """When it expires."""


@dataclass(frozen=True, slots=True)
class Place:
    """A waiting job's place in its region.

    Attributes:
        position: 1 for the job that starts next.
        start_ms: When it will probably start, in milliseconds since the epoch.
    """

    position: int
    start_ms: int


def place(
    job: Waiter, model: Model, tiers: Sequence[Tier], snapshot: Mapping[str, Any], *, now_ms: int
) -> Place:
    """Predict when a waiting job starts.

    Args:
        job: Queued.
        model: What should answer.
        tiers: All tiers, most urgent first.
        snapshot: What beat last saw of the job's region.
        now_ms: Milliseconds since the epoch; nothing is predicted for the past.

    Source:
        The queue does not tell positions. Arrivals are taken as even, so of the jobs that wait
        in a tier the part ahead is the part of the oldest one's wait that came before this job;
        and between the snapshot and the job as many came as in the seconds before it. What
        comes later and is more urgent is not foretold: it comes in bursts (docs/measurements.md).
    """
    load = load_of(snapshot, model.name)
    seen_ms = int(snapshot.get("at_ms", job.created_ms))
    since = {tier.name: _came_since(job, tier, model, snapshot, seen_ms) for tier in tiers}
    waiting = {name: load.waiting.get(name, 0) + since[name] for name in since}
    ahead = since[job.tier] + math.ceil(
        load.waiting.get(job.tier, 0) * _part_ahead(job, model, snapshot, seen_ms)
    )
    order = [tier.name for tier in tiers]
    urgent = sum(waiting[name] for name in order[: order.index(job.tier)])
    before = replace(load, waiting={**waiting, job.tier: ahead})
    wait_s = predicted_wait_s(model, tiers, job.tier, before)
    # The prediction holds from when the snapshot was taken, or from when the job came after it.
    start_ms = max(seen_ms, job.created_ms) + round(1000 * wait_s)
    return Place(position=urgent + ahead + 1, start_ms=max(now_ms, start_ms))


def _came_since(
    job: Waiter, tier: Tier, model: Model, snapshot: Mapping[str, Any], seen_ms: int
) -> int:
    """Jobs of a tier that came after the snapshot and before this one, as far as beat can tell."""
    seen = snapshot.get("models", {}).get(model.name, {})
    arrivals = Arrivals.read(seen.get("arrivals", {}).get(tier.name))
    return int(arrivals.fast * max(0, job.created_ms - seen_ms) / 1000)


def _part_ahead(job: Waiter, model: Model, snapshot: Mapping[str, Any], seen_ms: int) -> float:
    seen = snapshot.get("models", {}).get(model.name, {})
    oldest_s = float(seen.get("oldest_s", {}).get(job.tier, 0))
    age_s = (seen_ms - job.created_ms) / 1000
    if age_s <= 0 or oldest_s <= 0:
        return 1.0
    return max(0.0, 1 - age_s / oldest_s)
