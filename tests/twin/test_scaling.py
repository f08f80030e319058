"""Application Auto Scaling as AWS documents it, over endpoints that take time to change.

Pages cited by name only are of docs.aws.amazon.com/autoscaling/application/userguide.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from spillway.twin.alarm_messages import AlarmEvent
from spillway.twin.alarms import Alarms
from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.metrics import Metric, Metrics
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.sagemaker import SageMaker
from spillway.twin.scaling import DIMENSION, Scaling

REGION, ACCOUNT = "us-east-1", "123456789012"
TARGET = "endpoint/embedder-v1/variant/live"
NAMES = {"ServiceNamespace": "sagemaker", "ResourceId": TARGET, "ScalableDimension": DIMENSION}
BACKLOG = Metric("AWS/SageMaker", "Backlog", frozenset({("EndpointName", "embedder-v1")}))
ONE_MORE = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]


@dataclass
class Endpoint:
    """As much of an endpoint as scaling sees."""

    desired: int = 1
    status: str = "InService"

    @property
    def variant(self) -> dict[str, str]:
        """The one production variant."""
        return {"VariantName": "live"}


class Endpoints:
    """As much of SageMaker as scaling sees: one endpoint, whose new instances warm up."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.one = Endpoint()
        self.warm_up_s = 0.0
        self.fails = False
        self._scheduler = scheduler

    def endpoint(self, region: str, name: str) -> Endpoint:
        """Find the endpoint."""
        return {(REGION, "embedder-v1"): self.one}[region, name]

    def resize(self, endpoint: Endpoint, instances: int) -> None:
        """Change its instances."""
        assert endpoint.status == "InService", "SageMaker refuses it while an update lasts"
        before, endpoint.desired = endpoint.desired, instances
        if instances > before and self.warm_up_s:
            endpoint.status = "Updating"
            self._scheduler.after(self.warm_up_s, self._settle, endpoint, before)

    def _settle(self, endpoint: Endpoint, before: int) -> None:
        endpoint.status = "InService"
        if self.fails:
            endpoint.desired = before


class World:
    """Scaling over one endpoint, with alarms."""

    def __init__(self, scheduler: Scheduler, hook: Hook) -> None:
        self.scheduler = scheduler
        self.endpoints = Endpoints(scheduler)
        self.metrics = Metrics(scheduler)
        self.alarms = Alarms(scheduler, self.metrics, act=self._act)
        self.scaling = Scaling(scheduler, cast("SageMaker", self.endpoints), self.alarms)
        self.client = hook.session(region=REGION).client("application-autoscaling")

    def _act(self, region: str, action: str, event: AlarmEvent) -> None:
        self.scaling.execute(region, action, value=event.value, threshold=event.threshold)

    def close(self) -> None:
        """Give moto back."""
        self.scaling.close()
        self.alarms.close()
        self.metrics.close()

    @property
    def desired(self) -> int:
        """Instances that the endpoint shall have."""
        return self.endpoints.one.desired

    def create(self, kind: str, properties: Mapping[str, Any]) -> Resource:
        """Deploy something."""
        return self.scaling.create(
            Resource(
                type=f"AWS::ApplicationAutoScaling::{kind}",
                logical_id="It",
                physical_id="it",
                region=REGION,
                account=ACCOUNT,
                stack="stack",
                properties=properties,
            )
        )

    def register(self, least: int, most: int, **properties: Any) -> Resource:
        """Deploy a scalable target."""
        bounds = {"MinCapacity": least, "MaxCapacity": most}
        return self.create("ScalableTarget", {**NAMES, **bounds, **properties})

    def step(self, name: str, steps: Any = ONE_MORE, **configuration: Any) -> str:
        """Deploy a step policy; its ARN."""
        configuration = {
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": steps,
            "Cooldown": 300,
            **configuration,
        }
        return self.create(
            "ScalingPolicy",
            {
                **NAMES,
                "PolicyName": name,
                "PolicyType": "StepScaling",
                "StepScalingPolicyConfiguration": configuration,
            },
        ).physical_id

    def track(self, name: str, target: float, metric: str = "Backlog", **more: Any) -> str:
        """Deploy a target tracking policy on one of the endpoint's metrics; its ARN."""
        configuration = {
            "TargetValue": target,
            "CustomizedMetricSpecification": {
                "MetricName": metric,
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": "embedder-v1"}],
                "Statistic": "Average",
            },
            **more,
        }
        return self.create(
            "ScalingPolicy",
            {
                **NAMES,
                "PolicyName": name,
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": configuration,
            },
        ).physical_id

    def execute(self, policy: str, value: float | None, threshold: float = 0.0) -> int:
        """Let an alarm call a policy; the instances that the endpoint shall have then."""
        self.scaling.execute(REGION, policy, value=value, threshold=threshold)
        self.scheduler.run_for(0.0)
        return self.desired

    def minutes(self, count: int, backlog: float, metric: Metric = BACKLOG) -> int:
        """Let a metric have a value for so many minutes; the instances wanted then."""
        for _ in range(count):
            self.metrics.put(REGION, metric, [backlog])
            self.scheduler.run_for(60)
        return self.desired

    def until(self, hour: int, minute: int = 0, *, day: int = 5) -> int:
        """Run until a time in January 2026; the instances wanted then."""
        moment = datetime(2026, 1, day, hour, minute, tzinfo=UTC)
        self.scheduler.run_until(moment.timestamp() + 1)
        return self.desired

    def bounds(self) -> tuple[int, int]:
        """MinCapacity and MaxCapacity, as operators see them."""
        (target,) = self.client.describe_scalable_targets(ServiceNamespace="sagemaker")[
            "ScalableTargets"
        ]
        return target["MinCapacity"], target["MaxCapacity"]


