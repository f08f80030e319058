"""The webhooks queue: what has ended and is still to be told."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdas.domain.job import Job
from lambdas.domain.notices import write_notice

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Outbox:
    """The webhooks queue of one region."""

    client: "SQSClient"
    url: str

    def announce(self, job: Job) -> None:
        """Have a job's end told, if its client asked for that and it has ended.

        May be repeated: the receiver gets the same delivery id again.
        """
        body = write_notice(job)
        if body is not None:
            # A fair queue: a tenant whose receiver is slow holds up its own deliveries first.
            self.client.send_message(QueueUrl=self.url, MessageBody=body, MessageGroupId=job.tenant)

    def postpone(self, receipt: str, wait_s: int) -> None:
        """Hide a received message for that many seconds from now."""
        self.client.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=wait_s
        )
