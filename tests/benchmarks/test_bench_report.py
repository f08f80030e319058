"""What benchmarks report, and how it is kept."""

from pathlib import Path

from benchmarks.calls_per_job import scaled
from benchmarks.prose import ANSWER, QUESTION
from benchmarks.report import Figure, Report, Rows, compared, write_section


def test_a_ratio_compares_medians() -> None:
    """One slow run on a busy machine must not decide whether a target is met."""
    assert compared([1, 2, 90], [1, 1, 50]) == 2


def test_a_target_is_met_at_its_limit() -> None:
    """A reader must be able to trust yes and NO."""
    at = Figure(what="x", value=2.0, unit="x", target=2.0, floor="y")
    over = Figure(what="x", value=2.01, unit="x", target=2.0, floor="y")
    assert (at.met, over.met) == (True, False)


def test_a_section_replaces_its_former_one_and_no_other(tmp_path: Path) -> None:
    """Measuring one thing again must not lose what was measured before."""
    document = tmp_path / "measurements.md"
    document.write_text("# Measurements\n")
    for name, text in (("layer", "first"), ("synth", "kept"), ("layer", "second \\1")):
        write_section(document, name, text)

    text = document.read_text()

    assert "first" not in text
    assert text.index("second \\1") < text.index("kept")
    assert text.count("<!-- layer -->") == 1


def test_a_section_names_date_machine_and_command() -> None:
    """A number without its circumstances is a rumour."""
    report = Report("layer", "Layer", [Rows("sizes", ("package", "MB"), [("boto3", "1.0")])])
    text = report.markdown(date="2026-11-21", machine="2 cores", command="python -m benchmarks")
    assert "2026-11-21 · 2 cores · `python -m benchmarks`" in text
    assert "| package | MB |\n| --- | ---: |\n| boto3 | 1.0 |" in text


def test_amounts_scale_by_meter() -> None:
    """Per job means divided by jobs, whatever is counted."""
    assert scaled({"s3.put": 10, "logs.byte": 5}, 0.1) == {"s3.put": 1.0, "logs.byte": 0.5}


def test_the_job_is_a_kilobyte_of_prose() -> None:
    """The price is quoted for a 1 KB job: its texts must be that long."""
    assert 900 <= len(QUESTION) <= 1024
    assert 900 <= len(ANSWER) <= 1024
