"""`python -m benchmarks [NAME ...]`: measure, print a table, and say which targets are met."""

import argparse
import importlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.options import ROOT, Options
from benchmarks.report import Report, Rows, figures_table, machine, write_section

NAMES = (
    "calls_per_job",
    "cold_start",
    "warm_submit",
    "layer",
    "synth",
    "twin",
    "lost_region",
    "spill",
    "prediction",
    "batches",
)
DOCUMENT = ROOT / "docs" / "measurements.md"


def options_of(arguments: argparse.Namespace, names: list[str]) -> Options:
    """The options; the command is noted without paths of this machine."""
    words = ["python -m benchmarks", *(names if len(names) < len(NAMES) else [])]
    if arguments.trace is not None:
        words.append(f"--trace {arguments.trace.name} --minutes {arguments.minutes:g}")
    if arguments.runs != RUNS:
        words.append(f"--runs {arguments.runs}")
    return Options(
        runs=arguments.runs,
        trace=arguments.trace,
        minutes=arguments.minutes,
        write=arguments.write,
        date=datetime.now(UTC).date().isoformat(),
        command=" ".join(words),
    )


RUNS = 9


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; or all")
    parser.add_argument("--runs", type=int, default=RUNS, help="alternating runs of each side")
    parser.add_argument("--trace", type=Path, help="for twin: a .csv or .csv.gz; or our own slice")
    parser.add_argument("--minutes", type=float, default=30.0, help="for twin: how much of it")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/ and in "
                        "spillway/calls_per_job.json")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    names = arguments.names or [*NAMES]
    console = Console(stderr=arguments.json)
    reports: list[Report] = []
    for name in names:
        options = options_of(arguments, names)
        report: Report = importlib.import_module(f"benchmarks.{name}").run(options)
        report.print(console)
        reports.append(report)
        if options.write:
            text = report.markdown(date=options.date, machine=machine(), command=options.command)
            write_section(DOCUMENT, name, text)
    if arguments.json:
        sys.stdout.write(json.dumps([each.document() for each in reports], indent=2) + "\n")
    figures = [figure for each in reports for figure in each.figures]
    summary = Report("summary", f"All targets, {machine()}")
    rows: Rows = figures_table(figures)
    summary.tables.append(Rows("", rows.columns, rows.rows))
    if len(reports) > 1:
        summary.print(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
