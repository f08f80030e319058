"""Deliveries over real TLS on the loopback, and every way in which they could be led astray."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lambdas.adapters import webhooks
from lambdas.adapters.webhooks import Courier
from lambdas.domain.webhooks import Answer, Failure, Target

HOST = "hooks.example.com"
TARGET = Target(HOST, 443, "/in?token=t")
BODY = b'{"type":"job.completed"}'
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for HOST that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@dataclass
class Receiver:
    """A webhook receiver with a canned answer, which remembers what it was sent."""

    port: int
    answer: bytes | Callable[[ssl.SSLSocket], None] = OK
    connections: int = 0
    names: list[str | None] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    def serve(self, listener: socket.socket, tls: ssl.SSLContext) -> None:
        """Answer until the listener is closed."""
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            plain.settimeout(5)
            with contextlib.suppress(OSError), plain, tls.wrap_socket(plain, True) as connection:
                self.requests.append(request_from(connection))
                if callable(self.answer):
                    self.answer(connection)
                else:
                    connection.sendall(self.answer)


def request_from(connection: ssl.SSLSocket) -> bytes:
    """One request with its body."""
    request = b""
    while BODY not in request:
        part = connection.recv(4096)
        if not part:
            break
        request += part
    return request


@pytest.fixture
def receiver(certificate: Path) -> Iterator[Receiver]:
    """A receiver on a free port of the loopback."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = Receiver(port=listener.getsockname()[1])

        def remember(
            _: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext
        ) -> None:
            receiver.names.append(name)

        tls.sni_callback = remember
        thread = threading.Thread(target=receiver.serve, args=(listener, tls), daemon=True)
        thread.start()
        yield receiver
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


@dataclass
class Resolver:
    """A resolver that gives one answer after the other, the last for ever."""

    answers: list[Sequence[tuple[str, int]]]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """Take the place of DNS."""
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def trusting(certificate: Path) -> ssl.SSLContext:
    """A context that trusts the receiver's certificate and is otherwise the default one."""
    return ssl.create_default_context(cafile=str(certificate))


def courier(
    certificate: Path, receiver: Receiver, *, clock: Callable[[], float] | None = None
) -> Courier:
    """A courier that finds the receiver under any name and may reach the loopback."""
    made = Courier(
        tls=trusting(certificate),
        resolve=Resolver([[("127.0.0.1", receiver.port)]]),
        allows=lambda address: ip_address(address).is_loopback,
    )
    return made if clock is None else _with_clock(made, clock)


def _with_clock(made: Courier, clock: Callable[[], float]) -> Courier:
    return Courier(tls=made.tls, resolve=made.resolve, allows=made.allows, clock=clock)


def outcome(answer: Answer) -> int | Failure | None:
    """An answer without its timing."""
    return answer.status if answer.failure is None else answer.failure


def test_a_delivery_arrives_as_it_was_signed(certificate: Path, receiver: Receiver) -> None:
    """A body or header that changes on the way makes every signature wrong."""
    answer = courier(certificate, receiver).deliver(
        TARGET, headers={"webhook-id": "msg_1", "webhook-signature": "v1,abc="}, body=BODY
    )

    assert outcome(answer) == 204
    assert answer.elapsed_ms < 5_000
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    assert body == BODY
    assert head.split(b"\r\n") == [
        b"POST /in?token=t HTTP/1.1",
        b"Host: hooks.example.com",
        b"User-Agent: spillway-webhooks/1",
        b"Content-Type: application/json",
        b"Content-Length: 24",
        b"Connection: close",
        b"webhook-id: msg_1",
        b"webhook-signature: v1,abc=",
    ]


def test_tls_asks_for_the_name_while_the_connection_goes_to_the_checked_address(
    certificate: Path, receiver: Receiver
) -> None:
    """Without the name many hosts answer with somebody else's certificate."""
    courier(certificate, receiver).deliver(TARGET, headers={}, body=BODY)

    assert receiver.names == [HOST]


def test_an_unusual_port_is_named_to_the_host(certificate: Path, receiver: Receiver) -> None:
    """A receiver that tells its sites apart by the Host header would not find this one."""
    courier(certificate, receiver).deliver(Target(HOST, 8443, "/"), headers={}, body=BODY)

    assert b"\r\nHost: hooks.example.com:8443\r\n" in receiver.requests[0]


