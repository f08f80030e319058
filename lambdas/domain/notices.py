"""Messages of the webhooks queue: what has ended and is still to be told.

A message holds all that a delivery needs but the secret, so that who delivers it reads nothing
else. What a job was asked and what it answered are not in it.
"""

import json
from dataclasses import dataclass
from typing import Any

from lambdas.domain.events import batch_event_body, delivery_id, event_body, event_type
from lambdas.domain.job import Job

FORMAT = 2
"""Format 1 named the job and its event alone; what delivers reads no ledger any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A delivery as it lies in the webhooks queue.

    Attributes:
        tenant: Whose secret signs it.
        delivery: Its id, the same at every try.
        address: Where it goes, as the client wrote it.
        body: The event.
    """

    tenant: str
    delivery: str
    address: str
    body: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A message of the webhooks queue: which end of which job to tell.

    Attributes:
        job: The job, or the batch.
        event: What became of it.
        letter: What to send; None in messages of the first format.
    """

    job: str
    event: str
    letter: Letter | None = None


def write_notice(job: Job) -> str | None:
    """The message that has a job's end told; None if nobody asked, or there is none yet."""
    event = event_type(job)
    if job.webhook is None or event is None:
        return None
    message = {
        "format": FORMAT,
        "job": job.id,
        "event": event,
        "tenant": job.tenant,
        "delivery": delivery_id(job),
        "address": job.webhook,
        "body": event_body(job).decode(),
    }
    return json.dumps(message)


def write_batch_notice(batch: str, *, status: str, tenant: str, address: str, ended_ms: int) -> str:
    """The message that has a batch's end told to its tenant's own address.

    Whoever works on the batch sends it before the last step of its end is marked as done, so that
    whoever dies in between sends it again: the delivery's id stays the same.
    """
    message = {
        "format": FORMAT,
        "job": batch,
        "event": f"batch.{status}",
        "tenant": tenant,
        "delivery": f"msg_{batch}_{status}",
        "address": address,
        "body": batch_event_body(batch, status, ended_ms).decode(),
    }
    return json.dumps(message)


def read_notice(body: str) -> Notice | None:
    """Read a message's body; None if it is malformed."""
    try:
        document = json.loads(body)
        job, event = document["job"], document["event"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(job, str) or not isinstance(event, str):
        return None
    if "body" not in document:
        return Notice(job, event)
    letter = _letter(document)
    return None if letter is None else Notice(job, event, letter)


def _letter(document: dict[str, Any]) -> Letter | None:
    names = ("tenant", "delivery", "address", "body")
    if not all(isinstance(document.get(name), str) for name in names):
        return None
    return Letter(**{name: document[name] for name in names})
