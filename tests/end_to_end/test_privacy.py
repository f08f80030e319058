"""What belongs to tenants stays in the ledger and the buckets: never in logs, metrics or messages.

One mark is in every place that a client or a model fills; then everything else is searched. Only a
webhook's own address lies in the message that has it told.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from spillway.twin.containers import Answer
from tests.end_to_end.world import Tenant, World, noise

MARK = "xyzzy-private"
PRIVATE_PREFIXES = ("sk-spillway-", "whsec_")


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """A tenant whose webhooks are signed."""
    return module_world.tenant(webhooks=True)


def without_address(params: Mapping[str, Any], webhooks: str) -> Mapping[str, Any]:
    """A call's parameters; of a message to the webhooks queue all but where it is to go."""
    if "MessageBody" not in params or not params["QueueUrl"].endswith(f"/{webhooks}"):
        return params
    body = json.loads(params["MessageBody"])
    return {**params, "MessageBody": json.dumps(body | {"address": ""})}


@pytest.fixture(autouse=True)
def nothing_written(world: World, client: Tenant) -> Iterator[None]:
    """After every test here, everything that people and machines without the right can read."""
    since, calls = world.log_mark(), len(world.calls)
    gateway = world.twin.gateway
    lines_before = len(gateway.logs)
    yield
    world.assert_rest()
    lines = [line.text for line in list(world.twin.functions.logs)[since:]]
    lines += list(gateway.logs)[lines_before:]
    texts = {f"log {number}": line for number, line in enumerate(lines)}
    for number, call in enumerate(list(world.calls)[calls:]):
        if call.service in {"sqs", "lambda", "cloudwatch"}:
            texts[f"{call} {number}"] = repr(without_address(call.params, world.names.webhooks))
        elif call.service == "sagemaker-runtime":
            texts[f"{call} {number}"] = repr({**call.params, "Body": ""})
    private = (MARK, client.api_key, *PRIVATE_PREFIXES)
    found = [(place, mark) for place, text in texts.items() for mark in private if mark in text]
    assert not found


def private_job(**fields: Any) -> dict[str, Any]:
    """A job that carries the mark wherever a client may write."""
    return {
        "model": "small",
        "tier": "interactive",
        "input": {MARK: [MARK]},
        "metadata": {"note": MARK},
        "webhook": f"https://example.com/{MARK}?token={MARK}",
    } | fields


def headers() -> dict[str, str]:
    """Headers with the mark."""
    return {
        "X-Custom": MARK,
        "Cookie": f"session={MARK}",
        "User-Agent": MARK,
        "X-Amzn-Trace-Id": MARK,
    }


@pytest.mark.parametrize("size", [0, 8000, 90_000], ids=["small", "in-the-bucket", "large"])
def test_inputs_outputs_and_headers_are_nowhere_else(
    world: World, client: Tenant, size: int
) -> None:
    """Prompts are read by people who may read logs, unless they never get there."""
    world.model("small").answers(lambda request: {"said": MARK, "noise": noise(size * 2)})

    answer = client.post(private_job(input={MARK: noise(size)}), key=f"{MARK}-{size}", **headers())
    job = answer.json()["id"]
    world.assert_rest()

    # The search looks where the job left its traces: its id is in the log, and in messages.
    assert [line for line in world.twin.functions.logs if job in line.text]
    assert [call for call in world.calls.of(service="sqs") if job in repr(call.params)]
    view = client.view(job)
    assert view["status"] == "completed"
    assert view["metadata"] == {"note": MARK}
    assert [body for _, body in world.delivered]
    assert not [body for _, body in world.delivered if MARK.encode() in body]


@pytest.mark.parametrize(
    "said",
    [
        Answer(status=500, body=json.dumps({"error": MARK}).encode()),
        Answer(status=400, body=MARK.encode()),
        Answer(status=200, body=f"{MARK} is not JSON".encode()),
    ],
    ids=["500", "400", "not-json"],
)
def test_what_a_failing_model_says_is_for_its_tenant_alone(
    world: World, client: Tenant, said: Answer
) -> None:
    """Error messages of models quote the request that they failed on."""
    world.model("small").answers(lambda request: said)
    job = client.post(private_job(), **headers()).json()["id"]
    world.assert_rest()

    assert client.view(job)["status"] == "failed"


