"""Who may serve, who is lost, and who takes over what."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.regions import (
    DRAINED,
    LEASE_S,
    LOST,
    LOST_S,
    SERVING,
    Lease,
    believed,
    fenced,
    may_start_ms,
    parts,
    stale,
    survivors,
    urgency,
    watched,
)

BEAT_MS = 5000
TIERS = ["interactive", "standard", "batch"]


def lease(sequence: int, *, epoch: int = 1, state: str = SERVING) -> Lease:
    """A peer's lease."""
    return Lease(region="b", epoch=epoch, sequence=sequence, state=state)


def watched_for(beats: int, sequences: Any, *, told: Any = lambda beat: beat) -> dict[str, Any]:
    """What is noted of a peer after some beats, which begin at time 0."""
    seen: dict[str, Any] = {}
    for beat in range(beats):
        news = {"at_ms": told(beat), "models": {}, "grants": {}}
        seen = watched(seen, lease(sequences(beat)), news, now_ms=beat * BEAT_MS)
    return seen


def test_a_region_stops_before_anybody_may_take_it_over() -> None:
    """Else two regions would run one job, whatever their clocks say."""
    began_ms = 1_000_000
    held = {"lease": {"epoch": 1, "state": SERVING, "until_ms": began_ms + 1000 * LEASE_S}}
    assert not fenced(held, regions=3, now_ms=began_ms + 1000 * LEASE_S - 1)
    assert fenced(held, regions=3, now_ms=began_ms + 1000 * LEASE_S)
    # A peer saw the renewal after it began, and waits longer from there.
    assert LOST_S > LEASE_S
    assert not stale(watched_for(6, lambda _: 7), now_ms=1000 * LEASE_S)


def test_a_single_region_needs_no_lease() -> None:
    """Nobody could take it over, so stopping it would help nobody."""
    assert not fenced({}, regions=1, now_ms=1)
    assert fenced({}, regions=2, now_ms=1)
    assert may_start_ms({}, regions=1) is None
    assert may_start_ms({"state": DRAINED}, regions=1) == 0


def test_a_drained_region_starts_nothing() -> None:
    """What runs there ends; what waits goes elsewhere."""
    assert may_start_ms({"state": DRAINED, "until_ms": 99}, regions=3) == 0
    assert may_start_ms({"state": SERVING, "until_ms": 99}, regions=3) == 99


def test_a_peer_is_stale_only_when_its_lease_stood_still_for_as_long_as_we_watched() -> None:
    """A region that was just seen for the first time is not lost, whatever its clock says."""
    still = watched_for(2, lambda _: 7)
    assert not stale(still, now_ms=1000 * LOST_S - 1)
    assert stale(still, now_ms=1000 * LOST_S)
    moving = watched_for(10, lambda beat: beat)
    assert not stale(moving, now_ms=9 * BEAT_MS + 1000 * LOST_S - 1)
    assert not stale(still | {"state": LOST}, now_ms=10**9)


@pytest.mark.parametrize("state", [DRAINED, LOST])
def test_only_a_serving_peer_with_news_is_believed(state: str) -> None:
    """Jobs that are sent to a region which is gone come back a minute later."""
    fresh = watched_for(3, lambda beat: beat)
    assert believed(fresh, now_ms=2 * BEAT_MS)
    assert not believed(fresh | {"state": state}, now_ms=2 * BEAT_MS)
    silent = watched_for(6, lambda beat: beat, told=lambda _: 1)
    assert not believed(silent, now_ms=5 * BEAT_MS)


@given(
    jobs=st.lists(st.uuids().map(str), unique=True, max_size=60),
    regions=st.lists(st.sampled_from("abcdef"), unique=True, min_size=1, max_size=4),
    executions=st.lists(st.sampled_from([1, 4, 8]), min_size=4, max_size=4),
)
def test_survivors_take_every_job_once(
    jobs: list[str], regions: list[str], executions: list[int]
) -> None:
    """A job that nobody takes waits for the next round, however each of them splits its share."""
    among = sorted(regions)
    taken = Counter(
        job
        for region, each in zip(among, executions, strict=False)
        for part in parts(region, among, executions=each)
        for job in jobs
        if part.holds(job)
    )
    assert taken == Counter(jobs)


def test_survivors_are_those_that_serve() -> None:
    """A drained region is to get nothing, and a lost one can take nothing."""
    peers = {"b": {"state": SERVING}, "c": {"state": LOST}, "d": {"state": DRAINED}}
    assert survivors("a", peers) == ["a", "b"]


def test_urgent_jobs_are_moved_first_and_then_the_oldest() -> None:
    """Whoever waits for an answer on a screen should be the first to be missed no longer."""
    jobs = [("batch", 1), ("interactive", 9), ("standard", 2), ("interactive", 3), ("gone", 0)]
    assert sorted(jobs, key=lambda job: urgency(job[0], job[1], TIERS)) == [
        ("interactive", 3),
        ("interactive", 9),
        ("standard", 2),
        ("batch", 1),
        ("gone", 0),
    ]
