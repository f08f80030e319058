"""A walk through each way in which somebody may try to misuse the API, and its answer.

Everything runs on the real handlers and adapters. A route that is added later is walked through as
well, because the routes are those that the functions answer.
"""

import json
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from lambdas.adapters.webhooks import Courier
from lambdas.domain.keys import key_hash, new_key
from lambdas.domain.requests import BODY_BYTES_MAX, DEPTH_MAX
from lambdas.domain.webhooks import Failure, Target, headers, new_secret
from lambdas.handlers import submit
from lambdas.handlers.ports import endings
from stacks.api_construct import OPEN_ROUTES, ROUTES
from tests.handlers.region import MODEL, Region, Reply, aws

ALL = [f"{verb} {path}" for verb, path in ROUTES]
WITH_ID = [route for route in ALL if "{id}" in route and "/models/" not in route]
WITH_BODY = [
    route
    for route in ALL
    if route.startswith("POST ") and not route.endswith(("/cancel", "/complete", "/deliveries"))
]


def job_of(region: Region, route: str = "POST /v1/jobs", **body: Any) -> str:
    """A job of the tenant `acme`, through any route."""
    reply = region.ask(route, body={"model": MODEL, "input": "text", **body})
    assert reply.status in {200, 202, 303}, reply.text
    jobs = region.ask("GET /v1/jobs", query={"limit": "1"}).json["data"]
    return str(jobs[0]["id"])


def _tail(job: str) -> str:
    return job.removeprefix("job_")


def file_of(region: Region) -> str:
    """A file of the tenant `acme`."""
    form = httpx.Request(
        "POST", "http://x", data={"purpose": "batch"}, files={"file": ("in.jsonl", b"{}")}
    )
    headers = {"Content-Type": form.headers["content-type"]}
    reply = region.ask("POST /v1/files", raw=form.read(), headers=headers)
    return str(reply.json["id"])


def batch_of(region: Region) -> str:
    """A batch of the tenant `acme`."""
    asked = {"endpoint": "/v1/embeddings", "completion_window": "24h"}
    reply = region.ask("POST /v1/batches", body={"input_file_id": file_of(region), **asked})
    return str(reply.json["id"])


OWN: Mapping[str, Callable[[Region], str]] = {
    "/v1/jobs": job_of,
    "/v1/embeddings": lambda region: "embd-" + _tail(job_of(region, "POST /v1/embeddings")),
    # The model of these tests speaks embeddings only: ids of the other routes are made up.
    "/v1/chat/completions": lambda region: "chatcmpl-" + _tail(job_of(region)),
    "/v1/responses": lambda region: "resp_" + _tail(job_of(region)),
    "/v1/files": file_of,
    "/v1/batches": batch_of,
    "/v1/uploads": lambda region: str(region.ask("POST /v1/uploads", body={"bytes": 1}).json["id"]),
}
"""What belongs to somebody, by the beginning of its routes."""


def ask(region: Region, route: str, **how: Any) -> Reply:
    """Ask with a body where the route reads one."""
    if route in WITH_BODY and "body" not in how and "raw" not in how:
        how["body"] = {}
    return region.ask(route, **how)


# ---- whose it is


@pytest.mark.parametrize("route", WITH_ID)
def test_ids_of_another_tenant_are_answered_like_ids_that_never_were(
    region: Region, route: str
) -> None:
    """Whoever can tell the two apart can count another tenant's work, or look for ids."""
    place = route.partition(" ")[2].partition("/{id}")[0]
    theirs = OWN[place](region)
    never = theirs[:-26] + "a" * 26
    before = region.job("job_" + theirs[-26:]) if place == "/v1/jobs" else None

    foreign = ask(region, route, job=theirs, tenant="stranger")
    unknown = ask(region, route, job=never, tenant="stranger")

    assert (foreign.status, foreign.text) == (unknown.status, unknown.text)
    assert 400 <= foreign.status < 500
    assert theirs not in foreign.text
    if before is not None:
        assert region.job(before.id) == before


@pytest.mark.parametrize("route", WITH_ID)
@pytest.mark.parametrize(
    "forged",
    [
        "job_77",
        "../secrets",
        "job_" + "A" * 26,
        "a" * 5000,
        "job_%00" + "a" * 23,
        "é" * 30,
        "lease#x",
    ],
)
def test_ids_that_cannot_be_are_unknown_and_are_not_looked_up(
    region: Region, route: str, forged: str
) -> None:
    """What somebody else wrote never becomes a key of a table or of an object."""
    reply = ask(region, route, job=forged)

    assert 400 <= reply.status < 500
    assert forged not in reply.text
    reads = {"GetItem", "Query", "GetObject", "UpdateItem", "DeleteItem", "BatchGetItem"}
    assert not reads & set(region.operations())


