"""Where a waiting job stands."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.job import Job, Status
from lambdas.domain.prediction import place
from tests.domain.api_policy import TIERS, model, snapshot

NOW_MS = 1_700_000_000_000
JOB = Job(
    id="job_a",
    status=Status.QUEUED,
    attempt=1,
    owner="us-east-1",
    home="us-east-1",
    tenant="acme",
    model="embedder",
    tier="standard",
    created_ms=NOW_MS,
    deadline_ms=NOW_MS + 1,
    request_hash=b"",
)


def position(age_s: float, *, waiting: int = 100, oldest_s: float = 50.0) -> int:
    """The place of a job that is so old when the snapshot is taken."""
    seen = snapshot(in_use=8, waiting={"standard": waiting}, oldest_s={"standard": oldest_s})
    job = replace(JOB, created_ms=NOW_MS - round(1000 * age_s))
    return place(job, model(), TIERS, seen, now_ms=NOW_MS).position


def test_a_new_job_stands_behind_everybody() -> None:
    """Whoever asks first must not be promised somebody else's turn."""
    assert position(0) == 101
    assert position(-3) == 101


def test_the_oldest_job_is_next() -> None:
    """A job that has waited longest must not read that a hundred are before it."""
    assert position(50) == 1
    assert position(60) == 1


@given(st.floats(0, 50), st.floats(0, 50), st.integers(0, 10_000))
def test_older_jobs_stand_further_in_front(one: float, other: float, waiting: int) -> None:
    """First come, first served, is what a queue promises within a tier."""
    older, younger = max(one, other), min(one, other)

    assert position(older, waiting=waiting) <= position(younger, waiting=waiting)


def test_more_urgent_tiers_stand_in_front_and_others_do_not() -> None:
    """The position is that among all jobs that start earlier, not within a tier."""
    waiting = {"interactive": 7, "standard": 10, "batch": 1000}
    seen = snapshot(in_use=8, waiting=waiting)

    assert place(JOB, model(), TIERS, seen, now_ms=NOW_MS).position == 18


def test_a_start_is_predicted_from_when_the_queue_was_seen() -> None:
    """Predicting from now moves the start away for as long as somebody looks."""
    seen = snapshot(in_use=8, waiting={"standard": 20})
    early = place(JOB, model(), TIERS, seen, now_ms=NOW_MS)
    later = place(JOB, model(), TIERS, seen, now_ms=NOW_MS + 2000)

    assert early == later
    assert 5000 < early.start_ms - NOW_MS < 10_000


def test_who_came_since_the_queue_was_seen_stands_in_front() -> None:
    """In a burst, all jobs between two beats would be promised the same turn."""
    arrivals = {tier: {"fast": 10.0, "slow": 1.0} for tier in ("interactive", "standard", "batch")}
    seen = snapshot(in_use=8, waiting={"standard": 20}, arrivals=arrivals)
    found = [
        place(replace(JOB, created_ms=NOW_MS + after_ms), model(), TIERS, seen, now_ms=NOW_MS)
        for after_ms in (-1000, 0, 1000, 4000)
    ]

    # Ten a second of its own tier, and ten of the more urgent one.
    assert [each.position for each in found] == [21, 21, 41, 101]
    waits_ms = [each.start_ms - NOW_MS for each in found]
    assert waits_ms == sorted(waits_ms)
    assert waits_ms[3] > 4 * waits_ms[0]


def test_nothing_is_predicted_for_the_past() -> None:
    """A start that has passed, of a job that waits, is no prediction."""
    seen = snapshot()

    assert place(JOB, model(), TIERS, seen, now_ms=NOW_MS + 60_000).start_ms == NOW_MS + 60_000


def test_without_a_snapshot_the_job_is_next() -> None:
    """There is nothing better to say before the first beat."""
    found = place(JOB, model(), TIERS, {}, now_ms=NOW_MS)

    assert (found.position, found.start_ms) == (1, NOW_MS)
