"""Webhooks over HTTP: receivers check what they get with the libraries that they have."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import openai
import pytest
from standardwebhooks import Webhook

from spillway import local
from spillway.directory import add_tenant
from spillway.service import LocalService
from tests.over_http.conftest import NUMBERS

PATIENCE_S = 20.0


@dataclass
class Receiver:
    """A server of a client: what it verified, and what it answers."""

    secret: str
    check: Callable[["Receiver", bytes, dict[str, str]], Any]
    refusals: int = 0
    ids: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    def answer(self, body: bytes, headers: dict[str, str]) -> int:
        """Verify a delivery; refuse the first ones all the same, if told so."""
        event = self.check(self, body, headers)
        self.ids.append(headers["webhook-id"])
        if len(self.ids) <= self.refusals:
            return 503
        self.events.append(event)
        return 204


@dataclass(frozen=True)
class Tenant:
    """A tenant with a key and a secret."""

    service: LocalService
    id: str
    key: str
    secret: str

    def direct(self, address: str) -> None:
        """Have an operator name its own address."""
        directory = local.directory(self.service.twin, self.service.deployment)
        self.service.twin.scheduler.call(directory.signings.direct, self.id, address)

    def http(self) -> httpx.Client:
        """The API with its key."""
        return httpx.Client(
            base_url=self.service.urls["us-east-1"],
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=PATIENCE_S,
        )


@pytest.fixture
def tenant(service: LocalService) -> Tenant:
    """A tenant that nobody has used before."""
    directory = local.directory(service.twin, service.deployment)
    name = f"tenant-{next(NUMBERS)}"

    def made() -> tuple[str, str]:
        return add_tenant(directory, name), str(directory.signings.make(name))

    return Tenant(service, name, *service.twin.scheduler.call(made))


@pytest.fixture
def listen(service: LocalService, tenant: Tenant) -> Iterator[Callable[..., tuple[str, Receiver]]]:
    """Starts a receiver on loopback, under a public name."""
    servers: list[ThreadingHTTPServer] = []

    def start(check: Callable[..., Any], **settings: Any) -> tuple[str, Receiver]:
        receiver = Receiver(tenant.secret, check, **settings)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Verify."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.answer(body, dict(self.headers)))
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        name = f"hooks-{next(NUMBERS)}.example"
        url = f"http://127.0.0.1:{servers[-1].server_port}"
        service.twin.functions.receivers.add(name, url)
        return f"https://{name}/told?token=t", receiver

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def until(holds: Callable[[], Any]) -> Any:
    """Wait until something holds; what it gave."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        if found := holds():
            return found
        time.sleep(0.1)
    raise AssertionError("it never held")


def test_a_background_response_is_told_and_openais_client_reads_it(
    tenant: Tenant, listen: Callable[..., tuple[str, Receiver]]
) -> None:
    """An application that gets OpenAI's webhooks gets ours with an address, a key and a secret."""

    def check(receiver: Receiver, body: bytes, headers: dict[str, str]) -> Any:
        client = openai.OpenAI(api_key="unused", webhook_secret=receiver.secret)
        return client.webhooks.unwrap(body, headers)

    address, receiver = listen(check)
    tenant.direct(address)
    with openai.OpenAI(
        base_url=f"{tenant.service.urls['us-east-1']}/v1", api_key=tenant.key
    ) as client:
        asked = client.responses.create(model="thinker", input="think", background=True)
        event = until(lambda: receiver.events and receiver.events[0])
        answer = client.responses.retrieve(event.data.id)

    assert event.type == "response.completed"
    assert event.data.id == asked.id
    assert (answer.status, answer.output_text) == ("completed", "Thought: think")


def test_a_refused_delivery_comes_again_and_its_log_tells_of_both(
    tenant: Tenant, listen: Callable[..., tuple[str, Receiver]]
) -> None:
    """A receiver that restarts misses nothing, and whoever doubts that can look it up."""

    def check(receiver: Receiver, body: bytes, headers: dict[str, str]) -> Any:
        return Webhook(receiver.secret).verify(body, headers)

    address, receiver = listen(check, refusals=1)
    with tenant.http() as client:
        body = {"model": "chat", "input": {"messages": [{"role": "user", "content": "hi"}]}}
        job = client.post("/v1/jobs", json={**body, "webhook": address}).json()["id"]
        event = until(lambda: receiver.events and receiver.events[0])

        def log() -> Any:
            told = client.get(f"/v1/jobs/{job}/deliveries").json()
            return told if len(told["data"]) == 2 else None

        told = until(log)
        again = client.post(f"/v1/jobs/{job}/deliveries")
        until(lambda: len(receiver.events) == 2)

    assert (event["type"], event["data"]["id"]) == ("job.completed", job)
    assert [(line["status"], line["verdict"]) for line in told["data"]] == [
        (503, "retry"),
        (204, "delivered"),
    ]
    assert again.status_code == 202
    assert set(receiver.ids) == {told["webhook_id"]}
    assert receiver.events[1] == event
