"""What SageMaker tells CloudWatch of asynchronous endpoints, and how fleets follow it.

Pages cited by name only are of docs.aws.amazon.com/sagemaker/latest/dg.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from moto import mock_aws

from spillway.twin.alarm_messages import AlarmEvent
from spillway.twin.alarms import Alarms
from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.containers import Simulated
from spillway.twin.metrics import Metric, Metrics
from spillway.twin.resources import Resource
from spillway.twin.sagemaker import SageMaker
from spillway.twin.sagemaker_metrics import SageMakerMetrics
from spillway.twin.scaling import DIMENSION, Scaling

REGION, ACCOUNT = "us-east-1", "123456789012"
NAME = "embedder-v1"
DIMENSIONS = [{"Name": "EndpointName", "Value": NAME}]
NAMES = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"endpoint/{NAME}/variant/live",
    "ScalableDimension": DIMENSION,
}


class World:
    """One endpoint whose requests take 60 s each and whose instances warm up in 250 s."""

    def __init__(self, scheduler: Scheduler, hook: Hook) -> None:
        self.scheduler = scheduler
        container = partial(Simulated, service_s=lambda _: 60.0, warm_up_s=250.0)
        self.sagemaker = SageMaker(scheduler, {NAME: container})
        self.metrics = Metrics(scheduler)
        self.publisher = SageMakerMetrics(scheduler, self.sagemaker, self.metrics)
        self.alarms = Alarms(scheduler, self.metrics, act=self._act)
        self.scaling = Scaling(scheduler, self.sagemaker, self.alarms)
        hook.session(region=REGION).client("s3").create_bucket(Bucket="payloads")
        variant = {"VariantName": "live", "ModelName": "embedder", "InitialInstanceCount": 1}
        outputs = {"OutputConfig": {"S3OutputPath": "s3://payloads/results"}}
        for kind, properties in (
            ("SageMaker::Model", {"ModelName": "embedder"}),
            (
                "SageMaker::EndpointConfig",
                {
                    "EndpointConfigName": "config",
                    "ProductionVariants": [variant],
                    "AsyncInferenceConfig": outputs,
                },
            ),
            ("SageMaker::Endpoint", {"EndpointName": NAME, "EndpointConfigName": "config"}),
        ):
            self.create(kind, properties)
        self.endpoint = self.sagemaker.endpoint(REGION, NAME)

    def _act(self, region: str, action: str, event: AlarmEvent) -> None:
        self.scaling.execute(region, action, value=event.value, threshold=event.threshold)

    def create(self, kind: str, properties: dict[str, Any]) -> Resource | None:
        """Deploy something of SageMaker or of Application Auto Scaling."""
        service = self.sagemaker if kind.startswith("SageMaker") else self.scaling
        return service.create(
            Resource(
                type=f"AWS::{kind}",
                logical_id="It",
                physical_id="it",
                region=REGION,
                account=ACCOUNT,
                stack="stack",
                properties=properties,
            )
        )

    def close(self) -> None:
        """Give moto back."""
        for service in (self.scaling, self.alarms, self.publisher, self.metrics, self.sagemaker):
            service.close()

    def invoke(self, count: int) -> None:
        """Queue requests."""
        for _ in range(count):
            self.sagemaker.invoke(self.endpoint, {}, b"{}")

    def read(self) -> dict[str, float | None]:
        """The latest value of each metric."""
        now_s = self.scheduler.now()
        names = (
            "ApproximateBacklogSize",
            "ApproximateBacklogSizePerInstance",
            "HasBacklogWithoutCapacity",
            "ApproximateAgeOfOldestRequest",
        )
        metrics = [
            Metric("AWS/SageMaker", name, frozenset({("EndpointName", NAME)})) for name in names
        ]
        return {
            metric.name: self.metrics.series(REGION, metric, "Average", 60, now_s, now_s + 1)[0]
            for metric in metrics
        }

    def bounds(self) -> None:
        """Let the fleet have from 0 to 5 instances, as the guide's example."""
        self.create(
            "ApplicationAutoScaling::ScalableTarget",
            {**NAMES, "MinCapacity": 0, "MaxCapacity": 5},
        )


@pytest.fixture
def world() -> Iterator[World]:
    """Build a world on an empty moto, at a whole minute."""
    with mock_aws():
        scheduler = Scheduler(virtual=True, seed=1)
        hook = Hook(scheduler)
        world = World(scheduler, hook)
        yield world
        world.close()
        hook.close()
        scheduler.close()


def test_the_queue_is_told_once_a_minute(world: World) -> None:
    """Fleets that are scaled by the backlog must see the one that AWS would show.

    "Alarms and logs for tracking metrics from asynchronous endpoints": the backlog counts items
    "that are currently being processed or yet to be processed", and is divided by the instances.
    """
    world.scheduler.run_for(60)
    assert world.read() == {
        "ApproximateBacklogSize": 0,
        "ApproximateBacklogSizePerInstance": 0,
        "HasBacklogWithoutCapacity": 0,
        "ApproximateAgeOfOldestRequest": 0,
    }
    world.sagemaker.resize(world.endpoint, 2)
    world.scheduler.run_for(280)
    world.invoke(6)
    world.scheduler.run_for(20)
    assert world.read() == {
        "ApproximateBacklogSize": 6,
        "ApproximateBacklogSizePerInstance": 3,
        "HasBacklogWithoutCapacity": 0,
        "ApproximateAgeOfOldestRequest": 20,
    }