@pytest.fixture
def world() -> Iterator[World]:
    """Build a world on an empty moto, on Monday 2026-01-05 00:00 UTC."""
    with mock_aws():
        scheduler = Scheduler(virtual=True, seed=1)
        hook = Hook(scheduler)
        world = World(scheduler, hook)
        yield world
        world.close()
        hook.close()
        scheduler.close()


# -- targets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "most", "instances"), [(2, 4, 2), (0, 0, 0), (0, 4, 1)])
def test_an_endpoint_is_brought_within_its_bounds(
    world: World, least: int, most: int, instances: int
) -> None:
    """A deployment that ends with too few GPUs misses its targets; with too many it costs.

    API reference, "RegisterScalableTarget": "it changes the resource's current capacity to a
    value that is inside of this range".
    """
    world.register(least, most)
    assert world.desired == instances


def test_an_endpoint_that_is_not_in_service_is_left_alone(world: World) -> None:
    """Bounds on a failed endpoint would hide that it failed.

    API reference, "RegisterScalableTarget": "If the specified resource is not active in the
    target service, this operation does not change the resource's current capacity."
    """
    world.endpoints.one.status = "Failed"
    world.register(2, 4)
    assert world.desired == 1


def test_operators_see_and_change_the_targets(world: World) -> None:
    """In an incident an operator raises a minimum by hand, and it must take effect at once.

    API reference, "RegisterScalableTarget": "Any parameters that you don't specify are not
    changed by this update request."
    """
    assert world.register(1, 3).physical_id.startswith(f"{TARGET}|")
    assert world.bounds() == (1, 3)
    world.client.register_scalable_target(**NAMES, MinCapacity=2)
    assert world.bounds() == (2, 3)
    assert world.desired == 2
    with pytest.raises(ClientError, match="MinCapacity 4 is not within"):
        world.client.register_scalable_target(**NAMES, MinCapacity=4)


def test_what_cannot_be_scaled_is_refused(world: World) -> None:
    """A misspelt endpoint would never scale, on AWS as here."""
    with pytest.raises(ValueError, match="no endpoint variant"):
        world.register(1, 3, ResourceId="endpoint/other/variant/live")
    with pytest.raises(ValueError, match="MinCapacity 3"):
        world.register(3, 1)
    with pytest.raises(UnsupportedError, match="ScalableDimension"):
        world.register(1, 3, ScalableDimension="lambda:function:ProvisionedConcurrency")
    with pytest.raises(ValueError, match="No scalable target found"):
        world.step("alone")


