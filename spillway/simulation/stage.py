"""A deployment on which runs are played: booted and warmed up once, then used for one run each.

Restoring what a run did to moto, to the queues, to execution environments and caches is left to
the operating system: every run is played in a fork of the process that booted (see `process`).
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from moto.s3.models import s3_backends
from moto.sqs.models import Message

from config.schema import load
from spillway import local
from spillway.directory import add_tenant
from spillway.simulation.audit import TERMINAL, Audit, gates
from spillway.simulation.clients import Clients, Echo, Script, Seen
from spillway.simulation.faults import KINDS, Target
from spillway.simulation.scenario import (
    BEATS_S,
    FAULTS_END_S,
    TENANTS,
    Job,
    Scenario,
    Step,
    Trouble,
    draw,
)
from spillway.twin.calls import Fault
from spillway.twin.clock import Scheduler
from spillway.twin.sqs import TwinQueue

CONFIG: Final = Path(__file__).with_name("deployment.yaml")
WARM_S: Final = 75.0
WARM_JOBS: Final = 6
LOOK_EVERY_S: Final = 1.0
MINUTE_S: Final = 60
TAIL_BEATS_S: Final = 15
"""Seconds between the beats that are not lost when all faults are over. A lease lasts 20 s. Most of
a quiet minute's calls are beats."""


@dataclass(slots=True, eq=False)
class Ending:
    """How a fault that has begun ends, once."""

    kind: str
    end: Callable[[], object]
    rule: Fault | None
    over: bool = False


@dataclass(slots=True, eq=False)
class Played:
    """A run as it was seen.

    Attributes:
        scenario: What was planned.
        began_s, faults_end_s, ended_s: Seconds since the epoch.
        rest: Whether nothing was left to do at the end.
        clients: What they saw; the last answers are those of a reader after the end.
        audit: What the ledger showed.
        gates: Slots in use at the end.
        left: Messages and running requests at the end, in words.
        strikes: How often each kind of fault struck.
        script: What the model computed.
        final: What was answered after the end, by job and region.
        ends: How the faults end that have begun.
    """

    scenario: Scenario
    began_s: float
    clients: Clients
    audit: Audit
    script: Script
    faults_end_s: float = 0.0
    ended_s: float = 0.0
    rest: bool = False
    gates: dict[str, set[str]] = field(default_factory=dict)
    left: str = ""
    strikes: Counter[str] = field(default_factory=Counter)
    final: dict[tuple[str, str], Seen] = field(default_factory=dict)
    ends: list[Ending] = field(default_factory=list)


