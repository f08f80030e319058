"""Replays on the twin: the deployment's own templates, functions and queues."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.schema import load
from spillway import local, traces
from spillway.replay.plan import Assignment, Request
from spillway.replay.report import Progress, Report
from spillway.replay.virtual import VirtualReplay
from spillway.twin.twin import Twin

CONFIG = Path(__file__).resolve().parents[2] / "config" / "dev.yaml"
SIMULATED = local.containers(load(CONFIG))[load(CONFIG).names.endpoint("chat", "v1")]
CANNED = {load(CONFIG).names.endpoint("embedder", "v1"): SIMULATED}
"""No test here asks the embedder, so none starts its processes."""
Prepare = Callable[[Twin], object]


def replayed(requests: list[Request], prepare: Prepare = lambda _: None, **settings: Any) -> Report:
    """Replay requests on a fresh twin of the dev deployment."""
    with local.start(CONFIG, virtual=True, replaced=CANNED, **settings) as twin:
        prepare(twin)
        return VirtualReplay(twin, load(CONFIG)).run(requests)


def from_trace(rows: int, **options: Any) -> list[Request]:
    """The first rows of the shipped slice as requests."""
    assignment = Assignment.of(load(CONFIG), **options)
    return list(assignment.requests(itertools.islice(traces.read(traces.SLICE), rows)))


def test_too_few_slots_make_batch_wait_and_lose_nothing() -> None:
    """Priority and safety are the two promises; a burst is when they are needed."""
    report = replayed(from_trace(110, speed=40, regions="us-east-1"))
    document = report.document()

    assert (document["accepted"], document["completed"], document["lost"]) == (110, 110, 0)
    waits = document["wait_s"]
    assert waits["interactive"]["p50"] < waits["batch"]["p50"]
    assert waits["interactive"]["p95"] < waits["batch"]["p95"]
    assert document["attainment"]["batch"] == 1.0
    # Six instances, warm from the start, until the last job ended.
    assert document["gpu_hours"] == pytest.approx(6 * document["simulated_s"] / 3600, rel=0.01)
    assert 8 < document["calls_per_job"] < 30


def test_the_same_seed_gives_the_same_report() -> None:
    """A replay that cannot be repeated cannot be argued about."""
    requests = from_trace(8)
    first, second = (replayed(requests, seed=3).document() for _ in range(2))

    differs = {"wall_s", "jobs_per_s"}
    assert {name: value for name, value in first.items() if name not in differs} == {
        name: value for name, value in second.items() if name not in differs
    }


def test_a_lost_job_is_counted_as_lost() -> None:
    """A replay that cannot find a loss proves nothing when it finds none."""

    def lose(twin: Twin) -> None:
        ledger = twin.operator("us-east-1").client("dynamodb")

        def erase() -> None:
            items = ledger.scan(TableName="spillway-dev-ledger")["Items"]
            jobs = [item["pk"] for item in items if item["pk"]["S"].startswith("job#")]
            ledger.delete_item(TableName="spillway-dev-ledger", Key={"pk": jobs[0]})

        twin.scheduler.at(twin.scheduler.now() + 92, lambda: twin.scheduler.spawn(erase))

    report = replayed(from_trace(12), prepare=lose)

    assert (report.accepted, report.lost) == (12, 1)
    assert report.ended == {"completed": 11}


def test_a_result_that_is_another_jobs_is_a_loss() -> None:
    """Handing somebody another tenant's answer is worse than no answer."""
    requests = from_trace(3)
    # The model will tell the row that it was asked with, and the replay knows another.
    swapped = [
        Request(9, each.at_s, each.region, each.model, each.tier, each.body)
        if each.number == 1
        else each
        for each in requests
    ]

    report = replayed(swapped)

    assert (report.accepted, report.lost) == (3, 1)


def test_requests_that_are_turned_away_are_counted_by_reason() -> None:
    """Refused work is not lost, and not served either."""
    bad = Request(0, 0.0, "us-east-1", "no-such-model", "batch", {})

    report = replayed([bad, *from_trace(2)])

    assert report.offered == 3
    assert report.accepted == 2
    assert report.turned_away == {"model_not_found": 1}


def test_the_display_is_told_how_far_things_are() -> None:
    """Whoever watches must see that something happens, and when it is over."""
    seen: list[Progress] = []
    deployment = load(CONFIG)
    with local.start(CONFIG, virtual=True, replaced=CANNED) as twin:
        VirtualReplay(twin, deployment).run(from_trace(6), show=seen.append)

    assert (seen[-1].offered, seen[-1].accepted, seen[-1].ended) == (6, 6, 6)
    assert set(seen[-1].waiting) == {"interactive", "standard", "batch"}


def test_an_interrupt_ends_a_replay() -> None:
    """A replay of a day that cannot be stopped is stopped by closing the lid."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with (
        local.start(CONFIG, virtual=True, replaced=CANNED) as twin,
        pytest.raises(KeyboardInterrupt),
    ):
        VirtualReplay(twin, load(CONFIG)).run(from_trace(5), check=interrupted)
