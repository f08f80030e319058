"""The metrics that SageMaker publishes of asynchronous endpoints, for every minute.

The page: docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html. Of its metrics,
those are published that fleets are scaled by: the ones of an endpoint and its queue.
"""

from collections.abc import Callable
from typing import Final, Literal

from spillway.twin.clock import Event, Scheduler
from spillway.twin.metrics import MINUTE_S, Metric, Metrics
from spillway.twin.sagemaker import Endpoint, SageMaker

NAMESPACE: Final = "AWS/SageMaker"
PER_INSTANCE: Final = "ApproximateBacklogSizePerInstance"


class SageMakerMetrics:
    """Publishes until it is closed.

    Args:
        scheduler: Time.
        sagemaker: Whose endpoints.
        metrics: Where to.
        without_instances: What the backlog per instance is of an endpoint that has none: the
            backlog, or missing. That target tracking leaves zero once "the number of backlog
            requests exceeds the target tracking value" (developer guide, "Autoscale an
            asynchronous endpoint") speaks for the first.

    Attributes:
        every_s: Between two samples, which AWS does not document. They are put together by the
            minute, which has an average and extremes.
        elsewhere: How many requests wait for an endpoint before they reach its own queue; they are
            told as if they were in it. None are, unless somebody asks what would be.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        sagemaker: SageMaker,
        metrics: Metrics,
        *,
        without_instances: Literal["backlog", "missing"] = "backlog",
    ) -> None:
        self.without_instances = without_instances
        self.every_s = float(MINUTE_S)
        self.elsewhere: Callable[[Endpoint], int] = lambda _: 0
        self._scheduler = scheduler
        self._sagemaker = sagemaker
        self._metrics = metrics
        self._timer: Event | None = None
        self._plan()

    def close(self) -> None:
        """Publish no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        sample = int(self._scheduler.now() // self.every_s) + 1
        self._timer = self._scheduler.at(sample * self.every_s, self._publish)

    def _publish(self) -> None:
        self._plan()
        now_s = self._scheduler.now()
        for endpoint in self._sagemaker.endpoints():
            dimensions = frozenset({("EndpointName", endpoint.name)})
            missing = self.without_instances == "missing" and not endpoint.in_service
            for name, (value, unit) in readings(
                endpoint, now_s, elsewhere=self.elsewhere(endpoint)
            ).items():
                if name == PER_INSTANCE and missing:
                    continue
                metric = Metric(NAMESPACE, name, dimensions)
                self._metrics.put(endpoint.region, metric, [value], unit=unit)


def readings(
    endpoint: Endpoint, now_s: float, *, elsewhere: int = 0
) -> dict[str, tuple[float, str]]:
    """What an endpoint's metrics are now, with their units, by name.

    Args:
        endpoint: Which.
        now_s: Seconds since the epoch.
        elsewhere: Requests that wait for it but are not in its queue yet.
    """
    instances = len(endpoint.in_service)
    oldest_s = endpoint.oldest_s
    backlog = endpoint.backlog + elsewhere
    stuck = backlog > 0 and not instances
    return {
        "ApproximateBacklogSize": (backlog, "Count"),
        PER_INSTANCE: (backlog / max(1, instances), "Count"),
        "HasBacklogWithoutCapacity": (float(stuck), "Count"),
        "ApproximateAgeOfOldestRequest": (0.0 if oldest_s is None else now_s - oldest_s, "Seconds"),
    }
