"""What CloudWatch's metric alarms do, with the page that says so.

Pages without an address are of docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from spillway.twin.alarm_messages import invocation, notification, state_change, subject
from spillway.twin.alarms import Question
from spillway.twin.clock import START_S
from spillway.twin.metrics import KEPT_S, Metric
from spillway.twin.resources import Resource, UnsupportedError

if TYPE_CHECKING:
    from spillway.twin.alarm_messages import AlarmEvent
    from tests.twin.conftest import World

REGION = "us-east-1"
PRESSURE = Metric("Spillway", "Pressure")
TOPIC = f"arn:aws:sns:{REGION}:123456789012:pages"
FUNCTION = f"arn:aws:lambda:{REGION}:123456789012:function:release"
POLICY = (
    f"arn:aws:autoscaling:{REGION}:123456789012:scalingPolicy:6d8972f3:resource/sagemaker/"
    "endpoint/embedder-v1/variant/live:policyName/out"
)
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def changes(world: World) -> list[tuple[int, str]]:
    """When an alarm went into which state, in seconds since the start."""
    return [(round(event.at_s - START_S), event.state.value) for event in world.alarms.history]


# -- which state -----------------------------------------------------------------------------

STATES = {"A": "ALARM", "O": "OK", "I": "INSUFFICIENT_DATA", "=": None}


@pytest.mark.parametrize(
    ("points", "needed", "states"),
    [
        ("0-X-X", 3, "OOOO"),
        ("0----", 3, "OOOO"),
        ("-----", 3, "I=AO"),
        ("0XX-X", 3, "AAAA"),
        ("--X--", 3, "A=AO"),
        ("0-X-X", 2, "AAAA"),
        ("00X0X", 2, "AAAA"),
        ("0-X--", 2, "OOAO"),
        ("----0", 2, "OOAO"),
        ("---X-", 2, "A=AO"),
        # "the alarm does not go immediately into ALARM state when the data is either …"
        ("----X", 3, "I=AO"),
        ("---X-", 3, "I=AO"),
        ("---X0", 3, "OOOO"),
        ("--X-0", 3, "OOOO"),
        # What the page leaves open: enough data points breach, whatever is missing.
        ("---XX", 2, "AAAA"),
        ("----X", 1, "AAAA"),
        ("X----", 1, "AAAA"),
    ],
)
def test_missing_data_is_treated_as_in_the_tables(points: str, needed: int, states: str) -> None:
    """An alarm that takes silence for health, or for illness, scales or rolls back wrongly.

    "Configuring how CloudWatch alarms treat missing data": both tables, and "Avoiding premature
    transitions to alarm state". 0 is a good data point, X a bad one, - a missing one, the latest
    last; three are evaluated of the five in the evaluation range.
    """
    values = [{"0": 1.0, "X": 99.0, "-": None}[point] for point in reversed(points)]
    found = [
        Question(
            period_s=60,
            periods=3,
            needed=needed,
            threshold=10,
            comparison="GreaterThanThreshold",
            missing=missing,
        ).answer(values)
        for missing in TREATMENTS
    ]
    assert found == [STATES[state] for state in states]


@pytest.mark.parametrize(
    ("operator", "states"),
    [
        ("GreaterThanThreshold", "OOA"),
        ("GreaterThanOrEqualToThreshold", "OAA"),
        ("LessThanThreshold", "AOO"),
        ("LessThanOrEqualToThreshold", "AAO"),
    ],
)
def test_the_four_comparisons(operator: str, states: str) -> None:
    """A threshold that is reached exactly must mean the same here and in AWS.

    API reference, "PutMetricAlarm": ComparisonOperator, "The specified statistic value is used as
    the first operand".
    """
    question = Question(period_s=60, periods=1, needed=1, threshold=10, comparison=operator)
    assert [question.answer([x]) for x in (9.0, 10.0, 11.0)] == [STATES[s] for s in states]


# -- when ------------------------------------------------------------------------------------


def test_three_periods_in_a_row(world: World) -> None:
    """One bad minute wakes nobody.

    "Evaluating an alarm": its figure. The alarm goes off in the third bad period, returns with
    the first good one, and stays OK through a single bad one.
    """
    world.alarm()
    assert world.state() == "INSUFFICIENT_DATA"
    world.feed([1, 1, 20, 20, 20, 1, 1, 1, 20, 1])
    # Each evaluation comes five seconds after the minute that it sees.
    assert changes(world) == [(65, "OK"), (305, "ALARM"), (365, "OK")]
    assert world.state() == "OK"


def test_m_out_of_n(world: World) -> None:
    """Two bad minutes of three count, wherever they are.

    "Evaluating an alarm": "The breaching data points do not have to be consecutive".
    """
    world.alarm(DatapointsToAlarm=2)
    world.feed([1, 1, 1, 20, 1, 20, 1, 1])
    assert changes(world) == [(65, "OK"), (365, "ALARM"), (425, "OK")]


def test_short_periods_are_evaluated_every_ten_seconds(world: World) -> None:
    """A burst alarm fires within ten seconds of the second steep period.

    "Using Amazon CloudWatch alarms", "High-resolution alarms".
    """
    world.alarm(Period=10, EvaluationPeriods=2)
    world.feed([1, 20, 20, 1], every_s=10, resolution_s=1)
    world.scheduler.run_for(10)
    assert changes(world) == [(15, "OK"), (35, "ALARM"), (45, "OK")]


def test_a_window_of_thirty_seconds_slides_by_ten(world: World) -> None:
    """A short alarm need not wait for the next half minute.

    "Alarm evaluation": an alarm with a period of 10 or 30 seconds "is evaluated every 10 seconds".
    """
    world.alarm(Period=30, EvaluationPeriods=1, Statistic="Sum")
    world.feed([4, 4, 4, 4], every_s=10, resolution_s=1)
    world.scheduler.run_for(10)
    assert changes(world)[:2] == [(15, "OK"), (35, "ALARM")]


def test_long_periods_are_evaluated_every_minute(world: World) -> None:
    """A sum over five minutes is not five minutes late.

    "Alarm events and EventBridge": the sample alarm with a period of 300 s looks, at 17:04:40,
    at the data point of 16:59.
    """
    world.alarm(Period=300, EvaluationPeriods=1, Statistic="Sum")
    world.feed([1, 1, 20])
    world.scheduler.run_for(10)
    assert changes(world) == [(65, "OK"), (185, "ALARM")]


def test_a_short_alarm_on_a_slow_metric_lapses(world: World) -> None:
    """Whoever sets a ten-second alarm on a one-minute metric should see what comes of it.

    API reference, "PutMetricAlarm", Period: "the alarm might often lapse into INSUFFICIENT_DATA".
    """
    world.alarm(Period=10, EvaluationPeriods=1)
    world.feed([1, 1, 1])
    states = [state for _, state in changes(world)]
    assert states[:4] == ["OK", "INSUFFICIENT_DATA", "OK", "INSUFFICIENT_DATA"]


def test_silence_after_data(world: World) -> None:
    """A metric that stops is seen for some more periods, and then is missing.

    "Configuring how CloudWatch alarms treat missing data": "alarms might repeatedly re-evaluate
    the last set of data points for a period of time after the metric has stopped flowing".
    """
    world.alarm(EvaluationPeriods=1)
    world.feed([1, 20, None, None, None, None])
    assert changes(world) == [(65, "OK"), (125, "ALARM"), (305, "INSUFFICIENT_DATA")]


def test_how_far_an_alarm_looks_back_is_an_assumption(world: World) -> None:
    """AWS documents an example, and no rule: a simulation may try another number.

    "Configuring how CloudWatch alarms treat missing data": "The exact number of data points it
    attempts to retrieve depends on the length of the alarm period and whether it is based on a
    metric with standard resolution or high resolution."
    """
    world.alarms.extra_periods = 4
    world.alarm(EvaluationPeriods=1)
    world.feed([20, None, None, None, None, None, None])
    assert changes(world) == [(65, "ALARM"), (365, "INSUFFICIENT_DATA")]


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [("ignore", []), ("breaching", [(5, "ALARM")]), ("notBreaching", [(5, "OK")])],
)
def test_a_metric_that_never_comes(
    world: World, treatment: str, expected: list[tuple[int, str]]
) -> None:
    """A guard of an idle version stays OK; a heartbeat that never beats goes off.

    "Configuring how CloudWatch alarms treat missing data", third row of the first table.
    """
    world.alarm(TreatMissingData=treatment)
    world.scheduler.run_for(600)
    assert changes(world) == expected
    assert world.alarms.evaluations == 1  # The rest was known from that.


def test_throttling_of_dynamodb_is_never_missing(world: World) -> None:
    """Its alarms keep their state, whatever the template says.

    API reference, "PutMetricAlarm": alarms on AWS/DynamoDB "always ignore missing data".
    """
    world.alarm(Namespace="AWS/DynamoDB", TreatMissingData="breaching")
    world.scheduler.run_for(600)
    assert changes(world) == []


def test_percentiles_with_few_samples_may_be_ignored(world: World) -> None:
    """Two slow jobs at night are no slow version.

    "Percentile-based alarms and low data samples": with `ignore` the state stays below
    10/(1 - percentile) data points in the evaluation period.
    """
    p95 = {"Statistic": None, "ExtendedStatistic": "p95", "EvaluationPeriods": 1}
    world.alarm("evaluate", **p95)
    world.alarm("ignore", **p95, EvaluateLowSampleCountPercentile="ignore")
    world.metrics.put(REGION, PRESSURE, [20.0] * 199)
    world.scheduler.run_for(70)
    assert (world.state("evaluate"), world.state("ignore")) == ("ALARM", "INSUFFICIENT_DATA")
    world.metrics.put(REGION, PRESSURE, [20.0] * 200)
    world.scheduler.run_for(60)
    assert world.state("ignore") == "ALARM"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [(5, "ALARM"), (185, "OK")]),
        ({"WarmUpPeriodDurationInMinutes": 30}, [(305, "OK")]),
        ({"WarmUpPeriodDurationInMinutes": 2}, [(125, "ALARM"), (185, "OK")]),
        (
            {
                "WarmUpPeriodDurationInMinutes": 10,
                "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True,
            },
            [(605, "ALARM")],
        ),
    ],
)
def test_a_new_alarm_may_warm_up(
    world: World, settings: dict[str, Any], expected: list[tuple[int, str]]
) -> None:
    """The guards of a version that has just begun do not judge it by its silence.

    "Alarm warm-up periods": "the alarm stays in INSUFFICIENT_DATA"; evaluation begins "as soon as
    enough data fills its evaluation window", or after the whole duration.
    """
    world.alarm(TreatMissingData="breaching", WarmUpConfiguration=settings)
    world.feed([None, None, 1, 1, 1, None, None, None, None, None])
    world.scheduler.run_for(10)
    assert changes(world)[: len(expected)] == expected


def test_an_update_does_not_warm_up_again(world: World) -> None:
    """A deployment leaves no gap in the watch.

    API reference, "WarmUpConfiguration": "If you change it after the warm-up period ends, the new
    value does not restart the warm-up period."
    """
    warm_up = {"WarmUpPeriodDurationInMinutes": 2}
    world.alarm(TreatMissingData="breaching", WarmUpConfiguration=warm_up)
    world.scheduler.run_for(130)
    world.alarm(TreatMissingData="notBreaching", WarmUpConfiguration=warm_up)
    world.scheduler.run_for(60)
    assert changes(world) == [(125, "ALARM"), (185, "OK")]


def test_metric_math_is_watched(world: World) -> None:
    """A failure rate is a quotient of two metrics.

    "Alarms on math expressions", "Using metric math".
    """

    def query(name: str, metric: str) -> dict[str, Any]:
        stat = {
            "Metric": {"Namespace": "Spillway", "MetricName": metric},
            "Period": 60,
            "Stat": "Sum",
        }
        return {"Id": name, "MetricStat": stat, "ReturnData": False}

    world.alarm(
        Namespace=None,
        MetricName=None,
        Statistic=None,
        Period=None,
        EvaluationPeriods=1,
        Threshold=0.2,
        TreatMissingData="notBreaching",
        Metrics=[
            {"Id": "rate", "Expression": "IF(ended >= 10, failed / ended, 0)", "Label": "Rate"},
            {"Id": "ended", "Expression": "SUM(METRICS())", "ReturnData": False},
            query("failed", "Failed"),
            query("completed", "Completed"),
        ],
    )
    for failed, completed in ((3, 0), (3, 12), (4, 12)):
        world.metrics.put(REGION, Metric("Spillway", "Failed"), [1.0] * failed)
        world.metrics.put(REGION, Metric("Spillway", "Completed"), [1.0] * completed)
        world.scheduler.run_for(60)
    world.scheduler.run_for(10)
    assert changes(world) == [(5, "OK"), (185, "ALARM")]
    (event,) = [event for event in world.alarms.history if event.state.value == "ALARM"]
    assert event.value == 0.25
    trigger = json.loads(notification(event))["Trigger"]
    assert trigger["Metrics"][0] == {
        "Id": "rate",
        "ReturnData": True,
        "Label": "Rate",
        "Expression": "IF(ended >= 10, failed / ended, 0)",
    }
    assert trigger["Metrics"][2]["MetricStat"]["Metric"]["MetricName"] == "Failed"
    described = world.client("cloudwatch").describe_alarms()["MetricAlarms"][0]["Metrics"]
    assert [each["Id"] for each in described] == ["rate", "ended", "failed", "completed"]
    told = invocation(event)["alarmData"]["configuration"]["metrics"]
    assert told[0]["expression"].startswith("IF(")
    assert told[2]["metricStat"]["stat"] == "Sum"


def test_an_alarm_may_look_back_further_than_data_is_kept(world: World) -> None:
    """A budget's alarm sums up hours."""
    world.alarm(Period=3600, EvaluationPeriods=6)
    assert world.metrics.of(REGION, PRESSURE).kept_s > max(KEPT_S, 6 * 3600)


