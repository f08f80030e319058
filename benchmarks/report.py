"""What a benchmark found: on a terminal, as JSON and in docs/measurements.md."""

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that has a target.

    Attributes:
        what: What was measured.
        value: The number; lower is better.
        unit: Of value and target.
        target: It is met at this or below.
        floor: What it is measured against, or of which it is a part.
    """

    what: str
    value: float
    unit: str
    target: float
    floor: str

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target


@dataclass(frozen=True, slots=True)
class Rows:
    """A table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Report:
    """All that one benchmark found."""

    name: str
    title: str
    tables: list[Rows] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def print(self, console: Console) -> None:
        """Show it."""
        console.rule(self.title)
        for rows in [*self.tables, figures_table(self.figures)]:
            if rows.rows:
                table = Table(*rows.columns, title=rows.title, title_justify="left")
                for column in table.columns[1:]:
                    column.justify = "right"
                for row in rows.rows:
                    table.add_row(*row)
                console.print(table)
        for note in self.notes:
            console.print(f"- {note}")

    def document(self) -> dict[str, Any]:
        """Everything as JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "figures": [
                {
                    "what": each.what,
                    "value": each.value,
                    "unit": each.unit,
                    "target": each.target,
                    "floor": each.floor,
                    "met": each.met,
                }
                for each in self.figures
            ],
            "tables": [
                {"title": each.title, "columns": [*each.columns], "rows": [[*r] for r in each.rows]}
                for each in self.tables
            ],
            "notes": self.notes,
        }

    def markdown(self, *, date: str, machine: str, command: str) -> str:
        """A section of docs/measurements.md."""
        parts = [f"## {self.title}", f"{date} · {machine} · `{command}`"]
        for rows in [figures_table(self.figures), *self.tables]:
            if rows.rows:
                lines = [
                    f"| {' | '.join(rows.columns)} |",
                    "| --- |" + " ---: |" * (len(rows.columns) - 1),
                ]
                lines += [f"| {' | '.join(row)} |" for row in rows.rows]
                title = [f"**{rows.title}**"] if rows.title else []
                parts += [*title, "\n".join(lines)]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)


def figures_table(figures: Sequence[Figure]) -> Rows:
    """The figures as a table."""
    return Rows(
        "",
        ("figure", "measured", "target", "met", "against"),
        [
            (
                each.what,
                f"{each.value:.2f} {each.unit}".strip(),
                f"≤ {each.target:g} {each.unit}".strip(),
                "yes" if each.met else "NO",
                each.floor,
            )
            for each in figures
        ],
    )


def compared(ours: Sequence[float], floor: Sequence[float]) -> float:
    """How many times the floor ours takes: medians of runs that alternated."""
    return median(ours) / median(floor)


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> tuple[str, str, str]:
    """Median, least and most, as text."""
    return tuple(
        f"{each * scale:.{digits}f}" for each in (median(values), min(values), max(values))
    )  # type: ignore[return-value]


def write_section(path: Path, name: str, text: str) -> None:
    """Put a benchmark's section into a document, in place of its former one."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    section = f"{begin}\n{text}\n{end}"
    document = path.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(document):
        document = pattern.sub(lambda _: section, document)
    else:
        document = f"{document.rstrip()}\n\n{section}\n"
    path.write_text(document, encoding="utf-8")


def machine() -> str:
    """The class of this machine: processors, their kind, the Python that ran."""
    import os  # noqa: PLC0415 only here

    kind = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8"))
        kind = found[1].strip() if found else kind
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores of {kind}, {platform.system()}, Python {platform.python_version()}"
