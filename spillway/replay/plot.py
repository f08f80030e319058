"""A picture of replays beside each other: what came, who served, how long everybody waited."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from spillway.replay.course import Course, Jobs
from spillway.replay.report import Report, percentile

INCHES: Final = (7.0, 8.0)
"""Of one replay; several stand beside each other."""
DOTS_PER_INCH: Final = 100
STEPS_MAX: Final = 180
"""Stretches of time that a picture is divided into: more would only be noise."""
STEP_S_MIN: Final = 10.0
HOURS_FROM_S: Final = 7200.0
"""A replay that lasts so long has its axis in hours."""
WAIT_S_MIN: Final = 0.1
"""Shorter waits are drawn as this, because the scale is logarithmic."""
COLOURS: Final = ("tab:red", "tab:orange", "tab:blue")


class PlotError(Exception):
    """A picture that cannot be drawn; the message says what to do."""


def draw(reports: Sequence[Report], path: Path, *, title: str) -> None:
    """Draw replays of the same requests into a file.

    Args:
        reports: Each with its course; they share their axes, so that they can be compared.
        path: A .png file.
        title: What was replayed.

    Raises:
        PlotError: The library is not installed, or the file cannot be written.
    """
    figure = picture(reports, title=title)
    try:
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH)
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror}") from error


def picture(reports: Sequence[Report], *, title: str) -> Any:
    """The picture that `draw` writes, as a figure of matplotlib.

    Raises:
        PlotError: The library is not installed, or a report has no course.
    """
    try:
        backend = import_module("matplotlib.backends.backend_agg")
        figures = import_module("matplotlib.figure")
    except ImportError as error:
        raise PlotError("plots need matplotlib: pip install 'spillway[plot]'") from error
    width, height = INCHES
    figure = figures.Figure(figsize=(width * len(reports), height), layout="constrained")
    backend.FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(reports), sharex=True, sharey="row", squeeze=False)
    figure.suptitle(title)
    for column, report in enumerate(reports):
        if report.course is None:
            raise PlotError("there is nothing to draw: nobody looked at the replay's course")
        _arrivals(axes[0][column], report)
        _instances(axes[1][column], report)
        _waits(axes[2][column], report)
    for row in (0, 1):  # when all is drawn: a limit that is set earlier holds for the others too
        axes[row][0].set_ylim(bottom=0)
    return figure


def _arrivals(axes: Any, report: Report) -> None:
    course = _course(report)
    step_s = step_of(course)
    arrivals = Jobs()
    for jobs in course.tiers.values():
        arrivals.came_s.extend(jobs.came_s)
        arrivals.waited_s.extend(jobs.waited_s)
    came = [(at_s, len(waits) / step_s) for at_s, waits in stretches(arrivals, step_s)]
    axes.fill_between(*_drawn(came, course), step="post", color="tab:gray", alpha=0.6)
    axes.set_title(
        f"{report.scaling}: {report.gpu_hours or 0:.2f} GPU hours, "
        + ", ".join(_attained(name, report) for name in report.tiers)
    )
    axes.title.set_size("medium")
    axes.set_ylabel("arrivals, jobs a second")


def _attained(name: str, report: Report) -> str:
    tier = report.tiers[name]
    return f"{name} {tier.in_time / max(1, tier.accepted):.1%}"


def _instances(axes: Any, report: Report) -> None:
    course = _course(report)
    looks = (
        (course.billed, "billed", "tab:gray"),
        (course.serving, "in service", "tab:green"),
    )
    for numbers, label, colour in looks:
        points = zip(course.at_s, numbers, strict=True)
        axes.step(*_drawn(points, course), where="post", color=colour, label=label)
    axes.set_ylabel("instances")
    axes.legend(loc="lower right")


def _waits(axes: Any, report: Report) -> None:
    """Of each tier the wait that 95 % of the jobs of a stretch did not exceed, and its target."""
    course = _course(report)
    step_s = step_of(course)
    for colour, (name, jobs) in zip(COLOURS, course.tiers.items(), strict=False):
        waits = [
            (at_s, max(WAIT_S_MIN, percentile(sorted(found), 95) or 0.0))
            for at_s, found in stretches(jobs, step_s)
            if found
        ]
        axes.plot(*_drawn(waits, course), ".", color=colour, label=f"{name}, p95")
        axes.axhline(report.tiers[name].target_wait_s, color=colour, linestyle=":")
    axes.set_yscale("log")
    axes.set_ylabel("wait in seconds; dotted: targets")
    axes.set_xlabel(unit_of(course)[1])
    axes.legend(loc="upper right")


def _course(report: Report) -> Course:
    assert report.course is not None  # noqa: S101 `draw` looked
    return report.course


def step_of(course: Course) -> float:
    """Seconds of one stretch of a picture."""
    last_s = max((at_s for jobs in course.tiers.values() for at_s in jobs.came_s), default=0.0)
    return max(STEP_S_MIN, last_s / STEPS_MAX)


def stretches(jobs: Jobs, step_s: float) -> list[tuple[float, list[float]]]:
    """Waits of the jobs that came in each stretch of time, from the first to the last.

    Args:
        jobs: In any order.
        step_s: Length of a stretch.
    """
    found: dict[int, list[float]] = defaultdict(list)
    for came_s, waited_s in zip(jobs.came_s, jobs.waited_s, strict=True):
        found[int(came_s // step_s)].append(waited_s)
    if not found:
        return []
    return [(step * step_s, found.get(step, [])) for step in range(min(found), max(found) + 1)]


def unit_of(course: Course) -> tuple[float, str]:
    """Seconds of the unit of a picture's time axis, and its name."""
    long = course.at_s and course.at_s[-1] >= HOURS_FROM_S
    return (3600.0, "hours") if long else (60.0, "minutes")


def _drawn(
    points: Iterable[tuple[float, float]], course: Course
) -> tuple[list[float], list[float]]:
    """Times in the picture's unit, and values, as two lists."""
    listed, (unit_s, _) = list(points), unit_of(course)
    return [at_s / unit_s for at_s, _ in listed], [value for _, value in listed]
