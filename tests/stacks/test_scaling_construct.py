"""One fleet's scaling: what its alarms call, and what a deployment may not touch."""

from typing import Any

import pytest

from tests.stacks.assemblies import Assembly, Synthesize, changed_dev

CHAT = "Model-chat-us-east-1"


@pytest.fixture(scope="module")
def scheduled(synthesize: Synthesize, tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """A chat model with a minimum by the clock and other fleets' bounds."""

    def change(document: dict[str, Any]) -> None:
        document["models"]["chat"] |= {
            "instances_min": 2,
            "scaling": {
                "schedule": [
                    {"cron": "0 7 ? * MON-FRI *", "timezone": "Europe/Berlin", "instances_min": 3},
                    {"cron": "0 19 ? * * *", "instances_min": 1},
                ]
            },
        }
        document["alarms"] = {"emails": ["ops@example.com"]}

    return synthesize(changed_dev(tmp_path_factory.mktemp("scheduled"), change))


def named(assembly: Assembly, what: str) -> dict[str, Any]:
    """A scaling alarm of the chat model's version."""
    name = f"spillway-dev-scaling-chat-v1-{what}"
    return assembly.one("AWS::CloudWatch::Alarm", stack=CHAT, AlarmName=name).properties


def test_every_alarm_calls_the_policy_of_its_name(dev: Assembly) -> None:
    """A spare instance that buys another one is a bill that doubles every five minutes."""
    for what, kind, first in (
        ("wake", "ExactCapacity", 1),
        ("pressure", "PercentChangeInCapacity", 4),
        ("burst", "PercentChangeInCapacity", 1),
        ("spare", "ChangeInCapacity", -1),
    ):
        policy = dev.one(
            "AWS::ApplicationAutoScaling::ScalingPolicy",
            stack=CHAT,
            PolicyName=f"spillway-dev-scaling-chat-v1-{what}",
        )
        alarm = named(dev, what)
        assert alarm["AlarmActions"] == [{"Ref": policy.logical_id}]
        assert alarm["TreatMissingData"] == "notBreaching", "without beats nothing is known"
        assert "chat v1" in alarm["AlarmDescription"]
        steps = policy.properties["StepScalingPolicyConfiguration"]
        assert steps["AdjustmentType"] == kind
        assert steps["StepAdjustments"][0]["ScalingAdjustment"] == first
        if kind.startswith("Percent"):
            assert steps["MinAdjustmentMagnitude"] == 1


def test_out_is_fast_and_in_is_slow(dev: Assembly) -> None:
    """A minute late is a queue; a minute early is an instance that is bought again."""
    assert named(dev, "burst")["Metrics"][0]["MetricStat"]["Period"] == 10
    assert named(dev, "burst")["DatapointsToAlarm"] == 2
    spare = named(dev, "spare")
    assert spare["EvaluationPeriods"] * 60 >= 2 * 258


def test_minimums_by_the_clock_are_scheduled_actions_of_the_wanted_version(
    scheduled: Assembly,
) -> None:
    """Everybody who comes at eight would else wait for the same instances."""
    fleet = scheduled.one("AWS::ApplicationAutoScaling::ScalableTarget", stack=CHAT).properties
    morning, evening = fleet["ScheduledActions"]
    assert morning["Schedule"] == "cron(0 7 ? * MON-FRI *)"
    assert morning["Timezone"] == "Europe/Berlin"
    assert morning["ScalableTargetAction"] == {"MinCapacity": 3, "MaxCapacity": 4}
    assert evening["ScalableTargetAction"]["MinCapacity"] == 1
    idle = "spillway-dev-alarm-idle-chat-v1"
    watched = scheduled.one("AWS::CloudWatch::Alarm", stack=CHAT, AlarmName=idle).properties
    assert "spare" in str(watched["Metrics"]), "beat knows the minimum of every hour"
    assert fleet["MinCapacity"] == 1, "what holds until the first of them is beat's business"


def test_other_bounds_and_steps_leave_the_endpoint_as_it_is(
    dev: Assembly, scheduled: Assembly
) -> None:
    """A configuration that is replaced would begin again with one instance, at noon."""
    for kind in ("AWS::SageMaker::EndpointConfig", "AWS::SageMaker::Endpoint"):
        before, after = (a.one(kind, stack=CHAT) for a in (dev, scheduled))
        assert (before.logical_id, before.properties) == (after.logical_id, after.properties)
        if kind.endswith("Endpoint"):
            assert after.properties["RetainAllVariantProperties"] is True


def test_a_budget_follows_from_the_hourly_maximum(dev: Assembly, scheduled: Assembly) -> None:
    """Prices change, and somebody may start instances by hand."""
    budget = scheduled.one("AWS::Budgets::Budget", stack="Data").properties
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 60 * 730, "Unit": "USD"}
    assert budget["Budget"]["CostFilters"]["Region"] == ["us-east-1"]
    told = budget["NotificationsWithSubscribers"]
    assert [each["Notification"]["NotificationType"] for each in told] == ["ACTUAL", "FORECASTED"]
    assert told[0]["Subscribers"] == [{"Address": "ops@example.com", "SubscriptionType": "EMAIL"}]
    alone = dev.one("AWS::Budgets::Budget", stack="Data").properties
    assert "NotificationsWithSubscribers" not in alone, "nobody wants to hear of it"
