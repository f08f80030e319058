"""A release: a version takes a model's jobs over by shares, region by region, or is taken back.

The record of a model is one item of the ledger, the same for every region. Here it is only
changed; who may change it, and when, is decided in `judgement`. Every change raises the
revision by one, on which its write is conditional.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from lambdas.domain.policy import Model

EVENTS_MAX = 50
"""The history that is kept, newest last: the item stays small."""
QUARANTINED_MAX = 50
WHY_CHARACTERS_MAX = 300
ROLLED_BACK = "rolled back"
"""What the event of a rollback says."""
AGAIN = "again"
"""What the event of a step says that begins anew."""
RELEASE_TENANT = "spillway-release"
"""Whose the smoke jobs are; they have one attempt, because a second one would hide the first."""
LEAST_URGENT_FIRST = ("batch", "standard", "interactive")
"""The order in which tiers get to know a new version."""


class Step(StrEnum):
    """What a region goes through; each is watched before the next."""

    SMOKE = "smoke"
    BATCH = "batch"
    STANDARD = "standard"
    ALL = "all"
    FULL = "full"


STEPS = tuple(Step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a release.

    Attributes:
        at_ms: When, by the clock of who wrote it.
        what: In a word or two.
        version: Which it is about.
        region: Where, unless everywhere.
        why: Why, if that is not plain.
        share: The version's part of the jobs there from then on.
        judged: Of a step that begins, or a release that ends: clients' attempts on the version that
            ended in the step before. None after smoke jobs.
    """

    at_ms: int
    what: str
    version: str
    region: str | None = None
    why: str = ""
    share: float | None = None
    judged: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Where a model's versions stand.

    Attributes:
        model: Which.
        revision: Rises by one with every change.
        live: Answers everything but what the candidate has.
        previous: Was live before that: where a late rollback goes.
        candidate: Being released, or None.
        order: Regions in the order of this release; empty without a candidate.
        step: Index into the plan: every region's steps, in that order.
        since_ms: When the step began.
        counted: What the gate of its region had counted of attempts on such versions by then.
        paused: Whether an operator holds everything but rollbacks.
        anew: Whether the step is to begin anew: the region whose turn it is sets `since_ms` then.
        promoted: Whether an operator wants no more waiting in this step.
        waits: What the release waits for, in words; empty while it only takes its time.
        quarantined: By version why it was taken back; until an operator clears it.
        events: History, newest last, at most `EVENTS_MAX`.
    """

    model: str
    revision: int
    live: str
    previous: str | None = None
    candidate: str | None = None
    order: tuple[str, ...] = ()
    step: int = 0
    since_ms: int = 0
    counted: int = 0
    paused: bool = False
    anew: bool = False
    promoted: bool = False
    waits: str = ""
    quarantined: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    def document(self) -> dict[str, Any]:
        """The document that `read` reads."""
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a record, ignoring fields that a later version of us may have added."""
        values = _known(cls, document)
        values["order"] = tuple(values["order"])
        values["events"] = tuple(Event(**_known(Event, event)) for event in values["events"])
        return cls(**values)


def _known(kind: type, document: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in document.items() if name in names}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a release stands: the region whose turn it is, and its step there."""

    region: str
    step: Step


def place(release: Release) -> Place | None:
    """Where a release stands; None without one."""
    if release.candidate is None:
        return None
    region, step = divmod(release.step, len(STEPS))
    return Place(release.order[region], STEPS[step])


def candidate_share(release: Release, model: Model, region: str, tier: str) -> float:
    """The part of a tier's jobs that the version on trial has in a region."""
    at = place(release)
    if at is None or release.candidate not in model.versions or region not in release.order:
        return 0.0
    ahead = release.order.index(region) - release.order.index(at.region)
    if ahead or at.step is Step.FULL:
        return float(ahead <= 0)
    reached = LEAST_URGENT_FIRST[: STEPS.index(at.step)]
    return model.release.canary_share if tier in reached else 0.0


