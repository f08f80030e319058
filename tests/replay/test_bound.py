"""The fewest GPU-hours that any policy can spend."""

from pathlib import Path

import pytest

from config.schema import Deployment, load
from spillway.replay.bound import gpu_hours, suffices
from spillway.replay.plan import Request

BENCH = Path(__file__).resolve().parents[2] / "config" / "bench.yaml"


@pytest.fixture(scope="module")
def bench() -> Deployment:
    """One region, one instance at least, 16 places each, 258 s to warm up."""
    return load(BENCH)


def asked(count: int, *, output_tokens: int, every_s: float = 0.0) -> list[Request]:
    """Interactive requests that are alike."""
    return [
        Request(
            number,
            number * every_s,
            "us-east-1",
            "chat",
            "interactive",
            {"input_tokens": 0, "output_tokens": output_tokens, "row": number},
        )
        for number in range(count)
    ]


def test_work_is_what_nobody_can_save(bench: Deployment) -> None:
    """A bound above what a policy could spend would make a good policy look bad."""
    # 10,000 jobs of 100 s, 16 at a time.
    requests = asked(10_000, output_tokens=round(100 / 0.0427))
    assert gpu_hours(requests, bench) == pytest.approx(10_000 * 100 / 16 / 3600, rel=1e-3)


def test_the_minimum_runs_all_the_time(bench: Deployment) -> None:
    """An hour of next to nothing costs the instance that is kept for it."""
    requests = asked(3601, output_tokens=10, every_s=1.0)
    assert gpu_hours(requests, bench) == pytest.approx(3600.427 / 3600)


def test_a_fleet_that_cannot_do_it_warms_one_more(bench: Deployment) -> None:
    """Without it the bound would belong to a policy that misses its targets."""
    few, many = (asked(count, output_tokens=1000) for count in (16, 17))
    assert gpu_hours(few, bench) == pytest.approx(42.7 / 3600)
    assert gpu_hours(many, bench) == pytest.approx((42.7 + 258) / 3600)


@pytest.mark.parametrize(("places", "enough"), [(0, False), (1, False), (2, True)])
def test_late_jobs_take_no_place_from_others(places: int, enough: bool) -> None:
    """Two at a time every ten seconds: with two places nobody waits, with one half is late."""
    jobs = [(10.0 * (number // 2), 9.0) for number in range(200)]
    assert suffices(jobs, places=places, target_s=5) is enough


def test_nothing_needs_nothing() -> None:
    """A model that nobody asks sleeps at zero."""
    assert suffices([], places=0, target_s=5)
