"""The webhooks queue: what has ended and is still to be told."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdas.domain.job import FORMAT, Job
from lambdas.domain.webhooks import event_type

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Notice:
    """A message of the webhooks queue: which end of which job to tell."""

    job: str
    event: str


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
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=json.dumps({"format": FORMAT, "job": job.id, "event": event}),
        )

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
    return Notice(job, event)
