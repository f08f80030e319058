"""Webhooks: what is signed, where it may go, how often it is tried."""

import base64
import hmac
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.webhooks import (
    DELIVERIES_MAX,
    Answer,
    Failure,
    Signing,
    Target,
    Verdict,
    chance_of,
    headers,
    is_public,
    new_secret,
    parse_address,
    retry_wait_s,
    signature,
    verdict,
)


def test_a_signature_is_the_one_of_the_published_example() -> None:
    """A receiver that uses any Standard Webhooks library would refuse every delivery.

    The vector is the one in the specification's own libraries' tests (MfKQ9r8G…, 1614265330).
    """
    signed = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        delivery="msg_p5jXN8AQM9LWM0D4loKWxJek",
        sent_s=1_614_265_330,
        body=b'{"test": 2432232314}',
    )

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_verifies_what_was_sent_with_either_secret_of_a_rotation() -> None:
    """A receiver that still holds the old secret would lose every event during a rotation."""
    secrets = [new_secret(bytes(range(32))), new_secret(bytes(range(24)))]
    body = b'{"type":"job.completed"}'

    sent = headers(secrets, delivery="msg_1", sent_s=1_700_000_020, body=body)

    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
        assert f"v1,{expected}" in sent["webhook-signature"].split(" ")


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_###", "whsec_" + "A" * 30, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "é"],
)
def test_a_weak_or_broken_secret_is_refused_without_showing_it(secret: str) -> None:
    """A short secret can be guessed, and an error that shows one puts it into a log."""
    with pytest.raises(ValueError, match="secret") as refusal:
        signature(secret, delivery="msg_1", sent_s=1, body=b"")

    assert len(secret) < 10 or secret not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("https://hooks.example.com", Target("hooks.example.com", 443, "/")),
        ("https://Hooks.Example.COM/A/b?c=%2F", Target("hooks.example.com", 443, "/A/b?c=%2F")),
        ("https://example.com:8443/x", Target("example.com", 8443, "/x")),
        ("https://example.com:443?q=a@b", Target("example.com", 443, "/?q=a@b")),
        ("https://xn--bcher-kva.example/", Target("xn--bcher-kva.example", 443, "/")),
        ("HTTPS://a.b.c-d.example/", Target("a.b.c-d.example", 443, "/")),
    ],
)
def test_an_ordinary_address_is_understood(address: str, target: Target) -> None:
    """A client with a receiver like anybody's could not use webhooks."""
    assert parse_address(address) == target


@pytest.mark.parametrize(
    "address",
    [
        "",
        "hooks.example.com",
        "//hooks.example.com/",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "https:/hooks.example.com/",
        "https:///path",
        # Users, and what other parsers take for the end of a host.
        "https://user@hooks.example.com/",
        "https://user:pass@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com#@127.0.0.1/",
        "https://hooks.example.com/#fragment",
        # Ports that are not a web server's.
        "https://hooks.example.com:22/",
        "https://hooks.example.com:80/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:",
        "https://hooks.example.com:443:22/",
        # Addresses in place of names, in every spelling.
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://127.0.0.0x1/",
        "https://0177.0.0.01/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fd00:ec2::254]/",
        "https://93.184.215.14/",
        "https://１２７.0.0.1/",  # noqa: RUF001 full-width digits
        # Names that only an internal resolver knows, and what is no name.
        "https://localhost/",
        "https://metadata/",
        "https://example.com./",
        "https://.example.com/",
        "https://exa_mple.com/",
        "https://-example.com/",
        "https://bücher.example/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        # What would break out of the request line.
        "https://hooks.example.com/\r\nX-Injected: 1",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\n",
        "https://hooks.example.com\n/",
        "\thttps://hooks.example.com/",
        "https://hooks.example.com/é",
        "https://hooks.example.com/" + "a" * 2048,
    ],
)
def test_an_address_that_could_lead_inside_is_refused(address: str) -> None:
    """A tenant could make our functions ask internal services in their own name (SSRF)."""
    with pytest.raises(ValueError, match="a webhook is https://NAME/PATH"):
        parse_address(address)


