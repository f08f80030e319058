"""The fixture for other teams' tests."""

import time
from typing import Any

import httpx
import openai
import pytest

from spillway import testing
from spillway.testing import Stacks
from tools import build_layer

spillway_config, stacks = testing.spillway_config, testing.stacks


def test_the_example_of_the_documentation(stacks: Stacks) -> None:
    """A team that copies the example must see it pass."""
    stacks.model("embedder").answers(lambda _: {"data": [1, 2, 3]})
    client = stacks.http_client()
    job = client.post("/v1/jobs", json={"model": "embedder", "input": {"input": "x"}}).json()
    stacks.run_until_idle()
    assert client.get(f"/v1/jobs/{job['id']}").json()["output"] == {"data": [1, 2, 3]}


def test_a_model_echoes_until_told_otherwise(stacks: Stacks) -> None:
    """A test that does not care about the answer should not have to write one."""
    client = stacks.http_client("us-west-2")
    answer = client.post(
        "/v1/jobs", json={"model": "chat", "input": ["a"]}, headers={"Prefer": "wait=20"}
    )

    assert answer.json().get("output") == {"echo": ["a"]}, answer.text
    assert answer.json()["region"] == "us-west-2"


def test_the_python_client_outlives_a_region(stacks: Stacks) -> None:
    """A team that uses the client tests its own program against a lost region."""
    home, *_ = stacks.deployment.regions
    stacks.run_for(70)
    with stacks.client() as client:
        before = client.run("chat", "hello")
        stacks.regions.kill(home)
        after = client.run("chat", "hello again")

    assert before.output == {"echo": "hello"}
    assert after.output == {"echo": "hello again"}
    assert (before.region, after.region != home) == (home, True)


def test_hours_pass_in_an_instant(stacks: Stacks) -> None:
    """A test of a slow model must not be a slow test."""
    stacks.model("chat").answers(lambda _: "late", service_s=200.0)
    client = stacks.http_client()
    began = time.perf_counter()
    job = client.post("/v1/jobs", json={"model": "chat", "input": 1}).json()
    stacks.run_until_idle()

    timings = client.get(job["links"]["self"]).json()["timings"]
    assert timings["model_s"] == pytest.approx(200, abs=5)
    assert time.perf_counter() - began < 100


def test_a_model_that_fails_is_retried_and_then_failed(stacks: Stacks) -> None:
    """A team must see in its own test what a broken model looks like to its code."""
    asked = []

    def broken(request: object) -> object:
        asked.append(request)
        raise ValueError("no such word")

    stacks.model("embedder").answers(broken)
    client = stacks.http_client()
    job = client.post("/v1/jobs", json={"model": "embedder", "input": 1}).json()
    stacks.run_until_idle()

    failed = client.get(job["links"]["self"]).json()
    assert failed["status"] == "failed"
    assert "no such word" in failed["error"]["message"]
    assert len(asked) == stacks.deployment.models["embedder"].attempts_max


def test_faults_strike_the_function_that_was_named(stacks: Stacks) -> None:
    """A fault that strikes nothing proves nothing, so the fault tells how often it struck."""
    fault = stacks.fail("die_after", service="sagemaker-runtime", function="dispatch")
    client = stacks.http_client()
    job = client.post("/v1/jobs", json={"model": "embedder", "input": 1}).json()
    stacks.run_until_idle()

    assert fault.hits == 1
    assert client.get(job["links"]["self"]).json()["status"] == "completed"


def test_work_that_never_ends_fails_the_test_and_says_what_is_left(stacks: Stacks) -> None:
    """A test that hangs in virtual time would otherwise just be red after an hour."""
    stacks.model("chat").answers(lambda _: None, service_s=250.0)
    job = stacks.http_client().post("/v1/jobs", json={"model": "chat", "input": 1}).json()

    with pytest.raises(AssertionError, match=rf"1 unfinished jobs \({job['id']}\)"):
        stacks.run_until_idle(limit_s=60)


def test_keys_of_other_tenants_have_their_own_limits(stacks: Stacks) -> None:
    """A team tests with the rights that it will have."""
    client = stacks.http_client(api_key=stacks.new_key("batcher", tiers=["batch"]))

    refused = client.post("/v1/jobs", json={"model": "chat", "input": 1, "tier": "interactive"})

    assert refused.status_code == 403


