"""What EventBridge's scheduled rules do, with the page that says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from spillway.twin.clock import START_S
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.schedules import Rule, Target, next_s

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"
MINUTE, HOUR, DAY = 60, 3600, 86_400


def rule(expression: str, *targets: Target, **settings: Any) -> Rule:
    """A rule in our region."""
    return Rule(name="tick", region=REGION, expression=expression, targets=targets, **settings)


def times(world: World) -> list[float]:
    """When the function ran, in whole seconds since the start."""
    return [round(report.at_s - START_S) for report in world.functions.reports]


def target(world: World) -> tuple[Target, list[Any]]:
    """A function as a target, and the events that it gets."""
    events: list[Any] = []
    world.deploy("f", lambda event, *_: events.append(event))
    return Target(arn=f"arn:aws:lambda:{REGION}:123456789012:function:f"), events


def test_a_rate_counts_from_the_rules_creation(world: World) -> None:
    """Sweep and beat run every minute, whatever the minute's beginning.

    EventBridge user guide, "Setting a schedule pattern for scheduled rules": "A rate expression
    starts when you create the scheduled event rule".
    """
    world.scheduler.run_for(17)
    to, events = target(world)
    world.schedules.add(rule("rate(1 minute)", to))
    world.scheduler.run_for(190)
    assert times(world) == [77, 137, 197]
    assert events[0]["source"] == "aws.events"
    assert events[0]["detail-type"] == "Scheduled Event"
    assert events[0]["time"] == "2026-01-05T00:01:17Z"
    assert events[0]["resources"] == [rule("rate(1 minute)").arn]


def test_seconds_are_not_promised(world: World) -> None:
    """Whoever relies on the second learns here that AWS does not keep it.

    EventBridge user guide, "Setting a schedule pattern for scheduled rules": the finest
    resolution is one minute, and the rule runs within that minute.
    """
    to, _ = target(world)
    world.schedules.jitter_s = 10.0
    world.schedules.add(rule("rate(1 minute)", to))
    world.scheduler.run_for(10 * MINUTE + 30)
    offsets = [time - MINUTE * (number + 1) for number, time in enumerate(times(world))]
    assert len(offsets) == 10
    assert all(0 <= offset <= 11 for offset in offsets)
    assert len(set(offsets)) > 3


def test_a_queue_gets_the_event_or_a_constant(world: World) -> None:
    """Queues are targets too.

    EventBridge user guide, "Event bus targets"; API reference, "Target": Input.
    """
    url = world.queue()
    to = Target(arn=world.arn(url))
    world.schedules.add(rule("rate(1 hour)", to, Target(arn=to.arn, input='{"x": 1}')))
    world.scheduler.run_for(HOUR + 1)
    answer = world.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    first, second = (json.loads(message["Body"]) for message in answer["Messages"])
    assert first["detail-type"] == "Scheduled Event"
    assert second == {"x": 1}


def test_a_disabled_rule_does_not_run(world: World) -> None:
    """An operator stops the sweep this way.

    API reference, "DisableRule".
    """
    to, _ = target(world)
    world.schedules.add(rule("rate(1 minute)", to, enabled=False))
    world.scheduler.run_for(90)
    world.schedules.enable(rule("").arn, enabled=True)
    world.scheduler.run_for(90)
    world.schedules.enable(rule("").arn, enabled=False)
    world.scheduler.run_for(300)
    assert times(world) == [150]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 12 * * ? *)", "2026-01-05 12:00"),
        ("cron(5,35 14 * * ? *)", "2026-01-05 14:05"),
        ("cron(15 10 ? * 6L 2019-2022)", UnsupportedError),
        ("cron(0/15 * * * ? *)", "2026-01-05 00:15"),
        ("cron(0 18 ? * MON-FRI *)", "2026-01-05 18:00"),
        ("cron(0 8 1 * ? *)", "2026-02-01 08:00"),
        ("cron(0/5 8-17 ? * TUE,WED *)", "2026-01-06 08:00"),
        ("cron(0 9 ? * 1 *)", "2026-01-11 09:00"),
        ("cron(0 0 29 FEB ? *)", "2028-02-29 00:00"),
        ("cron(0 0 1 1 ? 2020)", None),
        ("cron(0 0 * * * *)", ValueError),
        ("cron(60 0 * * ? *)", ValueError),
        ("cron(x 0 * * ? *)", ValueError),
        ("cron(0 0 * * ?)", ValueError),
        ("rate(5 minutes)", "2026-01-05 00:05"),
        ("rate(1 day)", "2026-01-06 00:00"),
        ("rate(1 minutes)", ValueError),
        ("rate(5 minute)", ValueError),
        ("rate(0 minutes)", ValueError),
        ("every minute", ValueError),
    ],
)
def test_expressions_mean_what_they_mean_in_aws(expression: str, expected: Any) -> None:
    """A schedule that EventBridge reads otherwise would run at other times in AWS.

    EventBridge user guide, "Cron expressions" and "Rate expressions": fields, wildcards, 1 is
    Sunday, one of day-of-month and day-of-week is `?`, and singular units for 1 only.
    """
    if isinstance(expected, type):
        with pytest.raises(expected):
            next_s(expression, START_S, START_S)
        return
    found = next_s(expression, START_S, START_S)
    text = found and datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%d %H:%M")
    assert text == expected


def test_a_cron_rule_goes_on(world: World) -> None:
    """One run must lead to the next."""
    to, _ = target(world)
    world.schedules.add(rule("cron(30 6,18 * * ? *)", to))
    world.scheduler.run_for(2 * DAY)
    assert [round(time / HOUR, 1) for time in times(world)] == [6.5, 18.5, 30.5, 42.5]


def test_templates_deploy_rules(world: World) -> None:
    """A property of a template must arrive where it acts; what cannot act is an error."""
    to, events = target(world)
    properties: dict[str, Any] = {
        "ScheduleExpression": "rate(1 minute)",
        "State": "ENABLED",
        "Targets": [{"Arn": to.arn, "Id": "0", "Input": '{"beat": true}'}],
    }
    resource = Resource(
        type="AWS::Events::Rule",
        logical_id="X",
        physical_id="tick",
        region=REGION,
        account="123456789012",
        stack="stack",
        properties=properties,
    )
    deployed = world.schedules.create(resource)
    assert deployed is not None
    assert deployed.attributes["Arn"].endswith(":rule/tick")
    world.scheduler.run_for(90)
    assert events == [{"beat": True}]
    properties["Targets"][0]["InputPath"] = "$.detail"
    with pytest.raises(UnsupportedError, match="InputPath"):
        world.schedules.create(resource)
    with pytest.raises(UnsupportedError, match="functions and queues"):
        world.schedules.add(rule("rate(1 day)", Target(arn="arn:aws:sns:x:1:topic")))
