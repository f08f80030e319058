"""EventBridge's default bus: rules with an event pattern, and the events that services send.

Rules with a schedule are `spillway.twin.schedules`; a rule may have both.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from spillway.twin.clock import Scheduler
from spillway.twin.functions import Functions
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.schedules import Schedules, Target, check_targets, read_targets, send

Pattern = Mapping[str, Any]

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": lambda x, y: math.isclose(x, y, rel_tol=0, abs_tol=1e-9),
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRule:
    """A rule that matches events.

    Args:
        name: Unique in its region.
        region: Where it is.
        pattern: What an event must have.
        targets: Where matching events go.
        enabled: Whether it runs.
    """

    name: str
    region: str
    pattern: Pattern
    targets: tuple[Target, ...] = ()
    enabled: bool = True


class Events:
    """The default event bus of every region.

    Args:
        scheduler: Time and chance.
        functions: Functions that rules invoke, asynchronously.
        schedules: Takes the rules that have a schedule.
        latency_s: From an event to its targets, in seconds.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        functions: Functions,
        schedules: Schedules,
        *,
        latency_s: float = 0.5,
    ) -> None:
        self.scheduler = scheduler
        self.latency_s = latency_s
        self._functions = functions
        self._schedules = schedules
        self._rules: dict[tuple[str, str], EventRule] = {}
        self._paused: dict[str, list[tuple[Target, str]]] = {}

    def create(self, resource: Resource) -> Resource | None:
        """Deploy a rule from a template: with a schedule, a pattern, or both.

        Raises:
            ValueError: EventBridge would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        properties = resource.properties
        pattern = properties.get("EventPattern")
        if pattern is None and "ScheduleExpression" not in properties:
            raise ValueError("a rule needs EventPattern or ScheduleExpression")
        if pattern is not None:
            self.add(
                EventRule(
                    name=resource.physical_id,
                    region=resource.region,
                    pattern=json.loads(pattern) if isinstance(pattern, str) else pattern,
                    targets=read_targets(properties),
                    enabled=properties.get("State", "ENABLED") == "ENABLED",
                )
            )
        if "ScheduleExpression" in properties:
            return self._schedules.create(resource)
        arn = f"arn:aws:events:{resource.region}:{resource.account}:rule/{resource.physical_id}"
        return replace(resource, attributes={"Arn": arn})

    def add(self, rule: EventRule) -> None:
        """Create or replace a rule.

        Raises:
            ValueError: EventBridge would refuse the pattern.
            UnsupportedError: The twin cannot run a target, or a part of the pattern.
        """
        check_targets(rule.targets)
        check_pattern(rule.pattern)
        self._rules[rule.region, rule.name] = rule

    def enable(self, region: str, name: str, *, enabled: bool) -> None:
        """Switch a rule on or off."""
        self._rules[region, name] = replace(self._rules[region, name], enabled=enabled)

    def pause(self, region: str) -> None:
        """Deliver nothing in a region until `resume`; what matched waits."""
        self._paused.setdefault(region, [])

    def resume(self, region: str) -> None:
        """Deliver again, and what waited first: EventBridge tries for 24 hours."""
        for target, body in self._paused.pop(region, []):
            self.scheduler.after(self.latency_s, self._send, region, target, body)

    def put(self, region: str, event: Mapping[str, Any]) -> None:
        """Send an event to the targets of every rule that matches it."""
        for rule in self._rules.values():
            if rule.region == region and rule.enabled and matches(rule.pattern, event):
                for target in rule.targets:
                    body = target.input or json.dumps(event)
                    self.scheduler.after(self.latency_s, self._send, region, target, body)

    def _send(self, region: str, target: Target, body: str) -> None:
        if region in self._paused:
            self._paused[region].append((target, body))
        else:
            send(self._functions, target, body)


def check_pattern(pattern: Pattern) -> None:
    """Make sure that a pattern can be matched.

    Raises:
        ValueError: EventBridge would refuse it.
        UnsupportedError: It uses a filter that is not run.
    """
    for name, wanted in pattern.items():
        if name == "$or":
            raise UnsupportedError("EventPattern: $or is not run")
        if isinstance(wanted, Mapping):
            check_pattern(wanted)
        elif not isinstance(wanted, list) or not wanted:
            raise ValueError(f"EventPattern: {name} must be an object or a list with values")
        else:
            for each in wanted:
                if isinstance(each, Mapping):
                    _filter_holds(each, None)


def matches(pattern: Pattern, event: Any) -> bool:
    """Whether an event has what a pattern asks for.

    Source:
        EventBridge user guide, "Amazon EventBridge event patterns" and "Content filtering": every
        field of the pattern must match; a list matches if one of its values does, of a field that
        is a list one of whose values does.
    """
    if not isinstance(event, Mapping):
        return False
    return all(_field_matches(wanted, event, name) for name, wanted in pattern.items())


def _field_matches(wanted: Any, event: Mapping[str, Any], name: str) -> bool:
    if isinstance(wanted, Mapping):
        return matches(wanted, event.get(name))
    if name not in event or isinstance(event[name], Mapping):
        # Only leaves exist.
        return any(each == {"exists": False} for each in wanted)
    values = event[name] if isinstance(event[name], list) else [event[name]]
    return any(_value_matches(each, value) for each in wanted for value in values)


def _value_matches(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, Mapping):
        return _filter_holds(wanted, value)
    same_kind = type(wanted) is type(value) or (_is_number(wanted) and _is_number(value))
    return same_kind and bool(wanted == value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _filter_holds(wanted: Mapping[str, Any], value: Any) -> bool:
    """Whether a content filter matches one value.

    Raises:
        UnsupportedError: It is another filter than those that are run.
        ValueError: It cannot be read.
    """
    match wanted:
        case {"prefix": str(start)}:
            return isinstance(value, str) and value.startswith(start)
        case {"suffix": str(end)}:
            return isinstance(value, str) and value.endswith(end)
        case {"exists": bool(exists)}:
            return exists
        case {"numeric": list(bounds)}:
            return _within(bounds, value)
        case {"anything-but": Mapping() as unwanted}:
            return not _filter_holds(unwanted, value) and isinstance(value, str)
        case {"anything-but": unwanted}:
            each = unwanted if isinstance(unwanted, list) else [unwanted]
            return not any(_value_matches(one, value) for one in each)
    raise UnsupportedError(f"EventPattern: filter {json.dumps(dict(wanted))} is not run")


def _within(bounds: list[Any], value: Any) -> bool:
    pairs = list(zip(bounds[::2], bounds[1::2], strict=False))
    if not pairs or len(bounds) % 2 or not all(sign in _COMPARE for sign, _ in pairs):
        raise ValueError(f"EventPattern: numeric {bounds} cannot be read")
    return _is_number(value) and all(_COMPARE[sign](value, float(x)) for sign, x in pairs)
