"""beat: every five seconds, what the region sees of itself.

It renews the region's lease in the ledger and watches those of its peers, counts instances into
the gate, writes the snapshot that submit decides on and the verdict that the health check reads,
and rings bells that were lost.
EventBridge knows no rate below a minute, so each minute's tick sends delayed messages for it,
and a few for the next.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.directory import Directory
from lambdas.adapters.endpoints import Fleet, Instances
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate
from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.queues import Queues
from lambdas.adapters.releases import Releases
from lambdas.domain import capacity, regions, shares, spill
from lambdas.domain.capacity import Load
from lambdas.domain.pace import Pace
from lambdas.domain.policy import Model, Policy
from lambdas.domain.release import Release, keeps_minimum, needs_warm
from lambdas.domain.shares import Plan
from lambdas.handlers.leasing import Leasing, Standing
from lambdas.handlers.measures import Measures
from lambdas.handlers.ordering import Ordering
from lambdas.handlers.ports import endings, functions_in
from lambdas.wiring import Execution, Function, Handler

BEAT_S = 5
TIME_LEFT_MS_MIN = 6_000
"""For one model whose services are slow, and for what is written at the end."""
TICK_S = 60
SPARE_BEATS_S = (61, 76, 91, 106)
"""Of the next minute, for when its tick is lost: enough to keep the lease, and no further batch. A
second after that tick's own, so that they see that there is nothing to do."""
BEAT_LATE_MS_MAX = 10_000
BEAT_MS_MIN = 2_000
"""A beat so soon after another sees nothing new."""
SEND_TRIES_MAX = 3
SEND_BATCH_MAX = 10
"""Messages in one SendMessageBatch (SQS API reference)."""
LIVE_PAGES_MAX = 20
"""Pages of 500 unfinished jobs counted by tenant at each beat; beyond it counts are low."""