def test_samples_of_a_minute_are_averaged(world: World) -> None:
    """AWS tells averages and extremes of a minute, and not how often it looks."""
    world.publisher.every_s = 10.0
    world.scheduler.run_for(60)
    world.invoke(12)
    world.scheduler.run_for(55)
    # The first sample of this minute came before the requests, and the other five after.
    assert world.read()["ApproximateBacklogSize"] == 10


def test_what_waits_before_the_queue_may_be_told_as_if_in_it(world: World) -> None:
    """What if every job were handed over at once? The default of SageMaker assumes it."""
    world.publisher.elsewhere = lambda endpoint: 4
    world.invoke(2)
    world.scheduler.run_for(60)
    assert world.read()["ApproximateBacklogSizePerInstance"] == 6
    world.sagemaker.resize(world.endpoint, 0)
    world.scheduler.run_for(60)
    assert world.read()["HasBacklogWithoutCapacity"] == 1


def test_a_queue_without_instances_says_so(world: World) -> None:
    """What arrives at night must wake the fleet, and so must show.

    "Alarms and logs for tracking metrics from asynchronous endpoints": HasBacklogWithoutCapacity
    is 1 when there are requests but no instance; "Autoscale an asynchronous endpoint": the
    backlog alone wakes the fleet once it exceeds the target.
    """
    world.sagemaker.resize(world.endpoint, 0)
    world.invoke(7)
    world.scheduler.run_for(60)
    assert world.read() == {
        "ApproximateBacklogSize": 7,
        "ApproximateBacklogSizePerInstance": 7,
        "HasBacklogWithoutCapacity": 1,
        "ApproximateAgeOfOldestRequest": 60,
    }


def test_the_backlog_per_no_instance_may_be_missing(world: World) -> None:
    """AWS documents no value for it: scaling must leave zero without it as well."""
    world.publisher.without_instances = "missing"
    world.sagemaker.resize(world.endpoint, 0)
    world.invoke(7)
    world.scheduler.run_for(60)
    assert world.read()["ApproximateBacklogSizePerInstance"] is None
    assert world.read()["HasBacklogWithoutCapacity"] == 1


def test_a_region_that_is_down_tells_nothing(world: World) -> None:
    """A dead region whose metrics went on would look alive to every alarm."""
    world.metrics.pause(REGION)
    world.scheduler.run_for(60)
    assert set(world.read().values()) == {None}


def test_the_default_of_the_guide_wakes_grows_and_sleeps(world: World) -> None:
    """This project is compared with SageMaker's own scaling; it must be the documented one.

    "Autoscale an asynchronous endpoint": target tracking on ApproximateBacklogSizePerInstance
    with target 5 and cooldowns of 300 s in and out, between 0 and 5 instances; and a step policy
    of one instance on HasBacklogWithoutCapacity for the way out of zero.
    """
    world.bounds()
    world.create(
        "ApplicationAutoScaling::ScalingPolicy",
        {
            **NAMES,
            "PolicyName": "backlog",
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                "TargetValue": 5.0,
                "CustomizedMetricSpecification": {
                    "MetricName": "ApproximateBacklogSizePerInstance",
                    "Namespace": "AWS/SageMaker",
                    "Dimensions": DIMENSIONS,
                    "Statistic": "Average",
                },
                "ScaleInCooldown": 300,
                "ScaleOutCooldown": 300,
            },
        },
    )
    step = world.create(
        "ApplicationAutoScaling::ScalingPolicy",
        {
            **NAMES,
            "PolicyName": "from-zero",
            "PolicyType": "StepScaling",
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "ChangeInCapacity",
                "MetricAggregationType": "Average",
                "Cooldown": 300,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        },
    )
    assert step is not None
    world.alarms.put(
        ACCOUNT,
        REGION,
        {
            "AlarmName": "from-zero",
            "Namespace": "AWS/SageMaker",
            "MetricName": "HasBacklogWithoutCapacity",
            "Dimensions": DIMENSIONS,
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 2,
            "DatapointsToAlarm": 2,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "missing",
            "AlarmActions": [step.physical_id],
        },
    )
    # Fifteen minutes without work: the instance of the deployment goes.
    world.scheduler.run_for(18 * 60)
    assert world.endpoint.desired == 0
    world.invoke(1)
    world.scheduler.run_for(5 * 60)
    assert world.endpoint.desired == 1
    # Work for twenty minutes of one instance: as many instances as leave five requests to each.
    world.invoke(19)
    world.scheduler.run_for(10 * 60)
    assert world.endpoint.desired == 4
    world.scheduler.run_for(60 * 60)
    assert world.endpoint.desired == 0
    assert world.endpoint.backlog == 0
    assert [(each.before, each.after) for each in world.scaling.activities][:3] == [
        (1, 0),
        (0, 1),
        (1, 4),
    ]
