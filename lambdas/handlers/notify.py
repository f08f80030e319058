"""notify: tells a client's webhook that a job has ended.

One message of the webhooks queue is one delivery. A failed try hides its message for a while
that grows; after about a day SQS moves it to the dead letters. The job and its result are never
touched. Log lines hold ids, status codes and timings: addresses carry their owners' secrets.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aws_lambda_powertools.logging import Logger

from lambdas.adapters.clock import now_ms
from lambdas.adapters.directory import Directory, Tenant
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.outbox import Outbox, read_notice
from lambdas.adapters.webhooks import Courier
from lambdas.domain import metrics
from lambdas.domain.job import Job
from lambdas.domain.webhooks import (
    Answer,
    Target,
    Verdict,
    chance_of,
    delivery_id,
    event_body,
    event_type,
    headers,
    parse_address,
    retry_wait_s,
    verdict,
)
from lambdas.wiring import Execution, Function, Handler


class Jobs(Protocol):
    """Where jobs are read."""

    def get(self, job_id: str) -> Job | None:
        """Read a job."""


class Tenants(Protocol):
    """Where tenants are read."""

    def tenant(self, tenant_id: str, /) -> Tenant | None:
        """Read a tenant."""


class Post(Protocol):
    """What carries a delivery."""

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one try."""


class Postponing(Protocol):
    """The queue that the messages came from."""

    def postpone(self, receipt: str, wait_s: int) -> None:
        """Hide a message for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery, ready to be tried."""

    id: str
    target: Target
    headers: Mapping[str, str]
    body: bytes


class DroppedError(Exception):
    """The message can never be delivered; the text says why, without anybody's data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Works off messages of the webhooks queue.

    Attributes:
        jobs: The ledger.
        tenants: The directory.
        courier: Carries deliveries.
        outbox: The queue itself.
        logger: Gets one line for every message.
        now: Seconds since the epoch.
        tell: Is told of every try whether it failed.
    """

    jobs: Jobs
    tenants: Tenants
    courier: Post
    outbox: Postponing
    logger: Logger
    now: Callable[[], float]
    tell: Callable[[bool], None]

    def handle(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:
        """Try the delivery of every message; those that failed stay in the queue."""
        records = event["Records"]
        failed = [record["messageId"] for record in records if not self._settle(record)]
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

    def _settle(self, record: Mapping[str, Any]) -> bool:
        """Try one message; whether it may leave the queue.

        An error of AWS is raised: the message comes back by itself.
        """
        try:
            delivery = self._prepare(record["body"])
        except DroppedError as reason:
            self.logger.warning(
                "webhook dropped", message_id=record["messageId"], reason=str(reason)
            )
            return True
        answer = self.courier.deliver(delivery.target, headers=delivery.headers, body=delivery.body)
        receives = int(record["attributes"]["ApproximateReceiveCount"])
        what = verdict(answer)
        self.tell(what is not Verdict.DELIVERED)
        wait_s = None
        if what is Verdict.RETRY:
            wait_s = retry_wait_s(receives, chance_of(delivery.id, receives))
        self.logger.info(
            "webhook tried",
            delivery=delivery.id,
            verdict=what,
            status=answer.status,
            failure=answer.failure,
            elapsed_ms=answer.elapsed_ms,
            tries=receives,
            retry_s=wait_s,
        )
        if wait_s is None:
            return True
        self.outbox.postpone(record["receiptHandle"], wait_s)
        return False

    def _prepare(self, body: str) -> Delivery:
        notice = read_notice(body)
        if notice is None:
            raise DroppedError("malformed message")
        job = self.jobs.get(notice.job)
        if job is None:
            raise DroppedError("no such job")
        if event_type(job) != notice.event:
            raise DroppedError("the job did not end like that")
        if job.webhook is None:
            raise DroppedError("the job has no webhook")
        tenant = self.tenants.tenant(job.tenant)
        if tenant is None or tenant.webhook_secret is None:
            raise DroppedError("the tenant has no secret")
        return self._sign(job, job.webhook, tenant.webhook_secret)

    def _sign(self, job: Job, address: str, secret: str) -> Delivery:
        try:
            target = parse_address(address)
        except ValueError:
            raise DroppedError("the address is refused") from None
        delivery, body = delivery_id(job), event_body(job)
        try:
            signed = headers([secret], delivery=delivery, sent_s=int(self.now()), body=body)
        except ValueError:
            raise DroppedError("the tenant's secret is malformed") from None
        return Delivery(id=delivery, target=target, headers=signed, body=body)


def create(execution: Execution) -> Handler:
    """Wire the function to AWS and to the internet."""
    names = execution.names
    dynamodb = execution.client("dynamodb")
    at, lines = {"Region": execution.region}, Metrics(names.metrics)
    return Notify(
        jobs=Ledger(dynamodb, names.ledger),
        tenants=Directory(dynamodb, names.directory),
        courier=Courier(),
        outbox=Outbox(execution.client("sqs"), names.queue_url(execution.region, names.webhooks)),
        logger=Logger(),
        now=time.time,  # noqa: TID251 the moment of sending is part of what is signed
        tell=lambda failed: lines.publish(
            at, [(metrics.WEBHOOK_FAILURES, float(failed))], at_ms=now_ms()
        ),
    ).handle


handle = Function(create)
