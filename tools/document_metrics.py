"""Writes docs/metrics.md from the list of metrics that the functions publish."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.schema import load  # noqa: E402 the project's root first
from lambdas.domain.metrics import METRICS, Metric  # noqa: E402
from spillway.cost import Prices, series  # noqa: E402

TARGET = ROOT / "docs" / "metrics.md"
HEAD = """# Metrics

Generated from `lambdas/domain/metrics.py` by `python tools/document_metrics.py`; a test checks it.

CloudWatch reads them from the functions' logs (embedded metric format), in each region, in the
namespace `Spillway/NAME`. What has a resolution of a second comes from beat, every five seconds;
what has one of a minute tells of attempts that ended, with the batch in which they did.
The last ones tell what happens now and then, and are there only when it does.
`spillway replay` and tests read them from the twin: `twin.metrics`.

CloudWatch charges ${price:.2f} a month for each series, by the hours in which it has data.

| metric | unit | one for each | resolution | meaning | a month and region |
| --- | --- | --- | ---: | --- | --- |
"""
EACH = {
    ("Model",): ("model", " x models"),
    ("Model", "Tier"): ("model and tier", " x models x tiers"),
    ("Model", "Version"): ("model and version", " x models x versions"),
    ("Model", "Version", "Tier"): (
        "model, version and tier",
        " x models x (versions + 1) x tiers",
    ),
    ("Region",): ("region", ""),
    ("Why",): ("reason", " x reasons"),
}


def document() -> str:
    """The whole page."""
    price = Prices.load().meters["cloudwatch.metric_month"].usd
    rows = [_row(metric, price) for metric in METRICS]
    examples = [_example(name, price) for name in ("dev", "prod")]
    return HEAD.format(price=price) + "".join(rows) + "\n" + "".join(examples)


def _row(metric: Metric, price: float) -> str:
    of, times = EACH[metric.dimensions]
    resolution = "1 s" if metric.resolution_s == 1 else "1 min"
    return (
        f"| `{metric.name}` | {metric.unit} | {of} | {resolution} | {metric.meaning} "
        f"| ${price:.2f}{times} |\n"
    )


def _example(name: str, price: float) -> str:
    deployment = load(ROOT / "config" / f"{name}.yaml")
    least, most = series(deployment, busy=False), series(deployment, busy=True)
    return (
        f"- `config/{name}.yaml`: {least} series without jobs, ${least * price:.2f} a month in all "
        f"regions; {most} while every version has some, ${most * price:.2f}.\n"
    )


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
