"""CloudWatch metrics: what functions log and services put becomes series that alarms read.

A series keeps buckets, of ten seconds at high resolution and of a minute otherwise, with their
sum, count, extremes and, for percentiles, the values themselves. moto's metric API is pointed
here for as long as the service is open, so that operators put and read over boto3.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from unittest.mock import patch

from moto.cloudwatch.exceptions import InvalidParameterValue, ValidationError
from moto.cloudwatch.models import CloudWatchBackend, MetricDatum

from spillway.twin.clock import Scheduler
from spillway.twin.metric_math import Math
from spillway.twin.resources import UnsupportedError

MINUTE_S: Final = 60
FINE_S: Final = 10
"""Buckets of high-resolution series: no alarm has a shorter period (PutMetricAlarm, Period)."""
KEPT_S: Final = 3 * 3600
"""How long data points are kept, unless an alarm looks back further."""
FUTURE_S_MAX: Final = 2 * 3600
PAST_S_MAX: Final = 14 * 86_400
"""Timestamps that CloudWatch takes (API reference, "MetricDatum": Timestamp)."""
VALUES_MAX: Final = 2_000
"""Values kept of one bucket for percentiles: beyond, the latest ones. The bound is ours."""
METRICS_MAX: Final = 100
DIMENSIONS_MAX: Final = 30
VALUES_PER_METRIC_MAX: Final = 100
"""Bounds of a document (CloudWatch user guide, "Embedded metric format specification")."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What tells one series of a region from another.

    Args:
        namespace: Such as `AWS/SageMaker`.
        name: Of the metric.
        dimensions: Pairs of name and value.
    """

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]] = frozenset()


class Bucket:
    """The data points of one stretch of time."""

    __slots__ = ("count", "least", "most", "raw", "total", "values")

    def __init__(self) -> None:
        self.count = 0.0
        self.total = 0.0
        self.least = math.inf
        self.most = -math.inf
        self.values: list[float] = []
        self.raw = True

    def add(self, value: float) -> None:
        """Add one value."""
        value = float(value)
        if len(self.values) < VALUES_MAX:
            self.values.append(value)
        else:
            self.values[int(self.count) % VALUES_MAX] = value
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)


Statistic = Callable[[Sequence[Bucket]], float | None]


class Series:
    """The data points of one metric in one region.

    Attributes:
        metric: Which.
        unit: Of the latest data points.
        puts: How often data points came, so that a reader knows whether there are new ones.
        newest_s: When the latest bucket begins; 0 if there is none.
        kept_s: How long they are kept.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.unit = "None"
        self.puts = 0
        self.kept_s = KEPT_S
        self._width_s = MINUTE_S
        self._buckets: dict[int, Bucket] = {}
        self.newest_s = 0

    def bucket(self, at_s: float, resolution_s: int) -> Bucket | None:
        """Find or make the bucket of a moment; None if it is too long ago to matter."""
        width_s = FINE_S if resolution_s < MINUTE_S else MINUTE_S
        self._width_s = min(self._width_s, width_s)
        start_s = int(at_s // width_s) * width_s
        found = self._buckets.get(start_s)
        if found is None:
            if start_s < self.newest_s - self.kept_s:
                return None
            found = self._buckets[start_s] = Bucket()
            if start_s > self.newest_s:
                self.newest_s = start_s
                self._forget()
        self.puts += 1
        return found

    def _forget(self) -> None:
        """Drop what is too old; buckets stand nearly in the order of time."""
        limit_s = self.newest_s - self.kept_s
        while (oldest_s := next(iter(self._buckets))) < limit_s:
            del self._buckets[oldest_s]

    def value(self, statistic: Statistic, start_s: int, end_s: int) -> float | None:
        """One data point of an alarm or a graph, None if there is no data.

        Args:
            statistic: Made by `statistic`.
            start_s: When the period begins, in whole tens of seconds since the epoch.
            end_s: When it ends, likewise.
        """
        buckets = self._buckets
        # A minute's data points stand at its start, whatever shorter period asks for them.
        step_s = self._width_s if start_s % self._width_s == 0 else FINE_S
        if end_s - start_s == step_s:
            only = buckets.get(start_s)
            return None if only is None else statistic((only,))
        found = [
            bucket
            for at_s in range(start_s, end_s, step_s)
            if (bucket := buckets.get(at_s)) is not None
        ]
        return statistic(found) if found else None


@cache
def statistic(name: str) -> Statistic:
    """A statistic by its name: Average, Sum, Minimum, Maximum, SampleCount or such as p99.9.

    Raises:
        UnsupportedError: It is another one.
    """
    simple: Mapping[str, Statistic] = {
        "Average": lambda found: sum(b.total for b in found) / sum(b.count for b in found),
        "Sum": lambda found: sum(b.total for b in found),
        "Minimum": lambda found: min(b.least for b in found),
        "Maximum": lambda found: max(b.most for b in found),
        "SampleCount": lambda found: sum(b.count for b in found),
    }
    if name in simple:
        return simple[name]
    percentile = re.fullmatch(r"p(\d{1,2}(?:\.\d{0,10})?|100)", name)
    if percentile is None:
        raise UnsupportedError(f"statistic {name} is not run")
    share = float(percentile[1]) / 100

    def rank(found: Sequence[Bucket]) -> float | None:
        """The least value that so large a share does not exceed; none of statistic sets."""
        if not all(bucket.raw for bucket in found):
            return None
        values = sorted(value for bucket in found for value in bucket.values)
        return values[max(0, math.ceil(share * len(values)) - 1)]

    return rank


class Metrics:
    """The metrics of every region, for as long as it is open.

    Args:
        scheduler: Time.

    Attributes:
        rejected: Documents of the embedded metric format that were not taken, by reason.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.rejected: Counter[str] = Counter()
        self._series: dict[tuple[str, Metric], Series] = {}
        self._paused: set[str] = set()
        self._undo = ExitStack()
        for name, ours in _Api(self).methods().items():
            self._undo.enter_context(patch.object(CloudWatchBackend, name, ours))

    def close(self) -> None:
        """Give moto its own metrics back."""
        self._undo.close()

    def pause(self, region: str) -> None:
        """Take no data points in a region until `resume`; they are lost."""
        self._paused.add(region)

    def resume(self, region: str) -> None:
        """Take data points again."""
        self._paused.discard(region)

    def of(self, region: str, metric: Metric) -> Series:
        """The series of a metric, which may have no data points yet."""
        key = (region, metric)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = Series(metric)
        return found

    def all(self, region: str) -> list[Series]:
        """Every series of a region that ever had a data point."""
        return [
            series for (where, _), series in self._series.items() if where == region and series.puts
        ]

    def watched(self, namespace: str) -> list[tuple[str, Metric]]:
        """Regions and metrics of a namespace that somebody asked for, such as an alarm."""
        return [key for key in self._series if key[1].namespace == namespace]

    def put(
        self,
        region: str,
        metric: Metric,
        values: Sequence[float],
        *,
        unit: str = "None",
        resolution_s: int = MINUTE_S,
        at_s: float | None = None,
    ) -> None:
        """Add data points.

        Args:
            region: Where.
            metric: Of which series.
            values: The data points.
            unit: Such as Count or Seconds; kept for people.
            resolution_s: 60 at standard resolution, anything less at high resolution.
            at_s: When, in seconds since the epoch; now, unless told.
        """
        bucket = self._bucket(region, metric, unit, resolution_s, at_s)
        if bucket is not None:
            for value in values:
                bucket.add(value)

    def put_set(
        self,
        region: str,
        metric: Metric,
        statistics: Mapping[str, float],
        *,
        unit: str = "None",
        resolution_s: int = MINUTE_S,
        at_s: float | None = None,
    ) -> None:
        """Add data points that are told as a statistic set: Sum, SampleCount, Minimum, Maximum.

        There are no percentiles of them, unless all values are one (user guide, "Percentiles").
        """
        bucket = self._bucket(region, metric, unit, resolution_s, at_s)
        if bucket is None or not statistics["SampleCount"]:
            return
        count = statistics["SampleCount"]
        least, most = statistics["Minimum"], statistics["Maximum"]
        if least == most:
            kept = VALUES_MAX - len(bucket.values)
            bucket.values += [least] * min(int(count), kept)
        else:
            bucket.raw = False
        bucket.count += count
        bucket.total += statistics["Sum"]
        bucket.least = min(bucket.least, least)
        bucket.most = max(bucket.most, most)

    def _bucket(
        self, region: str, metric: Metric, unit: str, resolution_s: int, at_s: float | None
    ) -> Bucket | None:
        if region in self._paused:
            return None
        series = self.of(region, metric)
        series.unit = unit
        return series.bucket(self.scheduler.now() if at_s is None else at_s, resolution_s)

    def series(
        self,
        region: str,
        metric: Metric,
        name: str,
        period_s: int,
        start_s: float,
        end_s: float,
    ) -> list[float | None]:
        """One value for each period, oldest first, None where there is no data.

        Args:
            region: Where.
            metric: Of which series.
            name: The statistic's.
            period_s: 10, 20, 30 or a multiple of 60.
            start_s: Rounded down to a whole period, or to a minute if that is shorter.
            end_s: Periods that begin before it are told.
        """
        grid_s = min(period_s, MINUTE_S)
        start = int(start_s // grid_s) * grid_s
        found, read = self.of(region, metric), statistic(name)
        return [
            found.value(read, at_s, at_s + period_s)
            for at_s in range(start, math.ceil(end_s), period_s)
        ]

    # -- the embedded metric format ----------------------------------------------------------

    def read_line(self, region: str, line: str) -> None:
        """Take the metrics of a log line in the embedded metric format; ignore any other line.

        CloudWatch drops what breaks the specification without a word to whoever wrote it; here
        `rejected` counts it.
        """
        if '"CloudWatchMetrics"' not in line:
            return
        try:
            document = json.loads(line[line.index("{") :])
            directives = document["_aws"]["CloudWatchMetrics"]
            at_s = float(document["_aws"]["Timestamp"]) / 1000
        except (ValueError, KeyError, TypeError):
            self.rejected["no document"] += 1
            return
        age_s = self.scheduler.now() - at_s
        if not -FUTURE_S_MAX <= age_s <= PAST_S_MAX:
            self.rejected["timestamp"] += 1
            return
        for directive in directives:
            self._direct(region, directive, document, at_s)

    def _direct(
        self, region: str, directive: Mapping[str, Any], document: Mapping[str, Any], at_s: float
    ) -> None:
        """Take what one metric directive of a document tells."""
        definitions = directive.get("Metrics", [])
        if not directive.get("Namespace") or len(definitions) > METRICS_MAX:
            self.rejected["directive"] += 1
            return
        for names in directive.get("Dimensions", []):
            told = ((name, document.get(name)) for name in names)
            pairs = frozenset(
                (name, value) for name, value in told if isinstance(value, str) and value
            )
            if not len(pairs) == len(names) <= DIMENSIONS_MAX:
                self.rejected["dimensions"] += 1
                continue
            for definition in definitions:
                values = _numbers(document.get(definition.get("Name")))
                if values is None:
                    self.rejected["metric"] += 1
                    continue
                self.put(
                    region,
                    Metric(directive["Namespace"], definition["Name"], pairs),
                    values,
                    unit=definition.get("Unit", "None"),
                    resolution_s=int(definition.get("StorageResolution", MINUTE_S)),
                    at_s=at_s,
                )


def _numbers(target: Any) -> list[float] | None:
    """The values of a metric's target, None if it has none."""
    values = target if isinstance(target, list) else [target]
    if len(values) > VALUES_PER_METRIC_MAX or not values:
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values]


