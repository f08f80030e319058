"""What clients do wrong, through the real path: API Gateway, authorizer, function.

Every refusal says what is allowed, has one shape, and leaves nothing behind.
"""

import json
from typing import Any

import httpx
import pytest

from spillway import local
from tests.end_to_end.world import Tenant, World

MEGABYTES_4 = 4_000_000


@pytest.fixture(scope="module")
def deployed() -> str:
    """Three regions: an idempotency key counts in all of them."""
    return "three_regions"


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant that may do everything."""
    return module_world.tenant()


def job(**fields: Any) -> dict[str, Any]:
    """A good request, changed."""
    return {"model": "small", "tier": "interactive", "input": {"text": "hello"}} | fields


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a refusal, whose shape is the same everywhere."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "code", "param"}
    return dict(document["error"])


@pytest.mark.parametrize(
    ("body", "param", "allowed"),
    [
        pytest.param("{not json", None, "JSON", id="not-json"),
        pytest.param("", None, "", id="empty"),
        pytest.param("[1]", None, "", id="a-list"),
        pytest.param('"text"', None, "", id="a-text"),
        pytest.param('{"model": "small", "input": NaN}', None, "JSON", id="nan"),
        pytest.param({"input": {}}, "model", "", id="no-model"),
        pytest.param({"model": "small"}, "input", "", id="no-input"),
        pytest.param(job(model=5), "model", "", id="model-is-a-number"),
        pytest.param(job(model="smal"), "model", "small", id="unknown-model"),
        pytest.param(job(tier="urgent"), "tier", "interactive, standard or batch", id="tier"),
        pytest.param(job(tier=None), "tier", "interactive, standard or batch", id="tier-is-null"),
        pytest.param(job(prompt="x"), "prompt", "model, input, tier", id="unknown-field"),
        pytest.param(job(deadline_s="soon"), "deadline_s", "whole seconds", id="deadline-text"),
        pytest.param(job(deadline_s=0), "deadline_s", "whole seconds", id="deadline-zero"),
        pytest.param(job(deadline_s=10**7), "deadline_s", "1 to 518400", id="deadline-too-long"),
        pytest.param(job(metadata={"a": 1}), "metadata", "16 texts", id="metadata-number"),
        pytest.param(job(metadata={"a": "x" * 513}), "metadata", "512", id="metadata-too-long"),
        pytest.param(job(webhook="http://example.com"), "webhook", "https", id="webhook-http"),
    ],
)
def test_a_wrong_request_is_a_400_that_says_what_is_allowed(
    world: World, client: Tenant, body: Any, param: str | None, allowed: str
) -> None:
    """Whoever gets `invalid request` alone has to guess, and opens a ticket."""
    error = error_of(client.post(body), 400)

    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert allowed in error["message"]
    assert not world.left()


@pytest.mark.parametrize(
    ("body", "status", "param", "allowed"),
    [
        pytest.param("{not json", 400, None, "JSON", id="not-json"),
        pytest.param("", 400, None, "", id="empty"),
        pytest.param([1], 400, None, "", id="a-list"),
        pytest.param({}, 400, "rating", "rating, correction and comment", id="nothing-said"),
        pytest.param({"stars": 5}, 400, "stars", "rating, correction", id="unknown-field"),
        pytest.param({"rating": 2}, 400, "rating", "-1, 0 or 1", id="rating-too-high"),
        pytest.param({"rating": True}, 400, "rating", "-1, 0 or 1", id="rating-is-true"),
        pytest.param({"comment": 1}, 400, "comment", "2000", id="comment-number"),
        pytest.param({"correction": "x" * 16_384}, 413, "correction", "16384", id="too-large"),
    ],
)
def test_wrong_feedback_says_what_is_allowed(
    client: Tenant, body: Any, status: int, param: str | None, allowed: str
) -> None:
    """Whoever sends stars must learn that there are none."""
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.client().post(f"/v1/jobs/job_{'a' * 26}/feedback", content=content)

    error = error_of(answer, status)
    assert error["param"] == param
    assert allowed in error["message"]


@pytest.mark.parametrize(
    ("query", "param", "allowed"),
    [
        ("?from=yesterday", "from", "2026-01-31"),
        ("?to=2026-02-30", "to", "2026-01-31"),
        ("?from=2020-01-01", "from", "91 days"),
        ("?from=2020-01-02&to=2020-01-01", "from", "not after"),
        ("?model=smal", "model", "small"),
    ],
)
def test_a_wrong_question_about_usage_is_a_400_that_says_what_is_allowed(
    client: Tenant, query: str, param: str, allowed: str
) -> None:
    """A question over all time would read until it times out."""
    error = error_of(client.client().get(f"/v1/usage{query}"), 400)

    assert error["param"] == param
    assert allowed in error["message"]


CHAT, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/embeddings", "/v1/responses"
HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "allowed"),
    [
        *(
            pytest.param(path, body, 400, None, "JSON", id=f"{path}-{body or 'empty'}")
            for path in (CHAT, EMBEDDINGS, RESPONSES)
            for body in ("{not json", "", "[1]")
        ),
        (CHAT, {"messages": HELLO}, 400, "model", "GET /v1/models"),
        (CHAT, {"model": "smal", "messages": HELLO}, 404, "model", "small"),
        (CHAT, {"model": "small"}, 400, "messages", "at least one message"),
        (CHAT, {"model": "small", "messages": "hello"}, 400, "messages", "an array"),
        (CHAT, {"model": "small", "messages": HELLO, "stream": True}, 400, "stream", "false"),
        (
            CHAT,
            {"model": "small", "messages": HELLO, "service_tier": "scale"},
            400,
            "service_tier",
            "auto, default, priority or flex",
        ),
        (CHAT, {"model": "small", "messages": ["x" * 100_001]}, 400, "messages", "an array"),
        (CHAT, {"model": "small", "messages": HELLO, "x": "x" * 100_001}, 413, None, "100000"),
        (EMBEDDINGS, {"model": "small"}, 400, "input", "a text"),
        (EMBEDDINGS, {"model": "small", "input": {}}, 400, "input", "an array"),
        (RESPONSES, {"model": "small", "input": 1}, 400, "input", "input items"),
        (RESPONSES, {"model": "small", "input": "x", "conversation": "c"}, 400, "conversation", ""),
        (
            RESPONSES,
            {"model": "small", "input": "x", "tools": [{"type": "mcp"}]},
            400,
            "tools",
            "functions",
        ),
        (
            RESPONSES,
            {"model": "small", "input": "x", "background": "yes"},
            400,
            "background",
            "true or false",
        ),
    ],
)
def test_a_wrong_request_on_openais_routes_says_what_is_allowed(
    world: World, client: Tenant, path: str, body: Any, status: int, param: str, allowed: str
) -> None:
    """The same holds for whoever brings a client of OpenAI."""
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.client().post(
        path, content=content, headers={"Content-Type": "application/json"}
    )

    error = error_of(answer, status)
    assert error["param"] == param
    assert allowed in error["message"]
    assert not world.left()


@pytest.mark.parametrize(
    ("query", "headers", "param"),
    [
        ("?wait=soon", {}, "wait"),
        ("?wait=-1", {}, "wait"),
        ("", {"Prefer": "wait=soon"}, "Prefer"),
        ("", {"Idempotency-Key": "two words"}, "Idempotency-Key"),
        ("", {"Idempotency-Key": "x" * 256}, "Idempotency-Key"),
    ],
)
def test_a_wrong_header_or_query_is_a_400_and_no_job(
    world: World, client: Tenant, query: str, headers: dict[str, str], param: str
) -> None:
    """A job that runs although its request was refused is paid for twice."""
    error = error_of(client.post(job(), query=query, **headers), 400)

    assert error["param"] == param
    assert not world.left()


def test_a_body_over_four_megabytes_is_a_413_that_names_the_limit(
    world: World, client: Tenant
) -> None:
    """Whoever sends a video inline must learn that there is an upload."""
    error = error_of(client.post(job(input="x" * MEGABYTES_4)), 413)

    assert str(MEGABYTES_4) in error["message"]
    assert error["code"] == "too_large"


def test_an_input_over_the_models_limit_is_a_413_that_names_it(
    world: World, client: Tenant
) -> None:
    """The model would fail it, attempt after attempt."""
    error = error_of(client.post(job(input="x" * 100_001)), 413)

    assert error["param"] == "input"
    assert "100000" in error["message"]


def test_a_body_over_the_gateways_limit_is_a_413_in_our_shape(world: World, client: Tenant) -> None:
    """API Gateway refuses it before any of our code runs; clients read one shape only."""
    error = error_of(client.post(job(input="x" * 10_500_000)), 413)

    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="none"),
        pytest.param("Bearer sk-spillway-" + "A" * 43, id="wrong"),
        pytest.param("Bearer nonsense", id="malformed"),
        pytest.param("Basic dTpw", id="another-scheme"),
    ],
)
def test_without_a_good_key_it_is_a_401(world: World, authorization: str | None) -> None:
    """One answer for every bad key: it tells nobody anything."""
    answer = world.twin.api(world.region).post(
        "/v1/jobs", json=job(), headers={"Authorization": authorization} if authorization else {}
    )
    assert error_of(answer, 401)["code"] == "invalid_api_key"


def test_wrong_and_revoked_keys_get_the_same_answer(world: World) -> None:
    """Whoever found an old key must not learn that it was ever good."""
    tenant = world.tenant()
    assert tenant.client().get("/v1/models").status_code == 200
    tenant.revoke()

    revoked = tenant.client().get("/v1/models")
    wrong = world.http_client(api_key="sk-spillway-" + "B" * 43).get("/v1/models")

    assert revoked.status_code == wrong.status_code == 401
    assert revoked.json() == wrong.json()
    ignored = {"x-amzn-requestid", "date"}
    assert {k: v for k, v in revoked.headers.items() if k.lower() not in ignored} == {
        k: v for k, v in wrong.headers.items() if k.lower() not in ignored
    }


@pytest.mark.parametrize(
    ("limits", "body", "param"),
    [
        ({"models": ["other"]}, job(), "model"),
        ({"tiers": ["batch"]}, job(tier="interactive"), "tier"),
    ],
)
def test_a_key_without_the_model_or_tier_is_a_403(
    world: World, limits: dict[str, Any], body: Any, param: str
) -> None:
    """A key for the batch tier must not buy its way to the front."""
    error = error_of(world.tenant(**limits).post(body), 403)

    assert error["type"] == "permission_error"
    assert error["param"] == param


def test_a_disabled_tenant_is_a_403_within_a_minute(world: World) -> None:
    """An operator who stops a runaway tenant must see it stop."""
    tenant = world.tenant()
    assert tenant.post(job()).status_code == 202
    local.directory(world.twin, world.deployment).change(tenant.id, {"disabled": True})
    world.run_for(65)

    error = error_of(tenant.post(job()), 403)

    assert error["type"] == "permission_error"


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_another_tenants_job_is_answered_like_an_unknown_one(
    world: World, client: Tenant, method: str
) -> None:
    """Whoever can tell the two apart can count another tenant's jobs."""
    theirs = client.submit()
    end = "/cancel" if method == "POST" else ""
    stranger = world.tenant().client()

    foreign = stranger.request(method, f"/v1/jobs/{theirs}{end}")
    unknown = stranger.request(method, f"/v1/jobs/job_{'a' * 26}{end}")

    assert error_of(foreign, 404) == error_of(unknown, 404)
    world.assert_rest()
    assert client.view(theirs)["status"] == "completed"


