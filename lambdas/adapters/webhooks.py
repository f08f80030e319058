"""Delivery of webhooks: one https request to an address that somebody else chose.

Names are resolved once, every address is checked, and the connection goes to a checked address
while TLS verifies the name. Redirects are not followed; time and bytes are bounded.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lambdas.domain.webhooks import PORT_DEFAULT, Answer, Failure, Target, is_public

CONNECT_S_MAX = 3.0
RESOLVE_S_MAX = 5.0
"""A name server of the client's own may take its time, and the system's resolver has no bound."""
TOTAL_S_MAX = 10.0
"""Of one try, well within the function's 30 s; a receiver should answer first and work later."""
ADDRESSES_MAX = 3
"""Addresses of a name that are tried in turn."""
READS_MAX = 64
READ_BYTES = 4096
"""Together at most 256 KB of an answer; only its status is used."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r|$)")
_FINAL_STATUS_MIN = 200

Resolve = Callable[[str, int], Sequence[tuple[str, int]]]
"""A host name and port in, socket addresses out."""


class _ProtocolError(Exception):
    """The other side does not speak HTTP/1."""


class _RefusedError(Exception):
    """An address that is not public."""


def resolve(host: str, port: int) -> list[tuple[str, int]]:
    """Ask the system's resolver for all addresses of an absolute name.

    The full stop at its end keeps search domains out, which know internal names.
    """
    found = socket.getaddrinfo(f"{host}.", port, type=socket.SOCK_STREAM)
    return [(str(address[0]), int(address[1])) for *_, address in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Courier:
    """Delivers webhooks.

    Attributes:
        tls: Which certificates are trusted.
        resolve: Finds the addresses of a name.
        allows: Says which addresses may be connected to.
        clock: Seconds that only ever grow.
    """

    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    resolve: Resolve = resolve
    allows: Callable[[str], bool] = is_public
    clock: Callable[[], float] = time.monotonic

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one try.

        Args:
            target: Where to.
            headers: Of the delivery; without line breaks.
            body: JSON.

        Returns:
            The status or why there is none, and the time it took. Never raises for anything that
            the receiver or its DNS do.
        """
        started_s = self.clock()
        status, failure = None, None
        try:
            status = self._exchange(
                target, _request(target, headers, body), started_s + TOTAL_S_MAX
            )
        except _RefusedError:
            failure = Failure.REFUSED
        except _ProtocolError:
            failure = Failure.PROTOCOL
        except TimeoutError:
            failure = Failure.TIMEOUT
        except (socket.gaierror, UnicodeError):
            failure = Failure.UNRESOLVED
        except ssl.SSLError:
            failure = Failure.UNTRUSTED
        except OSError:
            failure = Failure.UNREACHABLE
        elapsed_ms = round((self.clock() - started_s) * 1000)
        return Answer(status=status, failure=failure, elapsed_ms=elapsed_ms)

    def _exchange(self, target: Target, request: bytes, deadline_s: float) -> int:
        addresses = _within(RESOLVE_S_MAX, self.resolve, target.host, target.port)
        # One address that is not public condemns the name: it is an attack or a mistake.
        if not all(self.allows(address) for address, _ in addresses):
            raise _RefusedError
        with self._connect(addresses, deadline_s) as connection:
            connection.settimeout(self._left_s(deadline_s))
            with self.tls.wrap_socket(connection, server_hostname=target.host) as secured:
                secured.settimeout(self._left_s(deadline_s))
                secured.sendall(request)
                return self._status(secured, deadline_s)

    def _connect(self, addresses: Sequence[tuple[str, int]], deadline_s: float) -> socket.socket:
        error: OSError = ConnectionError("no address")
        for address in dict.fromkeys(addresses[:ADDRESSES_MAX]):
            wait_s = min(CONNECT_S_MAX, self._left_s(deadline_s))
            try:
                return socket.create_connection(address, timeout=wait_s)
            except OSError as refusal:
                error = refusal
        raise error

    def _status(self, connection: ssl.SSLSocket, deadline_s: float) -> int:
        """Read up to the end of the answer's head, over interim answers."""
        answer = b""
        for _ in range(READS_MAX):
            connection.settimeout(self._left_s(deadline_s))
            part = connection.recv(READ_BYTES)
            answer += part
            while b"\r\n\r\n" in answer:
                head, _, answer = answer.partition(b"\r\n\r\n")
                status = _STATUS.match(head)
                if status is None:
                    raise _ProtocolError
                if int(status[1]) >= _FINAL_STATUS_MIN:
                    return int(status[1])
            if not part:
                break
        raise _ProtocolError

    def _left_s(self, deadline_s: float) -> float:
        """What is left of the time, so that an answer of one byte a second ends too."""
        left_s = deadline_s - self.clock()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def _within(seconds: float, resolve: Resolve, host: str, port: int) -> Sequence[tuple[str, int]]:
    """Resolve a name in a thread, which is left alone when its time is up."""
    found: list[Sequence[tuple[str, int]] | BaseException] = []

    def work() -> None:
        try:
            found.append(resolve(host, port))
        except BaseException as error:  # noqa: BLE001 raised again where it was asked for
            found.append(error)

    thread = threading.Thread(target=work, daemon=True, name="resolve")
    thread.start()
    thread.join(seconds)
    if not found:
        raise TimeoutError
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    port = "" if target.port == PORT_DEFAULT else f":{target.port}"
    fields = {
        "Host": f"{target.host}{port}",
        "User-Agent": "spillway-webhooks/1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header holds a line break")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
