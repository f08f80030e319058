"""Asynchronous SageMaker endpoints: hand an attempt over, count instances."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lambdas.domain.job import inference_id

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

BODY_BYTES_MAX = 128_000
"""InvokeEndpointAsync's inline Body (its API reference); larger inputs travel through S3."""


JSON = "application/json"
REFUSALS = frozenset({"ValidationError", "ValidationException"})
"""Codes of what is wrong with the request, or with its endpoint; any other error may pass."""


class InvocationRefusedError(Exception):
    """SageMaker does not take this request, however often it is sent."""


def output_key(model: str, version: str, job_id: str, attempt: int) -> str:
    """Where an attempt's answer lies in its region's bucket: known before it is there."""
    return f"results/{model}/{version}/{job_id}/{attempt}.json"


def failure_key(model: str, version: str, job_id: str, attempt: int) -> str:
    """Where the error that a model answered should lie in its region's bucket.

    That SageMaker names it like an answer is not documented (docs/assumptions.md).
    """
    return f"{failure_prefix(model, version)}{job_id}/{attempt}.json"


def failure_prefix(model: str, version: str) -> str:
    """Where all the errors of a version lie."""
    return f"failures/{model}/{version}/"


def attempt_keys(model: str, version: str, job_id: str, attempt: int) -> set[str]:
    """All that an attempt may leave: SageMaker writes an object even for a small answer."""
    return {
        output_key(model, version, job_id, attempt),
        failure_key(model, version, job_id, attempt),
    }


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Invokes endpoints. The client must never repeat a send by itself."""

    client: "SageMakerRuntimeClient"

    def invoke(
        self,
        *,
        endpoint: str,
        job_id: str,
        attempt: int,
        body: bytes | None,
        location: str | None,
        content_type: str,
        request_ttl_s: int,
        invocation_timeout_s: int,
    ) -> None:
        """Hand an attempt to an endpoint's queue.

        Args:
            endpoint: Name of the version's endpoint.
            job_id: Names the folder of the answer.
            attempt: Names the file of the answer.
            body: JSON of at most `BODY_BYTES_MAX` bytes, or None.
            location: `s3://` address of the input when there is no body.
            content_type: Of the input.
            request_ttl_s: Longest stay in the endpoint's queue.
            invocation_timeout_s: Longest run.

        Raises:
            InvocationRefusedError: It would be refused again.
            botocore.exceptions.ClientError: It may be taken later, also because the endpoint does
                not exist yet, or does not serve: SageMaker has no error code of its own for that,
                but then names the endpoint (docs/assumptions.md).
        """
        source: dict[str, Any] = {"Body": body} if location is None else {"InputLocation": location}
        try:
            self.client.invoke_endpoint_async(
                EndpointName=endpoint,
                ContentType=content_type,
                Accept=JSON,
                InferenceId=inference_id(job_id, attempt),
                S3OutputPathExtension=job_id,
                Filename=f"{attempt}.json",
                RequestTTLSeconds=request_ttl_s,
                InvocationTimeoutSeconds=invocation_timeout_s,
                **source,
            )
        except ClientError as error:
            message = str(error.response["Error"].get("Message"))
            if error.response["Error"]["Code"] in REFUSALS and endpoint not in message:
                raise InvocationRefusedError from error
            raise


@dataclass(frozen=True, slots=True)
class Instances:
    """How many instances an endpoint has.

    Attributes:
        serving: In service.
        ordered: That it shall have: more than serve while new ones warm up.
    """

    serving: int = 0
    ordered: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Reads how many instances an endpoint has."""

    client: "SageMakerClient"

    def instances(self, endpoint: str) -> Instances:
        """Instances of an endpoint, none if it does not serve or does not exist."""
        try:
            reply = self.client.describe_endpoint(EndpointName=endpoint)
        except self.client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "ValidationException":
                return Instances()
            raise
        if reply["EndpointStatus"] not in {"InService", "Updating", "SystemUpdating"}:
            return Instances()
        variants = reply.get("ProductionVariants", [])
        return Instances(
            serving=sum(variant.get("CurrentInstanceCount", 0) for variant in variants),
            ordered=sum(variant.get("DesiredInstanceCount", 0) for variant in variants),
        )
