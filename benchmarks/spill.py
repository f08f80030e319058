"""What spill and relief are worth: one region gets five times its traffic, with them and without.

The shipped slice of a real trace, spread evenly over three regions. In its middle third every
request of one region comes five times. Without: the same code, whose offers are empty.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows
from config.schema import Deployment, load
from lambdas.domain import admission, moves
from spillway import local, traces
from spillway.replay.plan import Assignment, Request
from spillway.replay.virtual import VirtualReplay

CONFIG = ROOT / "config" / "dev.yaml"
SPEED = 3.0
"""A third of what the endpoints can do, so that the peers of a busy region have room."""
TIMES = 5
APART_S = 0.05


def requests(deployment: Deployment) -> list[Request]:
    """The trace with its burst, numbered anew."""
    rows = list(Assignment.of(deployment, speed=SPEED).requests(traces.read(traces.SLICE)))
    end_s = rows[-1].at_s
    busy = deployment.regions[0]
    found = []
    for row in rows:
        burst = row.region == busy and end_s / 3 <= row.at_s < 2 * end_s / 3
        copies = TIMES if burst else 1
        found += [replace(row, at_s=row.at_s + APART_S * copy) for copy in range(copies)]
    found.sort(key=lambda row: row.at_s)
    return [
        replace(row, number=number, body=row.body | {"row": number})
        for number, row in enumerate(found)
    ]


@contextmanager
def alone() -> Iterator[None]:
    """No region sees an offer, and none takes anything from another."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(admission, "offers", lambda *_, **__: ()))
        stack.enter_context(patch.object(moves, "relieving", lambda *_, **__: ()))
        yield


def replayed(deployment: Deployment) -> dict[str, Any]:
    """One run on a fresh twin."""
    with local.start(CONFIG, virtual=True) as twin:
        return VirtualReplay(twin, deployment).run(requests(deployment)).document()


def run(options: Options) -> Report:
    """Replay both ways."""
    del options
    report = Report("spill", f"A regional burst of {TIMES} times the traffic")
    deployment = load(CONFIG)
    together = replayed(deployment)
    with alone():
        apart = replayed(deployment)
    assert together["lost"] == apart["lost"] == 0
    rows = [
        (
            f"{tier}, {rank}",
            f"{apart['wait_s'][tier][rank]:.1f}",
            f"{together['wait_s'][tier][rank]:.1f}",
        )
        for tier in deployment.tiers
        for rank in ("p50", "p95", "p99")
    ]
    rows += [
        ("jobs", f"{apart['accepted']:,}", f"{together['accepted']:,}"),
        ("moved by relief", str(apart["moved"]), str(together["moved"])),
        ("AWS calls per job", f"{apart['calls_per_job']:.1f}", f"{together['calls_per_job']:.1f}"),
    ]
    report.tables.append(
        Rows("seconds until the start", ("what", "each for itself", "together"), rows)
    )
    report.figures.append(
        Figure(
            what="interactive p99 against the same run without spill",
            value=together["wait_s"]["interactive"]["p99"] / apart["wait_s"]["interactive"]["p99"],
            unit="x",
            target=1.0,
            floor="each region for itself",
        )
    )
    return report
