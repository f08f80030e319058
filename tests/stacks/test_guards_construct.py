"""Alarms that take versions back: each version has its own, in each region."""

import random
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from config.guard_alarms import guard_alarms
from config.schema import TIERS, Deployment
from lambdas.domain.names import GUARDS
from spillway.twin.metric_math import Math
from tests.config.test_schema import changed
from tests.stacks.assemblies import Synthesize, changed_dev

REFUSAL = {"refusal": {"pointer": "/refused", "equals": True}}


def with_versions(**changes: Any) -> dict[str, Any]:
    """The dev configuration with three versions of the embedder."""
    document = changed("models/embedder/output", REFUSAL)
    embedder = document["models"]["embedder"]
    v1 = embedder["versions"]["v1"]
    embedder["versions"] = {"v1": v1, "v2": dict(v1), "v3": dict(v1)}
    embedder |= changes
    return document


def guards(version: str, **changes: Any) -> dict[str, Any]:
    """A version's guards, by what they watch."""
    deployment = Deployment.model_validate(with_versions(**changes))
    found = guard_alarms(deployment, "embedder", version)
    start = deployment.names.guard_alarm("embedder", version, "")
    return {alarm.name.removeprefix(start): alarm for alarm in found}


def fires(version: str, guard: str, data: dict[str, float | None], **changes: Any) -> bool:
    """Whether a guard fires on one window's statistics."""
    alarm = guards(version, **changes)[guard]
    assert set(data) == set(alarm.readings)
    math = Math(list(alarm.readings), {"all": alarm.expression})
    (value,) = math.series("all", {name: [x] for name, x in data.items()})
    return value is not None and value > alarm.threshold


def test_every_version_has_new_alarms(synthesize: Synthesize, tmp_path: Path) -> None:
    """A version that inherits another's alarm is taken back for what that one did."""

    def change(document: dict[str, Any]) -> None:
        document["models"] = with_versions(guards={"service_p95_s_max": 9})["models"]
        document["models"]["chat"]["state"] = "off"

    assembly = synthesize(changed_dev(tmp_path, change))

    names = assembly.deployment.names
    found = {
        alarm.properties["AlarmName"]: alarm
        for alarm in assembly.resources("AWS::CloudWatch::Alarm")
        if "-guard-" in alarm.properties["AlarmName"]
    }
    expected = {
        names.guard_alarm("embedder", version, guard)
        for version in ("v1", "v2", "v3")
        for guard in GUARDS
    }
    assert set(found) == expected, "and none of a model that is off"
    assert len({(alarm.stack, alarm.logical_id) for alarm in found.values()}) == len(found)
    for alarm in found.values():
        assert alarm.properties["TreatMissingData"] == "notBreaching"
        assert "Runbook: docs/runbook.md#a" in alarm.properties["AlarmDescription"]


def test_a_version_is_compared_with_the_live_one_tier_by_tier() -> None:
    """Batch jobs may be ten times as long: a canary of them would look slow beside all others."""
    assert set(guards("v3")) == set(GUARDS) - {"slow"}, "the absolute bound is off by default"
    for name in (f"{what}-{tier}" for what in ("slow", "size") for tier in TIERS):
        readings = guards("v3")[name].readings
        found = {(one.dimensions["Version"], one.dimensions["Tier"]) for one in readings.values()}
        assert found == {("v3", name.partition("-")[2]), ("live", name.partition("-")[2])}


def test_a_version_without_others_is_compared_with_nothing() -> None:
    """An alarm on series that cannot differ costs money every month."""
    alone = with_versions()["models"]["embedder"]["versions"] | {}
    assert set(guards("v1", versions={"v1": alone["v1"]})) == {"failures", "invalid", "refused"}


def test_no_version_is_called_live() -> None:
    """It would be compared with itself and with whatever is live, in one series."""
    versions = with_versions()["models"]["embedder"]["versions"]
    with pytest.raises(ValidationError, match="must have another name"):
        guards("v2", versions=versions | {"live": versions["v1"]})


def test_every_alarm_reads_what_cloudwatch_lets_it_read() -> None:
    """Ten metrics in one alarm's math (CloudWatch user guide, "Quotas")."""
    for alarm in guards("v2", guards={"service_p95_s_max": 9}).values():
        assert len(alarm.readings) <= 10


@pytest.mark.parametrize(
    ("completed", "failed", "fired"),
    [(90, 10, False), (89, 11, True), (1, 18, False), (None, 20, True), (20, None, False)],
)
def test_failures_count_from_some_attempts_on(
    completed: float | None, failed: float | None, fired: bool
) -> None:
    """One failed job of two must not take back a version; one that never answers must go."""
    assert fires("v1", "failures", {"completed": completed, "failed": failed}) is fired


