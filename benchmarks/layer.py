"""Unpacked size of the layer of dependencies, which every function loads."""

from pathlib import Path

from benchmarks.options import ROOT, Options
from benchmarks.report import Figure, Report, Rows

LAYER = ROOT / "build" / "layer"
MB = 1_000_000


def size_bytes(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(options: Options) -> Report:
    """Weigh it."""
    report = Report("layer", "Dependencies layer, unpacked")
    total = size_bytes(LAYER) / MB
    assert total > 1, f"{LAYER} is empty; `make setup` fills it"
    rows = [
        (path.name, f"{size_bytes(path) / MB:.2f}")
        for path in (LAYER / "python").iterdir()
        if path.is_dir() and size_bytes(path) > MB / 10
    ]
    rows.sort(key=lambda row: -float(row[1]))
    report.tables.append(Rows("largest packages", ("package", "MB"), rows))
    report.figures.append(
        Figure(what="layer", value=total, unit="MB", target=25, floor="10^6 bytes, files only")
    )
    return report
