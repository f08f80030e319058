"""Lambda event source mappings: queues whose messages invoke functions.

Nothing polls on the clock: queues tell when they may have messages, and a mapping then receives
as many batches as its concurrency allows. What real pollers ask in vain is not simulated.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from moto.sqs.models import Message

from spillway.twin.calls import Caller, Hook
from spillway.twin.clock import Event, Scheduler
from spillway.twin.functions import (
    Answer,
    Functions,
    RegionDownError,
    ThrottledError,
    function_name,
)
from spillway.twin.resources import Resource
from spillway.twin.sqs import Sqs, TwinQueue

CONCURRENCY_START: Final = 5
CONCURRENCY_PER_SECOND: Final = 5.0
CONCURRENCY_MAX: Final = 1000
"""Batches at once: five, 300 more per minute while messages remain, at most 1,000 (developer
guide, "Configuring scaling behavior for SQS event source mappings")."""

BATCH_BYTES_MAX: Final = 6_000_000
"""A batch must fit into one invocation; Lambda keeps some room for what it adds."""

RECEIVE_MAX: Final = 10
"""Messages that one request to SQS receives or deletes."""

THROTTLE_WAIT_S: Final = 1.0
THROTTLE_WAIT_S_MAX: Final = 60.0
"""Pauses after throttled invocations, doubling; the documentation only says "gradually"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSource:
    """One mapping.

    Args:
        queue_arn: The queue; the function is in its region.
        function: Name of the function.
        batch_size: Messages per invocation, at most.
        window_s: How long to gather a batch.
        partial: Whether the function reports failed messages (ReportBatchItemFailures).
        concurrency_max: Invocations at once; None for Lambda's own limit.
        enabled: Whether it runs.
    """

    queue_arn: str
    function: str
    batch_size: int = 10
    window_s: float = 0.0
    partial: bool = False
    concurrency_max: int | None = None
    enabled: bool = True

    @property
    def region(self) -> str:
        """Where queue and function are."""
        return self.queue_arn.split(":")[3]


@dataclass(slots=True, eq=False)
class _Poller:
    """A mapping at work."""

    source: EventSource
    queue: TwinQueue
    caller: Caller
    running: int = 0
    throttled: int = 0
    allowed: float = CONCURRENCY_START
    grown_s: float = 0.0
    window_since_s: float | None = None
    timer: Event | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """Messages in flight to one invocation."""

    poller: _Poller
    records: list[dict[str, Any]]
    hidden_until_s: float
    wait_s: float = THROTTLE_WAIT_S
    handles: dict[str, str] = field(default_factory=dict)