class Stage:
    """One deployment in this process.

    Args:
        rest_s_max: Seconds without faults after which everything must have come to rest.
    """

    def __init__(self, *, rest_s_max: float | None = None) -> None:
        self.deployment = load(CONFIG)
        (self.model,) = self.deployment.models.values()
        self.script = Script()
        endpoints = [
            self.deployment.names.endpoint(name, version)
            for name, model in self.deployment.models.items()
            for version in model.versions
        ]

        def container(scheduler: Scheduler, _environment: Any) -> Echo:
            return Echo(scheduler, self.script)

        self.twin = local.start(CONFIG, virtual=True, replaced=dict.fromkeys(endpoints, container))
        self.target = Target(self.twin, self.deployment)
        self.rest_s_max = rest_s_max or self.longest_way_back_s()
        directory = local.directory(self.twin, self.deployment)
        self.keys = {tenant: add_tenant(directory, tenant) for tenant in TENANTS}
        self._beat_s = min(BEATS_S)
        self._warm_up()

    def longest_way_back_s(self) -> float:
        """Redelivery, then lease, sweep and retry for each attempt, then a slot nobody holds."""
        redelivered_s, swept_s, slot_s = 120, 60, 240
        policy = self.deployment.policy().models[self.model_name]
        attempt_s = redelivered_s + policy.lease_s + swept_s
        return policy.attempts_max * attempt_s + slot_s

    @property
    def model_name(self) -> str:
        """The one model's."""
        (name,) = self.deployment.models
        return name

    def _warm_up(self) -> None:
        """Run everything once: what is cached then is cached for every run."""
        self.twin.scheduler.run_for(WARM_S)
        regions = self.deployment.regions
        steps = [("read", "cancel"), ("wait", "read"), ("erase",), ("list", "repeat")]
        jobs = [
            Job(
                number=number,
                at_s=0.0,
                tenant=TENANTS[number % 2],
                regions=(regions[number % len(regions)], *regions),
                tier="standard",
                key=True,
                letters=8000 if number % 2 else 10,
                deadline_s=None,
                behaviour=("error", "answer") if number == 0 else ("answer",),
                service_s=0.5,
                answer_letters=9000 if number % 3 else 10,
                steps=tuple(
                    Step(after_s=1.0, what=what, region=regions[0])
                    for what in steps[number % len(steps)]
                ),
            )
            for number in range(WARM_JOBS)
        ]
        played = self._played(Scenario(seed=0, calm=True, jobs=tuple(jobs), troubles=()))
        for job in jobs:
            played.clients.begin(job)
        rest = lambda: self._at_rest(played)  # noqa: E731
        if not self.twin.scheduler.run_until_true(rest, self.rest_s_max, every_s=LOOK_EVERY_S):
            raise RuntimeError(f"the deployment does not come to rest: {self._left()}")
        self._forget(played)

    def _forget(self, played: Played) -> None:
        """Take the warm-up's jobs out of the ledger, as after their retention."""
        played.audit.finish()
        table = played.audit._table()  # noqa: SLF001
        for item in [each for each in table.items.values() if "job#" in each.hash_key.value]:
            table.delete_item(item.hash_key, None)
        self.script.runs.clear()
        self.twin.hook.log.clear()

    def scenario(self, seed: int) -> Scenario:
        """Draw a seed's scenario."""
        kinds = [(name, kind.weight, kind.draw) for name, kind in KINDS.items()]
        return draw(seed, self.deployment.regions, kinds)

    def play(self, scenario: Scenario) -> Played:
        """Play a run. Only once in a process: what it does is not undone."""
        scheduler = self.twin.scheduler
        self.twin.reseed(scenario.seed)
        self.target.begin(scenario.seed)
        self.twin.sqs.inspect = self._inspect
        self._beat_s = scenario.beat_s
        played = self._played(scenario)
        for trouble in scenario.troubles:
            scheduler.at(played.began_s + trouble.at_s, self._spawn, self._strike, played, trouble)
        for job in scenario.jobs:
            scheduler.at(played.began_s + job.at_s, played.clients.begin, job)
        last_s = max((job.at_s for job in scenario.jobs), default=0.0)
        ends_s = max((each.until_s for each in scenario.troubles), default=0.0)
        begun_s = max((each.at_s for each in scenario.troubles), default=0.0)
        scheduler.run_until(played.began_s + max(last_s, begun_s) + 0.1)
        idle = lambda: not scenario.patient and self._at_rest(played)  # noqa: E731
        scheduler.run_until_true(
            idle, played.began_s + ends_s + 0.1 - scheduler.now(), every_s=LOOK_EVERY_S
        )
        for end in played.ends:
            self._end(played, end)
        played.faults_end_s = scheduler.now()
        self._beat_s = scenario.beat_s if scenario.calm else TAIL_BEATS_S
        rest = lambda: self._at_rest(played)  # noqa: E731
        played.rest = scheduler.run_until_true(
            rest, self.rest_s_max, every_s=LOOK_EVERY_S
        ) and scheduler.run_until_true(rest, LOOK_EVERY_S, every_s=LOOK_EVERY_S)
        played.ended_s = scheduler.now()
        played.left = "" if played.rest else self._left()
        played.gates = gates(self.twin, self.deployment)
        self._read_all(played)
        played.audit.finish()
        return played

    def _played(self, scenario: Scenario) -> Played:
        self.script.jobs = {job.number: job for job in scenario.jobs}
        played = Played(
            scenario=scenario,
            began_s=self.twin.scheduler.now(),
            clients=Clients(self.twin, self.keys),
            audit=Audit(self.target),
            script=self.script,
        )
        played.audit.begin()
        return played

    def _spawn(self, function: Callable[..., object], *args: Any) -> None:
        self.twin.scheduler.spawn(function, *args)

    def _strike(self, played: Played, trouble: Trouble) -> None:
        """Let a fault begin, and end when its time is over."""
        end, rule = KINDS[trouble.kind].begin(self.target, trouble.details)
        if rule is None:
            played.strikes[trouble.kind] += 1
        ending = Ending(trouble.kind, end, rule)
        played.ends.append(ending)
        self.twin.scheduler.at(played.began_s + trouble.until_s, self._end, played, ending)

    def _end(self, played: Played, ending: "Ending") -> None:
        """End a fault at its time, or before it when there is nothing left to disturb."""
        if ending.over:
            return
        ending.over = True
        ending.end()
        if ending.rule is not None:
            played.strikes[ending.kind] += ending.rule.hits

    def _inspect(self, queue: TwinQueue, message: Message) -> bool:
        """Change messages as the faults of now do; lose some beats."""
        name = str(queue.name)
        if name == self.deployment.names.beats:
            second = int(json.loads(message.body).get("beat", 0))
            return second % self._beat_s == 0 or second > MINUTE_S  # which is a spare one
        for change in self.target.changes:
            change(queue, message)
        return True

    def _at_rest(self, played: Played) -> bool:
        """Whether nobody has anything left to do."""
        return not self._busy(played) and not self._left()

    def _busy(self, played: Played) -> bool:
        if played.clients.at_work:
            return True
        names = self.deployment.names
        return any(
            self.twin.functions.running(region, names.function(function))
            for region in self.deployment.regions
            for function in ("submit", "dispatch", "complete")
        )

    def _left(self) -> str:
        """What is not at rest, in words; empty if nothing."""
        left = []
        table = self._ledger()
        for item in list(table.items.values()):
            if not str(item.hash_key.value).startswith("job#"):
                continue
            status = item.attrs["status"].value
            if status not in TERMINAL or "live" in item.attrs:
                left.append(f"{item.hash_key.value} is {status}")
        used = {place: len(slots) for place, slots in gates(self.twin, self.deployment).items()}
        left += [f"{count} slots in {place}" for place, count in used.items() if count]
        work = local.work_left(self.twin, self.deployment)
        if not work.none:
            left.append(
                f"{dict(work.queued)} queued, {work.running} running, {work.notices} notices"
            )
        return "; ".join(left)

    # ---- what invariants ask

    def stored(self, region: str, key: str) -> bytes | None:
        """An object of a region's bucket."""
        bucket = self.deployment.names.bucket(region)
        found = s3_backends[self.twin.account]["aws"].get_object(bucket, key)
        return None if found is None else bytes(found.value)

    def handed_over(self) -> set[str]:
        """Attempts that an endpoint took in, of any region: `job.attempt`."""
        names = self.deployment.names
        return {
            identity
            for region in self.deployment.regions
            for version in self.model.versions
            for identity in self.twin.sagemaker.endpoint(
                region, names.endpoint(self.model_name, version)
            ).seen
        }

    def slots(self) -> int:
        """Jobs that a region works on at once."""
        return self.model.concurrency * self.model.instances_min

    def share(self, tier: str) -> float:
        """The guaranteed share of a tier."""
        return self.deployment.policy().tier(tier).share_min

    def wait_s_max(self) -> float:
        """What may keep a queued job from a free slot: a dead receiver, a slot nobody holds."""
        redelivered_s, slot_s, delayed_s, beat_s = 120, 240, 30, 20
        return redelivered_s + slot_s + delayed_s + beat_s

    def numbers(self, played: Played) -> dict[str, int]:
        """Which request each job was computed for, by what the model was asked."""
        return {identity.rpartition(".")[0]: number for _, identity, number in played.script.runs}

    def _ledger(self) -> Any:
        return Audit(self.target)._table()  # noqa: SLF001

    def _read_all(self, played: Played) -> None:
        """Ask for every job that the ledger holds or a client knows, in every region."""
        identities = {seen.job: seen.number for seen in played.clients.seen if seen.job}
        jobs = {job.number: job for job in played.scenario.jobs}

        def read() -> None:
            for identity, number in identities.items():
                for region in self.deployment.regions:
                    seen = played.clients.ask(jobs[number], "read", region, identity)
                    played.final[identity, region] = seen

        self.twin.scheduler.call(read, timeout_s=FAULTS_END_S * 10)
