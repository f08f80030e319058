"""The arithmetic of scaling policies, against the examples of AWS's pages.

Pages cited by name only are of docs.aws.amazon.com/autoscaling/application/userguide.
"""

from typing import Any

import pytest

from spillway.twin.policies import (
    StepScaling,
    TargetTracking,
    read_step_scaling,
    read_target_tracking,
)
from spillway.twin.resources import UnsupportedError

OUT = [(0, 10, 0), (10, 20, 10), (20, None, 30)]
IN = [(-10, 0, 0), (-20, -10, -10), (None, -20, -30)]


def steps(
    adjustments: list[Any], adjustment: str = "PercentChangeInCapacity", **more: Any
) -> StepScaling:
    """Make a policy of lower bounds, upper bounds and adjustments."""
    return read_step_scaling(
        {
            "AdjustmentType": adjustment,
            "StepAdjustments": [
                {
                    name: value
                    for name, value in zip(
                        ("MetricIntervalLowerBound", "MetricIntervalUpperBound"), step, strict=False
                    )
                    if value is not None
                }
                | {"ScalingAdjustment": step[2]}
                for step in adjustments
            ],
            **more,
        }
    )


def tracking(**configuration: Any) -> TargetTracking:
    """Make a target tracking policy on the backlog per instance."""
    return read_target_tracking(
        {
            "TargetValue": 5.0,
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": "embedder"}],
                "Statistic": "Average",
            },
            **configuration,
        },
        endpoint="embedder",
        variant="live",
    )


@pytest.mark.parametrize(
    ("capacity", "value", "wanted"),
    [(10, 50, 10), (10, 59.9, 10), (10, 60, 11), (11, 70, 14), (11, 1_000, 14)],
)
def test_a_step_out_is_as_in_the_guides_example(capacity: int, value: float, wanted: int) -> None:
    """A burst that buys another number of GPUs here than on AWS makes every replay a lie.

    "How step scaling works", Step adjustments: threshold 50; at 60 capacity 10 becomes 11, at 70
    it becomes 14 ("add 30 percent of 11, 3.3, rounded down to 3").
    """
    assert steps(OUT).wanted(capacity, value, 50) == wanted


@pytest.mark.parametrize(
    ("capacity", "value", "wanted"), [(14, 50, 14), (14, 40.1, 14), (14, 40, 13), (13, 30, 10)]
)
def test_a_step_in_is_as_in_the_guides_example(capacity: int, value: float, wanted: int) -> None:
    """Too large a step in kills warm instances that a tier still needs.

    "How step scaling works", Step adjustments: at 40 capacity 14 becomes 13, at 30 it becomes 10
    ("remove 30 percent of 13, 3.9, rounded down to 3").
    """
    assert steps(IN).wanted(capacity, value, 50) == wanted


@pytest.mark.parametrize(
    ("value", "bounds", "holds"),
    [
        (50, (0, 10), True),
        (59.9, (0, 10), True),
        (60, (0, 10), False),
        (49.9, (0, 10), False),
        (50, (-10, 0), True),
        (40.1, (-10, 0), True),
        (40, (-10, 0), False),
    ],
)
def test_bounds_belong_to_the_steps_that_the_reference_says(
    value: float, bounds: tuple[int, int], holds: bool
) -> None:
    """At the bound itself, the neighbouring step's instances would be bought.

    API reference, "StepAdjustment": "greater than or equal to 50 and less than 60" for bounds 0
    and 10, "greater than 40 and less than or equal to 50" for -10 and 0.
    """
    rest = (10, None, 7) if bounds[0] == 0 else (None, -10, -7)
    policy = steps([(*bounds, 1), rest], "ChangeInCapacity")
    assert (policy.wanted(20, value, 50) == 21) is holds


@pytest.mark.parametrize(
    ("adjustment", "capacity", "change", "wanted"),
    [
        ("ChangeInCapacity", 3, 5, 8),
        ("ExactCapacity", 3, 5, 5),
        ("PercentChangeInCapacity", 10, 10, 11),
        ("PercentChangeInCapacity", 100, 12, 112),
        ("PercentChangeInCapacity", 127, 10, 139),  # 12.7 is rounded to 12.
        ("PercentChangeInCapacity", 67, 1, 68),  # .67 is rounded to 1.
        ("PercentChangeInCapacity", 58, -1, 57),  # -.58 is rounded to -1.
        ("PercentChangeInCapacity", 667, -1, 661),  # -6.67 is rounded to -6.
        ("ChangeInCapacity", 3, -5, 0),
    ],
)
def test_adjustments_are_as_the_guide_counts_them(
    adjustment: str, capacity: int, change: int, wanted: int
) -> None:
    """An operator reads a policy by AWS's rules and must get what they say.

    "How step scaling works", Scaling adjustment types, with the examples of its note on rounding.
    """
    assert steps([(0, None, change)], adjustment).wanted(capacity, 1, 1) == wanted


@pytest.mark.parametrize(
    ("capacity", "change", "wanted"), [(4, 25, 6), (40, 25, 50), (4, -25, 2), (4, 0, 4)]
)
def test_a_percentage_moves_at_least_the_minimum(capacity: int, change: int, wanted: int) -> None:
    """A small fleet that grows by one instance at a time misses a burst.

    "How step scaling works": "25 percent of 4 is 1. However, because you specified a minimum
    increment of 2, Application Auto Scaling adds 2."
    """
    policy = steps([(0, None, change)], MinAdjustmentMagnitude=2)
    assert policy.wanted(capacity, 1, 1) == wanted