def test_a_repeated_request_is_the_same_job_in_every_region(world: World, client: Tenant) -> None:
    """A client that times out and asks elsewhere must not pay for a second run."""
    first = client.post(job(), key="the-same")
    replays = [
        client.post(job(), key="the-same", region=region) for region in world.deployment.regions
    ]

    assert first.status_code == 202
    assert "Idempotent-Replayed" not in first.headers
    for replay in replays:
        assert replay.status_code in {200, 202}
        assert replay.json()["id"] == first.json()["id"]
        assert replay.headers["Idempotent-Replayed"] == "true"
    world.assert_rest()
    runs = [
        call
        for call in world.calls.of(operation="InvokeEndpointAsync")
        if call.params["InferenceId"].startswith(first.json()["id"])
    ]
    assert len(runs) == 1


def test_the_order_of_fields_makes_no_other_request(world: World, client: Tenant) -> None:
    """Clients in languages without ordered maps repeat the same request in another order."""
    body = job(metadata={"a": "1", "b": "2"})
    backwards = json.dumps(dict(reversed(body.items())))

    first, second = client.post(body, key="ordered"), client.post(backwards, key="ordered")

    assert first.json()["id"] == second.json()["id"]


@pytest.mark.parametrize("change", [{"input": {"text": "bye"}}, {"tier": "batch"}])
def test_a_reused_key_is_a_409_in_every_region(
    world: World, client: Tenant, change: dict[str, Any]
) -> None:
    """Answering with the first job would give a result for what was not asked."""
    key = f"reused-{next(iter(change))}"
    client.submit(key=key)

    for region in world.deployment.regions:
        answer = client.post(job(**change), key=key, region=region)
        error = error_of(answer, 409)
        assert error["param"] == "Idempotency-Key"
        assert answer.headers["x-should-retry"] == "false"


