"""What a receiver may believe: our signatures, and those of any library of the specification."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks

from lambdas.domain import webhooks as sending
from spillway import webhooks
from spillway.webhooks import Event, WebhookVerificationError, verify

NOW_S = 1_700_000_020
OLD, NEW = (sending.new_secret(bytes([n] * 32)) for n in (1, 2))
BODY = json.dumps(
    {
        "type": "job.completed",
        "timestamp": "2023-11-14T22:13:32.345Z",
        "data": {"id": "job_a", "status": "completed", "model": "m", "tier": "batch", "new": 1},
    }
).encode()


def sent(*secrets: str, sent_s: int = NOW_S, body: bytes = BODY) -> dict[str, str]:
    """The headers of a delivery."""
    return sending.headers(secrets, delivery="msg_job_a_completed", sent_s=sent_s, body=body)


def check(secret: Any, headers: dict[str, str], body: bytes | str = BODY) -> Event:
    """Verify at the time of the tests."""
    return verify(secret, headers, body, clock=lambda: NOW_S)


@pytest.mark.parametrize("body", [BODY, BODY.decode()], ids=["bytes", "text"])
def test_a_genuine_delivery_is_read(body: bytes | str) -> None:
    """A receiver works with names and not with dictionaries."""
    headers = {name.upper(): value for name, value in sent(OLD).items()}

    event = check(OLD, headers, body)

    assert (event.delivery, event.type) == ("msg_job_a_completed", "job.completed")
    assert event.timestamp == datetime(2023, 11, 14, 22, 13, 32, 345_000, tzinfo=UTC)
    assert (event.data.id, event.data.status, event.data.tier) == ("job_a", "completed", "batch")


@pytest.mark.parametrize("secret", [OLD, NEW, (NEW, OLD)], ids=["old", "new", "both"])
def test_a_rotation_loses_nothing_on_either_side(secret: Any) -> None:
    """Sender and receiver never change their secret in the same moment."""
    assert check(secret, sent(NEW, OLD)).data.id == "job_a"
    headers = sent(OLD)
    headers["webhook-signature"] = f"v1a,ed25519 {headers['webhook-signature']}"
    assert check((NEW, OLD), headers).data.id == "job_a"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"webhook-id": "msg_job_b_completed"}, "no signature"),
        ({"webhook-id": ""}, "no header webhook-id"),
        ({"webhook-timestamp": str(NOW_S + 1)}, "no signature"),
        ({"webhook-timestamp": f"0{NOW_S}"}, "whole seconds"),
        ({"webhook-timestamp": "soon"}, "whole seconds"),
        ({"webhook-timestamp": "9" * 5000}, "whole seconds"),
        ({"webhook-timestamp": "-1"}, "whole seconds"),
        ({"webhook-signature": ""}, "no header webhook-signature"),
        ({"webhook-signature": "v1,"}, "no signature"),
        ({"webhook-signature": "ü" * 9}, "no signature"),
        ({"webhook-signature": "v2" + sent(OLD)["webhook-signature"][2:]}, "no signature"),
        ({"webhook-signature": "v1,x " * 10 + sent(OLD)["webhook-signature"]}, "no signature"),
        ({"webhook-signature": sent(NEW)["webhook-signature"]}, "no signature"),
    ],
)
def test_anything_else_is_refused_unread(changed: dict[str, str], told: str) -> None:
    """Anybody can send to a receiver's address."""
    with pytest.raises(WebhookVerificationError, match=told):
        check(OLD, sent(OLD) | changed)


def test_a_changed_body_and_one_that_is_no_event_are_refused() -> None:
    """A signature is of every byte."""
    with pytest.raises(WebhookVerificationError, match="no signature"):
        check(OLD, sent(OLD), BODY.replace(b"completed", b"cancelled"))
    for body in (b"", b"[]", b'{"type": "job.completed"}', b"\xff"):
        with pytest.raises(WebhookVerificationError, match="not an event"):
            check(OLD, sent(OLD, body=body), body)


@pytest.mark.parametrize("away_s", [-300, 300])
def test_a_recording_is_refused_after_five_minutes(away_s: int) -> None:
    """Whoever once saw a delivery could repeat it for ever."""
    assert check(OLD, sent(OLD, sent_s=NOW_S + away_s)).data.id == "job_a"
    with pytest.raises(WebhookVerificationError, match="300 s"):
        check(OLD, sent(OLD, sent_s=NOW_S + away_s + (1 if away_s > 0 else -1)))


@pytest.mark.parametrize("secret", ["", (), "whsec_", "whsec_!!", "secret"])
def test_a_receiver_without_a_secret_believes_nobody(secret: Any) -> None:
    """An empty environment variable must not open the door."""
    with pytest.raises(ValueError, match="secret") as caught:
        check(secret, sent(OLD))
    assert not isinstance(caught.value, WebhookVerificationError)


def test_it_agrees_with_the_specifications_library_both_ways() -> None:
    """Receivers use either one, and so do other senders."""
    now = datetime.now(tz=UTC)
    library = standardwebhooks.Webhook(OLD)

    assert library.verify(BODY, sent(OLD, sent_s=int(now.timestamp())))["data"]["id"] == "job_a"
    theirs = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": library.sign("msg_1", now, BODY.decode()),
    }
    assert webhooks.verify(OLD, theirs, BODY).delivery == "msg_1"