def planned_shares(
    release: Release | None, model: Model, region: str, tier: str
) -> dict[str, float]:
    """What each version is to have of the jobs of one tier in one region.

    Args:
        release: The model's record, or None before there is one.
        model: As this region's configuration knows it, which may be older or newer.
        region: Which.
        tier: Which.

    Returns:
        The shares, which sum to 1. A version with a share of 0 may stand in for one that does not
        serve; one that is not named here gets no job whatever happens, as those in quarantine.
        Nothing at all if every version is in quarantine, or waits for its approval.
    """
    if release is None:
        return dict(model.versions)
    live = serving_version(release, model)
    if live is None:
        return {}
    shares = {live: 1.0}
    share = candidate_share(release, model, region, tier)
    if share > 0 and release.candidate is not None and release.candidate != live:
        shares = {live: 1 - share, release.candidate: share}
    previous = release.previous
    if previous in model.versions and previous not in release.quarantined:
        shares.setdefault(previous, 0.0)
    return shares


def serving_version(release: Release, model: Model) -> str | None:
    """The version that answers what the candidate does not; None if there is none to be trusted.

    A region may not know the live version: it was taken out of the configuration there. What is
    wanted instead answers at once, unless somebody has to approve it first: then jobs wait.
    """
    for version in (release.live, model.wanted, release.previous):
        if version == model.wanted != release.live and unasked(release, model):
            continue
        if version in model.versions and version not in release.quarantined:
            return version
    return None


def unasked(release: Release, model: Model) -> bool:
    """Whether the wanted version needs an approval that nobody has seen yet.

    One that was live once, or is past its first smoke jobs, has been approved.
    """
    was_live = any(
        event.version == model.wanted and event.what in {"live", "released"}
        for event in release.events
    )
    tried = release.candidate == model.wanted and release.step > 0
    return model.wanted in model.packages and not was_live and not tried


def needs_warm(release: Release | None, model: Model, region: str, version: str) -> bool:
    """Whether a version needs an instance in a region whether or not jobs wait for it.

    That is the version on trial, where it is its turn: its smoke jobs judge it also where nobody
    submits anything. What jobs need is told by the load.
    """
    at = place(release) if release is not None else None
    if release is None or at is None or version not in model.versions:
        return False
    return version == release.candidate and at.region == region


def keeps_minimum(release: Release | None, model: Model, version: str) -> bool:
    """Whether a version keeps the model's minimum: the one that answers, and the one that is to.

    One that is wanted and in quarantine does not: whatever it has costs money for nothing.
    """
    if release is None:
        return version == model.wanted
    wanted = version == model.wanted and version not in release.quarantined
    return wanted or version == serving_version(release, model)


def first(model: Model, *, now_ms: int) -> Release:
    """The record of a model that has none: what the configuration wants is what answers."""
    event = Event(at_ms=now_ms, what="live", version=model.wanted, share=1.0)
    return Release(model=model.name, revision=1, live=model.wanted, events=(event,))


def begin(release: Release, model: Model, regions: tuple[str, ...], *, now_ms: int) -> Release:
    """Begin to release the wanted version."""
    return _changed(
        release,
        Event(at_ms=now_ms, what="began", version=model.wanted, region=regions[0], share=0.0),
        candidate=model.wanted,
        order=regions,
        step=0,
        since_ms=now_ms,
    )


def advance(release: Release, model: Model, *, tried: int = 0, now_ms: int) -> Release:
    """Go one step further; after the last one of the last region the version is live.

    Args:
        release: The record.
        model: As configured.
        tried: What the region's gate has counted of attempts on versions that are not live.
        now_ms: When.

    Raises:
        ValueError: Nothing is being released.
    """
    if release.candidate is None:
        raise ValueError(f"nothing of {release.model} is being released")
    judged, why = _judged(release, model, tried)
    if release.step + 1 == len(release.order) * len(STEPS):
        return _released(release, release.candidate, why=why, judged=judged, now_ms=now_ms)
    further = replace(release, step=release.step + 1)
    at = place(further)
    if at is None:  # pragma: no cover - a release that has a candidate stands somewhere
        raise ValueError(f"nothing of {release.model} is being released")
    tier = LEAST_URGENT_FIRST[0]  # the tier that every step gives some jobs
    event = Event(
        at_ms=now_ms,
        what=f"step {at.step}",
        version=release.candidate,
        region=at.region,
        why=why,
        share=candidate_share(further, model, at.region, tier),
        judged=judged,
    )
    return _changed(release, event, step=further.step, since_ms=now_ms, counted=tried)