def test_a_refusal_does_not_repeat_the_address() -> None:
    """Addresses carry tokens, and errors reach logs."""
    with pytest.raises(ValueError, match="a webhook is") as refusal:
        parse_address("https://hooks.example.com:22/secret-token")

    assert "secret-token" not in str(refusal.value)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 an address to refuse
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::ffff:93.184.215.14",
        "::ffff:0:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:53aa:64c:0:fbe4:80ff:fffe",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:2800:21f::1%eth0",
        "fec0::1",
        "ff02::1",
        "not an address",
        "",
        "127.1",
        "010.0.0.1",
        "2130706433",
    ],
)
def test_an_address_inside_is_not_public(address: str) -> None:
    """One address missing from the table is one way to the metadata service."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "1.1.1.1", "172.32.0.1", "100.63.255.255", "2606:4700::1111", "2a00:1450::5"],
)
def test_a_host_on_the_internet_is_public(address: str) -> None:
    """A table that refuses too much makes webhooks useless."""
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Our table and Python's come from the same registries: ours may only be stricter."""
    assert not is_public(str(address)) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=4))
def test_no_ipv6_spelling_of_an_ipv4_address_is_public(address: ipaddress.IPv4Address) -> None:
    """A translated address goes around the table of IPv4 addresses."""
    number = int(address)
    translated = [
        ipaddress.IPv6Address(number),
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(0x64FF9B << 96 | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80),
    ]

    assert not any(is_public(str(each)) for each in translated)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(status=200), Verdict.DELIVERED),
        (Answer(status=204), Verdict.DELIVERED),
        (Answer(status=299), Verdict.DELIVERED),
        (Answer(status=301), Verdict.RETRY),
        (Answer(status=307), Verdict.RETRY),
        (Answer(status=400), Verdict.RETRY),
        (Answer(status=404), Verdict.RETRY),
        (Answer(status=410), Verdict.DROP),
        (Answer(status=429), Verdict.RETRY),
        (Answer(status=500), Verdict.RETRY),
        (Answer(status=504), Verdict.RETRY),
        (Answer(failure=Failure.REFUSED), Verdict.DROP),
        (Answer(failure=Failure.UNRESOLVED), Verdict.RETRY),
        (Answer(failure=Failure.UNREACHABLE), Verdict.RETRY),
        (Answer(failure=Failure.UNTRUSTED), Verdict.RETRY),
        (Answer(failure=Failure.TIMEOUT), Verdict.RETRY),
        (Answer(failure=Failure.PROTOCOL), Verdict.RETRY),
    ],
)
def test_only_what_can_still_succeed_is_tried_again(answer: Answer, expected: Verdict) -> None:
    """A receiver that is down loses an event, or one that is gone is asked for a day."""
    assert verdict(answer) is expected


def test_all_waits_of_a_delivery_fit_into_a_day() -> None:
    """A receiver that was down for a working day hears of everything; nobody is asked for ever."""
    longest = sum(retry_wait_s(receives, 0.0) for receives in range(1, DELIVERIES_MAX))
    shortest = sum(retry_wait_s(receives, 1.0) for receives in range(1, DELIVERIES_MAX))

    # Twenty tries of ten seconds belong to the day as well.
    assert longest + DELIVERIES_MAX * 10 <= 24 * 3600
    assert shortest > 18 * 3600


def test_after_the_last_try_a_message_goes_to_the_dead_letters_at_once() -> None:
    """SQS moves a message at its next receive: hidden for hours, it hides from operators too."""
    assert retry_wait_s(DELIVERIES_MAX, 0.5) == 0
    assert retry_wait_s(DELIVERIES_MAX + 100, 0.5) == 0


@given(st.integers(min_value=1, max_value=DELIVERIES_MAX - 2), st.floats(0, 1), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_most_of_the_one_before(
    receives: int, chance: float, other: float
) -> None:
    """A receiver in trouble is asked less and less often, within SQS's twelve hours."""
    wait_s = retry_wait_s(receives, chance)

    assert 4 <= wait_s <= 12 * 3600
    assert retry_wait_s(receives + 1, other) >= 0.8 * wait_s - 1


def test_deliveries_that_failed_together_do_not_come_back_together() -> None:
    """A receiver that came up again would go down again."""
    waits = {retry_wait_s(10, chance_of(f"msg_{number}", 10)) for number in range(100)}

    assert len(waits) > 50
    assert chance_of("msg_1", 3) == chance_of("msg_1", 3)


def test_a_former_secret_signs_until_its_time_is_up() -> None:
    """A rotation that never ends keeps a leaked secret alive; one that ends early loses events."""
    signing = Signing(secret="new", previous="old", previous_until_ms=1000)

    assert signing.secrets(999) == ["new", "old"]
    assert signing.secrets(1000) == ["new"]
    assert Signing(secret="new").secrets(0) == ["new"]