@pytest.mark.parametrize("status", [200, 301, 410, 429, 503])
def test_the_status_is_reported(certificate: Path, receiver: Receiver, status: int) -> None:
    """What happens next is decided by the status, not here."""
    receiver.answer = f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode()

    assert outcome(courier(certificate, receiver).deliver(TARGET, headers={}, body=BODY)) == status


def test_a_redirect_is_not_followed(certificate: Path, receiver: Receiver) -> None:
    """A public host could send us on to the metadata service."""
    location = f"https://127.0.0.1:{receiver.port}/latest/meta-data/"
    receiver.answer = f"HTTP/1.1 307 Over there\r\nLocation: {location}\r\n\r\n".encode()

    answer = courier(certificate, receiver).deliver(TARGET, headers={}, body=BODY)

    assert outcome(answer) == 307
    assert receiver.connections == 1


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(
    certificate: Path, receiver: Receiver
) -> None:
    """DNS that answers differently the second time leads inside after the check (rebinding)."""
    resolver = Resolver([[("127.0.0.1", receiver.port)], [("127.0.0.2", 1)]])
    checked: list[str] = []

    def allows(address: str) -> bool:
        checked.append(address)
        return address == "127.0.0.1"

    made = Courier(tls=trusting(certificate), resolve=resolver, allows=allows)

    assert outcome(made.deliver(TARGET, headers={}, body=BODY)) == 204
    assert resolver.asked == [(HOST, 443)]
    assert checked == ["127.0.0.1"]


def test_every_try_checks_the_addresses_anew(certificate: Path, receiver: Receiver) -> None:
    """A name that was public at the first try may be private at the second."""
    resolver = Resolver([[("127.0.0.1", receiver.port)], [("127.0.0.2", receiver.port)]])
    made = Courier(
        tls=trusting(certificate), resolve=resolver, allows=lambda address: address == "127.0.0.1"
    )

    answers = [made.deliver(TARGET, headers={}, body=BODY) for _ in range(2)]

    assert [outcome(answer) for answer in answers] == [204, Failure.REFUSED]
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.7"],
        ["192.168.0.1"],
        ["0.0.0.0"],  # noqa: S104 an address to refuse
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fd00:ec2::254"],
        ["fe80::1%eth0"],
        # One among public ones is enough, wherever it stands.
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["93.184.215.14", "1.1.1.1", "8.8.8.8", "9.9.9.9", "10.0.0.1"],
    ],
)
def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """A tenant's own DNS could point at any service that our functions reach (SSRF)."""

    def connect(*_: object, **__: object) -> socket.socket:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "create_connection", connect)
    made = Courier(resolve=Resolver([[(address, 443) for address in addresses]]))

    assert outcome(made.deliver(TARGET, headers={}, body=BODY)) is Failure.REFUSED


def test_by_default_the_loopback_is_out_of_reach(receiver: Receiver) -> None:
    """The policy that lets these tests reach their receiver must not be the one in AWS."""
    made = Courier(resolve=Resolver([[("127.0.0.1", receiver.port)]]))

    assert outcome(made.deliver(TARGET, headers={}, body=BODY)) is Failure.REFUSED
    assert receiver.connections == 0


def test_the_systems_resolver_gets_an_absolute_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search domain would turn a public name into an internal one."""
    asked: list[str] = []

    def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1111", port, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)

    assert webhooks.resolve(HOST, 443) == [("93.184.215.14", 443), ("2606:4700::1111", 443)]
    assert asked == ["hooks.example.com."]


def test_a_name_without_addresses_is_a_failure_not_an_error() -> None:
    """A typing mistake in a client's address must not fail the function."""

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    made = Courier(resolve=resolve)

    assert outcome(made.deliver(TARGET, headers={}, body=BODY)) is Failure.UNRESOLVED


def test_a_name_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's own name server could hold every execution of the function for its whole time."""
    silent = threading.Event()
    monkeypatch.setattr(webhooks, "RESOLVE_S_MAX", 0.05)

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        silent.wait(5)
        return [("93.184.215.14", port)]

    answer = Courier(resolve=resolve).deliver(TARGET, headers={}, body=BODY)
    silent.set()

    assert outcome(answer) is Failure.TIMEOUT


def test_a_certificate_that_nobody_trusts_gets_nothing(
    certificate: Path, receiver: Receiver
) -> None:
    """Somebody in between would read and answer every delivery."""
    made = Courier(
        resolve=Resolver([[("127.0.0.1", receiver.port)]]),
        allows=lambda _: True,
    )

    assert outcome(made.deliver(TARGET, headers={}, body=BODY)) is Failure.UNTRUSTED
    assert receiver.requests == []