def test_a_target_that_is_gone_takes_its_policies_along(world: World) -> None:
    """A policy that outlived its target would scale an endpoint that nobody bounds.

    API reference, "DeregisterScalableTarget": it "deletes the scaling policies and the scheduled
    actions that are associated with it".
    """
    world.register(1, 9)
    policy = world.step("out")
    world.track("track", 5)
    world.client.deregister_scalable_target(**NAMES)
    assert world.execute(policy, 1) == 1
    found = world.client.describe_scaling_policies(ServiceNamespace="sagemaker")
    assert found["ScalingPolicies"] == []
    with pytest.raises(KeyError):
        world.alarms.state(REGION, "TargetTracking")


# -- step scaling ----------------------------------------------------------------------------


def test_steps_stay_within_the_bounds(world: World) -> None:
    """A burst must not buy more GPUs than the configuration allows to pay for.

    "How step scaling works": capacity is scaled within the target's minimum and maximum.
    """
    world.register(1, 3)
    out = world.step("out", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 50}])
    inwards = world.step("in", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -50}])
    assert world.execute(out, 1) == 3
    assert world.execute(inwards, -1) == 1


def test_a_repeated_alarm_adds_nothing_more_during_the_cooldown(world: World) -> None:
    """Alarms repeat each minute, while new instances do not help for four more.

    "How step scaling works", Cooldown period: the policy "won't increase the desired capacity
    again unless either a larger scale out is triggered or the cooldown period ends".
    """
    world.register(1, 9)
    policy = world.step("out")
    assert world.execute(policy, 1) == 2
    world.scheduler.run_for(299)
    assert world.execute(policy, 1) == 2
    world.scheduler.run_for(2)
    assert world.execute(policy, 1) == 3


def test_a_larger_step_during_the_cooldown_adds_the_difference(world: World) -> None:
    """A burst that grows is answered at once, and not twice.

    "How step scaling works", Cooldown period: after an increase by 2, an adjustment of 3 during
    the cooldown adds 1, because "the previous increase of 2 is considered part of the current
    capacity".
    """
    world.endpoints.one.desired = 10
    world.register(1, 99)
    policy = world.step(
        "out",
        [
            {
                "MetricIntervalLowerBound": 0,
                "MetricIntervalUpperBound": 10,
                "ScalingAdjustment": 2,
            },
            {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 3},
        ],
    )
    assert world.execute(policy, 1) == 12
    assert world.execute(policy, 11) == 13
    assert world.execute(policy, 11) == 13


def test_a_cooldown_begins_when_the_instances_are_there(world: World) -> None:
    """A cooldown that ended during the warm-up would let one burst buy two fleets.

    "How step scaling works": it begins after the service "successfully scales out", and API
    reference, "StepScalingPolicyConfiguration": "the scaling activity completes successfully,
    and a cooldown period starts".
    """
    world.endpoints.warm_up_s = 400
    world.register(1, 9)
    policy = world.step("out")
    assert world.execute(policy, 1) == 2
    world.scheduler.run_for(420)
    assert world.endpoints.one.status == "InService"
    assert world.execute(policy, 1) == 2
    world.scheduler.run_for(300)
    assert world.execute(policy, 1) == 3


def test_a_scale_out_that_failed_has_no_cooldown(world: World) -> None:
    """An instance that never became healthy must not keep the next one from being asked for.

    "How step scaling works": the cooldown begins after the service "successfully scales out".
    """
    world.endpoints.warm_up_s, world.endpoints.fails = 60, True
    world.register(1, 9)
    policy = world.step("out")
    world.execute(policy, 1)
    world.scheduler.run_for(75)
    assert world.desired == 1
    assert world.execute(policy, 1) == 2
    status = [activity.told()["StatusCode"] for activity in world.scaling.activities]
    assert status == ["Failed", "InProgress"]


def test_an_endpoint_that_is_being_updated_is_asked_again_later(world: World) -> None:
    """A step that is lost while another one warms up would leave a burst to the queue.

    SageMaker API reference, "UpdateEndpointWeightsAndCapacities": the endpoint is Updating until
    the instances are there, and refuses another update; the alarm repeats its action each minute.
    """
    world.endpoints.warm_up_s = 90
    world.register(1, 9)
    first, second = world.step("first"), world.step("second", Cooldown=0)
    assert world.execute(first, 1) == 2
    assert world.execute(second, 1) == 2
    world.scheduler.run_for(90)
    assert world.execute(second, 1) == 3


