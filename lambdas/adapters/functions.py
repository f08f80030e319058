"""Calls to other functions: bells and waits."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.logs import logger
from lambdas.domain.job import FORMAT
from lambdas.domain.names import Names

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient


@dataclass(frozen=True, slots=True)
class Functions:
    """This region's functions, called through Lambda."""

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

    def wait(self, *, job: str, seconds: int) -> bool:
        """Wait for a job's end in the function that is there for it.

        Returns:
            Whether it waited; False if there is no room to wait.
        """
        try:
            reply = self.client.invoke(
                FunctionName=self.names.function("wait"),
                InvocationType="RequestResponse",
                Payload=json.dumps({"format": FORMAT, "job": job, "seconds": seconds}).encode(),
            )
        except (ClientError, BotoCoreError) as error:
            logger.info("no room to wait", job_id=job, reason=type(error).__name__)
            return False
        # A wait that failed at once must not send the client around in circles.
        return "FunctionError" not in reply
