"""Work that one region cannot do in time goes to where there is room."""

import pytest

from tests.end_to_end.world import Script, Tenant, World, noise

SERVICE_S = 2.0


@pytest.fixture(scope="module")
def deployed() -> str:
    """Three serving regions; one instance in each, two jobs at a time, two seconds a job."""
    return "three_slow_regions"


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant with one key for all regions."""
    return module_world.tenant()


def owners(world: World, jobs: list[str]) -> list[str]:
    """The regions that hold jobs now."""
    return [world.ledger_item(job)["owner"]["S"] for job in jobs]


def ended(world: World, client: Tenant, jobs: list[str], names: list[str]) -> None:
    """Every job is completed with the answer to its own request."""
    world.until(lambda: all(client.view(job)["status"] == "completed" for job in jobs), every_s=5)
    assert [client.view(job)["output"] for job in jobs] == [{"answer": name} for name in names]


def test_a_burst_spills_to_regions_with_room(world: World, client: Tenant) -> None:
    """Two idle GPUs next door are no use to who waits in a queue here."""
    script = Script()
    world.model("small").answers(script, service_s=SERVICE_S)
    here, *others = world.deployment.regions
    names = [f"burst-{number}" for number in range(40)]
    jobs = []
    for name in names:
        jobs.append(client.submit(region=here, input={"name": name}))
        world.run_for(0.4)

    placed = owners(world, jobs)
    assert placed.count(here) < len(jobs)
    assert set(placed) == {here, *others}
    ended(world, client, jobs, names)
    assert all(script.runs[name] == 1 for name in names)


def test_a_spilled_job_needs_nothing_of_the_region_that_accepted_it(
    world: World, client: Tenant
) -> None:
    """It was sent away because its home is in trouble, which may get worse."""
    world.model("small").answers(Script(), service_s=SERVICE_S)
    here, *_ = world.deployment.regions
    names = [f"large-{number}" for number in range(30)]
    jobs = []
    for name in names:
        body = {"name": name, "noise": noise(60_000)}
        jobs.append(client.submit(region=here, input=body))
        world.run_for(0.4)
    placed = dict(zip(jobs, owners(world, jobs), strict=True))
    spilled = [job for job, owner in placed.items() if owner != here]
    assert spilled

    world.regions.kill(here)
    reader = world.deployment.regions[1]
    world.until(
        lambda: all(client.view(job, region=reader)["status"] == "completed" for job in jobs),
        every_s=5,
    )

    stayed = {job: world.ledger_item(job)["owner"]["S"] for job in spilled}
    assert stayed == {job: placed[job] for job in spilled}
    world.regions.restore(here)


def test_an_overloaded_region_is_relieved(world: World, client: Tenant) -> None:
    """What came before anybody knew of the burst need not wait it out."""
    script = Script()
    world.model("small").answers(script, service_s=SERVICE_S)
    here, *_ = world.deployment.regions
    names = [f"flood-{number}" for number in range(40)]
    jobs = [client.submit(region=here, input={"name": name}) for name in names]
    assert set(owners(world, jobs)) == {here}

    world.run_for(30)

    moved = [owner for owner in owners(world, jobs) if owner != here]
    assert moved
    ended(world, client, jobs, names)
    assert all(script.runs[name] == 1 for name in names)
