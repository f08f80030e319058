"""What a replay reports."""

import pytest

from spillway.replay.report import Report, percentile


def report() -> Report:
    """Four interactive jobs, of which one never started, and a batch tier without jobs."""
    result = Report.of({"interactive": 5.0, "batch": 3600.0})
    tier = result.tiers["interactive"]
    tier.accepted = 4
    for wait_s in (1.0, 9.0, 2.0):
        tier.started(wait_s)
    for status in ("completed", "completed", "failed", "in_progress"):
        result.end("interactive", status)
    result.turn_away("rate")
    result.calls = 80
    result.wall_s = 2.0
    return result


def test_a_job_in_no_terminal_state_is_lost() -> None:
    """Accepted work that nobody finishes is the one thing that must never happen."""
    document = report().document()

    assert (document["accepted"], document["completed"], document["failed"]) == (4, 2, 1)
    assert document["lost"] == 1
    assert document["turned_away"] == {"rate": 1}


def test_attainment_counts_jobs_that_never_started_as_late() -> None:
    """A queue that starts half its jobs in time and the rest never does not attain 100 %."""
    document = report().document()

    assert document["attainment"] == {"interactive": 0.5, "batch": None}
    assert document["wait_s"]["interactive"] == {"p50": 2.0, "p95": 9.0, "p99": 9.0}
    assert document["wait_s"]["batch"] == {"p50": None, "p95": None, "p99": None}


def test_calls_are_reported_per_accepted_job() -> None:
    """Calls are the bill: eighty calls for four jobs are twenty each."""
    assert report().document()["calls_per_job"] == 20
    assert Report.of({"batch": 1.0}).document()["calls_per_job"] is None


@pytest.mark.parametrize(
    ("values", "rank", "expected"),
    [([], 50, None), ([3.0], 99, 3.0), ([1.0, 2.0], 50, 1.0), (list(range(1, 101)), 95, 95)],
)
def test_percentiles_are_values_that_occurred(
    values: list[float], rank: int, expected: float | None
) -> None:
    """An interpolated wait is one that nobody had."""
    assert percentile(values, rank) == expected
