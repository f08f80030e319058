"""The webhooks queue: what has ended and is still to be told.

A message holds all that a delivery needs but the secret, so that who delivers it reads nothing
else. What a job was asked and what it answered are not in it.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.domain.events import delivery_id, event_body, event_type
from lambdas.domain.job import Job

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

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
        job: The job.
        event: What became of it.
        letter: What to send; None in messages of the first format.
    """

    job: str
    event: str
    letter: Letter | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """The webhooks queue of one region."""

    client: "SQSClient"
    url: str

    def announce(self, job: Job) -> None:
        """Have a job's end told, if its client asked for that and it has ended.

        May be repeated: the receiver gets the same delivery id again.
        """
        event = event_type(job)
        if job.webhook is None or event is None:
            return
        message = {
            "format": FORMAT,
            "job": job.id,
            "event": event,
            "tenant": job.tenant,
            "delivery": delivery_id(job),
            "address": job.webhook,
            "body": event_body(job).decode(),
        }
        self.client.send_message(QueueUrl=self.url, MessageBody=json.dumps(message))

    def postpone(self, receipt: str, wait_s: int) -> None:
        """Hide a received message for that many seconds from now."""
        self.client.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=wait_s
        )


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
