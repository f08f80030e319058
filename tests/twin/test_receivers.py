"""Webhooks on this machine: a public name leads to loopback, if somebody asked for that."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from lambdas.domain.webhooks import Answer, Failure, Target, parse_address
from spillway.twin.clock import Scheduler
from spillway.twin.receivers import Receivers

NAME = "hooks.example"
TARGET = Target(NAME, 443, "/told?token=t")
BODY = b'{"type":"job.completed"}'


class Internet:
    """Where everything goes that has no detour."""

    def __init__(self) -> None:
        self.asked: list[Target] = []

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer as the functions' own courier would."""
        self.asked.append(target)
        return Answer(failure=Failure.REFUSED)


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """On a virtual clock."""
    scheduler = Scheduler(virtual=True)
    yield Receivers(scheduler)
    scheduler.close()


@contextmanager
def server(answers: Mapping[str, str], status: int) -> Iterator[tuple[int, list[Any]]]:
    """A server on loopback; its port, and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, dict(self.headers), body))
            self.send_response(status)
            for name, value in answers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield listening.server_port, asked
    finally:
        listening.shutdown()
        listening.server_close()


def test_a_known_name_leads_to_a_server_of_this_machine(receivers: Receivers) -> None:
    """Whoever builds a receiver wants to try it before it is on the internet."""
    internet = Internet()
    with server({}, 204) as (port, asked):
        receivers.add(NAME, f"http://127.0.0.1:{port}")
        answer = receivers.detour(internet).deliver(
            TARGET, headers={"webhook-id": "msg_1"}, body=BODY
        )

    assert (answer.status, answer.failure) == (204, None)
    ((path, headers, body),) = asked
    assert (path, body) == ("/told?token=t", BODY)
    assert headers["webhook-id"] == "msg_1"
    assert internet.asked == []


def test_a_redirect_leads_nowhere_here_either(receivers: Receivers) -> None:
    """What a receiver may not do on AWS must not work here."""
    with server({"Location": "http://127.0.0.1:1/"}, 307) as (port, asked):
        receivers.add(NAME, f"http://127.0.0.1:{port}")
        answer = receivers.detour(Internet()).deliver(TARGET, headers={}, body=BODY)

    assert answer.status == 307
    assert len(asked) == 1


def test_a_function_of_a_test_may_be_a_receiver(receivers: Receivers) -> None:
    """A test of another team needs no socket."""
    heard: list[tuple[str, str, bytes]] = []

    def receive(path: str, headers: Mapping[str, str], body: bytes) -> int:
        heard.append((path, headers["host"], body))
        return 410

    receivers.add(NAME, receive)

    assert receivers.detour(Internet()).deliver(TARGET, headers={}, body=BODY).status == 410
    assert heard == [("/told?token=t", NAME, BODY)]


def test_every_other_name_goes_its_own_way(receivers: Receivers) -> None:
    """A detour for one name must not switch the checks off for all."""
    internet = Internet()
    receivers.add(NAME, lambda *_: 204)
    other = Target("other.example", 443, "/")

    answer = receivers.detour(internet).deliver(other, headers={}, body=BODY)

    assert answer.failure is Failure.REFUSED
    assert internet.asked == [other]


def test_a_server_that_is_down_is_a_failure_like_any_other(receivers: Receivers) -> None:
    """The delivery is tried again, and its function does not die."""
    with server({}, 204) as (port, _):
        pass
    receivers.add(NAME, f"http://127.0.0.1:{port}")

    answer = receivers.detour(Internet()).deliver(TARGET, headers={}, body=BODY)

    assert answer.failure is Failure.UNREACHABLE


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("localhost", "http://127.0.0.1:1"),
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("Hooks.Example", "http://127.0.0.1:1"),
        (NAME, "http://10.0.0.1:1"),
        (NAME, "https://127.0.0.1:1"),
        (NAME, "http://127.0.0.1:1/path"),
        (NAME, "http://127.0.0.1"),
    ],
)
def test_a_detour_leads_from_public_names_to_loopback_alone(
    receivers: Receivers, name: str, where: str
) -> None:
    """Whoever mistypes one must not reach another machine, nor wait for deliveries in vain."""
    with pytest.raises(ValueError, match=r"is no (public DNS name|server like)"):
        receivers.add(name, where)


def test_its_names_are_those_that_a_webhook_may_have() -> None:
    """A name that submit refuses could be led anywhere, and nothing would ever come."""
    assert parse_address(f"https://{NAME}/told").host == NAME