def test_a_step_in_waits_for_its_cooldown(world: World) -> None:
    """Slow in: capacity that is gone takes minutes and money to come back.

    "How step scaling works", Cooldown period: "scale-in activities are blocked until the cooldown
    period has expired".
    """
    world.endpoints.one.desired = 5
    world.register(0, 9)
    policy = world.step("in", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}])
    assert world.execute(policy, -1) == 4
    world.scheduler.run_for(299)
    assert world.execute(policy, -1) == 4
    world.scheduler.run_for(2)
    assert world.execute(policy, -1) == 3


def test_a_scale_out_ends_the_cooldown_of_a_scale_in(world: World) -> None:
    """A burst right after a scale-in is not made to wait.

    "How step scaling works", Cooldown period: "Application Auto Scaling scales out the target
    immediately. In this case, the cooldown period for the scale-in activity stops".
    """
    world.endpoints.one.desired = 5
    world.register(0, 9)
    inwards = world.step("in", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}])
    out = world.step("out")
    assert world.execute(inwards, -1) == 4
    assert world.execute(out, 1) == 5
    assert world.execute(inwards, -1) == 4


def test_the_largest_capacity_wins_as_in_the_reference(world: World) -> None:
    """Pressure and a burst at once must buy what the burst needs, not what came first.

    API reference, "PutScalingPolicy": with capacity 10, one policy adds 3 and another 200
    percent; the service scales out to 30.
    """
    world.endpoints.one.desired = 10
    world.register(1, 99)
    three = world.step("three", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 3}])
    most = world.step(
        "percent",
        [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 200}],
        AdjustmentType="PercentChangeInCapacity",
    )
    inwards = world.step("in", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -5}])
    for policy, value in ((inwards, -1.0), (three, 1.0), (most, 1.0)):
        world.scaling.execute(REGION, policy, value=value, threshold=0.0)
    world.scheduler.run_for(0)
    assert world.desired == 30
    assert [activity.cause for activity in world.scaling.activities] == [
        "an alarm called policy percent"
    ]


