"""The alarms that a person reads: what each watches, when it rings, and where it is explained.

The one list: the stacks create them from it, dashboards show them, `docs/alarms.md` is written
from it. Every alarm is one of a section of the runbook, which its description links to. Alarms
that scale fleets are not here, and those that take versions back are in `config/guard_alarms.py`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from config.schema import TIERS, Deployment, TierName
from lambdas.domain import metrics
from lambdas.domain.metrics import Metric

Statistic = Literal["Average", "Maximum", "Minimum", "SampleCount", "Sum", "p50", "p95"]
Sign = Literal[">", ">=", "<"]
MINUTE_S: Final = 60
WAIT_MINUTES_MIN: Final = 3
"""Shorter waits over target are bursts."""
IDLE_MINUTES: Final = 30
"""For which instances complete nothing before somebody is told: well over any warm-up."""
UNDECIDED_MINUTES: Final = 5
"""Without a decision about releases, which is due every minute."""
STILL_MINUTES: Final = 10
"""Without a round of batches that brought all of them on. A minute may pass without one: the file
of a large batch is put together in two, and a run that was cut short is made up by the next."""
WEBHOOKS_MIN: Final = 10
"""Tries in five minutes: of fewer, one application's bad address makes most."""


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
    statistic: Statistic


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
        quiet_minutes: For which it is not looked at when it is new.
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
    quiet_minutes: int = 0


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


def of_region(deployment: Deployment, region: str) -> Iterator[OperatorAlarm]:
    """Alarms of a region as a whole."""
    names, settings = deployment.names, deployment.alarms
    yield OperatorAlarm(
        name=names.alarm("not-ready"),
        section="region-not-ready",
        meaning="The region takes no jobs and starts none, or its beat does not run, and then no "
        "other alarm of its models can ring.",
        first="Look at `spillway region list` and at the log of beat.",
        readings={"m": _own(deployment, metrics.READY, "Maximum", Region=region)},
        sign="<",
        threshold=1,
        periods=3,
        needed=3,
        missing="breaching",
    )
    yield OperatorAlarm(
        name=names.alarm("releases-undecided"),
        section="releases-not-decided",
        meaning="Nothing decides about releases: no version goes on, and none that turns bad is "
        f"taken back by this region, for {UNDECIDED_MINUTES} minutes.",
        first="Look at `not decided` and for errors in the log of release.",
        readings={"m": _own(deployment, metrics.RELEASES_DECIDED, "Maximum", Region=region)},
        sign="<",
        threshold=1,
        periods=UNDECIDED_MINUTES,
        needed=UNDECIDED_MINUTES,
        missing="breaching",
        # A new one would ring for the minutes before the first run.
        quiet_minutes=UNDECIDED_MINUTES,
    )
    yield _batches(deployment, region)
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
    if len(deployment.regions) > 1:
        yield from _moves(deployment)
    yield _throttled(deployment)
    yield _webhooks_failing(deployment, region)
    yield OperatorAlarm(
        name=names.alarm("keys-refused"),
        section="keys-refused",
        meaning=f"More than {settings.refused_keys_per_minute} requests a minute come with keys "
        "that are unknown or revoked.",
        first="Look at `key refused` in the log of authorize: one key, or many?",
        readings={"m": _own(deployment, metrics.KEYS_REFUSED, "Sum", Region=region)},
        sign=">",
        threshold=settings.refused_keys_per_minute,
        periods=5,
        needed=5,
    )
    yield OperatorAlarm(
        name=names.alarm("credentials-refused"),
        section="credentials-refused",
        meaning="AWS refuses calls of functions or containers for want of a right.",
        first="Look for `credentials refused` in the logs of the functions, and deploy again.",
        readings={"m": _own(deployment, metrics.CREDENTIALS_REFUSED, "Sum", Region=region)},
        sign=">",
        threshold=0,
        periods=5,
        needed=2,
    )


