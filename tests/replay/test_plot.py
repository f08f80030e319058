"""The picture of a replay."""

import sys
from pathlib import Path

import pytest

from spillway.replay import plot
from spillway.replay.course import Course, Jobs
from spillway.replay.report import Report

pytest.importorskip("matplotlib", reason="an extra: pip install 'spillway[plot]'")
TARGETS_S = {"interactive": 5.0, "standard": 60.0, "batch": 3600.0}


def replayed(scaling: str) -> Report:
    """A quarter of an hour in which the fleet doubles; nobody asked for batch."""
    report = Report.of(TARGETS_S)
    report.scaling, report.gpu_hours = scaling, 0.5
    report.course = course = Course.of(TARGETS_S)
    for minute in range(15):
        course.look(60.0 * minute, billed=1 + minute // 5, serving=1 + minute // 8)
        for tier in ("standard", "interactive"):
            report.tiers[tier].accepted += 1
            report.tiers[tier].started(minute)
            course.started(tier, 60.0 * (14 - minute), minute)
    return report


def test_replays_stand_beside_each_other(tmp_path: Path) -> None:
    """Two policies can only be compared in one picture."""
    image = pytest.importorskip("PIL.Image")
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    plot.draw([replayed("alarms")], one, title="a quarter of an hour")
    plot.draw([replayed("alarms"), replayed("sagemaker-default")], two, title="twice")

    sizes = []
    for path in (one, two):
        with image.open(path) as opened:
            sizes.append(opened.size)
            # Not only white paper: the curves have colours.
            assert len(opened.convert("RGB").getcolors(1 << 20)) > 20
    assert sizes == [(700, 800), (1400, 800)]


def test_the_larger_fleet_is_in_the_picture_too() -> None:
    """What is cut off is what one policy costs more than the other."""
    small, large = replayed("alarms"), replayed("sagemaker-default")
    assert large.course is not None
    large.course.look(900.0, billed=15, serving=2)

    figure = plot.picture([small, large], title="")

    bottom, top = figure.axes[2].get_ylim()
    assert bottom == 0
    assert top >= 15


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A replay of an hour must not end in a stack trace."""
    with pytest.raises(plot.PlotError, match="cannot be written"):
        plot.draw([replayed("alarms")], tmp_path / "missing" / "one.png", title="")


def test_without_the_library_it_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who only deploys does not have it."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(plot.PlotError, match=r"spillway\[plot\]"):
        plot.draw([replayed("alarms")], tmp_path / "one.png", title="")
    assert not list(tmp_path.iterdir())


def test_stretches_without_jobs_are_gaps() -> None:
    """A line drawn through a pause would claim jobs that nobody sent."""
    jobs = Jobs()
    for came_s, waited_s in ((41.0, 3.0), (2.0, 1.0), (3.0, 2.0)):
        jobs.came_s.append(came_s)
        jobs.waited_s.append(waited_s)
    assert plot.stretches(jobs, 20.0) == [(0.0, [1.0, 2.0]), (20.0, []), (40.0, [3.0])]
    assert plot.stretches(Jobs(), 20.0) == []
