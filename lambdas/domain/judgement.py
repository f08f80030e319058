"""Whether a release goes on, waits, or is taken back, by what one region sees.

Every region decides for itself, every minute and whenever a guard alarm fires, from the record
and its own sight alone: deciding twice, late, or nowhere for a while does no harm. What only one
may begin or end, the first region that serves decides, since regions may for a while run with
different configurations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lambdas.domain import release as releases
from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Model
from lambdas.domain.release import Place, Release, Step

SMOKE_TRIES_MAX = 3
"""Times that a step's smoke jobs are sent in vain before the version is taken back: a pipeline that
watches is to end, and what could not be tried is not released."""
PAUSED = "it was paused"


class Smoke(StrEnum):
    """How the smoke jobs of a step fare."""

    NONE = "none"
    UNSENT = "unsent"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a region's λ sees of a model's release.

    Attributes:
        region: Which.
        regions: All that are configured, the first one first.
        away: Those that are lost or drained.
        firing: Guard alarms of this region that fire, in words, by version.
        instances: Of the candidate in service here.
        open_ms: Since when the model only gets probes here, its breaker being open, or None.
        smoke: How its smoke jobs fare here, if it is their turn.
        smoke_why: What became of them, in words.
        tried: Attempts that ended here on other versions than the live one, since counting began.
        unapproved: Why the wanted version's package may not be released here; empty if it may.
        now_ms: This region's time.
    """

    region: str
    regions: tuple[str, ...]
    away: frozenset[str] = frozenset()
    firing: Mapping[str, str] = field(default_factory=dict)
    instances: int = 0
    open_ms: int | None = None
    smoke: Smoke = Smoke.NONE
    smoke_why: str = ""
    tried: int = 0
    unapproved: str = ""
    now_ms: int

    @property
    def first(self) -> bool:
        """Whether this is the first region."""
        return self.region == self.regions[0]

    @property
    def leads(self) -> bool:
        """Whether this region begins and ends releases: the first one that is there."""
        there = (region for region in self.regions if region not in self.away)
        return self.region == next(there, None)


def decide(release: Release, model: Model, sight: Sight) -> Release | None:
    """The next change of a record, as one region sees it.

    Args:
        release: The record.
        model: As this region's configuration knows it.
        sight: What this region sees.

    Returns:
        The record's next revision, after which this is to be asked again; None if there is
        nothing to change.
    """
    at_once = _guarded(release, model, sight) or _replaced(release, model, sight)
    held = release.paused or model.state != "live" or bereft(release, model, sight)
    if at_once is not None or held:
        return at_once
    changed = _aligned(release, model, sight) if sight.leads else None
    changed = changed or releases.skip(release, sight.away, now_ms=sight.now_ms)
    at = releases.place(release)
    if changed is not None or at is None or at.region != sight.region:
        return changed
    return _stepped(release, model, sight, at)


def urgent(release: Release, model: Model, sight: Sight) -> Release | None:
    """What must not wait for anything: a version that is bad, or is not there any more.

    It follows from the record, the leases and the alarms alone: `sight` need have nothing else.
    A version that has to be approved is therefore not made live here.
    """
    guarded = _guarded(release, model, sight)
    if guarded is not None or releases.unasked(release, model):
        return guarded
    return _replaced(release, model, sight)


def may_begin(release: Release, model: Model, sight: Sight) -> bool:
    """Whether a region would begin to release the wanted version, if its package is approved."""
    knows = sight.first or release.live in model.versions
    idle = release.candidate is None and not release.paused and model.state == "live"
    new = model.wanted != release.live and model.wanted not in release.quarantined
    return sight.leads and knows and idle and new