def of_model(deployment: Deployment, model: str) -> Iterator[OperatorAlarm | Together]:
    """Alarms of a model in a region; those of several others come after them."""
    names, settings = deployment.names, deployment.alarms
    settings_of_model = deployment.models[model]
    for tier in TIERS:
        yield _dead_letters(
            deployment,
            names.tier_dead_letters(model, tier),
            f"{model}-{tier}",
            f"Messages of {tier} jobs of {model} that sweep does not put back into their queue.",
            # Sweep works them off every minute; one that stays is a repair that fails.
            periods=5,
            needed=2,
        )
    waits = [_wait(deployment, model, tier) for tier in TIERS]
    yield from waits
    yield Together(
        name=names.alarm(f"waits-{model}"),
        section="oldest-wait-over-target",
        meaning=f"Jobs of {model} have waited several times their target for longer than new "
        "instances take to come.",
        first="Look at instances and waits: `spillway capacity`.",
        any_of=tuple(wait.name for wait in waits),
        # While a region's jobs are moved here, waits are what was to be expected.
        unless=tuple(names.alarm(f"moves-{why}") for why in ("evacuate", "drain"))
        if len(deployment.regions) > 1
        else (),
    )
    yield OperatorAlarm(
        name=names.alarm(f"starvation-{model}"),
        section="starvation",
        meaning=f"A tier of {model} that has work gets less than {settings.starved_below:.0%} of "
        "its guaranteed share of the starts.",
        first="Look at waits by tier: `spillway capacity`.",
        readings={"m": _own(deployment, metrics.LOWEST_SHARE, "Maximum", Model=model)},
        sign="<",
        threshold=settings.starved_below,
        periods=10,
        needed=10,
    )
    yield OperatorAlarm(
        name=names.alarm(f"gate-drift-{model}"),
        section="gate-drift",
        meaning=f"Slots of {model} that nobody held were given back by sweep, again and again.",
        first="Look for time-outs in the log of dispatch.",
        readings={"m": _own(deployment, metrics.SLOTS_REPAIRED, "Sum", Model=model)},
        sign=">",
        threshold=0,
        periods=30,
        needed=2,
    )
    if settings_of_model.state != "off":
        for version in settings_of_model.versions:
            yield _idle(deployment, model, version)


def _idle(deployment: Deployment, model: str, version: str) -> OperatorAlarm:
    """Instances that are paid for and complete nothing, though work waits or nobody needs them.

    Those of a minimum without work are none: somebody wanted them. Of a wanted version that is in
    quarantine they are: its minimum stands in the configuration, and does nothing.

    `Completed` is there only when something was completed, and a version that hangs from its first
    minute has no such series at all, in which FILL would have no gaps to fill. So instances, which
    beat always tells, are added to it as nothing: beside a value a missing one counts as 0
    (CloudWatch user guide, "Using metric math"), as with `_throttled`.
    """
    of = {"Model": model, "Version": version}
    readings = {
        "instances": _own(deployment, metrics.VERSION_INSTANCES, "Minimum", **of),
        "pressure": _own(deployment, metrics.VERSION_PRESSURE, "Minimum", **of),
        "completed": _own(deployment, metrics.COMPLETED, "Sum", **of),
        "spare": _own(deployment, metrics.SPARE, "Minimum", **of),
    }
    return OperatorAlarm(
        name=deployment.names.alarm(f"idle-{model}-{version}"),
        section="idle-instances",
        meaning=f"Instances of {model} {version} have completed nothing for {IDLE_MINUTES} "
        "minutes, though work waits for them or nobody needs them: they cost money for nothing.",
        first="Look at the endpoint's log, and at its scaling activities.",
        readings=readings,
        expression="IF(completed + 0 * instances > 0, 0, IF(pressure + spare > 0, instances, 0))",
        sign=">=",
        threshold=1,
        periods=IDLE_MINUTES,
        needed=IDLE_MINUTES,
    )


def _batches(deployment: Deployment, region: str) -> OperatorAlarm:
    """Batches that wait for their jobs go on: how long those wait is told by the alarms of tiers.

    The function tells of itself, each minute and also without batches. When it does not run it
    tells nothing, which is as bad.
    """
    return OperatorAlarm(
        name=deployment.names.alarm("batches-stand-still"),
        section="batches-stand-still",
        meaning="Nothing brings the batches of the region on, or one of them comes to nothing "
        f"with every turn, for {STILL_MINUTES} minutes.",
        first="Look at `batch not brought on` and for errors in the log of batches.",
        readings={"m": _own(deployment, metrics.BATCHES_GO_ON, "Minimum", Region=region)},
        sign="<",
        threshold=1,
        periods=STILL_MINUTES,
        needed=STILL_MINUTES,
        missing="breaching",
        # A new one would ring for the minutes before the first run.
        quiet_minutes=STILL_MINUTES,
    )


