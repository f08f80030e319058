"""Every metric that the functions publish: names, units, dimensions and what they mean.

The one list: beat and the endings of attempts publish by it, alarms and dashboards read by it, and
`docs/metrics.md` is written from it.
"""

from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["Count", "Count/Second", "Seconds", "Bytes", "None"]
LIVE: Final = "live"
"""Stands for a version's name where the live one is meant, whichever that is: no version has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a deployment, in each region.

    Attributes:
        name: As CloudWatch knows it.
        unit: One of CloudWatch's.
        dimensions: What there is a series for each of.
        resolution_s: 1 for what alarms of ten seconds need, else 60.
        meaning: For whoever reads a graph at night.
        every_minute: Whether it is told every minute, whatever happens.
    """

    name: str
    unit: Unit
    dimensions: tuple[Literal["Model", "Tier", "Version", "Region", "Why"], ...]
    resolution_s: Literal[1, 60]
    meaning: str
    every_minute: bool = False

    @property
    def without_jobs(self) -> bool:
        """Whether it has values while there are no jobs: what beat sees has."""
        return self.resolution_s == 1 or self.every_minute


def _seen(
    name: str, unit: Unit, meaning: str, *, of: Literal["Model", "Tier", "Version"] = "Model"
) -> Metric:
    """What beat sees every five seconds."""
    return Metric(
        name=name,
        unit=unit,
        dimensions=("Model",) if of == "Model" else ("Model", of),
        resolution_s=1,
        meaning=meaning,
    )


def _outcome(name: str, unit: Unit, meaning: str) -> Metric:
    """What became of a version's attempts."""
    return Metric(
        name=name,
        unit=unit,
        dimensions=("Model", "Version"),
        resolution_s=60,
        meaning=meaning,
    )


def _measured(name: str, unit: Unit, meaning: str) -> Metric:
    """What guards compare: by tier, since tiers ask for different things."""
    return Metric(
        name=name,
        unit=unit,
        dimensions=("Model", "Version", "Tier"),
        resolution_s=60,
        meaning=meaning,
    )


def _happening(
    name: str, unit: Unit, meaning: str, *, of: Literal["Model", "Region", "Why"]
) -> Metric:
    """What happens now and then: without it there is no data, and nothing to pay."""
    return Metric(name=name, unit=unit, dimensions=(of,), resolution_s=60, meaning=meaning)


PRESSURE: Final = _seen(
    "Pressure",
    "None",
    "Predicted wait / target wait of the tier that is worst off: above 1 its target will be missed",
)
ARRIVAL_RATE: Final = _seen(
    "ArrivalRate", "Count/Second", "Attempts that came to the queues since the last beat"
)
BURST_RATIO: Final = _seen(
    "BurstRatio",
    "None",
    "Instances that the work will need when new ones are warm, if the arrivals' slope goes on / "
    "instances",
)
INSTANCES: Final = _seen("Instances", "Count", "Instances in service, of all versions that serve")
IN_FLIGHT: Final = _seen("InFlight", "Count", "Slots in use: attempts on their way to an answer")
LOWEST_SHARE: Final = _seen(
    "LowestShare",
    "None",
    "Share of the recent starts / guaranteed share, of the tier that is worst off among those with "
    "work: long below 1, it starves",
)
BACKLOG: Final = _seen(
    "Backlog",
    "Count",
    "Jobs that wait; messages of jobs that have ended are not among them",
    of="Tier",
)
OLDEST_WAIT: Final = _seen(
    "OldestWait",
    "Seconds",
    "Time since the oldest job that waits was accepted, earlier attempts of it included; 0 while "
    "none waits. As jobs start in about the order they came, the oldest are taken to be at work",
    of="Tier",
)

VERSION_PRESSURE: Final = _seen(
    "Pressure",
    "None",
    "The same for a version's part of the work, when an instance that is asked for now is warm",
    of="Version",
)
VERSION_BURST_RATIO: Final = _seen(
    "BurstRatio",
    "None",
    "The same for a version's part of the work / instances asked for: scaling buys by it",
    of="Version",
)
VERSION_INSTANCES: Final = _seen("Instances", "Count", "Instances in service", of="Version")
SPARE: Final = _seen(
    "Spare",
    "Count",
    "Instances beyond what the work needs and beyond those that are kept in any case",
    of="Version",
)

