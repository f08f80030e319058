"""complete: commits results. One result is ever committed, however often anything is delivered."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.credentials import Refusals
from lambdas.adapters.endpoints import failure_key, failure_prefix, output_key
from lambdas.adapters.ledger import Attempt
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.domain import payloads
from lambdas.domain.failures import blames_input, for_want_of_a_right, model_message
from lambdas.domain.job import Job, parse_inference_id
from lambdas.domain.usage import tokens_of
from lambdas.handlers.endings import (
    RESULT_BYTES_MAX,
    Answer,
    Endings,
    result_keys,
)
from lambdas.handlers.outcomes import INVALID_OUTPUT
from lambdas.handlers.ports import endings, payload_store
from lambdas.wiring import Execution, Function, Handler

FAILURE_BYTES_MAX = 1 << 20
"""Of a model's error that are read: enough for any that is JSON, and no matter for the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What SageMaker says of one asynchronous invocation.

    Attributes:
        job: The job's id.
        attempt: The attempt that was invoked.
        succeeded: Whether the container answered with success.
        body: The container's answer, when the notification carries it.
        reason: Why it failed; empty otherwise.
        failure_location: `s3://` address of the container's error, when the notification names one.
        endpoint: Which endpoint answered, when the notification says so.
        sent_ms: When it came into our queue: we may be late to read it.
    """

    job: str
    attempt: int
    succeeded: bool
    body: bytes | None
    reason: str
    failure_location: str | None = None
    endpoint: str | None = None
    sent_ms: int | None = None


def read_notification(text: str, *, sent_ms: int | None = None) -> Notification | None:
    """Read a notification.

    Args:
        text: The message's body.
        sent_ms: When the message was sent.

    Returns:
        None for one that names no attempt of ours: sweep finds that attempt by its lease.

    Source:
        SageMaker developer guide, "Check prediction results". Where the included answer stands
        is not documented, nor whether a failure's object is named; both places that are seen in
        use are read.
    """
    try:
        document = json.loads(text)
        job, attempt = parse_inference_id(str(document["inferenceId"]))
        succeeded = document["invocationStatus"] == "Completed"
    except (ValueError, KeyError, TypeError):
        return None
    return Notification(
        job=job,
        attempt=attempt,
        succeeded=succeeded,
        body=_included(document),
        reason="" if succeeded else str(document.get("failureReason") or "no reason given"),
        failure_location=None if succeeded else _failure_location(document),
        endpoint=_endpoint(document),
        sent_ms=sent_ms,
    )


def _told(document: dict[str, Any], name: str) -> Any:
    """What a notification tells of the response, at its top or among the parameters."""
    parameters = document.get("responseParameters")
    nested = parameters.get(name) if isinstance(parameters, dict) else None
    return document.get(name) or nested


def _failure_location(document: dict[str, Any]) -> str | None:
    location = _told(document, "failureLocation")
    return location if isinstance(location, str) else None


def _endpoint(document: dict[str, Any]) -> str | None:
    asked = document.get("requestParameters")
    endpoint = asked.get("endpointName") if isinstance(asked, dict) else None
    return endpoint if isinstance(endpoint, str) else None


def _included(document: dict[str, Any]) -> bytes | None:
    part = _told(document, "responseBody")
    if not isinstance(part, dict) or "content" not in part:
        return None
    content = str(part["content"])
    if str(part.get("encoding", "")).upper() != "BASE64":
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completer:
    """Commits the results of one region."""

    region: str
    endings: Endings
    payloads: Payloads
    refusals: Refusals

    def work_off(self, text: str, *, sent_ms: int) -> None:
        """Commit what one notification says, which was sent at `sent_ms`."""
        notification = read_notification(text, sent_ms=sent_ms)
        if notification is None:
            logger.warning("notification dropped: it names no attempt of ours")
            return
        if notification.succeeded:
            self._succeeded(notification)
        else:
            if for_want_of_a_right(notification.reason):
                self.refusals.count(
                    service="sagemaker", operation="InvokeEndpointAsync", code="AccessDenied"
                )
            self._failed(notification, code="model_error")

    def _succeeded(self, notification: Notification) -> None:
        if notification.body is not None:
            included = self._answer(notification, notification.body)
            if included is None:
                logger.info("late result dropped", job_id=notification.job)
                return
            answer = included
        else:
            job = self.endings.ledger.get(notification.job)
            if job is not None and (job.status.terminal or job.erased):
                self._over(job, notification)
                return
            if job is None or job.version is None or self._late(job, notification):
                logger.info("late result dropped", job_id=notification.job)
                return
            key = output_key(job.model, job.version, job.id, notification.attempt)
            result = self.payloads.result(key, bytes_max=RESULT_BYTES_MAX)
            answer = self.endings.stored_answer(job.model, result, key)
        if answer.judgement.end == "fail":
            self._failed(notification, code=INVALID_OUTPUT, message=answer.judgement.message)
            return
        claim = Attempt(notification.job, self.region, notification.attempt)
        told = replace(answer, at_ms=notification.sent_ms)
        outcome = self.endings.completed(claim, told, now_ms=now_ms())
        if outcome.job is not None and outcome.job.erased:
            self._erase(outcome.job, notification.attempt)
        logger.info(
            "completed" if outcome.won else "result not committed",
            job_id=notification.job,
            attempt=notification.attempt,
            status=outcome.job.status if outcome.job else "unknown",
        )

    def _over(self, job: Job, notification: Notification) -> None:
        """The job ended before: its result may be gone, so it is not looked for."""
        self.endings.over(job, attempt=notification.attempt, now_ms=now_ms())
        if job.erased:
            self._erase(job, notification.attempt)
        logger.info("late result dropped", job_id=job.id, attempt=notification.attempt)

    def _erase(self, job: Job, attempt: int) -> None:
        """The client erased the job while the model still worked on it."""
        keys = result_keys(job, self.endings.policy, (attempt,))
        self.payloads.erase_results(keys, region=self.region)

    def _late(self, job: Job, notification: Notification) -> bool:
        """Whether a notification is of an earlier attempt, or of an earlier send of this one.

        One that waits again after its endpoint gave no answer may have been taken there after all,
        and run on another version now, whose answer is to be waited for.
        """
        if job.attempt != notification.attempt:
            return True
        if job.version is None or notification.endpoint is None:
            return False
        names = self.endings.policy.names
        return notification.endpoint != names.endpoint(job.model, job.version)

    def _answer(self, notification: Notification, body: bytes) -> Answer | None:
        """What to commit of an answer that came with its notification; None if it is late."""
        judgement = self.endings.judge(self._model(notification), body)
        packed = payloads.pack(body)
        if packed is not None or judgement.end == "fail":
            tokens = tokens_of(body)
            return Answer(packed=packed, size=len(body), judgement=judgement, tokens=tokens)
        job = self.endings.ledger.get(notification.job)
        if job is None or job.version is None:
            return Answer()  # nobody's: the ledger refuses it
        if not job.status.terminal and self._late(job, notification):
            return None
        key = output_key(job.model, job.version, job.id, notification.attempt)
        return Answer(key=key, size=len(body), judgement=judgement, tokens=tokens_of(body))

    def _model(self, notification: Notification) -> str | None:
        """Which model answered: by its endpoint, which costs no read."""
        names, models = self.endings.policy.names, self.endings.policy.models
        for model in models.values():
            if any(notification.endpoint == names.endpoint(model.name, v) for v in model.versions):
                return model.name
        if all(model.output is None for model in models.values()):
            return None  # it would make no difference
        job = self.endings.ledger.get(notification.job)
        return job.model if job else None

    def _failed(self, notification: Notification, *, code: str, message: str | None = None) -> None:
        """End the attempt; without a message, with the model's own."""
        job = self.endings.ledger.get(notification.job)
        if job is None or self._late(job, notification):
            logger.info("late failure dropped", job_id=notification.job)
        else:
            message = message or model_message(self._error(job, notification), notification.reason)
            declined = blames_input(notification.reason)
            job = self.endings.failed(
                job, code=code, message=message, now_ms=now_ms(), declined=declined
            ).job
            logger.info(
                "attempt failed",
                job_id=notification.job,
                attempt=notification.attempt,
                code=code,
                declined=declined,
                status=job.status if job else "unknown",
            )
        if job is not None and job.erased:
            self._erase(job, notification.attempt)

    def _error(self, job: Job, notification: Notification) -> bytes | None:
        """What the model said, also if it was too long for the notification."""
        if notification.body is not None or job.status.terminal:
            return notification.body
        try:
            return self.payloads.failure(
                self._failure_key(job, notification), bytes_max=FAILURE_BYTES_MAX
            )
        except AWS_ERRORS as error:
            # The attempt must end all the same: SageMaker's reason is told instead.
            logger.info("no error of the model found", job_id=job.id, reason=reason(error))
            return None

    def _failure_key(self, job: Job, notification: Notification) -> str:
        """Where SageMaker says that the error is, if that is a place for this version's errors."""
        version, bucket = str(job.version), self.payloads.location("", stored=self.region)
        told = notification.failure_location or ""
        if told.startswith(f"{bucket}{failure_prefix(job.model, version)}"):
            return told.removeprefix(bucket)
        return failure_key(job.model, version, job.id, notification.attempt)


def create(execution: Execution) -> Handler:
    """Wire the completer of an execution environment."""
    completer = Completer(
        region=execution.region,
        endings=endings(execution),
        payloads=payload_store(execution),
        refusals=execution.refusals,
    )

    def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        failures = []
        for record in event["Records"]:
            try:
                completer.work_off(record["body"], sent_ms=_sent_ms(record))
            except AWS_ERRORS as error:
                # Without the trace: what AWS says may quote the request.
                logger.error("notification left for another try", reason=reason(error))
                failures.append({"itemIdentifier": record["messageId"]})
        completer.endings.settle()
        return {"batchItemFailures": failures}

    return handle


def _sent_ms(record: Mapping[str, Any]) -> int:
    """When a message was sent: it stays the same when the message is delivered again."""
    return int(record.get("attributes", {}).get("SentTimestamp", now_ms()))


handle = Function(create)