# -- actions ---------------------------------------------------------------------------------


def test_actions_come_with_changes_only(world: World) -> None:
    """Nobody is paged every minute for one fault.

    "Using Amazon CloudWatch alarms": "An alarm invokes actions only when the alarm changes
    state."
    """
    world.alarm(
        EvaluationPeriods=1,
        AlarmActions=[TOPIC, FUNCTION],
        OKActions=[TOPIC],
        InsufficientDataActions=[FUNCTION],
    )
    world.feed([20, 20, 20, 1, 1, None, None, None, None])
    assert [(at_s, action, event.state.value) for at_s, action, event in world.acted] == [
        (65, TOPIC, "ALARM"),
        (65, FUNCTION, "ALARM"),
        (245, TOPIC, "OK"),
        (485, FUNCTION, "INSUFFICIENT_DATA"),
    ]


def test_scaling_is_repeated_each_minute(world: World) -> None:
    """A fleet goes on growing for as long as the pressure is high.

    "Using Amazon CloudWatch alarms": "For Auto Scaling actions, the alarm continues to invoke the
    action once per minute that the alarm remains in the new state."
    """
    world.alarm(Period=10, EvaluationPeriods=1, AlarmActions=[TOPIC, POLICY], OKActions=[POLICY])
    world.feed([float(x) for x in range(11, 26)], every_s=10, resolution_s=1)
    world.feed([1] * 9, every_s=10, resolution_s=1)
    assert [(at_s, action, event.value) for at_s, action, event in world.acted] == [
        (15, TOPIC, 11),
        (15, POLICY, 11),
        (75, POLICY, 17),
        (135, POLICY, 23),
        (165, POLICY, 1),
        (225, POLICY, 1),
    ]
    assert {event.threshold for *_, event in world.acted} == {10}