def test_the_smallest_of_two_steps_in_wins(world: World) -> None:
    """Two policies that both want less must not add up.

    API reference, "PutScalingPolicy": the largest capacity "for both scale out and scale in".
    """
    world.endpoints.one.desired = 10
    world.register(1, 99)
    for name, change in (("much", -5), ("little", -1)):
        policy = world.step(name, [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": change}])
        world.scaling.execute(REGION, policy, value=-1.0, threshold=0.0)
    world.scheduler.run_for(0)
    assert world.desired == 9


@pytest.mark.parametrize(("whose", "instances"), [("policy", 3), ("target", 2)])
def test_what_one_policy_added_counts_for_another_or_not(
    world: World, whose: Any, instances: int
) -> None:
    """AWS documents the cooldown of one policy; with two, each answer must be survived.

    "How step scaling works", Cooldown period: "The scaling policy won't increase the desired
    capacity again".
    """
    world.scaling.cooldowns = whose
    world.register(1, 9)
    assert world.execute(world.step("first"), 1) == 2
    assert world.execute(world.step("second"), 1) == instances


def test_exactly_one_instance_comes_from_zero(world: World) -> None:
    """The first request of a quiet night starts one GPU, however long the alarm stays.

    SageMaker developer guide, "Autoscale an asynchronous endpoint": HasBacklogWithoutCapacity at
    least 1, a step policy that adds 1.
    """
    world.endpoints.one.desired = 0
    world.endpoints.warm_up_s = 250
    world.register(0, 9)
    policy = world.step("wake")
    without = Metric("AWS/SageMaker", "HasBacklogWithoutCapacity")
    world.alarms.put(
        ACCOUNT,
        REGION,
        {
            "AlarmName": "wake",
            "Namespace": without.namespace,
            "MetricName": without.name,
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 2,
            "DatapointsToAlarm": 2,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "missing",
            "AlarmActions": [policy],
        },
    )
    assert world.minutes(2, 1, without) == 0
    assert world.minutes(1, 1, without) == 1
    assert world.minutes(5, 1, without) == 1
    assert world.endpoints.one.status == "InService"


def test_an_alarm_without_a_data_point_moves_nothing(world: World) -> None:
    """Missing telemetry must not buy or sell GPUs.

    "How step scaling works": the metric's value chooses the step, so without one there is none.
    """
    world.register(1, 9)
    assert world.execute(world.step("out"), None) == 1
    assert world.execute("arn:aws:autoscaling:us-east-1:1:scalingPolicy:x:y:z", 1) == 1


def test_operators_add_and_remove_policies(world: World) -> None:
    """What is tried by hand in an incident must work as it will on AWS.

    API reference, "PutScalingPolicy", "DeleteScalingPolicy", "DescribeScalingPolicies".
    """
    world.register(1, 9)
    configuration = {"AdjustmentType": "ChangeInCapacity", "StepAdjustments": ONE_MORE}
    asked = {**NAMES, "PolicyName": "out", "PolicyType": "StepScaling"}
    arn = world.client.put_scaling_policy(**asked, StepScalingPolicyConfiguration=configuration)[
        "PolicyARN"
    ]
    again = world.client.put_scaling_policy(
        **asked, StepScalingPolicyConfiguration=configuration | {"Cooldown": 0}
    )["PolicyARN"]
    assert arn == again
    assert world.execute(arn, 1) == 2
    assert world.execute(arn, 1) == 3
    world.client.delete_scaling_policy(**NAMES, PolicyName="out")
    assert world.execute(arn, 1) == 3
    with pytest.raises(ClientError, match="AdjustmentType"):
        world.client.put_scaling_policy(
            **asked, StepScalingPolicyConfiguration={"StepAdjustments": ONE_MORE}
        )


def test_operators_see_what_was_scaled_and_why(world: World) -> None:
    """After an incident somebody asks when the fleet grew, and what made it grow.

    API reference, "DescribeScalingActivities" and "ScalingActivity".
    """
    world.endpoints.warm_up_s = 100
    world.register(1, 9)
    world.execute(world.step("out"), 1)
    described = world.client.describe_scaling_activities(ServiceNamespace="sagemaker")
    (activity,) = described["ScalingActivities"]
    assert activity["StatusCode"] == "InProgress"
    world.scheduler.run_for(110)
    (activity,) = world.client.describe_scaling_activities(
        ServiceNamespace="sagemaker", ResourceId=TARGET, ScalableDimension=DIMENSION
    )["ScalingActivities"]
    assert activity["StatusCode"] == "Successful"
    assert activity["Description"] == "Setting desired instance count to 2."
    assert activity["Cause"] == "an alarm called policy out"
    other = world.client.describe_scaling_activities(ServiceNamespace="ecs")
    assert other["ScalingActivities"] == []


def test_many_activities_come_in_pages_the_latest_first(world: World) -> None:
    """A long night of scaling must be readable to its beginning.

    API reference, "DescribeScalingActivities": MaxResults and NextToken; by time, descending.
    """
    world.register(1, 9)
    policy = world.step("out", Cooldown=0)
    for _ in range(3):
        world.execute(policy, 1)
    pages = world.client.get_paginator("describe_scaling_activities").paginate(
        ServiceNamespace="sagemaker", PaginationConfig={"PageSize": 2}
    )
    told = [[one["Description"][-2] for one in page["ScalingActivities"]] for page in pages]
    assert told == [["4", "3"], ["2"]]


# -- target tracking -------------------------------------------------------------------------


def test_target_tracking_scales_out_after_three_minutes(world: World) -> None:
    """The default that this project is compared with must react as fast as the real one.

    "How target tracking scaling works": the service keeps the alarms, and adds capacity in
    proportion to the metric.
    """
    world.register(1, 9)
    world.track("backlog", 5)
    assert world.minutes(3, 12) == 1  # The third minute is not evaluated before it ended.
    assert world.minutes(1, 12) == 3
    names = [alarm for alarm in _alarms(world) if "AlarmHigh" in alarm]
    assert len(names) == 1
    assert names[0].startswith(f"TargetTracking-{TARGET}-AlarmHigh-")


def test_target_tracking_scales_in_after_fifteen_minutes_below(world: World) -> None:
    """A default that scaled in sooner would look cheaper than it is.

    "How target tracking scaling works": it removes capacity only well below the target, and
    scales in to 0 where a metric emits real zeros and the minimum allows it.
    """
    world.endpoints.one.desired = 4
    world.register(0, 9)
    world.track("backlog", 5)
    assert world.minutes(30, 4.6) == 4
    assert world.minutes(15, 2.4) == 4
    assert world.minutes(1, 2.4) == 2
    assert world.minutes(1, 0) == 2  # The cooldown of 300 s.
    assert world.minutes(4, 0) == 0


def test_target_tracking_can_be_kept_from_scaling_in(world: World) -> None:
    """Slow steps in and fast tracking out may be combined.

    API reference, "TargetTrackingScalingPolicyConfiguration": DisableScaleIn.
    """
    world.endpoints.one.desired = 4
    world.register(0, 9)
    world.track("backlog", 5, DisableScaleIn=True)
    assert world.minutes(30, 0) == 4
    assert not [alarm for alarm in _alarms(world) if "AlarmLow" in alarm]


def test_two_tracking_policies_scale_in_only_together(world: World) -> None:
    """An idle GPU with a full queue behind it must not be let go.

    "How target tracking scaling works": it scales out if any policy is ready, and "will scale in
    only if all of the target tracking policies (with the scale-in portion enabled) are ready to
    scale in".
    """
    other = Metric("AWS/SageMaker", "Busy", BACKLOG.dimensions)
    world.endpoints.one.desired = 4
    world.register(0, 9)
    world.track("backlog", 5)
    world.track("busy", 10, metric="Busy")

    def both(count: int, backlog: float, busy: float) -> int:
        for _ in range(count):
            world.metrics.put(REGION, other, [busy])
            world.minutes(1, backlog)
        return world.desired

    assert both(20, backlog=0, busy=10) == 4
    assert both(16, backlog=0, busy=2) == 1  # The largest of 0 and 4 * 2 / 10.


def test_a_step_in_does_not_wait_for_target_tracking(world: World) -> None:
    """Whoever mixes both kinds learns here what AWS warns of.

    "How target tracking scaling works": "if the step scaling policy initiates a scale-in activity
    before the target tracking policy is ready to scale in, the scale-in activity will not be
    blocked".
    """
    world.endpoints.one.desired = 4
    world.register(0, 9)
    world.track("backlog", 5)
    world.minutes(4, 5)
    policy = world.step("in", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}])
    assert world.execute(policy, -1) == 3