def _guarded(release: Release, model: Model, sight: Sight) -> Release | None:
    """Take back what a guard alarm fires for.

    Where the candidate has no share yet, in regions whose turn is still to come and at the smoke
    jobs, no client's job runs on it: an alarm that still fires there is of an earlier try, and is
    only waited for when it is that region's turn.

    The candidate goes first, and the live version stays for as long as its alarm may tell of what
    the candidate did to it: two rollbacks at once would leave nothing that is trusted.
    """
    tier = releases.LEAST_URGENT_FIRST[0]  # the tier that every step gives some jobs
    early = releases.candidate_share(release, model, sight.region, tier) == 0
    held = _live_is_held(release, model, sight, beside=not early)
    for version in (release.candidate, release.live):
        if version is None or version not in sight.firing:
            continue
        if early if version == release.candidate else held:
            continue
        why = sight.firing[version]
        taken_back = releases.roll_back(
            release, model, version, why=f"{why} in {sight.region}", now_ms=sight.now_ms
        )
        if taken_back is not None:
            return taken_back
    return None


def _live_is_held(release: Release, model: Model, sight: Sight, *, beside: bool) -> bool:
    """Whether alarms of the live version may tell of one that just began here, or just was.

    For one window of the guards after a step began, in the region whose turn it is, an alarm of the
    live version waits for one of the candidate, which has fewer jobs to be judged by; and for one
    window after a rollback. So the live version is guarded while another one is on trial, however
    long that is paused or waits, and in regions that have not heard of it at once.

    Args:
        release: The record.
        model: As configured.
        sight: What this region sees.
        beside: Whether clients' jobs run on the candidate here.
    """
    window_ms = 1000 * model.release.guard_window_s
    at = releases.place(release)
    if at is not None and at.region == sight.region and beside:
        return abs(sight.now_ms - release.since_ms) < window_ms
    backs = [event.at_ms for event in release.events if event.what == releases.ROLLED_BACK]
    return bool(backs) and abs(sight.now_ms - backs[-1]) < window_ms


def bereft(release: Release, model: Model, sight: Sight) -> bool:
    """Whether it is up to this region to replace a live version that is not configured any more."""
    gone = release.live not in model.versions and model.wanted not in release.quarantined
    return gone and sight.leads and sight.first


def _replaced(release: Release, model: Model, sight: Sight) -> Release | None:
    """Replace a live version that is not configured any more, unless its heir is not approved.

    Jobs that wait do less harm than answers that nobody answers for.
    """
    if not bereft(release, model, sight):
        return None
    if sight.unapproved and releases.unasked(release, model):
        why = f"{release.live} is not configured any more, and {sight.unapproved}"
        return releases.waiting(release, why)
    return releases.replace_live(release, model, now_ms=sight.now_ms)


def _aligned(release: Release, model: Model, sight: Sight) -> Release | None:
    """Follow what the configuration wants: drop a release that it does not, begin one it does.

    A region that stands in for the first one may have an older configuration, of which neither
    the live version nor the candidate is part; then it changes nothing.
    """
    if release.candidate is not None:
        known = sight.first or release.candidate in model.versions
        if release.candidate == model.wanted or not known:
            return None
        why = (
            "the live version is wanted again"
            if model.wanted == release.live
            else f"{model.wanted} is wanted instead"
        )
        return releases.drop(release, why=why, now_ms=sight.now_ms)
    if not may_begin(release, model, sight):
        quarantined = model.wanted in release.quarantined and model.wanted != release.live
        waits = f"{model.wanted} is in quarantine until it is cleared" if quarantined else ""
        return releases.waiting(release, waits)
    if sight.unapproved:
        return releases.waiting(release, sight.unapproved)
    return releases.begin(release, model, sight.regions, now_ms=sight.now_ms)


def _stepped(release: Release, model: Model, sight: Sight, at: Place) -> Release | None:
    """What the region whose turn it is makes of its step."""
    if release.anew:
        return releases.repeat(release, why=PAUSED, tried=sight.tried, now_ms=sight.now_ms)
    version = str(release.candidate)
    why = _fault(release, sight, at)
    if why:
        return releases.roll_back(release, model, version, why=why, now_ms=sight.now_ms)
    obstacle = _obstacle(release, model, sight, at)
    if obstacle:
        return releases.waiting(release, obstacle)
    if at.step is Step.SMOKE and sight.smoke is Smoke.VOID:
        return _tried_in_vain(release, model, sight, version)
    if at.step is Step.SMOKE:
        over = sight.smoke not in {Smoke.UNSENT, Smoke.RUNNING}
    else:
        over = _baked(release, model, at, sight.now_ms)
    if not over:
        return releases.waiting(release, "")
    return releases.advance(release, model, tried=sight.tried, now_ms=sight.now_ms)


