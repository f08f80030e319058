"""Sweep's part of fallback: waiting jobs that their model would start too late go to another one.

The message comes before the ledger, as in every transition to a queue, and both within the minute
for which dispatch keeps a message that is early.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms as current_ms
from lambdas.adapters.ledger import LiveJob
from lambdas.adapters.logs import logger
from lambdas.adapters.queues import RECEIVE_MAX
from lambdas.domain import admission, fallback
from lambdas.domain.fallback import Outlook
from lambdas.domain.job import Job
from lambdas.domain.policy import Model
from lambdas.handlers.endings import Endings

DIVERTED_MAX = 500
"""Jobs of one model that one run gives away, some 30 ms each; the next one goes on."""
DIVERT_S_MAX = 20
"""Later after its message was sent no job is given away: dispatch would drop the message."""

TIME_LEFT_MS_MIN = 8_000
"""For ten jobs, if AWS is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverting:
    """One run's look at the waiting jobs of one model.

    Attributes:
        endings: Of this region.
        outlook: What is known of the model and its fallback; None without one, or without news.
        taken: Jobs that the fallback model got in this run, by tier.
        trying: The job that stays to try a model that is stuck; at most one.
    """

    endings: Endings
    outlook: Outlook | None
    taken: Counter[str] = field(default_factory=Counter)
    trying: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, endings: Endings, model: Model, *, now_ms: int) -> Self:
        """Look at the region, if the model has a fallback at all."""
        other = fallback.fallback_of(model, endings.policy)
        snapshot = endings.gate.snapshot() if other is not None else {}
        if other is None or not admission.is_fresh(snapshot, now_ms=now_ms):
            return cls(endings=endings, outlook=None)
        outlook = Outlook(
            model=model,
            other=other,
            tiers=endings.policy.tiers,
            snapshot=snapshot,
            now_ms=now_ms,
        )
        return cls(endings=endings, outlook=outlook)

    def concerns(self, job: LiveJob | Job) -> bool:
        """Whether a job, if it waits, should go to the fallback model."""
        return (
            self.outlook is not None
            and self.taken.total() < DIVERTED_MAX
            and fallback.at_risk(job, self.outlook, self.taken)
        )

    def run(self, waiting: Iterable[Job], *, time_left_ms: Callable[[], int]) -> set[str]:
        """Give jobs away that are at risk; those that were, by id.

        Args:
            waiting: Queued in this region for the model; the oldest first.
            time_left_ms: Tells what is left of the function's time.
        """
        chosen: list[Job] = []
        for job in waiting:
            if job.asked is not None or not self.concerns(job):
                continue
            if self._tries_it(job):
                self.trying.add(job.id)
                continue
            self.taken[job.tier] += 1
            chosen.append(job)
        gone: set[str] = set()
        for tier in {job.tier for job in chosen}:
            among = [job for job in chosen if job.tier == tier]
            for start in range(0, len(among), RECEIVE_MAX):
                if time_left_ms() < TIME_LEFT_MS_MIN:
                    return gone
                try:
                    gone |= self._divert(tier, among[start : start + RECEIVE_MAX])
                except AWS_ERRORS as error:
                    logger.warning("jobs not diverted", tier=tier, reason=reason(error))
        return gone

    def _tries_it(self, job: Job) -> bool:
        return (
            not self.trying
            and self.outlook is not None
            and fallback.tries_it(job, self.outlook, self.taken)
        )

    def _divert(self, tier: str, jobs: Sequence[Job]) -> set[str]:
        outlook = self.outlook
        if outlook is None:
            return set()
        until_ms = current_ms() + 1000 * DIVERT_S_MAX
        sent = self.endings.queues.send_many(
            outlook.other.name, tier, [(job.id, job.attempt + 1, job.tenant) for job in jobs]
        )
        return {
            job.id
            for job in jobs
            if job.id in sent
            and current_ms() <= until_ms
            and self.endings.taken_over(job, outlook.other, "divert", now_ms=current_ms()).won
        }
