"""The alarms that a person reads: what each watches, when it rings, and where it is explained.

The one list: the stacks create them from it, dashboards show them, `docs/alarms.md` is written
from it. Every alarm is one of a section of the runbook, which its description links to. Alarms
that scale fleets or take versions back are not here.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from config.schema import TIERS, Deployment, TierName
from lambdas.domain import metrics
from lambdas.domain.metrics import Metric

Sign = Literal[">", ">=", "<"]
MINUTE_S: Final = 60
WAIT_MINUTES_MIN: Final = 3
"""Shorter waits over target are bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One statistic of one series.

    Attributes:
        namespace: CloudWatch's.
        metric: Its name.
        dimensions: By name.
        statistic: Of each period.
    """

    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    statistic: Literal["Maximum", "Minimum", "Sum", "SampleCount", "p50", "p95"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAlarm:
    """One metric alarm.

    Attributes:
        name: In its region.
        section: The anchor of its section in the runbook.
        meaning: What is wrong, for who is woken by it.
        first: What to look at first.
        readings: What it watches: one series, or those of `expression` by their ids.
        expression: Metric math over the readings; empty for one series.
        sign: How a period's value is compared with the threshold.
        threshold: In the metric's unit.
        period_s: Seconds of one period.
        periods: How many are looked at.
        needed: How many of them must be so.
        missing: What a period without data counts as.
        silent: Whether another alarm tells of it.
    """

    name: str
    section: str
    meaning: str
    first: str
    readings: Mapping[str, Reading]
    expression: str = ""
    sign: Sign
    threshold: float
    period_s: int = MINUTE_S
    periods: int = 1
    needed: int = 1
    missing: Literal["notBreaching", "breaching"] = "notBreaching"
    silent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """One alarm in the place of several that would ring at once.

    Attributes:
        name: In its region.
        section: The anchor of its section in the runbook.
        meaning: What is wrong, for who is woken by it.
        first: What to look at first.
        any_of: Names of alarms of which one is enough.
        unless: Names of alarms that explain it.
    """

    name: str
    section: str
    meaning: str
    first: str
    any_of: tuple[str, ...]
    unless: tuple[str, ...] = field(default=())

    @property
    def rule(self) -> str:
        """As CloudWatch writes it."""
        rung = " OR ".join(f'ALARM("{name}")' for name in self.any_of)
        explained = "".join(f' AND NOT ALARM("{name}")' for name in self.unless)
        return f"({rung}){explained}"


def description(alarm: OperatorAlarm | Together, deployment: Deployment) -> str:
    """What its message begins with."""
    return f"{alarm.meaning} {alarm.first} Runbook: {deployment.alarms.link(alarm.section)}"


def of_region(deployment: Deployment) -> Iterator[OperatorAlarm]:
    """Alarms of a region as a whole."""
    names = deployment.names
    yield _dead_letters(
        deployment,
        names.results_dead_letters,
        "results",
        "Notifications of SageMaker that complete could not work off: their jobs are tried again "
        "when their leases end.",
    )
    yield _dead_letters(
        deployment,
        names.webhooks_dead_letters,
        "webhooks",
        "Webhooks that were given up after about a day of tries: their applications were not told.",
    )


def of_model(deployment: Deployment, model: str) -> Iterator[OperatorAlarm | Together]:
    """Alarms of a model in a region; those of several others come after them."""
    for tier in TIERS:
        yield _dead_letters(
            deployment,
            deployment.names.tier_dead_letters(model, tier),
            f"{model}-{tier}",
            f"Messages of {tier} jobs of {model} that sweep does not put back into their queue.",
            # Sweep works them off every minute; one that stays is a repair that fails.
            periods=5,
            needed=2,
        )
    for tier in TIERS:
        yield _wait(deployment, model, tier)


def _own(
    deployment: Deployment,
    metric: Metric,
    statistic: Literal["Maximum", "Minimum", "Sum"],
    **dimensions: str,
) -> Reading:
    """A series that our functions tell."""
    if tuple(dimensions) != metric.dimensions:
        raise ValueError(f"{metric.name} has a series for each {metric.dimensions}")
    return Reading(
        namespace=deployment.names.metrics,
        metric=metric.name,
        dimensions=dimensions,
        statistic=statistic,
    )


def _dead_letters(
    deployment: Deployment,
    queue: str,
    what: str,
    meaning: str,
    *,
    periods: int = 1,
    needed: int = 1,
) -> OperatorAlarm:
    return OperatorAlarm(
        name=deployment.names.alarm(f"dead-letters-{what}"),
        section="dead-letters",
        meaning=meaning,
        first=f"Look at the queue {queue}.",
        readings={
            "m": Reading(
                namespace="AWS/SQS",
                metric="ApproximateNumberOfMessagesVisible",
                dimensions={"QueueName": queue},
                statistic="Maximum",
            )
        },
        sign=">",
        threshold=0,
        periods=periods,
        needed=needed,
    )


def _wait(deployment: Deployment, model: str, tier: TierName) -> OperatorAlarm:
    """The oldest job waits too long, and longer than new instances take to come."""
    settings, multiples = deployment.models[model], deployment.alarms.wait_multiples
    target_s, times = deployment.tiers[tier].target_wait_s, getattr(multiples, tier)
    minutes = max(WAIT_MINUTES_MIN, math.ceil(settings.warm_up_s / MINUTE_S) + 1)
    # Beat sees the age of the oldest job, which may be at work.
    limit_s = times * target_s + settings.versions[settings.wanted].service.typical_s
    return OperatorAlarm(
        name=deployment.names.alarm(f"wait-{model}-{tier}"),
        section="oldest-wait-over-target",
        meaning=f"The oldest {tier} job of {model} has waited {times:g} times the target of "
        f"{target_s:g} s, for {minutes} minutes: new instances had the time to come.",
        first="Look at instances and waits: `spillway capacity`.",
        readings={"m": _own(deployment, metrics.OLDEST_WAIT, "Minimum", Model=model, Tier=tier)},
        sign=">",
        threshold=round(limit_s, 3),
        periods=minutes,
        needed=minutes,
    )