def test_scaling_is_repeated_without_data(world: World) -> None:
    """Missing data that breaches goes on scaling, with no value to tell."""
    world.alarm(EvaluationPeriods=1, TreatMissingData="breaching", AlarmActions=[POLICY])
    world.scheduler.run_for(130)
    assert [(at_s, event.value) for at_s, _, event in world.acted] == [
        (5, None),
        (65, None),
        (125, None),
    ]


def test_actions_may_be_disabled(world: World) -> None:
    """An operator silences an alarm before maintenance; its state goes on telling the truth.

    API reference, "DisableAlarmActions": "the alarm actions do not execute when the alarm state
    changes".
    """
    client = world.client("cloudwatch")
    world.alarm(EvaluationPeriods=1, AlarmActions=[TOPIC], OKActions=[TOPIC])
    client.disable_alarm_actions(AlarmNames=["high"])
    world.feed([20, 20])
    assert (world.acted, world.state()) == ([], "ALARM")
    assert len(world.alarms.history) == 1
    client.enable_alarm_actions(AlarmNames=["high"])
    world.feed([1, 1])
    assert [event.state.value for *_, event in world.acted] == ["OK"]
    world.alarm("quiet", EvaluationPeriods=1, OKActions=[TOPIC], ActionsEnabled=False)
    world.feed([1, 1])
    assert len(world.acted) == 1


