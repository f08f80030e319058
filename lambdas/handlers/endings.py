"""How an attempt ends: the steps that complete, sweep and dispatch share.

Every step may be repeated. The ledger decides which attempt won; slot, webhook and bell follow
from what the ledger says, so that a crash between any two of them is repaired by doing them again.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

from lambdas.adapters.endpoints import attempt_keys
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Attempt, Claim, Ledger, Outcome, live_key
from lambdas.adapters.outbox import Outbox
from lambdas.adapters.payloads import Result
from lambdas.adapters.queues import Queues
from lambdas.domain import payloads
from lambdas.domain.failures import MESSAGE_CHARACTERS_MAX, late_message
from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Policy
from lambdas.domain.retries import retry_delay_s
from lambdas.handlers.outcomes import Outcomes

RESULT_BYTES_MAX = 4 << 20
"""Of a result that is read to see that it is JSON: parsed, it is some ten times as large."""
CANCEL_TRIES_MAX = 4
"""Writes of one cancellation: more than a job changes between waiting and running meanwhile."""


@dataclass(slots=True)
class _Freed:
    slots: set[str] = field(default_factory=set)
    ok: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model answered: compressed when small, else the key of its object.

    Attributes:
        packed: Compressed JSON, or None.
        key: The object's key in this region's bucket, or None.
        size: Bytes, as the model wrote them; None if nobody looked.
    """

    packed: bytes | None = None
    key: str | None = None
    size: int | None = None