def _moves(deployment: Deployment) -> Iterator[OperatorAlarm]:
    """Jobs come from other regions: at once if that region is lost or drained, else in the end."""
    told = {
        "evacuate": ("Another region is lost, and its jobs are moved here.", 1),
        "drain": ("Another region is drained, and its jobs are moved here.", 1),
        "relieve": ("Another region has given jobs away to this one for a quarter of an hour.", 15),
    }
    for why, (meaning, minutes) in told.items():
        yield OperatorAlarm(
            name=deployment.names.alarm(f"moves-{why}"),
            section="moves-under-way",
            meaning=meaning,
            first="Look at `spillway region list` and `spillway capacity`.",
            readings={"m": _own(deployment, metrics.MOVED, "Sum", Why=why)},
            sign=">",
            threshold=0,
            periods=minutes,
            needed=minutes,
        )


def _webhooks_failing(deployment: Deployment, region: str) -> OperatorAlarm:
    """Of a few tries the share that fails says nothing."""
    most = deployment.alarms.failed_webhooks_share
    tries = {
        "failed": _own(deployment, metrics.WEBHOOK_FAILURES, "Average", Region=region),
        "tries": _own(deployment, metrics.WEBHOOK_FAILURES, "SampleCount", Region=region),
    }
    return OperatorAlarm(
        name=deployment.names.alarm("webhooks-failing"),
        section="webhooks-failing",
        meaning=f"More than {most:.0%} of the tries to deliver webhooks fail.",
        first="Look at `webhook tried` in the log of notify: one address, or all of them?",
        readings=tries,
        expression=f"IF(tries >= {WEBHOOKS_MIN}, failed, 0)",
        sign=">",
        threshold=most,
        period_s=5 * MINUTE_S,
    )


def _throttled(deployment: Deployment) -> OperatorAlarm:
    """DynamoDB tells of throttles only when there are some, and its alarms ignore missing data.

    So what is always there, the units that beat's lease takes, is added as nothing: then missing
    throttles count as 0 (CloudWatch user guide, "Using metric math"), and the alarm ends.
    """
    table = {"TableName": deployment.names.ledger}
    indexes = {name: table | {"GlobalSecondaryIndexName": name} for name in ("live", "listing")}
    watched = {
        "writes": ("WriteThrottleEvents", table),
        "reads": ("ReadThrottleEvents", table),
        **{name: ("WriteThrottleEvents", index) for name, index in indexes.items()},
        "used": ("ConsumedWriteCapacityUnits", table),
    }
    return OperatorAlarm(
        name=deployment.names.alarm("ledger-throttled"),
        section="ledger-throttled",
        meaning="DynamoDB refuses reads or writes of the ledger because they are too many; they "
        "are tried again, and jobs are slower.",
        first="Look at who submits how much: `spillway tenant list`, the metrics of submit.",
        readings={
            name: Reading(
                namespace="AWS/DynamoDB", metric=metric, dimensions=dimensions, statistic="Sum"
            )
            for name, (metric, dimensions) in watched.items()
        },
        expression="writes + reads + live + listing + 0 * used",
        sign=">",
        threshold=0,
        periods=5,
        needed=3,
    )


def _own(
    deployment: Deployment,
    metric: Metric,
    statistic: Statistic,
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
    return OperatorAlarm(
        name=deployment.names.alarm(f"wait-{model}-{tier}"),
        section="oldest-wait-over-target",
        meaning=f"The oldest {tier} job of {model} has waited {times:g} times the target of "
        f"{target_s:g} s, for {minutes} minutes: new instances had the time to come.",
        first="Look at instances and waits: `spillway capacity`.",
        readings={"m": _own(deployment, metrics.OLDEST_WAIT, "Minimum", Model=model, Tier=tier)},
        sign=">",
        threshold=times * target_s,
        periods=minutes,
        needed=minutes,
        silent=True,
    )
