"""What became of attempts, by the version that served them: guards and graphs read it."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from lambdas.adapters.clock import now_ms as current_ms
from lambdas.adapters.metrics import Metrics
from lambdas.domain import metrics
from lambdas.domain.job import Job
from lambdas.domain.metrics import Metric
from lambdas.domain.output import Judgement
from lambdas.domain.release import RELEASE_TENANT

INVALID_OUTPUT = "invalid_output"
"""The error's code of an attempt whose answer is not what the model promises."""

Values = list[tuple[Metric, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Collects the outcomes of a batch of attempts, to tell them together.

    Attributes:
        metrics: Where they are told.
        seen: What is counted, by model and version.
        measured: What versions are compared by, by model, version and tier.
        fallen: Jobs that another model took over, by the model that was asked.
    """

    metrics: Metrics
    seen: dict[tuple[str, str], Values] = field(default_factory=lambda: defaultdict(list))
    measured: dict[tuple[str, str, str], Values] = field(default_factory=lambda: defaultdict(list))
    fallen: Counter[str] = field(default_factory=Counter)

    def completed(
        self, job: Job, *, size: int | None, judgement: Judgement, at_ms: int | None
    ) -> None:
        """Note that an attempt's answer was committed.

        Args:
            job: As it is then.
            size: Of the answer in bytes, if known.
            judgement: Of the answer.
            at_ms: When it was there, if known: how late we are is not the version's fault, and
                would take a good one back.
        """
        values: Values = [(metrics.COMPLETED, 1)]
        if judgement.invalid:
            values.append((metrics.INVALID_OUTPUT, 1))
        if judgement.refused:
            values.append((metrics.REFUSED, 1))
        self._count(job, values)
        self._measure(job, size=size, at_ms=at_ms)

    def failed(self, job: Job, *, code: str) -> None:
        """Note that an attempt failed; `job` is as it was at work."""
        values: Values = [(metrics.FAILED, 1)]
        if code == INVALID_OUTPUT:
            values.append((metrics.INVALID_OUTPUT, 1))
        self._count(job, values)

    def declined_wrongly(self, job: Job) -> None:
        """Note that a version found fault with an input that was answered afterwards."""
        if job.declined_by is not None:
            self.seen[job.model, job.declined_by].append((metrics.FAILED, 1))

    def fell_back(self, job: Job) -> None:
        """Note that another model took a job over."""
        self.fallen[job.wished] += 1

    def publish(self) -> None:
        """Tell what was noted since the last time."""
        for (model, version), values in list(self.seen.items()):
            dimensions = {"Model": model, "Version": version}
            told = {metric for metric, _ in values}
            # Guards compute with both: a version that has never answered needs its zeros.
            values += [(m, 0) for m in (metrics.COMPLETED, metrics.FAILED) if m not in told]
            self.metrics.publish(dimensions, values, at_ms=current_ms())
            del self.seen[model, version]
        for (model, version, tier), values in list(self.measured.items()):
            dimensions = {"Model": model, "Version": version, "Tier": tier}
            self.metrics.publish(dimensions, values, at_ms=current_ms())
            del self.measured[model, version, tier]
        for model, jobs in list(self.fallen.items()):
            counted = [(metrics.FELL_BACK, float(jobs))]
            self.metrics.publish({"Model": model}, counted, at_ms=current_ms())
            del self.fallen[model]

    def _count(self, job: Job, values: Values) -> None:
        if job.version is not None:
            self.seen[job.model, job.version] += values

    def _measure(self, job: Job, *, size: int | None, at_ms: int | None) -> None:
        """Note what versions are compared by; smoke jobs are not what clients ask for."""
        if job.version is None or job.tenant == RELEASE_TENANT:
            return
        values: Values = []
        if job.started_ms is not None and at_ms is not None:
            values.append((metrics.MODEL_SECONDS, max(0, at_ms - job.started_ms) / 1000))
        if size is not None:
            values.append((metrics.OUTPUT_SIZE, size))
        for version in (job.version, metrics.LIVE) if job.as_live else (job.version,):
            self.measured[job.model, version, job.tier] += values