@dataclass(slots=True)
class _Seen:
    """What one beat saw of the models, and what was in its way.

    Attributes:
        models: By name, as in the snapshot.
        tenants: Unfinished jobs by tenant.
        trouble: What was in its way; empty without.
        releases: Records by model; None if they could not be read.
    """

    models: dict[str, Any] = field(default_factory=dict)
    tenants: Counter[str] = field(default_factory=Counter)
    trouble: str = ""
    releases: Mapping[str, Release] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One region's pulse."""

    region: str
    policy: Policy
    ledger: Ledger
    gate: Gate
    queues: Queues
    fleet: Fleet
    functions: Functions
    directory: Directory
    leasing: Leasing
    ordering: Ordering
    measures: Measures
    releases: Releases

    def once(self, *, time_left_ms: Callable[[], int]) -> dict[str, Any]:
        """Look at everything once; returns the snapshot that stands then.

        When the time is short, what is left is shown as the last beat saw it: a snapshot that is
        not written is a region that is not ready.
        """
        at_ms = now_ms()
        before = self.gate.snapshot()
        if 0 <= at_ms - before.get("at_ms", 0) < BEAT_MS_MIN:
            return before
        standing = self.leasing.once(before, now_ms=at_ms)
        seen = self._see_all(before, standing, at_ms, time_left_ms)
        verdict = standing.verdict or seen.trouble
        grants = self._grants(seen.models, verdict)
        told: dict[str, Any] = {"at_ms": at_ms, "models": seen.models, "grants": grants}
        if standing.lease.get("state") == regions.SERVING:
            relieved = self.ordering.once(told, standing.peers, before, beat_s=BEAT_S, now_ms=at_ms)
            grants |= dict.fromkeys(relieved, 0)
        snapshot = {
            **told,
            "tenants": dict(seen.tenants),
            "ready": not verdict,
            "reason": verdict,
            "lease": standing.lease,
            "peers": standing.peers,
        }
        self.gate.write_snapshot(snapshot)
        self.measures.tell_ready(self.region, ready=not verdict, now_ms=at_ms)
        try:
            self.directory.write_snapshot(self.region, told)
        except AWS_ERRORS as error:
            logger.warning("peers not told", reason=reason(error))
        return snapshot

    def _see_all(
        self,
        before: Mapping[str, Any],
        standing: Standing,
        now_ms: int,
        time_left_ms: Callable[[], int],
    ) -> _Seen:
        """Look at every model, as far as the time reaches."""
        until_ms = regions.may_start_ms(standing.lease, regions=len(self.policy.regions))
        seen = _Seen(releases=self._released())
        for configured in self._in_turn(now_ms):
            last = before.get("models", {}).get(configured.name)
            pace = Pace.read((last or {}).get("pace"), configured)
            model = pace.of(configured)
            try:
                if time_left_ms() < TIME_LEFT_MS_MIN:
                    logger.warning("beat ran out of time", model=model.name)
                    seen.models |= _unseen(model, last)
                    self.gate.lease(model.name, until_ms)
                    continue
                seconds = (now_ms - before.get("at_ms", now_ms)) / 1000
                found = self._look_at(model, seen, last, now_ms, until_ms)
                found["pace"] = _paced(pace, model, found, last, seconds).document()
                spilled = (last or {}).get("spilling", ())
                found["spilling"] = spill.spilling(
                    model, self.policy.tiers, Load.read(found), spilled
                )
                seen.models[model.name] = found
                if found["known"]:
                    self.measures.tell(model, found, last, seconds=seconds, now_ms=now_ms)
            except AWS_ERRORS as error:
                # One model that cannot be seen must not hide the others.
                seen.trouble = seen.trouble or f"cannot see {model.name}: {reason(error)}"
                seen.models |= _unseen(model, last)
                logger.warning("model not seen", model=model.name, reason=reason(error))
        return seen

    def _in_turn(self, now_ms: int) -> list[Model]:
        """Another model is first at every beat, so that none is always the one left over."""
        models = list(self.policy.models.values())
        first = now_ms // (1000 * BEAT_S) % max(1, len(models))
        return models[first:] + models[:first]

    def _grants(self, models: dict[str, Any], verdict: str) -> dict[str, int]:
        """What the peers may send here until the next beat; nothing while something is wrong."""
        peers = len(self.policy.regions) - 1
        return {
            name: spill.grant(
                self.policy.models[name], Load.read(seen), peers=peers, seconds=BEAT_S
            )
            for name, seen in models.items()
            if seen["known"] and not verdict
        }

    def _released(self) -> Mapping[str, Release] | None:
        """The records of all models; None if nobody says, then what was planned last goes on."""
        try:
            return self.releases.read_many(self.policy.models)
        except AWS_ERRORS as error:
            logger.warning("releases not read", reason=reason(error))
            return None

    def _look_at(
        self,
        model: Model,
        so_far: _Seen,
        last: dict[str, Any] | None,
        now_ms: int,
        until_ms: int | None,
    ) -> dict[str, Any]:
        state = self.gate.state(model.name)
        fleet, seen_ms = self._fleet_of(model), now_ms
        found = {name: each.serving for name, each in (fleet or {}).items() if each.serving > 0}
        serving: Mapping[str, int] = found
        if fleet is None:
            # Endpoints serve also while nobody can describe them: what is known of them grows old.
            serving, seen_ms = state.serving, state.capacity_ms
        plan, versions = self._planned(model, so_far.releases)
        if so_far.releases is None and state.plan is not None:
            plan = state.plan  # What was planned last goes on, and so do minimums.
            versions |= (last or {}).get("versions", {}) | plan.document()
        slots = shares.slots_in_service(model, plan, serving)
        breaker = state.breaker.at_beat(now_ms=now_ms)
        self.gate.observe(
            model.name,
            capacity=slots,
            serving=serving,
            now_ms=seen_ms,
            breaker=breaker,
            may_start_ms=until_ms,
            plan=plan,
        )
        waiting = {
            tier.name: self.queues.waiting(model.name, tier.name) for tier in self.policy.tiers
        }
        unfinished, oldest_ms = self._unfinished(
            model, so_far.tenants, waiting, in_use=len(state.used)
        )
        may_start = until_ms is None or now_ms < until_ms
        if may_start and any(waiting.values()) and slots > len(state.used):
            self.functions.ring(model=model.name, tier=None, jobs=None)
        return {
            "known": seen_ms == now_ms,
            "capacity": slots,
            "in_use": len(state.used),
            "instances": shares.instances_in_service(plan, serving),
            "serving": dict(serving),
            "versions": versions,
            "service_s": model.service_s,
            "open_ms": breaker.open_ms,
            "waiting": waiting,
            "unfinished": dict(unfinished),
            "ended": dict(state.ended),
            "fleet": {name: [each.serving, each.ordered] for name, each in (fleet or {}).items()},
            "started": dict(state.started),
            "oldest_s": {tier: (now_ms - at) / 1000 for tier, at in oldest_ms.items()},
        }

    def _unfinished(
        self, model: Model, tenants: Counter[str], waiting: Mapping[str, int], *, in_use: int
    ) -> tuple[Counter[str], dict[str, int]]:
        """Unfinished jobs by tier, and when the oldest that waits was accepted, where one does.

        They are added to those of their tenants.
        """
        created_ms: defaultdict[str, list[int]] = defaultdict(list)
        unfinished: Counter[str] = Counter()
        for page in self.ledger.live(self.region, model.name, pages_max=LIVE_PAGES_MAX):
            for job in page:
                # One that was cancelled at work counts as well: it holds its slot for now.
                tenants[job.tenant] += 1
                unfinished[job.tier] += 1
                if len(created_ms[job.tier]) <= in_use:
                    created_ms[job.tier].append(job.created_ms)
        oldest_ms: dict[str, int] = {}
        for tier, created in created_ms.items():
            at_ms = capacity.oldest_waiting(
                created,
                unfinished=unfinished[tier],
                waiting=waiting.get(tier, 0),
                in_use=in_use,
            )
            if at_ms is not None:
                oldest_ms[tier] = at_ms
        return unfinished, oldest_ms

    def _fleet_of(self, model: Model) -> Mapping[str, Instances] | None:
        """Instances of every version; None if SageMaker does not say."""
        names = self.policy.names
        try:
            return {
                version: self.fleet.instances(names.endpoint(model.name, version))
                for version in (model.versions if model.state != "off" else ())
            }
        except AWS_ERRORS as error:
            logger.warning("instances not seen", model=model.name, reason=reason(error))
            return None

    def _planned(
        self, model: Model, releases: Mapping[str, Release] | None
    ) -> tuple[Plan, dict[str, Any]]:
        """How versions share a model's jobs, and what the snapshot says of them.

        That is which is `on_trial`, which keep the model's minimum (`lasting`), which need an
        instance whether or not jobs wait (`warm`), and the `shares` by tier.
        """
        release = releases.get(model.name) if releases is not None else None
        plan = shares.plan(release, model, self.region, self.policy.tiers)
        lasting = [v for v in model.versions if keeps_minimum(release, model, v)]
        warm = [v for v in model.versions if needs_warm(release, model, self.region, v)]
        return plan, {"lasting": lasting, "warm": warm, **plan.document()}


