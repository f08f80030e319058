"""CloudWatch alarms: metric alarms evaluated as CloudWatch does, and composite alarms over them.

moto holds the alarms, so that describe calls show them; this module evaluates them on the clock,
keeps their states, and hands their actions on. Pages cited as such are of
docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring.
"""

import json
import operator
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from unittest.mock import patch

from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import (
    Alarm,
    CloudWatchBackend,
    Dimension,
    MetricDataQuery,
    MetricStat,
    cloudwatch_backends,
)
from moto.cloudwatch.models import Metric as MotoMetric
from moto.cloudwatch.responses import CloudWatchResponse

from spillway.twin.alarm_messages import AlarmEvent, State, returned, stamp
from spillway.twin.alarm_rules import AlarmRule
from spillway.twin.clock import Event, Scheduler
from spillway.twin.metric_math import Math
from spillway.twin.metrics import FINE_S, MINUTE_S, Metric, Metrics, Series, Statistic, statistic
from spillway.twin.resources import Resource, UnsupportedError

Act = Callable[[str, str, AlarmEvent], object]
"""Runs one action: the region, the action's ARN, and what happened."""

COMPARISONS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
MISSING: Final = frozenset({"missing", "ignore", "breaching", "notBreaching"})
ACTIONS: Final = frozenset({"sns", "lambda", "autoscaling"})
EXTRA_PERIODS: Final = 2
"""How many periods more than it evaluates an alarm looks at. "Configuring how CloudWatch alarms
treat missing data" says that there are more, and shows two in its examples, for three periods."""
REPEAT_S: Final = 60.0
"""How often a scaling action is repeated ("Using Amazon CloudWatch alarms")."""
WINDOW_S_MAX: Final = 86_400
LONG_WINDOW_S_MAX: Final = 604_800
"""Of all evaluated periods together, the second for periods of an hour and more."""
WARM_UP_MINUTES_MAX: Final = 2_880
UNREAD: Final = (
    "ActionConfiguration",
    "EvaluationCriteria",
    "EvaluationInterval",
    "EvaluationWindow",
    "WarmUpConfiguration",
)
"""Parameters of PutMetricAlarm that moto passes over in silence: here they are refused."""
HISTORY_MAX: Final = 10_000
MOTO_HISTORY_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an alarm asks of its data points.

    Args:
        period_s: Seconds of one data point.
        periods: How many data points are evaluated, N.
        needed: How many of them must breach, M.
        threshold: What they are compared with.
        comparison: One of `COMPARISONS`.
        missing: How missing ones are treated, one of `MISSING`.
        samples_min: Below so many samples in all periods the state stays; 0 for any number.
        extra_periods: How many periods more than N are looked at when some are missing.
    """

    period_s: int
    periods: int
    needed: int
    threshold: float
    comparison: str
    missing: str = "missing"
    samples_min: float = 0.0
    extra_periods: int = EXTRA_PERIODS

    def __post_init__(self) -> None:
        if self.period_s not in (10, 20, 30) and (self.period_s < 1 or self.period_s % MINUTE_S):
            raise ValueError(f"Period {self.period_s} is not 10, 20, 30 or a multiple of 60")
        if not 1 <= self.needed <= self.periods:
            raise ValueError("DatapointsToAlarm must be from 1 to EvaluationPeriods")
        most_s = WINDOW_S_MAX if self.period_s < 3600 else LONG_WINDOW_S_MAX  # noqa: PLR2004
        if self.period_s * self.periods > most_s:
            raise ValueError(f"Period times EvaluationPeriods is more than {most_s} s")
        if self.comparison not in COMPARISONS:
            raise UnsupportedError(f"ComparisonOperator: {self.comparison} is not run")
        if self.missing not in MISSING:
            raise ValueError(f"TreatMissingData {self.missing!r} is none of {sorted(MISSING)}")

    @property
    def interval_s(self) -> int:
        """How often it is asked: every ten seconds if the period is shorter than a minute."""
        return FINE_S if self.period_s < MINUTE_S else MINUTE_S

    @property
    def range_s(self) -> int:
        """How far the evaluation range goes back."""
        return self.period_s * (self.periods + self.extra_periods)

    def breaches(self, value: float) -> bool:
        """Whether one data point violates the threshold."""
        return COMPARISONS[self.comparison][0](value, self.threshold)

    def answer(self, values: Sequence[float | None]) -> str | None:
        """The state that data points lead to, None to keep the one there is.

        Args:
            values: The evaluation range, newest first; what is older than the newest N that
                exist may be left out.

        Source:
            "Configuring how CloudWatch alarms treat missing data": its three rules, its two
            tables, and "Avoiding premature transitions to alarm state".
        """
        found = [(age, self.breaches(x)) for age, x in enumerate(values, start=1) if x is not None]
        gaps = max(0, self.periods - len(found))
        breaching = sum(bad for _, bad in found[: self.periods])
        if self.missing == "breaching":
            breaching += gaps
        if breaching >= self.needed:
            return "ALARM"
        if (
            not gaps
            or self.missing in ("breaching", "notBreaching")
            or not all(bad for _, bad in found)
        ):
            return "OK"
        # Nothing is left but missing data points, and too few that breach.
        if self.missing == "ignore":
            return None
        old_enough = found and found[-1][0] >= self.needed
        return "ALARM" if old_enough else "INSUFFICIENT_DATA"


class _Plain:
    """One statistic of one metric."""

    def __init__(self, series: Series, read: Statistic) -> None:
        self.inputs = [series]
        self._series = series
        self._read = read

    def newest(self, question: Question, end_s: int) -> tuple[list[float | None], bool]:
        """The evaluation range, newest first, and whether there was no data at all."""
        values: list[float | None] = []
        found = 0
        for _ in range(question.periods + question.extra_periods):
            start_s = end_s - question.period_s
            value = self._series.value(self._read, start_s, end_s)
            values.append(value)
            found += value is not None
            if found == question.periods:
                break
            end_s = start_s
        return values, not found


class _Formula:
    """The result of metric math."""

    def __init__(
        self, inputs: Mapping[str, tuple[Series, Statistic]], math: Math, id_: str
    ) -> None:
        self.inputs = [series for series, _ in inputs.values()]
        self._inputs = inputs
        self._math = math
        self._id = id_

    def newest(self, question: Question, end_s: int) -> tuple[list[float | None], bool]:
        """As of `_Plain`."""
        period_s = question.period_s
        starts = range(end_s - question.range_s, end_s, period_s)
        data = {
            name: [series.value(read, at_s, at_s + period_s) for at_s in starts]
            for name, (series, read) in self._inputs.items()
        }
        empty = all(value is None for values in data.values() for value in values)
        return self._math.series(self._id, data)[::-1], empty


@dataclass(slots=True, eq=False)
class _Watch:
    """An alarm at work; a composite one has a rule, another one a question and a source."""

    region: str
    account: str
    alarm: Alarm
    state: State
    previous: State
    question: Question | None = None
    source: _Plain | _Formula | None = None
    rule: AlarmRule | None = None
    values: list[float | None] | None = None
    puts: int = -1
    empty: bool = False
    acted_s: float = 0.0
    warm_s: float = 0.0
    warm_early: bool = True

    @property
    def name(self) -> str:
        return str(self.alarm.name)


class Alarms:
    """The alarms of every region, for as long as it is open.

    Args:
        scheduler: Time.
        metrics: What they watch.
        act: Runs the actions of changes of state; it must not wait.
        delay_s: From the end of a period to its evaluation, in seconds. AWS documents none; its
            sample events show up to a minute.
        extra_periods: Of the evaluation range, beyond the periods that are evaluated; of alarms
            that are put from now on.

    Attributes:
        history: Changes of state, the latest `HISTORY_MAX`.
        observers: Called with each change of state, whether actions are enabled or not.
        evaluations: How often alarms were evaluated.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        metrics: Metrics,
        *,
        act: Act,
        delay_s: float = 5.0,
        extra_periods: int = EXTRA_PERIODS,
    ) -> None:
        self.scheduler = scheduler
        self.delay_s = delay_s
        self.extra_periods = extra_periods
        self.history: deque[AlarmEvent] = deque(maxlen=HISTORY_MAX)
        self.observers: list[Callable[[AlarmEvent], object]] = []
        self.evaluations = 0
        self._metrics = metrics
        self._act = act
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._ticks: dict[int, Event] = {}
        self._paused: set[str] = set()
        self._undo = ExitStack()
        self._put_in_moto = CloudWatchBackend.put_metric_alarm
        self._intercept()

    def close(self) -> None:
        """Evaluate no more, and give moto its own alarms back."""
        for tick in self._ticks.values():
            tick.cancel()
        self._ticks.clear()
        self._undo.close()

    def pause(self, region: str) -> None:
        """Evaluate no alarm of a region until `resume`."""
        self._paused.add(region)

    def resume(self, region: str) -> None:
        """Evaluate a region's alarms again."""
        self._paused.discard(region)

    # -- alarms ------------------------------------------------------------------------------

    def create(self, resource: Resource) -> Resource:
        """Create an alarm from a template.

        Raises:
            ValueError: CloudWatch would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        alarm = self.put(
            resource.account,
            resource.region,
            {**resource.properties, "AlarmName": resource.physical_id},
        )
        return replace(resource, physical_id=alarm.name, attributes={"Arn": str(alarm.alarm_arn)})

    def put(self, account: str, region: str, properties: Mapping[str, Any]) -> Alarm:
        """Create or update an alarm; an updated one keeps its state.

        Args:
            account: Twelve digits.
            region: Where.
            properties: As of AWS::CloudWatch::Alarm or AWS::CloudWatch::CompositeAlarm, which
                are those of PutMetricAlarm and PutCompositeAlarm.

        Raises:
            ValueError: CloudWatch would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        backend = cloudwatch_backends[account][region]
        return self._put(
            backend, _arguments(properties), properties.get("WarmUpConfiguration") or {}
        )

    def delete(self, account: str, region: str, name: str) -> None:
        """Delete an alarm, if there is one."""
        cloudwatch_backends[account][region].delete_alarms([name])

    def state(self, region: str, name: str) -> State:
        """An alarm's state; a KeyError if there is none."""
        return self._watches[region, name].state

    def _put(
        self, backend: CloudWatchBackend, arguments: dict[str, Any], warm_up: Mapping[str, Any]
    ) -> Alarm:
        name, region = str(arguments["name"]), backend.region_name
        before = backend.alarms.get(name)
        known = self._watches.get((region, name))
        alarm: Alarm = self._put_in_moto(backend, **arguments)
        state = State(
            value="INSUFFICIENT_DATA",
            reason="Unchecked: Initial alarm creation",
            at_s=self.scheduler.now(),
        )
        watch = _Watch(region, str(backend.account_id), alarm, state, state)
        try:
            self._read(watch)
            self._warm_up(watch, known, warm_up)
        except (ValueError, UnsupportedError):
            if before is None:
                del backend.alarms[name]
            else:
                backend.alarms[name] = before
            raise
        if known is not None:
            watch.state, watch.previous, watch.acted_s = known.state, known.previous, known.acted_s
        alarm.state_value, alarm.state_reason = watch.state.value, watch.state.reason
        alarm.state_reason_data = watch.state.reason_data
        self._watches[region, name] = watch
        if watch.question is not None:
            self._plan(watch.question.interval_s)
        else:
            # "The alarm is then evaluated and its state is set appropriately."
            self.scheduler.after(0.0, self._judge, watch, None)
        return alarm

    def _read(self, watch: _Watch) -> None:
        """Prepare the evaluation of an alarm.

        Raises:
            ValueError, UnsupportedError: As of `put`.
        """
        alarm = watch.alarm
        actions = [*alarm.alarm_actions, *alarm.ok_actions, *alarm.insufficient_data_actions]
        services = {_service(action) for action in actions}
        for service in services - ACTIONS:
            raise UnsupportedError(f"actions: alarms do not act on {service or actions} here")
        if alarm.rule is not None:
            if "autoscaling" in services:
                raise ValueError("a composite alarm cannot perform Auto Scaling actions")
            self._read_rule(watch, alarm.rule)
            return
        if alarm.unit:
            raise UnsupportedError("Unit: alarms watch data points of every unit here")
        if alarm.threshold_metric_id:
            raise UnsupportedError("ThresholdMetricId: anomaly detection is not run")
        name = str(alarm.extended_statistic or "")
        ignored = alarm.evaluate_low_sample_count_percentile == "ignore" and name
        if alarm.metric_data_queries:
            watch.source, period_s = self._formula(watch.region, alarm.metric_data_queries)
        else:
            if not (alarm.namespace and alarm.metric_name and alarm.period):
                raise ValueError("an alarm needs Namespace, MetricName and Period, or Metrics")
            if bool(alarm.statistic) == bool(name):
                raise ValueError("an alarm needs one of Statistic and ExtendedStatistic")
            pairs = _pairs(alarm.dimensions)
            series = self._metrics.of(
                watch.region, Metric(alarm.namespace, alarm.metric_name, pairs)
            )
            watch.source, period_s = (
                _Plain(series, statistic(alarm.statistic or name)),
                alarm.period,
            )
        dynamodb = any(s.metric.namespace == "AWS/DynamoDB" for s in watch.source.inputs)
        watch.question = Question(
            period_s=int(period_s),
            periods=int(alarm.evaluation_periods),
            needed=int(alarm.datapoints_to_alarm or alarm.evaluation_periods),
            threshold=float(alarm.threshold),
            comparison=alarm.comparison_operator,
            # These "always ignore missing data" (API reference, "PutMetricAlarm").
            missing="ignore" if dynamodb else alarm.treat_missing_data or "missing",
            samples_min=_samples_min(name) if ignored else 0.0,
            extra_periods=self.extra_periods,
        )
        for series in watch.source.inputs:
            series.kept_s = max(series.kept_s, watch.question.range_s + 2 * MINUTE_S)

    def _warm_up(self, watch: _Watch, known: _Watch | None, settings: Mapping[str, Any]) -> None:
        """Let a new alarm wait; an updated one goes on waiting at most ("Alarm warm-up periods").

        Raises:
            ValueError: CloudWatch would refuse it.
        """
        if not settings:
            return
        minutes = int(settings["WarmUpPeriodDurationInMinutes"])
        if not 1 <= minutes <= WARM_UP_MINUTES_MAX:
            raise ValueError(f"a warm-up is from 1 to {WARM_UP_MINUTES_MAX} minutes")
        whole = settings.get("OnlyStartEvaluatingAfterWarmUpPeriodEnds", False)
        watch.warm_early = str(whole).lower() != "true"
        if known is None or known.warm_s > self.scheduler.now():
            watch.warm_s = self.scheduler.now() + MINUTE_S * minutes

    def _formula(self, region: str, queries: Sequence[MetricDataQuery]) -> tuple[_Formula, int]:
        """Prepare the queries of an alarm on metric math."""
        inputs: dict[str, tuple[Series, Statistic]] = {}
        expressions: dict[str, str] = {}
        periods = set()
        for query in queries:
            if query.metric_stat is None:
                expressions[query.id] = str(query.expression)
                continue
            asked = query.metric_stat
            if asked.unit:
                raise UnsupportedError("Unit: alarms watch data points of every unit here")
            pairs = _pairs(asked.metric.dimensions)
            metric = Metric(asked.metric.namespace, asked.metric.metric_name, pairs)
            inputs[query.id] = (self._metrics.of(region, metric), statistic(asked.stat))
            periods.add(int(asked.period))
        watched = [query.id for query in queries if returned(query)]
        if len(watched) != 1 or len(periods) != 1:
            raise ValueError(
                "an alarm watches one query with ReturnData, over metrics of one Period"
            )
        math = Math(list(inputs), expressions)
        formula = _Formula(inputs, math, watched[0])
        math.series(watched[0], {name: [1.0, None] for name in inputs})  # It must be one series.
        return formula, periods.pop()

    def _read_rule(self, watch: _Watch, text: str) -> None:
        """Prepare a composite alarm.

        Raises:
            ValueError: The rule cannot be read, refers to no alarm, or in the end to itself.
        """
        watch.rule = AlarmRule(text)
        unknown = sorted(n for n in watch.rule.names if (watch.region, n) not in self._watches)
        if unknown:
            raise ValueError(
                f"Could not save the composite alarm as alarms {unknown} in the alarm rule do not "
                "exist"
            )
        below, seen = list(watch.rule.names), set[str]()
        while below:
            name = below.pop()
            if name == watch.name:
                raise ValueError("a composite alarm cannot depend on itself")
            child = self._watches.get((watch.region, name))
            if name not in seen and child is not None and child.rule is not None:
                below += child.rule.names
            seen.add(name)

    # -- evaluation --------------------------------------------------------------------------

    def _plan(self, interval_s: int, after_s: int = 0) -> None:
        """Make sure that alarms are evaluated over periods that end after a time, and are over."""
        if interval_s not in self._ticks:
            begun = int((self.scheduler.now() - self.delay_s) // interval_s)
            end_s = max(begun * interval_s, after_s) + interval_s
            self._ticks[interval_s] = self.scheduler.at(
                end_s + self.delay_s, self._tick, interval_s, end_s
            )

    def _tick(self, interval_s: int, end_s: int) -> None:
        """Evaluate every alarm with an interval, over periods that end at a time."""
        del self._ticks[interval_s]
        due = [
            watch
            for watch in self._watches.values()
            if watch.question is not None and watch.question.interval_s == interval_s
        ]
        if due:
            self._plan(interval_s, end_s)
        for watch in due:
            if watch.region not in self._paused and watch.alarm is self._current(watch):
                self._evaluate(watch, end_s)

    def _current(self, watch: _Watch) -> Alarm | None:
        """The alarm of that name: an action may have deleted or updated it meanwhile."""
        found = self._watches.get((watch.region, watch.name))
        return None if found is None else found.alarm

    def _evaluate(self, watch: _Watch, end_s: int) -> None:
        question, source = watch.question, watch.source
        if question is None or source is None:
            return
        puts = sum(series.puts for series in source.inputs)
        if watch.empty and puts == watch.puts and not watch.warm_s:
            # Without any data before and since, the answer is the one of the last time.
            self._repeat(watch)
            return
        self.evaluations += 1
        watch.values, empty = source.newest(question, end_s)
        watch.empty = empty and all(series.newest_s < end_s for series in source.inputs)
        watch.puts = puts
        if watch.warm_s:
            full = sum(value is not None for value in watch.values) >= question.periods
            if self.scheduler.now() < watch.warm_s and not (full and watch.warm_early):
                return
            watch.warm_s = 0.0
        answer = question.answer(watch.values)
        if answer in (None, watch.state.value) or self._too_few(watch, end_s):
            self._repeat(watch)
            return
        now_s = self.scheduler.now()
        self._move(watch, _state(watch, str(answer), watch.values, end_s, now_s))

    def _too_few(self, watch: _Watch, end_s: int) -> bool:
        """Whether a percentile has too few samples to change the state."""
        question, source = watch.question, watch.source
        if question is None or source is None or not question.samples_min:
            return False
        start_s = end_s - question.period_s * question.periods
        count = source.inputs[0].value(statistic("SampleCount"), start_s, end_s)
        return (count or 0.0) < question.samples_min

    def _judge(self, watch: _Watch, child: _Watch | None) -> None:
        """Evaluate a composite alarm, after a child's change or its own creation or update."""
        if watch.rule is None or self._current(watch) is not watch.alarm:
            return
        holds = watch.rule.holds(lambda name: self._value(watch.region, name))
        value = "ALARM" if holds else "OK"
        if value == watch.state.value or watch.region in self._paused:
            return
        now_s = self.scheduler.now()
        reason = f"{watch.alarm.alarm_arn} was created and its alarm rule evaluates to {value}"
        triggering = [] if child is None else [child]
        if child is not None:
            when = datetime.fromtimestamp(child.state.at_s, UTC)
            reason = (
                f"{child.alarm.alarm_arn} transitioned to {child.state.value} at "
                f"{when:%A %d %B, %Y %H:%M:%S} UTC"
            )
        else:
            triggering = [
                self._watches[watch.region, name]
                for name in sorted(watch.rule.names)
                if (watch.region, name) in self._watches
            ]
        data = {
            "triggeringAlarms": [
                {
                    "arn": each.alarm.alarm_arn,
                    "state": {"value": each.state.value, "timestamp": stamp(each.state.at_s)},
                }
                for each in triggering
            ]
        }
        self._move(
            watch, State(value=value, reason=reason, reason_data=json.dumps(data), at_s=now_s)
        )

    def _value(self, region: str, name: str) -> str | None:
        watch = self._watches.get((region, name))
        return None if watch is None else watch.state.value

    # -- changes of state --------------------------------------------------------------------

    def _move(self, watch: _Watch, state: State) -> None:
        """Change an alarm's state."""
        watch.alarm.update_state(state.reason, state.reason_data, state.value)
        del watch.alarm.history[:-MOTO_HISTORY_MAX]
        self._announce(watch, state)

    def _announce(self, watch: _Watch, state: State) -> None:
        """Act on a change of state, and tell composite alarms and observers."""
        watch.previous, watch.state = watch.state, state
        watch.acted_s = self.scheduler.now()
        event = self._event(watch)
        self.history.append(event)
        for observer in self.observers:
            observer(event)
        self._run(watch, event, _actions(watch))
        for other in list(self._watches.values()):
            named = other.rule is not None and watch.name in other.rule.names
            if named and other.region == watch.region:
                self._judge(other, watch)

    def _repeat(self, watch: _Watch) -> None:
        """Repeat scaling actions: "once per minute that the alarm remains in the new state"."""
        now_s = self.scheduler.now()
        if now_s - watch.acted_s < REPEAT_S:
            return
        scaling = [action for action in _actions(watch) if _service(action) == "autoscaling"]
        if scaling:
            watch.acted_s = now_s
            self._run(watch, self._event(watch), scaling)

    def _event(self, watch: _Watch) -> AlarmEvent:
        values = watch.values or []
        return AlarmEvent(
            region=watch.region,
            account=watch.account,
            alarm=watch.alarm,
            state=watch.state,
            previous=watch.previous,
            at_s=self.scheduler.now(),
            value=next((value for value in values if value is not None), None),
            threshold=None if watch.question is None else watch.question.threshold,
        )

    def _run(self, watch: _Watch, event: AlarmEvent, actions: Iterable[str]) -> None:
        if watch.alarm.actions_enabled:
            for action in actions:
                self._act(watch.region, action, event)

    # -- boto3 -------------------------------------------------------------------------------

    def _intercept(self) -> None:
        """Point moto's alarms here, until `close`."""
        alarms = self
        set_in_moto = CloudWatchBackend.set_alarm_state
        delete_in_moto = CloudWatchBackend.delete_alarms

        def put_metric_alarm(backend: CloudWatchBackend, **arguments: Any) -> Alarm:
            try:
                return alarms._put(backend, arguments, {})
            except (ValueError, UnsupportedError) as error:
                raise ValidationError(str(error)) from error

        def set_alarm_state(
            backend: CloudWatchBackend, name: str, reason: str, data: str, value: str
        ) -> None:
            set_in_moto(backend, name, reason, data, value)
            alarms._set(backend.region_name, name, value, reason, data)

        def delete_alarms(backend: CloudWatchBackend, names: list[str]) -> None:
            delete_in_moto(backend, names)
            for name in names:
                alarms._watches.pop((backend.region_name, name), None)

        read_in_moto = CloudWatchResponse.put_metric_alarm

        def read_metric_alarm(response: CloudWatchResponse) -> Any:
            for parameter in UNREAD:
                if response._get_param(parameter) is not None:  # noqa: SLF001 moto's way
                    raise ValidationError(f"{parameter} is not run by the twin over the API")
            return read_in_moto(response)

        for owner, name, ours in (
            (CloudWatchResponse, "put_metric_alarm", read_metric_alarm),
            (CloudWatchBackend, "put_metric_alarm", put_metric_alarm),
            (CloudWatchBackend, "set_alarm_state", set_alarm_state),
            (CloudWatchBackend, "delete_alarms", delete_alarms),
            # moto reads a rule where it reads a metric, but has no operation for it.
            (CloudWatchResponse, "put_composite_alarm", read_in_moto),
        ):
            self._undo.enter_context(patch.object(owner, name, ours, create=True))

    def _set(self, region: str, name: str, value: str, reason: str, data: str | None) -> None:
        """Set an alarm's state for now; the next evaluation finds its own."""
        watch = self._watches[region, name]
        watch.empty = False
        if value == watch.state.value:
            return
        told = json.loads(data) if data else {}
        recent = told.get("recentDatapoints", []) if isinstance(told, dict) else []
        # Scaling policies take the value from here (API reference, "SetAlarmState").
        watch.values = [float(x) for x in reversed(recent)]
        state = State(value=value, reason=reason, reason_data=data or "", at_s=self.scheduler.now())
        self._announce(watch, state)


def _service(action: str) -> str:
    parts = action.split(":")
    return parts[2] if len(parts) > 5 and parts[0] == "arn" else ""  # noqa: PLR2004 an ARN's six


def _pairs(dimensions: Iterable[Dimension]) -> frozenset[tuple[str, str]]:
    return frozenset((str(pair.name), str(pair.value)) for pair in dimensions)


def _actions(watch: _Watch) -> list[str]:
    """Which actions belong to an alarm's state."""
    alarm = watch.alarm
    found: list[str] = {
        "ALARM": alarm.alarm_actions,
        "OK": alarm.ok_actions,
        "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
    }[watch.state.value]
    return found


def _samples_min(percentile: str) -> float:
    """How many samples a percentile needs ("Percentile-based alarms and low data samples")."""
    share = float(percentile[1:]) / 100
    return 10 / max(1e-9, (1 - share) if share >= 0.5 else share)  # noqa: PLR2004 the page's


def _state(
    watch: _Watch, value: str, values: Sequence[float | None], end_s: int, now_s: float
) -> State:
    """Put a change of state into CloudWatch's words."""
    question = watch.question
    if question is None:
        raise TypeError("composite alarms have no data points")
    points = [
        (end_s - (index + 1) * question.period_s, x)
        for index, x in enumerate(values)
        if x is not None
    ][: question.periods]
    data: dict[str, Any] = {
        "version": "1.0",
        "queryDate": stamp(now_s),
        "period": question.period_s,
        "recentDatapoints": [x for _, x in reversed(points)],
        "threshold": question.threshold,
    }
    if points:
        data["startDate"] = stamp(points[-1][0])
    if name := watch.alarm.statistic or watch.alarm.extended_statistic:
        data["statistic"] = name
    reason = _reason(question, value, points, len(values))
    return State(value=value, reason=reason, reason_data=json.dumps(data), at_s=now_s)


def _reason(
    question: Question, value: str, points: Sequence[tuple[int, float]], looked_at: int
) -> str:
    if value == "INSUFFICIENT_DATA":
        verb = "datapoint was" if looked_at == 1 else "datapoints were"
        return f"Insufficient Data: {looked_at} {verb} unknown."
    if not points:
        treated = "Breaching" if question.missing == "breaching" else "NonBreaching"
        return (
            f"Threshold Crossed: no datapoints were received for {question.periods} periods and "
            f"{question.periods} missing datapoints were treated as [{treated}]."
        )
    alarm = value == "ALARM"
    agreeing = [point for point in points if question.breaches(point[1]) is alarm]
    told = ", ".join(
        f"{x} ({datetime.fromtimestamp(at_s, UTC):%d/%m/%y %H:%M:%S})" for at_s, x in agreeing
    )
    least = question.needed if alarm else question.periods - question.needed + 1
    return (
        f"Threshold Crossed: {len(agreeing)} out of the last {question.periods} datapoints "
        f"[{told}] {'was' if len(agreeing) == 1 else 'were'}{'' if alarm else ' not'} "
        f"{COMPARISONS[question.comparison][1]} the threshold ({question.threshold}) (minimum "
        f"{least} datapoint{'' if least == 1 else 's'} for "
        f"{'OK -> ALARM' if alarm else 'ALARM -> OK'} transition)."
    )


def _arguments(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of a template as moto's backend takes them."""
    queries = [
        MetricDataQuery(
            query_id=query["Id"],
            label=query.get("Label", ""),
            # moto cannot describe a period that is an empty text.
            period=str(query["Period"]) if "Period" in query else None,  # type: ignore[arg-type]
            return_data=query.get("ReturnData", True),
            expression=query.get("Expression"),
            metric_stat=_metric_stat(query.get("MetricStat")),
        )
        for query in properties.get("Metrics", [])
    ]
    return {
        "name": properties["AlarmName"],
        "namespace": properties.get("Namespace"),
        "metric_name": properties.get("MetricName"),
        "metric_data_queries": queries or None,
        "comparison_operator": properties.get("ComparisonOperator"),
        "evaluation_periods": properties.get("EvaluationPeriods"),
        "datapoints_to_alarm": properties.get("DatapointsToAlarm"),
        "period": properties.get("Period"),
        "threshold": properties.get("Threshold"),
        "statistic": properties.get("Statistic"),
        "extended_statistic": properties.get("ExtendedStatistic"),
        "description": properties.get("AlarmDescription"),
        "dimensions": properties.get("Dimensions", []),
        "alarm_actions": list(properties.get("AlarmActions", [])),
        "ok_actions": list(properties.get("OKActions", [])),
        "insufficient_data_actions": list(properties.get("InsufficientDataActions", [])),
        "unit": properties.get("Unit"),
        "actions_enabled": str(properties.get("ActionsEnabled", True)).lower() == "true",
        "treat_missing_data": properties.get("TreatMissingData"),
        "evaluate_low_sample_count_percentile": properties.get("EvaluateLowSampleCountPercentile"),
        "threshold_metric_id": properties.get("ThresholdMetricId"),
        "rule": properties.get("AlarmRule"),
        "tags": properties.get("Tags"),
    }


def _metric_stat(asked: Mapping[str, Any] | None) -> MetricStat | None:
    if asked is None:
        return None
    metric = asked["Metric"]
    pairs = [Dimension(pair["Name"], pair["Value"]) for pair in metric.get("Dimensions", [])]
    return MetricStat(
        metric=MotoMetric(metric["MetricName"], metric["Namespace"], pairs),
        period=str(asked["Period"]),
        stat=asked["Stat"],
        unit=asked.get("Unit", ""),
    )
