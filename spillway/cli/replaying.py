"""How a replay looks while it runs and at its end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from spillway.cli.terminal import table
from spillway.replay.outage import Seen
from spillway.replay.report import Progress, Report

BAR_WIDTH = 40


@contextmanager
def shown(console: Console, rows: int, what: str) -> Iterator[Callable[[Progress], None] | None]:
    """A live display on a terminal; nothing where nobody looks.

    Args:
        console: Where to draw.
        rows: Requests that the replay will send.
        what: Says what is replayed.
    """
    if not console.is_terminal:
        yield None
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda progress: live.update(_picture(progress, rows, what))


def _picture(progress: Progress, rows: int, what: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        f"{progress.clock_s:7.0f} s",
        "sent",
        ProgressBar(total=rows, completed=progress.offered, width=BAR_WIDTH),
        f"{progress.offered} of {rows}",
    )
    grid.add_row(
        "",
        "ended",
        ProgressBar(total=rows, completed=progress.ended, width=BAR_WIDTH),
        f"{progress.ended}, {progress.accepted} accepted",
    )
    most = max(1, *progress.waiting.values())
    for tier, waiting in progress.waiting.items():
        bar = ProgressBar(total=most, completed=waiting, width=BAR_WIDTH, complete_style="yellow")
        grid.add_row("", tier, bar, f"{waiting} waiting")
    if progress.running is not None:
        grid.add_row("", "running", "", str(progress.running))
    return Group(what, grid)


def summary(report: Report) -> Table:
    """The table at the end."""
    document = report.document()
    rows: list[tuple[object, ...]] = [
        (
            name,
            tier.accepted,
            tier.completed,
            tier.lost,
            *(_seconds(wait) for wait in document["wait_s"][name].values()),
            _seconds(tier.target_wait_s),
            "-" if not tier.accepted else f"{document['attainment'][name]:.1%}",
        )
        for name, tier in report.tiers.items()
    ]
    totals = (document["accepted"], document["completed"], document["lost"])
    rows.append(("together", *totals, *[""] * 5))
    columns = ("tier", "accepted", "completed", "lost", "p50", "p95", "p99", "target", "in time")
    return table("waits in seconds", columns, rows, numbers=len(columns) - 1)


def sentence(report: Report) -> str:
    """What the table does not say, in a line."""
    document = report.document()
    parts = {
        "AWS calls per job": document["calls_per_job"],
        "GPU hours": document["gpu_hours"],
        "bound": document["gpu_hours_bound"],
        "failed": document["failed"],
        "turned away": sum(report.turned_away.values()),
        "retried": report.retried,
        "interrupted": report.interrupted,
        "moved": report.moved,
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)


def comparison(reports: Sequence[Report]) -> Table:
    """What each of several ways to scale costs, and what it attains."""
    rows: list[tuple[object, ...]] = []
    for report in reports:
        document = report.document()
        attainment = document["attainment"].values()
        rows.append(
            (
                report.scaling,
                *("-" if share is None else f"{share:.2%}" for share in attainment),
                _seconds(document["wait_s"][next(iter(report.tiers))]["p99"]),
                document["gpu_hours"],
                document["gpu_hours_bound"],
                f"{document['gpu_hours_over_bound']:.2f} x",
            )
        )
    columns = ("scaling", *reports[0].tiers, "p99, s", "GPU hours", "bound", "ratio")
    title = f"in time, p99 of {next(iter(reports[0].tiers))}, and what it costs"
    return table(title, columns, rows, numbers=len(columns) - 1)


def lost_region(seen: Seen) -> str:
    """What became of a region that died."""
    if seen.lost_s is None or seen.moved_s is None:
        return f"{seen.region} died, and its {seen.held} unfinished jobs were not all moved"
    return (
        f"{seen.region} died holding {seen.held} unfinished jobs: declared lost after "
        f"{seen.lost_s:.0f} s, none left there after {seen.moved_s:.0f} s"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
