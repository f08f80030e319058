"""The delivery log of a job: what became of every try to tell of its end.

Each try is one line of JSON, and a job's log is a set of lines: writing a line again changes
nothing. The lines of a log, sorted as text, are in the order of their time.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lambdas.domain.webhooks import Failure, Verdict

KEPT_MAX = 40
"""Lines of one job: its 20 tries, and those of one redelivery by hand. Each has some 130 bytes."""
LINE_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try. Times are milliseconds since the epoch.

    Attributes:
        at_ms: When it was sent.
        message: The queue's message: one for each time that the end was announced.
        number: Which try of that message, counted from 1.
        status: The HTTP status, or None without an answer.
        failure: Why there was none.
        elapsed_ms: How long it took.
        verdict: What follows.
        next_ms: When it is tried again; None if it is not.
    """

    at_ms: int
    message: str
    number: int
    status: int | None
    failure: Failure | None
    elapsed_ms: int
    verdict: Verdict
    next_ms: int | None


def write_line(tried: Try) -> str:
    """A try as the log keeps it, always the same text; its time goes first."""
    line = {
        "at_ms": tried.at_ms,
        "message": tried.message,
        "try": tried.number,
        "status": tried.status,
        "failure": tried.failure,
        "elapsed_ms": tried.elapsed_ms,
        "verdict": tried.verdict,
        "next_ms": tried.next_ms,
    }
    known = {name: value for name, value in line.items() if value is not None}
    return json.dumps(known, separators=(",", ":"))


def read_line(line: str) -> Try | None:
    """A line of the log; None if a later release wrote something that this one does not know."""
    try:
        known = json.loads(line)
        return Try(
            at_ms=int(known["at_ms"]),
            message=str(known["message"]),
            number=int(known["try"]),
            status=_number(known.get("status")),
            failure=Failure(known["failure"]) if "failure" in known else None,
            elapsed_ms=int(known["elapsed_ms"]),
            verdict=Verdict(known["verdict"]),
            next_ms=_number(known.get("next_ms")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def in_the_way(kept: Collection[str], line: str) -> str | None:
    """Which line of a full log gives way to another one; None if that is older than all of it."""
    oldest = min(kept, default=line)
    return oldest if oldest < line else None


def log_view(lines: Iterable[str]) -> list[dict[str, Any]]:
    """A log as clients see it, the first try first."""
    tries = [tried for line in sorted(lines) if (tried := read_line(line)) is not None]
    return [
        {
            "object": "delivery",
            "at": _moment(tried.at_ms),
            "try": tried.number,
            "status": tried.status,
            "failure": tried.failure,
            "elapsed_ms": tried.elapsed_ms,
            "verdict": tried.verdict,
            "next_at": _moment(tried.next_ms),
        }
        for tried in tries
    ]


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _moment(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
