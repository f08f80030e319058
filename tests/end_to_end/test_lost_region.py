"""Losing and draining a region: every accepted job ends once, somewhere."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lambdas.adapters.leases import Leases
from lambdas.domain.regions import Lease
from spillway.testing import REPLICATED_S
from tests.end_to_end.world import Script, Tenant, World, noise

LOST_S = 40
"""Seconds within which a region that died is declared lost."""
TICK_S = 75
"""The beats of before are long past: a region is back with its next minute's tick."""
MOVED_S = 60
"""And then within which its jobs run or wait elsewhere."""


@pytest.fixture(scope="module")
def deployed() -> str:
    """Three serving regions, three replicas."""
    return "three_regions"


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant with one key for all regions."""
    return module_world.tenant()


@pytest.fixture(autouse=True)
def _every_region_back(world: World) -> Iterator[None]:
    yield
    for region in world.deployment.regions:
        world.regions.restore(region)
    world.until(lambda: {lease(world, each).state for each in regions(world)} == {"serving"})


def regions(world: World) -> tuple[str, ...]:
    """The serving regions."""
    return tuple(world.deployment.regions)


def lease(world: World, region: str) -> Lease:
    """A region's lease in the ledger."""
    return Leases(world.aws("dynamodb"), world.names.ledger).read([region])[region]


def owners(world: World, jobs: list[str]) -> list[str]:
    """The regions that hold jobs now."""
    return [world.ledger_item(job)["owner"]["S"] for job in jobs]


def submitted(client: Tenant, region: str, names: list[str], **fields: Any) -> list[str]:
    """Jobs that a region accepted."""
    return [client.submit(region=region, input={"name": name}, **fields) for name in names]


def ended(world: World, client: Tenant, jobs: list[str], names: list[str], reader: str) -> None:
    """Every job is completed with the answer to its own request."""

    def views() -> list[dict[str, Any]]:
        return [client.view(job, region=reader) for job in jobs]

    world.until(lambda: all(view["status"] == "completed" for view in views()), every_s=5)
    assert [view["output"] for view in views()] == [{"answer": name} for name in names]


def test_a_region_that_dies_loses_nothing(world: World, client: Tenant) -> None:
    """Its queues and GPUs are gone with it; what clients were promised is not."""
    script = Script()
    world.model("small").answers(script, service_s=4)
    here, dead, other = regions(world)
    names = [f"dead-{number}" for number in range(12)]
    jobs = submitted(client, dead, names, tier="batch")
    world.run_for(3)
    started = world.slots(region=dead)
    assert started

    world.regions.kill(dead)
    world.until(lambda: lease(world, dead).state == "lost", LOST_S)
    world.until(lambda: dead not in owners(world, jobs), MOVED_S)

    assert set(owners(world, jobs)) == {here, other}
    ended(world, client, jobs, names, here)
    world.regions.restore(dead)
    world.until(lambda: lease(world, dead).state == "serving", TICK_S)
    world.assert_rest()
    again = client.submit(region=dead, input={"name": "again"}, tier="batch")
    ended(world, client, [again], ["again"], here)
    assert client.view(again)["region"] == dead
    # Whoever is woken by it hears of it in the regions that took the jobs.
    told = [
        (event.region, event.state.value)
        for event in world.twin.alarms.history
        if event.name == world.names.alarm("moves-evacuate") and event.state.value != "OK"
    ]
    assert set(told) == {(here, "ALARM"), (other, "ALARM")}


def test_large_inputs_outlive_their_region(world: World, client: Tenant) -> None:
    """The next region has a copy of its own; the one after that brings itself one."""
    world.model("small").answers(Script(), service_s=2)
    here, dead, other = regions(world)
    names = [f"large-{number}" for number in range(8)]
    jobs = [
        client.submit(region=dead, tier="batch", input={"name": name, "noise": noise(60_000)})
        for name in names
    ]
    world.regions.kill(dead)
    ended(world, client, jobs, names, here)
    assert set(owners(world, jobs)) == {here, other}

    world.regions.restore(dead)
    world.assert_rest()
    for job in jobs:
        assert client.client().delete(f"/v1/jobs/{job}").status_code == 200
    for region in regions(world):
        for bucket in (world.names.bucket(region), world.names.replica_bucket(region)):
            found = world.aws("s3", region).list_objects_v2(Bucket=bucket, Prefix="inputs/")
            assert not [
                o["Key"] for o in found.get("Contents", []) if any(j in o["Key"] for j in jobs)
            ]


