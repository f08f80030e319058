"""Dashboards show every alarm and every metric."""

import json
import re
from typing import Any

from lambdas.domain.metrics import METRICS
from tests.stacks.assemblies import Assembly


def widgets(assembly: Assembly, stack: str) -> list[dict[str, Any]]:
    """What the only dashboard of a stack consists of."""
    (dashboard,) = assembly.resources("AWS::CloudWatch::Dashboard", stack=stack)
    found: list[dict[str, Any]] = json.loads(dashboard.properties["DashboardBody"])["widgets"]
    return found


def arns(assembly: Assembly, region: str) -> set[str]:
    """Addresses of a region's alarms, but those that only scale."""
    start = f"arn:aws:cloudwatch:{region}:{assembly.deployment.account}:alarm:"
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    stacks = (f"Region-{region}", *(f"Model-{m}-{region}" for m in assembly.deployment.models))
    return {
        f"{start}{resource.properties['AlarmName']}"
        for kind in kinds
        for stack in stacks
        for resource in assembly.resources(kind, stack=stack)
        if re.match(rf"{assembly.deployment.name}-(alarm|guard)-", resource.properties["AlarmName"])
    }


def test_a_region_shows_the_states_of_its_alarms_first(dev: Assembly) -> None:
    """Whoever opens it at night wants to know what rings, before any graph."""
    shown = widgets(dev, "Region-us-east-2")

    first = [widget["type"] for widget in shown]
    assert first == sorted(first)  # "alarm" comes before "metric".
    listed = [arn for each in shown for arn in each["properties"].get("alarms", [])]
    assert set(listed) == arns(dev, "us-east-2")
    assert len(listed) == len(set(listed))
    assert max(len(each["properties"].get("alarms", [])) for each in shown) <= 100


def test_every_metric_has_a_graph_in_each_region_and_in_all(dev: Assembly) -> None:
    """A metric that is paid for and shown nowhere is found by nobody."""
    for stack, regions in (
        ("Region-us-east-1", ["us-east-1"]),
        ("Data", list(dev.deployment.regions)),
    ):
        graphs = [each for each in widgets(dev, stack) if each["type"] == "metric"]
        assert len(graphs) == len(METRICS)
        for metric, graph in zip(METRICS, graphs, strict=True):
            searches = [series["expression"] for (series,) in graph["properties"]["metrics"]]
            schema = ",".join(['"Spillway/spillway-dev"', *metric.dimensions])
            assert all(f'{{{schema}}} MetricName="{metric.name}"' in each for each in searches)
            assert [series["region"] for (series,) in graph["properties"]["metrics"]] == regions


def test_widgets_do_not_overlap(dev: Assembly) -> None:
    """CloudWatch moves what overlaps to wherever it likes."""
    taken: set[tuple[int, int]] = set()
    for each in widgets(dev, "Data"):
        cells = {
            (x, y)
            for x in range(each["x"], each["x"] + each["width"])
            for y in range(each["y"], each["y"] + each["height"])
        }
        assert not cells & taken
        assert each["x"] + each["width"] <= 24
        taken |= cells


def test_dashboards_are_named_after_the_deployment_and_its_regions(
    dev: Assembly, prod: Assembly
) -> None:
    """Names of dashboards are the account's, whatever region they are made in."""
    names = {
        dashboard.properties["DashboardName"]
        for assembly in (dev, prod)
        for dashboard in assembly.resources("AWS::CloudWatch::Dashboard")
    }

    assert names == {
        "spillway-dev",
        *(f"spillway-dev-{region}" for region in dev.deployment.regions),
        "spillway-prod",
        *(f"spillway-prod-{region}" for region in prod.deployment.regions),
    }