def test_a_value_outside_of_every_step_changes_nothing() -> None:
    """A recovered metric must not move the fleet by a step that was meant for a breach."""
    assert steps([(0, None, 1)], "ChangeInCapacity").wanted(2, 0.5, 1) is None


@pytest.mark.parametrize(
    ("adjustments", "why"),
    [
        ([], "at least one"),
        ([(None, None, 1)], "a lower or an upper"),
        ([(0, 10, 1), (5, None, 2)], "overlap"),
        ([(0, 10, 1), (20, None, 2)], "gap"),
        ([(0, None, 1), (20, None, 2)], "overlap"),
        ([(10, 10, 1)], "greater than"),
        ([(0, 10, 1)], "positive upper"),
        ([(-10, 0, 1)], "negative lower"),
    ],
)
def test_steps_that_aws_refuses_are_refused(adjustments: list[Any], why: str) -> None:
    """A deployment that AWS refuses must not pass here.

    "How step scaling works", Step adjustments: the rules after "note the following".
    """
    with pytest.raises(ValueError, match=why):
        steps(adjustments)


def test_other_refusals_of_step_policies() -> None:
    """API reference, "StepScalingPolicyConfiguration" and "StepAdjustment": valid values."""
    with pytest.raises(ValueError, match="AdjustmentType 'Half'"):
        steps(OUT, "Half")
    with pytest.raises(ValueError, match="MetricAggregationType"):
        steps(OUT, MetricAggregationType="Sum")
    with pytest.raises(ValueError, match="not be negative"):
        steps([(0, None, -1)], "ExactCapacity")
    assert steps(OUT).cooldown_s == 300
    assert steps(OUT, Cooldown=0).cooldown_s == 0


@pytest.mark.parametrize(
    ("capacity", "value", "wanted"),
    [
        (2, 10.0, 4),
        (2, 5.1, 3),
        (4, 5.0, 4),
        (4, 4.6, 4),
        (4, 2.5, 2),
        (4, 2.6, 3),
        (3, 0.0, 0),
        (0, 12.0, 3),
        (0, 0.0, 0),
    ],
)
def test_target_tracking_is_proportional_and_rounds_up(
    capacity: int, value: float, wanted: int
) -> None:
    """The default that this project is compared with must be the real one.

    "How target tracking scaling works": capacity proportional to the metric, rounded so that it
    prevents "adding insufficient capacity or removing too much capacity". From zero instances:
    SageMaker developer guide, "Autoscale an asynchronous endpoint".
    """
    assert tracking().wanted(capacity, value) == wanted


def test_quotients_that_are_whole_numbers_are_not_rounded_up() -> None:
    """A binary fraction must not buy a GPU."""
    assert tracking(TargetValue=0.1).wanted(3, 0.1) == 3


def test_target_tracking_watches_three_minutes_out_and_fifteen_in() -> None:
    """The alarms say when the default scales: three minutes of breach out, fifteen in.

    "How target tracking scaling works": it removes capacity "only when utilization passes a
    threshold that is far enough below the target value (usually more than 10% lower)".
    """
    arn = "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:0a1b:resource/x:policyName/y"
    alarms = tracking().alarms("endpoint/embedder/variant/live", arn)
    high, low = alarms["AlarmHigh"], alarms["AlarmLow"]
    assert (high["ComparisonOperator"], high["Threshold"]) == ("GreaterThanThreshold", 5.0)
    assert (low["ComparisonOperator"], low["Threshold"]) == ("LessThanThreshold", 4.5)
    assert [(each["EvaluationPeriods"], each["Period"]) for each in (high, low)] == [
        (3, 60),
        (15, 60),
    ]
    assert high["AlarmName"] == "TargetTracking-endpoint/embedder/variant/live-AlarmHigh-0a1b"
    assert high["AlarmActions"] == [f"{arn}:createdBy/0a1b"]
    assert list(tracking(DisableScaleIn=True).alarms("x", arn)) == ["AlarmHigh"]


def test_target_tracking_takes_metric_math_and_predefined_metrics() -> None:
    """Backlog per instance of a queue outside of SageMaker is metric math, or it is nothing.

    "Create a target tracking scaling policy using metric math"; API reference,
    "PredefinedMetricSpecification".
    """
    stat = {"Metric": {"Namespace": "N", "MetricName": "M"}, "Stat": "Sum"}
    queries = [
        {"Id": "m", "MetricStat": stat, "ReturnData": False},
        {"Id": "e", "Expression": "m / 2", "ReturnData": True},
    ]
    math = tracking(CustomizedMetricSpecification={"Metrics": queries})
    assert math.metric["Metrics"][0]["MetricStat"]["Period"] == 60
    assert math.metric["Metrics"][1]["Expression"] == "m / 2"
    predefined = tracking(
        CustomizedMetricSpecification=None,
        PredefinedMetricSpecification={
            "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
        },
    )
    assert predefined.metric["MetricName"] == "InvocationsPerInstance"
    assert {"Name": "VariantName", "Value": "live"} in predefined.metric["Dimensions"]


def test_targets_that_cannot_be_tracked_are_refused() -> None:
    """A policy on a metric that never comes would leave a fleet as it is, silently."""
    with pytest.raises(ValueError, match="TargetValue 0"):
        tracking(TargetValue=0)
    with pytest.raises(ValueError, match="one predefined or customized"):
        tracking(CustomizedMetricSpecification=None)
    with pytest.raises(ValueError, match="lacks Statistic"):
        tracking(CustomizedMetricSpecification={"MetricName": "M", "Namespace": "N"})
    with pytest.raises(UnsupportedError, match="LambdaProvisionedConcurrencyUtilization"):
        tracking(
            CustomizedMetricSpecification=None,
            PredefinedMetricSpecification={
                "PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"
            },
        )
