"""How an attempt ends: the steps that complete, sweep and dispatch share.

Every step may be repeated. The ledger decides which attempt won; slot, webhook and bell follow
from what the ledger says, so that a crash between any two of them is repaired by doing them again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.endpoints import attempt_keys
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Attempt, Claim, Ledger, Outcome, live_key
from lambdas.adapters.logs import logger
from lambdas.adapters.outbox import Outbox
from lambdas.adapters.payloads import Result
from lambdas.adapters.queues import Queues
from lambdas.adapters.releases import Releases
from lambdas.domain import fallback, payloads
from lambdas.domain.failures import MESSAGE_CHARACTERS_MAX, late_message
from lambdas.domain.job import Job, Status
from lambdas.domain.output import SOUND, Judge, Judgement
from lambdas.domain.policy import Model, Policy
from lambdas.domain.release import RELEASE_TENANT
from lambdas.domain.retries import is_first, is_spared, retry_delay_s
from lambdas.domain.usage import Tokens, tokens_of
from lambdas.handlers.counting import Counting
from lambdas.handlers.outcomes import Outcomes

RESULT_BYTES_MAX = 4 << 20
"""Of a result that is read to see that it is JSON: parsed, it is some ten times as large."""
CANCEL_TRIES_MAX = 4
"""Writes of one cancellation: more than a job changes between waiting and running meanwhile."""

INPUT_GONE = "The input was deleted before the job started: its upload is in no region any more."


@dataclass(slots=True)
class _Freed:
    slots: set[str] = field(default_factory=set)
    ok: int = 0
    bad: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    tried: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model answered: compressed when small, else the key of its object.

    Attributes:
        packed: Compressed JSON, or None.
        key: The object's key in this region's bucket, or None.
        size: Bytes, as the model wrote them; None if nobody looked.
        judgement: Whether it is what the model promises, and what becomes of the attempt.
        at_ms: When SageMaker told of it; None if it was found later, by nobody knows how much.
        tokens: What the model reports that it took.
    """

    packed: bytes | None = None
    key: str | None = None
    size: int | None = None
    judgement: Judgement = SOUND
    at_ms: int | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Ends attempts in one region. `settle` must be called after a batch of them.

    Attributes:
        freed: Slots to be given back, and how their attempts ended, by model.
        called: Models that took jobs over, to be rung for.
    """

    policy: Policy
    ledger: Ledger
    gate: Gate
    releases: Releases
    queues: Queues
    outbox: Outbox
    functions: Functions
    outcomes: Outcomes
    usage: Counting
    freed: dict[str, _Freed] = field(default_factory=lambda: defaultdict(_Freed))
    called: set[str] = field(default_factory=set)
    judges: dict[str, Judge] = field(default_factory=dict)

    def judge(self, model: str | None, body: bytes) -> Judgement:
        """Judge an answer by what its model promises; without a model, only whether it is JSON."""
        name = model or ""
        if name not in self.judges:
            known = self.policy.models.get(name)
            self.judges[name] = Judge(known.output if known else None)
        return self.judges[name].judge(body)

    def stored_answer(self, model: str, result: Result, key: str) -> Answer:
        """What to commit of a result that is in the bucket.

        One of more than `RESULT_BYTES_MAX` is the client's to parse: it gets the model's own bytes.
        """
        if result.body is None:
            return Answer(key=key, size=result.size)
        packed = payloads.pack(result.body)
        return Answer(
            packed=packed,
            key=None if packed else key,
            size=result.size,
            judgement=self.judge(model, result.body),
            tokens=tokens_of(result.body),
        )

    def completed(self, claim: Claim, answer: Answer, *, now_ms: int) -> Outcome:
        """Commit an attempt's answer, or that it is a refusal. One result is ever committed."""
        live = _untold(claim) if isinstance(claim, Job) else None
        judgement = answer.judgement
        if judgement.end == "refuse":
            error = {"code": "refused", "message": judgement.message}
            outcome = self.ledger.apply(
                claim, "refuse", now_ms=now_ms, finished_ms=now_ms, error=error, live=live
            )
        else:
            outcome = self.ledger.apply(
                claim,
                "complete",
                now_ms=now_ms,
                finished_ms=now_ms,
                output=answer.packed,
                output_key=answer.key,
                live=live,
            )
        if outcome.won and outcome.job is not None:
            self.outcomes.completed(
                outcome.job, size=answer.size, judgement=judgement, at_ms=answer.at_ms
            )
            if outcome.job.declined_by is not None:
                self.outcomes.declined_wrongly(outcome.job)
            until_ms = min(answer.at_ms or now_ms, now_ms)
            self.usage.ended(outcome.job, until_ms=until_ms, tokens=answer.tokens)
        self._ended(claim, outcome, now_ms=now_ms, ok=1)
        return outcome

    def failed(
        self, job: Job, *, code: str, message: str, now_ms: int, declined: bool = False
    ) -> Outcome:
        """Try again, or elsewhere; fail the job when its attempts or its time are used up.

        The message of the next attempt is sent before the ledger knows of it, so that a queued
        job always has a message; one that is early waits until the ledger has caught up.

        Args:
            job: Whose attempt failed.
            code: For programs.
            message: For people.
            now_ms: When.
            declined: Whether the container found fault with the input. That says nothing of the
                version until another attempt is answered.
        """
        spared, blamed = False, 1
        if job.status is Status.IN_PROGRESS:
            spared, blamed = self._judged(job)
        delay_s = retry_delay_s(
            job, self.policy.models.get(job.model), now_ms=now_ms, spared=spared
        )
        other = fallback.after_failure(job, self.policy, now_ms=now_ms)
        error = {"code": code, "message": message[:MESSAGE_CHARACTERS_MAX]}
        if job.status is not Status.IN_PROGRESS:
            outcome = Outcome(won=False, job=job)
        elif delay_s is not None:
            self._send_next(job, job.model, delay_s=delay_s)
            outcome = self.ledger.apply(
                job,
                "retry",
                now_ms=now_ms,
                attempt=job.attempt + 1,
                error=error,
                spared=(job.spared or 0) + 1 if spared else job.spared,
                declined_by=job.version if declined else job.declined_by,
            )
        elif other is not None:
            self._send_next(job, other.name)
            outcome = self.taken_over(job, other, "fall_back", now_ms=now_ms, error=error)
        else:
            outcome = self.ledger.apply(
                job, "fail", now_ms=now_ms, finished_ms=now_ms, error=error, live=_untold(job)
            )
        if outcome.won:
            # What further attempts of a job fail of says more of the job, unless they are spared.
            if not declined and (spared or is_first(job)):
                self.outcomes.failed(job, code=code)
            if job.slot:
                self._free(job, job.slot, bad=0 if declined else blamed, ended=1)
            self._count_failure(job, outcome, now_ms=now_ms)
        self._ended(job, outcome, now_ms=now_ms)
        return outcome

    def _count_failure(self, job: Job, outcome: Outcome, *, now_ms: int) -> None:
        """Count what a failed attempt used; `job` is as it was at work."""
        if outcome.job is not None and outcome.job.status.terminal:
            self.usage.ended(outcome.job, until_ms=now_ms)
        else:
            self.usage.worked(job, until_ms=now_ms)

    def _send_next(self, job: Job, model: str, *, delay_s: float = 0) -> None:
        self.queues.send(
            model=model,
            tier=job.tier,
            job_id=job.id,
            attempt=job.attempt + 1,
            tenant=job.tenant,
            delay_s=delay_s,
        )

    def taken_over(
        self, job: Job, other: Model, name: str, *, now_ms: int, **values: Any
    ) -> Outcome:
        """Make a job another model's, whose queue has its message already."""
        values |= fallback.taken_over(job, other)
        live = live_key(job.owner, other.name)
        outcome = self.ledger.apply(job, name, now_ms=now_ms, live=live, **values)
        if outcome.won:
            self.outcomes.fell_back(job)
            self.called.add(other.name)
            logger.info("fell back", job_id=job.id, model=job.model, to=other.name, why=name)
        return outcome

    def _judged(self, job: Job) -> tuple[bool, int]:
        """Whether a failure costs the job no attempt, and failures that the breaker counts of it.

        It may say more of the model than of the job; and of a version that was taken back it says
        nothing of the one that serves now. If that cannot be read, it counts as both: a job must
        end all the same.
        """
        try:
            release = self.releases.read(job.model)
            breaker = self.gate.state(job.model).breaker
        except AWS_ERRORS as error:
            logger.info("failure counted", job_id=job.id, reason=reason(error))
            return False, 1
        taken_back = release is not None and job.version in release.quarantined
        return is_spared(job, release=release, breaker=breaker), int(not taken_back)

    def without_input(self, job: Job, *, now_ms: int) -> Outcome:
        """Fail a job whose input is gone: no further attempt helps, and no version is to blame."""
        outcome = self.ledger.apply(
            job,
            "fail",
            now_ms=now_ms,
            finished_ms=now_ms,
            error={"code": "input_gone", "message": INPUT_GONE},
            live=_untold(job),
        )
        if outcome.won and outcome.job is not None:
            # It was handed to nobody, however long it took to find that out.
            self.usage.ended(outcome.job, until_ms=outcome.job.started_ms or now_ms)
        self._ended(job, outcome, now_ms=now_ms)
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
        if outcome.won and outcome.job is not None:
            self.usage.ended(outcome.job, until_ms=now_ms)
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
        if outcome.won and outcome.job is not None:
            self.usage.ended(outcome.job, until_ms=now_ms)
        if outcome.job is not None and outcome.job.status is Status.CANCELLED:
            self.outbox.announce(outcome.job)
            if outcome.job.lease_ms is None:
                self._done_with(outcome.job, now_ms=now_ms)
        return outcome

    def withdrawn(self, job: Job, *, now_ms: int) -> bool:
        """Cancel a job unless it has started; whether that is so, and nothing of it will run."""
        outcome = self.ledger.apply(
            job, "cancel", now_ms=now_ms, finished_ms=now_ms, live=_untold(job)
        )
        after = outcome.job
        if after is None or after.status is not Status.CANCELLED:
            return False
        if outcome.won:
            self.usage.ended(after, until_ms=now_ms)
        self.outbox.announce(after)
        self._done_with(after, now_ms=now_ms)
        return True

    def over(self, job: Job, *, attempt: int, now_ms: int) -> None:
        """An attempt is over whose job ended before: do what follows, or do it again."""
        claim = Attempt(job.id, job.owner, attempt)
        self._ended(claim, Outcome(won=False, job=job), now_ms=now_ms)

    def settle(self) -> None:
        """Give the freed slots back, a write per model, ring for those who want them, and count.

        What became of the attempts is told first: it costs a line of the log.
        """
        self.outcomes.publish()
        for model, freed in list(self.freed.items()):
            state = self.gate.release(
                model,
                freed.slots,
                ok=freed.ok,
                bad=freed.bad,
                ended=freed.ended,
                tried=freed.tried,
            )
            if state.wanted_ms is not None:
                self.functions.ring(model=model, tier=None, jobs=None)
            del self.freed[model]
        while self.called:
            self.functions.ring(model=self.called.pop(), tier=None, jobs=None)
        self.usage.write()

    def _ended(self, claim: Claim, outcome: Outcome, *, now_ms: int, ok: int = 0) -> None:
        job = outcome.job
        if job is None or job.attempt != claim.attempt or not job.status.terminal:
            return  # forgotten, or a later attempt runs: its slot is not ours to give
        if job.slot:
            won = int(outcome.won)
            self._free(job, job.slot, ok=ok * won, ended=ok * won)
        if job.webhook:
            self.outbox.announce(job)
        self._done_with(job, now_ms=now_ms)

    def _done_with(self, job: Job, *, now_ms: int) -> None:
        """The last step of an end: until it is made, sweep makes the others again."""
        if job.live is not None:
            self.ledger.apply(job, "vacate", now_ms=now_ms)

    def _free(self, job: Job, slot: str, *, ok: int = 0, bad: int = 0, ended: int = 0) -> None:
        freed = self.freed[job.model]
        freed.slots.add(slot)
        freed.ok += ok
        freed.bad += bad
        if ended:
            freed.ended[job.tier] += ended
            freed.tried += int(job.as_live is False and job.tenant != RELEASE_TENANT)


def result_keys(job: Job, policy: Policy, attempts: Iterable[int]) -> set[str]:
    """Where attempts of a job may have left a result, or an error, by any version."""
    served = {(job.model, job.version)} if job.version else set()
    for name in {job.model, job.wished} & set(policy.models):
        served |= {(name, version) for version in policy.models[name].versions}
    return {
        key
        for (model, version), attempt in product(served, attempts)
        for key in attempt_keys(model, version, job.id, attempt)
    }


def _untold(job: Job) -> str | None:
    """What keeps a job in sweep's sight until its end is announced; None if nobody wants to hear.

    A result that comes by a notification needs none: that is delivered again.
    """
    return live_key(job.owner, job.model) if job.webhook else None