def test_without_data_target_tracking_does_not_scale_in(world: World) -> None:
    """A region whose metrics are late must not lose its fleet.

    "How target tracking scaling works": missing data points make the alarm INSUFFICIENT_DATA, and
    "Application Auto Scaling cannot scale".
    """
    world.endpoints.one.desired = 4
    world.register(0, 9)
    world.track("backlog", 5)
    world.scheduler.run_for(3600)
    assert world.desired == 4


def test_tracking_follows_metric_math(world: World) -> None:
    """Jobs that wait outside of SageMaker are divided by instances in an expression.

    "Create a target tracking scaling policy using metric math".
    """
    stat = {
        "Metric": {
            "Namespace": "AWS/SageMaker",
            "MetricName": "Backlog",
            "Dimensions": [{"Name": "EndpointName", "Value": "embedder-v1"}],
        },
        "Stat": "Average",
    }
    queries = [
        {"Id": "m", "MetricStat": stat, "ReturnData": False},
        {"Id": "e", "Expression": "m / 2", "ReturnData": True},
    ]
    world.register(1, 9)
    world.track("math", 5, CustomizedMetricSpecification={"Metrics": queries})
    assert world.minutes(4, 20) == 2


def test_a_policy_that_is_gone_takes_its_alarms_along(world: World) -> None:
    """Alarms that nobody acts on cost money and wake people.

    "How target tracking scaling works": the service's alarms are "deleted automatically when no
    longer needed".
    """
    world.register(1, 9)
    world.track("backlog", 5)
    (policy,) = world.client.describe_scaling_policies(ServiceNamespace="sagemaker")[
        "ScalingPolicies"
    ]
    assert len(policy["Alarms"]) == len(_alarms(world)) == 2
    world.track("backlog", 5, DisableScaleIn=True)
    assert len(_alarms(world)) == 1
    world.client.delete_scaling_policy(**NAMES, PolicyName="backlog")
    assert _alarms(world) == []