@pytest.mark.parametrize(
    "body",
    [
        f"{{{MARK}",
        json.dumps([MARK]),
        private_job(**{MARK: MARK}),
        private_job(model=MARK),
        private_job(tier=MARK),
        private_job(deadline_s=MARK),
        private_job(webhook=f"http://{MARK}"),
        private_job(input=MARK * 10_000),
    ],
    ids=["json", "list", "field", "model", "tier", "deadline", "webhook", "too-large"],
)
def test_refused_requests_leave_no_trace_of_their_content(
    world: World, client: Tenant, body: Any
) -> None:
    """A request with a mistake is as private as one without."""
    answer = client.post(body, key=MARK, query=f"?wait=0&{MARK}={MARK}", **headers())

    assert 400 <= answer.status_code < 500
    world.run_for(5)


def test_refused_keys_leave_no_trace(world: World) -> None:
    """A log of wrong keys is a list of keys with a typing error."""
    for key in (f"sk-spillway-{MARK}", MARK, f"sk-spillway-{'A' * 30}{MARK}"):
        refused = world.http_client(api_key=key).get(f"/v1/jobs?after={MARK}", headers=headers())
        assert refused.status_code == 401
    world.run_for(5)


@pytest.mark.parametrize(
    ("action", "service"),
    [
        ("InternalServerError", "dynamodb"),
        ("ValidationException", "dynamodb"),
        ("InternalError", "s3"),
        ("ModelError", "sagemaker-runtime"),
        ("timeout_after", "dynamodb"),
        ("InternalError", "sqs"),
    ],
)
@pytest.mark.parametrize("function", ["submit", "dispatch", "complete"])
def test_errors_of_services_do_not_carry_payloads_into_logs(
    world: World, client: Tenant, function: str, action: str, service: str
) -> None:
    """A stack trace shows the values that a function held when it failed."""
    world.model("small").answers(lambda request: {"said": MARK, "noise": noise(200_000)})
    world.fail(action, function=function, service=service, times=3)

    client.submit(
        key=f"{MARK}-{function}-{action}-{service}", **private_job(input={MARK: noise(8000)})
    )
    world.assert_rest()


def test_reading_listing_cancelling_and_erasing_write_nothing_private(
    world: World, client: Tenant
) -> None:
    """Every route logs what it did, and only that."""
    world.model("small").answers(lambda request: {"said": MARK}, service_s=9)
    http = client.client()
    http.headers.update(headers())
    job = client.submit(key=f"{MARK}-read", **private_job())
    assert http.get(f"/v1/jobs/{job}?wait=1&{MARK}=1").status_code in {200, 303}
    assert http.get(f"/v1/jobs/{MARK}").status_code == 404
    assert http.get("/v1/jobs?limit=5").status_code == 200
    assert http.get(f"/v1/jobs?after={MARK}").status_code == 400
    assert http.post(f"/v1/jobs/{job}/cancel").status_code == 200
    assert http.delete(f"/v1/jobs/{job}").status_code == 200
    assert http.get(f"/v1/{MARK}").status_code >= 400


def test_the_directory_holds_no_key(world: World, client: Tenant) -> None:
    """Whoever reads the table must not be able to call the API with what is in it."""
    items = world.aws("dynamodb").scan(TableName=world.names.directory)["Items"]
    assert items
    assert client.api_key not in repr(items)


def test_the_ledger_forgets_an_input_when_its_job_ends(world: World, client: Tenant) -> None:
    """What nobody needs any more is nowhere: the result alone is kept for its client."""
    world.model("small").answers(lambda request: {"fine": True})
    job = client.submit(**private_job(metadata=None, webhook=None))
    world.assert_rest()

    item = world.ledger_item(job)
    assert "input" not in item
    assert "output" in item
