"""What CloudWatch's composite alarms do, with the page that says so.

"The API" is docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from spillway.twin.alarm_messages import invocation, notification
from spillway.twin.alarm_rules import AlarmRule
from spillway.twin.clock import START_S
from spillway.twin.resources import Resource, UnsupportedError

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:pages"
ARN = f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:"
STATES = {"bad": "ALARM", "good": "OK", "new": "INSUFFICIENT_DATA", "two words": "ALARM"}


def composite(world: World, name: str, rule: str, **properties: Any) -> None:
    """Create a composite alarm."""
    world.alarms.put("123456789012", REGION, {"AlarmName": name, "AlarmRule": rule, **properties})


def switch(world: World, name: str, state: str) -> None:
    """Put a metric alarm into a state until it is next evaluated."""
    world.client("cloudwatch").set_alarm_state(
        AlarmName=name, StateValue=state, StateReason="a drill"
    )


@pytest.fixture
def pair(world: World) -> World:
    """Two metric alarms, a and b, that keep whatever state they are given."""
    for name in ("a", "b"):
        world.alarm(name, TreatMissingData="ignore")
    return world


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("ALARM(bad)", True),
        ("ALARM(good)", False),
        ("OK(good)", True),
        ("INSUFFICIENT_DATA(new)", True),
        ('ALARM("bad") AND OK("good")', True),
        ('ALARM("two words")', True),
        (f"ALARM({ARN}bad) AND NOT ALARM({ARN}good)", True),
        (f'(ALARM("{ARN}good") OR (OK("{ARN}good")))', True),
        ("NOT (ALARM(bad) OR OK(bad))", False),
        ("TRUE AND NOT FALSE", True),
        ("FALSE AND FALSE OR TRUE", True),
        ("TRUE OR TRUE AND FALSE", True),
        ("NOT TRUE OR TRUE", True),
        ("ALARM( bad )OR FALSE", True),
        ("ALARM(gone)", False),
    ],
)
def test_rules_mean_what_they_say(rule: str, holds: bool) -> None:
    """A rollback on two signs of three must not happen on one.

    The API, AlarmRule: functions, operators, parentheses, names with and without quotes, ARNs.
    """
    assert AlarmRule(rule).holds(STATES.get) is holds


@pytest.mark.parametrize(
    "rule",
    ["", "ALARM(a) AND", "ALARM()", "a AND b", "alarm(a)", "ALARM(a) XOR TRUE", "(TRUE",
     "TRUE TRUE", "ALARM(a) " * 2_000, " OR ".join(f"OK(a{number})" for number in range(101))],
)  # fmt: skip
def test_rules_that_cannot_be_read_are_refused(rule: str) -> None:
    """A rule that is cut off would be another rule."""
    with pytest.raises(ValueError, match="AlarmRule"):
        AlarmRule(rule)


def test_it_follows_its_children_at_once(pair: World) -> None:
    """Both signs together page somebody, once.

    The API: "ALARM(CPUUtilizationTooHigh) AND ALARM(DiskReadOpsTooHigh) specifies that the
    composite alarm goes into ALARM state only if both … are in ALARM state."
    """
    composite(pair, "both", "ALARM(a) AND ALARM(b)", AlarmActions=[TOPIC], OKActions=[TOPIC])
    assert pair.alarms.state(REGION, "both").value == "INSUFFICIENT_DATA"
    pair.scheduler.run_for(1)
    assert pair.state("both") == "OK"
    switch(pair, "a", "ALARM")
    assert pair.state("both") == "OK"
    switch(pair, "b", "ALARM")
    assert pair.state("both") == "ALARM"
    switch(pair, "a", "INSUFFICIENT_DATA")
    assert [(action, event.state.value) for _, action, event in pair.acted] == [
        (TOPIC, "OK"),
        (TOPIC, "ALARM"),
        (TOPIC, "OK"),
    ]
    shown = pair.client("cloudwatch").describe_alarms(AlarmNames=["both"])["CompositeAlarms"]
    assert shown[0]["AlarmRule"] == "ALARM(a) AND ALARM(b)"


def test_composite_alarms_may_stand_on_each_other(pair: World) -> None:
    """One page for a model whatever of it is ill.

    The API: "The alarms specified in a composite alarm's rule can include metric alarms and other
    composite alarms."
    """
    composite(pair, "any", "ALARM(a) OR ALARM(b)")
    composite(pair, "top", "ALARM(any)", AlarmActions=[TOPIC])
    pair.scheduler.run_for(1)
    switch(pair, "b", "ALARM")
    assert pair.state("top") == "ALARM"
    (acted,) = pair.acted
    assert acted[2].name == "top"


def test_an_updated_composite_alarm_keeps_its_state_until_it_is_judged(pair: World) -> None:
    """An update is evaluated without waiting for a child.

    The API: "When you update an existing alarm, its state is left unchanged".
    """
    composite(pair, "top", "ALARM(a)")
    pair.scheduler.run_for(1)
    composite(pair, "top", "NOT ALARM(a)")
    assert pair.alarms.state(REGION, "top").value == "OK"
    pair.scheduler.run_for(1)
    assert pair.state("top") == "ALARM"
    pair.client("cloudwatch").delete_alarms(AlarmNames=["top", "a"])
    switch(pair, "b", "ALARM")


def test_operators_make_composite_alarms(pair: World) -> None:
    """A script of somebody else makes them; moto has no such operation of its own."""
    client = pair.client("cloudwatch")
    client.put_composite_alarm(AlarmName="top", AlarmRule="ALARM(a)", AlarmActions=[TOPIC])
    pair.scheduler.run_for(1)
    assert pair.state("top") == "OK"
    with pytest.raises(ClientError, match="do not exist"):
        client.put_composite_alarm(AlarmName="other", AlarmRule="ALARM(nobody)")


@pytest.mark.parametrize(
    ("rule", "actions", "error"),
    [
        ("ALARM(nobody)", [], "Could not save the composite alarm as alarms"),
        ("ALARM(top)", [], "cannot depend on itself"),
        ("ALARM(above)", [], "cannot depend on itself"),
        ("ALARM(a)", ["arn:aws:autoscaling:us-east-1:1:scalingPolicy:x:y"], "Auto Scaling"),
    ],
)
def test_what_cloudwatch_would_refuse_is_refused(
    pair: World, rule: str, actions: list[str], error: str
) -> None:
    """A template that AWS refuses must not pass here.

    "Composite alarms … can't perform EC2 actions or Auto Scaling actions" (user guide, "Using
    Amazon CloudWatch alarms"). A cycle works in AWS and only cannot be deleted: nobody wants one.
    """
    composite(pair, "top", "ALARM(a)")
    composite(pair, "above", "ALARM(top)")
    with pytest.raises(ValueError, match=error):
        composite(pair, "top", rule, AlarmActions=actions)
    pair.scheduler.run_for(1)
    switch(pair, "a", "ALARM")
    assert pair.state("above") == "ALARM"


def test_actions_that_are_not_run_are_refused(pair: World) -> None:
    """A ticket that is never written is missed by nobody here."""
    with pytest.raises(UnsupportedError, match="ssm"):
        composite(pair, "top", "TRUE", AlarmActions=["arn:aws:ssm:us-east-1:1:opsitem:1"])


def test_templates_deploy_composite_alarms(pair: World) -> None:
    """The rule of a template refers to alarms by ARN, as the CDK writes it."""
    deployed = pair.alarms.create(
        Resource(
            type="AWS::CloudWatch::CompositeAlarm",
            logical_id="Top",
            physical_id="app-top",
            region=REGION,
            account="123456789012",
            stack="app",
            properties={"AlarmRule": f'(ALARM("{ARN}a") AND NOT (ALARM("{ARN}b")))'},
        )
    )
    assert deployed.attributes == {"Arn": f"{ARN}app-top"}
    switch(pair, "a", "ALARM")
    assert pair.state("app-top") == "ALARM"


def test_messages_name_the_child(pair: World) -> None:
    """Whoever is paged by the whole sees the part.

    CloudWatch user guide, "Invoke a Lambda function from an alarm" and "Alarm events and
    EventBridge": the sample events of composite alarms.
    """
    composite(pair, "top", "ALARM(a) OR ALARM(b)", AlarmDescription="Runbook: top")
    pair.scheduler.run_until(START_S + 60)
    switch(pair, "b", "ALARM")
    created, event = (event for event in pair.alarms.history if event.name == "top")
    assert created.state.reason == f"{ARN}top was created and its alarm rule evaluates to OK"
    children = json.loads(created.state.reason_data)["triggeringAlarms"]
    assert [child["arn"] for child in children] == [f"{ARN}a", f"{ARN}b"]
    data = invocation(event)["alarmData"]
    assert data["configuration"] == {
        "description": "Runbook: top",
        "alarmRule": "ALARM(a) OR ALARM(b)",
    }
    assert data["state"]["reason"] == (
        f"{ARN}b transitioned to ALARM at Monday 05 January, 2026 00:01:00 UTC"
    )
    child = {
        "arn": f"{ARN}b",
        "state": {"value": "ALARM", "timestamp": "2026-01-05T00:01:00.000+0000"},
    }
    assert json.loads(data["state"]["reasonData"]) == {"triggeringAlarms": [child]}
    told = json.loads(notification(event))
    assert told["AlarmRule"] == "ALARM(a) OR ALARM(b)"
    assert told["TriggeringChildren"][0]["Arn"] == f"{ARN}b"
    assert "Trigger" not in told
