"""Application Auto Scaling: scalable targets bound the instances of SageMaker endpoints.

moto's backend holds the targets, so that describe calls work. Policies are not run yet, and a
template with one is refused as unsupported.
"""

from dataclasses import replace
from typing import Any, Final

from moto.applicationautoscaling.models import applicationautoscaling_backends

from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.sagemaker import SageMaker

DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"


class Scaling:
    """The scalable targets of every region and account of the twin.

    Args:
        sagemaker: Whose endpoints have instances.
    """

    def __init__(self, sagemaker: SageMaker) -> None:
        self._sagemaker = sagemaker

    def create(self, resource: Resource) -> Resource:
        """Register a target, and bring its endpoint within the target's bounds.

        Raises:
            ValueError: Application Auto Scaling would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        properties = resource.properties
        namespace, target = properties["ServiceNamespace"], properties["ResourceId"]
        dimension = properties["ScalableDimension"]
        if (namespace, dimension) != ("sagemaker", DIMENSION):
            raise UnsupportedError(f"ScalableDimension: only {DIMENSION} runs")
        least, most = int(properties["MinCapacity"]), int(properties["MaxCapacity"])
        if not 0 <= least <= most:
            raise ValueError(f"MinCapacity {least} is not within 0 and MaxCapacity {most}")
        kind, _, rest = target.partition("/")
        name, _, variant = rest.partition("/variant/")
        try:
            endpoint = self._sagemaker.endpoint(resource.region, name)
        except KeyError:
            endpoint = None
        if endpoint is None or kind != "endpoint" or endpoint.variant["VariantName"] != variant:
            raise ValueError(f"there is no endpoint variant {target!r} to scale")
        backend = applicationautoscaling_backends[resource.account][resource.region]
        running: Any = {  # moto hands the JSON object on, whatever its type says.
            f"{kind}Suspended": False
            for kind in ("DynamicScalingIn", "DynamicScalingOut", "ScheduledScaling")
        }
        backend.register_scalable_target(
            namespace, target, dimension, least, most, properties.get("RoleARN", ""), running
        )
        # Only an endpoint in service is changed, as with RegisterScalableTarget.
        bounded = min(most, max(least, endpoint.desired))
        if endpoint.status == "InService" and bounded != endpoint.desired:
            self._sagemaker.resize(endpoint, bounded)
        return replace(
            resource,
            physical_id=f"{target}|{dimension}|{namespace}",
            attributes={"Id": f"{target}|{dimension}|{namespace}"},
        )
