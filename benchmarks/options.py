"""What the command line decides for every benchmark."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to measure.

    Attributes:
        runs: Alternating runs of each side.
        trace: The trace that the twin replays; None for the slice that the project ships.
        minutes: How much of it.
        write: Whether results are kept in docs/measurements.md and spillway/calls_per_job.json.
        date: Of today.
        command: As it was typed.
    """

    runs: int
    trace: Path | None
    minutes: float
    write: bool
    date: str
    command: str