def stored_answer(result: Result, key: str) -> Answer | None:
    """What to commit of a result that is in the bucket; None if it is no JSON.

    One of more than `RESULT_BYTES_MAX` is the client's to parse: it gets the model's own bytes.
    """
    if result.body is None:
        return Answer(key=key, size=result.size)
    if not payloads.is_json(result.body):
        return None
    packed = payloads.pack(result.body)
    return Answer(packed=packed, key=None if packed else key, size=result.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Ends attempts in one region. `settle` must be called after a batch of them."""

    policy: Policy
    ledger: Ledger
    gate: Gate
    queues: Queues
    outbox: Outbox
    functions: Functions
    outcomes: Outcomes
    freed: dict[str, _Freed] = field(default_factory=lambda: defaultdict(_Freed))

    def completed(self, claim: Claim, answer: Answer, *, now_ms: int) -> Outcome:
        """Commit an attempt's answer. One result is ever committed."""
        outcome = self.ledger.apply(
            claim,
            "complete",
            now_ms=now_ms,
            finished_ms=now_ms,
            output=answer.packed,
            output_key=answer.key,
            live=_untold(claim) if isinstance(claim, Job) else None,
        )
        if outcome.won and outcome.job is not None:
            self.outcomes.completed(outcome.job, size=answer.size, now_ms=now_ms)
        self._ended(claim, outcome, now_ms=now_ms, ok=1)
        return outcome

    def failed(self, job: Job, *, code: str, message: str, now_ms: int) -> Outcome:
        """Try again, or fail the job when its attempts or its time are used up.

        The message of the next attempt is sent before the ledger knows of it, so that a queued
        job always has a message; one that is early waits until the ledger has caught up.
        """
        delay_s = retry_delay_s(job, self.policy.models.get(job.model), now_ms=now_ms)
        error = {"code": code, "message": message[:MESSAGE_CHARACTERS_MAX]}
        if job.status is not Status.IN_PROGRESS:
            outcome = Outcome(won=False, job=job)
        elif delay_s is None:
            outcome = self.ledger.apply(
                job, "fail", now_ms=now_ms, finished_ms=now_ms, error=error, live=_untold(job)
            )
        else:
            self.queues.send(
                model=job.model,
                tier=job.tier,
                job_id=job.id,
                attempt=job.attempt + 1,
                tenant=job.tenant,
                delay_s=delay_s,
            )
            outcome = self.ledger.apply(
                job, "retry", now_ms=now_ms, attempt=job.attempt + 1, error=error
            )
            if outcome.won and job.slot:
                self.outcomes.failed(job, code=code)
                self._free(job.model, job.slot, bad=1)
                return outcome
        if outcome.won:
            self.outcomes.failed(job, code=code)
        self._ended(job, outcome, now_ms=now_ms, bad=1)
        return outcome

    def expired(self, job: Job, *, now_ms: int) -> Outcome:
        """End a job that did not start in time."""
        outcome = self.ledger.apply(
            job,
            "expire",
            now_ms=now_ms,
            finished_ms=now_ms,
            error={"code": "deadline_exceeded", "message": late_message(job.error)},
            live=_untold(job),
        )
        # Any other end is not this one's to clean up: the model may be at work on the job.
        if outcome.job is not None and outcome.job.status is Status.EXPIRED:
            self._ended(job, outcome, now_ms=now_ms)
        return outcome

    def cancelled(self, job: Job, *, now_ms: int) -> Outcome:
        """End a job at its client's wish; a running one keeps its slot until the model is done.

        Returns:
            The last try's outcome; its job is live if that changed between its states at each.
        """
        outcome = Outcome(won=False, job=job)
        for _ in range(CANCEL_TRIES_MAX):
            current = outcome.job
            if current is None or current.status.terminal:
                break
            # Each row leaves one state only; a job that changed meanwhile refuses the write.
            outcome = (
                self.ledger.apply(
                    current, "cancel", now_ms=now_ms, finished_ms=now_ms, live=_untold(current)
                )
                if current.status is Status.QUEUED
                else self.ledger.apply(current, "abandon", now_ms=now_ms, finished_ms=now_ms)
            )
        if outcome.job is not None and outcome.job.status is Status.CANCELLED:
            self.outbox.announce(outcome.job)
            if outcome.job.lease_ms is None:
                self._done_with(outcome.job, now_ms=now_ms)
        return outcome

    def over(self, job: Job, *, attempt: int, now_ms: int) -> None:
        """An attempt is over whose job ended before: do what follows, or do it again."""
        claim = Attempt(job.id, job.owner, attempt)
        self._ended(claim, Outcome(won=False, job=job), now_ms=now_ms)

    def settle(self) -> None:
        """Give the freed slots back, a write per model, and ring for those who want them.

        What became of the attempts is told first: it costs a line of the log.
        """
        self.outcomes.publish()
        for model, freed in list(self.freed.items()):
            state = self.gate.release(model, freed.slots, ok=freed.ok, bad=freed.bad)
            if state.wanted_ms is not None:
                self.functions.ring(model=model, tier=None, jobs=None)
            del self.freed[model]

    def _ended(
        self, claim: Claim, outcome: Outcome, *, now_ms: int, ok: int = 0, bad: int = 0
    ) -> None:
        job = outcome.job
        if job is None or job.attempt != claim.attempt or not job.status.terminal:
            return  # forgotten, or a later attempt runs: its slot is not ours to give
        if job.slot:
            won = int(outcome.won)
            self._free(job.model, job.slot, ok=ok * won, bad=bad * won)
        if job.webhook:
            self.outbox.announce(job)
        self._done_with(job, now_ms=now_ms)

    def _done_with(self, job: Job, *, now_ms: int) -> None:
        """The last step of an end: until it is made, sweep makes the others again."""
        if job.live is not None:
            self.ledger.apply(job, "vacate", now_ms=now_ms)

    def _free(self, model: str, slot: str, *, ok: int = 0, bad: int = 0) -> None:
        freed = self.freed[model]
        freed.slots.add(slot)
        freed.ok += ok
        freed.bad += bad


def result_keys(job: Job, policy: Policy, attempts: Iterable[int]) -> set[str]:
    """Where attempts of a job may have left a result, or an error, by any version."""
    model = policy.models.get(job.model)
    versions = {job.version, *(model.versions if model else ())} - {None}
    return {
        key
        for version, attempt in product(versions, attempts)
        for key in attempt_keys(job.model, str(version), job.id, attempt)
    }


def _untold(job: Job) -> str | None:
    """What keeps a job in sweep's sight until its end is announced; None if nobody wants to hear.

    A result that comes by a notification needs none: that is delivered again.
    """
    return live_key(job.owner, job.model) if job.webhook else None