def test_the_openai_client_accepts_the_http_client(stacks: Stacks) -> None:
    """Most of our callers have this client already."""
    http_client = stacks.http_client()
    client = openai.OpenAI(
        api_key=stacks.api_key,
        base_url=f"{http_client.base_url}/v1",
        http_client=http_client,  # type: ignore[arg-type]
    )

    assert sorted(model.id for model in client.models.list()) == ["chat", "embedder"]
    answered = client.post("/jobs", body={"model": "chat", "input": 1}, cast_to=httpx.Response)
    assert answered.status_code == 202


def test_regions_are_lost_and_found(stacks: Stacks) -> None:
    """A team sees what its code does when a region goes, before one does."""
    first, second, *_ = stacks.deployment.regions
    lost, other = stacks.http_client(first), stacks.http_client(second)
    job = {"model": "chat", "input": 1}
    stacks.regions.kill(first)
    with pytest.raises(httpx.ConnectTimeout):
        lost.post("/v1/jobs", json=job)
    accepted = other.post("/v1/jobs", json=job).json()
    stacks.run_until_idle()
    stacks.regions.restore(first)
    stacks.run_for(120)

    assert lost.get(accepted["links"]["self"]).json()["status"] == "completed"
    assert lost.post("/v1/jobs", json=job).status_code == 202


def test_a_region_is_drained_politely(stacks: Stacks) -> None:
    """A team rehearses the maintenance that it will be told of."""
    first = stacks.deployment.primary_region
    stacks.run_for(90)
    stacks.regions.drain(first)
    stacks.run_for(10)

    def state() -> str:
        items = stacks.twin.operator(first).client("dynamodb")
        key = {"pk": {"S": f"region#{first}"}}
        item = items.get_item(TableName=stacks.deployment.names.ledger, Key=key)["Item"]
        return str(item["state"]["S"])

    assert state() == "drained"
    stacks.regions.restore(first)
    assert state() == "serving"


def test_an_unknown_region_is_named(stacks: Stacks) -> None:
    """A typing error must not look like a region that survives everything."""
    with pytest.raises(LookupError, match="there is no region us-east-9; there is us-east-1"):
        stacks.regions.kill("us-east-9")


@pytest.mark.parametrize(
    ("action", "match", "said"),
    [
        ("dieafter", {}, "there is die_before, die_after"),
        ("throttle", {"function": "dispatcher"}, "there is authorize, submit"),
        ("throttle", {"service": "dynamo"}, "there is cloudwatch, dynamodb"),
    ],
)
def test_a_fault_that_could_never_strike_is_refused(
    stacks: Stacks, action: str, match: dict[str, Any], said: str
) -> None:
    """A typing error must not look like code that survives everything."""
    with pytest.raises(ValueError, match=said):
        stacks.fail(action, **match)


def test_a_stub_that_returns_no_json_is_named(stacks: Stacks) -> None:
    """Whoever wrote the stub looks for the defect in it, not in the service."""
    stacks.model("embedder").answers(lambda _: {1, 2})
    client = stacks.http_client()
    job = client.post("/v1/jobs", json={"model": "embedder", "input": 1}).json()
    stacks.run_until_idle()

    message = client.get(job["links"]["self"]).json()["error"]["message"]
    assert "stub of model embedder" in message


def test_an_unknown_model_is_named(stacks: Stacks) -> None:
    """A typing error in a test must not look like a model that never answers."""
    with pytest.raises(KeyError, match="there is embedder, chat"):
        stacks.model("chatt")


def test_a_real_model_answers_where_the_test_asks_for_one(stacks: Stacks) -> None:
    """The same fixture carries a test against the real thing."""
    stacks.model("embedder").runs()
    client = stacks.http_client()
    answer = client.post(
        "/v1/jobs",
        json={"model": "embedder", "input": {"input": "hello"}},
        headers={"Prefer": "wait=20"},
    )

    assert len(answer.json()["output"]["data"][0]["embedding"]) == 384
    with pytest.raises(ValueError, match="no local_command"):
        stacks.model("chat").runs()


def test_faults_can_be_put_on_every_service_that_functions_use() -> None:
    """A service that one list forgets can never be seen failing."""
    assert set(testing.SERVICES) == build_layer.SERVICES
