"""A fleet follows its work: the deployment's own metrics, alarms and policies on the twin."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from spillway.twin.sagemaker import Assumptions
from spillway.twin.scaling import Activity
from tests.end_to_end.world import Tenant, World

IDLE_S = 3600.0
JOBS = 35
LONG_S = 400.0


@pytest.fixture(scope="module")
def deployed() -> str:
    """A model that sleeps without work."""
    return "scaling"


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant of its own."""
    return module_world.tenant(rate_per_s=1000)


def instances(world: World) -> int:
    """In service."""
    endpoint = world.names.endpoint("small", "v1")
    return len(world.twin.sagemaker.endpoint(world.region, endpoint).in_service)


def asleep(world: World) -> None:
    """Let time pass until nothing serves."""
    world.until(lambda: instances(world) == 0, IDLE_S, every_s=10)


def policy(activity: Activity) -> str:
    """The kind of the policy that asked for it."""
    return activity.cause.rpartition("-")[2]


def test_a_fleet_sleeps_wakes_grows_by_what_it_needs_and_shrinks_slowly(
    world: World, client: Tenant
) -> None:
    """Nobody pays for GPUs without work, and nobody waits for one that nobody asked for."""
    model = world.deployment.models["small"]
    world.model("small").answers(lambda request: {"fine": True}, service_s=20)
    asleep(world)
    jobs = [client.submit(tier="interactive") for _ in range(JOBS)]
    world.assert_rest(limit_s=IDLE_S)
    asleep(world)

    assert {client.view(job)["status"] for job in jobs} == {"completed"}
    first, *activities = world.twin.scaling.activities
    assert (policy(first), first.before, first.after) == ("spare", 1, 0)
    wake, burst, *rest = activities
    assert (policy(wake), wake.before, wake.after) == ("wake", 0, 1), "exactly 1, whatever waits"
    # An instance does 6 jobs a minute. While two minutes pass it does 12 of the 33 that it has not
    # begun, and a few more are expected, as fast as these came; what is left then is to be done in
    # a minute, half of the time that instances warm up: from (33 - 12) / 6 to (33 - 12 + 5) / 6.
    assert (policy(burst), burst.before) == ("burst", 1)
    assert burst.after in {4, 5}
    assert burst.after < model.instances_max
    assert {policy(each) for each in rest} == {"spare"}, "one step out was enough"
    assert [each.after for each in rest][-1] == 0
    for before, after in pairwise(rest):
        assert after.started_s - before.started_s >= model.warm_up_s / 2, "in it goes slowly"


def deploy_again(world: World, folder: Path, **bounds: int) -> None:
    """Deploy the same stacks with other bounds of the fleet."""
    shutil.copytree(world.twin.assembly.path, folder)
    path = folder / f"Model-small-{world.region}.template.json"
    template = json.loads(path.read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget":
            resource["Properties"] |= bounds
    path.write_text(json.dumps(template))
    world.twin.update(folder, containers={})


def test_work_on_an_instance_that_is_let_go_is_done_by_another(
    world: World, client: Tenant, tmp_path: Path
) -> None:
    """Neither a deployment nor scaling in may cost anybody a job, whatever SageMaker does."""
    world.twin.sagemaker.assumptions = Assumptions(in_flight="failed")
    endpoint = world.names.endpoint("small", "v1")
    fleet = world.twin.sagemaker.endpoint(world.region, endpoint)
    world.model("small").answers(lambda request: {"fine": True}, service_s=LONG_S)
    job = client.submit(tier="standard")
    world.until(lambda: instances(world) == 1)
    world.twin.sagemaker.resize(fleet, 4)
    world.until(lambda: instances(world) == 4)
    deploy_again(world, tmp_path / "changed", MaxCapacity=5)
    assert (fleet.desired, instances(world)) == (4, 4), "a deployment leaves the count as it is"
    jobs = [job, *(client.submit(tier="standard") for _ in range(7))]
    # Scaling would wait for work that it sees; an operator need not.
    world.until(lambda: fleet.backlog == len(jobs))
    world.twin.sagemaker.resize(fleet, 2)
    world.assert_rest(limit_s=IDLE_S)

    views = [client.view(job) for job in jobs]
    assert {view["status"] for view in views} == {"completed"}
    assert max(view["attempt"] for view in views) > 1, "some were on an instance that was let go"
