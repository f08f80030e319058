"""The webhooks queue: what has ended and is still to be told."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdas.domain.job import Job
from lambdas.domain.notices import write_batch_notice, write_notice

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
            self._send(body, job.tenant)

    def announce_batch(
        self, batch: str, *, status: str, tenant: str, address: str, ended_ms: int
    ) -> None:
        """Have a batch's end told to its tenant's own address; may be repeated."""
        body = write_batch_notice(
            batch, status=status, tenant=tenant, address=address, ended_ms=ended_ms
        )
        self._send(body, tenant)

    def _send(self, body: str, tenant: str) -> None:
        # A fair queue: a tenant whose receiver is slow holds up its own deliveries first.
        self.client.send_message(QueueUrl=self.url, MessageBody=body, MessageGroupId=tenant)

    def postpone(self, receipt: str, wait_s: int) -> None:
        """Hide a received message for that many seconds from now."""
        self.client.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=wait_s
        )
