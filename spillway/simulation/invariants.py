"""What must hold in every run, whatever goes wrong, seen from outside alone.

Each check looks at what clients were answered, at the ledger's items and at the gate, and yields
a sentence for everything that should not be. None knows how the functions work.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from lambdas.domain.payloads import unpack
from lambdas.domain.regions import DRAINED, LEASE_S, LOST
from spillway.simulation.audit import TERMINAL, Change
from spillway.simulation.clients import ACCEPTED, Seen
from spillway.simulation.scenario import TIERS
from spillway.simulation.stage import Played, Stage

BEAT_S: Final = 5.0
CALM_S: Final = 12.0
"""Seconds that a job may wait beside a free slot when nothing goes wrong: a bell that met a full
gate is made up for by the next beat but one, and a cold start."""
TOLD_S: Final = 25.0
"""Seconds after which a region knows that it is drained: a lease of 20 s, and one beat."""
CLOCK_S: Final = 0.1
"""A decision is dated by the call that it is taken on."""
ROOM_S: Final = 28.0
"""Before an attempt is given up, 150 s after it began, its message has come back, after 120 s, and
two beats have looked for messages."""
NO_ANSWER: Final = "model_timeout"
"""The error of an attempt whose time is over, as docs/api.md names it."""
NOT_FOUND: Final = 404
OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that must not be.

    Attributes:
        invariant: A name in `INVARIANTS`.
        job: Which job's, or empty.
        text: What is wrong.
    """

    invariant: str
    job: str
    text: str


Check = Callable[[Played, Stage], Iterator[tuple[str, str] | None]]
"""Yields job and sentence for each violation, None for each thing that is as it should be."""


def check(played: Played, stage: Stage) -> tuple[list[Violation], dict[str, int]]:
    """Check everything; the violations, and how many things were checked by invariant."""
    violations: list[Violation] = []
    counts: dict[str, int] = {}
    for name, each in INVARIANTS.items():
        counts[name] = 0
        for found in each(played, stage):
            counts[name] += 1
            if found is not None:
                violations.append(Violation(invariant=name, job=found[0], text=found[1]))
    return violations, counts


