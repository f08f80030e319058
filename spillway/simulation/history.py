"""The history of a violation, as short as it can be and still be understood."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from spillway.simulation.audit import Change
from spillway.simulation.clients import Seen
from spillway.simulation.invariants import Violation
from spillway.simulation.stage import Played, Stage
from spillway.twin.calls import Call
from spillway.twin.functions import Report

LINES_MAX: Final = 120
SHOWN: Final = ("status", "attempt", "owner", "slot", "lease_ms", "live", "erased")
"""Attributes whose changes tell the story."""


def told(played: Played, stage: Stage, violations: Iterable[Violation]) -> list[str]:
    """Tell what happened to the jobs of violations, and nothing else.

    Returns:
        Lines: what is wrong, what was planned, then what happened in its order.
    """
    found = list(violations)
    first = found[0]
    jobs = [first.job] if first.job else []
    lines = [f"{each.invariant}: {each.job or 'the deployment'} {each.text}" for each in found[:5]]
    if len(found) > len(lines):
        lines.append(f"and {len(found) - len(lines)} more")
    lines.append("")
    lines += [f"fault: {trouble}" for trouble in played.scenario.troubles]
    numbers = {seen.job: seen.number for seen in played.clients.seen if seen.job}
    for job in played.scenario.jobs:
        if job.number in {numbers.get(each) for each in jobs}:
            lines.append(
                f"job {job.number}: {job.tier}, key={job.key}, model {'/'.join(job.behaviour)}, "
                f"{job.service_s} s, then {[f'{s.what}@{s.region}' for s in job.steps]}"
            )
    lines.append("")
    events = sorted(_events(played, stage, jobs), key=lambda event: event[0])
    shown = [f"{at_s - played.began_s:9.3f}  {text}" for at_s, text in events]
    if len(shown) > LINES_MAX:
        half = LINES_MAX // 2
        cut = f"           … {len(shown) - 2 * half} lines …"
        shown = [*shown[:half], cut, *shown[-half:]]
    return lines + shown


Event = tuple[float, str]
"""Seconds since the epoch, and what happened."""


def _events(played: Played, stage: Stage, jobs: list[str]) -> Iterator[Event]:
    yield from _answers(played, jobs)
    yield from _calls(stage, jobs)
    yield from _items(played, jobs)
    yield from _computed(played, jobs)
    yield from _leases(played)
    yield from _outages(played)


def _answers(played: Played, jobs: list[str]) -> Iterator[Event]:
    numbers = {seen.number for seen in played.clients.seen if seen.job in jobs}
    for seen in played.clients.seen:
        if seen.job in jobs or (not seen.job and seen.number in numbers):
            yield seen.ended_s, _answered(seen)


def _calls(stage: Stage, jobs: list[str]) -> Iterator[Event]:
    """Calls that name a job, and the deaths of the executions that made them."""
    executions: set[str] = set()
    for call in stage.twin.hook.log:
        about = json.dumps(call.params, default=_text)
        if any(job in about for job in jobs):
            executions.add(call.execution)
            yield call.at_s, _called(call)
    for report in stage.twin.functions.reports:
        if report.error and report.execution in executions:
            yield report.at_s + report.duration_s, _died(report)


def _items(played: Played, jobs: list[str]) -> Iterator[Event]:
    for job in jobs:
        before: Mapping[str, Any] = {}
        for change in played.audit.jobs.get(job, []):
            yield change.at_s, f"    ledger: {_changed(before, change)}"
            before = change.item


def _computed(played: Played, jobs: list[str]) -> Iterator[Event]:
    for at_s, identity, _ in played.script.runs:
        job, _, attempt = identity.rpartition(".")
        if job in jobs:
            yield at_s, f"    model computes attempt {attempt}"


def _leases(played: Played) -> Iterator[Event]:
    for region, changes in played.audit.leases.items():
        state = ""
        for change in changes:
            now = str(change.item.get("state", ""))
            if now != state and change.at_s > played.began_s and change.call is not None:
                yield change.at_s, f"    lease of {region}: {now}"
            state = now


def _outages(played: Played) -> Iterator[Event]:
    for trouble in played.scenario.troubles:
        if trouble.kind.startswith(("region", "killed", "scaled")):
            yield played.began_s + trouble.at_s, f"    {trouble.kind} begins"
            yield played.began_s + trouble.until_s, f"    {trouble.kind} ends"


def _answered(seen: Seen) -> str:
    status = seen.document.get("status") or (seen.document.get("error") or {})
    if isinstance(status, dict):
        status = status.get("code", "")
    return f"client {seen.what} in {seen.region}: {seen.status or 'no answer'} {status}".rstrip()


def _called(call: Call) -> str:
    function = call.function.rpartition("-")[2]
    where = "" if call.region == call.caller_region else f" in {call.region}"
    outcome = call.error or call.status
    who = f"{function}/{call.execution[:4]}#{call.number}" if call.execution else function
    return f"{call.caller_region} {who} {call.operation}{where} {_about(call)} -> {outcome}"


def _about(call: Call) -> str:
    params = call.params
    told = [
        str(params[name]) for name in ("InferenceId", "Key") if isinstance(params.get(name), str)
    ]
    table = str(params.get("TableName", "")).rpartition("-")[2]
    if table:
        values = params.get("ExpressionAttributeValues") or {}
        target = (values.get(":target") or {}).get("S", "")
        attempt = (values.get(":guard_attempt") or {}).get("N", "")
        told.append(table)
        if target:
            told.append(f"to {target}{f' from attempt {attempt}' if attempt else ''}")
    if "QueueUrl" in params:
        told.append(str(params["QueueUrl"]).rpartition("/")[2].partition("-")[2])
    found = re.search(r'"attempt": (\d+)', str(params.get("MessageBody", "")))
    if found:
        told.append(f"attempt {found[1]}")
    return " ".join(told)


def _died(report: Report) -> str:
    function = report.function.rpartition("-")[2]
    return f"{report.region} {function}/{report.execution[:4]} died: {report.error}"


def _changed(before: Mapping[str, Any], change: Change) -> str:
    if not change.item:
        return "no item"
    parts = []
    for name in SHOWN:
        now = change.item.get(name)
        if now != before.get(name):
            if isinstance(now, float):
                now = int(now)
            parts.append(f"{name}={now}")
    parts += [
        f"{'+' if name in change.item else '-'}{name}"
        for name in ("output", "output_key")
        if (name in change.item) != (name in before)
    ]
    return ", ".join(parts) or "touched"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
