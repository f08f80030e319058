"""How fast the twin is on the virtual clock: jobs per second of real time, a trace replayed."""

import itertools
import time
from collections.abc import Iterator

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows
from config.schema import load
from spillway import local, traces
from spillway.replay.plan import Assignment
from spillway.replay.virtual import VirtualReplay

CONFIG = ROOT / "config" / "dev.yaml"
MINUTES_MAX = 5.0


def rows_until(rows: Iterator[traces.Row], seconds: float) -> Iterator[traces.Row]:
    """The beginning of a trace."""
    return itertools.takewhile(lambda row: row.arrival_s < seconds, rows)


def run(options: Options) -> Report:
    """Replay, and time it."""
    path = options.trace or traces.SLICE
    report = Report("twin", "The twin on its virtual clock")
    deployment = load(CONFIG)
    rows = rows_until(traces.read(path), 60 * options.minutes)
    began = time.perf_counter()
    twin = local.start(CONFIG, virtual=True)
    boot_s = time.perf_counter() - began
    try:
        cpu = time.process_time()
        replay = VirtualReplay(twin, deployment)
        found = replay.run(Assignment.of(deployment).requests(rows)).document()
        cpu_s = time.process_time() - cpu
        calls = twin.hook.log.counts.total()
    finally:
        twin.close()
    assert found["lost"] == 0, found
    wall_s = found["wall_s"]
    simulated_min = found["simulated_s"] / 60
    report.tables.append(
        Rows(
            f"{path.name}, three regions, two models",
            ("what", "value"),
            [
                ("jobs accepted", str(found["accepted"])),
                ("jobs completed", str(found["completed"])),
                ("jobs lost", str(found["lost"])),
                ("simulated", f"{simulated_min:.1f} min"),
                ("real time", f"{wall_s:.1f} s"),
                ("processor time", f"{cpu_s:.1f} s"),
                ("jobs per second of real time", f"{found['jobs_per_s']:.1f}"),
                ("AWS calls per second", f"{calls / wall_s:.0f}"),
                ("boot, templates synthesized before", f"{boot_s:.1f} s"),
            ],
        )
    )
    full = simulated_min >= 0.9 * options.minutes
    report.figures.append(
        Figure(
            what=f"{simulated_min:.0f} min of {path.name}",
            value=wall_s / 60,
            unit="min",
            target=MINUTES_MAX if full else MINUTES_MAX * simulated_min / 30,
            floor="the trace's own time" if full else "the same rate as 30 min in 5",
        )
    )
    return report
