"""Webhooks by the Standard Webhooks specification 1.0.0: how signed, where to, and how often."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

SECRET_PREFIX = "whsec_"  # noqa: S105 the specification's mark of a secret, not one
SECRET_BYTES = (24, 64)
"""Fewest and most random bytes of a secret (Standard Webhooks, "Signature scheme")."""
ADDRESS_LENGTH_MAX = 2048
PORT_DEFAULT = 443
PORTS = (PORT_DEFAULT, 8443)
"""Where TLS servers listen. Any other port makes us somebody's port scanner."""

DELIVERIES_MAX = 20
"""Tries of one delivery; the queue's redrive to its dead letters counts the same."""
WAIT_S_FIRST = 5
WAIT_S_MAX = 9_000
"""Chosen so that all waits together stay just under a day (see `retry_wait_s`)."""
JITTER_SHARE = 0.2

# A name with a last label that begins with a letter: an IPv4 address in any spelling (decimal,
# octal, hexadecimal, short) ends in a number, and one in brackets is no name.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS = re.compile(
    rf"https://(?P<host>(?:{_LABEL}\.)+(?=[a-z]){_LABEL})"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>[/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?",
    re.ASCII | re.IGNORECASE,
)
_HOST_LENGTH_MAX = 253

# IANA's special-purpose registries, written out: ipaddress's own properties change between
# Python releases and call multicast and 6to4 relays global.
_PRIVATE_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' address translation
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
"""IANA allots hosts from here; loopback, mapped IPv4, NAT64, local and multicast lie outside."""
_PRIVATE_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, which carries IPv4 addresses, among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries IPv4 addresses
        "3fff::/20",  # documentation
    )
)


class Failure(StrEnum):
    """Why a delivery got no answer."""

    REFUSED = "refused"
    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    UNSIGNED = "unsigned"


class Verdict(StrEnum):
    """What to do after a delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DROP = "drop"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one try.

    Attributes:
        status: The HTTP status, or None without an answer.
        failure: Why there was none.
        elapsed_ms: How long it took.
    """

    status: int | None = None
    failure: Failure | None = None
    elapsed_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What a tenant's webhooks are signed with, and where those go that name no address.

    Attributes:
        secret: Signs, as `whsec_` and base64.
        previous: The one before it, which signs as well for a while.
        previous_until_ms: Until when, in milliseconds since the epoch.
        address: Told of the ends of jobs whose clients cannot name one.
    """

    secret: str
    previous: str | None = None
    previous_until_ms: int = 0
    address: str | None = None

    def secrets(self, now_ms: int) -> list[str]:
        """The secrets that sign now, the newest first."""
        if self.previous is None or now_ms >= self.previous_until_ms:
            return [self.secret]
        return [self.secret, self.previous]


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook's address that may be asked for.

    Attributes:
        host: A public-looking DNS name in lower case; its addresses are still to be checked.
        port: One of `PORTS`.
        path: Path and query as they go into the request line.
    """

    host: str
    port: int
    path: str


def parse_address(address: str) -> Target:
    """Read a webhook's address, refusing everything that is not plainly a public https one.

    One expression decides, and what it matched is what is connected to: no second parser can
    read the same text differently.

    Raises:
        ValueError: The address is refused; the message says what is allowed and never repeats it,
            because addresses carry secrets.
    """
    match = _ADDRESS.fullmatch(address) if len(address) <= ADDRESS_LENGTH_MAX else None
    port = int(match["port"] or PORT_DEFAULT) if match else 0
    if match is None or port not in PORTS or len(match["host"]) > _HOST_LENGTH_MAX:
        raise ValueError(
            "a webhook is https://NAME/PATH with a public DNS name and port "
            f"{' or '.join(map(str, PORTS))}, without user, password or fragment, in at most "
            f"{ADDRESS_LENGTH_MAX} ASCII characters"
        )
    path = match["path"] or "/"
    return Target(match["host"].lower(), port, path if path.startswith("/") else f"/{path}")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to a host on the public internet.

    IPv6 addresses that carry an IPv4 address (mapped, NAT64, 6to4, Teredo) are refused whatever
    they carry: they are ways around the IPv4 table.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        return (
            parsed.scope_id is None
            and parsed in _GLOBAL_V6
            and not any(parsed in network for network in _PRIVATE_V6)
        )
    return not any(parsed in network for network in _PRIVATE_V4)


