"""Guards of the functions, broken on purpose: the simulation must see each of them missing.

Each function here is called in the process of one run, before it, and changes code that is loaded;
the process ends with the run. `CAUGHT` says which seed notices each one, and within how many seeds
one does; `UNSEEN` says why nobody outside can tell. `python -m tests.simulation.search` finds out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from lambdas.adapters import ledger as ledgers
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger, Outcome
from lambdas.adapters.queues import Queues, Ticket
from lambdas.domain import dispatch as dispatching
from lambdas.domain import regions
from lambdas.domain.dispatch import Pull
from lambdas.domain.job import TRANSITIONS, Job, Status
from lambdas.domain.policy import Model
from lambdas.domain.retries import retry_delay_s
from lambdas.handlers import accepting, sweep
from lambdas.handlers.accepting import Accepting
from lambdas.handlers.complete import Completer
from lambdas.handlers.dispatch import Dispatcher, Round
from lambdas.handlers.endings import Endings
from lambdas.handlers.leasing import Leasing
from lambdas.handlers.moving import Moving
from lambdas.handlers.resending import Resending

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caught:
    """When a sabotage is noticed.

    Attributes:
        first: The first seed that noticed it when this was last measured.
        within: So many seeds, from 0, are tried before it counts as not seen.
        always: Whether the test command plays it, or only the search, which takes half an hour.
    """

    first: int
    within: int
    always: bool = False


def broken(sabotage: Callable[[], None]) -> str:
    """A sabotage as `Order` names it."""
    return f"{sabotage.__module__}:{sabotage.__name__}"


def sentence(sabotage: Callable[[], None]) -> str:
    """What a sabotage does, without its full stop."""
    return (sabotage.__doc__ or "").strip().rstrip(".")


def put(owner: Any, name: str, value: Any) -> None:
    """Replace a function or method, whatever its type."""
    setattr(owner, name, value)


def the(kind: type[T], among: Sequence[Any]) -> T:
    """The argument of a kind: functions get more of them over time."""
    (found,) = (each for each in among if isinstance(each, kind))
    return found


def change_row(name: str, **changes: Any) -> None:
    """Change a row of the table of transitions."""
    TRANSITIONS[name] = replace(TRANSITIONS[name], **changes)


def without_net() -> None:
    """Nothing mends a lost message: sweep's re-sending would hide, after minutes, who lost it."""
    put(Resending, "run", lambda _self: 0)


def without_condition(part: str) -> None:
    """Leave a part out of every transition's condition."""
    guard = ledgers._guard

    def shorter(*args: Any) -> str:
        _, _, names, bound, _ = args
        named = set(names)
        found = guard(*args)
        if part in found:
            name, value = part.removeprefix(" AND ").split(" = ")
            bound.pop(value)
            if name not in named:  # Else the transition writes it.
                names.pop(name)
        return found.replace(part, "")

    put(ledgers, "_guard", shorter)


# ---- the ledger's conditions


def attempt_not_compared() -> None:
    """A transition of an earlier attempt is taken for one of the current."""
    without_condition(" AND #attempt = :guard_attempt")


def completed_from_any_state() -> None:
    """A result is committed whatever has become of the job."""
    change_row("complete", sources=frozenset(Status), fenced=False)


def completed_although_cancelled() -> None:
    """A late result wins over the client's wish."""
    change_row("complete", sources=frozenset({Status.IN_PROGRESS, Status.CANCELLED}))


def started_again_by_any_message() -> None:
    """A second message of the same attempt takes the job over, with a slot of its own."""
    change_row(
        "start",
        sources=frozenset({Status.QUEUED, Status.IN_PROGRESS}),
        keeps=frozenset(),
        sets=frozenset({"started_ms", "version", "slot", "message", "lease_ms"}),
    )


def tokens_not_compared() -> None:
    """A write that timed out after its effect counts as somebody else's."""

    def decoded(item: Any) -> Job:
        return replace(read(item), token=None)

    read = ledgers._job
    put(ledgers, "_job", decoded)


