"""What one region does for the releases of all models: look, decide, write, try again.

Everything is decided anew from the records and what the region sees, so that it may run twice,
late, in all regions at once, and may die between any two calls.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lambdas.adapters.alarms import Alarms
from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate
from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.queues import Queues
from lambdas.adapters.registry import Registry
from lambdas.adapters.releases import Releases
from lambdas.domain import payloads
from lambdas.domain import release as releases
from lambdas.domain.job import Job, Status, job_id
from lambdas.domain.judgement import (
    Sight,
    Smoke,
    bereft,
    decide,
    judge_smoke,
    may_begin,
    smoke_start_s,
    urgent,
)
from lambdas.domain.names import COMPARED, GUARDS
from lambdas.domain.policy import Model, Policy
from lambdas.domain.regions import DRAINED, LOST
from lambdas.domain.release import RELEASE_TENANT, Release, Step

CHANGES_MAX = 6
"""Changes of one record in one run, lost ones included: a release needs two, and the next run is
a minute away."""
TIME_LEFT_MS_MIN = 8_000
"""For the steps of one model, if AWS is slow."""
TICK_MS = 60_000


@dataclass(frozen=True, slots=True)
class Decided:
    """What one run decided.

    Attributes:
        changes: How many changes were made, by model.
        about_all: Whether it came to a decision about every model.
    """

    changes: dict[str, int]
    about_all: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Releasing:
    """One region's part in the releases."""

    region: str
    policy: Policy
    releases: Releases
    leases: Leases
    alarms: Alarms
    registry: Registry
    gate: Gate
    ledger: Ledger
    queues: Queues
    functions: Functions

    def once(self, *, time_left_ms: Callable[[], int]) -> Decided:
        """Decide about every model.

        What cannot be seen is not judged: then nothing changes until the next minute. All that is
        bad is taken back before anything goes on: what the steps of one release need, and how
        long they take, delays no rollback of another.

        Args:
            time_left_ms: Tells what is left of the function's time.
        """
        try:
            leases = self.leases.read(self.policy.regions)
            known = self.releases.read_many(self.policy.models)
            firing = self._firing(known)
        except AWS_ERRORS as error:
            logger.error("releases not decided", reason=reason(error))
            return Decided({}, about_all=False)
        away = frozenset(
            region for region, lease in leases.items() if lease.state in {LOST, DRAINED}
        )

        def sight(model: Model) -> Sight:
            return Sight(
                region=self.region,
                regions=self.policy.regions,
                away=away,
                firing=firing.get(model.name, {}),
                now_ms=now_ms(),
            )

        changes: Counter[str] = Counter()
        about_all = True
        models = self._in_turn(now_ms())
        for model in models:
            try:
                if model.name in known:
                    changes[model.name] += self._urgently(model, known, sight(model))
            except AWS_ERRORS as error:
                about_all = False
                logger.error("release not judged", model=model.name, reason=reason(error))
        for model in models:
            if time_left_ms() < TIME_LEFT_MS_MIN:
                about_all = False
                logger.warning("release ran out of time", model=model.name)
                break
            try:
                changes[model.name] += self._model(model, known.get(model.name), sight(model))
            except AWS_ERRORS as error:
                about_all = False
                logger.error("release not decided", model=model.name, reason=reason(error))
        return Decided(dict(changes), about_all=about_all)

    def _in_turn(self, at_ms: int) -> list[Model]:
        """All models, every minute another one first: whoever is last is not always last."""
        models = list(self.policy.models.values())
        first = at_ms // TICK_MS % max(1, len(models))
        return models[first:] + models[:first]

    def _urgently(self, model: Model, known: dict[str, Release], sight: Sight) -> int:
        """Take back what is bad, by what was read of all models; `known` has the record then."""
        made = 0
        for _ in range(CHANGES_MAX):
            changed = urgent(known[model.name], model, sight)
            if changed is None:
                break
            if self._write(changed):
                known[model.name], made = changed, made + 1
                continue
            current = self.releases.read(model.name)
            if current is None:
                break
            known[model.name] = current
        return made

    def _model(self, model: Model, release: Release | None, sight: Sight) -> int:
        """Change a model's record until there is nothing to change, then see to its smoke jobs."""
        made = 0
        if release is None:
            if not sight.leads:
                return 0
            first = releases.first(model, now_ms=sight.now_ms)
            release, made = first, int(self._write(first))
        for _ in range(CHANGES_MAX):
            sight = self._seen(release, model, sight)
            changed = decide(release, model, sight)
            if changed is None:
                if sight.smoke is Smoke.UNSENT and sight.instances > 0 and not release.paused:
                    self._send_smoke(release, model)
                break
            if self._write(changed):
                release, made = changed, made + 1
                continue
            current = self.releases.read(model.name)
            if current is None:
                break
            release = current
        return made

    def _write(self, release: Release) -> bool:
        written = self.releases.write(release)
        said = release.events[-1] if release.events else None
        logger.info(
            "release changed" if written else "release was changed by somebody else",
            model=release.model,
            revision=release.revision,
            live=release.live,
            candidate=release.candidate,
            waits=release.waits,
            what=said.what if said else "",
            version=said.version if said else "",
            region=said.region if said else None,
            why=said.why if said else "",
        )
        return written

    def _firing(self, known: Mapping[str, Release]) -> dict[str, dict[str, str]]:
        """What fires here of the versions that serve, in words, by model and version."""
        guards = {
            self.policy.names.guard_alarm(name, version, guard): (name, version, guard)
            for name, release in known.items()
            for version in (release.live, release.candidate)
            if version in self.policy.models[name].versions
            for guard in GUARDS
            # Just after a release the live one's numbers are partly those of the one before it.
            if not (guard in COMPARED and version == release.live)
        }
        found: dict[str, dict[str, str]] = {}
        for alarm in sorted(self.alarms.firing(list(guards))) if guards else ():
            name, version, guard = guards[alarm]
            words = found.setdefault(name, {})
            words[version] = f"{words[version]}, {guard}" if version in words else f"guard {guard}"
        return found

    def _seen(self, release: Release, model: Model, sight: Sight) -> Sight:
        """What this region sees beyond alarms: only what the record's next change depends on."""
        at = releases.place(release)
        alone = bereft(release, model, sight)
        if alone or at is None or at.region != self.region:
            unapproved = ""
            if alone or may_begin(release, model, sight):
                unapproved = self._objection(model, model.wanted)
            return replace(
                sight, unapproved=unapproved, instances=0, open_ms=None, smoke=Smoke.NONE
            )
        version = str(release.candidate)
        state = self.gate.state(model.name)
        # Until beat has planned it, dispatch would not run anything on it.
        planned = state.plan is not None and state.plan.on_trial == version
        smoke, why, unapproved = Smoke.NONE, "", ""
        if at.step is Step.SMOKE and version in model.versions:
            unapproved = self._objection(model, version)
            jobs = self._smoke_jobs(release, model)
            found = self.ledger.get_many(job.id for job in jobs)
            smoke, why = judge_smoke(
                [found.get(job.id) for job in jobs], region=self.region, version=version
            )
        return replace(
            sight,
            instances=state.serving.get(version, 0) if planned else 0,
            open_ms=state.breaker.open_ms,
            smoke=smoke,
            smoke_why=why,
            tried=state.tried,
            unapproved=unapproved,
        )

    def _objection(self, model: Model, version: str) -> str:
        """Why a version's package may not be released here; empty if it may, or has none."""
        package = model.packages.get(version)
        if package is None:
            return ""

        def here(address: str) -> str:
            return address.replace("{region}", self.region)

        return self.registry.objection(
            here(package.arn),
            image=here(package.image),
            artifact=here(package.artifact) if package.artifact else None,
        )

    def _smoke_jobs(self, release: Release, model: Model) -> list[Job]:
        """The jobs that judge a step, by names that stay the same while it lasts."""
        jobs = []
        for number, value in enumerate(model.release.smoke):
            body = json.dumps(value).encode()
            name = f"{model.name}.{release.candidate}.{self.region}.{release.since_ms}.{number}"
            jobs.append(
                Job(
                    id=job_id(RELEASE_TENANT, name, b""),
                    status=Status.QUEUED,
                    attempt=1,
                    owner=self.region,
                    home=self.region,
                    tenant=RELEASE_TENANT,
                    model=model.name,
                    tier=self.policy.tiers[0].name,
                    created_ms=now_ms(),
                    deadline_ms=now_ms() + round(1000 * smoke_start_s(model)),
                    request_hash=hashlib.sha256(body).digest(),
                    input=payloads.pack(body),
                )
            )
        return jobs

    def _send_smoke(self, release: Release, model: Model) -> None:
        """Send the jobs that are missing: the message first, as when a client's job is accepted."""
        jobs = self._smoke_jobs(release, model)
        there = self.ledger.get_many(job.id for job in jobs)
        for job in jobs:
            if job.id in there:
                continue
            self.queues.send(
                model=job.model,
                tier=job.tier,
                job_id=job.id,
                attempt=job.attempt,
                tenant=job.tenant,
                version=release.candidate,
            )
            self.ledger.create(job)
        self.functions.ring(model=model.name, tier=None, jobs=None)
        logger.info("smoke jobs sent", model=model.name, version=release.candidate, jobs=len(jobs))
