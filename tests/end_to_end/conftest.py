"""One deployment for each module, at rest before and after every test."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from config.schema import load
from lambdas.adapters.webhooks import Courier
from lambdas.domain.webhooks import Answer, Target
from spillway import local
from spillway.twin.containers import Python
from tests.end_to_end.world import World


@pytest.fixture(scope="module")
def deployed() -> str:
    """Name of the configuration beside this file that a module deploys."""
    return "one_region"


@pytest.fixture(scope="module")
def module_world(deployed: str) -> Iterator[World]:
    """The deployment of a module; webhooks are delivered to a list."""
    config = Path(__file__).with_name(f"{deployed}.yaml")
    deployment = load(config)
    containers = {
        deployment.names.endpoint(name, version): partial(
            Python, answers=lambda request: {"echo": request}, warm_up_s=model.warm_up_s
        )
        for name, model in deployment.models.items()
        for version in model.versions
    }
    delivered: list[tuple[str, bytes]] = []

    def deliver(
        _self: Courier, target: Target, *, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        delivered.append((headers["webhook-id"], body))
        return Answer(status=204, failure=None, elapsed_ms=1)

    with (
        mock.patch.object(Courier, "deliver", deliver),
        local.start(config, virtual=True, replaced=containers) as twin,
    ):
        world = World(twin, deployment)
        world.delivered = delivered
        yield world


@pytest.fixture
def world(module_world: World) -> Iterator[World]:
    """The module's deployment. A test that leaves anything behind fails, and stops the module."""
    yield module_world
    module_world.reset()