# -- creating, updating, setting -------------------------------------------------------------


def test_an_updated_alarm_keeps_its_state(world: World) -> None:
    """A deployment does not page everybody again.

    API reference, "PutMetricAlarm": "When you update an existing alarm, its state is left
    unchanged, but the update completely overwrites the previous configuration of the alarm."
    """
    world.alarm(EvaluationPeriods=1, AlarmActions=[TOPIC])
    world.feed([20, 20])
    world.alarm(EvaluationPeriods=1, AlarmActions=[TOPIC], Threshold=12)
    assert world.state() == "ALARM"
    world.feed([20, 11])
    world.scheduler.run_for(10)
    assert [state for _, state in changes(world)] == ["ALARM", "OK"]
    assert len(world.acted) == 1


def test_operators_manage_alarms(world: World) -> None:
    """A script of somebody else makes, tests and deletes alarms that work.

    API reference, "PutMetricAlarm", "SetAlarmState": the action runs, and the "alarm returns to
    its actual state quickly"; "DeleteAlarms".
    """
    client = world.client("cloudwatch")
    settings: dict[str, Any] = {
        "AlarmName": "mine",
        "Namespace": "Spillway",
        "MetricName": "Pressure",
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 10.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        "AlarmActions": [POLICY],
    }
    client.put_metric_alarm(**settings)
    assert world.state("mine") == "INSUFFICIENT_DATA"
    world.scheduler.run_for(70)
    assert world.state("mine") == "OK"
    data = json.dumps({"recentDatapoints": [14.0, 17.0]})
    client.set_alarm_state(
        AlarmName="mine", StateValue="ALARM", StateReason="a drill", StateReasonData=data
    )
    assert world.state("mine") == "ALARM"
    assert [(event.value, event.state.reason) for *_, event in world.acted] == [(17.0, "a drill")]
    world.scheduler.run_for(60)
    assert world.state("mine") == "OK"
    (history,) = client.describe_alarms()["MetricAlarms"]
    assert history["StateReason"].startswith("Threshold Crossed: no datapoints were received")
    with pytest.raises(ClientError, match="Period"):
        client.put_metric_alarm(**settings | {"Period": 45})
    with pytest.raises(ClientError, match="WarmUpConfiguration"):
        client.put_metric_alarm(
            **settings, WarmUpConfiguration={"WarmUpPeriodDurationInMinutes": 1}
        )
    assert client.describe_alarms()["MetricAlarms"][0]["Period"] == 60
    client.delete_alarms(AlarmNames=["mine"])
    world.scheduler.run_for(120)
    assert client.describe_alarms()["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("properties", "error"),
    [
        ({"Period": 45}, "Period 45"),
        ({"EvaluationPeriods": 0}, "DatapointsToAlarm"),
        ({"DatapointsToAlarm": 4}, "DatapointsToAlarm"),
        ({"EvaluationPeriods": 1441}, "more than 86400 s"),
        ({"Period": 3600, "EvaluationPeriods": 169}, "more than 604800 s"),
        ({"TreatMissingData": "zero"}, "TreatMissingData"),
        ({"WarmUpConfiguration": {"WarmUpPeriodDurationInMinutes": 0}}, "2880 minutes"),
        ({"Statistic": None}, "one of Statistic"),
        ({"ExtendedStatistic": "p90"}, "one of Statistic"),
        ({"MetricName": None}, "MetricName"),
        ({"Metrics": [{"Id": "e1", "Expression": "1"}]}, "one query with ReturnData"),
    ],
)
def test_what_cloudwatch_would_refuse_is_refused(
    world: World, properties: dict[str, Any], error: str
) -> None:
    """A template that AWS refuses must not pass here.

    API reference, "PutMetricAlarm".
    """
    with pytest.raises(ValueError, match=error):
        world.alarm(**properties)
    assert world.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("properties", "error"),
    [
        ({"ComparisonOperator": "LessThanLowerThreshold"}, "LessThanLowerThreshold"),
        ({"Statistic": None, "ExtendedStatistic": "ptm90"}, "ptm90"),
        ({"AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]}, "actions"),
        ({"AlarmActions": ["arn:aws:ssm:us-east-1:1:opsitem:2"]}, "ssm"),
        ({"Unit": "Seconds"}, "Unit"),
        ({"ThresholdMetricId": "ad1"}, "ThresholdMetricId"),
        (
            {
                "Metrics": [
                    {"Id": "e1", "Expression": "RATE(m1)"},
                    {
                        "Id": "m1",
                        "ReturnData": False,
                        "MetricStat": {
                            "Metric": {"Namespace": "x", "MetricName": "y"},
                            "Period": 60,
                            "Stat": "Sum",
                        },
                    },
                ]
            },
            "RATE",
        ),
    ],
)
def test_what_is_not_run_is_refused_by_name(
    world: World, properties: dict[str, Any], error: str
) -> None:
    """An alarm that is silently never evaluated would look healthy for ever."""
    with pytest.raises(UnsupportedError, match=error):
        world.alarm(**properties)


def test_templates_deploy_alarms(world: World) -> None:
    """A property of a template must arrive where it acts.

    CloudFormation user guide, "AWS::CloudWatch::Alarm": Ref is the name, and Arn an attribute.
    """
    deployed = world.alarms.create(
        Resource(
            type="AWS::CloudWatch::Alarm",
            logical_id="High",
            physical_id="app-high",
            region=REGION,
            account="123456789012",
            stack="app",
            properties={
                "Namespace": "Spillway",
                "MetricName": "Pressure",
                "Dimensions": [{"Name": "model", "Value": "embedder"}],
                "Statistic": "Average",
                "Period": 10,
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                "AlarmActions": [TOPIC],
                "ActionsEnabled": "true",
                "Tags": [{"Key": "a", "Value": "b"}],
            },
        )
    )
    assert deployed.physical_id == "app-high"
    assert deployed.attributes == {
        "Arn": f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:app-high"
    }
    metric = Metric("Spillway", "Pressure", frozenset({("model", "embedder")}))
    world.metrics.put(REGION, metric, [1.0], resolution_s=1)
    world.scheduler.run_for(20)
    assert [action for _, action, _ in world.acted] == [TOPIC]


# -- what is sent ----------------------------------------------------------------------------


@pytest.fixture
def event(world: World) -> AlarmEvent:
    """One change of state from OK to ALARM."""
    world.alarm(
        AlarmDescription="Runbook: pressure",
        DatapointsToAlarm=2,
        Dimensions=[],
        AlarmActions=[TOPIC],
    )
    world.feed([1, 20, 30, 1])
    return world.alarms.history[-1]


def test_the_notification_is_the_one_of_cloudwatch(event: AlarmEvent) -> None:
    """A pager that reads CloudWatch's messages reads these.

    "Notifying users on alarm changes"; API reference, "PutMetricAlarm".
    """
    assert subject(event) == 'ALARM: "high" in US East (N. Virginia)'
    told = json.loads(notification(event))
    assert told["AlarmName"] == "high"
    assert told["AlarmDescription"] == "Runbook: pressure"
    assert told["AWSAccountId"] == "123456789012"
    assert (told["OldStateValue"], told["NewStateValue"]) == ("OK", "ALARM")
    assert told["StateChangeTime"] == "2026-01-05T00:03:05.000+0000"
    assert told["AlarmArn"] == f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:high"
    assert told["Region"] == "US East (N. Virginia)"
    assert told["AlarmActions"] == [TOPIC]
    assert told["NewStateReason"] == (
        "Threshold Crossed: 2 out of the last 3 datapoints [30.0 (05/01/26 00:02:00), 20.0 "
        "(05/01/26 00:01:00)] were greater than the threshold (10.0) (minimum 2 datapoints for "
        "OK -> ALARM transition)."
    )
    assert told["Trigger"] == {
        "MetricName": "Pressure",
        "Namespace": "Spillway",
        "StatisticType": "Statistic",
        "Statistic": "MAXIMUM",
        "Unit": None,
        "Dimensions": [],
        "Period": 60,
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 10.0,
        "TreatMissingData": "missing",
        "EvaluateLowSampleCountPercentile": "",
    }


def test_the_functions_event_is_the_one_of_cloudwatch(event: AlarmEvent) -> None:
    """A function that rolls back finds alarm, states and configuration.

    "Invoke a Lambda function from an alarm": the sample event of a metric alarm.
    """
    told = invocation(event)
    assert told["source"] == "aws.cloudwatch"
    assert told["alarmArn"].endswith(":alarm:high")
    assert told["time"] == "2026-01-05T00:03:05.000+0000"
    data = told["alarmData"]
    assert (data["alarmName"], data["state"]["value"]) == ("high", "ALARM")
    assert data["previousState"]["value"] == "OK"
    assert json.loads(data["state"]["reasonData"]) == {
        "version": "1.0",
        "queryDate": "2026-01-05T00:03:05.000+0000",
        "startDate": "2026-01-05T00:00:00.000+0000",
        "statistic": "Maximum",
        "period": 60,
        "recentDatapoints": [1.0, 20.0, 30.0],
        "threshold": 10.0,
    }
    (metric,) = data["configuration"]["metrics"]
    assert metric["metricStat"] == {
        "metric": {"namespace": "Spillway", "name": "Pressure", "dimensions": {}},
        "period": 60,
        "stat": "Maximum",
    }


def test_the_buss_event_is_the_one_of_cloudwatch(event: AlarmEvent) -> None:
    """A rule's pattern matches here what it matches in AWS.

    "Alarm events and EventBridge": the sample event of a single-metric alarm.
    """
    told = state_change(event, id_="c4c1c1c9")
    assert told.keys() == {
        "version", "id", "detail-type", "source", "account", "time", "region", "resources",
        "detail",
    }  # fmt: skip
    assert told["detail-type"] == "CloudWatch Alarm State Change"
    assert told["time"] == "2026-01-05T00:03:05Z"
    assert told["resources"] == [f"arn:aws:cloudwatch:{REGION}:123456789012:alarm:high"]
    assert told["detail"]["configuration"]["description"] == "Runbook: pressure"
    assert told["detail"]["previousState"]["reason"].endswith(
        "was not greater than the threshold (10.0) (minimum 2 datapoints for ALARM -> OK "
        "transition)."
    )


def test_an_alarm_on_metric_math_can_be_described(world: World) -> None:
    """Functions of the deployment ask what its alarms say.

    API reference, "MetricDataQuery": an expression's `Period` is optional.
    """
    stat = {"Metric": {"Namespace": "App", "MetricName": "Depth"}, "Period": 60, "Stat": "Sum"}
    world.alarms.put(
        "123456789012",
        REGION,
        {
            "AlarmName": "math",
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "Metrics": [
                {"Id": "depth", "MetricStat": stat, "ReturnData": False},
                {"Id": "twice", "Expression": "depth * 2"},
            ],
        },
    )
    (alarm,) = world.client("cloudwatch").describe_alarms(AlarmNames=["math"])["MetricAlarms"]
    assert {query["Id"]: query.get("Period") for query in alarm["Metrics"]} == {
        "depth": None,
        "twice": None,
    }
