"""The alarms that take a version back: what each watches, and when it fires.

The one list: the stacks create them from it, new ones for every version. Nobody needs to be woken
by them, but who wants to hear of a version that was taken back does so on the same topic.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from config.guards import Guards
from config.operator_alarms import OperatorAlarm, Reading
from config.schema import TIERS, Deployment, TierName
from lambdas.domain import metrics
from lambdas.domain.metrics import Metric

FIRST: Final = "`spillway release history MODEL` says whether it was taken back."
ATTEMPTS: Final = "completed + failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """One version."""

    deployment: Deployment
    model: str
    version: str

    @property
    def guards(self) -> Guards:
        return self.deployment.models[self.model].guards

    def reading(
        self,
        metric: Metric,
        statistic: Literal["Sum", "SampleCount", "p50", "p95"],
        *,
        version: str | None = None,
        tier: TierName | None = None,
    ) -> Reading:
        """A statistic of the version, or of another."""
        of = {"Model": self.model, "Version": version or self.version}
        return Reading(
            namespace=self.deployment.names.metrics,
            metric=metric.name,
            dimensions=of if tier is None else of | {"Tier": tier},
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

    def ratio(self, compared: "_Compared", tier: TierName, *, most: float) -> OperatorAlarm:
        """Fires when a statistic is too far from the live version's; of sizes, also below it.

        Of the live version itself it is silent: both are the same. Of `attempts_min` attempts, of
        whichever has fewer, the ratio must be twice that of very many, since percentiles of few
        lie: of two equal versions whose service times are log-normal (sigma 1), twenty attempts of
        one against 180 of the other would differ by half in a twelfth of the windows; by twice that
        in one of 300. The live one has few when a region is wholly on another, and when that one
        has just become live: then 180 against twenty would differ by half in a quarter of the
        windows, and by twice that in one of 70.
        """
        least = self.guards.attempts_min
        ratio = "ours / live"
        if compared.both_ways:
            ratio = "IF(ours > live, ours / live, live / ours)"
        # CloudWatch knows no AND between series: a product of comparisons is one.
        enough = f"(our_count >= {least}) * (live_count >= {least})"
        fewer = "IF(our_count < live_count, our_count, live_count)"
        return self.alarm(
            f"{compared.guard}-{tier}",
            compared.section,
            f"{compared.words} of {tier} jobs of {self.model} {self.version} and of the live "
            f"version differ by a factor of more than {most:g}, of many attempts in "
            f"{self.guards.window_s} s; of only {least} of one of them, by twice that.",
            readings={
                "ours": self.reading(compared.metric, compared.statistic, tier=tier),
                "live": self.reading(
                    compared.metric, compared.statistic, version=metrics.LIVE, tier=tier
                ),
                "our_count": self.reading(compared.metric, "SampleCount", tier=tier),
                "live_count": self.reading(
                    compared.metric, "SampleCount", version=metrics.LIVE, tier=tier
                ),
            },
            expression=f"IF({enough}, {ratio} / (1 + {least} / {fewer}), 0)",
            threshold=most,
        )

    def bound(self, *, most_s: float) -> OperatorAlarm:
        """Fires when the version is slow by itself, whatever the live one does, or is it."""
        readings: dict[str, Reading] = {}
        for tier in TIERS:
            readings[tier] = self.reading(metrics.MODEL_SECONDS, "p95", tier=tier)
            readings[f"{tier}_count"] = self.reading(
                metrics.MODEL_SECONDS, "SampleCount", tier=tier
            )
        least = self.guards.attempts_min
        # A tier without data adds nothing to those that have some.
        over = [f"({tier}_count >= {least}) * ({tier} > {most_s:g})" for tier in TIERS]
        return self.alarm(
            "slow",
            "a-version-is-slow",
            f"The 95th percentile of the service times of {self.model} {self.version} is over "
            f"{most_s:g} s in a tier, of at least {least} attempts in {self.guards.window_s} s.",
            readings=readings,
            expression=" + ".join(over),
            threshold=0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """What of a version is compared with the live one, tier by tier."""

    guard: Literal["slow", "size"]
    section: str
    words: str
    metric: Metric
    statistic: Literal["p50", "p95"]
    both_ways: bool = False


_SLOW: Final = _Compared(
    guard="slow",
    section="a-version-is-slow",
    words="Service times (95th percentile)",
    metric=metrics.MODEL_SECONDS,
    statistic="p95",
)
_SIZE: Final = _Compared(
    guard="size",
    section="answers-change-size",
    words="Sizes of answers (median)",
    metric=metrics.OUTPUT_SIZE,
    statistic="p50",
    both_ways=True,
)
_WORDS: Final = {
    "failures": "failed",
    "invalid": "gave answers that are not what the model promises",
    "refused": "were refused by the model",
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
    if guards.service_p95_s_max is not None:
        yield watched.bound(most_s=guards.service_p95_s_max)
    if len(deployment.models[model].versions) == 1:
        return  # nothing to compare it with
    for compared, most in ((_SLOW, guards.slow_ratio_max), (_SIZE, guards.size_ratio_max)):
        if most is not None:
            # An alarm for each tier: all of them would read twelve series, and one may read ten.
            yield from (watched.ratio(compared, tier, most=most) for tier in TIERS)
