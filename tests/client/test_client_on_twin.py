"""The client against the deployed stacks: three regions, one ledger, on a virtual clock."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.schema import load
from spillway import AsyncClient, Client, local
from spillway.client import ConflictError, JobUnfinishedError, NotFoundError
from spillway.testing import Stacks
from spillway.twin.containers import Python
from spillway.twin.http import AsyncTransport, Transport

CONFIG = Path(__file__).resolve().parents[1] / "end_to_end" / "three_regions.yaml"
REGIONS = ("us-east-1", "us-east-2", "us-west-2")
FIRST_BEAT_S = 70.0
NUMBERS = count(1)


@pytest.fixture(scope="module")
def stacks() -> Iterator[Stacks]:
    """One deployment for all."""
    deployment = load(CONFIG)
    containers = {
        deployment.names.endpoint("small", "v1"): partial(Python, answers=lambda request: request)
    }
    with local.start(CONFIG, virtual=True, replaced=containers) as twin:
        stacks = Stacks(twin, deployment)
        stacks.run_for(FIRST_BEAT_S)
        yield stacks


class Wire(httpx.BaseTransport):
    """The way to the regions; it may lose answers, or lead nowhere.

    Attributes:
        loses: How many answers of each region are still to be lost, after their effect.
        cut: Regions that nobody reaches.
        asked: Each request's method and region.
    """

    def __init__(self, stacks: Stacks) -> None:
        self._there = Transport(stacks.twin.scheduler, stacks.twin.gateway)
        self.loses: dict[str, int] = {}
        self.cut: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request there, and perhaps the answer back."""
        region = request.url.path.split("/")[1]
        self.asked.append((request.method, region))
        if region in self.cut:
            raise httpx.ConnectTimeout("cut off", request=request)
        answer = self._there.handle_request(request)
        if self.loses.get(region):
            self.loses[region] -= 1
            raise httpx.ReadTimeout("lost", request=request)
        return answer


@pytest.fixture
def wire(stacks: Stacks) -> Wire:
    """An intact one."""
    return Wire(stacks)


@pytest.fixture
def key(stacks: Stacks) -> str:
    """A tenant of the test's own."""
    return stacks.new_key(f"tenant-{next(NUMBERS)}", rate_per_s=100)


@pytest.fixture
def client(stacks: Stacks, wire: Wire, key: str) -> Iterator[Client]:
    """A client of all three regions."""
    with Client(
        [f"http://twin/{region}" for region in REGIONS],
        key,
        transport=wire,
        concurrency=1,
        clock=stacks.twin.scheduler.now,
        sleep=stacks.run_for,
    ) as client:
        yield client


def runs(stacks: Stacks, job_id: str) -> int:
    """How often a model was asked to work for a job."""
    asked = stacks.calls.of(operation="InvokeEndpointAsync")
    return sum(call.params["InferenceId"].startswith(job_id) for call in asked)


def test_a_result_in_one_call(stacks: Stacks, client: Client, wire: Wire) -> None:
    """The first thing that anybody tries."""
    job = client.run("small", {"n": 1}, tier="interactive", timeout_s=60)

    assert (job.status, job.output, job.region) == ("completed", {"n": 1}, "us-east-1")
    assert job.created_at is not None
    assert job.timings.model_s is not None
    assert wire.asked == [("POST", "us-east-1")]


def test_answers_lost_in_every_region_are_one_job_and_one_run(
    stacks: Stacks, client: Client, wire: Wire
) -> None:
    """The worst network: every region takes the job, and none of them can say so."""
    wire.loses = dict.fromkeys(REGIONS, 1)

    job = client.run("small", {"n": 2}, timeout_s=120)
    stacks.run_until_idle()

    assert [method for method, _ in wire.asked[:4]] == ["POST"] * 4
    assert {region for _, region in wire.asked[:3]} == set(REGIONS)
    assert job.output == {"n": 2}
    assert [each.id for each in client.jobs()] == [job.id]
    assert runs(stacks, job.id) == 1


@pytest.mark.parametrize("action", ["timeout_after", "die_after", "die_before"])
def test_a_function_that_fails_after_the_ledger_took_the_job_makes_no_second_one(
    stacks: Stacks, client: Client, action: str
) -> None:
    """The service itself does not know then what the client should be told."""
    fault = stacks.fail(action, function="submit", service="dynamodb", operation="PutItem", times=1)

    job = client.run("small", {"action": action}, timeout_s=120)
    stacks.run_until_idle()

    assert fault.hits == 1
    assert [each.id for each in client.jobs()] == [job.id]
    assert runs(stacks, job.id) == 1


