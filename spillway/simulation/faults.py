"""Kinds of faults: how each is drawn, begins and ends.

Kinds that strike single AWS calls count each strike; the others count the run that they were in.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.sqs.models import Message

from config.schema import Deployment
from spillway.leases import LeaseError, Leases
from spillway.twin.calls import Call, Fault
from spillway.twin.sagemaker import Endpoint, RefusedError, Request
from spillway.twin.sqs import TwinQueue
from spillway.twin.twin import Twin

Details = dict[str, Any]
End = Callable[[], None]
Change = Callable[[TwinQueue, Message], None]

CALLS: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    # What each function calls: service, operation and, where it matters, table.
    "submit": (
        ("dynamodb", "PutItem", "ledger"),
        ("dynamodb", "GetItem", "ledger"),
        ("dynamodb", "UpdateItem", "ledger"),
        ("dynamodb", "GetItem", "gate"),
        ("dynamodb", "UpdateItem", "gate"),
        ("sqs", "SendMessage", ""),
        ("lambda", "Invoke", ""),
        ("s3", "PutObject", ""),
    ),
    "dispatch": (
        ("dynamodb", "GetItem", "gate"),
        ("dynamodb", "UpdateItem", "gate"),
        ("dynamodb", "UpdateItem", "ledger"),
        ("dynamodb", "UpdateItem", "ledger"),
        ("sqs", "ReceiveMessage", ""),
        ("sqs", "ChangeMessageVisibility", ""),
        ("sagemaker-runtime", "InvokeEndpointAsync", ""),
        ("sagemaker-runtime", "InvokeEndpointAsync", ""),
        ("sagemaker-runtime", "InvokeEndpointAsync", ""),
        ("sqs", "DeleteMessageBatch", ""),
    ),
    "complete": (
        ("dynamodb", "UpdateItem", "ledger"),
        ("dynamodb", "UpdateItem", "ledger"),
        ("dynamodb", "UpdateItem", "gate"),
        ("dynamodb", "GetItem", "ledger"),
        ("sqs", "SendMessage", ""),
        ("lambda", "Invoke", ""),
        ("s3", "GetObject", ""),
    ),
    "sweep": (
        ("dynamodb", "UpdateItem", "ledger"),
        ("dynamodb", "UpdateItem", "gate"),
        ("dynamodb", "Query", "ledger"),
        ("dynamodb", "BatchGetItem", ""),
        ("sqs", "SendMessage", ""),
        ("s3", "GetObject", ""),
    ),
    "beat": (
        ("dynamodb", "UpdateItem", "gate"),
        ("dynamodb", "UpdateItem", "ledger"),
        ("dynamodb", "BatchGetItem", ""),
        ("dynamodb", "PutItem", "directory"),
        ("sagemaker", "DescribeEndpoint", ""),
        ("lambda", "Invoke", ""),
    ),
}
EVERYWHERE_SHARE: Final = 0.45
"""Share of the faults of calls that strike at any call of a function, now and then."""
WEIGHTS: Final = {"submit": 3, "dispatch": 5, "complete": 4, "sweep": 1, "beat": 1}
CODES: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb": (
        "InternalServerError",
        "ReplicatedWriteConflictException",
        "ProvisionedThroughputExceededException",
    ),
    "sqs": ("ServiceUnavailable", "InternalFailure"),
    "s3": ("InternalError", "ServiceUnavailable"),
    "lambda": ("ServiceException", "EC2ThrottledException"),
    "sagemaker": ("InternalFailure",),
    "sagemaker-runtime": ("ServiceUnavailable", "InternalFailure", "ValidationError"),
}


class Target:
    """What faults are done to: a twin, and how it was before any.

    Args:
        twin: Deployed and warm.
        deployment: What it runs.
    """

    def __init__(self, twin: Twin, deployment: Deployment) -> None:
        self.twin = twin
        self.deployment = deployment
        self.chance = random.Random()  # noqa: S311 seeded for each run
        self.changes: list[Change] = []
        self.mixed_formats = 0.0
        self.repeated_invocations = 0.0
        self._invoke_async = twin.functions.invoke_async
        self._invoke = twin.sagemaker.invoke

    def begin(self, seed: int) -> None:
        """Draw what is drawn during a run from its seed."""
        self.chance.seed(f"faults {seed}")
        setattr(self.twin.functions, "invoke_async", self._bell)  # noqa: B010 a method, for mypy
        setattr(self.twin.sagemaker, "invoke", self._work_off)  # noqa: B010 as above

    def leases(self, region: str) -> Leases:
        """The leases, as an operator in a region changes them."""
        client = self.twin.operator(region).client("dynamodb")
        return Leases(client, self.deployment.names.ledger, self.deployment.regions)

    def _bell(self, region: str, name: str, payload: Any = None) -> None:
        """Invoke as before; while formats are mixed, some events are another release's."""
        body = payload.decode() if isinstance(payload, bytes) else payload
        if self.mixed_formats and isinstance(body, str):
            body = self.other_format(body)
        self._invoke_async(region, name, body)

    def _work_off(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> Request:
        """Take a request in as before; while invocations are repeated, some of them twice."""
        request = self._invoke(endpoint, headers, body)
        if self.repeated_invocations and self.chance.random() < self.repeated_invocations:
            self._invoke(endpoint, headers, body)
        return request

    def other_format(self, text: str) -> str:
        """Some documents as a later release would write them, some as an earlier one did."""
        if self.chance.random() >= self.mixed_formats:
            return text
        try:
            document = json.loads(text)
        except ValueError:
            return text
        if isinstance(document, dict):
            if self.chance.random() < 0.5:  # noqa: PLR2004
                document.pop("format", None)
            else:
                document |= {"later": {"release": [1, 2]}, "format": 2}
        return json.dumps(document)

    def other_item(self, item: Item) -> None:
        """The same for an item of the ledger."""
        if self.chance.random() >= self.mixed_formats:
            return
        item.attrs["later"] = DynamoType({"M": {"release": {"N": "2"}}})
        for name in ("format", "trace_id"):
            if self.chance.random() < 0.5:  # noqa: PLR2004
                item.attrs.pop(name, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of fault.

    Attributes:
        weight: How often it is drawn.
        draw: Its details, from chance and the regions.
        begin: Lets it begin, in a task; returns what ends it, and the rule that counts, if any.
    """

    weight: float
    draw: Callable[[random.Random, Sequence[str]], Details]
    begin: Callable[[Target, Details], tuple[End, Fault | None]]


def _nothing(_chance: random.Random, _regions: Sequence[str]) -> Details:
    return {}


# ---- faults of single calls


def _call(chance: random.Random, regions: Sequence[str]) -> Details:
    """Which calls are hit: a few of one operation, or some of all that a function makes."""
    function = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    service, operation, table = chance.choice(CALLS[function])
    everywhere = chance.random() < EVERYWHERE_SHARE
    if everywhere:
        operation = table = ""
    return {
        "function": function,
        "service": service,
        "operation": operation,
        "table": table,
        "region": chance.choice(list(regions)) if chance.random() < 0.2 else "",  # noqa: PLR2004
        "skip": 0 if everywhere else chance.choice((0, 0, 0, 1, 2, chance.randint(0, 6))),
        "times": None if everywhere else chance.choice((1, 1, 2, 3, 6)),
        "probability": round(chance.uniform(0.03, 0.35), 2) if everywhere else 1.0,
    }


def _any_call(chance: random.Random, regions: Sequence[str]) -> Details:
    """The same, of any service: what strikes everywhere needs none."""
    details = _call(chance, regions)
    return details if details["operation"] else {**details, "service": ""}


def _strike(target: Target, action: str, details: Details) -> tuple[End, Fault]:
    names = target.deployment.names
    function, table = details["function"], details["table"]
    wanted = getattr(names, table) if table else ""
    name = names.function(function)

    def when(call: Call) -> bool:
        return call.function == name and wanted in ("", call.params.get("TableName"))

    fault = target.twin.hook.fail(
        Fault(
            action=action,
            service=details["service"],
            operation=details["operation"],
            region=details["region"],
            skip=details["skip"],
            times=details["times"],
            probability=details["probability"],
            delay_s=details.get("delay_s", 0.0),
            when=when,
        )
    )
    return lambda: target.twin.hook.rules.remove(fault), fault


def _calls(action: str, weight: float) -> Kind:
    return Kind(
        weight=weight,
        draw=_any_call,
        begin=lambda target, details: _strike(target, action, details),
    )


def _unanswered(chance: random.Random, regions: Sequence[str]) -> Details:
    """Any call, or invocations that took place: then the same attempt is handed over again."""
    if chance.random() < 0.5:  # noqa: PLR2004
        return _any_call(chance, regions)
    return {
        "function": "dispatch",
        "service": "sagemaker-runtime",
        "operation": "InvokeEndpointAsync",
        "table": "",
        "region": "",
        "skip": 0,
        "times": None,
        "probability": round(chance.uniform(0.3, 1.0), 2),
    }


def _coded(chance: random.Random, regions: Sequence[str]) -> Details:
    details = _call(chance, regions)
    return {"code": chance.choice(CODES[details["service"]]), **details}


def _delayed_call(chance: random.Random, regions: Sequence[str]) -> Details:
    return {"delay_s": round(chance.uniform(0.1, 8.0), 2), **_any_call(chance, regions)}


# ---- settings of the twin


def _setting(
    weight: float,
    part: str,
    name: str,
    value: Callable[[random.Random], Any],
) -> Kind:
    """A kind that sets an attribute of a part of the twin, and sets it back."""

    def begin(target: Target, details: Details) -> tuple[End, None]:
        owner = getattr(target.twin, part)
        before = DEFAULTS.setdefault((part, name), getattr(owner, name))
        setattr(owner, name, details["value"])
        return lambda: setattr(owner, name, before), None

    return Kind(weight=weight, draw=lambda chance, _: {"value": value(chance)}, begin=begin)


DEFAULTS: Final[dict[tuple[str, str], Any]] = {}
"""What settings were before any fault: two of one kind may overlap."""


def _share(least: float, most: float) -> Callable[[random.Random], float]:
    return lambda chance: round(chance.uniform(least, most), 2)


def _latency(target: Target, details: Details) -> tuple[End, None]:
    """Slower calls, each by its own factor: executions interleave in other ways."""
    hook = target.twin.hook
    before = DEFAULTS.setdefault(("hook", "latency_s"), dict(hook.latency_s))
    hook.latency_s = {name: seconds * details["factor"] for name, seconds in before.items()}
    hook.latency_spread = details["spread"]

    def end() -> None:
        hook.latency_s = dict(before)
        hook.latency_spread = 0.5

    return end, None


ASSUMPTIONS: Final[tuple[Details, ...]] = (
    {"in_flight": "failed"},
    {"in_flight": "silent"},
    {"same_inference_id": "second_dropped"},
    {"failure_notice": "input_location"},
    {"notifications": "at_least_once", "notifications_odd_share": 0.5},
    {"notifications": "sometimes_never", "notifications_odd_share": 0.4},
    {"output": "notification_first"},
    {"queue": "any_order"},
    {"included_response": "text"},
    {"expired": "silent"},
)
"""The other answer to each entry of the table in docs/assumptions.md that concerns SageMaker."""


def _assume(target: Target, details: Details) -> tuple[End, None]:
    sagemaker = target.twin.sagemaker
    before = DEFAULTS.setdefault(("sagemaker", "assumptions"), sagemaker.assumptions)
    sagemaker.assumptions = replace(sagemaker.assumptions, **details)

    def end() -> None:
        # What AWS is like does not change in a run, but notices that never come would not end.
        sagemaker.assumptions = replace(
            sagemaker.assumptions, notifications_odd_share=before.notifications_odd_share
        )

    return end, None


def _repeat_invocations(target: Target, details: Details) -> tuple[End, None]:
    """Endpoints work some requests off twice: one run may fail and the other one answer."""
    target.repeated_invocations = details["share"]
    return _none, None  # What AWS is like does not change in a run.


# ---- messages


def _changed(target: Target, change: Change) -> End:
    target.changes.append(change)
    return lambda: target.changes.remove(change)


def _delay(target: Target, details: Details) -> tuple[End, None]:
    """Some messages of jobs are seen late, and so in another order."""

    def change(_queue: TwinQueue, message: Message) -> None:
        if target.chance.random() >= details["share"]:
            return
        late_s = target.chance.uniform(1, details["most_s"])
        sent_ms: Any = message.sent_timestamp
        message.delayed_until = max(float(message.delayed_until), float(sent_ms) + 1000 * late_s)

    return _changed(target, change), None


def _return(target: Target, details: Details) -> tuple[End, None]:
    """Some messages come back some time after they were deleted, which SQS documents."""

    def change(queue: TwinQueue, message: Message) -> None:
        if target.chance.random() < details["share"]:
            after_s = target.chance.uniform(1, details["most_s"])
            target.twin.scheduler.after(after_s, back, queue, message)

    def back(queue: TwinQueue, message: Message) -> None:
        if all(each.id != message.id for each in queue._messages):  # noqa: SLF001
            message.delayed_until = 0
            queue.add_message(message)

    return _changed(target, change), None


def _formats(target: Target, details: Details) -> tuple[End, None]:
    """Messages, events and items of an earlier and a later release between those of this one."""
    target.mixed_formats = details["share"]

    def change(_queue: TwinQueue, message: Message) -> None:
        message.body = target.other_format(message.body)

    end = _changed(target, change)

    def ended() -> None:
        target.mixed_formats = 0.0
        end()

    return ended, None


# ---- machines and regions


def _none() -> None:
    """Nothing is left to end."""


def _kill_functions(target: Target, details: Details) -> tuple[End, None]:
    name = target.deployment.names.function(details["function"]) if details["function"] else ""
    target.twin.functions.kill(details["region"], name)
    return _none, None


def _instances(target: Target, details: Details) -> tuple[End, None]:
    """An endpoint is scaled and later back, and with an instance goes what it computes."""
    names = target.deployment.names
    (model,) = target.deployment.models
    (version,) = target.deployment.models[model].versions
    endpoint = target.twin.sagemaker.endpoint(details["region"], names.endpoint(model, version))

    def resize(instances: int) -> None:
        try:
            target.twin.sagemaker.resize(endpoint, instances)
        except RefusedError:  # It is being changed already: later.
            target.twin.scheduler.after(5.0, resize, instances)

    resize(details["instances"])
    return lambda: resize(1), None


def _region(chance: random.Random, regions: Sequence[str]) -> Details:
    return {"region": chance.choice(list(regions))}


def _alone(target: Target) -> bool:
    """Whether no other region is away: the ledger survives the loss of one."""
    return all(
        not target.twin.regions.condition(region).killed
        and "global" not in target.twin.regions.condition(region).isolated_from
        for region in target.deployment.regions
    )


def _kill(target: Target, details: Details) -> tuple[End, None]:
    regions, region = target.twin.regions, details["region"]
    if not _alone(target):
        return _none, None
    regions.kill(region)
    return lambda: regions.restore(region), None


def _isolate(target: Target, details: Details) -> tuple[End, None]:
    regions, region = target.twin.regions, details["region"]
    if details["side"] == "global" and not _alone(target):
        return _none, None
    regions.isolate(region, details["side"])
    return lambda: regions.restore(region), None


def _slow(target: Target, details: Details) -> tuple[End, None]:
    regions, region = target.twin.regions, details["region"]
    regions.slow(region, details["factor"])
    return lambda: regions.slow(region, 1.0), None


def _skew(target: Target, details: Details) -> tuple[End, None]:
    target.twin.regions.skew(details["region"], details["seconds"])
    return _none, None  # Clocks that are wrong stay wrong.


def _drain(target: Target, details: Details) -> tuple[End, None]:
    region = details["region"]
    leases = target.leases(region)
    try:
        leases.drain(region)
    except LeaseError:  # There is none, or it is the last region that serves.
        return _none, None

    def end() -> None:
        # It takes a call, and what ends faults must not wait.
        target.twin.scheduler.spawn(leases.serve, region)

    return end, None


def _silence(target: Target, details: Details) -> tuple[End, None]:
    """A region lives and does not beat: its peers take it for lost while it is at work."""
    # Every beat dies at once, but not what the schedule starts: it sends a minute's beats.
    fault = target.twin.hook.fail(
        Fault(
            "die_before",
            service="dynamodb",
            function=target.deployment.names.function("beat"),
            caller_region=details["region"],
            times=None,
        )
    )
    return lambda: target.twin.hook.rules.remove(fault), None


def _with(name: str, values: Callable[[random.Random], Any]) -> Callable[..., Details]:
    return lambda chance, regions: {**_region(chance, regions), name: values(chance)}


KINDS: Final[Mapping[str, Kind]] = {
    "death_before_call": _calls("die_before", 9),
    "death_after_call": _calls("die_after", 9),
    "throttled_call": _calls("throttle", 3),
    "call_without_effect": _calls("timeout_before", 3),
    "call_without_answer": Kind(
        weight=5,
        draw=_unanswered,
        begin=lambda target, details: _strike(target, "timeout_after", details),
    ),
    "unreachable": _calls("unreachable", 2),
    "refused_call": Kind(
        weight=3,
        draw=_coded,
        begin=lambda target, details: _strike(target, details["code"], details),
    ),
    "slow_call": Kind(
        weight=3,
        draw=_delayed_call,
        begin=lambda target, details: _strike(target, "slow", details),
    ),
    "repeated_messages": _setting(4, "sqs", "duplicates", _share(0.1, 0.8)),
    "disorder": _setting(2, "sqs", "disorder", _share(0.1, 0.8)),
    "empty_receives": _setting(2, "sqs", "empty_receives", _share(0.1, 0.8)),
    "stale_handles": _setting(1, "sqs", "stale_handle_deletes", lambda _: True),
    "plain_queues": _setting(1, "sqs", "ordering", lambda _: "plain"),
    "delayed_messages": Kind(
        weight=2,
        draw=lambda chance, _: {
            "share": round(chance.uniform(0.1, 0.7), 2),
            "most_s": chance.choice((5, 30)),
        },
        begin=_delay,
    ),
    "returned_messages": Kind(
        weight=4,
        draw=lambda chance, _: {
            "share": round(chance.uniform(0.2, 1.0), 2),
            "most_s": chance.choice((5, 20, 60)),
        },
        begin=_return,
    ),
    "lost_bells": _setting(3, "functions", "async_lost", _share(0.2, 1.0)),
    "repeated_bells": _setting(2, "functions", "async_duplicated", _share(0.2, 1.0)),
    "latency": Kind(
        weight=4,
        draw=lambda chance, _: {
            "factor": chance.choice((1, 3, 10, 30)),
            "spread": round(chance.uniform(0.1, 0.99), 2),
        },
        begin=_latency,
    ),
    "replication_lag": _setting(2, "dynamodb", "lag_s", _share(0.1, 25.0)),
    "bucket_lag": _setting(1, "s3", "lag_s", _share(0.1, 60.0)),
    "contention_refused": _setting(
        1, "dynamodb", "contention", lambda _: "ConditionalCheckFailedException"
    ),
    "late_notices": _setting(2, "sagemaker", "_notice_s", _share(0.5, 30.0)),
    "repeated_invocations": Kind(
        weight=14,
        draw=lambda chance, _: {"share": round(chance.uniform(0.4, 1.0), 2)},
        begin=_repeat_invocations,
    ),
    "assumption": Kind(weight=5, draw=lambda chance, _: chance.choice(ASSUMPTIONS), begin=_assume),
    "mixed_formats": Kind(
        weight=3,
        draw=lambda chance, _: {"share": round(chance.uniform(0.2, 1.0), 2)},
        begin=_formats,
    ),
    "killed_functions": Kind(
        weight=3,
        draw=_with("function", lambda chance: chance.choice(["", *WEIGHTS])),
        begin=_kill_functions,
    ),
    "scaled_endpoint": Kind(
        weight=2, draw=_with("instances", lambda chance: chance.choice((0, 2))), begin=_instances
    ),
    "clock_skew": Kind(
        weight=3,
        draw=_with("seconds", lambda chance: round(chance.uniform(-8, 8), 2)),
        begin=_skew,
    ),
    "region_silent": Kind(weight=7, draw=_region, begin=_silence),
    "region_killed": Kind(weight=3, draw=_region, begin=_kill),
    "region_isolated": Kind(
        weight=3,
        draw=_with("side", lambda chance: chance.choice(("global", "clients"))),
        begin=_isolate,
    ),
    "region_slow": Kind(
        weight=1, draw=_with("factor", lambda chance: chance.choice((5, 30, 150))), begin=_slow
    ),
    "region_drained": Kind(weight=2, draw=_region, begin=_drain),
}
