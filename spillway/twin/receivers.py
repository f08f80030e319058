"""Hosts of clients on this machine: where webhooks end that name them, instead of the internet.

A client names its receiver by a public https address, here as on AWS, and a name that is known here
leads to a server on loopback or to a function of a test. Every other name goes where it would go on
AWS, through the functions' own checks; the functions see no difference, and no template makes one.
"""

import http.client
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from lambdas.domain.webhooks import Answer, Failure, Target
from spillway.twin.clock import Scheduler

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 262_144
NAME: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
SERVER: Final = re.compile(r"http://(127\.0\.0\.1|localhost):([0-9]{1,5})/?")

Receive = Callable[[str, Mapping[str, str], bytes], int]
"""A path, headers and a body in, a status out."""


def check(name: str, receiver: Receive | str) -> tuple[str, int] | None:
    """Whether a name may lead there; host and port, if that is a server.

    Raises:
        ValueError: The name is none that a webhook may have, or the server is elsewhere.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no public DNS name in lower case, like hooks.example")
    if not isinstance(receiver, str):
        return None
    server = SERVER.fullmatch(receiver)
    if server is None:
        raise ValueError(f"{receiver!r} is no server like http://127.0.0.1:9000")
    return server[1], int(server[2])


class Courier(Protocol):
    """What carries a request of the functions to a client's host."""

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one try."""


class Receivers:
    """The names that lead to this machine.

    Args:
        scheduler: Time goes on while a server answers.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._known: dict[str, Receive] = {}

    def add(self, name: str, receiver: Receive | str) -> None:
        """Lead a name to a function, or to a server like `http://127.0.0.1:9000`.

        Raises:
            ValueError: The name is none that a webhook may have, or the server is elsewhere.
        """
        server = check(name, receiver)
        if not isinstance(receiver, str):
            self._known[name] = receiver
        elif server is not None:
            self._known[name] = partial(_post, *server)

    def detour(self, courier: Courier) -> "Detour":
        """What the functions use instead of their own way to clients' hosts."""
        return Detour(courier, self._known, self._scheduler)


class Detour:
    """Leads known names to this machine, and all others on."""

    def __init__(
        self, courier: Courier, known: Mapping[str, Receive], scheduler: Scheduler
    ) -> None:
        self._courier = courier
        self._known = known
        self._scheduler = scheduler

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one try."""
        receive = self._known.get(target.host)
        if receive is None:
            answer: Answer = self._scheduler.blocking(
                lambda: self._courier.deliver(target, headers=headers, body=body)
            )
            return answer
        sent = {"host": target.host, "content-type": "application/json", **headers}
        began_s = self._scheduler.now()
        try:
            status: int = self._scheduler.blocking(receive, target.path, sent, body)
        except TimeoutError:
            return self._answer(began_s, failure=Failure.TIMEOUT)
        except OSError:
            return self._answer(began_s, failure=Failure.UNREACHABLE)
        except http.client.HTTPException:
            return self._answer(began_s, failure=Failure.PROTOCOL)
        return self._answer(began_s, status=status)

    def _answer(
        self, began_s: float, *, status: int | None = None, failure: Failure | None = None
    ) -> Answer:
        elapsed_ms = round(1000 * (self._scheduler.now() - began_s))
        return Answer(status=status, failure=failure, elapsed_ms=elapsed_ms)


def _post(host: str, port: int, path: str, headers: Mapping[str, str], body: bytes) -> int:
    """Ask a server of this machine once; a redirect is an answer like any other."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        answer.read(ANSWER_BYTES_MAX)
        return answer.status
    finally:
        connection.close()