def test_a_bulk_that_is_cut_short_and_started_again_makes_nothing_twice(
    stacks: Stacks, client: Client, wire: Wire
) -> None:
    """A night's work, its region lost in the middle, and a second run in the morning."""
    inputs = [{"bulk": n} for n in range(30)]
    wire.loses = {"us-east-1": 3}
    first = client.run_many("small", inputs, in_flight=12, key_prefix="night")
    begun = [next(first).id for _ in range(3)]
    wire.cut = {"us-east-1"}

    jobs = list(client.run_many("small", inputs, key_prefix="night", timeout_s=900))

    assert [job.output for job in jobs] == inputs
    assert [job.id for job in jobs[:3]] == begun
    assert sorted(each.id for each in client.jobs()) == sorted(job.id for job in jobs)
    assert {runs(stacks, job.id) for job in jobs} == {1}
    asked = len(wire.asked)
    assert len(list(client.as_completed([job.id for job in jobs]))) == 30
    assert len(wire.asked) <= asked + 32, "a list, and what has ended; more only while lists lag"


def test_a_region_that_is_cut_off_during_a_wait_does_not_end_it(
    stacks: Stacks, client: Client, wire: Wire
) -> None:
    """The job runs on; its result is in the ledger, which every region reads."""
    stacks.model("small").answers(lambda request: request, service_s=9)
    jobs = [client.submit("small", {"n": n}, tier="batch") for n in range(8)]
    wire.cut = {"us-east-1"}

    done = [client.wait(job, timeout_s=600) for job in jobs]

    stacks.model("small").answers(lambda request: request)
    assert [job.output for job in done] == [{"n": n} for n in range(8)]
    assert {job.region for job in done} == {"us-east-1"}
    assert ("GET", "us-east-2") in wire.asked
    # Left alone while it rests: a look now and then, not one for each job.
    assert wire.asked.count(("GET", "us-east-1")) <= 5


def test_waiting_redirects_are_followed_across_regions(
    stacks: Stacks, client: Client, wire: Wire
) -> None:
    """One call outlives several waits, and the region that promised to go on."""
    stacks.model("small").answers(lambda request: request, service_s=9)
    for n in range(14):
        client.submit("small", {"before": n}, tier="interactive")
    began_s = stacks.twin.scheduler.now()

    with pytest.raises(JobUnfinishedError) as caught:
        client.run("small", {"n": 1}, tier="batch", timeout_s=30)
    assert stacks.twin.scheduler.now() - began_s == pytest.approx(30, abs=3)
    wire.cut = {"us-east-1"}
    unfinished = caught.value.job
    assert unfinished is not None
    job = client.wait(unfinished, timeout_s=600)

    stacks.model("small").answers(lambda request: request)
    assert (job.id, job.status, job.output) == (unfinished.id, "completed", {"n": 1})
    assert ("GET", "us-east-2") in wire.asked
    assert runs(stacks, job.id) == 1


def test_reading_cancelling_and_erasing(stacks: Stacks, client: Client, wire: Wire) -> None:
    """All a program can do with a handle, each with its first answer lost."""
    stacks.model("small").answers(lambda request: request, service_s=9)
    jobs = [client.submit("small", {"n": n}, metadata={"n": str(n)}) for n in range(4)]

    def with_a_loss(call: Callable[..., Any], *arguments: Any) -> Any:
        wire.loses = {"us-east-1": 1}
        stacks.run_for(31)
        return call(*arguments)

    assert client.job(jobs[3]).metadata == {"n": "3"}
    last = client.submit("small", {"n": 4}, tier="batch")
    wire.loses = {"us-east-1": 1}
    assert client.cancel(last).status == "cancelled"
    assert with_a_loss(client.job, last.id).status == "cancelled"
    with_a_loss(client.delete, last)
    with pytest.raises(NotFoundError):
        client.job(last)
    stacks.run_until_idle()
    with pytest.raises(ConflictError) as caught:
        client.cancel(jobs[0])
    assert caught.value.code == "job_finished"
    assert sorted(each.id for each in client.jobs()) == sorted(job.id for job in jobs)
    stacks.model("small").answers(lambda request: request)


def test_models_and_capacity_of_the_deployment(client: Client) -> None:
    """What the service says must fit what the client reads."""
    (model,) = client.models()
    (busy,) = client.capacity()

    assert (model.id, model.versions) == ("small", {"v1": 1.0})
    assert set(busy.tiers) == set(model.tiers) == {"interactive", "standard", "batch"}
    assert busy.tiers["batch"].target_wait_s == 3600


def test_a_refused_submission_says_what_is_allowed(client: Client) -> None:
    """The service's message and field reach the program."""
    with pytest.raises(Exception, match=r"small.*status 400, code model_not_found, param model"):
        client.submit("tiny", 1)


def test_the_asynchronous_client_does_the_same(stacks: Stacks, key: str) -> None:
    """Many at once, in one event loop."""
    twin = stacks.twin

    async def sleep(seconds: float) -> None:
        stacks.run_for(seconds)

    async def many() -> list[Any]:
        async with AsyncClient(
            [f"http://twin/{region}" for region in REGIONS],
            key,
            transport=AsyncTransport(twin.scheduler, twin.gateway),
            clock=twin.scheduler.now,
            sleep=sleep,
        ) as client:
            work = [client.run("small", {"n": n}, timeout_s=300) for n in range(5)]
            done = await asyncio.gather(*work)
            listed = [job.id async for job in client.jobs()]
            assert sorted(listed) == sorted(job.id for job in done)
            return [job.output["n"] for job in done]

    assert asyncio.run(many()) == list(range(5))
