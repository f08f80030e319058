"""What EventBridge does with events, with the page that says so.

Pages are of docs.aws.amazon.com/eventbridge/latest/userguide.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from spillway.twin.events import EventRule, check_pattern, matches
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.schedules import Target

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"
EVENT: dict[str, Any] = {
    "source": "aws.cloudwatch",
    "detail-type": "CloudWatch Alarm State Change",
    "time": "2017-10-02T18:43:48Z",
    "resources": ["arn:aws:cloudwatch:us-east-1:1:alarm:a", "arn:x"],
    "detail": {
        "alarmName": "spillway-guard-embedder",
        "state": {"value": "ALARM"},
        "c-count": 5,
        "d-count": 9.5,
        "x-limit": 301.8,
        "flag": True,
        "nothing": None,
    },
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.cloudwatch"]}, True),
        ({"source": ["aws.ec2", "aws.cloudwatch"]}, True),
        ({"source": ["aws.ec2"]}, False),
        ({"source": ["aws.cloudwatch"], "detail": {"state": {"value": ["OK"]}}}, False),
        ({"detail": {"state": {"value": ["ALARM"]}}}, True),
        ({"resources": ["arn:x"]}, True),
        ({"resources": [{"prefix": "arn:aws:cloudwatch"}]}, True),
        ({"account": ["1"]}, False),
        ({"detail": {"missing": {"value": ["x"]}}}, False),
        ({"detail": {"state": ["ALARM"]}}, False),
        ({"detail": {"flag": [True], "nothing": [None], "c-count": [5.0]}}, True),
        ({"detail": {"c-count": [True]}}, False),
        ({"detail": {"c-count": ["5"]}}, False),
        # "Content filtering"
        ({"time": [{"prefix": "2017-10-02"}]}, True),
        ({"time": [{"suffix": "Z"}]}, True),
        ({"time": [{"prefix": "2018"}]}, False),
        ({"detail": {"alarmName": [{"prefix": "spillway-guard-"}]}}, True),
        ({"detail": {"state": {"value": [{"anything-but": "OK"}]}}}, True),
        ({"detail": {"state": {"value": [{"anything-but": ["OK", "ALARM"]}]}}}, False),
        ({"detail": {"c-count": [{"anything-but": 123}]}}, True),
        ({"detail": {"c-count": [{"anything-but": [1, 5]}]}}, False),
        ({"detail": {"state": {"value": [{"anything-but": {"prefix": "AL"}}]}}}, False),
        ({"detail": {"c-count": [{"numeric": [">", 0, "<=", 5]}]}}, True),
        ({"detail": {"d-count": [{"numeric": ["<", 10]}]}}, True),
        ({"detail": {"x-limit": [{"numeric": ["=", 3.018e2]}]}}, True),
        ({"detail": {"c-count": [{"numeric": [">", 5]}]}}, False),
        ({"detail": {"alarmName": [{"numeric": [">", 5]}]}}, False),
        ({"detail": {"c-count": [{"exists": True}]}}, True),
        ({"detail": {"c-count": [{"exists": False}]}}, False),
        ({"detail": {"gone": [{"exists": False}]}}, True),
        ({"detail": {"gone": [{"exists": True}]}}, False),
        ({"detail": {"state": [{"exists": False}]}}, True),
    ],
)
def test_patterns_match_as_the_pages_say(pattern: dict[str, Any], expected: bool) -> None:
    """A rule that matches too little misses a rollback; too much, and it rolls back everything.

    "Amazon EventBridge event patterns", "Arrays in EventBridge event patterns" and "Content
    filtering in Amazon EventBridge event patterns", with its examples.
    """
    check_pattern(pattern)
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ({"source": "aws.cloudwatch"}, ValueError),
        ({"source": []}, ValueError),
        ({"detail": {"n": [{"numeric": ["~", 1]}]}}, ValueError),
        ({"detail": {"n": [{"numeric": [">"]}]}}, ValueError),
        ({"detail": {"ip": [{"cidr": "10.0.0.0/24"}]}}, UnsupportedError),
        ({"$or": [{"source": ["x"]}]}, UnsupportedError),
        ({"source": [{"wildcard": "aws.*"}]}, UnsupportedError),
        ({"source": [{"anything-but": {"wildcard": "x"}}]}, UnsupportedError),
    ],
)
def test_patterns_that_cannot_be_matched_are_refused(
    pattern: dict[str, Any], error: type[Exception]
) -> None:
    """A pattern that silently never matches would look like quiet."""
    with pytest.raises(error):
        check_pattern(pattern)


def rule(*targets: Target, **settings: Any) -> EventRule:
    """A rule for alarms in our region."""
    pattern = {"source": ["aws.cloudwatch"]}
    return EventRule(name="on", region=REGION, pattern=pattern, targets=targets, **settings)


def test_targets_get_the_event_or_a_constant(world: World) -> None:
    """A function that rolls back reads the event; a queue keeps it.

    "Event bus targets"; API reference, "Target": Input.
    """
    events: list[Any] = []
    world.deploy("f", lambda event, *_: events.append(event))
    url = world.queue()
    function = f"arn:aws:lambda:{REGION}:123456789012:function:f"
    world.events.add(rule(Target(arn=function), Target(arn=world.arn(url), input='{"x": 1}')))
    world.events.put(REGION, EVENT)
    world.events.put("eu-west-1", EVENT)
    world.events.put(REGION, EVENT | {"source": "aws.ec2"})
    assert not events
    world.scheduler.run_for(2)
    assert events == [EVENT]
    (message,) = world.client("sqs").receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"]) == {"x": 1}


def test_a_disabled_rule_does_not_run(world: World) -> None:
    """An operator stops rollbacks this way.

    API reference, "DisableRule".
    """
    url = world.queue()
    world.events.add(rule(Target(arn=world.arn(url)), enabled=False))
    world.events.put(REGION, EVENT)
    world.events.enable(REGION, "on", enabled=True)
    world.events.put(REGION, EVENT)
    world.scheduler.run_for(2)
    assert (
        len(world.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=9)["Messages"])
        == 1
    )


def test_templates_deploy_rules(world: World) -> None:
    """A rule may have a pattern, a schedule or both.

    CloudFormation user guide, "AWS::Events::Rule": "A rule can have both an EventPattern and a
    ScheduleExpression, in which case the rule triggers on matching events as well as on a
    schedule."
    """
    events: list[Any] = []
    world.deploy("f", lambda event, *_: events.append(event))
    properties: dict[str, Any] = {
        "EventPattern": {"detail": {"state": {"value": ["ALARM"]}}},
        "ScheduleExpression": "rate(1 minute)",
        "State": "ENABLED",
        "Targets": [{"Arn": f"arn:aws:lambda:{REGION}:123456789012:function:f", "Id": "0"}],
    }
    resource = Resource(
        type="AWS::Events::Rule",
        logical_id="X",
        physical_id="on",
        region=REGION,
        account="123456789012",
        stack="stack",
        properties=properties,
    )
    assert world.events.create(resource) is not None
    del properties["ScheduleExpression"]
    deployed = world.events.create(resource)
    assert deployed is not None
    assert deployed.attributes == {"Arn": f"arn:aws:events:{REGION}:123456789012:rule/on"}
    world.events.put(REGION, EVENT)
    world.scheduler.run_for(90)
    assert [event["detail-type"] for event in events] == [EVENT["detail-type"], "Scheduled Event"]
    properties["Targets"][0]["InputPath"] = "$.detail"
    with pytest.raises(UnsupportedError, match="InputPath"):
        world.events.create(resource)
    del properties["EventPattern"]
    with pytest.raises(ValueError, match="EventPattern or ScheduleExpression"):
        world.events.create(resource)
    with pytest.raises(UnsupportedError, match="functions and queues"):
        world.events.add(rule(Target(arn="arn:aws:sns:x:1:topic")))
