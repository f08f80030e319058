"""What CloudWatch knows after some jobs: the functions' logs are where it reads."""

import pytest

from spillway.twin.metrics import Metric
from tests.end_to_end.world import Tenant, World


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant of its own."""
    return module_world.tenant()


def total(world: World, name: str, statistic: str = "Sum", **dimensions: str) -> float:
    """The sum of a metric's values so far, or another statistic of them."""
    metric = Metric(f"Spillway/{world.deployment.name}", name, frozenset(dimensions.items()))
    now_s = world.twin.scheduler.now()
    region = world.deployment.primary_region
    found = world.twin.metrics.series(region, metric, statistic, 60, now_s - 3600, now_s + 60)
    return sum(value for value in found if value is not None)


def test_jobs_show_in_the_metrics_of_their_model_tier_and_version(
    world: World, client: Tenant
) -> None:
    """An alarm on a metric that never comes is an alarm that never rings."""
    world.model("small").answers(lambda _: {"fine": True}, service_s=4)
    jobs = [client.submit(tier="batch", input={"name": f"job-{n}"}) for n in range(6)]
    world.assert_rest()

    assert all(client.view(job)["status"] == "completed" for job in jobs)
    version = {"Model": "small", "Version": "v1"}
    assert total(world, "Completed", **version) == len(jobs)
    assert total(world, "Failed", **version) == 0
    assert total(world, "ModelSeconds", Tier="batch", **version) >= 4 * len(jobs)
    assert total(world, "Backlog", Model="small", Tier="batch") > 0
    assert total(world, "Backlog", Model="small", Tier="interactive") == 0
    # Patient work that fits into the slack is no burst, but that is said as well.
    assert total(world, "BurstRatio", "SampleCount", Model="small") > 0
    for name in ("Pressure", "ArrivalRate", "Instances", "InFlight"):
        assert total(world, name, Model="small") > 0, name
    assert world.twin.metrics.rejected == {}
