"""Every metric that the functions publish: names, units, dimensions and what they mean.

The one list: beat and the endings of attempts publish by it, alarms and dashboards read by it, and
`docs/metrics.md` is written from it.
"""

from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["Count", "Count/Second", "Seconds", "Bytes", "None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a deployment, in each region.

    Attributes:
        name: As CloudWatch knows it.
        unit: One of CloudWatch's.
        dimensions: What there is a series for each of.
        resolution_s: 1 for what alarms of ten seconds need, else 60.
        meaning: For whoever reads a graph at night.
    """

    name: str
    unit: Unit
    dimensions: tuple[Literal["Model", "Tier", "Version"], ...]
    resolution_s: Literal[1, 60]
    meaning: str


def _seen(name: str, unit: Unit, meaning: str, *, tier: bool = False) -> Metric:
    """What beat sees every five seconds."""
    return Metric(
        name=name,
        unit=unit,
        dimensions=("Model", "Tier") if tier else ("Model",),
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
    "instances now",
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
    tier=True,
)
OLDEST_WAIT: Final = _seen("OldestWait", "Seconds", "Age of the oldest unfinished job", tier=True)

COMPLETED: Final = _outcome("Completed", "Count", "Attempts whose answer was committed")
FAILED: Final = _outcome(
    "Failed", "Count", "Attempts that failed, whether or not another one followed"
)
INVALID_OUTPUT: Final = _outcome(
    "InvalidOutput", "Count", "Failed attempts whose answer was not what the model promises"
)
MODEL_SECONDS: Final = _outcome(
    "ModelSeconds", "Seconds", "From the start of an attempt to its answer, hand-off included"
)
OUTPUT_SIZE: Final = _outcome("OutputSize", "Bytes", "Of an answer, as the model wrote it")

METRICS: Final = (
    PRESSURE,
    ARRIVAL_RATE,
    BURST_RATIO,
    INSTANCES,
    IN_FLIGHT,
    LOWEST_SHARE,
    BACKLOG,
    OLDEST_WAIT,
    COMPLETED,
    FAILED,
    INVALID_OUTPUT,
    MODEL_SECONDS,
    OUTPUT_SIZE,
)