def _ends_once(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """Every job that was accepted ends in exactly one terminal state, for good."""
    accepted = {seen.job for seen in played.clients.seen if seen.status in ACCEPTED and seen.job}
    for job in sorted(accepted | set(played.audit.jobs)):
        changes = played.audit.jobs.get(job, [])
        if not changes or not changes[-1].item:
            yield job, "was accepted, and the ledger does not know it"
            continue
        ends = [change.status for change in changes if change.status in TERMINAL]
        if changes[-1].status not in TERMINAL:
            yield job, f"never ended: {changes[-1].status} {_after(played, played.ended_s)}"
        elif any(end != ends[-1] for end in ends) or _left_again(changes):
            yield job, f"ended more than once: {' -> '.join(change.status for change in changes)}"
        else:
            yield from _told_alike(played, job, changes[-1])


def _told_alike(played: Played, job: str, last: Change) -> Iterator[tuple[str, str] | None]:
    """Nobody is told of another end than the one in the ledger, neither before nor after."""
    erased = bool(last.item.get("erased"))
    for seen in _views(played, job):
        status = str(seen.document["status"])
        if status in TERMINAL and status != last.status:
            yield job, f"was told to be {status} by {_said(played, seen)}, and is {last.status}"
        else:
            yield None
    for seen in played.final.values():
        if seen.job == job and not erased and seen.status != OK:
            yield job, f"cannot be read at the end: {_said(played, seen)}"


def _left_again(changes: list[Change]) -> bool:
    ended = False
    for change in changes:
        if ended and change.status not in TERMINAL:
            return True
        ended = ended or change.status in TERMINAL
    return False


def _one_result(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """No job has two results, and the one that it has is its last attempt's answer to it."""
    inputs = {seen.job: seen.number for seen in played.clients.seen if seen.job}
    for job, changes in played.audit.jobs.items():
        results: list[Any] = []
        for change in changes:
            result = change.item.get("output") or change.item.get("output_key")
            if result is not None and (not results or results[-1] != result):
                results.append(result)
        if len(results) > 1:
            yield job, f"had {len(results)} results"
        last = changes[-1].item
        if last.get("status") == "completed" and not last.get("erased"):
            yield from _own(played, stage, job, last, inputs.get(job))
        for seen in _views(played, job):
            output = seen.document.get("output")
            if isinstance(output, dict):
                yield from _matches(job, output, int(seen.document["attempt"]), inputs.get(job))


def _own(
    played: Played, stage: Stage, job: str, item: Mapping[str, Any], number: int | None
) -> Iterator[tuple[str, str] | None]:
    if item.get("output") is not None:
        result = json.loads(unpack(item["output"]))
    elif item.get("output_key") is not None:
        found = stage.stored(str(item["owner"]), str(item["output_key"]))
        if found is None:
            yield job, f"has a result that is not there: {item['output_key']}"
            return
        result = json.loads(found)
    else:
        yield job, "is completed without a result"
        return
    yield from _matches(job, result, int(item["attempt"]), number)


def _matches(
    job: str, result: Mapping[str, Any], attempt: int, number: int | None
) -> Iterator[tuple[str, str] | None]:
    if result.get("inference") != f"{job}.{attempt}":
        yield job, f"has the result of {result.get('inference')} at attempt {attempt}"
    elif number is not None and result.get("n") != number:
        yield job, f"has the answer to request {result.get('n')} instead of {number}"
    else:
        yield None


def _no_result(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """A job that was cancelled, erased, or never finished in time shows no result to anybody."""
    for job, changes in played.audit.jobs.items():
        for change in changes:
            item = change.item
            shown = item.get("output") or item.get("output_key")
            if shown and (item.get("status") != "completed" or item.get("erased")):
                yield job, f"keeps a result while {item['status']}, erased: {item.get('erased')}"
                break
        else:
            yield None
        taken_back = [seen for seen in played.clients.seen if seen.job == job and _gone(seen)]
        for earlier in taken_back:
            for later in played.clients.seen:
                if later.job == job and later.began_s >= earlier.ended_s:
                    yield from _stays_gone(played, job, earlier, later)


def _gone(seen: Seen) -> bool:
    return seen.what in ("cancel", "erase") and seen.status == OK


def _stays_gone(
    played: Played, job: str, earlier: Seen, later: Seen
) -> Iterator[tuple[str, str] | None]:
    document = later.document
    if later.what in ("read", "wait") and (
        document.get("output") is not None or document.get("output_url") is not None
    ):
        yield job, f"shows a result after {_said(played, earlier)}: {_said(played, later)}"
    elif earlier.what == "erase" and later.what == "read" and later.status == OK:
        yield job, f"can be read after {_said(played, earlier)}: {_said(played, later)}"
    else:
        yield None


def _gate_empty(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """Nobody holds a slot when nothing is left to do."""
    for place, slots in played.gates.items():
        if slots:
            holders = [
                job
                for job, changes in played.audit.jobs.items()
                if any(change.item.get("slot") in slots for change in changes)
            ]
            after = _after(played, played.ended_s)
            yield (holders or [""])[0], f"{len(slots)} slots are in use in {place} {after}"
        else:
            yield None
    if not played.rest and not any(played.gates.values()):
        unended = [
            job
            for job, changes in played.audit.jobs.items()
            if changes[-1].status not in TERMINAL or "live" in changes[-1].item
        ]
        after = _after(played, played.ended_s)
        yield (unended or [""])[0], f"not at rest {after}: {played.left}"


def _slot_held(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """A job at work holds its one slot, so that the gate never lets too much through."""
    for job, at_s, slot in played.audit.bare:
        yield job, f"was at work without its slot {slot} {_after(played, at_s)}"
    for _ in range(played.audit.slots_seen - len(played.audit.bare)):
        yield None
    for job, changes in played.audit.jobs.items():
        for change, following in pairwise(changes):
            before, now = change.item.get("slot"), following.item.get("slot")
            if change.status != "in_progress" or following.status != "in_progress":
                continue
            # Between two looks it may have been put back and started anew.
            if before != now and not played.audit.put_back(job, change.at_s, following.at_s):
                at = _after(played, following.at_s)
                yield job, f"took slot {now} at work, and left {before} {at}"


def _handed_over(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """The model works on what the ledger started, and gets what is given up for want of it."""
    for at_s, identity, _ in played.script.runs:
        job, _, attempt = identity.rpartition(".")
        if any(
            # Its client may have cancelled it before it was looked at: then it shows that it ran.
            "started_ms" in change.item
            and change.at_s <= at_s
            and int(change.item["attempt"]) == int(attempt)
            for change in played.audit.jobs.get(job, [])
        ):
            yield None
        else:
            at = _after(played, at_s)
            yield job, f"was computed as attempt {attempt}, which was not started, {at}"
    handed = stage.handed_over()
    for job, changes in played.audit.jobs.items():
        for change, following in pairwise(changes):
            if change.status != "in_progress" or not _timed_out(change, following):
                continue
            if not _room(played, stage, str(change.item["owner"]), following.at_s):
                continue  # Its message came back, and found the gate full.
            number = int(change.item["attempt"])
            if f"{job}.{number}" in handed:
                yield None
            else:
                at = _after(played, following.at_s)
                yield job, f"used up attempt {number}, which no endpoint was handed, {at}"


def _room(played: Played, stage: Stage, region: str, at_s: float) -> bool:
    """Whether a region could have handed an attempt over again before it was given up."""
    since_s = at_s - ROOM_S
    used = played.audit.used[f"{region} {stage.model_name}"]
    counts = [count for seen_s, count in used if since_s <= seen_s < at_s]
    return since_s > played.faults_end_s and 0 < max(counts, default=0) < stage.slots()


def _timed_out(running: Change, after: Change) -> bool:
    """Whether an attempt ended, tried again or not, because no answer came in its time."""
    error = after.item.get("error") or {}
    retried = after.status == "queued" and after.item["attempt"] > running.item["attempt"]
    moved = after.item.get("owner") != running.item.get("owner")
    return error.get("code") == NO_ANSWER and (after.status == "failed" or retried) and not moved


def _bounded_wait(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """With free slots, no job waits longer than what could hold up its message and its slot."""
    calm = played.scenario.calm
    slots = stage.slots()
    work_s = math.fsum(job.service_s for job in played.scenario.jobs) / slots
    bound_s = CALM_S + 2 * work_s if calm else stage.wait_s_max() + work_s
    for job, changes in played.audit.jobs.items():
        for change, following in zip(changes, [*changes[1:], None], strict=True):
            if change.status != "queued":
                continue
            since_s = change.at_s if calm else max(change.at_s, played.faults_end_s)
            until_s = following.at_s if following is not None else played.ended_s
            if until_s - since_s > bound_s:
                waited = f"waited {until_s - since_s:.0f} s, at most {bound_s:.0f} s are due"
                yield job, f"{waited}, from {since_s - played.began_s:.1f} s on"
            else:
                yield None


def _shares(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """No tier that has work is passed over more often than its share allows."""
    if not played.scenario.calm:
        return  # A message that a dead function had taken cannot be started by another.
    by_region: defaultdict[str, list[tuple[float, str, float, str]]] = defaultdict(list)
    for job, changes in played.audit.jobs.items():
        started = next((each for each in changes if each.status == "in_progress"), None)
        if started is not None:
            item = started.item
            created_s = float(item["created_ms"]) / 1000
            by_region[item["owner"]].append((started.at_s, str(item["tier"]), created_s, job))
    for starts in by_region.values():
        starts.sort()
        for tier in TIERS:
            yield from _passed_over(starts, tier, stage.share(tier))


def _passed_over(
    starts: list[tuple[float, str, float, str]], tier: str, share: float
) -> Iterator[tuple[str, str] | None]:
    """Others' starts in a row while a job of the tier waits: 1/share, and one round of ten."""
    most = math.ceil(1 / share) + ROUND
    row = 0
    for at_s, started, _, _ in starts:
        waiting = [
            job
            for start_s, other, created_s, job in starts
            if other == tier and created_s < at_s < start_s
        ]
        row = row + 1 if started != tier and waiting else 0
        if row > most:
            yield waiting[0], f"of tier {tier} was passed over {row} times, at most {most} are due"
            return
        yield None


ROUND: Final = 6
"""Starts that are under way when a tier's first job comes, and bells for one job, which look at
its own tier alone."""


def _one_job_per_key(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """However often and wherever a request is repeated with its key, it is one job."""
    by_key: defaultdict[str, set[str]] = defaultdict(set)
    numbers: defaultdict[int, set[str]] = defaultdict(set)
    keyed = {job.number for job in played.scenario.jobs if job.key}
    for seen in played.clients.seen:
        if seen.key and seen.job:
            by_key[seen.key].add(seen.job)
    for job, number in stage.numbers(played).items():
        numbers[number].add(job)
    for key, jobs in by_key.items():
        if len(jobs) > 1:
            yield min(jobs), f"is one of {len(jobs)} jobs of the key {key!r}: {sorted(jobs)}"
        else:
            yield None
    for number, jobs in numbers.items():
        if number in keyed and len(jobs) > 1:
            yield min(jobs), f"is one of {len(jobs)} jobs that ran for request {number}"
    for job, changes in played.audit.jobs.items():
        created = {change.item.get("created_ms") for change in changes if change.item}
        if len(created) > 1:
            yield job, "was created twice"
        else:
            yield None


def _epoch(played: Played, stage: Stage) -> Iterator[tuple[str, str] | None]:
    """A region without its lease, or drained, neither accepts jobs for itself nor starts any."""
    if not any(change.item for changes in played.audit.leases.values() for change in changes):
        return
    for decision in played.audit.decisions:
        if decision.at_s < played.began_s:
            continue
        region, at_s = decision.region, decision.at_s
        log = played.audit.leases[region]
        leases = [each for each in log if each.at_s <= at_s]
        state = str(leases[-1].item.get("state", "")) if leases else ""
        renewed_s = max(
            (each for each in played.audit.renewed_s[region] if each <= decision.told_s),
            default=played.began_s,
        )
        what = f"{region} decided to {decision.what} {_after(played, at_s)}"
        # A region that won a new epoch while the question was on its way knows of that.
        if state == LOST and not any(at_s < each.at_s < decision.told_s for each in log):
            yield decision.job, f"{what}, when it was lost"
        elif at_s > renewed_s + LEASE_S + CLOCK_S:
            yield decision.job, f"{what}, {at_s - renewed_s:.1f} s after it renewed its lease"
        elif (
            state == DRAINED
            and decision.owner == region
            and all(
                each.item.get("state") == DRAINED for each in leases if each.at_s > at_s - TOLD_S
            )
            and leases[-1].at_s < at_s - TOLD_S
        ):
            yield decision.job, f"{what}, long after it was drained"
        else:
            yield None


INVARIANTS: Final[Mapping[str, Check]] = {
    "ends_once": _ends_once,
    "one_result": _one_result,
    "no_result_after_end": _no_result,
    "gate_empty": _gate_empty,
    "slot_held": _slot_held,
    "handed_over": _handed_over,
    "bounded_wait": _bounded_wait,
    "share_of_tier": _shares,
    "one_job_per_key": _one_job_per_key,
    "epoch": _epoch,
}


def _views(played: Played, job: str) -> list[Seen]:
    return [
        seen
        for seen in played.clients.seen
        if seen.document.get("id") == job and "status" in seen.document and seen.status == OK
    ]


def _after(played: Played, at_s: float) -> str:
    return f"{at_s - played.began_s:.1f} s after the start"


def _said(played: Played, seen: Seen) -> str:
    return (
        f"{seen.what} in {seen.region} at {seen.ended_s - played.began_s:.1f} s "
        f"-> {seen.status} {seen.document.get('status', '')}"
    ).rstrip()
