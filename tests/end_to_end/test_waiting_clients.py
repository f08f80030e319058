"""Clients that wait: they get their result in one request, and never an endless circle."""

from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from lambdas.adapters.gate import RATE_WINDOW_S
from tests.end_to_end.world import Script, Tenant, World

HOPS_MAX = 20
"""What httpx follows by default; the OpenAI client takes httpx as it is."""


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """One tenant for all."""
    return module_world.tenant()


def signed_out(client: Tenant) -> Any:
    """What carries the OpenAI client's requests: it adds the key and follows redirects itself."""
    return httpx.Client(transport=client.client()._transport, follow_redirects=True)


@pytest.fixture
def slow(world: World) -> Script:
    """A model that takes eight seconds."""
    script = Script()
    world.model("small").answers(script, service_s=8)
    return script


def job(name: str) -> dict[str, Any]:
    """A request whose answer names it."""
    return {"model": "small", "tier": "interactive", "input": {"name": name}}


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?wait=5", {}),
        ("", {"Prefer": "wait=5"}),
        ("", {"Prefer": "respond-async, wait=5"}),
        ("?wait=5", {"Prefer": "wait=20"}),
    ],
    ids=["query", "prefer", "prefer-list", "query-goes-first"],
)
def test_a_result_in_time_is_the_answer(
    world: World, client: Tenant, query: str, headers: dict[str, str]
) -> None:
    """A client that waits should not have to ask a second time."""
    world.model("small").answers(Script(), service_s=2)

    answer = client.post(job("soon"), query=query, **headers)

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["output"]) == ("completed", {"answer": "soon"})


def test_a_wait_that_ends_first_says_where_to_wait_on(
    world: World, client: Tenant, slow: Script
) -> None:
    """An answer at the end of the wait keeps API Gateway's 29 s from cutting the connection."""
    started_s = world.twin.scheduler.now()

    answer = client.post(job("later"), query="?wait=5")

    assert answer.status_code == 303
    assert 4.5 <= world.twin.scheduler.now() - started_s <= 7
    assert answer.headers["Location"].endswith(f"/v1/jobs/{answer.json()['id']}?wait=5")
    assert answer.json()["status"] == "in_progress"


def test_an_ordinary_client_follows_to_the_result(
    world: World, client: Tenant, slow: Script
) -> None:
    """Nobody should need our library in order to wait."""
    http = client.client()
    http.follow_redirects = True

    answer = http.post("/v1/jobs", json=job("followed"), headers={"Prefer": "wait=3"})

    assert answer.status_code == 200
    assert answer.json()["output"] == {"answer": "followed"}
    assert [hop.status_code for hop in answer.history] == [303] * len(answer.history)
    assert 2 <= len(answer.history) < HOPS_MAX
    assert answer.request.method == "GET"
    assert slow.runs["followed"] == 1


def test_the_longest_wait_stays_below_the_gateways_time_limit(world: World, client: Tenant) -> None:
    """A client that asks for an hour must get a redirect, not a 504."""
    world.model("small").answers(Script(), service_s=9)
    for _ in range(20):
        client.submit(input={"name": "before"})
    started_s = world.twin.scheduler.now()

    answer = client.post(job("an-hour"), query="?wait=3600")

    assert answer.status_code == 303
    assert answer.headers["Location"].endswith("?wait=25")
    assert world.twin.scheduler.now() - started_s < 28


def test_the_openai_clients_transport_follows_too(
    world: World, client: Tenant, slow: Script
) -> None:
    """Most of our callers have this client already, with its own redirects and retries."""
    openai_client = openai.OpenAI(
        api_key=client.api_key,
        base_url="https://api.us-east-1.twin/v1",
        http_client=signed_out(client),
        max_retries=2,
    )

    view = openai_client.post(
        "/jobs",
        cast_to=dict[str, Any],
        body=job("openai"),
        options={"headers": {"Prefer": "wait=3", "Idempotency-Key": "openai-1"}},
    )

    assert view["output"] == {"answer": "openai"}
    assert slow.runs["openai"] == 1


def test_the_openai_client_raises_its_own_errors(world: World, client: Tenant) -> None:
    """Its users catch `BadRequestError`, and read `param` and `code` from it."""
    openai_client = openai.OpenAI(
        api_key=client.api_key,
        base_url="https://api.us-east-1.twin/v1",
        http_client=signed_out(client),
        max_retries=2,
    )

    with pytest.raises(openai.BadRequestError) as wrong:
        openai_client.post("/jobs", cast_to=dict[str, Any], body={"model": "none", "input": 1})
    assert (wrong.value.param, wrong.value.code) == ("model", "model_not_found")

    client.submit(key="openai-2")
    before = len(world.calls.of(function=world.names.function("submit"), operation="GetItem"))
    with pytest.raises(openai.ConflictError):
        openai_client.post(
            "/jobs",
            cast_to=dict[str, Any],
            body=job("other"),
            options={"headers": {"Idempotency-Key": "openai-2"}},
        )
    after = len(world.calls.of(function=world.names.function("submit"), operation="GetItem"))
    assert after - before == 1, "a 409 that cannot change must not be retried"