# ---- submit


def ledger_before_message() -> None:
    """A death between the two leaves an accepted job that nobody looks for."""
    accept = Accepting._queued

    def queued(self: Accepting, job: Job, submission: Any, *args: Any, **kwargs: Any) -> Job:
        self.ledger.create(job)
        return accept(self, job, submission, *args, **kwargs)

    create = Ledger.create
    made: set[str] = set()

    def created(self: Ledger, job: Job) -> Job | None:
        if job.id in made:
            made.discard(job.id)
            return None
        earlier = create(self, job)
        if earlier is None:
            made.add(job.id)
        return earlier

    put(Accepting, "_queued", queued)
    put(Ledger, "create", created)
    without_net()


def key_not_in_the_id() -> None:
    """A repeated request becomes a job of its own."""
    name = vars(accepting)["job_id"]
    put(accepting, "job_id", lambda tenant, _key, entropy: name(tenant, None, entropy))


def overwritten_by_a_replay() -> None:
    """The second of two requests at once replaces the first one's job."""

    def create(self: Ledger, job: Job) -> None:
        client = self.client

        class Unconditional:
            exceptions = client.exceptions

            def put_item(self, **request: Any) -> Any:
                for name in ("ConditionExpression", "ReturnValuesOnConditionCheckFailure"):
                    request.pop(name)
                return client.put_item(**request)

        bare: Any = Unconditional()
        original(Ledger(bare, self.table), job)

    original = Ledger.create
    put(Ledger, "create", create)


# ---- dispatch


def deleted_before_invoked() -> None:
    """A death between the two leaves a job that only its lease brings back."""
    hand_over = Dispatcher._hand_over

    def early(self: Dispatcher, model: Model, *args: Any) -> None:
        ticket = the(Ticket, args)
        self.queues.delete(model.name, ticket.tier, [ticket])
        hand_over(self, model, *args)

    put(Dispatcher, "_hand_over", early)


def deleted_before_started() -> None:
    """A death between the two loses the job's message for good."""
    start = Dispatcher._start

    def early(self: Dispatcher, model: Model, *args: Any, **more: Any) -> None:
        ticket = the(Ticket, args)
        self.queues.delete(model.name, ticket.tier, [ticket])
        start(self, model, *args, **more)

    put(Dispatcher, "_start", early)
    without_net()


def invoked_before_started() -> None:
    """The model works on a job that the ledger may not let start."""
    start = Dispatcher._start

    def early(self: Dispatcher, model: Model, *args: Any, **more: Any) -> None:
        ticket = the(Ticket, args)
        job = self.ledger.get(ticket.job) if ticket.job else None
        if job is not None and job.status is Status.QUEUED:
            self._invoke(model, replace(job, version=next(iter(model.versions))), set())
        start(self, model, *args, **more)

    put(Dispatcher, "_start", early)


def early_messages_dropped() -> None:
    """A message that comes before its ledger item is taken for a stranger's."""

    def refused(_self: Dispatcher, *args: Any) -> None:
        the(Round, args).done.append(the(Ticket, args))

    put(Dispatcher, "_refused", refused)
    without_net()


def slot_not_kept() -> None:
    """The slot of a job that has started is given to another one."""
    run = Dispatcher._start

    def start(self: Dispatcher, model: Model, *args: Any, **more: Any) -> None:
        result = the(Round, args)
        before = set(result.kept)
        run(self, model, *args, **more)
        self.gate.release(model.name, result.kept - before)

    put(Dispatcher, "_start", start)


def slots_of_a_broken_round_kept() -> None:
    """What a round reserved and did not use is never given back."""
    put(Dispatcher, "_give_back", lambda *_args, **_kwargs: False)
    put(sweep, "DISPATCH_MS_MAX", 10**12)


