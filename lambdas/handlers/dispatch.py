"""dispatch: from the tier queues to the endpoints, only as fast as those can work.

Slots are reserved first, then at most that many messages are taken; a job is started in the
ledger, then invoked, and only then is its message deleted. Dying anywhere leaves a message that
is delivered again, or a lease that sweep finds.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.endpoints import BODY_BYTES_MAX, JSON, Endpoints, InvocationRefusedError
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate, GateState
from lambdas.adapters.ledger import Attempt, Ledger, Outcome
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.adapters.queues import RECEIVE_MAX, Queues, Ticket
from lambdas.domain import capacity, dispatch, payloads, shares
from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Model, Policy
from lambdas.domain.retries import again_s
from lambdas.domain.shares import Plan
from lambdas.handlers.bringing import (
    BRINGING_MS_MIN,
    Away,
    Bringing,
    Brought,
    ElsewhereError,
    Missing,
)
from lambdas.handlers.endings import Endings
from lambdas.handlers.ports import endings, payload_store, upload_buckets
from lambdas.wiring import SEND_ONCE, Execution, Function, Handler

ROUNDS_MAX = 60
"""Rounds of one run: the time limit ends a run long before."""
TIME_LEFT_MS_MIN = 15_000
"""A round of ten jobs must fit into what is left of the function's time."""
UNKNOWN_JOB_MS = 60_000
"""A message precedes its ledger item; one whose job is still unknown after this is dropped."""
EARLY_PAUSES_S = (0.05, 0.1, 0.2)
"""A message that was sent just now is tried again after these: its ledger item is on its way."""
JUST_NOW_MS = 2_000
EARLY_RETRY_S = 5
"""When a message that is early all the same is looked at again."""


@dataclass(frozen=True, slots=True)
class Bell:
    """A hint that a model may have work.

    Attributes:
        model: Which.
        tier: Where one job is known to wait, or None.
        jobs: How many are known to wait, or None for as many as there are.
    """

    model: str
    tier: str | None
    jobs: int | None


@dataclass(frozen=True, slots=True)
class Versions:
    """What attempts may run on.

    Attributes:
        plan: The shares of the versions.
        serving: Instances in service by version; None if nobody knows.
        used: Slots that were in use before.
        usable: All slots.
    """

    plan: Plan
    serving: Mapping[str, int] | None
    used: int
    usable: int

    def choose(self, ticket: Ticket, *, started: int) -> str | None:
        """The version that an attempt runs on; None if it has to wait for one."""
        if ticket.version is not None:
            known = self.serving is None or self.serving.get(ticket.version)
            return ticket.version if known else None
        carrying = shares.shares_of_attempt(
            self.plan.shares.get(ticket.tier, {}),
            self.serving,
            ticket.attempt,
            on_trial=self.plan.on_trial,
            busy=min(1.0, (self.used + started + 1) / max(1, self.usable)),
        )
        if not any(share > 0 for share in carrying.values()):
            return None
        return shares.choose_version(carrying, ticket.job or "", ticket.attempt)


