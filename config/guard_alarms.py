"""The alarms that take a version back: what each watches, and when it fires.

The one list: the stacks create them from it, new ones for every version. Nobody needs to be woken
by them, but who wants to hear of a version that was taken back does so on the same topic.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from config.guards import Guards
from config.operator_alarms import OperatorAlarm, Reading
from config.schema import Deployment
from lambdas.domain import metrics
from lambdas.domain.metrics import Metric

FIRST: Final = "`spillway release history MODEL` says whether it was taken back."
ATTEMPTS: Final = "completed + failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """One version, and the one that it is compared with."""

    deployment: Deployment
    model: str
    version: str

    @property
    def guards(self) -> Guards:
        return self.deployment.models[self.model].guards

    @property
    def baseline(self) -> str | None:
        return self.deployment.models[self.model].baseline(self.version)

    def reading(
        self,
        metric: Metric,
        statistic: Literal["Sum", "SampleCount", "p50", "p95"],
        *,
        version: str | None = None,
    ) -> Reading:
        """A statistic of the version, or of another."""
        return Reading(
            namespace=self.deployment.names.metrics,
            metric=metric.name,
            dimensions={"Model": self.model, "Version": version or self.version},
            statistic=statistic,
        )

    def alarm(
        self,
        guard: str,
        section: str,
        meaning: str,
        *,
        readings: Mapping[str, Reading],
        expression: str,
        threshold: float,
    ) -> OperatorAlarm:
        """A guard of the version: one data point over the whole window, computed every minute."""
        return OperatorAlarm(
            name=self.deployment.names.guard_alarm(self.model, self.version, guard),
            section=section,
            meaning=meaning,
            first=FIRST.replace("MODEL", self.model),
            readings=readings,
            expression=expression,
            sign=">",
            threshold=threshold,
            period_s=self.guards.window_s,
        )

    def share(self, guard: str, section: str, of: Metric, *, most: float) -> OperatorAlarm:
        """Fires when too large a part of the attempts is something."""
        read = {
            "completed": self.reading(metrics.COMPLETED, "Sum"),
            "failed": self.reading(metrics.FAILED, "Sum"),
            "found": self.reading(of, "Sum"),
        }
        found = "found"
        if of is metrics.FAILED:
            del read["found"]
            found = "failed"
        # CloudWatch takes a missing value for 0, beside one that is there; of none it makes none.
        enough = f"{ATTEMPTS} >= {self.guards.attempts_min}"
        return self.alarm(
            guard,
            section,
            f"More than {most:.0%} of the attempts of {self.model} {self.version} {_WORDS[guard]}, "
            f"of at least {self.guards.attempts_min} in {self.guards.window_s} s.",
            readings=read,
            expression=f"IF({enough}, {found} / ({ATTEMPTS}), 0)",
            threshold=most,
        )

    def ratio(
        self, guard: str, section: str, of: Metric, *, statistic: Literal["p50", "p95"], most: float
    ) -> OperatorAlarm | None:
        """Fires when a statistic is too far above the baseline's; of sizes, also below it."""
        baseline = self.baseline
        if baseline is None:
            return None
        expression = "ours / theirs"
        if guard == "size":
            expression = "IF(ours > theirs, ours / theirs, theirs / ours)"
        # CloudWatch knows no AND between series: a product of comparisons is one.
        least = self.guards.attempts_min
        return self.alarm(
            guard,
            section,
            f"{_WORDS[guard]} of {self.model} {self.version} and of {baseline} differ by a factor "
            f"of more than {most:g}, of at least {least} each in {self.guards.window_s} s.",
            readings={
                "ours": self.reading(of, statistic),
                "theirs": self.reading(of, statistic, version=baseline),
                "our_count": self.reading(of, "SampleCount"),
                "their_count": self.reading(of, "SampleCount", version=baseline),
            },
            expression=f"IF((our_count >= {least}) * (their_count >= {least}), {expression}, 0)",
            threshold=most,
        )


_WORDS: Final = {
    "failures": "failed",
    "invalid": "gave answers that are not what the model promises",
    "refused": "were refused by the model",
    "slow": "Service times (95th percentile)",
    "size": "Sizes of answers (median)",
}


def guard_alarms(deployment: Deployment, model: str, version: str) -> Iterator[OperatorAlarm]:
    """The guards of one version."""
    watched = _Watched(deployment=deployment, model=model, version=version)
    guards, output = watched.guards, deployment.models[model].output
    if guards.failed_share_max is not None:
        yield watched.share(
            "failures", "a-version-fails", metrics.FAILED, most=guards.failed_share_max
        )
    if guards.invalid_share_max is not None:
        yield watched.share(
            "invalid",
            "answers-are-not-as-promised",
            metrics.INVALID_OUTPUT,
            most=guards.invalid_share_max,
        )
    if guards.refused_share_max is not None and output is not None and output.refusal is not None:
        yield watched.share(
            "refused", "a-version-refuses", metrics.REFUSED, most=guards.refused_share_max
        )
    ratios = [
        guards.slow_ratio_max
        and watched.ratio(
            "slow",
            "a-version-is-slow",
            metrics.MODEL_SECONDS,
            statistic="p95",
            most=guards.slow_ratio_max,
        ),
        guards.size_ratio_max
        and watched.ratio(
            "size",
            "answers-change-size",
            metrics.OUTPUT_SIZE,
            statistic="p50",
            most=guards.size_ratio_max,
        ),
    ]
    yield from (alarm for alarm in ratios if alarm)