def _tried_in_vain(release: Release, model: Model, sight: Sight, version: str) -> Release | None:
    """Try again what never ran on the version; a few times, and while probes are all that runs."""
    vain = 1
    for event in reversed(release.events):
        if event.what != releases.AGAIN or event.why == PAUSED:
            break
        vain += 1
    if vain < SMOKE_TRIES_MAX or sight.open_ms is not None:
        return releases.repeat(release, why=sight.smoke_why, now_ms=sight.now_ms)
    why = f"{sight.smoke_why}, nor those {SMOKE_TRIES_MAX - 1} times before"
    return releases.roll_back(release, model, version, why=why, now_ms=sight.now_ms)


def _fault(release: Release, sight: Sight, at: Place) -> str:
    """Why the candidate is taken back, beside guard alarms; empty if it is not."""
    if at.step is Step.SMOKE and sight.smoke is Smoke.FAILED:
        return sight.smoke_why
    opened = sight.open_ms is not None and sight.open_ms > release.since_ms
    # It was well when the step began, and everything here runs on the candidate since.
    return f"most attempts fail in {sight.region}" if at.step is Step.FULL and opened else ""


def _obstacle(release: Release, model: Model, sight: Sight, at: Place) -> str:
    """Why a step cannot end, however long it lasts; empty if it can."""
    version = str(release.candidate)
    if version not in model.versions:
        return f"{version} is not deployed in {sight.region} yet"
    if at.step is Step.SMOKE and sight.unapproved:
        return sight.unapproved
    if version in sight.firing:
        return f"{sight.firing[version]} in {sight.region}"
    # Smoke jobs run on the candidate alone: if it answered them, others are what fails.
    told = at.step is Step.SMOKE and sight.smoke in {Smoke.PASSED, Smoke.VOID}
    if sight.open_ms is not None and not release.promoted and not told:
        # Which version fails is not known: an operator who releases a mended one says so.
        return f"most attempts fail in {sight.region}"
    if sight.instances <= 0:
        return f"{version} has no instance in service in {sight.region}"
    return ""


def _baked(release: Release, model: Model, at: Place, now_ms: int) -> bool:
    last = at.step is Step.FULL
    bake_s = model.release.final_bake_s if last else model.release.bake_s
    return release.promoted or now_ms - release.since_ms >= 1000 * bake_s


def smoke_start_s(model: Model) -> float:
    """Seconds within which a smoke job must start; from then on its lease is the bound.

    It waits for an instance that is gone to be warm again, and for a slot, of which each is free
    when the lease of whatever holds it is over.
    """
    return model.warm_up_s + model.lease_s


def judge_smoke(jobs: Sequence[Job | None], *, region: str, version: str) -> tuple[Smoke, str]:
    """How smoke jobs fare.

    Args:
        jobs: As the ledger has them; None for one that was not sent yet. They are not tried
            again, and one that gave no answer within its time has failed.
        region: Where they should run.
        version: Which should answer them.

    Returns:
        The state, and what became of them in words. Those that never ran, or ran elsewhere, say
        nothing of the version: they are void.
    """
    if not jobs:
        return Smoke.NONE, ""
    for number, job in enumerate(jobs, 1):
        if job is None:
            continue
        elsewhere = job.owner != region or (job.version is not None and job.version != version)
        if elsewhere or job.status in {Status.CANCELLED, Status.EXPIRED}:
            return Smoke.VOID, f"smoke job {number} of {len(jobs)} did not run on it: {job.id}"
        if job.status in {Status.FAILED, Status.REFUSED}:
            code = (job.error or {}).get("code", job.status)
            return Smoke.FAILED, f"smoke job {number} of {len(jobs)} failed, {code}: {job.id}"
    if any(job is None for job in jobs):
        return Smoke.UNSENT, ""
    if all(job is not None and job.status is Status.COMPLETED for job in jobs):
        return Smoke.PASSED, ""
    return Smoke.RUNNING, ""
