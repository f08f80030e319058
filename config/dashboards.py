"""What the dashboards show: alarms on top, then every metric of the list.

Graphs search for their series, so a new version or model is on them without a change.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from config.guard_alarms import guard_alarms
from config.operator_alarms import of_model, of_region
from config.schema import Deployment
from lambdas.domain.metrics import LOWEST_SHARE, METRICS, PRESSURE, READY, Metric

COLUMNS: Final = 24
"""Of CloudWatch's grid."""
WIDTH, HEIGHT = 8, 6
ALARMS_HEIGHT: Final = 4
ALARMS_MAX: Final = 100
"""In one widget (CloudWatch API reference, "Dashboard body structure and syntax")."""
PERIOD_S: Final = 60
TARGETS: Final = {PRESSURE.name: 1, LOWEST_SHARE.name: 1, READY.name: 1}
"""Where a line is drawn."""


def body(deployment: Deployment, regions: Sequence[str]) -> str:
    """A dashboard of some regions, as CloudWatch reads it.

    Args:
        deployment: Its alarms and metrics.
        regions: All of them, or the one that it is about.
    """
    rows: list[dict[str, Any]] = []
    y = 0
    for widget in _alarms(deployment, regions):
        rows.append(widget | {"x": 0, "y": y, "width": COLUMNS, "height": ALARMS_HEIGHT})
        y += ALARMS_HEIGHT
    across = COLUMNS // WIDTH
    for number, metric in enumerate(METRICS):
        place = {"x": number % across * WIDTH, "y": y + number // across * HEIGHT}
        graph = _graph(deployment, metric, regions)
        rows.append(graph | place | {"width": WIDTH, "height": HEIGHT})
    return json.dumps({"start": "-PT3H", "widgets": rows})


def _alarms(deployment: Deployment, regions: Sequence[str]) -> Iterator[dict[str, Any]]:
    for region in regions:
        people = [alarm.name for alarm in of_region(deployment, region)]
        versions: list[str] = []
        for name, model in deployment.models.items():
            if model.state == "off":
                continue
            people += [alarm.name for alarm in of_model(deployment, name)]
            for version in model.versions:
                versions += [alarm.name for alarm in guard_alarms(deployment, name, version)]
        yield from _widgets(f"{region}: for people", _arns(deployment, region, people))
        yield from _widgets(f"{region}: guards of versions", _arns(deployment, region, versions))


def _arns(deployment: Deployment, region: str, names: Iterable[str]) -> list[str]:
    start = f"arn:aws:cloudwatch:{region}:{deployment.account}:alarm"
    return [f"{start}:{name}" for name in names]


def _widgets(title: str, arns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(arns), ALARMS_MAX):
        some = list(arns[start : start + ALARMS_MAX])
        yield {"type": "alarm", "properties": {"title": title, "alarms": some}}


def _graph(deployment: Deployment, metric: Metric, regions: Sequence[str]) -> dict[str, Any]:
    schema = ",".join([f'"{deployment.names.metrics}"', *metric.dimensions])
    found = (
        f"SEARCH('{{{schema}}} MetricName=\"{metric.name}\"', '{statistic(metric)}', {PERIOD_S})"
    )
    label = " ".join(f"${{PROP('Dim.{name}')}}" for name in metric.dimensions)
    several = len(regions) > 1 and "Region" not in metric.dimensions
    series = [
        [
            {
                "expression": found,
                "id": f"e{number}",
                "label": f"{region} {label}" if several else label,
                "region": region,
            }
        ]
        for number, region in enumerate(regions)
    ]
    properties: dict[str, Any] = {
        "title": f"{metric.name} ({statistic(metric)})",
        "view": "timeSeries",
        "period": PERIOD_S,
        "region": regions[0],
        "metrics": series,
    }
    if metric.name in TARGETS:
        line = {"label": "target", "value": TARGETS[metric.name]}
        properties["annotations"] = {"horizontal": [line]}
    return {"type": "metric", "properties": properties}


def statistic(metric: Metric) -> str:
    """How a minute of a metric is shown: the worst of what is seen, the sum of what happens."""
    if metric in (LOWEST_SHARE, READY):
        return "Minimum"
    if metric.resolution_s == 1:
        return "Maximum"
    return "Sum" if metric.unit == "Count" else "p95"