def test_large_inputs_are_taken_while_the_region_is_lost_that_would_keep_their_copy(
    world: World, client: Tenant
) -> None:
    """Else its loss would be the loss of a second one, whose health check says that all is well."""
    world.model("small").answers(Script(), service_s=2)
    here, dead, other = regions(world)
    world.regions.kill(dead)
    world.until(lambda: lease(world, dead).state == "lost", LOST_S)
    world.run_for(10)

    for region in (here, other):
        names = [f"{region}-{number}" for number in range(2)]
        jobs = [
            client.submit(region=region, input={"name": name, "noise": noise(60_000)})
            for name in names
        ]
        kept = {world.ledger_item(job)["copied"]["S"] for job in jobs}
        assert kept <= {here, other}
        ended(world, client, jobs, names, here)


def written(world: World, client: Tenant, region: str, name: str) -> dict[str, Any]:
    """A job's request of an upload that was written to a region this moment."""
    content = json.dumps({"name": name}).encode()
    upload = client.client(region).post("/v1/uploads", json={"bytes": len(content)}).json()
    link = world.twin.link_client()
    assert link.put(upload["url"], content=content, headers=upload["headers"]).status_code == 200
    return {"model": "small", "tier": "batch", "input_upload": upload["id"]}


def test_jobs_of_uploads_outlive_the_region_of_their_uploads(world: World, client: Tenant) -> None:
    """An input of a gigabyte is accepted once, and nobody has it any more to send it again."""
    world.model("small").answers(Script(), service_s=9)
    here, dead, other = regions(world)
    names = [f"upload-{number}" for number in range(8)]
    asked = [written(world, client, dead, name) for name in names]
    world.run_for(REPLICATED_S)
    # Some wait and run in the region that is lost, others in one that is not.
    jobs = [client.post(each, region=dead).json()["id"] for each in asked[:6]]
    jobs += [client.post(each, region=here).json()["id"] for each in asked[6:]]
    world.run_for(3)
    assert world.slots(region=dead)
    # Replication to one of the others is behind, as after an outage.
    behind = world.names.replica_bucket(other)
    for job in jobs:
        key = world.ledger_item(job)["input_key"]["S"]
        world.aws("s3", other).delete_object(Bucket=behind, Key=key)

    world.regions.kill(dead)
    late = client.post(asked[0] | {"tier": "standard"}, region=here)
    ended(world, client, jobs, names, other)

    assert (late.status_code, late.json()["error"]["code"]) == (409, "upload_used")
    assert set(owners(world, jobs)) == {here, other}
    read = {
        str(call.params["InputLocation"]).split("/")[2]
        for call in world.calls.of(operation="InvokeEndpointAsync")
        if call.region != dead and call.params["InferenceId"].partition(".")[0] in jobs
    }
    assert read == {world.names.replica_bucket(here), world.names.bucket(other)}
    world.regions.restore(dead)
    world.assert_rest()
    for job in jobs:
        assert client.client().delete(f"/v1/jobs/{job}").status_code == 200


def test_an_upload_that_is_not_copied_when_its_region_dies_was_never_accepted(
    world: World, client: Tenant
) -> None:
    """A promise that only the lost region could keep is none; its client has the input still."""
    world.model("small").answers(Script(), service_s=2)
    here, dead, other = regions(world)
    asked = written(world, client, dead, "kept back")
    early = [client.post(asked, region=region) for region in (dead, here)]

    world.regions.kill(dead)
    dying = client.post(asked, region=here)
    world.until(lambda: lease(world, dead).state == "lost", LOST_S)
    world.run_for(10)
    lost = client.post(asked, region=other)
    world.regions.restore(dead)
    world.until(lambda: lease(world, dead).state == "serving", TICK_S)
    world.run_for(REPLICATED_S)
    taken = client.post(asked, region=here)

    codes = [each.json()["error"]["code"] for each in early]
    assert codes == ["upload_not_ready"] * 2
    for answer in (*early, dying, lost):
        assert answer.status_code in {429, 503}, answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert taken.status_code == 202, taken.text
    ended(world, client, [taken.json()["id"]], ["kept back"], other)


