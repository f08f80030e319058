"""The numbers of scaling alarms, minimums by the clock, and the price of it all."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from config.operator_alarms import OperatorAlarm, of_model
from config.scaling import Step, Steps, steps
from config.schema import ConfigError, load
from spillway.twin.alarms import Question
from spillway.twin.metric_math import Math

ROOT = Path(__file__).parents[2]


def changed(tmp_path: Path, **fields: Any) -> Path:
    """The dev configuration, with changes to its chat model; `root` changes the whole."""
    document = yaml.safe_load((ROOT / "config" / "dev.yaml").read_text())
    document |= fields.pop("root", {})
    document["models"]["chat"] |= fields
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def chat() -> Steps:
    """Of a model that takes 258 s to warm up, ten instances at most."""
    return steps(target_wait_s=5, warm_up_s=258, instances_max=10)


def instances(found: tuple[Step, ...], above: float, there: int) -> int:
    """What Application Auto Scaling makes of a percent step: never less than one."""
    (step,) = (s for s in found if s.lower <= above and (s.upper is None or above < s.upper))
    return there + max(1, there * step.change // 100)


@pytest.mark.parametrize("there", [1, 2, 3])
def test_a_small_fleet_gets_exactly_what_it_needs(there: int) -> None:
    """One too few is five more minutes of waiting, one too many ten minutes of a GPU."""
    for wanted in range(there + 1, 3 * there + 1):
        assert instances(chat().burst, wanted / there - 1, there) == min(wanted, 10 * there)


@pytest.mark.parametrize("there", [4, 5, 7, 10, 20, 31])
def test_a_large_fleet_gets_nearly_what_it_needs_and_no_more(there: int) -> None:
    """What a step leaves out, the next one adds; what is too much is paid for."""
    for wanted in range(there + 1, 3 * there):
        got = instances(
            steps(target_wait_s=5, warm_up_s=258, instances_max=200).burst,
            wanted / there - 1,
            there,
        )
        assert 0.8 * wanted <= got <= wanted


def test_steps_follow_from_warm_up_time_and_target() -> None:
    """A number that somebody typed in is wrong for the next model."""
    # At pressure 32 work waits 160 s, with half of 258 s to work it off: 125 % more.
    fast = steps(target_wait_s=5, warm_up_s=60, instances_max=10)
    (slow_step,) = (step for step in chat().pressure if step.lower == 31)
    assert slow_step.change == 125
    assert next(step for step in fast.pressure if step.lower == 15).change == 267
    assert chat().spare_points == 9
    assert fast.spare_points == 3
    assert max(step.change for step in chat().burst) <= 900
    assert [step.change for step in chat().spare] == [-1, -2, -4]


def test_steps_have_neither_gaps_nor_more_than_a_policy_takes() -> None:
    """Application Auto Scaling refuses them at deployment, twenty minutes in."""
    for found in (chat().pressure, chat().burst, chat().spare):
        assert found[0].lower == 0
        assert found[-1].upper is None
        assert [step.upper for step in found[:-1]] == [step.lower for step in found[1:]]
        assert len(found) <= 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scaling": {"schedule": [{"cron": "7 am", "instances_min": 2}]}}, "six fields"),
        (
            {"scaling": {"schedule": [{"cron": "0 25 ? * * *", "instances_min": 2}]}},
            r"schedule\.0\.cron: has '25' as its hour; allowed are .* 0 to 23.*MON-FRI.*given",
        ),
        (
            {
                "scaling": {
                    "schedule": [
                        {"cron": "0 7 ? * MON-FRI *", "timezone": "Mars/Base", "instances_min": 2}
                    ]
                }
            },
            "Europe/Berlin",
        ),
        (
            {"scaling": {"schedule": [{"cron": "0 7 ? * MON-FRI *", "instances_min": 9}]}},
            "at most instances_max, 4",
        ),
        ({"attempts_max": 1}, "at least 2 with instances_min below instances_max"),
        ({"root": {"cost_hourly_max_usd": 20}}, "must be at least 26.63"),
    ],
)
def test_what_cannot_be_scaled_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """A typing error in a schedule would else show on Monday at seven."""
    with pytest.raises(ConfigError, match=said):
        load(changed(tmp_path, **change))


def test_every_version_counts_and_an_unknown_instance_needs_a_price(tmp_path: Path) -> None:
    """During a release both fleets may be at their most, and a bill has no unknown lines."""
    document = yaml.safe_load((ROOT / "config" / "dev.yaml").read_text())
    versions = document["models"]["chat"]["versions"]
    versions["v2"] = versions["v1"] | {"instance_type": "ml.q9.huge"}
    with pytest.raises(ConfigError, match=r"v2\.usd_per_hour: is required .* ml\.q9\.huge"):
        load(changed(tmp_path, versions=versions))
    versions["v2"]["usd_per_hour"] = 2.0
    load(changed(tmp_path, versions=versions))
    with pytest.raises(ConfigError, match=r"at least 50\.63"):
        load(changed(tmp_path, versions=versions, root={"cost_hourly_max_usd": 50}))


@pytest.mark.parametrize(
    ("minute", "rings"),
    [
        ({"instances": 1, "pressure": 2, "spare": 0, "completed": None}, True),
        ({"instances": 2, "pressure": 0, "spare": 1, "completed": None}, True),
        ({"instances": 1, "pressure": 2, "spare": 0, "completed": 1}, False),
        ({"instances": 1, "pressure": 0, "spare": 0, "completed": None}, False),
        ({"instances": 0, "pressure": 2, "spare": 0, "completed": None}, False),
        ({"instances": 1, "pressure": None, "spare": None, "completed": None}, False),
        (dict.fromkeys(("instances", "pressure", "spare", "completed")), False),
    ],
)
def test_instances_that_complete_nothing_ring_after_half_an_hour(
    minute: dict[str, float | None], rings: bool
) -> None:
    """A container that hangs costs as much as one that works; a quiet night is no reason."""
    alarms = of_model(load(ROOT / "config" / "dev.yaml"), "chat")
    (alarm,) = (each for each in alarms if each.name.endswith("-idle-chat-v1"))
    assert isinstance(alarm, OperatorAlarm)
    question = Question(
        period_s=alarm.period_s,
        periods=alarm.periods,
        needed=alarm.needed,
        threshold=alarm.threshold,
        comparison="GreaterThanOrEqualToThreshold",
        missing=alarm.missing,
    )
    watched = Math(list(alarm.readings), {"watched": alarm.expression})

    def state(minutes: int, *, completed_ever: bool = True) -> str | None:
        working: dict[str, float | None] = {
            "instances": 1.0,
            "pressure": 0.0,
            "spare": 0.0,
            "completed": 9.0 if completed_ever else None,
        }
        data = {
            name: [working[name]] * (32 - minutes) + [minute[name]] * minutes
            for name in alarm.readings
        }
        return question.answer(watched.series("watched", data)[::-1])

    assert alarm.sign == ">="
    assert state(29) == "OK"
    assert state(30) == ("ALARM" if rings else "OK")
    assert state(32, completed_ever=False) == ("ALARM" if rings else "OK"), "from the first minute"