def test_a_list_is_the_callers_own_whatever_its_cursor_says(region: Region) -> None:
    """A cursor is text that the client holds: it may be anybody's, or anybody's invention."""
    for _ in range(3):
        job_of(region)
    page = region.ask("GET /v1/jobs", query={"limit": "1"}).json

    for forged in (
        page["next_cursor"],  # another tenant's
        page["next_cursor"][:-4] + "AAAA",
        "W10",
        "x" * 100_000,
        json.dumps(["2023-11-14", 0, "", ""]),
    ):
        tenant = "stranger" if forged == page["next_cursor"] else "acme"
        reply = region.ask("GET /v1/jobs", query={"after": forged}, tenant=tenant)
        assert (reply.status, reply.error["param"]) == (400, "after")


# ---- who asks


def test_keys_cannot_be_enumerated(region: Region) -> None:
    """Unknown, malformed and revoked keys get one answer, which tells nothing of good ones."""
    good = new_key(bytes(range(32)))
    table = region.names.directory
    aws("dynamodb").put_item(TableName=table, Item={"pk": {"S": "tenant#acme"}})
    for key, more in ((good, {}), (new_key(bytes(32)), {"revoked_ms": {"N": "1"}})):
        item = {"pk": {"S": f"key#{key_hash(key)}"}, "tenant": {"S": "acme"}, **more}
        aws("dynamodb").put_item(TableName=table, Item=item)

    assert region.authorize(f"Bearer {good}")
    for bad in (
        new_key(b"\1" * 32),
        new_key(bytes(32)),
        good[:-1],
        good + "A",
        good.swapcase(),
        "sk-spillway-",
        key_hash(good),
        f"key#{key_hash(good)}",
        "",
    ):
        with pytest.raises(Exception, match=r"^Unauthorized$") as refusal:
            region.authorize(f"Bearer {bad}")
        assert type(refusal.value).__name__ == "UnauthorizedError"


@pytest.mark.parametrize("route", ALL)
def test_no_route_answers_without_a_caller(region: Region, route: str) -> None:
    """A route whose authorizer was forgotten must not open by that."""
    if tuple(route.split(" ")) in OPEN_ROUTES:
        pytest.skip("open to everybody")
    reply = ask(region, route, job="job_" + "a" * 26 if "{id}" in route else "", tenant=None)

    assert reply.status in {400, 401, 404}
    assert "PutItem" not in region.operations()
    assert "data" not in reply.json


# ---- what is sent


def nested(levels: int) -> str:
    """JSON of so many levels."""
    return '{"model":"embedder","input":' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize("route", WITH_BODY)
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param("{", 400, id="not-json"),
        pytest.param("", 400, id="empty"),
        pytest.param("[1]", 400, id="a-list"),
        pytest.param('{"model": NaN}', 400, id="nan"),
        pytest.param('{"model": "a", "model": "b"}', 400, id="a-name-twice"),
        pytest.param(nested(DEPTH_MAX + 2), 400, id="deep"),
        pytest.param(nested(100_000), 400, id="very-deep"),
        pytest.param('{"model": "' + "x" * BODY_BYTES_MAX + '"}', 413, id="large"),
        pytest.param('{"model": ' + "9" * 5000 + "}", 400, id="a-number-of-5000-digits"),
    ],
)
def test_bodies_that_break_readers_are_refused_before_anything_is_kept(
    region: Region, route: str, raw: str, status: int
) -> None:
    """Parsers run out of memory, or of stack; what is refused leaves nothing behind."""
    reply = ask(region, route, job="job_" + "a" * 26 if "{id}" in route else "", raw=raw)

    # Of a thing that is not there, its absence may be told first.
    assert reply.status in {status, 404 if "{id}" in route else status}
    assert set(reply.error) == {"message", "type", "code", "param"}
    assert not {"PutItem", "PutObject", "SendMessage"} & set(region.operations())


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "ü", "a b"])
def test_what_a_client_sends_never_becomes_a_header_of_ours(region: Region, text: str) -> None:
    """A line break would begin a header, or a whole answer, of somebody else's making."""
    sent = {"Idempotency-Key": text, "X-Amzn-Trace-Id": text, "Prefer": f"wait={text}"}
    body = {"model": MODEL, "input": text, "metadata": {"a": text}}
    replies = [
        region.ask("POST /v1/jobs", body=body, headers={"Idempotency-Key": text}),
        region.ask("POST /v1/embeddings", body=body, headers={"Idempotency-Key": text}),
        region.ask("POST /v1/jobs", body=body, headers={"Prefer": sent["Prefer"]}),
        region.ask("POST /v1/jobs", body=body, headers={"X-Amzn-Trace-Id": text}),
        region.ask("POST /v1/jobs", body=body | {"webhook": f"https://example.com/{text}"}),
        region.ask("GET /v1/embeddings/{id}", job="embd-" + text, query={"hop": text}),
    ]

    for reply in replies:
        for name, value in reply.headers.items():
            assert "\r" not in name + value
            assert "\n" not in name + value
    assert replies[0].status == replies[1].status == 400