def test_the_openai_client_comes_back_when_it_is_told_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over its rate it is told when there is room again, and its user notices nothing."""
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        world.run_for(seconds)

    monkeypatch.setattr("openai._base_client.time.sleep", pause)
    world.model("small").answers(lambda _: {"data": [{"embedding": [1.0]}]})
    hasty = world.tenant(rate_per_s=Decimal("0.1"))
    openai_client = openai.OpenAI(
        api_key=hasty.api_key,
        base_url="https://api.us-east-1.twin/v1",
        http_client=signed_out(hasty),
    )
    # Both in one window of counting, wherever in one the tests before have left the clock.
    world.run_for(RATE_WINDOW_S - world.twin.scheduler.now() % RATE_WINDOW_S)

    for text in ("one", "two"):
        answer = openai_client.embeddings.create(model="small", input=text)
        assert answer.data[0].embedding == [1.0]

    assert len(paused) == 1
    assert 1 <= paused[0] <= 10
    runs = world.calls.of(operation="InvokeEndpointAsync")
    assert len({call.params["InferenceId"] for call in runs[-2:]}) == 2


def test_the_openai_clients_quick_repetition_makes_no_second_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It repeats after 0.4 s what was cut off, before any index knows of the first job."""
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        world.run_for(seconds)

    def cut_off(request: httpx.Request) -> None:
        """Let the service get a request whose answer nobody receives."""
        if request.headers["x-stainless-retry-count"] == "0" and not lost:
            request.read()
            lost.append(world.twin.scheduler.spawn(lambda: tenant.client().send(request)))
            world.run_for(0.1)
            raise httpx.ReadError("cut off", request=request)

    lost: list[Any] = []
    monkeypatch.setattr("openai._base_client.time.sleep", pause)
    monkeypatch.setattr(world.twin.dynamodb, "index_lag_s", 1.0)
    world.model("small").answers(lambda _: {"data": [{"embedding": [1.0]}]}, service_s=1)
    tenant = world.tenant()
    http = signed_out(tenant)
    http.event_hooks["request"].append(cut_off)
    openai_client = openai.OpenAI(
        api_key=tenant.api_key, base_url="https://api.us-east-1.twin/v1", http_client=http
    )
    answer = openai_client.embeddings.create(model="small", input="cut off")

    assert answer.data[0].embedding == [1.0]
    assert len(paused) == 1
    assert paused[0] < 0.6, "faster than the index"
    assert world.twin.scheduler.call(world.twin.scheduler.wait, lost[0]).status_code == 200
    jobs = tenant.client().get("/v1/jobs").json()["data"]
    assert [job["id"] for job in jobs] == [answer._request_id]
    world.run_for(2)  # what is on its way to an index must not come behind what no longer lags


def test_a_reader_waits_too(world: World, client: Tenant, slow: Script) -> None:
    """Whoever submitted without waiting may wait later."""
    waiting = client.submit(input={"name": "read"})

    answer = client.client().get(f"/v1/jobs/{waiting}?wait=20")

    assert answer.status_code == 200
    assert answer.json()["output"] == {"answer": "read"}


def test_waiting_ends_when_the_job_is_cancelled(world: World, client: Tenant) -> None:
    """A wait for a job that will never have a result is over at once."""
    world.model("small").answers(Script(), service_s=9)
    unwanted = client.submit(input={"name": "unwanted"})
    scheduler = world.twin.scheduler

    def wait() -> Any:
        return client.client().get(f"/v1/jobs/{unwanted}?wait=20")

    task = scheduler.spawn(wait, name="a client that waits")
    world.run_for(2)
    assert client.client().post(f"/v1/jobs/{unwanted}/cancel").status_code == 200
    started_s = scheduler.now()
    answer = scheduler.call(scheduler.wait, task)

    assert answer.json()["status"] == "cancelled"
    assert scheduler.now() - started_s < 4


def test_with_no_room_to_wait_the_answer_comes_at_once(
    world: World, client: Tenant, slow: Script
) -> None:
    """Waiting clients must never use up the room of submitting ones."""
    world.fail("throttle", function="submit", service="lambda", times=None)
    started_s = world.twin.scheduler.now()

    submitted = client.post(job("full"), query="?wait=20")
    read = client.client().get(f"/v1/jobs/{submitted.json()['id']}?wait=20")

    assert (submitted.status_code, read.status_code) == (202, 202)
    assert read.headers["Retry-After"]
    assert world.twin.scheduler.now() - started_s < 3


def test_a_tenant_whose_clients_wait_everywhere_leaves_room_to_others(
    world: World, client: Tenant
) -> None:
    """With its share taken its next client is told 202 at once; another tenant's waits on."""
    world.model("small").answers(Script(), service_s=9)
    scheduler, other = world.twin.scheduler, world.tenant()
    concurrency = world.deployment.concurrency
    share = concurrency.wait_open + concurrency.wait_kept_of_tenant

    def ask(tenant: Tenant, number: int) -> Any:
        return tenant.post(job(f"crowd-{number}"), query="?wait=4")

    tasks = [scheduler.spawn(ask, client, number) for number in range(share + 10)]
    world.run_for(2)
    theirs = [scheduler.spawn(ask, other, number) for number in range(2)]
    answers = [scheduler.call(scheduler.wait, task) for task in tasks]

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(303), statuses.count(202)) == (share, 10)
    for task in theirs:
        assert scheduler.call(scheduler.wait, task).status_code == 303


def test_a_replay_waits_for_the_first_request(world: World, client: Tenant, slow: Script) -> None:
    """A client that lost its connection repeats the request, and waits for the same job."""
    first = client.post(job("replayed"), key="wait-replay")

    second = client.post(job("replayed"), key="wait-replay", query="?wait=20")

    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert slow.runs["replayed"] == 1