@pytest.mark.parametrize("guard", ["invalid", "refused"])
def test_bad_answers_count_among_all_attempts(guard: str) -> None:
    """An answer may be counted only, and is completed then."""
    assert fires("v1", guard, {"completed": 20, "failed": 5, "found": 6})
    assert not fires("v1", guard, {"completed": 20, "failed": 5, "found": None})


@pytest.mark.parametrize("attempts", [20, 2000])
@pytest.mark.parametrize(
    ("guard", "ours", "live", "fired"),
    [
        ("slow-batch", 1.6, 1.0, True),
        ("slow-batch", 1.4, 1.0, False),
        ("slow-batch", 1.0, 9.0, False),
        ("size-interactive", 3.1, 1.0, True),
        ("size-interactive", 1.0, 3.1, True),
        ("size-interactive", 2.9, 1.0, False),
    ],
)
def test_speed_and_size_are_held_against_the_live_version(
    guard: str,
    ours: float,
    live: float,
    fired: bool,
    attempts: int,
) -> None:
    """Few attempts must differ by twice as much: their percentiles are an accident."""
    times = 2 if attempts == 20 and fired else 1
    worse = (
        {"ours": ours * times, "live": live}
        if ours > live
        else {"ours": ours, "live": live * times}
    )
    data: dict[str, float | None] = dict(worse)
    counts: dict[str, float | None] = {"our_count": attempts, "live_count": attempts}
    assert fires("v2", guard, data | counts) is fired
    assert not fires("v2", guard, data | {"our_count": 19, "live_count": 500})
    assert not fires("v2", guard, data | {"our_count": 500, "live_count": 19})


@pytest.mark.parametrize("guard", ["slow-standard", "size-standard"])
def test_missing_data_never_fire(guard: str) -> None:
    """Beside a value CloudWatch takes a missing one for 0, and a version has none at times."""
    some: dict[str, float | None] = {"ours": 9.0, "live": 1.0, "our_count": 500, "live_count": 500}
    assert fires("v2", guard, some)
    for lost in (("live", "live_count"), ("ours", "our_count"), ("live",), ("ours",), tuple(some)):
        assert not fires("v2", guard, some | dict.fromkeys(lost)), lost


@pytest.mark.parametrize(("our_count", "live_count"), [(20, 180), (180, 20), (180, 40)])
def test_equal_versions_are_seldom_taken_apart(our_count: int, live_count: int) -> None:
    """A guard that is too eager takes good versions back, until somebody turns it off.

    The live version has few attempts when a region has just gone wholly to the new one, and when
    that has just become live.
    """
    dice = random.Random(16)  # noqa: S311 no secret

    def p95(attempts: int) -> float:
        return sorted(dice.lognormvariate(0, 1) for _ in range(attempts))[int(0.95 * attempts) - 1]

    alarm = guards("v2")["slow-batch"]
    math = Math(list(alarm.readings), {"all": alarm.expression})
    windows = 400
    pairs = [(p95(our_count), p95(live_count)) for _ in range(windows)]
    data: dict[str, list[float | None]] = {
        "ours": [ours for ours, _ in pairs],
        "live": [live for _, live in pairs],
        "our_count": [our_count] * windows,
        "live_count": [live_count] * windows,
    }
    fired = sum(value is not None and value > alarm.threshold for value in math.series("all", data))
    assert fired < 0.02 * windows < sum(ours > 1.5 * live for ours, live in pairs)


def test_a_live_version_that_turns_slow_can_be_taken_back() -> None:
    """Beside itself it is as fast as ever."""
    bound = {"guards": {"service_p95_s_max": 30}}
    nothing: dict[str, float | None] = dict.fromkeys(
        name for tier in TIERS for name in (tier, f"{tier}_count")
    )
    for tier in TIERS:
        assert fires("v1", "slow", nothing | {tier: 31, f"{tier}_count": 20}, **bound)
        assert not fires("v1", "slow", nothing | {tier: 29, f"{tier}_count": 20}, **bound)
        assert not fires("v1", "slow", nothing | {tier: 31, f"{tier}_count": 19}, **bound)
    assert not fires("v1", "slow", nothing, **bound)


def test_a_guard_can_be_turned_off() -> None:
    """A model whose answers are of any size would be taken back for that."""
    nothing = dict.fromkeys(
        (
            "failed_share_max",
            "slow_ratio_max",
            "invalid_share_max",
            "refused_share_max",
            "size_ratio_max",
        )
    )
    assert guards("v2", guards=nothing) == {}
