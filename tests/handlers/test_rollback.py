"""A release function may die before or after any call: a bad version is taken back all the same."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from lambdas.domain.policy import Policy
from lambdas.domain.release import Release
from tests.handlers.region import HERE, MODEL, NEXT, THIRD, DiedError, Region, aws
from tests.handlers.test_releasing import record, records, tick, want

CALLS = ("BatchGetItem", "DescribeAlarms", "GetItem", "PutItem")
STANDINGS: dict[str, dict[str, Any]] = {
    "on-trial": {"live": "v1", "candidate": "v2", "order": (HERE, NEXT, THIRD), "step": 1},
    "long-live": {"live": "v2", "previous": "v1"},
}


def fire(region: Region, version: str, guard: str = "failures") -> None:
    """Let a guard alarm of a version fire."""
    name = region.names.guard_alarm(MODEL, version, guard)
    aws("cloudwatch").put_metric_alarm(
        AlarmName=name,
        MetricName="Failed",
        Namespace=region.names.metrics,
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    aws("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")


def die_at(region: Region, number: int) -> Iterator[str]:
    """Let the function die at one moment, counting before and after each call; tells which."""
    moments: list[str] = []

    def strike(name: str) -> None:
        moments.append(name)
        if len(moments) == number:
            raise DiedError

    names = [name for call in CALLS for name in (call, f"{call} done")]
    region.faults = {name: lambda name=name: strike(name) for name in names}  # type: ignore[misc]
    try:
        tick(region)
    except DiedError:
        yield moments[-1]
    region.faults = {}


@pytest.mark.parametrize("standing", list(STANDINGS))
def test_a_death_at_any_call_delays_a_rollback_and_does_nothing_twice(
    region: Region, standing: str
) -> None:
    """The event comes once; what it began must not hang on one execution."""
    there = region.elsewhere(NEXT)
    want(there)
    want(region)
    died: list[str] = []
    for number in range(1, 40):
        before = records(region).read(MODEL)
        revision = before.revision + 1 if before else 1
        fresh = Release(model=MODEL, revision=revision, **STANDINGS[standing])
        assert records(region).write(fresh)
        fire(region, "v2")
        region.forget_environments()
        struck = list(die_at(region, number))
        died += struck

        tick(region)  # the next minute
        tick(there)

        found = record(region)
        assert (found.live, found.candidate) == ("v1", None)
        assert found.quarantined == {"v2": f"guard failures in {HERE}"}
        assert [event.what for event in found.events].count("rolled back") == 1
        if not struck:
            break
    assert set(died) >= {"DescribeAlarms", "DescribeAlarms done", "PutItem", "PutItem done"}
    assert number == len(died) + 1, "every moment was the last one once"


def test_an_event_that_never_came_is_made_up_for_by_the_tick(region: Region) -> None:
    """EventBridge delivers nearly always; what it says is not believed anyway."""
    want(region)
    assert records(region).write(Release(model=MODEL, revision=1, **STANDINGS["long-live"]))
    tick(region)
    assert record(region).live == "v2", "nothing fires"

    fire(region, "v2")
    tick(region)

    assert record(region).live == "v1"


@pytest.mark.parametrize(
    ("standing", "kept"), [("on-trial", {"v1": None}), ("long-live", {"v2": "v1"})]
)
def test_a_comparison_with_itself_takes_no_version_back(
    region: Region, standing: str, kept: dict[str, str | None]
) -> None:
    """What is left of the version before it, in the first window of one that is live, is noise."""
    want(region)
    assert records(region).write(Release(model=MODEL, revision=1, **STANDINGS[standing]))
    fire(region, "v2", "slow-batch")
    tick(region)

    found = record(region)
    assert {found.live: found.previous} == kept
    assert set(found.quarantined) == ({"v2"} if standing == "on-trial" else set())


def test_nothing_changes_when_no_version_is_left(region: Region) -> None:
    """Versions that are all bad, or only badly asked, must not be swapped for ever."""
    want(region)
    assert records(region).write(Release(model=MODEL, revision=1, **STANDINGS["long-live"]))
    fire(region, "v2")
    tick(region)
    fire(region, "v1")

    back = record(region)
    tick(region)

    assert replace(record(region), revision=0, waits="") == replace(back, revision=0, waits="")
    assert (back.live, set(back.quarantined)) == ("v1", {"v2"})


@pytest.fixture
def two(region: Region) -> Region:
    """The embedder, whose v2 is bad, between two models whose releases stand at their smoke jobs.

    Whichever is first in its turn, one of them comes before the embedder.
    """
    want(region)
    document = region.policy.to_json()
    embedder = document["models"][MODEL]
    for name in ("before", "behind"):
        document["models"][name] = embedder | {"name": name}
    order = ("before", MODEL, "behind")
    document["models"] = {name: document["models"][name] for name in order}
    region.write(Policy.from_json(document))
    trial = STANDINGS["on-trial"]
    for name, step in (("before", 0), (MODEL, 1), ("behind", 0)):
        assert records(region).write(Release(model=name, revision=1, **trial | {"step": step}))
    fire(region, "v2")
    return region


def calls_after_looking(region: Region, *, left_ms: int) -> list[str]:
    """What a tick asks of AWS after it knows which alarms fire."""
    before = len(region.operations())
    tick(region, left_ms=left_ms)
    made = region.operations()[before:]
    after = made[made.index("DescribeAlarms done") + 1 :]
    return [call for call in after if not call.endswith(" done")]


def test_a_rollback_waits_for_no_step_of_another_model(two: Region) -> None:
    """The steps may need services that throttle, or hang until the function's time is over."""
    made = calls_after_looking(two, left_ms=30_000)
    assert made[0] == "PutItem", "it is the first thing that is done"
    assert "GetItem" in made, "then come the steps"
    assert record(two).candidate is None


def test_without_time_only_rollbacks_are_done(two: Region) -> None:
    """A step that is cut off is made up for a minute later."""
    assert calls_after_looking(two, left_ms=0) == ["PutItem"]
    assert record(two).quarantined == {"v2": f"guard failures in {HERE}"}
