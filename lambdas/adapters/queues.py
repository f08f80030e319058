"""The tier queues: priority lives in which queue a message waits in, never in SageMaker."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError

from lambdas.domain.job import ATTEMPT_MAX, FORMAT, is_job_id
from lambdas.domain.names import Names

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.literals import QueueAttributeNameType

RECEIVE_MAX = 10
"""Messages in one ReceiveMessage or DeleteMessageBatch (SQS API reference)."""
VISIBLE: Final = "ApproximateNumberOfMessages"
DELAYED: Final = "ApproximateNumberOfMessagesDelayed"
HIDDEN: Final = "ApproximateNumberOfMessagesNotVisible"
DELETE_TRIES_MAX = 3
HIDDEN_S = 120
"""Twice dispatch's time limit: what it took shows again only when it is gone."""


class UnsentError(BotoCoreError):
    """SQS did not take all messages of a request that it answered."""

    fmt = "SQS did not take all messages"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A message of a tier queue: which attempt of which job may start.

    Attributes:
        job: The job's id, or None if the message is malformed.
        attempt: Numbered from 1, 0 if malformed.
        message: SQS's message id: stays the same when the message is delivered again.
        receipt: Handle of this delivery.
        sent_ms: When it was sent, milliseconds since the epoch.
        tier: The tier of the queue that it came from.
        receives: How often it has been received.
        version: The one version that it may run on, or None.
    """

    job: str | None
    attempt: int
    message: str
    receipt: str
    sent_ms: int
    tier: str
    receives: int
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Queues:
    """The tier queues of one region."""

    client: "SQSClient"
    names: Names
    region: str

    def url(self, model: str, tier: str) -> str:
        """The address of a tier queue."""
        return self.names.queue_url(self.region, self.names.tier_queue(model, tier))

    def dead_url(self, model: str, tier: str) -> str:
        """The address of a tier queue's dead letters."""
        return self.names.queue_url(self.region, self.names.tier_dead_letters(model, tier))

    def send(
        self,
        *,
        model: str,
        tier: str,
        job_id: str,
        attempt: int,
        tenant: str,
        delay_s: float = 0,
        version: str | None = None,
    ) -> None:
        """Let an attempt wait for a slot, of one version if it is named.

        The tenant is the fair queue's group.
        """
        pinned = {} if version is None else {"version": version}
        self.client.send_message(
            QueueUrl=self.url(model, tier),
            MessageBody=json.dumps({"format": FORMAT, "job": job_id, "attempt": attempt, **pinned}),
            MessageGroupId=tenant,
            DelaySeconds=round(delay_s),
        )

    def send_many(
        self, model: str, tier: str, attempts: Sequence[tuple[str, int, str]]
    ) -> set[str]:
        """Let attempts wait for slots.

        Args:
            model: Whose queue.
            tier: Of the queue.
            attempts: Job id, attempt and tenant of each; at most `RECEIVE_MAX`.

        Returns:
            The jobs whose messages were taken.
        """
        reply = self.client.send_message_batch(
            QueueUrl=self.url(model, tier),
            Entries=[
                {
                    "Id": str(number),
                    "MessageBody": json.dumps(
                        {"format": FORMAT, "job": job_id, "attempt": attempt}
                    ),
                    "MessageGroupId": tenant,
                }
                for number, (job_id, attempt, tenant) in enumerate(attempts)
            ],
        )
        return {attempts[int(entry["Id"])][0] for entry in reply.get("Successful", [])}

    def receive(
        self, model: str, tier: str, *, at_most: int, wait_s: int = 0, dead: bool = False
    ) -> list[Ticket]:
        """Take up to `at_most` messages (10 at the most) for `HIDDEN_S`."""
        reply = self.client.receive_message(
            QueueUrl=self.dead_url(model, tier) if dead else self.url(model, tier),
            MaxNumberOfMessages=max(1, min(RECEIVE_MAX, at_most)),
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=HIDDEN_S,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
        )
        return [_ticket(message, tier) for message in reply.get("Messages", [])]

    def delete(
        self, model: str, tier: str, tickets: Sequence[Ticket], *, dead: bool = False
    ) -> None:
        """Take messages off the queue for good.

        One that stays is delivered again after `HIDDEN_S`. If its attempt is over by then, it is
        dropped; if the model is still at work, the same attempt is handed over once more, of which
        one result is committed. So what SQS did not delete is tried again here.
        """
        url = self.dead_url(model, tier) if dead else self.url(model, tier)
        for start in range(0, len(tickets), RECEIVE_MAX):
            left = [ticket.receipt for ticket in tickets[start : start + RECEIVE_MAX]]
            for _ in range(DELETE_TRIES_MAX):
                reply = self.client.delete_message_batch(
                    QueueUrl=url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": receipt}
                        for number, receipt in enumerate(left)
                    ],
                )
                # What is our own mistake, as a receipt that is no longer good, stays one.
                left = [
                    left[int(entry["Id"])]
                    for entry in reply.get("Failed", [])
                    if not entry["SenderFault"]
                ]
                if not left:
                    break

    def put_back(self, model: str, ticket: Ticket, *, after_s: int) -> None:
        """Let a message be received again after a while."""
        self.client.change_message_visibility(
            QueueUrl=self.url(model, ticket.tier),
            ReceiptHandle=ticket.receipt,
            VisibilityTimeout=after_s,
        )

    def waiting(self, model: str, tier: str) -> int:
        """Messages that could be received, now or after their delay. SQS calls it approximate."""
        return self._count(model, tier, VISIBLE, DELAYED)

    def held(self, model: str, tier: str) -> int:
        """All messages, also those that somebody took and may put back. As approximate."""
        return self._count(model, tier, VISIBLE, DELAYED, HIDDEN)

    def _count(self, model: str, tier: str, *counts: "QueueAttributeNameType") -> int:
        reply = self.client.get_queue_attributes(
            QueueUrl=self.url(model, tier),
            AttributeNames=counts,
        )
        return sum(int(count) for count in reply["Attributes"].values())


def _ticket(message: Mapping[str, object], tier: str) -> Ticket:
    attributes = message.get("Attributes")
    system = attributes if isinstance(attributes, dict) else {}
    job, attempt, version = _body(str(message["Body"]))
    return Ticket(
        job=job,
        attempt=attempt,
        message=str(message["MessageId"]),
        receipt=str(message["ReceiptHandle"]),
        sent_ms=int(system.get("SentTimestamp", 0)),
        tier=tier,
        receives=int(system.get("ApproximateReceiveCount", 1)),
        version=version,
    )


def _body(body: str) -> tuple[str | None, int, str | None]:
    """Job, attempt and version of a message; neither of them if it is malformed."""
    try:
        document = json.loads(body)
        job, attempt, version = document["job"], document["attempt"], document.get("version")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, 0, None
    # What the ledger cannot be asked for must not reach it: its refusal would end the round.
    if not isinstance(job, str) or not is_job_id(job):
        return None, 0, None
    if type(attempt) is not int or not 1 <= attempt <= ATTEMPT_MAX:
        return None, 0, None
    return job, attempt, version if isinstance(version, str) else None
