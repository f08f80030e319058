"""What CloudWatch alarms send: to SNS topics, to functions and to EventBridge.

The pages are "Notifying users on alarm changes", "Invoke a Lambda function from an alarm" and
"Alarm events and EventBridge" of docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from botocore.loaders import Loader
from moto.cloudwatch.models import Alarm, MetricDataQuery

STATISTICS: Final[Mapping[str, str]] = {
    "Average": "AVERAGE",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
    "SampleCount": "SAMPLE_COUNT",
    "Sum": "SUM",
}
"""How notifications spell them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state of an alarm.

    Args:
        value: OK, ALARM or INSUFFICIENT_DATA.
        reason: In words.
        reason_data: In JSON; empty if there is none.
        at_s: Since when, in seconds since the epoch.
    """

    value: str
    reason: str
    reason_data: str = ""
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEvent:
    """A change of an alarm's state, or a repetition of its scaling action.

    Args:
        region: Where the alarm is.
        account: Twelve digits.
        alarm: As moto keeps it.
        state: Now.
        previous: Before; when an action is repeated, before the last change.
        at_s: When, in seconds since the epoch.
        value: The latest data point that was evaluated, None if there is none.
        threshold: What it was compared with; None for composite alarms.
    """

    region: str
    account: str
    alarm: Alarm
    state: State
    previous: State
    at_s: float
    value: float | None = None
    threshold: float | None = None

    @property
    def name(self) -> str:
        """The alarm's name."""
        return str(self.alarm.name)


def stamp(at_s: float) -> str:
    """Format a time as alarms tell it: `2026-01-05T00:00:00.000+0000`."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


def returned(query: MetricDataQuery) -> bool:
    """Whether a query's result is what the alarm watches; it is unless told otherwise."""
    return str(query.return_data).lower() != "false"


def subject(event: AlarmEvent) -> str:
    """The subject of a notification."""
    return f'{event.state.value}: "{event.name}" in {_region(event.region)}'


def notification(event: AlarmEvent) -> str:
    """What a topic's subscribers get."""
    alarm = event.alarm
    told = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": event.account,
        "AlarmConfigurationUpdatedTimestamp": stamp(
            alarm.configuration_updated_timestamp.replace(tzinfo=UTC).timestamp()
        ),
        "NewStateValue": event.state.value,
        "NewStateReason": event.state.reason,
        "StateChangeTime": stamp(event.state.at_s),
        "Region": _region(event.region),
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": event.previous.value,
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
    }
    if alarm.rule is not None:
        triggering = json.loads(event.state.reason_data or "{}").get("triggeringAlarms", [])
        children = [
            {
                "Arn": child["arn"],
                "State": {
                    "Value": child["state"]["value"],
                    "Timestamp": child["state"]["timestamp"],
                },
            }
            for child in triggering
        ]
        return json.dumps(told | {"AlarmRule": alarm.rule, "TriggeringChildren": children})
    return json.dumps(told | {"Trigger": _trigger(alarm)})


def invocation(event: AlarmEvent) -> dict[str, Any]:
    """What a function gets as its event."""
    return {
        "source": "aws.cloudwatch",
        "alarmArn": event.alarm.alarm_arn,
        "accountId": event.account,
        "time": stamp(event.at_s),
        "region": event.region,
        "alarmData": _detail(event),
    }


