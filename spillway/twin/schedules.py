"""EventBridge rules with a schedule: `rate(…)` and `cron(…)`, to functions and queues.

Schedules have minutes and no seconds; AWS promises only that a rule runs within its minute.
"""

import calendar
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from moto.sqs.models import sqs_backends

from spillway.twin.clock import Event, Scheduler
from spillway.twin.functions import Functions, UnknownFunctionError, function_name
from spillway.twin.resources import Resource, UnsupportedError

SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86_400}
MONTHS: Final = {name.upper(): number for number, name in enumerate(calendar.month_abbr)}
WEEKDAYS: Final = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
DAYS_MAX: Final = 366 * 8
"""How far ahead a cron expression is followed: a 29 February may be eight years away."""

TARGET_PROPERTIES: Final = frozenset({"Arn", "Id", "Input", "RetryPolicy", "RoleArn"})
"""A retry policy has nothing to do: functions' own queues and SQS take every event at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a rule sends its event.

    Args:
        arn: A function or a queue.
        input: JSON to send instead of the event.
    """

    arn: str
    input: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A scheduled rule.

    Args:
        name: Unique in its region.
        region: Where it is.
        account: Twelve digits.
        expression: `rate(5 minutes)` or `cron(0 12 * * ? *)`.
        targets: At most five, as EventBridge allows.
        enabled: Whether it runs.
    """

    name: str
    region: str
    account: str = "123456789012"
    expression: str
    targets: Sequence[Target] = ()
    enabled: bool = True

    @property
    def arn(self) -> str:
        """Its Amazon resource name."""
        return f"arn:aws:events:{self.region}:{self.account}:rule/{self.name}"


class Schedules:
    """The scheduled rules of every region.

    Args:
        scheduler: Time and chance.
        functions: Functions that rules invoke, asynchronously as EventBridge does.
        jitter_s: Up to so many seconds, drawn anew each time, between a rule's time and its
            event.
    """

    def __init__(
        self, scheduler: Scheduler, functions: Functions, *, jitter_s: float = 0.0
    ) -> None:
        self.scheduler = scheduler
        self.jitter_s = jitter_s
        self._functions = functions
        self._rules: dict[str, Rule] = {}
        self._timers: dict[str, Event] = {}
        self._paused: set[str] = set()

    def create(self, resource: Resource) -> Resource | None:
        """Deploy a rule from a template."""
        properties = resource.properties
        rule = Rule(
            name=resource.physical_id,
            region=resource.region,
            account=resource.account,
            expression=properties["ScheduleExpression"],
            targets=read_targets(properties),
            enabled=properties.get("State", "ENABLED") == "ENABLED",
        )
        self.add(rule)
        return replace(resource, attributes={"Arn": rule.arn})

    def add(self, rule: Rule) -> None:
        """Create or replace a rule.

        Raises:
            ValueError: EventBridge would refuse the expression.
            UnsupportedError: The twin cannot run a target, or a part of the expression.
        """
        next_s(rule.expression, self.scheduler.now(), self.scheduler.now())
        check_targets(rule.targets)
        self.remove(rule.arn)
        self._rules[rule.arn] = rule
        if rule.enabled:
            self._plan(rule, self.scheduler.now(), self.scheduler.now())

    def remove(self, arn: str) -> None:
        """Delete a rule, if there is one."""
        self._rules.pop(arn, None)
        timer = self._timers.pop(arn, None)
        if timer is not None:
            timer.cancel()

    def enable(self, arn: str, *, enabled: bool) -> None:
        """Switch a rule on or off; a rate counts from now."""
        self.add(replace(self._rules[arn], enabled=enabled))

    def pause(self, region: str) -> None:
        """Send no event in a region until `resume`; what would have been sent never is."""
        self._paused.add(region)

    def resume(self, region: str) -> None:
        """Send events again, at the times at which they were due anyway."""
        self._paused.discard(region)

    def _plan(self, rule: Rule, created_s: float, after_s: float) -> None:
        when_s = next_s(rule.expression, created_s, after_s)
        if when_s is not None:
            self._timers[rule.arn] = self.scheduler.at(when_s, self._run, rule, created_s, when_s)

    def _run(self, rule: Rule, created_s: float, when_s: float) -> None:
        self._plan(rule, created_s, when_s)
        delay_s = self.scheduler.random.uniform(0, self.jitter_s) if self.jitter_s else 0.0
        for target in rule.targets:
            self.scheduler.after(delay_s, self._send, rule, target, when_s)

    def _send(self, rule: Rule, target: Target, when_s: float) -> None:
        if rule.region in self._paused:
            return
        send(self._functions, target, target.input or json.dumps(self._event(rule, when_s)))

    def _event(self, rule: Rule, when_s: float) -> dict[str, Any]:
        """A scheduled event (EventBridge user guide, "Creating a rule that runs on a schedule")."""
        return {
            "version": "0",
            "id": str(uuid.UUID(int=self.scheduler.random.getrandbits(128), version=4)),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": rule.account,
            "time": datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": rule.region,
            "resources": [rule.arn],
            "detail": {},
        }


def read_targets(properties: Mapping[str, Any]) -> tuple[Target, ...]:
    """The targets of a rule in a template.

    Raises:
        UnsupportedError: One has a property that the twin does not run.
    """
    for target in properties.get("Targets", []):
        for name in set(target) - TARGET_PROPERTIES:
            raise UnsupportedError(f"Targets.{name}: rules send events or constant input only")
    return tuple(
        Target(arn=target["Arn"], input=target.get("Input"))
        for target in properties.get("Targets", [])
    )


def check_targets(targets: Sequence[Target]) -> None:
    """Make sure that a rule's targets can be reached.

    Raises:
        UnsupportedError: One is neither a function nor a queue.
    """
    for target in targets:
        if target.arn.split(":")[2] not in ("lambda", "sqs"):
            raise UnsupportedError(f"target {target.arn}: only functions and queues")


def send(functions: Functions, target: Target, body: str) -> None:
    """Deliver an event to a function, asynchronously, or to a queue."""
    _, _, service, region, account, *rest = target.arn.split(":")
    if service == "lambda":
        try:
            functions.invoke_async(region, function_name(target.arn), body)
        except UnknownFunctionError:
            return  # As with EventBridge, whose failed deliveries only show in a metric.
    else:
        sqs_backends[account][region].send_message(rest[0], body)


def next_s(
    expression: str, created_s: float, after_s: float, *, zone: tzinfo = UTC
) -> float | None:
    """When a schedule runs next, in seconds since the epoch.

    Args:
        expression: `rate(…)` or `cron(…)`.
        created_s: When the rule was made; a rate counts from there.
        after_s: Strictly after this time.
        zone: Of the times in a cron expression; those of rules are always UTC.

    Returns:
        None if never again.

    Raises:
        ValueError: EventBridge would refuse the expression.
        UnsupportedError: It uses L, W or #.
    """
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)(s?)\)", expression)
    if rate is not None:
        count = int(rate[1])
        if count < 1 or (count == 1) == bool(rate[3]):
            raise ValueError(f"Parameter ScheduleExpression is not valid: {expression}")
        step_s = count * SECONDS[rate[2]]
        return created_s + (int((after_s - created_s) // step_s) + 1) * step_s
    cron = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression)
    if cron is None or [cron[3], cron[5]].count("?") != 1:
        raise ValueError(f"Parameter ScheduleExpression is not valid: {expression}")
    return _next_cron(cron.groups(), after_s, zone)


def _next_cron(fields: Sequence[str], after_s: float, zone: tzinfo) -> float | None:
    minutes, hours = _numbers(fields[0], 0, 59), _numbers(fields[1], 0, 23)
    days, weekdays = _numbers(fields[2], 1, 31), _numbers(fields[4], 1, 7, WEEKDAYS)
    months, years = _numbers(fields[3], 1, 12, MONTHS), _numbers(fields[5], 1970, 2199)
    start = datetime.fromtimestamp(after_s, zone)
    for offset in range(DAYS_MAX):
        day = start.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        day += timedelta(days=offset)
        fits = day.year in years and day.month in months and day.day in days
        if not fits or day.isoweekday() % 7 + 1 not in weekdays:
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                # As a time since the epoch: clocks that are set back show an hour twice.
                when_s = day.replace(hour=hour, minute=minute).timestamp()
                if when_s > after_s:
                    return when_s
    return None


def _numbers(
    text: str, lowest: int, highest: int, names: dict[str, int] | None = None
) -> frozenset[int]:
    """The values that one field of a cron expression allows."""
    for name, number in (names or {}).items():
        if name:
            text = re.sub(rf"\b{name}\b", str(number), text, flags=re.IGNORECASE)
    if re.search(r"[LW#]", text):
        raise UnsupportedError(f"ScheduleExpression: {text} with L, W or # is not run")
    allowed: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\*|\?|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
        if found is None:
            raise ValueError(f"Parameter ScheduleExpression is not valid: {part}")
        first = int(found[2]) if found[2] else lowest
        last = int(found[3]) if found[3] else (highest if not found[2] or found[4] else first)
        if not lowest <= first <= last <= highest:
            raise ValueError(f"Parameter ScheduleExpression is not valid: {part}")
        allowed.update(range(first, last + 1, int(found[4] or 1)))
    return frozenset(allowed)
