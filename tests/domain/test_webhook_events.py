"""Events: what a webhook tells of a job's end, in words that receivers' libraries know."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from openai import InvalidWebhookSignatureError, OpenAI
from openai.types.webhooks import (
    BatchCancelledWebhookEvent,
    BatchCompletedWebhookEvent,
    BatchExpiredWebhookEvent,
    BatchFailedWebhookEvent,
    ResponseCancelledWebhookEvent,
    ResponseCompletedWebhookEvent,
    ResponseFailedWebhookEvent,
    ResponseIncompleteWebhookEvent,
)
from standardwebhooks import Webhook, WebhookVerificationError

from lambdas.domain import payloads
from lambdas.domain.events import batch_event_body, delivery_id, event_body, event_type
from lambdas.domain.job import RESPONSES, Job, Status
from lambdas.domain.webhooks import headers, new_secret

SECRETS = [new_secret(bytes(range(32))), new_secret(bytes(range(1, 33)))]
SENT_S = 1_700_000_020
BATCH_EVENTS: dict[str, type] = {
    "completed": BatchCompletedWebhookEvent,
    "failed": BatchFailedWebhookEvent,
    "expired": BatchExpiredWebhookEvent,
    "cancelled": BatchCancelledWebhookEvent,
}
JOB = Job(
    id="job_abcdefghijklmnopqrstuvwxyz",
    status=Status.COMPLETED,
    attempt=2,
    owner="eu-west-1",
    home="eu-west-1",
    tenant="acme",
    model="embedder",
    tier="batch",
    created_ms=1_700_000_000_000,
    deadline_ms=1_700_086_400_000,
    request_hash=b"hash",
    metadata='{"patient": "private"}',
    webhook="https://hooks.example.com/private-path",
    finished_ms=1_700_000_012_345,
    output=payloads.pack(b'{"said": "private answer"}'),
    error={"code": "model", "message": "private error"},
)


RESPONSE = replace(JOB, api=RESPONSES, background=True)


def sent(job: Job) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a delivery during a rotation of secrets."""
    body = event_body(job)
    return body, headers(SECRETS, delivery=delivery_id(job), sent_s=SENT_S, body=body)


def test_an_event_says_that_a_job_ended_and_nothing_that_it_said() -> None:
    """Payloads, metadata and errors would reach a host that never showed a key."""
    event = json.loads(event_body(JOB))

    assert event == {
        "id": "evt_abcdefghijklmnopqrstuvwxyz",
        "object": "event",
        "created_at": 1_700_000_012,
        "type": "job.completed",
        "timestamp": "2023-11-14T22:13:32.345Z",
        "data": {
            "id": JOB.id,
            "status": "completed",
            "model": "embedder",
            "tier": "batch",
            "finished_at": "2023-11-14T22:13:32.345Z",
        },
    }
    assert b"private" not in event_body(JOB)


@pytest.mark.parametrize("status", [status for status in Status if status.terminal])
def test_every_end_of_a_job_is_an_event_with_an_id_of_its_own(status: Status) -> None:
    """A receiver counts by the id, which must not hold the full stop that separates it."""
    job = replace(JOB, status=status)

    assert event_type(job) == f"job.{status}"
    assert delivery_id(job) == f"msg_{JOB.id}_{status}"
    assert "." not in delivery_id(job)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS])
def test_a_job_that_goes_on_is_no_event(status: Status) -> None:
    """A client that is told too early reads a job without an answer."""
    job = replace(JOB, status=status, finished_ms=None)

    assert event_type(job) is None
    with pytest.raises(ValueError, match="has not ended"):
        event_body(job)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("job", [JOB, RESPONSE], ids=["job", "response"])
def test_the_specifications_own_library_verifies_what_we_send(job: Job, secret: str) -> None:
    """A receiver checks with the library of its language, before and after it changes secrets."""
    body, signed = sent(job)

    with time_machine.travel(datetime.fromtimestamp(SENT_S + 60, UTC), tick=False):
        event = Webhook(secret).verify(body, signed)
        for wrong in (body + b" ", body.replace(b"completed", b"cancelled")):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(wrong, signed)
    assert event["type"] == event_type(job)

    # Somebody who recorded a delivery cannot play it again later.
    with (
        time_machine.travel(datetime.fromtimestamp(SENT_S + 301, UTC), tick=False),
        pytest.raises(WebhookVerificationError, match="too old"),
    ):
        Webhook(secret).verify(body, signed)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    ("status", "kind", "known_as"),
    [
        (Status.COMPLETED, "response.completed", ResponseCompletedWebhookEvent),
        (Status.REFUSED, "response.completed", ResponseCompletedWebhookEvent),
        (Status.FAILED, "response.failed", ResponseFailedWebhookEvent),
        (Status.EXPIRED, "response.failed", ResponseFailedWebhookEvent),
        (Status.CANCELLED, "response.cancelled", ResponseCancelledWebhookEvent),
    ],
)
def test_openais_client_takes_the_end_of_a_response_for_its_own(
    secret: str, status: Status, kind: str, known_as: type
) -> None:
    """An application that left OpenAI for us keeps its receiver as it is."""
    body, signed = sent(replace(RESPONSE, status=status))
    client = OpenAI(api_key="unused", webhook_secret=secret)

    with time_machine.travel(datetime.fromtimestamp(SENT_S + 60, UTC), tick=False):
        event = client.webhooks.unwrap(body, signed)
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(body + b" ", signed)

    assert isinstance(event, known_as)
    assert event.model_dump(include={"id", "object", "created_at", "type", "data"}) == {
        "id": "evt_abcdefghijklmnopqrstuvwxyz",
        "object": "event",
        "created_at": 1_700_000_012,
        "type": kind,
        "data": {"id": "resp_abcdefghijklmnopqrstuvwxyz"},
    }


def test_an_answer_that_stopped_at_its_limit_is_incomplete() -> None:
    """The event must say what the response says that its receiver reads next."""
    output = payloads.pack(json.dumps({"choices": [{"finish_reason": "length"}]}).encode())
    body, signed = sent(replace(RESPONSE, output=output))

    client = OpenAI(api_key="unused", webhook_secret=SECRETS[0])
    with time_machine.travel(datetime.fromtimestamp(SENT_S, UTC), tick=False):
        event = client.webhooks.unwrap(body, signed)

    assert isinstance(event, ResponseIncompleteWebhookEvent)


def test_openais_client_reads_events_of_our_own_too() -> None:
    """One receiver may serve both; what it does not know it can pass over by its type."""
    body, signed = sent(JOB)
    client = OpenAI(api_key="unused", webhook_secret=SECRETS[1])

    with time_machine.travel(datetime.fromtimestamp(SENT_S, UTC), tick=False):
        event = client.webhooks.unwrap(body, signed)

    assert str(event.type) == "job.completed"
    assert event.data is not None


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_openais_client_takes_the_end_of_a_batch_for_its_own(status: str) -> None:
    """A nightly batch is collected by whoever hears of its end."""
    batch = "batch_" + "a" * 26
    body = batch_event_body(batch, status, 1_700_000_012_345)
    signed = headers(SECRETS, delivery=f"msg_{batch}_{status}", sent_s=SENT_S, body=body)
    client = OpenAI(api_key="unused", webhook_secret=SECRETS[1])

    with time_machine.travel(datetime.fromtimestamp(SENT_S, UTC), tick=False):
        event: Any = client.webhooks.unwrap(body, signed)

    assert (event.data.id, event.created_at) == (batch, 1_700_000_012)
    assert isinstance(event, BATCH_EVENTS[status])