def most_urgent_only() -> None:
    """No tier is owed anything: a less urgent one waits while there is a more urgent one."""
    put(dispatching, "plan", lambda free, tiers, _owed: [Pull(tier.name, free) for tier in tiers])


def lease_ignored() -> None:
    """A region that is cut off goes on as if it were not."""
    put(Dispatcher, "_may_start", lambda *_: True)
    put(regions, "fenced", lambda *_args, **_kwargs: False)


def drain_ignored_by_dispatch() -> None:
    """A region that is drained goes on starting jobs."""
    put(regions, "may_start_ms", lambda lease, *, regions: int(lease.get("until_ms", 0)))


def epoch_ignored() -> None:
    """A region that was declared lost goes on with its old epoch."""

    def went_on(self: Leasing, lease: Any, *args: Any) -> Any:
        if lease is not None and lease.state == regions.LOST:
            return replace(lease, state=regions.SERVING)
        return renewed(self, lease, *args)

    renewed = Leasing._renewed
    put(Leasing, "_renewed", went_on)


def slot_released_twice() -> None:
    """Slots are counted and not named: who gives one back twice gives another job's away."""

    def counted(self: Gate, model: str, tokens: Any, **outcomes: Any) -> Any:
        used = self.state(model).used
        others = sorted(used.difference(tokens))
        again = [token for token in tokens if token not in used]
        return release(self, model, {*tokens, *others[: len(again)]}, **outcomes)

    release = Gate.release
    put(Gate, "release", counted)


# ---- complete, sweep and moves


def slot_released_whatever_runs() -> None:
    """A late notification gives away the slot of the attempt that runs now."""
    ended = Endings._ended

    def early(self: Endings, claim: Any, outcome: Outcome, **kwargs: Any) -> None:
        job = outcome.job
        if job is not None and job.slot:
            self._free(job, job.slot)
        ended(self, claim, outcome, **kwargs)

    put(Endings, "_ended", early)


def slot_never_released() -> None:
    """Slots are left to sweep, which does not look either."""
    put(Endings, "_free", lambda *_args, **_kwargs: None)
    put(sweep, "DISPATCH_MS_MAX", 10**12)


def retried_without_a_message() -> None:
    """The ledger says queued, and nothing is in any queue when the sender dies in between."""
    failed = Endings.failed

    def late(
        self: Endings, job: Job, *, code: str, message: str, now_ms: int, **more: Any
    ) -> Outcome:
        model = self.policy.models.get(job.model)
        delay_s = retry_delay_s(job, model, now_ms=now_ms)
        if job.status is not Status.IN_PROGRESS or delay_s is None:
            return failed(self, job, code=code, message=message, now_ms=now_ms, **more)
        error = {"code": code, "message": message}
        outcome = self.ledger.apply(
            job, "retry", now_ms=now_ms, attempt=job.attempt + 1, error=error
        )
        if outcome.won:
            if job.slot:
                self._free(job, job.slot, bad=1)
            for _ in range(4):  # moments to die at: the one between two calls is seldom struck
                self.ledger.get(job.id)
            self.queues.send(
                model=job.model,
                tier=job.tier,
                job_id=job.id,
                attempt=job.attempt + 1,
                tenant=job.tenant,
                delay_s=delay_s,
            )
        return outcome

    put(Endings, "failed", late)
    without_net()


def moved_without_a_message() -> None:
    """The ledger says that the job is here, and its message is in a region that is gone."""
    put(Queues, "send_many", lambda _self, _model, _tier, jobs: {job for job, _, _ in jobs})
    without_net()


def moves_not_fenced() -> None:
    """A region goes on with jobs that were moved away from it."""
    apply = Ledger.apply

    def same(self: Ledger, job: Any, name: str, **values: Any) -> Outcome:
        if name in {"move", "evacuate"}:
            values["attempt"] = job.attempt
        return apply(self, job, name, **values)

    def send_many(self: Queues, model: str, tier: str, jobs: Any) -> Any:
        return sent(self, model, tier, [(job, attempt - 1, who) for job, attempt, who in jobs])

    sent = Queues.send_many
    put(Ledger, "apply", same)
    put(Queues, "send_many", send_many)
    without_condition(" AND #owner = :guard_owner")


