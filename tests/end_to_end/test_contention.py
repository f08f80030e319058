"""More work than slots: tiers, shares, the gate when beat is silent, the breaker."""

from collections import Counter
from statistics import mean
from typing import Any

import pytest

from tests.end_to_end.world import TIERS, Script, Tenant, World


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant that may submit quickly."""
    return module_world.tenant(rate_per_s=1000)


class Starts:
    """In which order jobs were handed to the endpoint."""

    def __init__(self, world: World, tiers: dict[str, str]) -> None:
        self._world = world
        self._tiers = tiers
        self._before = len(world.calls)

    def __call__(self) -> list[tuple[float, str]]:
        """Time and tier of every start so far."""
        return [
            (call.at_s, self._tiers[job])
            for call in list(self._world.calls)[self._before :]
            if call.operation == "InvokeEndpointAsync"
            and (job := call.params["InferenceId"].partition(".")[0]) in self._tiers
        ]


def flood(world: World, client: Tenant, jobs: dict[str, int]) -> tuple[dict[str, str], Starts]:
    """Submit so many jobs of each tier, batch first; returns the tier of each job."""
    tiers: dict[str, str] = {}
    starts = Starts(world, tiers)
    for tier in reversed(TIERS):
        for number in range(jobs.get(tier, 0)):
            tiers[client.submit(tier=tier, input={"name": f"{tier}-{number}"})] = tier
    return tiers, starts


def waits(client: Tenant, tiers: dict[str, str]) -> dict[str, float]:
    """Mean seconds in the queue, by tier."""
    found: dict[str, list[float]] = {}
    for job, tier in tiers.items():
        view = client.view(job)
        assert view["status"] == "completed", view
        found.setdefault(tier, []).append(view["timings"]["queue_s"])
    return {tier: mean(values) for tier, values in found.items()}


def test_urgent_work_waits_less_though_it_came_last(world: World, client: Tenant) -> None:
    """An interactive user behind a night's batch would leave."""
    world.model("small").answers(Script(), service_s=2)
    tiers, _ = flood(world, client, {"interactive": 10, "standard": 10, "batch": 20})

    world.assert_rest()

    mean_s = waits(client, tiers)
    assert mean_s["interactive"] < mean_s["standard"] < mean_s["batch"]
    assert mean_s["interactive"] < mean_s["batch"] / 2


def test_no_tier_falls_below_its_share_while_it_has_work(world: World, client: Tenant) -> None:
    """A batch that never starts while anybody is in a hurry is not a tier but a hope."""
    world.model("small").answers(Script(), service_s=1)
    jobs = {"interactive": 40, "standard": 25, "batch": 25}
    _, starts = flood(world, client, jobs)
    world.until(lambda: len(starts()) >= sum(jobs.values()), every_s=5)

    order = [tier for _, tier in starts()]
    # While every tier has work, which is until the interactive one runs out.
    last = max(index for index, tier in enumerate(order) if tier == "interactive")
    contended = order[5:last]
    share = {tier: count / len(contended) for tier, count in Counter(contended).items()}
    for tier, settings in world.deployment.tiers.items():
        assert share.get(tier, 0) >= settings.share_min * 0.85, share


def test_a_tier_alone_uses_every_slot(world: World, client: Tenant) -> None:
    """A guaranteed share that nobody uses must not leave a GPU idle."""
    world.model("small").answers(Script(), service_s=2)
    tiers, starts = flood(world, client, {"batch": 20})
    began_s = world.twin.scheduler.now()
    world.until(lambda: len(starts()) == len(tiers))

    # Two places and two seconds each: 20 s of work, and four slots' worth of it is under way.
    assert starts()[-1][0] - began_s < 20 + 5


def test_never_more_than_its_slots_reach_an_endpoint(world: World, client: Tenant) -> None:
    """SageMaker's own queue knows no priority: what is in it has jumped ours."""
    world.model("small").answers(Script(), service_s=2)
    endpoint = world.twin.sagemaker.endpoint(world.region, world.names.endpoint("small", "v1"))
    most = 0
    capacity = int(world.gate()["capacity"]["N"])

    def look() -> bool:
        nonlocal most
        most = max(most, endpoint.backlog)
        return False

    flood(world, client, {"interactive": 15, "batch": 15})
    world.twin.scheduler.run_until_true(look, 40, every_s=0.5)

    assert 0 < most <= capacity


def test_while_beat_is_silent_work_trickles(world: World, client: Tenant) -> None:
    """Instances may be gone, or only beat may be: neither a flood nor a stop is right."""
    world.model("small").answers(Script(), service_s=4)
    world.fail("die_before", function="beat", times=None)
    world.run_for(90)
    tiers, starts = flood(world, client, {"interactive": 8})
    most = 0

    def look() -> bool:
        nonlocal most
        most = max(most, len(world.slots()))
        return len(starts()) == len(tiers)

    began_s = world.twin.scheduler.now()
    assert world.twin.scheduler.run_until_true(look, 600, every_s=1)

    assert most == 1
    assert world.twin.scheduler.now() - began_s < 8 * 4 + 30


def test_a_model_that_fails_most_jobs_is_probed_until_it_answers(
    world: World, client: Tenant
) -> None:
    """A bad release must not burn the whole queue's attempts before anybody looks."""
    healthy = False

    def answer(request: Any) -> Any:
        if not healthy:
            raise RuntimeError("broken")
        return {}

    world.model("small").answers(answer, service_s=1)
    world.run_for(300)  # earlier tests' outcomes are forgotten
    held, _ = flood(world, client, {"standard": 20})
    world.until(lambda: "open_ms" in world.gate())
    most, until_s = 0, world.twin.scheduler.now() + 30
    world.run_for(6)

    def look() -> bool:
        nonlocal most
        most = max(most, len(world.slots()))
        return world.twin.scheduler.now() >= until_s

    assert world.twin.scheduler.run_until_true(look, 60, every_s=0.5)
    assert most == 1

    healthy = True
    tiers, _ = flood(world, client, {"interactive": 20})
    world.assert_rest()
    began_s = world.twin.scheduler.now()
    again, _ = flood(world, client, {"interactive": 20})
    world.assert_rest()

    jobs = [*held, *tiers, *again]
    assert {client.view(job)["status"] for job in jobs} == {"completed"}, "nothing was burnt"
    # Two places and a second each: the whole endpoint works again.
    assert world.twin.scheduler.now() - began_s < 20


def test_without_instances_jobs_wait_and_none_is_lost(world: World, client: Tenant) -> None:
    """A model that is scaled to zero has no capacity, and every right to its queue."""
    world.model("small").answers(Script())
    endpoint = world.twin.sagemaker.endpoint(world.region, world.names.endpoint("small", "v1"))
    world.twin.sagemaker.resize(endpoint, 0)
    world.run_for(20)

    job = client.submit(input={"name": "patient"})
    world.run_for(30)
    waiting = client.view(job)
    world.assert_rest()  # an alarm has seen it, and asked for an instance

    assert waiting["status"] == "queued"
    assert waiting["queue"]["position"] >= 1
    assert client.view(job)["status"] == "completed"
    assert client.view(job)["attempt"] == 1


def test_a_backlog_of_a_hundred_is_worked_off_without_a_loss(world: World, client: Tenant) -> None:
    """The many small races of a busy dispatcher come out only under load."""
    script = Script()
    world.model("small").answers(script, service_s=0.2)
    tiers, _ = flood(world, client, {"interactive": 40, "standard": 30, "batch": 30})

    world.assert_rest()

    assert {client.view(job)["status"] for job in tiers} == {"completed"}
    assert set(script.runs.values()) == {1}
