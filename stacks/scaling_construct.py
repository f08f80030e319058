"""One fleet's scaling: alarms on what beat tells of its version, and a policy for each.

CloudWatch repeats an alarm's action every minute, and Application Auto Scaling takes the policy
that leads to the most instances when several are called at once.
"""

from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from config import scaling
from config.scaling import FAST_PERIOD_S, OUT_POINTS, PERIOD_S, Step
from config.schema import TIERS, Deployment

ADJUST = "StepScaling"


class ScalingConstruct(Construct):
    """Out by pressure and by bursts, in by spare instances, one from none.

    Args:
        scope: Of the fleet.
        deployment: Names and target waits.
        model: Whose.
        version: Which of its versions.
        fleet: The scalable target.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        deployment: Deployment,
        model: str,
        version: str,
        fleet: autoscaling.CfnScalableTarget,
    ) -> None:
        super().__init__(scope, "Scaling")
        self._names = deployment.names
        self._model = deployment.models[model]
        self._of = {"Model": model, "Version": version}
        self._fleet = fleet
        self._steps = scaling.steps(
            target_wait_s=deployment.tiers[TIERS[0]].target_wait_s,
            warm_up_s=self._model.warm_up_s,
            instances_max=self._model.instances_max,
        )
        self._wake()
        self._out()
        self._in()

    @property
    def _who(self) -> str:
        return f"{self._of['Model']} {self._of['Version']}"

    def _wake(self) -> None:
        """One instance from none: nothing is in proportion to zero."""
        policy = self._policy("Wake", "ExactCapacity", (Step(lower=0, upper=None, change=1),))
        self._alarm(
            "wake",
            policy,
            description=f"Work waits for {self._who}, which has no instance: the first is started.",
            metrics=[
                self._metric("instances", "Instances", "Average", FAST_PERIOD_S),
                self._metric("pressure", "Pressure", "Average", FAST_PERIOD_S),
                self._expression("IF(instances < 1, pressure, 0)", "pressure without instances"),
            ],
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            evaluation_periods=1,
        )

    def _out(self) -> None:
        """More instances: for a queue that is too long already, and for one that will be."""
        needed, looked = OUT_POINTS
        for name, metric, steps, why in (
            (
                "Pressure",
                "Pressure",
                self._steps.pressure,
                "will wait too long with the instances that are there and asked for",
            ),
            (
                "Burst",
                "BurstRatio",
                self._steps.burst,
                "will need more instances than are there and asked for",
            ),
        ):
            policy = self._policy(name, "PercentChangeInCapacity", steps)
            self._alarm(
                name.lower(),
                policy,
                description=f"Work for {self._who} {why} when one that is asked for now is "
                "warm: more are started, the more it is out of line.",
                metrics=[self._metric("m", metric, "Average", FAST_PERIOD_S, returned=True)],
                comparison_operator="GreaterThanOrEqualToThreshold"
                if name == "Pressure"
                else "GreaterThanThreshold",
                threshold=1,
                evaluation_periods=looked,
                datapoints_to_alarm=needed,
            )

    def _in(self) -> None:
        """Fewer instances, slowly: those that go may be wanted again in a minute."""
        policy = self._policy(
            "Spare",
            "ChangeInCapacity",
            self._steps.spare,
            cooldown_s=self._steps.spare_cooldown_s,
        )
        minutes = self._steps.spare_points
        self._alarm(
            "spare",
            policy,
            description=f"{self._who} has had more instances than its work needs for {minutes} "
            "minutes: some are let go.",
            metrics=[self._metric("m", "Spare", "Minimum", PERIOD_S, returned=True)],
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=1,
            evaluation_periods=minutes,
        )

    def _policy(
        self, name: str, kind: str, steps: tuple[Step, ...], *, cooldown_s: int = 0
    ) -> autoscaling.CfnScalingPolicy:
        """A step policy. Out it needs no pause: what is asked for counts in every metric."""
        return autoscaling.CfnScalingPolicy(
            self,
            name,
            policy_name=self._names.scaling(**self._named, what=name.lower()),
            policy_type=ADJUST,
            scaling_target_id=self._fleet.ref,
            step_scaling_policy_configuration=(
                autoscaling.CfnScalingPolicy.StepScalingPolicyConfigurationProperty(
                    adjustment_type=kind,
                    cooldown=cooldown_s,
                    metric_aggregation_type="Average",
                    min_adjustment_magnitude=1 if kind.startswith("Percent") else None,
                    step_adjustments=[
                        autoscaling.CfnScalingPolicy.StepAdjustmentProperty(
                            metric_interval_lower_bound=step.lower,
                            metric_interval_upper_bound=step.upper,
                            scaling_adjustment=step.change,
                        )
                        for step in steps
                    ],
                )
            ),
        )

    @property
    def _named(self) -> dict[str, str]:
        return {"model": self._of["Model"], "version": self._of["Version"]}

    def _alarm(
        self,
        what: str,
        policy: autoscaling.CfnScalingPolicy,
        *,
        description: str,
        metrics: list[cloudwatch.CfnAlarm.MetricDataQueryProperty],
        comparison_operator: str,
        threshold: float,
        evaluation_periods: int,
        datapoints_to_alarm: int | None = None,
    ) -> None:
        cloudwatch.CfnAlarm(
            self,
            f"{what.capitalize()}Alarm",
            alarm_name=self._names.scaling(**self._named, what=what),
            alarm_description=description,
            metrics=metrics,
            comparison_operator=comparison_operator,
            threshold=threshold,
            evaluation_periods=evaluation_periods,
            datapoints_to_alarm=datapoints_to_alarm,
            # Without beats nobody knows what is needed, so nothing is bought and nothing let go.
            treat_missing_data="notBreaching",
            alarm_actions=[policy.ref],
        )

    def _metric(
        self, id_: str, name: str, statistic: str, period_s: int, *, returned: bool = False
    ) -> cloudwatch.CfnAlarm.MetricDataQueryProperty:
        return cloudwatch.CfnAlarm.MetricDataQueryProperty(
            id=id_,
            metric_stat=cloudwatch.CfnAlarm.MetricStatProperty(
                metric=cloudwatch.CfnAlarm.MetricProperty(
                    namespace=self._names.metrics,
                    metric_name=name,
                    dimensions=[
                        cloudwatch.CfnAlarm.DimensionProperty(name=key, value=value)
                        for key, value in self._of.items()
                    ],
                ),
                period=period_s,
                stat=statistic,
            ),
            return_data=returned,
        )

    def _expression(
        self, expression: str, label: str
    ) -> cloudwatch.CfnAlarm.MetricDataQueryProperty:
        return cloudwatch.CfnAlarm.MetricDataQueryProperty(
            id="watched", expression=expression, label=label, return_data=True
        )
