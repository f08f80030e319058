"""SageMaker's model registry: whether somebody approved what a version is made of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

MISSING = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
"""Codes for a package that is not there; the API reference names none."""
APPROVED = "Approved"


@dataclass(frozen=True, slots=True)
class Registry:
    """Reads model packages."""

    client: "SageMakerClient"

    def objection(self, arn: str, *, image: str, artifact: str | None) -> str:
        """Why a version may not be released as this package; empty if it may.

        Args:
            arn: The package's address.
            image: The image that the version runs, by tag or by digest.
            artifact: The `s3://` address of the version's weights, or None.
        """
        try:
            package = self.client.describe_model_package(ModelPackageName=arn)
        except ClientError as error:
            if error.response["Error"]["Code"] in MISSING:
                return f"the model package {arn} does not exist"
            raise
        status = package.get("ModelApprovalStatus", "not approved")
        if status != APPROVED:
            return f"the model package {arn} is {status}"
        containers: Any = package.get("InferenceSpecification", {}).get("Containers", [])
        container = containers[0] if len(containers) == 1 else {}
        if image not in _images(container):
            return f"the model package {arn} has another image than the version"
        if container.get("ModelDataUrl") != artifact:
            return f"the model package {arn} has other model data than the version"
        return ""


def _images(container: dict[str, Any]) -> set[str]:
    """The names of a container's image: as it was registered, and by its digest."""
    image = str(container.get("Image", ""))
    repository = image.partition("@")[0].rpartition("/")
    name = repository[2].partition(":")[0]
    digest = container.get("ImageDigest")
    return {image} | ({f"{repository[0]}/{name}@{digest}"} if digest else set())