def nothing_evacuated() -> None:
    """The jobs of a lost region stay there."""
    put(Moving, "run", lambda *_args, **_kwargs: 0)


def leases_not_swept() -> None:
    """An attempt that nobody tells of is never ended."""
    put(sweep.Sweep, "_lease_over", lambda *_args: None)


def cancelled_jobs_never_vacated() -> None:
    """The slot of a job that was cancelled at work is not given back."""
    ended = Endings._ended

    def early(self: Endings, claim: Any, outcome: Outcome, **kwargs: Any) -> None:
        if outcome.job is None or outcome.job.status is not Status.CANCELLED:
            ended(self, claim, outcome, **kwargs)

    put(Endings, "_ended", early)


def results_of_erased_jobs_kept() -> None:
    """Erasing hides a job, and leaves its result where it is."""

    def erase(self: Ledger, job_id: str) -> bool:
        return True

    put(Ledger, "erase", erase)


def notifications_believed_for_any_attempt() -> None:
    """A late result is committed as the current attempt's."""
    succeeded = Completer._succeeded

    def current(self: Completer, notification: Any) -> None:
        job = self.endings.ledger.get(notification.job)
        if job is not None:
            notification = replace(notification, attempt=job.attempt)
        succeeded(self, notification)

    put(Completer, "_succeeded", current)


def nothing_sent_again() -> None:
    """The net below lost messages is not there."""
    without_net()


def word_that_work_waits_never_left() -> None:
    """A dispatcher that finds the gate full goes away without a word."""
    put(Gate, "want", lambda *_args, **_kwargs: True)


CAUGHT: Final[dict[Callable[[], None], Caught]] = {
    attempt_not_compared: Caught(12, 100),
    completed_from_any_state: Caught(2, 20, always=True),
    completed_although_cancelled: Caught(2, 20),
    started_again_by_any_message: Caught(29, 100),
    ledger_before_message: Caught(4, 80, always=True),
    key_not_in_the_id: Caught(0, 20, always=True),
    deleted_before_invoked: Caught(14, 80),
    deleted_before_started: Caught(14, 80),
    invoked_before_started: Caught(0, 20),
    early_messages_dropped: Caught(86, 150),
    slot_not_kept: Caught(0, 20, always=True),
    slots_of_a_broken_round_kept: Caught(0, 20),
    most_urgent_only: Caught(8, 80, always=True),
    lease_ignored: Caught(35, 120, always=True),
    epoch_ignored: Caught(5, 80),
    slot_released_twice: Caught(3, 20),
    slot_released_whatever_runs: Caught(12, 80),
    slot_never_released: Caught(0, 20),
    retried_without_a_message: Caught(36, 150),
    moved_without_a_message: Caught(11, 80),
    moves_not_fenced: Caught(4, 40, always=True),
    leases_not_swept: Caught(28, 100),
    cancelled_jobs_never_vacated: Caught(2, 20),
    results_of_erased_jobs_kept: Caught(1, 20, always=True),
    notifications_believed_for_any_attempt: Caught(12, 100),
}

UNSEEN: Final[dict[Callable[[], None], str]] = {
    tokens_not_compared: "a redelivery or the lease repairs it, and sweep finds the slot",
    overwritten_by_a_replay: "no client sends one request twice at the same moment",
    drain_ignored_by_dispatch: "others have moved the jobs away before the region must know",
    nothing_evacuated: "the region is back before a job has waited too long",
    nothing_sent_again: "no message is lost: what loses one is noticed without this net",
    word_that_work_waits_never_left: "the next beat rings: it costs some seconds",
}
