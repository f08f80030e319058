"""Alarms that take versions back: each version has its own, in each region."""

from pathlib import Path
from typing import Any

import pytest

from config.guard_alarms import guard_alarms
from config.schema import Deployment
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
    return {alarm.name.rpartition("-")[2]: alarm for alarm in found}


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
        document["models"] = with_versions()["models"]
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
        for version, watched in (
            ("v1", {"failures", "invalid", "refused"}),  # it has no baseline
            ("v2", set(GUARDS)),
            ("v3", set(GUARDS)),
        )
        for guard in watched
    }
    assert set(found) == expected, "and none of a model that is off"
    assert len({(alarm.stack, alarm.logical_id) for alarm in found.values()}) == len(found)
    for alarm in found.values():
        assert alarm.properties["TreatMissingData"] == "notBreaching"
        assert "Runbook: docs/runbook.md#a" in alarm.properties["AlarmDescription"]


def test_a_version_is_compared_with_the_one_before_it_or_with_what_it_says() -> None:
    """After a bad version in between, the live one is further back."""

    def other(found: dict[str, Any]) -> str:
        return str(found["slow"].readings["theirs"].dimensions["Version"])

    assert other(guards("v3")) == "v2"
    versions = with_versions()["models"]["embedder"]["versions"]
    versions["v3"] |= {"baseline": "v1"}
    assert other(guards("v3", versions=versions)) == "v1"


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


@pytest.mark.parametrize(
    ("guard", "ours", "theirs", "fired"),
    [
        ("slow", 1.6, 1.0, True),
        ("slow", 1.4, 1.0, False),
        ("slow", 1.0, 9.0, False),
        ("size", 3.1, 1.0, True),
        ("size", 1.0, 3.1, True),
        ("size", 2.9, 1.0, False),
    ],
)
def test_speed_and_size_are_held_against_the_baseline(
    guard: str, ours: float, theirs: float, fired: bool
) -> None:
    """Absolute numbers would have to be typed in anew with every model and instance type."""
    data: dict[str, float | None] = {"ours": ours, "theirs": theirs}
    assert fires("v2", guard, data | {"our_count": 20, "their_count": 20}) is fired
    assert not fires("v2", guard, data | {"our_count": 19, "their_count": 500})
    assert not fires(
        "v2", guard, {"ours": ours, "theirs": None, "our_count": 20} | {"their_count": None}
    )


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
