"""How calls are written down, so that a blocking and an asynchronous client can do them alike.

A flow is a generator: it yields what is to be done next, is sent what came of it, and returns its
result. A stream gives items on the way. Whoever drives them does the waiting and the sending, and
decides nothing.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

from spillway.client.wire import Heard, Pause, Send

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Together:
    """A step: drive these flows at the same time, until all have returned.

    Attributes:
        flows: Each keeps its result, and none raises an error of the service.
        stop: To be called at the end, whatever it is: no flow begins anything more.
    """

    flows: "tuple[Flow[None], ...]"
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Give(Generic[T]):
    """A step of a stream: hand these on to whoever goes through it."""

    items: tuple[T, ...]


Flow = Generator[Send | Pause | Together, Heard | None, T]
Stream = Generator[Send | Pause | Together | Give[T], Heard | None, None]


def all_of(
    flows: Iterable[Flow[T]], *, at_once: int, told: Callable[[T], object] | None = None
) -> Flow[list[T]]:
    """Drive flows, at most so many at a time; what they return, in their order.

    Args:
        flows: Taken one by one, when there is room.
        at_once: How many, at least one.
        told: Called with each result as it comes, never twice at the same time.

    Raises:
        Exception: The first that a flow raised. Those under way then come to their end, and no
            other begins.
    """
    work = _Work(flows, told)
    at_once = min(at_once, len(flows)) if isinstance(flows, Sized) else at_once
    if not at_once:
        return []
    yield Together(tuple(work.worker() for _ in range(at_once)), work.stop)
    if work.error is not None:
        raise work.error
    return [result for _, result in sorted(work.results.items())]


class _Work(Generic[T]):
    """Flows that several workers take from, each in a thread or task of its own."""

    def __init__(self, flows: Iterable[Flow[T]], told: Callable[[T], object] | None) -> None:
        self._flows = enumerate(flows)
        self._told = told
        self._lock = threading.Lock()
        self._stopped = False
        self.results: dict[int, T] = {}
        self.error: Exception | None = None

    def stop(self) -> None:
        """Let no other flow begin."""
        self._stopped = True

    def worker(self) -> Flow[None]:
        """Drive one flow after the other."""
        try:
            while (taken := self._take()) is not None:
                number, flow = taken
                self._keep(number, (yield from flow))
        except Exception as error:  # noqa: BLE001 raised by `all_of`, in the caller's thread
            self.error = self.error or error
            self._stopped = True

    def _take(self) -> tuple[int, Flow[T]] | None:
        with self._lock:
            return None if self._stopped else next(self._flows, None)

    def _keep(self, number: int, result: T) -> None:
        with self._lock:
            self.results[number] = result
            if self._told is not None:
                self._told(result)
