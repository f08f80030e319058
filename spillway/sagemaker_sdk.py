"""The SageMaker SDK: a build-time extra of some 450 MB, loaded only by the commands that need it.

`ModelPackage.create` of sagemaker-core 2.27 fails after it has made the package, because it looks
for a field that the service does not answer with; so packages are made by `model_registry`.
"""

import importlib
from collections.abc import Sequence
from typing import Any, Final

from spillway.registration import Package, Wanted

INSTALL: Final = "pip install -e '.[sagemaker]'"
"""What its absence is told with."""
CONTENT_TYPE: Final = "application/json"
INSTANCE_TYPE: Final = "ml.g5.xlarge"
"""A GPU: some images have a variant without one."""
MISSING: Final = ("does not exist", "not found")


class SdkMissingError(RuntimeError):
    """The extra is not installed; the message says how."""


def load(module: str) -> Any:
    """A module of the SDK.

    Raises:
        SdkMissingError: It is not installed.
    """
    try:
        return importlib.import_module(f"sagemaker.core.{module}")
    except ImportError as error:
        raise SdkMissingError(
            f"this needs the SageMaker SDK, which is not installed: {INSTALL} (some 450 MB)"
        ) from error


def image(framework: str, region: str) -> str:
    """The newest image for inference on a GPU that the SDK knows of.

    Raises:
        SdkMissingError: The SDK is not installed.
        ValueError: It knows no such framework, or not in that region.
    """
    found: str = load("image_uris").retrieve(
        framework, region, instance_type=INSTANCE_TYPE, image_scope="inference"
    )
    return found


class SdkRegistry:
    """The model registry of one region.

    Args:
        session: Of boto3, in that region.

    Raises:
        SdkMissingError: The SDK is not installed.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._registry = load("model_registry")
        self._resources = load("resources")
        self._helper = load("helper.session_helper").Session(boto_session=session)

    def packages(self, group: str) -> Sequence[Package]:
        """Those of a group, none if there is no group."""
        try:
            listed = list(
                self._resources.ModelPackage.get_all(
                    model_package_group_name=group,
                    session=self._session,
                    region=self._session.region_name,
                )
            )
        except Exception as error:
            if any(words in str(error) for words in MISSING):
                return []
            raise
        return [
            Package(
                arn=str(each.model_package_arn), description=str(each.model_package_description)
            )
            for each in listed
        ]

    def register(self, group: str, wanted: Wanted) -> Package:
        """Make one more, and its group before."""
        container: dict[str, Any] = {"Image": wanted.image}
        if wanted.data_url:
            container["ModelDataUrl"] = wanted.data_url
        if wanted.environment:
            container["Environment"] = dict(wanted.environment)
        reply = self._registry.create_model_package_from_containers(
            self._helper,
            containers=[container],
            content_types=[CONTENT_TYPE],
            response_types=[CONTENT_TYPE],
            inference_instances=[wanted.instance_type],
            model_package_group_name=group,
            approval_status="Approved" if wanted.approved else "PendingManualApproval",
            description=wanted.description,
        )
        return Package(arn=str(reply["ModelPackageArn"]), description=wanted.description)