COMPLETED: Final = _outcome(
    "Completed", "Count", "Attempts whose answer was committed, or ended their job as refused"
)
FAILED: Final = _outcome(
    "Failed",
    "Count",
    "First attempts that failed, and further ones that cost their job no attempt; one that found "
    "fault with its input counts once another one is answered",
)
INVALID_OUTPUT: Final = _outcome(
    "InvalidOutput",
    "Count",
    "Answers that were not what the model promises, whether or not their attempt failed of it",
)
REFUSED: Final = _outcome(
    "Refused", "Count", "Answers that were refusals, whether or not their job ended as refused"
)
RATING: Final = _outcome(
    "Rating",
    "None",
    "Users' ratings of answers, from -1 to 1; their mean tells",
)
CORRECTIONS: Final = _outcome("Corrections", "Count", "Users' corrections of answers")
MODEL_SECONDS: Final = _measured(
    "ModelSeconds",
    "Seconds",
    "From the start of an attempt to the word of its answer, hand-off included; what the live one "
    f"of several versions answered is told of `{LIVE}` too, and smoke jobs are left out, as are "
    "answers that sweep finds",
)
OUTPUT_SIZE: Final = _measured(
    "OutputSize", "Bytes", "Of an answer, as the model wrote it; of the same answers"
)
FELL_BACK: Final = _happening(
    "FellBack", "Count", "Jobs of this model that its fallback model took over", of="Model"
)
READY: Final = Metric(
    name="Ready",
    unit="None",
    dimensions=("Region",),
    resolution_s=1,
    meaning="1 while the region accepts and starts jobs, else 0; nothing if beat does not run",
)
RELEASES_DECIDED: Final = Metric(
    name="ReleasesDecided",
    unit="None",
    dimensions=("Region",),
    resolution_s=60,
    meaning="Of each run of release: 1 if it decided about every model, else 0; nothing if it does "
    "not run",
    every_minute=True,
)
BATCHES_GO_ON: Final = Metric(
    name="BatchesGoOn",
    unit="None",
    dimensions=("Region",),
    resolution_s=60,
    meaning="Of each round of batches: 0 while any batch's turns come to nothing, else 1, also "
    "without batches; nothing if it does not run",
    every_minute=True,
)
SLOTS_REPAIRED: Final = _happening(
    "SlotsRepaired", "Count", "Slots that nobody held, and that sweep gave back", of="Model"
)
MOVED: Final = _happening(
    "Moved",
    "Count",
    "Jobs of other regions that became this one's: `evacuate` of a lost one, `drain`, or `relieve` "
    "of an overloaded one",
    of="Why",
)
WEBHOOK_FAILURES: Final = _happening(
    "WebhookFailures",
    "Count",
    "Of each try to deliver a webhook: 1 if it failed, else 0",
    of="Region",
)
KEYS_REFUSED: Final = _happening(
    "KeysRefused", "Count", "Requests with no key, or one that is unknown or revoked", of="Region"
)
CREDENTIALS_REFUSED: Final = _happening(
    "CredentialsRefused",
    "Count",
    "Calls of functions or containers that AWS refused for want of a right",
    of="Region",
)

METRICS: Final = (
    PRESSURE,
    ARRIVAL_RATE,
    BURST_RATIO,
    INSTANCES,
    IN_FLIGHT,
    LOWEST_SHARE,
    BACKLOG,
    OLDEST_WAIT,
    VERSION_PRESSURE,
    VERSION_BURST_RATIO,
    VERSION_INSTANCES,
    SPARE,
    COMPLETED,
    FAILED,
    INVALID_OUTPUT,
    REFUSED,
    RATING,
    CORRECTIONS,
    MODEL_SECONDS,
    OUTPUT_SIZE,
    FELL_BACK,
    READY,
    RELEASES_DECIDED,
    BATCHES_GO_ON,
    SLOTS_REPAIRED,
    MOVED,
    WEBHOOK_FAILURES,
    KEYS_REFUSED,
    CREDENTIALS_REFUSED,
)
