"""What became of attempts, by the version that served them: guards and graphs read it."""

from collections import defaultdict
from dataclasses import dataclass, field

from lambdas.adapters.clock import now_ms as current_ms
from lambdas.adapters.metrics import Metrics
from lambdas.domain import metrics
from lambdas.domain.job import Job
from lambdas.domain.metrics import Metric

INVALID_OUTPUT = "invalid_output"
"""The error's code of an attempt whose answer was not what the model promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Collects the outcomes of a batch of attempts, to tell them together."""

    metrics: Metrics
    seen: dict[tuple[str, str], list[tuple[Metric, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def completed(self, job: Job, *, size: int | None, now_ms: int) -> None:
        """Note that an attempt's answer was committed; `size` is its bytes, if known."""
        values: list[tuple[Metric, float]] = [(metrics.COMPLETED, 1)]
        if job.started_ms is not None:
            values.append((metrics.MODEL_SECONDS, (now_ms - job.started_ms) / 1000))
        if size is not None:
            values.append((metrics.OUTPUT_SIZE, size))
        self._note(job, values)

    def failed(self, job: Job, *, code: str) -> None:
        """Note that an attempt failed; `job` is as it was at work."""
        values: list[tuple[Metric, float]] = [(metrics.FAILED, 1)]
        if code == INVALID_OUTPUT:
            values.append((metrics.INVALID_OUTPUT, 1))
        self._note(job, values)

    def publish(self) -> None:
        """Tell what was noted since the last time."""
        for (model, version), values in list(self.seen.items()):
            dimensions = {"Model": model, "Version": version}
            self.metrics.publish(dimensions, values, at_ms=current_ms())
            del self.seen[model, version]

    def _note(self, job: Job, values: list[tuple[Metric, float]]) -> None:
        if job.version is not None:
            self.seen[job.model, job.version] += values
