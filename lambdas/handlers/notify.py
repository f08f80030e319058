"""notify: tells a client's webhook that a job has ended.

One message of the webhooks queue is one delivery, and holds all that is sent. A failed try hides
its message for a while that grows; after about a day SQS moves it to the dead letters. The job and
its result are never touched, nor read: the function speaks to hosts that somebody else chose, and
has no rights but on its queues and the tenants' secrets. It tells record what became of a try, and
that keeps the job's delivery log. Log lines hold ids, status codes and timings: addresses carry
their owners' secrets.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aws_lambda_powertools.logging import Logger

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.outbox import Outbox
from lambdas.adapters.reports import Report, Reports
from lambdas.adapters.signing import Signings
from lambdas.adapters.webhooks import Courier
from lambdas.domain import metrics
from lambdas.domain.deliveries import Try, write_line
from lambdas.domain.job import is_job_id
from lambdas.domain.notices import Letter, Notice, read_notice
from lambdas.domain.webhooks import (
    Answer,
    Failure,
    Signing,
    Target,
    Verdict,
    chance_of,
    headers,
    parse_address,
    retry_wait_s,
    verdict,
)
from lambdas.wiring import Execution, Function, Handler

MESSAGE_CHARACTERS = 8
"""Of a message's id, to tell the tries of one announcement from those of another."""


class Secrets(Protocol):
    """Where the tenants' secrets are read."""

    def of(self, tenant: str) -> Signing | None:
        """Read what signs a tenant's webhooks."""


class Post(Protocol):
    """What carries a delivery."""

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one try."""


class Postponing(Protocol):
    """The queue that the messages came from."""

    def postpone(self, receipt: str, wait_s: int) -> None:
        """Hide a message for a while."""


class Reporting(Protocol):
    """Who keeps the delivery log."""

    def send(self, report: Report) -> None:
        """Tell what became of a try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Works off messages of the webhooks queue.

    Attributes:
        secrets: The tenants' secrets.
        courier: Carries deliveries.
        outbox: The queue itself.
        reports: Who keeps the delivery log.
        logger: Gets one line for every message.
        now: Seconds since the epoch.
        tell: Is told of every try whether it failed.
    """

    secrets: Secrets
    courier: Post
    outbox: Postponing
    reports: Reporting
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
        notice = read_notice(record["body"])
        if notice is None:
            self.logger.warning(
                "webhook dropped", message_id=record["messageId"], reason="malformed message"
            )
            return True
        if notice.letter is None:
            return self._refuse_former(record, notice)
        sent_ms = int(1000 * self.now())
        answer = self._try(notice.letter, sent_ms)
        receives = int(record["attributes"]["ApproximateReceiveCount"])
        what = verdict(answer, receives)
        self.tell(what is not Verdict.DELIVERED)
        chance = chance_of(notice.letter.delivery, receives)
        wait_s = retry_wait_s(receives, chance) if what is Verdict.RETRY else 0
        self.logger.info(
            "webhook tried",
            delivery=notice.letter.delivery,
            verdict=what,
            status=answer.status,
            failure=answer.failure,
            elapsed_ms=answer.elapsed_ms,
            tries=receives,
            retry_s=wait_s or None,
        )
        next_ms = sent_ms + answer.elapsed_ms + 1000 * wait_s if wait_s else None
        tried = Try(
            at_ms=sent_ms,
            message=record["messageId"][:MESSAGE_CHARACTERS],
            number=receives,
            status=answer.status,
            failure=answer.failure,
            elapsed_ms=answer.elapsed_ms,
            verdict=what,
            next_ms=next_ms,
        )
        if is_job_id(notice.job):  # batches keep no log
            self._report(Report(notice.job, write_line(tried)))
        if what in {Verdict.DELIVERED, Verdict.DROP}:
            return True
        # After the last try at once: only SQS, at the next receive, moves it to its dead letters.
        self.outbox.postpone(record["receiptHandle"], wait_s)
        return False

    def _try(self, letter: Letter, sent_ms: int) -> Answer:
        """Make one try; what is wrong with address or secret is an answer, too."""
        try:
            target = parse_address(letter.address)
        except ValueError:
            return Answer(failure=Failure.REFUSED)
        signing = self.secrets.of(letter.tenant)
        if signing is None:
            return Answer(failure=Failure.UNSIGNED)
        body = letter.body.encode()
        try:
            signed = headers(
                signing.secrets(sent_ms),
                delivery=letter.delivery,
                sent_s=sent_ms // 1000,
                body=body,
            )
        except ValueError:
            return Answer(failure=Failure.UNSIGNED)
        return self.courier.deliver(target, headers=signed, body=body)

    def _report(self, report: Report) -> None:
        """Tell of a try; a receiver is not told twice because the log could not be written."""
        try:
            self.reports.send(report)
        except AWS_ERRORS as error:
            self.logger.warning("try not reported", job_id=report.job, reason=reason(error))

    def _refuse_former(self, record: Mapping[str, Any], notice: Notice) -> bool:
        """Leave a message of an earlier release to the dead letters, in as many quick receives.

        It names a job that nobody here may read. `spillway webhook redeliver` sends it anew.
        """
        self.logger.warning(
            "webhook of a former format",
            message_id=record["messageId"],
            job_id=notice.job[:30],
        )
        self.outbox.postpone(record["receiptHandle"], 0)
        return False


def create(execution: Execution) -> Handler:
    """Wire the function to AWS and to the internet."""
    names, region = execution.names, execution.region
    sqs = execution.client("sqs")
    courier = Courier()
    at, lines = {"Region": region}, Metrics(names.metrics)
    return Notify(
        secrets=Signings(execution.client("dynamodb"), names.directory),
        courier=courier if execution.detour is None else execution.detour(courier),
        outbox=Outbox(sqs, names.queue_url(region, names.webhooks)),
        reports=Reports(sqs, names.queue_url(region, names.deliveries)),
        logger=Logger(),
        now=time.time,  # noqa: TID251 the moment of sending is part of what is signed
        tell=lambda failed: lines.publish(
            at, [(metrics.WEBHOOK_FAILURES, float(failed))], at_ms=now_ms()
        ),
    ).handle


handle = Function(create)