def test_a_restored_region_is_not_lost_again(world: World) -> None:
    """The beats that waited for it must not take its lease from each other, and then stop."""
    _, dead, _ = regions(world)
    world.regions.kill(dead)
    world.until(lambda: lease(world, dead).state == "lost", LOST_S)
    lost = lease(world, dead).epoch
    world.regions.restore(dead)
    world.until(lambda: lease(world, dead).state == "serving", TICK_S)

    world.run_for(180)

    assert lease(world, dead).state == "serving"
    assert lease(world, dead).epoch <= lost + 2


def test_a_lost_tick_loses_no_region(world: World) -> None:
    """EventBridge and Lambda do not promise every single one."""
    _, quiet, _ = regions(world)
    before = lease(world, quiet).epoch
    world.run_for(61 - world.twin.scheduler.now() % 60)
    world.twin.schedules.pause(quiet)
    world.run_for(59)
    world.twin.schedules.resume(quiet)
    world.run_for(60)

    assert (lease(world, quiet).state, lease(world, quiet).epoch) == ("serving", before)


def test_jobs_that_can_wait_leave_a_region_whose_instances_are_gone(
    world: World, client: Tenant
) -> None:
    """It answers, so clients go on coming; and it may be days until it gets a GPU again."""
    world.model("small").answers(Script(), service_s=2)
    here, bare, other = regions(world)
    endpoint = world.twin.sagemaker.endpoint(bare, world.names.endpoint("small", "v1"))
    before = submitted(client, bare, ["early"], tier="batch")
    world.twin.sagemaker.resize(endpoint, 0)
    names = [f"bare-{number}" for number in range(4)]
    world.run_for(10)
    jobs = submitted(client, bare, names, tier="batch")

    ended(world, client, before + jobs, ["early", *names], here)
    assert set(owners(world, jobs)) <= {here, other}
    ready = client.client(bare).get("/health/ready")
    world.twin.sagemaker.resize(endpoint, 1)
    assert ready.status_code == 200


def test_a_region_without_the_ledger_serves_nobody_and_loses_nothing(
    world: World, client: Tenant
) -> None:
    """Its models work and its API answers: only its lease says that it must stop."""
    script = Script()
    world.model("small").answers(script, service_s=9)
    here, cut, _ = regions(world)
    names = [f"cut-{number}" for number in range(8)]
    jobs = submitted(client, cut, names, tier="standard")
    world.run_for(2)

    world.regions.isolate(cut, "global")
    world.until(lambda: lease(world, cut).state == "lost", LOST_S)
    fenced_s = world.twin.scheduler.now()
    refused = client.post(
        {"model": "small", "input": {"name": "refused"}}, key="refused", region=cut
    )
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    ended(world, client, jobs, names, here)
    world.run_for(60)  # API Gateway no longer remembers the key, which lies in a global table.
    unknown = client.post({"model": "small", "input": {"name": "late"}}, key="late", region=cut)
    assert unknown.status_code == 503, unknown.text
    invoked = {
        call.caller_region
        for call in world.twin.hook.log.of(operation="InvokeEndpointAsync")
        if call.at_s >= fenced_s
    }
    assert invoked
    assert cut not in invoked

    world.regions.restore(cut)
    world.assert_rest()
    for job, name in zip(jobs, names, strict=True):
        item = world.ledger_item(job)
        assert client.view(job)["output"] == {"answer": name}
        assert item["owner"]["S"] != cut


def test_a_drained_region_ends_what_it_runs_and_gives_the_rest_away(
    world: World, client: Tenant
) -> None:
    """Before maintenance nobody should wait, and nothing that runs should run twice."""
    script = Script()
    world.model("small").answers(script, service_s=8)
    here, drained, _ = regions(world)
    names = [f"drain-{number}" for number in range(9)]
    jobs = submitted(client, drained, names, tier="batch")
    world.run_for(3)
    running = [job for job in jobs if client.view(job)["status"] == "in_progress"]
    assert running

    world.regions.drain(drained)
    world.until(lambda: owners(world, jobs).count(drained) == len(running), MOVED_S)
    late = client.submit(region=drained, input={"name": "late"})
    assert world.ledger_item(late)["owner"]["S"] != drained
    assert client.client(drained).get("/health/ready").status_code == 503

    ended(world, client, jobs, names, here)
    assert {client.view(job)["region"] for job in running} == {drained}
    assert all(script.runs[name] == 1 for name in names)