@pytest.mark.parametrize(
    "route",
    ["POST /v1/jobs", "GET /v1/jobs/{id}", "POST /v1/embeddings", "GET /v1/embeddings/{id}"],
)
def test_one_tenant_never_takes_all_places_to_wait(region: Region, route: str) -> None:
    """Whoever lets as many requests wait as it can keeps nobody else's from waiting."""
    body, tenants = {"model": MODEL, "input": "text"}, ("acme", "other")
    made = {each: region.ask("POST /v1/embeddings", body=body, tenant=each) for each in tenants}
    region.lambda_.crowded = True
    for place in range(region.policy.places_kept):
        until_ms = int(1000 * region.now_s) + 60_000
        region.gate.take_place("acme", place, who="it", until_ms=until_ms, now_ms=0)

    waited_s = {}
    for tenant, reply in made.items():
        job, began_s = str(reply.json["id"]), region.now_s
        ours = job if "/jobs" in route else f"embd-{_tail(job)}"
        what = {"body": body} if route.startswith("POST") else {"job": ours}
        region.ask(route, tenant=tenant, query={"wait": "5"} if "/jobs" in route else None, **what)
        waited_s[tenant] = region.now_s - began_s

    assert waited_s["acme"] == 0
    assert waited_s["other"] >= 5


# ---- where we are sent


@pytest.mark.parametrize(
    "address",
    [
        "http://hooks.example.com/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://localhost/",
        "https://hooks.example.com:22/",
        "https://user:word@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
        "https://hooks.example.com#@127.0.0.1/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://\uff4cocalhost.example/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "//hooks.example.com/",
    ],
)
def test_addresses_that_are_not_plainly_public_are_refused_when_they_are_given(
    region: Region, address: str
) -> None:
    """Everything that some parser might read as an address inside is refused, and not repeated."""
    region_secret(region)
    reply = region.submit(webhook=address)

    assert (reply.status, reply.error["param"]) == (400, "webhook")
    assert address not in reply.text


def region_secret(region: Region) -> None:
    """The tenant may have webhooks."""
    secret = new_secret(bytes(range(32)))
    aws("dynamodb").put_item(
        TableName=region.names.directory,
        Item={"pk": {"S": "tenant#acme"}, "webhook_secret": {"S": secret}},
    )
    aws("dynamodb").put_item(
        TableName=region.names.directory,
        Item={"pk": {"S": "webhook#acme"}, "secret": {"S": secret}},
    )


@pytest.mark.parametrize(
    "resolved",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",  # noqa: S104 nothing listens
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fe80::1",
        "fd00:ec2::254",
        "224.0.0.1",
    ],
)
def test_a_public_name_with_an_address_inside_is_never_connected_to(resolved: str) -> None:
    """One address inside condemns the name, also beside a public one."""
    tried: list[Any] = []
    for addresses in ([resolved], ["93.184.215.14", resolved]):
        found = [(each, 443) for each in addresses]
        courier = Courier(resolve=Mock(return_value=found))
        answer = courier.deliver(Target("hooks.example.com", 443, "/"), headers={}, body=b"{}")
        tried.append(answer.failure)

    assert tried == [Failure.REFUSED, Failure.REFUSED]


def test_a_name_that_changes_its_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS that says something public first and something inside at the second question."""
    answers = iter(["93.184.215.14", "127.0.0.1"])
    connected: list[Any] = []

    def connect(address: Any, timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    courier = Courier(
        tls=ssl.create_default_context(), resolve=lambda host, port: [(next(answers), port)]
    )
    courier.deliver(Target("hooks.example.com", 443, "/"), headers={}, body=b"{}")

    assert connected == [("93.184.215.14", 443)]


def test_a_signature_that_was_seen_before_is_refused_when_it_is_old() -> None:
    """Whoever records a delivery can send it again: the time is signed, and receivers look."""
    secret, body = new_secret(bytes(range(32))), b'{"type":"job.completed"}'
    old = headers([secret], delivery="msg_1", sent_s=1_600_000_000, body=body)

    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(body, old)
    moved = old | {"webhook-timestamp": "1900000000"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, moved)


def test_what_is_walked_through_is_what_is_answered(region: Region) -> None:
    """A route that nobody thought of here would be walked around."""
    execution = region.execution()
    assert {f"{verb} {path}" for verb, path in (*ROUTES, *OPEN_ROUTES)} == set(
        submit.routes_of(execution, endings(execution))
    )
    assert {route.partition(" ")[2].partition("/{id}")[0] for route in WITH_ID} <= set(OWN)