def _paced(
    pace: Pace,
    model: Model,
    seen: Mapping[str, Any],
    last: Mapping[str, Any] | None,
    seconds: float,
) -> Pace:
    """The pace after this beat; as it was, where not both looks saw the model, or long apart."""
    if not last or not isinstance(last.get("ended"), Mapping) or not 0 < seconds < TICK_S:
        return pace
    if not (last["known"] and seen["known"]):
        return pace
    ended = sum(seen["ended"].values()) - sum(last["ended"].values())
    at_work = min(seen["in_use"], seen["instances"] * model.concurrency)
    return pace.after(seconds, at_work=at_work, ended=max(0, ended), model=model)


def _unseen(model: Model, last: dict[str, Any] | None) -> dict[str, Any]:
    """What the last beat saw of a model, if there was one, known for old."""
    return {} if last is None else {model.name: last | {"known": False}}


def create(execution: Execution) -> Handler:
    """Wire the pulse of an execution environment."""
    names, region, sqs = execution.names, execution.region, execution.client("sqs")
    shared = endings(execution)
    directory = Directory(execution.client("dynamodb"), names.directory)
    beat = Beat(
        region=region,
        policy=execution.policy,
        ledger=shared.ledger,
        gate=shared.gate,
        queues=shared.queues,
        fleet=Fleet(execution.client("sagemaker")),
        functions=shared.functions,
        directory=directory,
        leasing=Leasing(
            region=region,
            policy=execution.policy,
            leases=Leases(execution.client("dynamodb"), names.ledger),
            directory=directory,
            functions_in=functions_in(execution, probing=True),
        ),
        ordering=Ordering(
            region=region,
            policy=execution.policy,
            ledger=shared.ledger,
            functions=shared.functions,
        ),
        measures=Measures(policy=execution.policy, metrics=Metrics(names.metrics)),
        releases=Releases(execution.client("dynamodb"), names.ledger),
    )

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        if "Records" not in event:
            _schedule(sqs, names.queue_url(region, names.beats))
            return {}
        if all(_overdue(record) for record in event["Records"]):
            logger.info("beat dropped: it is long past")
            return {}
        snapshot = beat.once(time_left_ms=context.get_remaining_time_in_millis)
        logger.info("beat", ready=snapshot["ready"], reason=snapshot["reason"])
        return {}

    return handle


def _overdue(record: Mapping[str, Any]) -> bool:
    """Whether a beat was due long ago.

    A region that was away has a minute of them waiting: all at once they would take its lease
    from each other.
    """
    sent_ms = int(record.get("attributes", {}).get("SentTimestamp", now_ms()))
    delay_s = int(json.loads(record["body"]).get("beat", 0))
    return now_ms() - sent_ms - 1000 * delay_s > BEAT_LATE_MS_MAX


def _schedule(sqs: Any, url: str) -> None:
    delays_s = (*range(0, TICK_S, BEAT_S), *SPARE_BEATS_S)
    entries: list[Any] = [
        {"Id": str(delay_s), "MessageBody": json.dumps({"beat": delay_s}), "DelaySeconds": delay_s}
        for delay_s in delays_s
    ]
    for _ in range(SEND_TRIES_MAX):
        left: set[str] = set()
        for start in range(0, len(entries), SEND_BATCH_MAX):
            batch = entries[start : start + SEND_BATCH_MAX]
            try:
                reply = sqs.send_message_batch(QueueUrl=url, Entries=batch)
                left.update(entry["Id"] for entry in reply.get("Failed", ()))
            except AWS_ERRORS as error:
                logger.warning("beats not sent yet", reason=reason(error))
                left.update(entry["Id"] for entry in batch)
        entries = [entry for entry in entries if entry["Id"] in left]
        if not entries:
            return
    logger.warning("beats not sent", beats=len(entries))


handle = Function(create)
