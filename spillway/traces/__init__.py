"""Recorded traffic: the format, its reader, and a slice of a real trace."""

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COLUMNS: Final = ("arrival_s", "input_tokens", "output_tokens", "model", "session")
SLICE: Final = Path(__file__).with_name("azure-code-2023-slice.csv.gz")
"""Six minutes of a code-completion service; licence and attribution are in README.md beside it."""
TOKENS_MAX: Final = 10_000_000
"""More than any model reads: a larger number is a damaged file."""


class TraceError(ValueError):
    """A file that is not a trace, with its line and what is allowed there."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace; None or "" where the source has no such value."""

    arrival_s: float
    input_tokens: int | None
    output_tokens: int | None
    model: str
    session: str


def read(path: Path) -> Iterator[Row]:
    """Read a trace row by row, so that its length does not matter.

    Args:
        path: A `.csv` or `.csv.gz` file.

    Raises:
        TraceError: It is missing, or a line is not of the format.
    """
    try:
        with _opened(path) as file:
            lines = csv.reader(file)
            header = tuple(next(lines, ()))
            if header != COLUMNS:
                raise TraceError(f"{path}: line 1 must be {','.join(COLUMNS)}")
            before_s = 0.0
            for fields in lines:
                row = _row(path, lines.line_num, fields)
                if row.arrival_s < before_s:
                    raise TraceError(f"{path}: line {lines.line_num}: arrival_s must ascend")
                before_s = row.arrival_s
                yield row
    except (OSError, EOFError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: is not UTF-8 text") from error
    except csv.Error as error:
        raise TraceError(f"{path}: is not CSV: {error}") from error


def _opened(path: Path) -> io.TextIOBase:
    if path.name.endswith(".csv.gz"):
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8", newline="")
    if path.name.endswith(".csv"):
        return path.open(encoding="utf-8", newline="")
    raise TraceError(f"{path}: a trace is a .csv or .csv.gz file")


def _row(path: Path, line: int, fields: list[str]) -> Row:
    if len(fields) != len(COLUMNS):
        raise TraceError(f"{path}: line {line}: needs {len(COLUMNS)} fields, has {len(fields)}")
    arrival, tokens_in, tokens_out, model, session = fields
    try:
        return Row(_seconds(arrival), _count(tokens_in), _count(tokens_out), model, session)
    except ValueError as error:
        raise TraceError(f"{path}: line {line}: {error}") from None


def _seconds(field: str) -> float:
    try:
        seconds = float(field)
    except ValueError:
        raise ValueError(f"arrival_s {field!r} is not a number of seconds") from None
    # Also refuses "nan", which is neither more nor less than anything.
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"arrival_s {field} is negative or no number")
    return seconds


def _count(field: str) -> int | None:
    if not field:
        return None
    try:
        count = int(field)
    except ValueError:
        raise ValueError(f"{field!r} is not a whole number of tokens") from None
    if not 0 <= count <= TOKENS_MAX:
        raise ValueError(f"{field} tokens are not between 0 and {TOKENS_MAX}")
    return count
