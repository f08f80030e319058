"""SQS: moto's service on queues that find, hide and delete messages without scanning them.

moto's own queue walks through all messages on each request, which takes 11 ms a message in a
queue of 500. This one keeps moto's API, long polling included, on heaps, in the twin's time, and
tells others when messages become visible. Standard queues only.
"""

import heapq
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from copy import copy
from functools import lru_cache
from typing import Any, ClassVar, Final, Literal
from unittest.mock import patch

from moto.core.utils import camelcase_to_underscores
from moto.moto_api._internal import mock_random
from moto.sqs import models
from moto.sqs.exceptions import InvalidParameterValue, ReceiptHandleIsInvalid, SQSException
from moto.sqs.models import Message, SQSBackend, sqs_backends

from spillway.twin.clock import Scheduler, Signal
from spillway.twin.resources import UnsupportedError

VISIBILITY_TOTAL_S_MAX: Final = 43_200.0
NOISY_IN_FLIGHT_MIN: Final = 30
NOISY_SHARE: Final = 0.1
"""A tenant with more messages in flight than this share of all, and than the minimum, is noisy
(SQS developer guide, "How Amazon SQS fair queues work")."""

HANDLE: Final = "AQEB"
"""How our receipt handles begin: one that was valid once is told from one that never was."""

Listener = Callable[["TwinQueue", float], object]
"""Hears that a queue may have visible messages at a time, in seconds since the epoch."""


class Sqs:
    """SQS in every region; replaces moto's queues for as long as it is open.

    Args:
        scheduler: Time and chance.
        ordering: What a fair queue does with few messages in flight is not documented. `fair`
            prefers quiet tenants by the documented measure of messages in flight; `plain` is
            first come, first served. Neither models shares of processing time.
        duplicates: Share of receives that leave their messages visible, so that they are
            delivered once more: the documented at-least-once delivery.
        empty_receives: Share of short polls that find nothing although messages are there.
        disorder: Share of messages handed out before an earlier one.
        stale_handle_deletes: Whether a receipt handle that is not a message's latest deletes
            it. The documentation says that it might not.

    Attributes:
        inspect: Sees each message before its queue takes it, and may change it; one that it
            answers False to is lost, as none ever is on AWS.
    """

    current: ClassVar["Sqs | None"] = None

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        ordering: Literal["fair", "plain"] = "fair",
        duplicates: float = 0.0,
        empty_receives: float = 0.0,
        disorder: float = 0.0,
        stale_handle_deletes: bool = False,
    ) -> None:
        self.scheduler = scheduler
        self.ordering = ordering
        self.duplicates = duplicates
        self.empty_receives = empty_receives
        self.disorder = disorder
        self.stale_handle_deletes = stale_handle_deletes
        self.inspect: Callable[[TwinQueue, Message], bool] | None = None
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._signals: dict[str, Signal] = {}
        self._undo = ExitStack()
        names = lru_cache(maxsize=None)(camelcase_to_underscores)
        for owner, name, ours in (
            (models, "Queue", TwinQueue),
            # Called 14 times for each message sent, with the same 14 names.
            (models, "camelcase_to_underscores", names),
            (SQSBackend, "receive_message", _receive_message),
            (SQSBackend, "change_message_visibility", _change_message_visibility),
        ):
            self._undo.enter_context(patch.object(owner, name, ours))
        Sqs.current = self

    def close(self) -> None:
        """Give moto its own queues back."""
        if Sqs.current is self:
            Sqs.current = None
        self._undo.close()

    def queue(self, arn: str) -> "TwinQueue":
        """A queue by its ARN.

        Raises:
            LookupError: There is none.
        """
        _, _, _, region, account, name = arn.split(":")
        queue = sqs_backends[account][region].queues.get(name)
        if isinstance(queue, TwinQueue):
            return queue
        raise LookupError(f"there is no queue {arn}")

    def listen(self, arn: str, listener: Listener) -> None:
        """Call `listener(queue, when_s)` whenever messages of a queue become visible."""
        self._listeners[arn].append(listener)

    def unlisten(self, arn: str, listener: Listener) -> None:
        """Stop calling."""
        self._listeners[arn].remove(listener)

    def chance(self, share: float) -> bool:
        """True in that share of cases; draws nothing for a share of zero."""
        return share > 0 and self.scheduler.random.random() < share

    def notify(self, queue: "TwinQueue", when_s: float) -> None:
        """Tell everybody who waits for a queue that it may have messages at a time."""
        signal = self._signals.get(queue.queue_arn)
        if signal is not None:
            signal.fire()
        for listener in self._listeners.get(queue.queue_arn, ()):
            listener(queue, when_s)

    def wait(self, queue: "TwinQueue", until_s: float) -> None:
        """Suspend the current task until the queue changes, or something becomes visible."""
        next_s = queue.next_visible_s()
        if next_s is not None:
            until_s = min(until_s, next_s)
        signal = self._signals.setdefault(queue.queue_arn, Signal(self.scheduler))
        signal.wait(max(0.0, until_s - self.scheduler.now()))


