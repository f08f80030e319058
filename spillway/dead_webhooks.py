"""Webhooks that were given up, as operators see them and have them told again.

A dead letter holds all that is to be sent. One of the first format names its job alone, and is
written anew from the ledger. What is sent again is sent before it is deleted: who dies in between
leaves both, and a receiver knows the second by its id.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lambdas.domain.job import Job, Status
from lambdas.domain.names import Names
from lambdas.domain.notices import Notice, read_notice, write_notice

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

HIDDEN_S = 120
"""How long a letter that was looked at is not seen again: one look passes each of them once."""
RECEIVE_MAX = 10
LOOKS_MAX = 10_000
"""Receives of one command: a hundred thousand letters at the most."""
EMPTY_MAX = 3
"""Receives without an answer until a queue counts as empty: SQS asks some of its machines only."""


@dataclass(frozen=True, slots=True)
class DeadWebhook:
    """A webhook that was given up, and what became of it now.

    Attributes:
        region: Whose dead letters held it.
        job: Whose end it tells.
        event: What became of the job.
        tenant: Whose job it is; None if only the ledger could tell.
        sent: Whether it is on its way again.
    """

    region: str
    job: str
    event: str
    tenant: str | None
    sent: bool


class DeadWebhooks:
    """The dead letters of one region's webhooks.

    Args:
        sqs: Of the region.
        dynamodb: Of any region of the ledger.
        names: Of the deployment.
        region: The region.
    """

    def __init__(
        self, sqs: "SQSClient", dynamodb: "DynamoDBClient", names: Names, region: str
    ) -> None:
        self._sqs = sqs
        self._dynamodb = dynamodb
        self._names = names
        self._region = region

    def look(self, wanted: Callable[[Notice], bool], *, again: bool) -> Iterator[DeadWebhook]:
        """Go through all of them once.

        Args:
            wanted: Which ones.
            again: Whether to have them told again; else they are only looked at.

        Yields:
            Those that are wanted.
        """
        dead = self._url(self._names.webhooks_dead_letters)
        for message in self._received(dead):
            notice = read_notice(message["Body"])
            if notice is None or not wanted(notice):
                continue
            body = message["Body"] if notice.letter else self._written(notice.job)
            anew = None if body is None else read_notice(body)
            if again and body is not None and anew is not None and anew.letter is not None:
                self._sqs.send_message(
                    QueueUrl=self._url(self._names.webhooks),
                    MessageBody=body,
                    MessageGroupId=anew.letter.tenant,
                )
                self._sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
            yield DeadWebhook(
                region=self._region,
                job=notice.job,
                event=notice.event,
                tenant=notice.letter.tenant if notice.letter else None,
                sent=again and body is not None,
            )

    def _received(self, url: str) -> Iterator[Any]:
        empty = 0
        for _ in range(LOOKS_MAX):
            reply = self._sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=RECEIVE_MAX, VisibilityTimeout=HIDDEN_S
            )
            found = reply.get("Messages", [])
            empty = 0 if found else empty + 1
            if empty >= EMPTY_MAX:
                return
            yield from found

    def _written(self, job: str) -> str | None:
        """The message for a job, from the ledger; None if it is gone or tells nobody."""
        reply = self._dynamodb.get_item(
            TableName=self._names.ledger, Key={"pk": {"S": f"job#{job}"}}, ConsistentRead=True
        )
        item = reply.get("Item")
        return write_notice(_job(job, item)) if item else None

    def _url(self, queue: str) -> str:
        return self._sqs.get_queue_url(QueueName=queue)["QueueUrl"]


def _job(job: str, item: Any) -> Job:
    """A job as its item holds it, as far as an event tells of it."""
    values = {
        field.name: _value(item[field.name])
        for field in fields(Job)
        if field.name in item and field.name not in {"id", "status"}
    }
    return Job(id=job, status=Status(item["status"]["S"]), **values)


def _value(attribute: Any) -> Any:
    ((kind, content),) = attribute.items()
    return int(content) if kind == "N" else content
