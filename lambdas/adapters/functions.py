"""Calls to other functions: bells, waits, and whether another region answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.aws import reason
from lambdas.adapters.logs import logger
from lambdas.domain.job import FORMAT
from lambdas.domain.names import Names

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

READY = 200
"""HTTP status of a region that is ready."""
FULL = "TooManyRequestsException"
"""Lambda's code for a function that runs as often as its reserved concurrency allows."""


class Waited(Enum):
    """What became of a wait; `FULL`: as many are under way as may."""

    DONE = "done"
    FULL = "full"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Functions:
    """A region's functions, called through Lambda."""

    client: "LambdaClient"
    names: Names

    def ring(self, *, model: str, tier: str | None, jobs: int | None) -> None:
        """Ring for a model. A bell that is lost costs delay, never work, so errors end here."""
        bell = {"format": FORMAT, "model": model, "tier": tier, "jobs": jobs}
        try:
            self.client.invoke(
                FunctionName=self.names.function("dispatch"),
                InvocationType="Event",
                Payload=json.dumps(bell).encode(),
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("bell lost", model=model, reason=type(error).__name__)

    def work_on_batches(self) -> None:
        """Have the batches looked at now; a call that is lost is made up for within a minute."""
        try:
            self.client.invoke(
                FunctionName=self.names.function("batches"),
                InvocationType="Event",
                Payload=json.dumps({"format": FORMAT}).encode(),
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("batches not called", reason=type(error).__name__)

    def move(self, order: Mapping[str, Any]) -> None:
        """Have sweep take jobs over; an order that is lost is given again a minute later."""
        try:
            self.client.invoke(
                FunctionName=self.names.function("sweep"),
                InvocationType="Event",
                Payload=json.dumps({"format": FORMAT, "move": order}).encode(),
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("order lost", reason=type(error).__name__)

    def ready(self) -> bool:
        """Whether the region's health route says that it is ready: what Route 53 asks, too."""
        event = {"httpMethod": "GET", "resource": "/health/ready", "path": "/health/ready"}
        try:
            reply = self.client.invoke(
                FunctionName=self.names.function("submit"),
                InvocationType="RequestResponse",
                Payload=json.dumps(event).encode(),
            )
            answer = json.loads(reply["Payload"].read())
        except (ClientError, BotoCoreError, ValueError) as error:
            logger.warning("region does not answer", reason=type(error).__name__)
            return False
        return isinstance(answer, dict) and answer.get("statusCode") == READY

    def wait(self, *, job: str, until_ms: int, function: str) -> Waited:
        """Wait for a job's end, until a time, in a function that is there for it.

        Args:
            job: Its id.
            until_ms: By this region's clock.
            function: `wait` or `linger`.
        """
        try:
            reply = self.client.invoke(
                FunctionName=self.names.function(function),
                InvocationType="RequestResponse",
                Payload=json.dumps({"format": FORMAT, "job": job, "until_ms": until_ms}).encode(),
            )
        except (ClientError, BotoCoreError) as error:
            why = reason(error)
            logger.info("no room to wait", job_id=job, function=function, reason=why)
            return Waited.FULL if why == FULL else Waited.FAILED
        # A wait that failed at once must not send the client around in circles.
        return Waited.FAILED if reply.get("FunctionError") else Waited.DONE