def _service() -> Sqs:
    if Sqs.current is None:
        raise RuntimeError("the twin that owns this queue is closed")
    return Sqs.current


class TwinQueue(models.Queue):
    """A standard queue. A message is delayed or in flight (hidden), ready, or gone."""

    def __init__(self, name: str, region: str, account_id: str, **kwargs: Any) -> None:
        if str(kwargs.get("FifoQueue", "")).lower() == "true":
            raise UnsupportedError(f"FifoQueue: the twin runs standard queues only, not {name}")
        self._clear()
        super().__init__(name, region, account_id, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # moto's lock is for threads that we do not have, and cannot be copied.
        return {name: value for name, value in vars(self).items() if name != "_messages_lock"}

    def _clear(self) -> None:
        self._order = 0
        self._live: OrderedDict[int, Message] = OrderedDict()
        self._places: dict[str, _Place] = {}
        self._handles: dict[str, Message] = {}
        self._ready: dict[str, list[tuple[int, str]]] = {}
        self._hidden: list[tuple[float, int, str]] = []
        self._in_flight: Counter[str] = Counter()
        self._delayed_count = self._in_flight_count = 0

    # -- what moto calls ---------------------------------------------------------------------

    @property
    def _messages(self) -> list[Message]:
        return list(self._live.values())

    @_messages.setter
    def _messages(self, messages: Iterable[Message]) -> None:
        """Empty the queue, as moto does to purge it."""
        self._clear()
        for message in messages:
            self.add_message(message)

    @property
    def messages(self) -> list[Message]:
        """The visible messages, in order of sending."""
        self._surface()
        states = self._places
        return [message for message in self._live.values() if states[message.id].state == "ready"]

    @property
    def approximate_number_of_messages(self) -> int:
        """Messages that can be received."""
        self._surface()
        return len(self._live) - self._delayed_count - self._in_flight_count

    @property
    def approximate_number_of_messages_delayed(self) -> int:
        """Messages sent with a delay that is not over."""
        self._surface()
        return self._delayed_count

    @property
    def approximate_number_of_messages_not_visible(self) -> int:
        """Messages in flight."""
        self._surface()
        return self._in_flight_count

    def add_message(self, message: Message) -> None:
        """Take in a message that was sent, or moved here from another queue."""
        inspect = _service().inspect
        if inspect is not None and not inspect(self, message):
            return
        self._order += 1
        message.visible_at = 0.0
        self._live[self._order] = message
        place = self._places[message.id] = _Place(self._order)
        now_s = _service().scheduler.now()
        if message.delayed_until / 1000 > now_s:
            # moto has added the delay, which is in whole seconds, to a truncated time.
            delay_s = round(message.delayed_until / 1000 - _sent_s(message))
            self._hide(message, place, "delayed", now_s + delay_s)
        else:
            self._show(message, place)
            _service().notify(self, now_s)

    def delete_message(self, receipt_handle: str) -> None:
        """Delete a message; one that is gone already is no error."""
        message = self._handles.get(receipt_handle)
        if message is not None:
            if message.receipt_handle == receipt_handle or _service().stale_handle_deletes:
                self._remove(message)
        elif not receipt_handle.startswith(HANDLE):
            raise ReceiptHandleIsInvalid

    # -- receiving ---------------------------------------------------------------------------

    def receive(self, count: int, visibility_s: float) -> list[Message]:
        """Hand out visible messages and hide them; those received too often are moved away."""
        service = _service()
        self._surface()
        now_s = service.scheduler.now()
        redrive = self.redrive_policy if self.dead_letter_queue is not None else None
        received: list[Message] = []
        repeat = service.chance(service.duplicates)
        while len(received) < count:
            message = self._take()
            if message is None:
                break
            if redrive and message.approximate_receive_count >= redrive["maxReceiveCount"]:
                self._remove(message)
                message.delayed_until = 0.0
                self.dead_letter_queue.add_message(message)  # type: ignore[union-attr]
                continue
            message.approximate_receive_count += 1
            if message.approximate_first_receive_timestamp is None:
                message.approximate_first_receive_timestamp = int(now_s * 1000)
            message.receipt_handle = f"{HANDLE}{mock_random.getrandbits(256):064x}"
            self._handles[message.receipt_handle] = message
            place = self._places[message.id]
            place.handles.append(message.receipt_handle)
            # Zero seconds leave a message visible, though not twice in one answer.
            self._hide(message, place, "in flight", now_s + (0.0 if repeat else visibility_s))
            received.append(message)
        if received:
            service.notify(self, now_s + (0.0 if repeat else visibility_s))
        return received

    def change_visibility(self, receipt_handle: str, visibility_s: float) -> None:
        """Hide a message in flight for so long from now on."""
        self._surface()
        message = self._handles.get(receipt_handle)
        if message is None and not receipt_handle.startswith(HANDLE):
            raise ReceiptHandleIsInvalid
        place = self._places.get(message.id) if message is not None else None
        if message is None or place is None or place.state != "in flight":
            raise SQSException(
                "MessageNotInflight",
                f"Value {receipt_handle} for parameter ReceiptHandle is invalid. Reason: Message "
                "does not exist or is not available for visibility timeout change.",
            )
        now_s = _service().scheduler.now()
        if place.in_flight_since_s + VISIBILITY_TOTAL_S_MAX < now_s + visibility_s:
            raise InvalidParameterValue(
                f"Value {visibility_s} for parameter VisibilityTimeout is invalid. Reason: Total "
                "VisibilityTimeout for the message is beyond the limit [43200 seconds]"
            )
        since_s = place.in_flight_since_s
        self._leave(message, place)
        self._hide(message, place, "in flight", now_s + visibility_s)
        place.in_flight_since_s = since_s
        _service().notify(self, now_s + visibility_s)

    def next_visible_s(self) -> float | None:
        """When the next hidden message becomes visible; now, if one is."""
        self._surface()
        if self._delayed_count + self._in_flight_count < len(self._live):
            return _service().scheduler.now()
        return self._hidden[0][0] if self._hidden else None

    # -- states ------------------------------------------------------------------------------

    def _group(self, message: Message) -> str:
        return message.group_id or "" if _service().ordering == "fair" else ""

    def _show(self, message: Message, place: "_Place") -> None:
        place.state = "ready"
        group = self._group(message)
        heapq.heappush(self._ready.setdefault(group, []), (place.order, message.id))

    def _hide(self, message: Message, place: "_Place", state: str, until_s: float) -> None:
        place.state, place.until_s = state, until_s
        message.visible_at = until_s * 1000
        if state == "delayed":
            self._delayed_count += 1
        else:
            place.in_flight_since_s = _service().scheduler.now()
            self._in_flight_count += 1
            self._in_flight[message.group_id or ""] += 1
        heapq.heappush(self._hidden, (until_s, place.order, message.id))
        if state == "delayed":
            _service().notify(self, until_s)

    def _leave(self, message: Message, place: "_Place") -> None:
        """Leave the state it is in; heaps keep a stale entry, which is skipped later."""
        if place.state == "delayed":
            self._delayed_count -= 1
        elif place.state == "in flight":
            self._in_flight_count -= 1
            self._in_flight[message.group_id or ""] -= 1
        place.state = ""

    def _remove(self, message: Message) -> None:
        place = self._places.pop(message.id)
        self._leave(message, place)
        del self._live[place.order]
        for handle in place.handles:
            self._handles.pop(handle, None)

    def _surface(self) -> None:
        """Show what is hidden no longer, and drop what is kept no longer."""
        now_s = _service().scheduler.now()
        while self._hidden and (
            self._hidden[0][0] <= now_s or self._stale(self._hidden[0][2], self._hidden[0][0])
        ):
            until_s, _, identity = heapq.heappop(self._hidden)
            if not self._stale(identity, until_s):
                place = self._places[identity]
                message = self._live[place.order]
                self._leave(message, place)
                self._show(message, place)
        while self._live and self._expired(next(iter(self._live.values())), now_s):
            self._remove(next(iter(self._live.values())))

    def _stale(self, identity: str, until_s: float) -> bool:
        place = self._places.get(identity)
        return place is None or place.until_s != until_s or place.state in ("ready", "")

    def _expired(self, message: Message, now_s: float) -> bool:
        kept_s: int = self.message_retention_period  # type: ignore[attr-defined]
        return _sent_s(message) + kept_s < now_s

    # -- order -------------------------------------------------------------------------------

    def _take(self) -> Message | None:
        """The message to hand out next, out of the ready ones."""
        now_s = _service().scheduler.now()
        while True:
            group = self._choose()
            if group is None:
                return None
            heap = self._ready[group]
            entry = heapq.heappop(heap)
            if heap and _service().chance(_service().disorder):
                entry = heapq.heapreplace(heap, entry)
            place = self._places.get(entry[1])
            if place is None or place.state != "ready":
                continue
            message = self._live[place.order]
            if not self._expired(message, now_s):
                return message
            self._remove(message)

    def _choose(self) -> str | None:
        """The tenant to serve: the one with the oldest message, quiet ones before noisy ones."""
        best: tuple[bool, int, int, str] | None = None
        for group, heap in list(self._ready.items()):
            while heap and not self._is_ready(heap[0]):
                heapq.heappop(heap)
            if not heap:
                del self._ready[group]
                continue
            in_flight = self._in_flight[group]
            noisy = (
                group != ""
                and in_flight >= NOISY_IN_FLIGHT_MIN
                and in_flight > NOISY_SHARE * self._in_flight_count
            )
            rank = (noisy, in_flight if noisy else 0, heap[0][0], group)
            if best is None or rank < best:
                best = rank
        return best[3] if best is not None else None

    def _is_ready(self, entry: tuple[int, str]) -> bool:
        place = self._places.get(entry[1])
        return place is not None and place.state == "ready" and place.order == entry[0]


class _Place:
    """Where a message is in its queue."""

    __slots__ = ("handles", "in_flight_since_s", "order", "state", "until_s")

    def __init__(self, order: int) -> None:
        self.order = order
        self.state = ""
        self.until_s = 0.0
        self.in_flight_since_s = 0.0
        self.handles: list[str] = []


def _sent_s(message: Message) -> float:
    sent_ms: Any = message.sent_timestamp
    return float(sent_ms) / 1000


def _receive_message(
    self: SQSBackend,
    queue_name: str,
    count: int,
    wait_seconds_timeout: int,
    visibility_timeout: int,
    message_attribute_names: list[str] | None = None,
) -> list[Message]:
    """Replace moto's: long polling lets the twin's time pass, and nothing is scanned."""
    queue = self.get_queue(queue_name)
    if not isinstance(queue, TwinQueue):
        raise RuntimeError(f"queue {queue_name} was made before the twin")  # noqa: TRY004
    service = _service()
    end_s = service.scheduler.now() + wait_seconds_timeout
    if not wait_seconds_timeout and service.chance(service.empty_receives):
        return []
    received = queue.receive(count, visibility_timeout)
    while not received and service.scheduler.now() < end_s and service.scheduler.current:
        service.wait(queue, end_s)
        received = queue.receive(count, visibility_timeout)
    answer = []
    for message in received:
        shown = message
        if message.message_attributes:
            shown = copy(message)
            models._filter_message_attributes(shown, message_attribute_names or [])  # noqa: SLF001
        answer.append(shown)
    return answer


def _change_message_visibility(
    self: SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int
) -> None:
    queue = self.get_queue(queue_name)
    if isinstance(queue, TwinQueue):
        queue.change_visibility(receipt_handle, visibility_timeout)