@dataclass(slots=True)
class Round:
    """What one round did; `away` is the whole run's."""

    away: Away
    started: Counter[str] = field(default_factory=Counter)
    done: list[Ticket] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)
    received: int = 0
    deferred: int = 0

    @property
    def in_vain(self) -> bool:
        """Whether endpoints took nothing: then they are not asked on and on."""
        return self.deferred > 0 and not self.started


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """One region's dispatcher."""

    region: str
    policy: Policy
    ledger: Ledger
    gate: Gate
    queues: Queues
    endpoints: Endpoints
    payloads: Payloads
    bringing: Bringing
    functions: Functions
    endings: Endings
    pause: Callable[[float], None]

    def run(self, bell: Bell, *, time_left_ms: Any) -> Counter[str]:
        """Fill the model's free slots.

        Args:
            bell: What is known of the work.
            time_left_ms: Callable that tells what is left of the function's time.

        Returns:
            Jobs started, by tier.
        """
        model = self.policy.models.get(bell.model)
        total: Counter[str] = Counter()
        away = Away()
        if model is None:
            logger.warning("bell for an unknown model")
            return total
        for _ in range(ROUNDS_MAX):
            # One more round must leave the time to bring what is missing, or nobody ever would.
            if time_left_ms() < TIME_LEFT_MS_MIN + (BRINGING_MS_MIN if away.missing else 0):
                self.functions.ring(model=model.name, tier=None, jobs=None)
                break
            more, started = self._round(model, bell, away)
            total += started
            if not more:
                break
        if away.missing is not None:
            self._bring(model, away.missing, time_left_ms)
        return total

    def _bring(self, model: Model, missing: Missing, time_left_ms: Any) -> None:
        """Bring the upload that is missing, when all other work is done; its message is hidden.

        It shows by itself if this dies; a copy that got no answer may be there then.
        """
        brought = Brought.NOT
        if time_left_ms() >= BRINGING_MS_MIN:
            brought = self.bringing.bring(missing)
        if brought is Brought.BESIDE:
            self._later(model, missing.ticket, least_s=BRINGING_MS_MIN // 1000)
            return  # who is at it rings when the next one may be brought
        self._later(model, missing.ticket, at_once=brought is Brought.HERE)
        self.functions.ring(model=model.name, tier=None, jobs=None)

    def _round(self, model: Model, bell: Bell, away: Away) -> tuple[bool, Counter[str]]:
        at_ms = now_ms()
        state = self.gate.state(model.name)
        if not self._may_start(state, at_ms):
            logger.info("nothing started without a lease", model=model.name)
            return False, Counter()
        usable = capacity.usable_slots(
            model,
            capacity=state.capacity,
            age_s=(at_ms - state.capacity_ms) / 1000,
            breaker=state.breaker,
        )
        free = usable - len(state.used)
        nothing: Counter[str] = Counter()
        if free <= 0:
            return not self._leave_word(model, usable, state), nothing
        # Only a lone bell on an uncontended gate may look at its own tier alone.
        lone = bell.jobs is not None and bell.tier is not None and state.wanted_ms is None
        number = min(free, RECEIVE_MAX, bell.jobs if lone and bell.jobs else RECEIVE_MAX)
        run = uuid.uuid4().hex[:12]
        tokens = [f"{at_ms}.{run}.{index}" for index in range(number)]
        pulls = (
            [dispatch.Pull(bell.tier, number)]
            if lone and bell.tier is not None
            else dispatch.plan(number, self.policy.tiers, state.credits)
        )
        result = Round(away)
        try:
            if not self.gate.reserve(model.name, tokens, capacity=usable):
                return True, nothing
            versions = self._versions(model, state, usable, at_ms)
            self._start_all(model, versions, pulls, tokens, result, lone=lone)
        except AWS_ERRORS as error:
            # The word stands, so the next free slot rings; else beat does.
            logger.warning("round cut short", model=model.name, reason=reason(error))
            self.gate.release(model.name, set(tokens) - result.kept)
            return False, result.started
        if not lone:
            self.gate.owe(
                model.name,
                dispatch.settle(self.policy.tiers, state.credits, result.started, result.empty),
                started=result.started,
            )
        unused = set(tokens) - result.kept
        if unused:
            more = self._give_back(model, unused, state, drained=result.received < number)
        else:
            more = not lone and (free > number or not self._leave_word(model, usable, state))
        return more and not result.in_vain, result.started

    def _versions(self, model: Model, state: GateState, usable: int, now_ms: int) -> Versions:
        """What runs what; the instances that beat saw too long ago are not believed."""
        fresh = now_ms - state.capacity_ms <= 1000 * capacity.CAPACITY_FRESH_S
        plan = state.plan or shares.plan(None, model, self.region, self.policy.tiers)
        serving = state.serving if fresh else None
        return Versions(plan, serving, len(state.used), usable)

    def _may_start(self, state: GateState, now_ms: int) -> bool:
        """Whether the region holds its lease; one that has no peers needs none."""
        if state.may_start_ms is None:
            return len(self.policy.regions) == 1
        return now_ms < state.may_start_ms

    def _give_back(
        self, model: Model, unused: set[str], state: GateState, *, drained: bool
    ) -> bool:
        """Release slots that found no job; whether to look again."""
        wanted_ms = self.gate.release(model.name, unused).wanted_ms
        if not drained:
            return True  # messages were dropped: others may wait behind them
        if wanted_ms is None:
            return False
        if wanted_ms != state.wanted_ms:
            return True  # somebody left word while our slots kept the gate full
        # Submit rings no bell while the word stands: what came before it fell is still to be seen.
        self.gate.unwant(model.name, seen_ms=wanted_ms)
        return True

    def _leave_word(self, model: Model, usable: int, state: GateState) -> bool:
        """See to it that the next free slot rings; False if one came free meanwhile."""
        if state.wanted_ms is not None:
            return True  # the word stands until a dispatcher finds the queues empty
        return self.gate.want(model.name, capacity=usable, now_ms=now_ms())

    def _start_all(
        self,
        model: Model,
        versions: Versions,
        pulls: list[dispatch.Pull],
        tokens: list[str],
        result: Round,
        *,
        lone: bool,
    ) -> None:
        unused = list(tokens)
        for pull in pulls:
            at_most = min(pull.at_most, len(unused))
            if at_most <= 0:
                break
            tickets = self.queues.receive(
                model.name, pull.tier, at_most=at_most, wait_s=1 if lone else 0
            )
            result.received += len(tickets)
            if len(tickets) < at_most:
                result.empty.add(pull.tier)
            for ticket in tickets:
                try:
                    self._try(model, ticket, versions, unused[-1], result)
                except AWS_ERRORS as error:
                    # One job that cannot be started now must not hold up the others.
                    logger.warning("not started", job_id=ticket.job, reason=reason(error))
                    self._later(model, ticket)
                if unused[-1] in result.kept:
                    unused.pop()
            self._delete(model, result)

    def _try(
        self, model: Model, ticket: Ticket, versions: Versions, slot: str, result: Round
    ) -> None:
        """Start an attempt on a version that may have it; without one in service it waits."""
        if ticket.version is not None and not versions.plan.may_run(ticket.version):
            self._void(ticket, result)
            return
        version = versions.choose(ticket, started=result.started.total())
        if version is None:
            result.deferred += 1
            self._later(model, ticket)
            return
        as_live = version == versions.plan.live if versions.plan.live else None
        self._start(model, ticket, version, slot, result, as_live=as_live)

    def _void(self, ticket: Ticket, result: Round) -> None:
        """Cancel a job that was made to try a version which is no longer on trial."""
        job = self.ledger.get(str(ticket.job))
        if job is not None and not job.status.terminal:
            self.endings.cancelled(job, now_ms=now_ms())
        logger.info("job voided", job_id=ticket.job, version=ticket.version)
        result.done.append(ticket)

    def _delete(self, model: Model, result: Round) -> None:
        for tier in {ticket.tier for ticket in result.done}:
            self.queues.delete(model.name, tier, [t for t in result.done if t.tier == tier])
        result.done.clear()

    def _later(
        self, model: Model, ticket: Ticket, *, least_s: int = 0, at_once: bool = False
    ) -> None:
        """Have a message delivered again; if that fails, it is after its two minutes."""
        after_s = 0 if at_once else max(least_s, again_s(ticket.receives))
        try:
            self.queues.put_back(model.name, ticket, after_s=after_s)
        except AWS_ERRORS as error:
            logger.info("message not put back", job_id=ticket.job, reason=reason(error))

    def _start(
        self,
        model: Model,
        ticket: Ticket,
        version: str,
        slot: str,
        result: Round,
        *,
        as_live: bool | None,
    ) -> None:
        """Start one attempt and hand it over."""
        if ticket.job is None:
            logger.warning("malformed message dropped", message_id=ticket.message)
            result.done.append(ticket)
            return
        claim = Attempt(ticket.job, self.region, ticket.attempt, model.name)
        # Without an answer the job may hold the slot: then sweep gives it back, if nobody does.
        result.kept.add(slot)
        outcome = self._claimed(model, ticket, claim, version, slot, as_live=as_live)
        job = outcome.job
        if not outcome.won or job is None:
            result.kept.discard(slot)
            self._refused(model, ticket, outcome, now_ms(), result)
            return
        if job.slot != slot:
            result.kept.discard(slot)
        self._hand_over(model, ticket, job, slot, result)

    def _claimed(
        self,
        model: Model,
        ticket: Ticket,
        claim: Attempt,
        version: str,
        slot: str,
        *,
        as_live: bool | None,
    ) -> Outcome:
        """Start an attempt in the ledger, which may be a moment behind the message."""
        pauses_s = iter(EARLY_PAUSES_S)
        while True:
            at_ms = now_ms()
            outcome = self.ledger.apply(
                claim,
                "start",
                now_ms=at_ms,
                started_ms=at_ms,
                lease_ms=at_ms + 1000 * model.lease_s,
                version=version,
                as_live=as_live,
                slot=slot,
                message=ticket.message,
            )
            just_sent = abs(at_ms - ticket.sent_ms) < JUST_NOW_MS
            pause_s = next(pauses_s, None) if just_sent and _early(outcome, ticket) else None
            if pause_s is None:
                return outcome
            self.pause(pause_s)

    def _hand_over(self, model: Model, ticket: Ticket, job: Job, slot: str, result: Round) -> None:
        """Invoke the endpoint, and be done with the message unless that may be tried again."""
        try:
            self._invoke(model, job, result.away.silent)
            result.started[ticket.tier] += 1
        except ElsewhereError as elsewhere:
            if elsewhere.source is not None:
                self._await(model, ticket, job, slot, result, source=elsewhere.source)
                return
            logger.info("input gone", job_id=job.id, upload=job.upload)
            self.endings.without_input(job, now_ms=now_ms())
        except InvocationRefusedError:
            logger.warning("invocation refused for good", job_id=job.id, attempt=job.attempt)
            # Without AWS's message: it names the account and what is in it.
            self.endings.failed(
                job,
                code="invocation_refused",
                message="The endpoint does not take this request.",
                now_ms=now_ms(),
            )
        except AWS_ERRORS as error:
            logger.warning(
                "invocation refused",
                job_id=job.id,
                attempt=job.attempt,
                reason=reason(error),
            )
            result.deferred += 1
            self._defer(job, slot, result)
            self._later(model, ticket)
            return
        result.done.append(ticket)

    def _await(
        self, model: Model, ticket: Ticket, job: Job, slot: str, result: Round, *, source: str
    ) -> None:
        """Let a job wait for its upload, which is brought when this run has nothing else to do.

        A run brings one. The others' messages are hidden for as long, so that no round meets them
        again and again while jobs behind them wait.
        """
        # Who started it before and died has handed nothing over: there was nothing to hand over.
        held = job.slot or slot
        self._defer(job, held, result)
        if held != slot:
            self.gate.release(model.name, {held})
        if result.away.missing is not None:
            self._later(model, ticket, least_s=BRINGING_MS_MIN // 1000)
        elif job.input_key is not None:
            result.away.missing = Missing(key=job.input_key, source=source, ticket=ticket)

    def _defer(self, job: Job, slot: str, result: Round) -> None:
        """Let an attempt wait again that cannot begin: it is not used up, however long that lasts.

        The job's deadline is the bound. If an endpoint that gave no answer had taken it after all,
        it may run twice; one result is committed.
        """
        if job.slot != slot:
            return  # somebody else started it, and may have handed it over
        outcome = self.ledger.apply(job, "defer", now_ms=now_ms())
        if outcome.won:
            result.kept.discard(slot)
        elif outcome.job is not None:  # cancelled meanwhile: nothing is at work on it
            self.endings.over(outcome.job, attempt=job.attempt, now_ms=now_ms())

    def _invoke(self, model: Model, job: Job, silent: set[str]) -> None:
        body, location = None, None
        if job.input is not None:
            body = payloads.unpack(job.input)
        elif job.input_key is not None and job.upload is not None:
            location = self.bringing.location(
                job.input_key, home=job.stored or job.home, silent=silent
            )
        elif job.input_key is not None:
            location = self.payloads.location(
                job.input_key, stored=job.stored or job.home, copied=job.copied
            )
        if body is not None and len(body) > BODY_BYTES_MAX:
            raise ValueError("an inline payload is never larger than the endpoint takes")
        self.endpoints.invoke(
            endpoint=self.policy.names.endpoint(model.name, str(job.version)),
            job_id=job.id,
            attempt=job.attempt,
            body=body,
            location=location,
            content_type=job.content_type or JSON,
            request_ttl_s=model.request_ttl_s,
            invocation_timeout_s=model.invocation_timeout_s,
        )

    def _refused(
        self, model: Model, ticket: Ticket, outcome: Outcome, now_ms: int, result: Round
    ) -> None:
        """The ledger did not let the attempt start: say why, and drop or keep its message."""
        job = outcome.job
        if _early(outcome, ticket) and now_ms - ticket.sent_ms < UNKNOWN_JOB_MS:
            self.queues.put_back(model.name, ticket, after_s=EARLY_RETRY_S)
            return
        if job is None:
            reason = "of an unknown job"
        elif job.owner != self.region:
            reason = "for another region"
        elif job.model != model.name:
            reason = "for another model"
        elif job.attempt != ticket.attempt or job.status is not Status.QUEUED:
            reason = f"stale: attempt {job.attempt} is {job.status}"
        elif job.deadline_ms <= now_ms:
            self.endings.expired(job, now_ms=now_ms)
            reason = "past its deadline"
        else:
            self.queues.put_back(model.name, ticket, after_s=EARLY_RETRY_S)
            return
        logger.info("message dropped", job_id=ticket.job, attempt=ticket.attempt, reason=reason)
        result.done.append(ticket)


def _early(outcome: Outcome, ticket: Ticket) -> bool:
    """Whether the ledger may not know yet of what a message is for."""
    job = outcome.job
    return job is None or (job.attempt < ticket.attempt and not job.status.terminal)


def create(execution: Execution) -> Handler:
    """Wire the dispatcher of an execution environment."""
    ended = endings(execution)
    dispatcher = Dispatcher(
        region=execution.region,
        policy=execution.policy,
        ledger=ended.ledger,
        gate=ended.gate,
        queues=ended.queues,
        endpoints=Endpoints(execution.client("sagemaker-runtime", SEND_ONCE)),
        payloads=payload_store(execution),
        bringing=Bringing(gate=ended.gate, uploads=upload_buckets(execution)),
        functions=ended.functions,
        endings=ended,
        pause=execution.sleep,
    )

    def handle(event: dict[str, Any], context: Any) -> dict[str, int]:
        bell = Bell(str(event.get("model")), event.get("tier"), event.get("jobs"))
        started = dispatcher.run(bell, time_left_ms=context.get_remaining_time_in_millis)
        ended.settle()
        logger.info("dispatched", model=bell.model, started=dict(started))
        return dict(started)

    return handle


handle = Function(create)
