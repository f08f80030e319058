"""The arithmetic of scaling policies: how many instances a policy wants, and with which alarms.

Nothing here has a clock or a fleet. Pages cited as such are of the Application Auto Scaling user
guide, docs.aws.amazon.com/autoscaling/application/userguide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from spillway.twin.resources import UnsupportedError

COOLDOWN_S: Final = 300
"""Default of every cooldown of SageMaker's variants (API reference,
"StepScalingPolicyConfiguration" and "TargetTrackingScalingPolicyConfiguration")."""
ADJUSTMENTS: Final = frozenset({"ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"})
AGGREGATIONS: Final = frozenset({"Average", "Maximum", "Minimum"})
HIGH_PERIODS: Final = 3
LOW_PERIODS: Final = 15
LOW_SHARE: Final = 0.9
"""The alarms of target tracking: three minutes above the target, or fifteen minutes "usually more
than 10% lower" ("How target tracking scaling works"). AWS documents that share; the minutes are
those of the alarms that it creates, as its users show them."""
PERIOD_S: Final = 60
ROUNDING: Final = 1e-9
"""A quotient so little above a whole number is that number: 3 * 0.1 / 0.1 is 3."""
PREDEFINED: Final[Mapping[str, tuple[str, str]]] = {
    "SageMakerVariantInvocationsPerInstance": ("InvocationsPerInstance", "Sum"),
}
"""Metric and statistic of the predefined metrics that SageMaker's variants have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step adjustment.

    Args:
        change: Instances, or percent of them, by the policy's type of adjustment.
        lower: From how far above the threshold it counts; None for minus infinity.
        upper: Up to how far above the threshold it counts; None for infinity.
    """

    change: int
    lower: float | None = None
    upper: float | None = None

    def holds(self, breach: float) -> bool:
        """Whether a value so far above the threshold, or below if negative, is in the step.

        "If the metric value is above the breach threshold, the lower bound is inclusive and the
        upper bound is exclusive. If the metric value is below the breach threshold, the lower
        bound is exclusive and the upper bound is inclusive." At the threshold itself the API
        reference's examples ("StepAdjustment") have both, so that a step on either side holds.
        """
        lower = -math.inf if self.lower is None else self.lower
        upper = math.inf if self.upper is None else self.upper
        return (breach >= 0 and lower <= breach < upper) or (
            breach <= 0 and lower < breach <= upper
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScaling:
    """A step scaling policy.

    Args:
        adjustment: How a step's change is meant, one of `ADJUSTMENTS`.
        steps: By their bounds, lowest first.
        magnitude_min: Fewest instances that a change in percent moves.
        cooldown_s: Seconds in which an earlier scaling activity of the policy counts.
    """

    adjustment: str
    steps: tuple[Step, ...]
    magnitude_min: int = 0
    cooldown_s: float = COOLDOWN_S

    def wanted(self, capacity: int, value: float, threshold: float) -> int | None:
        """Tell the capacity that a breach leads to, before any bound of the target.

        Args:
            capacity: Instances now.
            value: The alarm's latest data point.
            threshold: The alarm's.

        Returns:
            None where no step holds.

        Source:
            "How step scaling works": step adjustments, scaling adjustment types.
        """
        # The step that begins at the threshold comes before the one that ends there.
        found = next((step for step in reversed(self.steps) if step.holds(value - threshold)), None)
        if found is None:
            return None
        if self.adjustment == "ExactCapacity":
            return found.change
        change = found.change
        if self.adjustment == "PercentChangeInCapacity":
            change = _rounded(capacity * found.change / 100)
            if found.change and abs(change) < self.magnitude_min:
                change = int(math.copysign(self.magnitude_min, found.change))
        return max(0, capacity + change)


def _rounded(change: float) -> int:
    """Towards zero, but never to zero ("Scaling adjustment types", its note on rounding)."""
    if 0 < abs(change) < 1:
        return int(math.copysign(1, change))
    return int(change)


def read_step_scaling(configuration: Mapping[str, Any]) -> StepScaling:
    """Read a StepScalingPolicyConfiguration.

    Raises:
        ValueError: Application Auto Scaling would refuse it.
    """
    adjustment = configuration.get("AdjustmentType")
    if adjustment not in ADJUSTMENTS:
        raise ValueError(f"AdjustmentType {adjustment!r} is none of {sorted(ADJUSTMENTS)}")
    if configuration.get("MetricAggregationType", "Average") not in AGGREGATIONS:
        raise ValueError(f"MetricAggregationType is none of {sorted(AGGREGATIONS)}")
    steps = [
        Step(
            change=int(step["ScalingAdjustment"]),
            lower=_number(step.get("MetricIntervalLowerBound")),
            upper=_number(step.get("MetricIntervalUpperBound")),
        )
        for step in configuration.get("StepAdjustments") or ()
    ]
    steps.sort(key=lambda step: -math.inf if step.lower is None else step.lower)
    _check(steps)
    if adjustment == "ExactCapacity" and any(step.change < 0 for step in steps):
        raise ValueError("ScalingAdjustment must not be negative with ExactCapacity")
    return StepScaling(
        adjustment=adjustment,
        steps=tuple(steps),
        magnitude_min=int(configuration.get("MinAdjustmentMagnitude") or 0),
        cooldown_s=_cooldown(configuration.get("Cooldown")),
    )


def _check(steps: Sequence[Step]) -> None:
    """Make sure that steps cover one range without gaps ("Step adjustments", its rules)."""
    if not steps:
        raise ValueError("StepAdjustments: at least one step adjustment is required")
    for step in steps:
        if step.lower is None and step.upper is None:
            raise ValueError("StepAdjustments: a step needs a lower or an upper bound")
        if step.lower is not None and step.upper is not None and step.upper <= step.lower:
            raise ValueError("StepAdjustments: an upper bound must be greater than the lower one")
    for before, after in pairwise(steps):
        if before.upper is None or after.lower is None or before.upper != after.lower:
            raise ValueError("StepAdjustments: steps must neither overlap nor leave a gap")
    if steps[0].lower is not None and steps[0].lower < 0:
        raise ValueError("StepAdjustments: with a negative lower bound, one must be null")
    if steps[-1].upper is not None and steps[-1].upper > 0:
        raise ValueError("StepAdjustments: with a positive upper bound, one must be null")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTracking:
    """A target tracking policy.

    Args:
        target: What the metric shall be.
        metric: Its properties as an alarm has them.
        out_cooldown_s: Seconds in which an earlier scale-out of the policy counts.
        in_cooldown_s: Seconds between two activities that scale in.
        scales_in: Whether it may take instances away.
    """

    target: float
    metric: Mapping[str, Any]
    out_cooldown_s: float = COOLDOWN_S
    in_cooldown_s: float = COOLDOWN_S
    scales_in: bool = True

    @property
    def low(self) -> float:
        """Below which value it scales in."""
        return self.target * LOW_SHARE

    def wanted(self, capacity: int, value: float, threshold: float = 0.0) -> int:
        """Tell the capacity at which the metric would meet the target, before any bound.

        Args:
            capacity: Instances now.
            value: The alarm's latest data point.
            threshold: The alarm's, which makes no difference.

        Returns:
            Never less above the target, and never more where it would scale in.

        Source:
            "How target tracking scaling works": in proportion to the metric, rounded so that
            there is rather too much capacity than too little. Nothing is in proportion to zero
            instances, yet SageMaker documents that an endpoint leaves zero "after the number of
            backlog requests exceeds the target tracking value" (developer guide, "Autoscale an
            asynchronous endpoint"), so a metric per instance is taken to be of one then.
        """
        if self.low <= value <= self.target or (value < self.low and not self.scales_in):
            return capacity
        proportional = math.ceil(max(1, capacity) * value / self.target - ROUNDING)
        if value > self.target:
            return max(capacity, proportional)
        return min(capacity, max(0, proportional))

    def alarms(self, resource: str, policy: str) -> dict[str, dict[str, Any]]:
        """Describe the alarms that the service keeps for it, by `AlarmHigh` and `AlarmLow`.

        Args:
            resource: Id of what is scaled, such as `endpoint/embedder/variant/live`.
            policy: The policy's ARN, which they act on.
        """
        unique = policy.split(":")[6]
        action = f"{policy}:createdBy/{unique}"
        told = {
            "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {action}",
            "AlarmActions": [action],
            **self.metric,
        }
        high = {
            "AlarmName": f"TargetTracking-{resource}-AlarmHigh-{unique}",
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": HIGH_PERIODS,
            "Threshold": self.target,
        }
        low = {
            "AlarmName": f"TargetTracking-{resource}-AlarmLow-{unique}",
            "ComparisonOperator": "LessThanThreshold",
            "EvaluationPeriods": LOW_PERIODS,
            "Threshold": self.low,
        }
        found = {"AlarmHigh": told | high}
        return found | {"AlarmLow": told | low} if self.scales_in else found


def read_target_tracking(
    configuration: Mapping[str, Any], *, endpoint: str, variant: str
) -> TargetTracking:
    """Read a TargetTrackingScalingPolicyConfiguration.

    Args:
        configuration: As in a template or a call.
        endpoint: What a predefined metric is about.
        variant: Its production variant.

    Raises:
        ValueError: Application Auto Scaling would refuse it.
        UnsupportedError: The twin does not run its metric.
    """
    target = float(configuration["TargetValue"])
    if target <= 0:
        raise ValueError(f"TargetValue {target:g} is not positive")
    predefined = configuration.get("PredefinedMetricSpecification")
    customized = configuration.get("CustomizedMetricSpecification")
    if (predefined is None) == (customized is None):
        raise ValueError("a target tracking policy needs one predefined or customized metric")
    metric = (
        _customized(customized)
        if customized is not None
        else _predefined(predefined or {}, endpoint, variant)
    )
    return TargetTracking(
        target=target,
        metric=metric,
        out_cooldown_s=_cooldown(configuration.get("ScaleOutCooldown")),
        in_cooldown_s=_cooldown(configuration.get("ScaleInCooldown")),
        scales_in=not configuration.get("DisableScaleIn"),
    )


def _predefined(specification: Mapping[str, Any], endpoint: str, variant: str) -> dict[str, Any]:
    kind = specification["PredefinedMetricType"]
    if kind not in PREDEFINED:
        raise UnsupportedError(f"PredefinedMetricType: {kind} is not run")
    name, statistic = PREDEFINED[kind]
    return {
        "Namespace": "AWS/SageMaker",
        "MetricName": name,
        "Dimensions": [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": variant},
        ],
        "Statistic": statistic,
        "Period": PERIOD_S,
    }


def _customized(specification: Mapping[str, Any]) -> dict[str, Any]:
    if specification.get("Metrics"):
        return {"Metrics": [_query(query) for query in specification["Metrics"]]}
    kept = {
        name: specification[name]
        for name in ("Dimensions", "MetricName", "Namespace", "Statistic", "Unit")
        if specification.get(name)
    }
    missing = {"MetricName", "Namespace", "Statistic"} - set(kept)
    if missing:
        raise ValueError(f"CustomizedMetricSpecification lacks {', '.join(sorted(missing))}")
    return kept | {"Period": PERIOD_S}


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    """Queries of a policy name no period: it is a minute."""
    if "MetricStat" not in query:
        return dict(query)
    return {**query, "MetricStat": {**query["MetricStat"], "Period": PERIOD_S}}


def _number(bound: Any) -> float | None:
    return None if bound is None else float(bound)


def _cooldown(seconds: Any) -> float:
    return COOLDOWN_S if seconds is None else float(seconds)