def new_secret(entropy: bytes) -> str:
    """Write random bytes as a tenant's signing secret.

    Raises:
        ValueError: Too few or too many bytes for the specification.
    """
    _check_secret_bytes(entropy)
    return SECRET_PREFIX + base64.b64encode(entropy).decode()


def signature(secret: str, *, delivery: str, sent_s: int, body: bytes) -> str:
    """Sign one try of a delivery.

    Args:
        secret: `whsec_` and base64 of 24 to 64 bytes.
        delivery: The delivery's id; without a full stop, which separates what is signed.
        sent_s: Seconds since the epoch at this try.
        body: Exactly what is sent.

    Returns:
        One entry of the `webhook-signature` header: `v1,` and base64 of the HMAC-SHA256.

    Raises:
        ValueError: The secret is not one.

    Source:
        Standard Webhooks 1.0.0, "Signature scheme".
    """
    key = _secret_bytes(secret)
    digest = hmac.digest(key, f"{delivery}.{sent_s}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def headers(secrets: Sequence[str], *, delivery: str, sent_s: int, body: bytes) -> dict[str, str]:
    """The headers of one try, signed with every given secret: two while one replaces the other."""
    return {
        "webhook-id": delivery,
        "webhook-timestamp": str(sent_s),
        "webhook-signature": " ".join(
            signature(secret, delivery=delivery, sent_s=sent_s, body=body) for secret in secrets
        ),
    }


def verdict(answer: Answer, receives: int = 1) -> Verdict:
    """Decide what follows from an answer.

    Only 2xx is a delivery, and a redirect is a failure. Nobody listens any more after 410, and an
    address that is not public will not become so. A secret that is missing may come.

    Args:
        answer: What became of the try.
        receives: How often the message has been received, this time included.

    Source:
        Standard Webhooks 1.0.0, "Delivery success and failure".
    """
    match answer:
        case Answer(status=int() as status) if 200 <= status < 300:  # noqa: PLR2004 HTTP's own
            return Verdict.DELIVERED
        case Answer(status=410) | Answer(failure=Failure.REFUSED):
            return Verdict.DROP
    return Verdict.RETRY if receives < DELIVERIES_MAX else Verdict.GIVEN_UP


def retry_wait_s(receives: int, chance: float) -> int:
    """Seconds to hide a delivery's message after a try that failed.

    Waits double from 5 s to 2.5 h. The 19 waits between 20 tries add up to 82,235 s at the most
    and to 65,788 s at the least: a receiver that is down for a working day hears of everything.

    Args:
        receives: How often the message has been received, this time included.
        chance: 0 to 1; receivers that failed together are not asked again together.

    Returns:
        Whole seconds; 0 after the last try, because only SQS, at the next receive, moves a
        message to its dead letters.
    """
    if receives >= DELIVERIES_MAX:
        return 0
    wait_s = min(WAIT_S_MAX, WAIT_S_FIRST << (receives - 1))
    return round(wait_s * (1 - JITTER_SHARE * chance))


def chance_of(delivery: str, receives: int) -> float:
    """A number from 0 to 1 that differs between deliveries and tries, and replays exactly."""
    digest = hashlib.sha256(f"{delivery}.{receives}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _secret_bytes(secret: str) -> bytes:
    # Errors never repeat the secret, and hide the ones that do.
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ValueError("a webhook secret is whsec_ and base64") from None
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("a webhook secret is whsec_ and base64")
    _check_secret_bytes(key)
    return key


def _check_secret_bytes(key: bytes) -> None:
    least, most = SECRET_BYTES
    if not least <= len(key) <= most:
        raise ValueError(f"a webhook secret has {least} to {most} bytes, not {len(key)}")
