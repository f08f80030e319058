"""One name for three regions: clients follow it to wherever the service is well."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from config.schema import load
from spillway import Client, local
from spillway.testing import Stacks
from spillway.twin.containers import Python
from spillway.twin.http import Transport
from spillway.twin.route53 import Resolver

CONFIG = Path(__file__).with_name("three_regions_domain.yaml")
NAME = "api.example.com"
NEAR = "us-east-2"
CHECKS_S, CONNECT_S, TTL_S = 30, 4, 60
SETTLED_S = 90
"""After this every region has its first verdict, and three good checks."""


@pytest.fixture(scope="module")
def module_stacks() -> Iterator[Stacks]:
    """The deployment, once."""
    deployment = load(CONFIG)
    endpoint = deployment.names.endpoint("small", "v1")
    served = {endpoint: partial(Python, answers=lambda request: {"echo": request})}
    with local.start(CONFIG, virtual=True, replaced=served) as twin:
        yield Stacks(twin, deployment)


@pytest.fixture
def stacks(module_stacks: Stacks) -> Iterator[Stacks]:
    """The deployment, with every region well before and after."""
    module_stacks.run_for(SETTLED_S)
    assert led(module_stacks) == {region: region for region in module_stacks.deployment.regions}
    yield module_stacks
    module_stacks.twin.hook.rules.clear()
    for region in module_stacks.deployment.regions:
        module_stacks.regions.restore(region)
    module_stacks.run_for(2 * SETTLED_S)


def led(stacks: Stacks) -> dict[str, str]:
    """Where clients near each region are led now."""
    return {
        region: stacks.twin.route53.resolve(NAME, client_region=region).region
        for region in stacks.deployment.regions
    }


def asked(stacks: Stacks, client: httpx.Client) -> str:
    """The region that takes a client's job; empty if there is none."""
    job = {"model": "small", "input": {"x": 1}}
    headers = {"Authorization": f"Bearer {stacks.api_key}"}
    try:
        answer = client.post("/v1/jobs", json=job, headers=headers, timeout=1.0)
    except httpx.TimeoutException:
        return ""
    return str(answer.json()["region"]) if answer.status_code == 202 else ""


def until(stacks: Stacks, holds: Callable[[], bool], limit_s: float) -> float:
    """Seconds until something holds, looking once a second."""
    began_s = stacks.twin.scheduler.now()
    while not holds():
        assert stacks.twin.scheduler.now() < began_s + limit_s, f"not within {limit_s:g} s"
        stacks.run_for(1)
    return stacks.twin.scheduler.now() - began_s


def test_clients_leave_a_dead_region_and_come_back(stacks: Stacks) -> None:
    """Whoever uses the name must not have to know that there are regions."""
    client = stacks.twin.client(NAME, near=NEAR)
    assert asked(stacks, client) == NEAR
    stacks.regions.kill(NEAR)

    elsewhere = until(
        stacks, lambda: asked(stacks, client) not in {"", NEAR}, CHECKS_S + CONNECT_S + TTL_S + 2
    )
    assert elsewhere > CHECKS_S - 10
    assert led(stacks) == {
        region: region if region != NEAR else "us-east-1" for region in led(stacks)
    }

    stacks.run_for(TTL_S)
    stacks.regions.restore(NEAR)
    # The next tick is a minute away at most; then a verdict, three checks, the answer's time.
    until(stacks, lambda: asked(stacks, client) == NEAR, 60 + 10 + CHECKS_S + TTL_S)
    stacks.run_until_idle()


def test_clients_leave_a_region_whose_beat_stopped(stacks: Stacks) -> None:
    """Its API still answers, but nothing there would ever start a job that waits."""
    client = stacks.twin.client(NAME, near=NEAR)
    assert asked(stacks, client) == NEAR
    fault = stacks.fail("die_before", function="beat", caller_region=NEAR, times=None)

    # The verdict grows old first: a lease holds for 20 s.
    until(stacks, lambda: led(stacks)[NEAR] != NEAR, 20 + 5 + CHECKS_S)
    assert fault.hits
    ready = stacks.twin.client(f"{NEAR}.{NAME}", near=NEAR).get("/health/ready")
    assert ready.status_code == 503
    until(stacks, lambda: asked(stacks, client) not in {"", NEAR}, TTL_S + 2)


def test_clients_leave_a_drained_region_without_an_error(stacks: Stacks) -> None:
    """Maintenance is announced by the health check, and until then jobs go elsewhere anyway."""
    client = stacks.twin.client(NAME, near=NEAR)
    assert asked(stacks, client) == NEAR
    stacks.regions.drain(NEAR)

    takers = [asked(stacks, client)]

    def left() -> bool:
        takers.append(asked(stacks, client))
        return led(stacks)[NEAR] != NEAR

    until(stacks, left, 5 + CHECKS_S + 2)
    assert "" not in takers
    assert stacks.twin.client(f"{NEAR}.{NAME}", near=NEAR).get("/health/ready").json() == {
        "status": "unavailable",
        "reason": "drained",
    }


def test_our_client_needs_the_name_alone(stacks: Stacks) -> None:
    """A region dies between submitting and asking, and the one job is finished all the same."""
    twin = stacks.twin
    resolver = Resolver(twin.scheduler, twin.route53, near=NEAR)
    transport = Transport(twin.scheduler, twin.gateway, resolver=resolver)
    with Client(
        f"https://{NAME}",
        stacks.api_key,
        transport=transport,
        clock=twin.scheduler.now,
        sleep=stacks.run_for,
    ) as client:
        stacks.regions.kill(NEAR)
        job = client.run("small", {"x": 2}, timeout_s=600)

    assert job.output == {"echo": {"x": 2}}
    assert job.region != NEAR