def _alarms(world: World) -> list[str]:
    return [name for (_, name) in world.alarms._watches]


# -- suspension ------------------------------------------------------------------------------


def test_each_kind_of_scaling_is_suspended_for_itself(world: World) -> None:
    """During a rollout scale-in is frozen, while a burst must still be answered.

    "Suspend and resume scaling": each one can be suspended and resumed independently; on resuming
    "policies with alarm thresholds that are currently in breach" are evaluated.
    """
    world.endpoints.one.desired = 3
    world.register(1, 9, SuspendedState={"DynamicScalingInSuspended": True})
    inwards = world.step("in", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}])
    out = world.step("out", Cooldown=0)
    assert world.execute(inwards, -1) == 3
    assert world.execute(out, 1) == 4
    world.client.register_scalable_target(
        **NAMES, SuspendedState={"DynamicScalingOutSuspended": True}
    )
    assert world.execute(inwards, -1) == 4
    assert world.execute(out, 1) == 4
    world.client.register_scalable_target(
        **NAMES,
        SuspendedState={"DynamicScalingInSuspended": False, "DynamicScalingOutSuspended": False},
    )
    assert world.execute(inwards, -1) == 3
    assert world.execute(out, 1) == 4


# -- scheduled actions -----------------------------------------------------------------------


def action(name: str, schedule: str, **more: Any) -> dict[str, Any]:
    """Make a scheduled action of a template."""
    bounds = {key: more.pop(key) for key in ("MinCapacity", "MaxCapacity") if key in more}
    return {
        "ScheduledActionName": name,
        "Schedule": schedule,
        "ScalableTargetAction": bounds,
        **more,
    }


def test_a_schedule_changes_the_bounds_and_the_fleet(world: World) -> None:
    """Office hours begin with warm GPUs, and end without them.

    "How scheduled scaling works": below the new minimum it scales out, above the new maximum it
    scales in, and what an action leaves out is kept.
    """
    world.register(
        0,
        9,
        ScheduledActions=[
            action("morning", "cron(0 8 * * ? *)", MinCapacity=3),
            action("evening", "cron(0 18 * * ? *)", MinCapacity=0, MaxCapacity=1),
        ],
    )
    assert world.until(7, 59) == 1
    assert world.until(8) == 3
    assert world.bounds() == (3, 9)
    assert world.until(18) == 1
    assert world.bounds() == (0, 1)
    assert world.until(8, day=6) == 1  # At least 3 and still at most 1: refused.
    assert world.scaling.activities[-1].failed


def test_times_of_a_schedule_are_in_its_zone(world: World) -> None:
    """Business hours are local, in summer too.

    "Schedule recurring scaling actions": a time zone that observes daylight saving time is
    followed; UTC without one.
    """
    world.register(
        0,
        9,
        ScheduledActions=[
            action("here", "cron(0 8 * * ? *)", MinCapacity=3, Timezone="Europe/Berlin")
        ],
    )
    assert world.until(6, 59) == 1
    assert world.until(7) == 3
    world.client.register_scalable_target(**NAMES, MinCapacity=0)
    world.endpoints.one.desired = 0
    summer = datetime(2026, 7, 1, 5, 59, tzinfo=UTC).timestamp()
    world.scheduler.run_until(datetime(2026, 6, 30, 12, 0, tzinfo=UTC).timestamp())
    world.client.register_scalable_target(**NAMES, MinCapacity=0)
    world.endpoints.one.desired = 0
    world.scheduler.run_until(summer)
    assert world.desired == 0
    world.scheduler.run_until(summer + 61)
    assert world.desired == 3


