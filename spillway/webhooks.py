"""What a receiver of webhooks does first: make sure that Spillway sent them, and just now.

    event = webhooks.verify(secret, request.headers, await request.body())

Deliveries are repeated until they are answered with 2xx: act once for each `event.delivery`.
"""

import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from lambdas.domain.webhooks import signature
from spillway.client.views import View

TOLERANCE_S: Final = 300.0
"""Older deliveries may be somebody's recording; clocks differ by less."""
SIGNATURES_MAX: Final = 10
"""More than any rotation of secrets leaves valid at once."""

_SECONDS: Final = re.compile(r"[1-9][0-9]{0,18}")


class WebhookVerificationError(ValueError):
    """What came is not what Spillway sends, or not from just now: answer 400, and do nothing."""


class EndedJob(View):
    """The job that an event is about; its result is read with a key."""

    id: str
    status: str
    model: str | None = None
    tier: str | None = None
    finished_at: datetime | None = None


class Event(View):
    """A webhook that Spillway sent.

    Attributes:
        delivery: The same at every try, and for no other event.
        type: `job.completed`, `job.failed` and so on.
        timestamp: When it happened.
        data: The job.
    """

    delivery: str = ""
    type: str
    timestamp: datetime
    data: EndedJob


def verify(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    tolerance_s: float = TOLERANCE_S,
    clock: Callable[[], float] = time.time,  # noqa: TID251 deliveries come in real time
) -> Event:
    """Read a delivery, if it is genuine and new.

    Args:
        secret: The tenant's, `whsec_…`; several while one replaces the other.
        headers: Of the request; upper and lower case are the same.
        body: Exactly as it came.
        tolerance_s: Seconds by which the sender's time may differ from ours, either way.
        clock: Seconds since the epoch.

    Raises:
        WebhookVerificationError: A header is missing, no signature is right, the time is another
            one, or the body is not an event's. The message says which, and nothing of what came.
        ValueError: There is no secret, or one is none.

    Source:
        Standard Webhooks 1.0.0, "Verifying signatures".
    """
    secrets = (secret,) if isinstance(secret, str) else tuple(secret)
    if not secrets:
        raise ValueError("a webhook is verified with at least one secret")
    body = body.encode() if isinstance(body, str) else body
    named = {name.lower(): value for name, value in headers.items()}
    delivery, sent, given = (_header(named, part) for part in ("id", "timestamp", "signature"))
    if not _SECONDS.fullmatch(sent):
        raise WebhookVerificationError("webhook-timestamp is not in whole seconds")
    sent_s = int(sent)
    if abs(clock() - sent_s) > tolerance_s:
        raise WebhookVerificationError(f"webhook-timestamp is not within {tolerance_s:g} s of now")
    right = [signature(each, delivery=delivery, sent_s=sent_s, body=body) for each in secrets]
    # All are compared, each in constant time: how long it takes tells nobody which one was near.
    matches = [
        hmac.compare_digest(one.encode(), other.encode())
        for one in given.split(" ")[:SIGNATURES_MAX]
        for other in right
    ]
    if not any(matches):
        raise WebhookVerificationError("no signature of webhook-signature is right")
    return _event(body, delivery)


def _header(named: Mapping[str, str], part: str) -> str:
    value = named.get(f"webhook-{part}", "")
    if not value:
        raise WebhookVerificationError(f"there is no header webhook-{part}")
    return value


def _event(body: bytes, delivery: str) -> Event:
    try:
        event = Event.model_validate_json(body)
    except ValidationError:
        raise WebhookVerificationError("the body is not an event") from None
    return event.model_copy(update={"delivery": delivery})
