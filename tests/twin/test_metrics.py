"""What CloudWatch makes of data points, with the page that says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools.metrics import MetricResolution, Metrics, MetricUnit
from botocore.exceptions import ClientError

from spillway.twin import metrics as twin_metrics
from spillway.twin.clock import START_S
from spillway.twin.metrics import KEPT_S, Metric
from spillway.twin.resources import UnsupportedError

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"
PRESSURE = Metric("Spillway", "Pressure", frozenset({("model", "embedder")}))


def read(
    world: World, statistic: str, period_s: int = 60, minutes: float = 1, metric: Metric = PRESSURE
) -> list[float | None]:
    """Read the first minutes of a series."""
    return world.metrics.series(
        REGION, metric, statistic, period_s, START_S, START_S + 60 * minutes
    )


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("Average", 3.0),
        ("Sum", 15.0),
        ("Minimum", 1.0),
        ("Maximum", 5.0),
        ("SampleCount", 5.0),
        ("p50", 3.0),
        ("p90", 5.0),
        ("p0", 1.0),
        ("p99.9", 5.0),
        ("p100", 5.0),
    ],
)
def test_statistics_of_a_period(world: World, statistic: str, expected: float) -> None:
    """An alarm on another statistic than AWS's would have another threshold.

    CloudWatch user guide, "CloudWatch statistics definitions".
    """
    for value in (5.0, 1.0, 4.0, 2.0, 3.0):
        world.metrics.put(REGION, PRESSURE, [value], resolution_s=1)
        world.scheduler.run_for(11)
    assert read(world, statistic) == [expected]
    assert read(world, statistic, minutes=2) == [expected, None]


def test_other_statistics_are_refused_by_name(world: World) -> None:
    """A trimmed mean is not silently an average."""
    for name in ("tm90", "IQM", "average", "p101"):
        with pytest.raises(UnsupportedError, match=name):
            read(world, name)


def test_high_resolution_is_kept_by_ten_seconds(world: World) -> None:
    """A burst alarm sees a slope within ten seconds.

    CloudWatch user guide, "Publishing custom metrics", "High-resolution metrics".
    """
    for value in range(12):
        world.metrics.put(REGION, PRESSURE, [value], resolution_s=1)
        world.scheduler.run_for(5)
    assert read(world, "Maximum", 10) == [1, 3, 5, 7, 9, 11]
    assert read(world, "Sum", 30) == [15, 51]


def test_standard_resolution_has_one_data_point_a_minute(world: World) -> None:
    """A ten-second alarm on such a metric mostly finds nothing, in AWS as here.

    API reference, "PutMetricAlarm", Period: "it does not receive data for the attempts that do
    not correspond to a one-minute data resolution".
    """
    world.scheduler.run_for(35)
    world.metrics.put(REGION, PRESSURE, [1.0, 3.0])
    assert read(world, "Sum", 10) == [4, None, None, None, None, None]
    assert read(world, "Sum", 60) == [4]


def test_every_set_of_dimensions_is_its_own_series(world: World) -> None:
    """An alarm without the dimension does not see the metric that has one.

    CloudWatch user guide, "Metrics concepts", "Dimensions".
    """
    world.metrics.put(REGION, PRESSURE, [1.0])
    assert read(world, "Sum", metric=Metric("Spillway", "Pressure")) == [None]
    world.metrics.put("eu-west-1", PRESSURE, [5.0])
    assert read(world, "Sum") == [1.0]


def test_data_points_are_forgotten(world: World) -> None:
    """A day of traffic must not fill the memory."""
    for _ in range(KEPT_S // 600 + 20):
        world.metrics.put(REGION, PRESSURE, [1.0] * 3)
        world.scheduler.run_for(600)
    series = world.metrics.of(REGION, PRESSURE)
    assert len(series._buckets) == KEPT_S // 600 + 1
    world.metrics.put(REGION, PRESSURE, [1.0], at_s=START_S)
    assert len(series._buckets) == KEPT_S // 600 + 1


def test_a_bucket_keeps_so_many_values(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Percentiles of a busy period are of its latest values; nothing else is bounded."""
    monkeypatch.setattr(twin_metrics, "VALUES_MAX", 10)
    world.metrics.put(REGION, PRESSURE, [float(x) for x in range(100)])
    assert read(world, "p50") == [94.0]
    assert read(world, "SampleCount") == [100.0]