def state_change(event: AlarmEvent, *, id_: str) -> dict[str, Any]:
    """What EventBridge gets."""
    return {
        "version": "0",
        "id": id_,
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": event.account,
        "time": datetime.fromtimestamp(event.at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": event.region,
        "resources": [event.alarm.alarm_arn],
        "detail": _detail(event),
    }


def _detail(event: AlarmEvent) -> dict[str, Any]:
    return {
        "alarmName": event.alarm.name,
        "state": _state(event.state),
        "previousState": _state(event.previous),
        "configuration": _configuration(event.alarm),
    }


def _state(state: State) -> dict[str, str]:
    data = {"reasonData": state.reason_data} if state.reason_data else {}
    return {"value": state.value, "reason": state.reason, "timestamp": stamp(state.at_s), **data}


def _configuration(alarm: Alarm) -> dict[str, Any]:
    described = {"description": alarm.description} if alarm.description else {}
    if alarm.rule is not None:
        return described | {"alarmRule": alarm.rule}
    if not alarm.metric_data_queries:
        stat = {
            "metric": {
                "namespace": alarm.namespace,
                "name": alarm.metric_name,
                "dimensions": {pair.name: pair.value for pair in alarm.dimensions},
            },
            "period": int(alarm.period),
            "stat": alarm.statistic or alarm.extended_statistic,
        }
        return described | {"metrics": [{"id": alarm.name, "metricStat": stat, "returnData": True}]}
    metrics = []
    for query in alarm.metric_data_queries:
        told: dict[str, Any] = {"id": query.id, "returnData": returned(query)}
        if query.label:
            told["label"] = query.label
        if query.metric_stat is None:
            told["expression"] = query.expression
        else:
            told["metricStat"] = {
                "metric": {
                    "namespace": query.metric_stat.metric.namespace,
                    "name": query.metric_stat.metric.metric_name,
                    "dimensions": {
                        pair.name: pair.value for pair in query.metric_stat.metric.dimensions
                    },
                },
                "period": int(query.metric_stat.period),
                "stat": query.metric_stat.stat,
            }
        metrics.append(told)
    return described | {"metrics": metrics}


def _trigger(alarm: Alarm) -> dict[str, Any]:
    """Describe what the alarm watches, in a notification's spelling."""
    common = {
        "EvaluationPeriods": int(alarm.evaluation_periods),
        "DatapointsToAlarm": int(alarm.datapoints_to_alarm or alarm.evaluation_periods),
        "ComparisonOperator": alarm.comparison_operator,
        "Threshold": float(alarm.threshold),
        "TreatMissingData": alarm.treat_missing_data or "missing",
        "EvaluateLowSampleCountPercentile": alarm.evaluate_low_sample_count_percentile or "",
    }
    if not alarm.metric_data_queries:
        kind = "Statistic" if alarm.statistic else "ExtendedStatistic"
        name = STATISTICS[alarm.statistic] if alarm.statistic else alarm.extended_statistic
        return {
            "MetricName": alarm.metric_name,
            "Namespace": alarm.namespace,
            "StatisticType": kind,
            kind: name,
            "Unit": None,
            "Dimensions": [{"value": pair.value, "name": pair.name} for pair in alarm.dimensions],
            "Period": int(alarm.period),
            **common,
        }
    metrics = []
    for query in alarm.metric_data_queries:
        told: dict[str, Any] = {"Id": query.id, "ReturnData": returned(query)}
        if query.label:
            told["Label"] = query.label
        if query.metric_stat is None:
            told["Expression"] = query.expression
        else:
            metric = query.metric_stat.metric
            told["MetricStat"] = {
                "Metric": {
                    "Dimensions": [
                        {"value": pair.value, "name": pair.name} for pair in metric.dimensions
                    ],
                    "MetricName": metric.metric_name,
                    "Namespace": metric.namespace,
                },
                "Period": int(query.metric_stat.period),
                "Stat": query.metric_stat.stat,
            }
        metrics.append(told)
    period_s = max(metric["MetricStat"]["Period"] for metric in metrics if "MetricStat" in metric)
    return {"Period": period_s, **common, "Metrics": metrics}


@cache
def _region(region: str) -> str:
    """Name a region as people do, such as US East (N. Virginia)."""
    partitions = Loader().load_data("endpoints")["partitions"]
    return next(
        (
            str(partition["regions"][region]["description"])
            for partition in partitions
            if region in partition["regions"]
        ),
        region,
    )
