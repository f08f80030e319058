"""Scalable targets bound endpoints as Application Auto Scaling documents it.

The page: docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from moto import mock_aws

from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.sagemaker import SageMaker
from spillway.twin.scaling import DIMENSION, Scaling


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
    """As much of SageMaker as scaling sees."""

    def __init__(self) -> None:
        self.one = Endpoint()

    def endpoint(self, region: str, name: str) -> Endpoint:
        """Find the endpoint."""
        return {("us-east-1", "embedder-v1"): self.one}[region, name]

    def resize(self, endpoint: Endpoint, instances: int) -> None:
        """Change its instances."""
        endpoint.desired = instances


class World:
    """Scaling over one endpoint."""

    def __init__(self) -> None:
        self.endpoints = Endpoints()
        self.scaling = Scaling(cast("SageMaker", self.endpoints))

    def register(self, least: int, most: int, **properties: Any) -> Resource:
        """Deploy a scalable target."""
        return self.scaling.create(
            Resource(
                type="AWS::ApplicationAutoScaling::ScalableTarget",
                logical_id="Target",
                physical_id="target",
                region="us-east-1",
                account="123456789012",
                stack="stack",
                properties={
                    "MinCapacity": least,
                    "MaxCapacity": most,
                    "ResourceId": "endpoint/embedder-v1/variant/live",
                    "ScalableDimension": DIMENSION,
                    "ServiceNamespace": "sagemaker",
                    **properties,
                },
            )
        )


@pytest.fixture
def world() -> Iterator[World]:
    """Build a world on an empty moto."""
    with mock_aws():
        yield World()


@pytest.mark.parametrize(("least", "most", "instances"), [(2, 4, 2), (0, 0, 0), (0, 4, 1)])
def test_an_endpoint_is_brought_within_its_bounds(
    world: World, least: int, most: int, instances: int
) -> None:
    """A deployment that ends with too few GPUs misses its targets; with too many it costs.

    "it changes the resource's current capacity to a value that is inside of this range".
    """
    world.register(least, most)
    assert world.endpoints.one.desired == instances


def test_an_endpoint_that_is_not_in_service_is_left_alone(world: World) -> None:
    """Bounds on a failed endpoint would hide that it failed.

    "If the specified resource is not active in the target service, this operation does not
    change the resource's current capacity."
    """
    world.endpoints.one.status = "Failed"
    world.register(2, 4)
    assert world.endpoints.one.desired == 1


def test_operators_see_the_targets(world: World) -> None:
    """An operator's script asks for the bounds; the reference and describe call agree."""
    created = world.register(1, 3)
    assert created.physical_id.startswith("endpoint/embedder-v1/variant/live|")
    scheduler = Scheduler(virtual=True)
    hook = Hook(scheduler)
    client = hook.session(region="us-east-1").client("application-autoscaling")
    (target,) = client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    hook.close()
    scheduler.close()
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)


def test_what_cannot_be_scaled_is_refused(world: World) -> None:
    """A misspelt endpoint would never scale, on AWS as here."""
    with pytest.raises(ValueError, match="no endpoint variant"):
        world.register(1, 3, ResourceId="endpoint/other/variant/live")
    with pytest.raises(ValueError, match="MinCapacity 3"):
        world.register(3, 1)
    with pytest.raises(UnsupportedError, match="ScalableDimension"):
        world.register(1, 3, ScalableDimension="lambda:function:ProvisionedConcurrency")