# -- the embedded metric format --------------------------------------------------------------


def document(**changes: Any) -> dict[str, Any]:
    """The specification's example, a little longer."""
    return {
        "_aws": {
            "Timestamp": int(START_S * 1000) + 2004,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Spillway",
                    "Dimensions": [["model"], []],
                    "Metrics": [
                        {"Name": "Pressure", "Unit": "None", "StorageResolution": 1},
                        {"Name": "Age"},
                    ],
                }
            ],
        },
        "model": "embedder",
        "Pressure": 100,
        "Age": [1, 2.5],
        "requestId": "989ffbf8-9ace-4817-a57c-e4dd734019ee",
    } | changes


def test_documents_in_logs_become_data_points(world: World) -> None:
    """What functions log is what alarms see, and costs no call.

    CloudWatch user guide, "Specification: Embedded metric format": one metric for each dimension
    set; values are numbers or lists of numbers; Timestamp is in milliseconds.
    """
    world.scheduler.run_for(30)
    line = json.dumps(document())
    world.deploy("f", lambda *_: print(line))  # noqa: T201 what a function logs
    world.functions.readers.append(lambda line: world.metrics.read_line(line.region, line.text))
    world.invoke("f")
    assert read(world, "Maximum", 10) == [100, None, None, None, None, None]
    assert read(world, "Sum", metric=Metric("Spillway", "Pressure")) == [100]
    assert read(world, "Sum", metric=Metric("Spillway", "Age")) == [3.5]
    assert not world.metrics.rejected


def test_lambda_may_put_something_before_a_document(world: World) -> None:
    """Lambda's text format has the time and the request first.

    "While Lambda may prepend log events with metadata such as timestamp and request id, a valid
    embedded metric format document after this metadata is considered valid."
    """
    world.metrics.read_line(REGION, f"2026-01-05 [INFO] abc {json.dumps(document())}")
    assert read(world, "Sum") == [100]


def test_powertools_write_such_documents(world: World) -> None:
    """The library that functions use, and its resolution.

    Powertools for AWS Lambda (Python), "Metrics".
    """

    def handle(*_: Any) -> None:
        metrics = Metrics(namespace="Spillway", service="beat")
        metrics.add_dimension(name="model", value="embedder")
        metrics.add_metric("Pressure", MetricUnit.NoUnit, 1.5, MetricResolution.High)
        metrics.add_metric("Pressure", MetricUnit.NoUnit, 2.5, MetricResolution.High)
        metrics.flush_metrics()

    world.deploy("f", handle)
    world.functions.readers.append(lambda line: world.metrics.read_line(line.region, line.text))
    world.invoke("f")
    pairs = frozenset({("model", "embedder"), ("service", "beat")})
    metric = Metric("Spillway", "Pressure", pairs)
    assert read(world, "Sum", 10, metric=metric)[0] == 4.0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_aws": {"CloudWatchMetrics"', "no document"),
        ('"CloudWatchMetrics" {}', "no document"),
        (json.dumps(document(_aws={"CloudWatchMetrics": []})), "no document"),
        (json.dumps(document(Pressure="100", Age=1)), "metric"),
        (json.dumps(document(Pressure=True, Age=1)), "metric"),
        (json.dumps(document(Pressure=[1] * 101, Age=1)), "metric"),
        (json.dumps(document(model=5)), "dimensions"),
        (json.dumps(document(_aws={"Timestamp": 0, "CloudWatchMetrics": []})), "timestamp"),
        (
            json.dumps(
                document(
                    _aws={
                        "Timestamp": START_S * 1000,
                        "CloudWatchMetrics": [{"Dimensions": [[]], "Metrics": [{"Name": "Age"}]}],
                    }
                )
            ),
            "directive",
        ),
    ],
)
def test_documents_against_the_specification_are_counted(
    world: World, line: str, reason: str
) -> None:
    """CloudWatch drops them without a word: here a test can find out.

    "Metric targets MUST be either a numeric value or an array of numeric values"; "The target
    member MUST have a string value".
    """
    world.metrics.read_line(REGION, line)
    assert list(world.metrics.rejected) == [reason]