class EventSources:
    """The event source mappings of every region.

    Args:
        scheduler: Time.
        hook: Logs what the pollers send to SQS, as function `event source of …`.
        sqs: The queues.
        functions: The functions.
        latency_s: From a message becoming visible to its invocation (measured median: 16.2 ms).
    """

    def __init__(
        self,
        scheduler: Scheduler,
        hook: Hook,
        sqs: Sqs,
        functions: Functions,
        *,
        latency_s: float = 0.016,
    ) -> None:
        self.scheduler = scheduler
        self.latency_s = latency_s
        self._hook = hook
        self._sqs = sqs
        self._functions = functions
        self._pollers: dict[str, _Poller] = {}
        self._paused: set[str] = set()

    def create(self, resource: Resource) -> Resource | None:
        """Deploy a mapping from a template."""
        properties = resource.properties
        scaling = properties.get("ScalingConfig") or {}
        source = EventSource(
            queue_arn=properties["EventSourceArn"],
            function=function_name(properties["FunctionName"]),
            batch_size=int(properties.get("BatchSize", 10)),
            window_s=float(properties.get("MaximumBatchingWindowInSeconds", 0)),
            partial="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
            concurrency_max=scaling.get("MaximumConcurrency"),
            enabled=bool(properties.get("Enabled", True)),
        )
        identity = self.add(source)
        arn = f"arn:aws:lambda:{resource.region}:{resource.account}:event-source-mapping:{identity}"
        attributes = {"Id": identity, "EventSourceMappingArn": arn}
        return replace(resource, physical_id=identity, attributes=attributes)

    def add(self, source: EventSource) -> str:
        """Create a mapping and return its id.

        Raises:
            ValueError: Lambda would refuse it.
            LookupError: There is no such queue or function.
        """
        queue = self._sqs.queue(source.queue_arn)
        timeout_s = self._functions.definition(source.region, source.function).timeout_s
        visibility_s: int = queue.visibility_timeout  # type: ignore[attr-defined]
        if visibility_s < timeout_s:
            raise ValueError(
                f"Queue visibility timeout: {visibility_s} seconds is less than Function timeout: "
                f"{timeout_s:.0f} seconds"
            )
        if source.batch_size > RECEIVE_MAX and source.window_s < 1:
            raise ValueError("Maximum batch window in seconds must be greater than 0 if batch size"
                             f" is greater than {RECEIVE_MAX}")  # fmt: skip
        if source.concurrency_max is not None and not (
            2 <= source.concurrency_max <= CONCURRENCY_MAX  # noqa: PLR2004 Lambda's own minimum
        ):
            raise ValueError(f"MaximumConcurrency must be from 2 to {CONCURRENCY_MAX}")
        latency_s = self.latency_s
        identity = str(uuid.UUID(int=self.scheduler.random.getrandbits(128), version=4))
        poller = _Poller(source, queue, Caller(f"event source of {source.function}", source.region))
        self._pollers[identity] = poller
        self._sqs.listen(source.queue_arn, lambda _, when_s: self._wake(poller, when_s + latency_s))
        self._wake(poller, self.scheduler.now())
        return identity

    def enable(self, identity: str, *, enabled: bool) -> None:
        """Switch a mapping on or off; what is under way goes on."""
        poller = self._pollers[identity]
        poller.source = replace(poller.source, enabled=enabled)
        self._wake(poller, self.scheduler.now())

    def pause(self, region: str) -> None:
        """Receive and delete nothing in a region until `resume`; messages stay in their queues."""
        self._paused.add(region)

    def resume(self, region: str) -> None:
        """Poll again, as if for the first time."""
        self._paused.discard(region)
        for poller in self._pollers.values():
            if poller.source.region == region:
                poller.allowed = CONCURRENCY_START
                self._wake(poller, self.scheduler.now())

    # -- polling -----------------------------------------------------------------------------

    def _wake(self, poller: _Poller, when_s: float) -> None:
        """Look at the queue at a time, unless a look before is planned."""
        if poller.timer is not None:
            if poller.timer.when_s <= when_s:
                return
            poller.timer.cancel()
        poller.timer = self.scheduler.at(when_s, self._poll, poller)

    def _poll(self, poller: _Poller) -> None:
        """Receive as many batches as may run, and plan the next look."""
        poller.timer = None
        now_s, source, queue = self.scheduler.now(), poller.source, poller.queue
        if not source.enabled or poller.throttled or source.region in self._paused:
            return
        self._grow(poller, now_s)
        limit = min(int(poller.allowed), source.concurrency_max or CONCURRENCY_MAX)
        while poller.running < limit:
            if source.window_s and not self._gathered(poller, now_s):
                break
            batch_s = float(queue.visibility_timeout)  # type: ignore[attr-defined]
            messages = queue.receive(source.batch_size, batch_s)
            if not messages:
                break
            self._bill(poller, "ReceiveMessage", len(messages))
            for records in _batches(messages, source):
                poller.running += 1
                batch = _Batch(poller, records, now_s + batch_s)
                batch.handles = {each["messageId"]: each["receiptHandle"] for each in records}
                self._invoke(batch)
        next_s = queue.next_visible_s()
        if next_s is None:
            return
        if next_s > now_s:
            self._wake(poller, next_s + self.latency_s)
        elif poller.window_since_s is not None:
            self._wake(poller, poller.window_since_s + source.window_s)
        elif int(poller.allowed) < (source.concurrency_max or CONCURRENCY_MAX):
            self._wake(poller, now_s + 1 / CONCURRENCY_PER_SECOND)

    def _grow(self, poller: _Poller, now_s: float) -> None:
        """More batches at once while there is a backlog; back to the start without one."""
        if poller.running == 0:
            poller.allowed = min(poller.allowed, CONCURRENCY_START)
            poller.grown_s = now_s
        grown = (now_s - poller.grown_s) * CONCURRENCY_PER_SECOND
        if poller.running >= int(poller.allowed) or poller.allowed < CONCURRENCY_START:
            poller.allowed = min(CONCURRENCY_MAX, poller.allowed + grown)
        poller.grown_s = now_s

    def _gathered(self, poller: _Poller, now_s: float) -> bool:
        """Whether a batch is full, or its window over."""
        waiting = poller.queue.approximate_number_of_messages
        if waiting == 0:
            poller.window_since_s = None
            return False
        if poller.window_since_s is None:
            poller.window_since_s = now_s
        over = now_s >= poller.window_since_s + poller.source.window_s
        if over or waiting >= poller.source.batch_size:
            poller.window_since_s = None
            return True
        return False

    # -- invoking ----------------------------------------------------------------------------

    def _invoke(self, batch: _Batch) -> None:
        """Invoke the function; throttled, try again until the messages are visible again."""
        poller = batch.poller
        source = poller.source
        try:
            task = self._functions.invoke(
                source.region, source.function, {"Records": batch.records}
            )
        except RegionDownError:
            self._end(poller)
        except ThrottledError:
            poller.throttled += 1
            again_s = self.scheduler.now() + batch.wait_s
            batch.wait_s = min(batch.wait_s * 2, THROTTLE_WAIT_S_MAX)
            if again_s < batch.hidden_until_s:
                self.scheduler.at(again_s, self._retry, batch)
            else:
                self.scheduler.at(batch.hidden_until_s, self._drop, batch)
        else:
            task.on_done(lambda done: self._settle(batch, done.result()))

    def _retry(self, batch: _Batch) -> None:
        batch.poller.throttled -= 1
        self._invoke(batch)

    def _drop(self, batch: _Batch) -> None:
        batch.poller.throttled -= 1
        self._end(batch.poller)

    def _settle(self, batch: _Batch, answer: Answer) -> None:
        """Delete what succeeded; the rest reappears after the visibility timeout."""
        poller = batch.poller
        if poller.source.region in self._paused:
            self._end(poller)
            return
        failed = _failed(answer, batch, partial=poller.source.partial)
        done = [handle for identity, handle in batch.handles.items() if identity not in failed]
        for handle in done:
            poller.queue.delete_message(handle)
        if done:
            self._bill(poller, "DeleteMessageBatch", len(done))
        if answer.error and not poller.source.partial:
            poller.allowed = max(1.0, poller.allowed / 2)
        self._end(poller)

    def _end(self, poller: _Poller) -> None:
        poller.running -= 1
        self._wake(poller, self.scheduler.now())

    def _bill(self, poller: _Poller, operation: str, messages: int) -> None:
        for _ in range(0, messages, RECEIVE_MAX):
            self._hook.note(poller.caller, "sqs", operation, {"QueueUrl": poller.queue.name})


