"""Metrics by log lines: CloudWatch reads them from what functions print.

Embedded metric format costs the bytes of its lines. A call of PutMetricData every five seconds
would cost ten times as much, and take time in functions that are in a hurry.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lambdas.domain.metrics import Metric


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where a deployment's metrics go.

    Attributes:
        namespace: CloudWatch's, of the deployment.
    """

    namespace: str

    def publish(
        self,
        dimensions: Mapping[str, str],
        values: Iterable[tuple[Metric, float]],
        *,
        at_ms: int,
    ) -> None:
        """Print values of one set of dimensions; a metric may come several times.

        Args:
            dimensions: By name, those of the metrics.
            values: Each metric with a value.
            at_ms: When that was.
        """
        # Submit shares code with those that publish, and would load it at every cold start.
        from aws_lambda_powertools.metrics import EphemeralMetrics  # noqa: PLC0415

        lines = EphemeralMetrics(namespace=self.namespace, service="")
        lines.set_timestamp(at_ms)
        for name, among in dimensions.items():
            lines.add_dimension(name=name, value=among)
        for metric, value in values:
            lines.add_metric(
                name=metric.name, unit=metric.unit, value=value, resolution=metric.resolution_s
            )
        if lines.metric_set:
            lines.flush_metrics()