def _judged(release: Release, model: Model, tried: int) -> tuple[int | None, str]:
    """By how many attempts the present step was judged, and the same in words.

    Attempts of a version that stands in for the live one are among them: then nothing else
    serves. A count may be a few off, for a write that timed out counts again.
    """
    at, smoke = place(release), len(model.release.smoke)
    if at is None or at.step is Step.SMOKE:
        return (
            None,
            f"judged by {_several(smoke, 'smoke job')}" if smoke else "judged by no smoke job",
        )
    judged = max(0, tried - release.counted)
    if not judged:
        return 0, "no attempt in it: only smoke jobs judged" if smoke else "nothing judged it"
    if judged < model.release.guard_attempts_min:
        return judged, f"judged by {_several(judged, 'attempt')}, too few for guards"
    return judged, f"judged by {_several(judged, 'attempt')}"


def _several(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def skip(release: Release, away: frozenset[str], *, now_ms: int) -> Release | None:
    """Put a region off that is away; a release that only those wait for ends without them.

    They take the live version when they are back. Where no region has been through it yet,
    nobody has judged the version: then it waits.

    Args:
        release: The record.
        away: Regions that are lost or drained.
        now_ms: When.

    Returns:
        The new record; None if nothing changes.
    """
    at = place(release)
    if at is None or release.candidate is None or at.region not in away:
        return None
    done = release.step // len(STEPS)
    rest = release.order[done:]
    there = tuple(region for region in rest if region not in away)
    gone = tuple(region for region in rest if region in away)
    if not there:
        if not done:
            return None
        left_out = f"without {', '.join(gone)}"
        return _released(release, release.candidate, why=left_out, now_ms=now_ms)
    event = Event(
        at_ms=now_ms,
        what="put off",
        version=release.candidate,
        region=at.region,
        why="the region is away",
        share=0.0,
    )
    return _changed(
        release,
        event,
        order=(*release.order[:done], *there, *gone),
        step=done * len(STEPS),
        since_ms=now_ms,
    )


def repeat(release: Release, *, why: str, tried: int = 0, now_ms: int) -> Release:
    """Begin the present step anew; `tried` is what the region's gate has counted by now."""
    event = Event(
        at_ms=now_ms,
        what=AGAIN,
        version=release.candidate or release.live,
        region=at.region if (at := place(release)) else None,
        why=why,
    )
    return _changed(release, event, since_ms=now_ms, counted=tried)


def drop(release: Release, *, why: str, now_ms: int) -> Release:
    """End a release without a result: the live version goes on, and nothing is in quarantine."""
    event = Event(at_ms=now_ms, what="dropped", version=release.candidate or "", why=why, share=0.0)
    return _changed(release, event, candidate=None, order=(), step=0, since_ms=now_ms)


def replace_live(release: Release, model: Model, *, now_ms: int) -> Release:
    """Make the wanted version live at once: the configuration has no other any more."""
    event = Event(
        at_ms=now_ms,
        what="live",
        version=model.wanted,
        why=f"{release.live} is not configured any more",
        share=1.0,
    )
    ended = {"candidate": None, "order": (), "step": 0} if release.candidate else {}
    previous = release.previous if release.previous in model.versions else None
    if previous == model.wanted:
        previous = None
    return _changed(release, event, live=model.wanted, previous=previous, since_ms=now_ms, **ended)


def roll_back(
    release: Release, model: Model, version: str, *, why: str, now_ms: int
) -> Release | None:
    """Take a version back: it gets no further job anywhere, until an operator clears it.

    A candidate is dropped. The live version gives way to the one before it.

    Args:
        release: The record.
        model: As configured.
        version: Which.
        why: For people.
        now_ms: When.

    Returns:
        The new record; None if nothing changes, also because nothing else could answer.
    """
    why = why[:WHY_CHARACTERS_MAX]
    at = place(release)
    if version == release.candidate:
        event = Event(
            at_ms=now_ms,
            what=ROLLED_BACK,
            version=version,
            region=at.region if at else None,
            why=why,
            share=0.0,
        )
        return _changed(
            release,
            event,
            candidate=None,
            order=(),
            step=0,
            since_ms=now_ms,
            quarantined=_quarantined(release, model, version, why),
        )
    if version != release.live or not _answers(release, model, release.previous):
        return None
    event = Event(at_ms=now_ms, what=ROLLED_BACK, version=version, why=why, share=0.0)
    changes: dict[str, object] = {
        "live": release.previous,
        "previous": None,
        "quarantined": _quarantined(release, model, version, why),
    }
    if release.candidate == release.previous:
        changes |= {"candidate": None, "order": (), "step": 0, "since_ms": now_ms}
    return _changed(release, event, **changes)


def clear(release: Release, version: str, *, now_ms: int) -> Release | None:
    """Let a version out of quarantine; None if it is not there."""
    if version not in release.quarantined:
        return None
    left = {name: why for name, why in release.quarantined.items() if name != version}
    event = Event(at_ms=now_ms, what="cleared", version=version)
    return _changed(release, event, quarantined=left)


def pause(release: Release, *, now_ms: int) -> Release | None:
    """Hold everything but rollbacks; None if it is held already."""
    if release.paused:
        return None
    event = Event(at_ms=now_ms, what="paused", version=release.candidate or release.live)
    return _changed(release, event, paused=True)


def resume(release: Release, *, now_ms: int) -> Release | None:
    """Go on; None if it goes on.

    The present step is to begin anew, since nobody knows what it saw: when the region whose turn
    it is gets to it, by that region's clock, for an operator's may be wrong by hours.
    """
    if not release.paused:
        return None
    event = Event(at_ms=now_ms, what="resumed", version=release.candidate or release.live)
    return _changed(release, event, paused=False, anew=release.candidate is not None)


def promote(release: Release, *, now_ms: int) -> Release | None:
    """Wait no longer in the present step; None if nothing waits, or smoke jobs are to judge it."""
    at = place(release)
    if at is None or at.step is Step.SMOKE or release.promoted:
        return None
    event = Event(at_ms=now_ms, what="promoted", version=release.candidate or "", region=at.region)
    return _changed(release, event, promoted=True, anew=False)


def waiting(release: Release, why: str) -> Release | None:
    """Note what the release waits for; None if that is known."""
    why = why[:WHY_CHARACTERS_MAX]
    if why == release.waits:
        return None
    return replace(release, revision=release.revision + 1, waits=why)


def _released(
    release: Release, version: str, *, why: str = "", judged: int | None = None, now_ms: int
) -> Release:
    event = Event(at_ms=now_ms, what="released", version=version, why=why, share=1.0, judged=judged)
    return _changed(
        release,
        event,
        live=version,
        previous=release.live,
        candidate=None,
        order=(),
        step=0,
        since_ms=now_ms,
    )


def _answers(release: Release, model: Model, version: str | None) -> bool:
    return version in model.versions and version not in release.quarantined


def _quarantined(release: Release, model: Model, version: str, why: str) -> dict[str, str]:
    """All that are in quarantine; of too many, those that are not configured go first."""
    kept = {**release.quarantined, version: why}
    for name in list(kept):
        if len(kept) <= QUARANTINED_MAX:
            break
        if name not in model.versions:
            del kept[name]
    return kept


def _changed(release: Release, event: Event, **changes: object) -> Release:
    """The next revision; whatever changes, nothing is waited for any more, and nobody pushed.

    A step that began just now need not begin anew.
    """
    events = (*release.events, event)[-EVENTS_MAX:]
    fresh: dict[str, object] = {"waits": "", "promoted": False}
    if "candidate" in changes or "since_ms" in changes:
        fresh["anew"] = False
    values = {**fresh, **changes, "revision": release.revision + 1, "events": events}
    return replace(release, **values)  # type: ignore[arg-type]