def _failed(answer: Answer, batch: _Batch, *, partial: bool) -> set[str]:
    """Ids of the messages that were not processed, by what the function answered."""
    everything = set(batch.handles)
    if answer.error:
        return everything
    if not partial:
        return set()
    reply = answer.json()
    failures = reply.get("batchItemFailures") if isinstance(reply, dict) else None
    if not reply or failures is None:
        return everything if reply and not isinstance(reply, dict) else set()
    if not isinstance(failures, list) or not all(isinstance(each, dict) for each in failures):
        return everything
    named = {each.get("itemIdentifier") for each in failures}
    # An id that was not in the batch makes the whole answer worthless.
    return named if not named - everything else everything


def _batches(messages: list[Message], source: EventSource) -> Iterator[list[dict[str, Any]]]:
    """Records for the function, in batches that fit into an invocation."""
    batch: list[dict[str, Any]] = []
    size = 0
    for message in messages:
        record = _record(message, source)
        length = len(json.dumps(record))
        if batch and size + length > BATCH_BYTES_MAX:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    yield batch


def _record(message: Message, source: EventSource) -> dict[str, Any]:
    """A message as functions see it (developer guide, "Example standard queue message event")."""
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
    }
    if message.group_id is not None:
        attributes["MessageGroupId"] = message.group_id
    record = {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {
            name: {
                "stringValue": value.get("StringValue"),
                "binaryValue": value.get("BinaryValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.message_attributes.items()
        },
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": source.queue_arn,
        "awsRegion": source.region,
    }
    if message.message_attributes:
        record["md5OfMessageAttributes"] = message.attribute_md5
    return record