def test_ordinary_lines_are_nothing(world: World) -> None:
    """Most lines of a log are decisions, not metrics."""
    world.metrics.read_line(REGION, '{"level": "INFO", "message": "x"}')
    assert not world.metrics.rejected


# -- boto3 -----------------------------------------------------------------------------------


def test_operators_put_and_read_metrics(world: World) -> None:
    """A script of somebody else feeds the same series that alarms watch.

    API reference, "PutMetricData", "GetMetricStatistics", "ListMetrics".
    """
    client = world.client("cloudwatch")
    pairs = [{"Name": "model", "Value": "embedder"}]
    common = {"MetricName": "Pressure", "Dimensions": pairs, "Unit": "Count"}
    client.put_metric_data(
        Namespace="Spillway",
        MetricData=[
            common | {"Value": 1.0, "StorageResolution": 1},
            common | {"Values": [2.0, 3.0], "Counts": [1.0, 2.0]},
            common
            | {"StatisticValues": {"SampleCount": 2, "Sum": 9.0, "Minimum": 4.0, "Maximum": 5.0}},
        ],
    )
    assert read(world, "Sum") == [18]
    assert read(world, "Maximum") == [5]
    assert read(world, "p50") == [None]  # "Percentiles": not of statistic sets.
    start = datetime.fromtimestamp(START_S, UTC)
    (found,) = client.get_metric_statistics(
        Namespace="Spillway",
        MetricName="Pressure",
        Dimensions=pairs,
        StartTime=start,
        EndTime=start + timedelta(minutes=5),
        Period=60,
        Statistics=["Average", "SampleCount"],
    )["Datapoints"]
    assert found == {"Timestamp": start, "Average": 3.0, "SampleCount": 6.0, "Unit": "Count"}
    (listed,) = client.list_metrics(Namespace="Spillway")["Metrics"]
    assert listed == {"Namespace": "Spillway", "MetricName": "Pressure", "Dimensions": pairs}


def test_operators_read_metric_math(world: World) -> None:
    """A graph and an alarm show the same.

    API reference, "GetMetricData": MetricDataQueries, ScanBy.
    """
    world.metrics.put(REGION, PRESSURE, [6.0])
    world.scheduler.run_for(60)
    world.metrics.put(REGION, PRESSURE, [3.0])
    start = datetime.fromtimestamp(START_S, UTC)
    asked: dict[str, Any] = {
        "Metric": {
            "Namespace": "Spillway",
            "MetricName": "Pressure",
            "Dimensions": [{"Name": "model", "Value": "embedder"}],
        },
        "Period": 60,
        "Stat": "Sum",
    }
    client = world.client("cloudwatch")
    (result,) = client.get_metric_data(
        MetricDataQueries=[
            {"Id": "m1", "MetricStat": asked, "ReturnData": False},
            {"Id": "e1", "Expression": "m1 / 3"},
        ],
        StartTime=start,
        EndTime=start + timedelta(minutes=5),
        ScanBy="TimestampDescending",
    )["MetricDataResults"]
    assert result["Values"] == [1.0, 2.0]
    assert result["Timestamps"] == [start + timedelta(minutes=1), start]
    with pytest.raises(ClientError, match="RATE"):
        client.get_metric_data(
            MetricDataQueries=[{"Id": "e1", "Expression": "RATE(m1)"}],
            StartTime=start,
            EndTime=start + timedelta(minutes=5),
        )
    with pytest.raises(ClientError, match="14 days"):
        client.put_metric_data(
            Namespace="Spillway",
            MetricData=[{"MetricName": "x", "Value": 1, "Timestamp": start - timedelta(days=20)}],
        )
