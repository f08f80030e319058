"""Moves: jobs of another region become jobs of this one.

To evacuate a lost region, to empty a drained one and to relieve an overloaded one is the same
transition, made by the region that takes the jobs: it knows what it has room for, and the other
one may be gone. The message comes before the ledger, as when a job is accepted, so that a job
that is moved has a message; one whose move was lost to another region is dropped as stale.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import LiveJob, live_key
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.queues import RECEIVE_MAX
from lambdas.domain import metrics
from lambdas.domain.job import Job, Status
from lambdas.domain.moves import MOVES_MAX, Order
from lambdas.domain.policy import Policy
from lambdas.domain.regions import LOST, SERVING, fenced, urgency
from lambdas.domain.release import RELEASE_TENANT
from lambdas.handlers.endings import Endings

PAGES_MAX = 200
"""Pages of 500 unfinished jobs of one model that are looked at in one run; the next goes on."""
CHUNK = 100
"""Jobs that are read at once; between chunks it is asked whether the order still holds."""
TIME_LEFT_MS_MIN = 8_000
MOVE_S_MAX = 20
"""Later after its message was sent no job is moved: dispatch waits a minute for the move, and drops
the message then. A write that gets no answer is tried for at most half of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Takes jobs over for one region."""

    region: str
    policy: Policy
    endings: Endings
    leases: Leases
    metrics: Metrics

    def run(self, order: Order, *, time_left_ms: Callable[[], int]) -> int:
        """Take jobs as an order says, as far as the time reaches; returns how many."""
        moved: Counter[str] = Counter()
        for chunk in _chunks(self._listed(order)):
            if time_left_ms() < TIME_LEFT_MS_MIN or not self._holds(order):
                break
            try:
                taken = self._chunk(chunk, order)
                # Told at once: a long evacuation is under way while it goes on.
                if taken:
                    told = [(metrics.MOVED, float(taken.total()))]
                    self.metrics.publish({"Why": order.why}, told, at_ms=now_ms())
                moved += taken
            except AWS_ERRORS as error:
                logger.warning("jobs not moved", source=order.source, reason=reason(error))
        self.endings.settle()
        if moved:
            logger.info("moved", source=order.source, models=dict(moved), why=order.why)
        return moved.total()

    def _chunk(self, chunk: Sequence[LiveJob], order: Order) -> Counter[str]:
        """Take some jobs, and ring for their models; how many became this region's, by model."""
        jobs = self.endings.ledger.get_many(live.id for live in chunk)
        current = [jobs[live.id] for live in chunk if live.id in jobs]
        taken = self._take([job for job in current if self._movable(job, order)], order)
        for model in taken:
            self.endings.functions.ring(model=model, tier=None, jobs=None)
        return taken

    def _listed(self, order: Order) -> Sequence[LiveJob]:
        """The jobs that the order is about, of all its models, the most urgent first."""
        names = self.policy.models if order.model is None else (order.model,)
        tiers = [tier.name for tier in self.policy.tiers]
        mine: list[LiveJob] = []
        for name in names:
            if name not in self.policy.models:
                continue
            try:
                for page in self.endings.ledger.live(order.source, name, pages_max=PAGES_MAX):
                    mine += [live for live in page if order.part.holds(live.id)]
            except AWS_ERRORS as error:
                logger.warning("model not listed", model=name, reason=reason(error))
        mine.sort(key=lambda live: urgency(live.tier, live.created_ms, tiers))
        last = None if order.jobs is None else order.skip + order.jobs
        return mine[order.skip : last]

    def _holds(self, order: Order) -> bool:
        """Whether this region still may, and the other one is still as the order says."""
        at_ms = now_ms()
        snapshot = self.endings.gate.snapshot()
        if fenced(snapshot, regions=len(self.policy.regions), now_ms=at_ms):
            return False
        lease = self.leases.read([order.source]).get(order.source)
        return lease is not None and lease.state == order.state

    def _movable(self, job: Job, order: Order) -> bool:
        if job.owner != order.source:
            return False
        if job.status.terminal:
            if order.state == LOST and job.live is not None:
                # Whoever should have done with it went with its region, and so did its model.
                self.endings.over(job, attempt=job.attempt, now_ms=now_ms())
            return False
        if job.status is Status.IN_PROGRESS:
            return order.state == LOST
        trial = job.tenant == RELEASE_TENANT  # it is there to try this region's instances
        settled = order.state == SERVING and (trial or (job.moves or 0) >= MOVES_MAX)
        return job.status is Status.QUEUED and not settled

    def _take(self, jobs: Sequence[Job], order: Order) -> Counter[str]:
        """Message first, then the ledger; how many became this region's, by model."""
        by_tier: dict[tuple[str, str], list[Job]] = {}
        for job in jobs:
            by_tier.setdefault((job.model, job.tier), []).append(job)
        taken: Counter[str] = Counter()
        for (model, tier), group in by_tier.items():
            # A few at a time: dispatch puts a message back that comes long before its move.
            for start in range(0, len(group), RECEIVE_MAX):
                few = group[start : start + RECEIVE_MAX]
                until_ms = now_ms() + 1000 * MOVE_S_MAX
                sent = self.endings.queues.send_many(
                    model, tier, [(job.id, job.attempt + 1, job.tenant) for job in few]
                )
                taken[model] += sum(
                    self._move(job, order, until_ms) for job in few if job.id in sent
                )
        return +taken

    def _move(self, job: Job, order: Order, until_ms: int) -> bool:
        if now_ms() > until_ms:
            return False
        try:
            return self.endings.ledger.apply(
                job,
                "evacuate" if order.state == LOST else "move",
                now_ms=now_ms(),
                attempt=job.attempt + 1,
                owner=self.region,
                live=live_key(self.region, job.model),
                moves=(job.moves or 0) + 1,
            ).won
        except AWS_ERRORS as error:
            logger.warning("job not moved", job_id=job.id, reason=reason(error))
            return False


def _chunks(jobs: Sequence[LiveJob]) -> Iterator[list[LiveJob]]:
    rest = iter(jobs)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