def test_a_certificate_of_another_name_gets_nothing(certificate: Path, receiver: Receiver) -> None:
    """Any host with a valid certificate of its own could stand in for the receiver."""
    other = Target("other.example.com", 443, "/")

    answer = courier(certificate, receiver).deliver(other, headers={}, body=BODY)

    assert outcome(answer) is Failure.UNTRUSTED
    assert receiver.requests == []


def test_a_dead_address_is_passed_over_for_the_next(certificate: Path, receiver: Receiver) -> None:
    """A function has no IPv6 way out: a name's first address often leads nowhere."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        dead = unused.getsockname()[1]
    made = Courier(
        tls=trusting(certificate),
        resolve=Resolver([[("127.0.0.1", dead), ("127.0.0.1", receiver.port)]]),
        allows=lambda _: True,
    )

    assert outcome(made.deliver(TARGET, headers={}, body=BODY)) == 204


def test_a_host_that_refuses_connections_is_unreachable(certificate: Path) -> None:
    """A receiver that restarts must be tried again, not given up."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        dead = unused.getsockname()[1]
    made = courier(certificate, Receiver(port=dead))

    assert outcome(made.deliver(TARGET, headers={}, body=BODY)) is Failure.UNREACHABLE


def test_a_receiver_that_says_nothing_is_left(certificate: Path, receiver: Receiver) -> None:
    """A function that waits for ever is paid for until Lambda kills it."""
    silent = threading.Event()

    def say_nothing(_: ssl.SSLSocket) -> None:
        silent.wait(5)

    receiver.answer = say_nothing
    times = iter([0.0, 0.1, 0.2, 0.3])
    clock = lambda: next(times, 9.9)  # noqa: E731 the last reads leave a tenth of a second

    answer = courier(certificate, receiver, clock=clock).deliver(TARGET, headers={}, body=BODY)
    silent.set()

    assert outcome(answer) is Failure.TIMEOUT
    assert answer.elapsed_ms == 9_900


def test_an_answer_byte_by_byte_ends_with_the_time(certificate: Path, receiver: Receiver) -> None:
    """Every byte starts a socket's own timeout again: only the sum holds such a receiver off."""

    def drip(connection: ssl.SSLSocket) -> None:
        for _ in range(100):
            connection.sendall(b"H")

    receiver.answer = drip
    seconds = iter(range(1000))

    answer = courier(certificate, receiver, clock=lambda: float(next(seconds))).deliver(
        TARGET, headers={}, body=BODY
    )

    assert outcome(answer) is Failure.TIMEOUT


def test_an_endless_answer_is_left(certificate: Path, receiver: Receiver) -> None:
    """A receiver could fill the function's memory."""
    sent = 0

    def pour(connection: ssl.SSLSocket) -> None:
        nonlocal sent
        for _ in range(1000):
            connection.sendall(b"X-Filler: " + b"x" * 8_000 + b"\r\n")
            sent += 8_000

    receiver.answer = pour

    answer = courier(certificate, receiver).deliver(TARGET, headers={}, body=BODY)

    assert outcome(answer) is Failure.PROTOCOL
    assert sent < 8_000_000


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 999 No\r\n\r\n",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"\x00\xff" * 10 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_no_answer(
    certificate: Path, receiver: Receiver, answer: bytes
) -> None:
    """A delivery that nobody understood would count as delivered."""
    receiver.answer = answer

    made = courier(certificate, receiver).deliver(TARGET, headers={}, body=BODY)

    assert outcome(made) is Failure.PROTOCOL


def test_an_interim_answer_is_read_over(certificate: Path, receiver: Receiver) -> None:
    """A proxy that says early hints has not delivered anything yet."""
    receiver.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK

    assert outcome(courier(certificate, receiver).deliver(TARGET, headers={}, body=BODY)) == 204


def test_a_header_with_a_line_break_is_never_sent(certificate: Path, receiver: Receiver) -> None:
    """A value that ends its line writes headers of its own."""
    with pytest.raises(ValueError, match="line break"):
        courier(certificate, receiver).deliver(
            TARGET, headers={"webhook-id": "msg_1\r\nX-Injected: 1"}, body=BODY
        )

    assert receiver.connections == 0
