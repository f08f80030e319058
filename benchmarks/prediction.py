"""How well `queue.predicted_start` held: real traffic, and when its jobs really started.

The shipped slice of a real trace on the twin, at several speeds. Every accepted job tells when it
will probably start, in the answer to its submission; one that is to wait for long is asked again
when half of that time is over. Both are held against `started_at`, as the ledger knows it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median, quantiles
from typing import Any

import httpx

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows
from config.schema import Deployment, load
from spillway import local, traces
from spillway.replay.plan import Assignment
from spillway.replay.virtual import VirtualReplay
from spillway.twin.twin import Twin

COURSES = (
    ("one region, as recorded", "bench.yaml", 1.0),
    ("one region, three times as fast", "bench.yaml", 3.0),
    ("three regions, nine times as fast", "dev.yaml", 9.0),
)
WAITED_S_MIN = 5.0
"""Who waited less knows no difference: a beat is five seconds."""
ASKED_AGAIN_S_MIN = 10.0
ERROR_MAX = 0.5
"""Of the wait: a prediction that is wrong by more than half of it, in the median, says little."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was said of one job's start.

    Attributes:
        job: Which.
        asked_s: When, in seconds since the epoch.
        start_s: The predicted start.
    """

    job: str
    asked_s: float
    start_s: float


@dataclass(frozen=True, slots=True)
class Look:
    """A prediction, and what came of it.

    Attributes:
        tier: The job's.
        left_s: Seconds from the prediction to the real start.
        error_s: Predicted start less the real one: below 0, the job started later than it was told.
    """

    tier: str
    left_s: float
    error_s: float


@dataclass(slots=True)
class Recorder:
    """Writes down what jobs are told.

    Attributes:
        twin: On which they run.
        first: What was said when they were accepted.
        later: What was said when half of the time was over.
    """

    twin: Twin
    first: list[Prediction] = field(default_factory=list)
    later: list[Prediction] = field(default_factory=list)

    def accepted(self, client: httpx.Client, job: dict[str, Any]) -> None:
        """Note a job as it was accepted, and ask again if it waits for long."""
        found = self._prediction(job)
        if found is None:
            return
        self.first.append(found)
        left_s = found.start_s - found.asked_s
        if left_s >= ASKED_AGAIN_S_MIN:
            scheduler = self.twin.scheduler
            scheduler.at(found.asked_s + left_s / 2, scheduler.spawn, self._ask, client, found.job)

    def _ask(self, client: httpx.Client, job: str) -> None:
        found = self._prediction(client.get(f"/v1/jobs/{job}").json())
        if found is not None:
            self.later.append(found)

    def _prediction(self, job: dict[str, Any]) -> Prediction | None:
        if job["queue"] is None:
            return None
        start_s = datetime.fromisoformat(job["queue"]["predicted_start"]).timestamp()
        return Prediction(job["id"], self.twin.scheduler.now(), start_s)


def started(twin: Twin, deployment: Deployment) -> dict[str, tuple[str, float]]:
    """Tier and start of every job that started, and was neither tried again nor moved."""
    client = twin.operator(deployment.primary_region).client("dynamodb")
    return {
        item["pk"]["S"].removeprefix("job#"): (
            item["tier"]["S"],
            int(item["started_ms"]["N"]) / 1000,
        )
        for page in client.get_paginator("scan").paginate(TableName=deployment.names.ledger)
        for item in page["Items"]
        if "started_ms" in item and item["attempt"]["N"] == "1"
    }


def looks(
    predictions: Iterable[Prediction], starts: dict[str, tuple[str, float]]
) -> Iterator[Look]:
    """Hold what was said against what came."""
    for said in predictions:
        if said.job in starts:
            tier, start_s = starts[said.job]
            yield Look(tier, start_s - said.asked_s, said.start_s - start_s)


def course(config: str, speed: float) -> tuple[list[Look], list[Look]]:
    """One run on a fresh twin: what was said at submission, and what later."""
    path = ROOT / "config" / config
    deployment = load(path)
    requests = Assignment.of(deployment, speed=speed).requests(traces.read(traces.SLICE))
    with local.start(path, virtual=True) as twin:
        recorder = Recorder(twin)
        report = VirtualReplay(twin, deployment).run(requests, accepted=recorder.accepted)
        assert report.lost == 0, "jobs were lost"
        starts = started(twin, deployment)
    return [*looks(recorder.first, starts)], [*looks(recorder.later, starts)]


def row(what: str, found: Sequence[Look]) -> tuple[str, ...]:
    """A line of the table: of those that still had to wait for some time."""
    waited = [each for each in found if each.left_s >= WAITED_S_MIN]
    at_once = [abs(each.error_s) for each in found if each.left_s < WAITED_S_MIN]
    few = f"{_p90(at_once):.1f}" if at_once else "-"
    if not waited:
        return (what, str(len(found)), few, "0", "-", "-", "-", "-", "-", "-")
    errors = [abs(each.error_s) for each in waited]
    parts = [abs(each.error_s) / each.left_s for each in waited]
    late = sum(each.error_s < 0 for each in waited) / len(waited)
    return (
        what,
        str(len(found)),
        few,
        str(len(waited)),
        f"{median(each.left_s for each in waited):.1f}",
        f"{median(errors):.1f}",
        f"{_p90(errors):.1f}",
        f"{median(parts):.0%}",
        f"{_p90(parts):.0%}",
        f"{late:.0%}",
    )


def _p90(values: Sequence[float]) -> float:
    return quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]


COLUMNS = (
    "jobs",
    "predicted",
    "p90 error of those that wait under 5 s, s",
    "wait longer",
    "their median wait, s",
    "median error, s",
    "p90 error, s",
    "median error / wait",
    "p90 error / wait",
    "start later than told",
)


def run(options: Options) -> Report:
    """Replay the slice at each speed."""
    del options
    report = Report("prediction", "How well the predicted start held")
    for what, config, speed in COURSES:
        first, later = course(config, speed)
        tiers = dict.fromkeys(look.tier for look in first)
        rows = [
            row(f"at submission, {tier}", [e for e in first if e.tier == tier])
            for tier in sorted(tiers)
        ]
        rows += [row("at submission, all", first), row("at half of it, all", later)]
        report.tables.append(Rows(what, COLUMNS, rows))
        waited = [abs(e.error_s) / e.left_s for e in first if e.left_s >= WAITED_S_MIN]
        if waited:
            report.figures.append(
                Figure(
                    what=f"median error / wait, {what}",
                    value=median(waited),
                    unit="",
                    target=ERROR_MAX,
                    floor="started_at",
                )
            )
    return report