def test_over_the_rate_is_a_429_that_tells_when_to_return(world: World) -> None:
    """One tenant's loop must not fill everybody's queue."""
    tenant = world.tenant(rate_per_s=1)
    answers = [tenant.post(job()) for _ in range(15)]

    refused = [answer for answer in answers if answer.status_code != 202]
    assert refused
    assert error_of(refused[0], 429)["type"] == "rate_limit_error"
    world.run_for(int(refused[-1].headers["Retry-After"]))
    assert tenant.post(job()).status_code == 202


def test_over_the_cap_is_a_429_until_jobs_are_done(world: World) -> None:
    """A tenant at its cap returns when some of its jobs can be done, not at once."""
    world.model("small").answers(lambda request: {}, service_s=9)
    tenant = world.tenant(in_flight_max=2)
    for _ in range(2):
        tenant.submit()
    world.run_for(6)  # beat counts them

    answer = tenant.post(job())

    error = error_of(answer, 429)
    assert error["code"] == "in_flight_limit"
    assert "2" in error["message"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    world.assert_rest()
    world.run_for(6)
    assert tenant.post(job()).status_code == 202


def test_a_deadline_that_cannot_be_met_is_a_429_with_a_computed_time(world: World) -> None:
    """Taking the job would make it wait for nothing."""
    world.model("small").answers(lambda request: {}, service_s=9)
    tenant = world.tenant()
    for region in world.deployment.regions:  # else another one takes it
        for _ in range(40):
            tenant.submit(tier="interactive", region=region)
    world.run_for(6)
    predicted = {
        each["model"]: each["tiers"]["interactive"]["predicted_wait_s"]
        for each in tenant.client().get("/v1/capacity").json()["data"]
    }

    answer = tenant.post(job(deadline_s=1))

    assert predicted["small"] > 1
    assert error_of(answer, 429)["code"] == "deadline_unreachable"
    assert int(answer.headers["Retry-After"]) <= predicted["small"]
    assert tenant.post(job(deadline_s=3600)).status_code == 202


def test_cancelling_a_finished_job_is_a_409_that_says_its_state(
    world: World, client: Tenant
) -> None:
    """A client that loses this race must learn that there is a result."""
    done = client.submit()
    world.assert_rest()

    error = error_of(client.client().post(f"/v1/jobs/{done}/cancel"), 409)

    assert "completed" in error["message"]


def test_cancelling_twice_is_no_error(world: World, client: Tenant) -> None:
    """A client that repeats a request whose answer it lost has done nothing wrong."""
    world.model("small").answers(lambda request: {}, service_s=9)
    unwanted = client.submit()

    answers = [client.client().post(f"/v1/jobs/{unwanted}/cancel") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/nothing"), ("PUT", "/v1/jobs"), ("GET", "/v1/jobs/a/b/c")],
)
def test_an_unknown_route_has_our_shape(
    world: World, client: Tenant, method: str, path: str
) -> None:
    """A client with a typing error must be able to read what it did wrong."""
    answer = client.client().request(method, path)

    assert answer.status_code in {401, 403, 404}
    error_of(answer, answer.status_code)