def test_a_schedule_runs_once_or_at_a_rate_or_between_two_times(world: World) -> None:
    """A launch is at one time; a campaign has a beginning and an end.

    "How scheduled scaling works": with a start time it runs then and by its recurrence after it,
    with an end time it stops repeating; API reference, "PutScheduledAction": at, rate and cron.
    """
    world.register(0, 9)
    put = world.client.put_scheduled_action
    put(
        **NAMES,
        ScheduledActionName="launch",
        Schedule="at(2026-01-05T03:00:00)",
        ScalableTargetAction={"MinCapacity": 2},
    )
    put(
        **NAMES,
        ScheduledActionName="campaign",
        Schedule="rate(2 hours)",
        StartTime=datetime(2026, 1, 5, 4, 30, tzinfo=UTC),
        EndTime=datetime(2026, 1, 5, 7, 0, tzinfo=UTC),
        ScalableTargetAction={"MinCapacity": 5},
    )
    seen = []
    for hour, minute in ((3, 0), (4, 29), (4, 30), (6, 29), (6, 30), (8, 30)):
        seen.append(world.until(hour, minute))
        if minute != 29:
            world.client.register_scalable_target(**NAMES, MinCapacity=0)
            world.endpoints.one.desired = 0
    assert seen == [2, 0, 5, 0, 5, 0]


def test_a_schedule_does_not_wait_for_a_cooldown_but_for_the_endpoint(world: World) -> None:
    """A minimum that was due during a warm-up must come true after it.

    "How step scaling works", Cooldown period: a scheduled action "can trigger a scaling activity
    immediately without waiting for the cooldown period to expire".
    """
    world.endpoints.warm_up_s = 600
    world.register(0, 9, ScheduledActions=[action("it", "cron(0 8 * * ? *)", MinCapacity=5)])
    policy = world.step("out", Cooldown=3600)
    world.until(7, 55)
    assert world.execute(policy, 1) == 2
    assert world.until(8) == 2
    assert world.until(8, 6) == 5


def test_suspended_and_removed_schedules_do_not_run(world: World) -> None:
    """A time that passed during a suspension is over.

    "Suspend and resume scaling": "Application Auto Scaling only evaluates scheduled actions whose
    execution time has not yet passed."
    """
    schedule = action("it", "cron(0 * * * ? *)", MinCapacity=5)
    world.register(
        0, 9, ScheduledActions=[schedule], SuspendedState={"ScheduledScalingSuspended": True}
    )
    assert world.until(1) == 1
    world.client.register_scalable_target(
        **NAMES, SuspendedState={"ScheduledScalingSuspended": False}
    )
    assert world.until(1, 59) == 1
    world.client.delete_scheduled_action(**NAMES, ScheduledActionName="it")
    assert world.until(2) == 1
    assert not world.client.describe_scheduled_actions(ServiceNamespace="sagemaker")[
        "ScheduledActions"
    ]


def test_schedules_that_aws_refuses_are_refused(world: World) -> None:
    """A deployment that AWS refuses must not pass here."""
    for bad, why in (
        (action("it", "cron(0 8 * * *)", MinCapacity=1), "not valid"),
        (action("it", "cron(0 8 * * ? *)"), "neither MinCapacity nor MaxCapacity"),
        (action("it", "cron(0 8 * * ? *)", MinCapacity=1, Timezone="Mars/Base"), "Timezone"),
    ):
        with pytest.raises(ValueError, match=why):
            world.register(0, 9, ScheduledActions=[bad])
    with pytest.raises(UnsupportedError, match="L, W or #"):
        world.register(0, 9, ScheduledActions=[action("it", "cron(0 8 L * ? *)", MinCapacity=1)])


# -- regions ---------------------------------------------------------------------------------


def test_nothing_is_scaled_in_a_region_that_is_down(world: World) -> None:
    """A dead region that went on scaling would look alive in every drill."""
    world.register(0, 9, ScheduledActions=[action("it", "cron(0 * * * ? *)", MinCapacity=5)])
    policy = world.step("out")
    world.scaling.pause(REGION)
    assert world.execute(policy, 1) == 1
    assert world.until(1) == 1
    world.scaling.resume(REGION)
    assert world.execute(policy, 1) == 2
    assert world.until(2) == 5
