"""sweep: once a minute, whatever else was missed.

Leases that ran out, deadlines that passed, dead letters of live jobs, slots that nobody holds,
and jobs whose retention is over. Everything here is a repair: it may run late, twice, or not at
all for a while, and nothing is lost. When beat orders it, jobs of another region are moved here.
"""

import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.directory import Directory
from lambdas.adapters.endpoints import output_key
from lambdas.adapters.leases import Leases
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.payloads import Payloads
from lambdas.domain import metrics
from lambdas.domain.job import Job, Status
from lambdas.domain.moves import Order
from lambdas.domain.policy import Model, Policy
from lambdas.domain.release import RELEASE_TENANT
from lambdas.handlers.diverting import Diverting
from lambdas.handlers.endings import RESULT_BYTES_MAX, Endings, result_keys
from lambdas.handlers.moving import Moving
from lambdas.handlers.outcomes import INVALID_OUTPUT
from lambdas.handlers.ports import endings, payload_store
from lambdas.handlers.resending import Resending
from lambdas.wiring import Execution, Function, Handler

REPAIRS = (
    "leases",
    "ends",
    "deadlines",
    "diverted",
    "resent",
    "slots",
    "dead_letters",
    "forgotten",
)
DISPATCH_MS_MAX = 120_000
"""Twice dispatch's time limit: a slot reserved longer ago is held by a started job or by nobody."""
DEAD_LETTERS_MAX = 100
"""Dead letters worked off for one queue in one run."""
RETENTION_DAYS_BACK = 8
"""Days before the retention limit that are looked at: the longest life of a job, and one."""
RETENTION_PAGE = 500
"""Jobs of one tenant and day that are listed at once."""
RETENTION_EVERY_MIN = 60
SLOTS_EVERY_MIN = 2
"""How often old slots are held against all jobs: an attempt may just be long."""
ALL_EVERY_MIN = 10
TIME_LEFT_MS_MIN = 10_000
END_MS_MAX = 60_000
"""The longest that a function runs that ends jobs, but for sweep itself, which ran before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One region's repairs.

    Attributes:
        overdue: Tenants some of whose jobs are still to be forgotten; a hint, made anew every hour.
    """

    region: str
    policy: Policy
    endings: Endings
    payloads: Payloads
    directory: Directory
    metrics: Metrics
    overdue: set[str] = field(default_factory=set)

    def once(self, *, time_left_ms: Any) -> dict[str, int]:
        """Repair everything once, as far as the time reaches.

        Returns:
            Counts of repairs by kind.
        """
        counts = dict.fromkeys(REPAIRS, 0)
        at_ms = now_ms()
        models, minute = list(self.policy.models.values()), at_ms // 60_000
        # Another one is first every minute: a long backlog keeps no model from its repairs.
        first = minute % max(1, len(models))
        for model in models[first:] + models[:first]:
            try:
                self._model(model, counts, at_ms, time_left_ms)
                self.endings.settle()
            except AWS_ERRORS as error:
                logger.error("model not swept", model=model.name, reason=reason(error))
        if minute % RETENTION_EVERY_MIN == 0:
            self.overdue.update(self._own_tenants())
        for tenant in sorted(self.overdue):
            if not self._forget(tenant, counts, at_ms, time_left_ms):
                break
            self.overdue.discard(tenant)
        return counts

    def _model(
        self,
        model: Model,
        counts: dict[str, int],
        now_ms: int,
        time_left_ms: Any,
    ) -> None:
        # The gate is read first: a slot that is reserved later is younger than any judged here.
        used = self.endings.gate.state(model.name).used
        for tier in self.policy.tiers:
            counts["dead_letters"] += self._dead_letters(model.name, tier.name)
        all_of_them = _look_at_all(used, model, now_ms)
        diverting = Diverting.of(self.endings, model, now_ms=now_ms)
        held: set[str] = set()
        resending = Resending(queues=self.endings.queues, model=model.name)
        number = 0
        for number, page in enumerate(self.endings.ledger.live(self.region, model.name)):
            if time_left_ms() < TIME_LEFT_MS_MIN:
                logger.warning("sweep ran out of time", model=model.name)
                return
            # The oldest are on the first page, and those at work are mostly among them.
            near = all_of_them or number == 0
            due = [
                live.id
                for live in page
                if near or live.deadline_ms <= now_ms or diverting.concerns(live)
            ]
            jobs = self.endings.ledger.get_many(due)
            for job in jobs.values():
                if job.slot:
                    held.add(job.slot)
                try:
                    self._job(model, job, counts, now_ms)
                except AWS_ERRORS as error:
                    logger.error("job not repaired", job_id=job.id, reason=reason(error))
            waiting = [jobs[each] for each in due if each in jobs and _waits(jobs[each], now_ms)]
            mine = [job for job in waiting if self._mine(model, job)]
            diverted = diverting.run(mine, time_left_ms=time_left_ms)
            counts["diverted"] += len(diverted)
            resending.note((job for job in mine if job.id not in diverted), now_ms=now_ms)
        counts["resent"] += resending.run()
        if number > 0 and not all_of_them:
            return  # a job that was not read may hold any of them
        stale = {slot for slot in used - held if now_ms - _reserved_ms(slot) > DISPATCH_MS_MAX}
        if stale:
            logger.warning("slots repaired", model=model.name, slots=len(stale))
            self.endings.gate.release(model.name, stale)
            counts["slots"] += len(stale)
            told = [(metrics.SLOTS_REPAIRED, float(len(stale)))]
            self.metrics.publish({"Model": model.name}, told, at_ms=now_ms)

    def _mine(self, model: Model, job: Job) -> bool:
        """Whether a job has neither moved nor fallen back since the index showed it."""
        return job.owner == self.region and job.model == model.name

    def _job(self, model: Model, job: Job, counts: dict[str, int], now_ms: int) -> None:
        if not self._mine(model, job):
            return
        if job.status is Status.QUEUED and job.deadline_ms <= now_ms:
            counts["deadlines"] += int(self.endings.expired(job, now_ms=now_ms).won)
        elif job.status is Status.IN_PROGRESS and (job.lease_ms or 0) <= now_ms:
            counts["leases"] += 1
            self._lease_over(model, job, now_ms)
        elif job.status.terminal and _left(job, now_ms):
            counts["ends"] += 1
            if job.erased:  # while the model was at work on it
                keys = result_keys(job, self.policy, (job.attempt,))
                self.payloads.erase_results(keys, region=self.region)
            self.endings.over(job, attempt=job.attempt, now_ms=now_ms)

    def _lease_over(self, model: Model, job: Job, now_ms: int) -> None:
        """Its notification never came: take the answer if there is one, else try again."""
        key = output_key(model.name, str(job.version), job.id, job.attempt)
        result = self.payloads.find_result(key, bytes_max=RESULT_BYTES_MAX)
        answer = None if result is None else self.endings.stored_answer(model.name, result, key)
        if answer is None:
            outcome = self.endings.failed(
                job,
                code="model_timeout",
                message="The model gave no answer within its time.",
                now_ms=now_ms,
            )
        elif answer.judgement.end == "fail":
            outcome = self.endings.failed(
                job, code=INVALID_OUTPUT, message=answer.judgement.message, now_ms=now_ms
            )
        else:
            outcome = self.endings.completed(job, answer, now_ms=now_ms)
        logger.warning(
            "lease ran out",
            job_id=job.id,
            attempt=job.attempt,
            status=outcome.job.status if outcome.job else "unknown",
        )

    def _dead_letters(self, model: str, tier: str) -> int:
        """Send dead letters of live jobs again; the others are done with."""
        queues, sent = self.endings.queues, 0
        for _ in range(DEAD_LETTERS_MAX // 10):
            tickets = queues.receive(model, tier, at_most=10, dead=True)
            if not tickets:
                break
            jobs = self.endings.ledger.get_many(t.job for t in tickets if t.job is not None)
            for ticket in tickets:
                job = jobs.get(ticket.job or "")
                if job is None or job.attempt != ticket.attempt or job.status.terminal:
                    continue
                queues.send(
                    model=model,
                    tier=tier,
                    job_id=job.id,
                    attempt=job.attempt,
                    tenant=job.tenant,
                    # What was made to try one version says nothing on another.
                    version=ticket.version,
                )
                sent += 1
            queues.delete(model, tier, tickets, dead=True)
        return sent

    def _own_tenants(self) -> list[str]:
        """Whose jobs this region forgets; regions share the tenants by hash."""
        regions = self.policy.regions
        return [
            tenant
            for tenant in (*self.directory.tenants(), RELEASE_TENANT)
            if regions[zlib.crc32(tenant.encode()) % len(regions)] == self.region
        ]

    def _forget(self, tenant: str, counts: dict[str, int], now_ms: int, time_left_ms: Any) -> bool:
        """Delete a tenant's finished jobs whose retention is over; False if the time was short."""
        limit_ms = now_ms - 1000 * self.policy.retention_s
        newest = datetime.fromtimestamp(limit_ms / 1000, UTC)
        # The oldest first: after some days nobody looks at a day any more.
        for back in reversed(range(RETENTION_DAYS_BACK)):
            day = (newest - timedelta(days=back)).date().isoformat()
            after: tuple[int, str] | None = None
            more = True
            while more:
                listed = self.endings.ledger.jobs_of(
                    tenant, day, limit=RETENTION_PAGE, before_ms=limit_ms, after=after
                )
                for job in self.endings.ledger.get_many(job_id for job_id, _ in listed).values():
                    if time_left_ms() < TIME_LEFT_MS_MIN:
                        return False
                    if job.finished_ms is not None and job.finished_ms < limit_ms:
                        self.endings.ledger.forget(job.id)
                        counts["forgotten"] += 1
                more = len(listed) == RETENTION_PAGE
                after = (listed[-1][1], listed[-1][0]) if listed else None
        return True


def create(execution: Execution) -> Handler:
    """Wire the repairs of an execution environment."""
    told = Metrics(execution.names.metrics)
    sweep = Sweep(
        region=execution.region,
        policy=execution.policy,
        endings=endings(execution),
        payloads=payload_store(execution),
        directory=Directory(execution.client("dynamodb"), execution.names.directory),
        metrics=told,
    )

    moving = Moving(
        region=execution.region,
        policy=execution.policy,
        endings=sweep.endings,
        leases=Leases(execution.client("dynamodb"), execution.names.ledger),
        metrics=told,
    )

    def handle(event: dict[str, Any], context: Any) -> dict[str, int]:
        if "move" in event:
            order = Order.read(event["move"])
            return {"moved": moving.run(order, time_left_ms=context.get_remaining_time_in_millis)}
        counts = sweep.once(time_left_ms=context.get_remaining_time_in_millis)
        logger.info("swept", repairs=counts)
        return counts

    return handle


def _look_at_all(used: Collection[str], model: Model, now_ms: int) -> bool:
    """Whether to read every unfinished job, each of which is a strong read, in this minute.

    An attempt whose lease ran out, or a slot that nobody holds, shows in the gate as an old slot.
    Every tenth minute all are read whatever the gate says: it may have been lost.
    """
    minute = now_ms // 60_000
    oldest_ms = now_ms - min(map(_reserved_ms, used), default=now_ms)
    return (
        minute % ALL_EVERY_MIN == 0
        or oldest_ms > 1000 * model.lease_s
        or (oldest_ms > DISPATCH_MS_MAX and minute % SLOTS_EVERY_MIN == 0)
    )


def _waits(job: Job, now_ms: int) -> bool:
    """Whether a client's job waits, and has not just expired.

    A smoke job is there to try one version, which its message names: it just ends.
    """
    queued = job.status is Status.QUEUED and job.deadline_ms > now_ms
    return queued and job.tenant != RELEASE_TENANT


def _left(job: Job, now_ms: int) -> bool:
    """Whether an ended job was left by who should have done with it.

    Its model may be at work on it until its lease is over; else whoever ended it died.
    """
    if job.live is None:
        return False
    until_ms = job.lease_ms if job.lease_ms is not None else (job.finished_ms or 0) + END_MS_MAX
    return until_ms <= now_ms


def _reserved_ms(slot: str) -> int:
    moment, _, _ = slot.partition(".")
    return int(moment) if moment.isdigit() else 0


handle = Function(create)