def dimension_set(pairs: Iterable[Mapping[str, str]] | None) -> frozenset[tuple[str, str]]:
    """Dimensions as API calls and templates have them: `[{"Name": …, "Value": …}]`."""
    return frozenset((pair["Name"], pair["Value"]) for pair in pairs or ())


class _Api:
    """What moto's CloudWatch calls for metrics, whoever asked."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def methods(self) -> dict[str, Any]:
        """Functions that take the place of the backend's methods."""
        metrics = self._metrics

        def put_metric_data(
            backend: CloudWatchBackend, namespace: str, metric_data: list[dict[str, Any]]
        ) -> None:
            for number, datum in enumerate(metric_data, start=1):
                backend._validate_parameters_put_metric_data(datum, number)  # noqa: SLF001
            for datum in metric_data:
                self._put(backend.region_name, namespace, datum)

        def get_all_metrics(backend: CloudWatchBackend) -> list[MetricDatum]:
            return [_shown(series) for series in metrics.all(backend.region_name)]

        def get_metric_data(
            backend: CloudWatchBackend,
            queries: list[dict[str, Any]],
            start_time: datetime,
            end_time: datetime,
            scan_by: str = "TimestampAscending",
        ) -> list[dict[str, Any]]:
            if start_time >= end_time:
                raise ValidationError("The parameter EndTime must be greater than StartTime.")
            found = self._query(backend.region_name, queries, start_time, end_time)
            return found if scan_by != "TimestampDescending" else [_backwards(one) for one in found]

        def get_metric_statistics(  # noqa: PLR0913, PLR0917 as moto calls it
            backend: CloudWatchBackend,
            namespace: str,
            metric_name: str,
            start_time: datetime,
            end_time: datetime,
            period: int,
            stats: list[str],
            dimensions: list[dict[str, str]],
            unit: str | None = None,
        ) -> list[dict[str, Any]]:
            metric = Metric(namespace, metric_name, dimension_set(dimensions))
            return self._statistics(
                backend.region_name, metric, (start_time, end_time), int(period), stats
            )

        return {
            "put_metric_data": put_metric_data,
            "get_all_metrics": get_all_metrics,
            "get_metric_data": get_metric_data,
            "get_metric_statistics": get_metric_statistics,
        }

    def _put(self, region: str, namespace: str, datum: Mapping[str, Any]) -> None:
        metric = Metric(namespace, datum["MetricName"], dimension_set(datum.get("Dimensions")))
        when = datum.get("Timestamp")
        at_s = None if when is None else when.replace(tzinfo=when.tzinfo or UTC).timestamp()
        if at_s is not None:
            age_s = self._metrics.scheduler.now() - at_s
            if not -FUTURE_S_MAX <= age_s <= PAST_S_MAX:
                raise InvalidParameterValue(
                    "The parameter MetricData.member.1.Timestamp must be a timestamp within 14 "
                    "days in the past and 2 hours in the future."
                )
        settings: dict[str, Any] = {
            "unit": datum.get("Unit") or "None",
            "resolution_s": int(datum.get("StorageResolution") or MINUTE_S),
            "at_s": at_s,
        }
        if datum.get("StatisticValues"):
            told = {name: float(value) for name, value in datum["StatisticValues"].items()}
            self._metrics.put_set(region, metric, told, **settings)
            return
        values = datum.get("Values") or [datum.get("Value", 0.0)]
        counts = datum.get("Counts") or [1.0] * len(values)
        for value, count in zip(values, counts, strict=True):
            told = {"SampleCount": float(count), "Sum": float(value) * float(count)}
            self._metrics.put_set(
                region,
                metric,
                told | {"Minimum": float(value), "Maximum": float(value)},
                **settings,
            )

    def _query(
        self, region: str, queries: Sequence[Mapping[str, Any]], start: datetime, end: datetime
    ) -> list[dict[str, Any]]:
        plain = {query["Id"]: query["MetricStat"] for query in queries if "MetricStat" in query}
        periods = {int(asked["Period"]) for asked in plain.values()}
        expressions = {
            query["Id"]: query["Expression"] for query in queries if "MetricStat" not in query
        }
        if expressions and len(periods) > 1:
            raise ValidationError("metric math over several periods is not run by the twin")
        data = {
            name: self._metrics.series(
                region,
                Metric(
                    asked["Metric"]["Namespace"],
                    asked["Metric"]["MetricName"],
                    dimension_set(asked["Metric"].get("Dimensions")),
                ),
                asked["Stat"],
                int(asked["Period"]),
                _seconds(start),
                _seconds(end),
            )
            for name, asked in plain.items()
        }
        try:
            math_ = Math(list(plain), expressions)
            data |= {name: math_.series(name, data) for name in expressions}
        except (ValueError, UnsupportedError) as error:
            raise ValidationError(str(error)) from error
        results = []
        for query in queries:
            if query.get("ReturnData", True):
                asked = plain.get(query["Id"])
                label = asked["Metric"]["MetricName"] if asked else query["Id"]
                period_s = int(asked["Period"]) if asked else next(iter(periods), MINUTE_S)
                results.append(_result(query, label, period_s, _seconds(start), data[query["Id"]]))
        return results

    def _statistics(
        self,
        region: str,
        metric: Metric,
        span: tuple[datetime, datetime],
        period_s: int,
        names: Sequence[str],
    ) -> list[dict[str, Any]]:
        start_s, end_s = (_seconds(moment) for moment in span)
        columns = {
            name: self._metrics.series(region, metric, name, period_s, start_s, end_s)
            for name in names
        }
        first_s = int(start_s // min(period_s, MINUTE_S)) * min(period_s, MINUTE_S)
        unit = self._metrics.of(region, metric).unit
        return [
            {"Timestamp": _when(first_s + index * period_s), "Unit": unit}
            | dict(zip(columns, values, strict=True))
            for index, values in enumerate(zip(*columns.values(), strict=True))
            if None not in values
        ]


def _shown(series: Series) -> MetricDatum:
    pairs = [{"Name": name, "Value": value} for name, value in sorted(series.metric.dimensions)]
    return MetricDatum(
        series.metric.namespace, series.metric.name, 0.0, pairs, datetime.now(UTC), series.unit
    )


def _result(
    query: Mapping[str, Any],
    label: str,
    period_s: int,
    start_s: float,
    values: Sequence[float | None],
) -> dict[str, Any]:
    grid_s = min(period_s, MINUTE_S)
    first_s = int(start_s // grid_s) * grid_s
    points = [(index, value) for index, value in enumerate(values) if value is not None]
    return {
        "id": query["Id"],
        "label": query.get("Label") or label,
        "values": [value for _, value in points],
        "timestamps": [_when(first_s + index * period_s) for index, _ in points],
        "status_code": "Complete",
    }


def _backwards(result: dict[str, Any]) -> dict[str, Any]:
    return result | {name: result[name][::-1] for name in ("values", "timestamps")}


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _when(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
