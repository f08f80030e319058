"""Time for the twin: one loop in one thread runs everything, on a virtual or the wall clock.

Whatever may wait runs as a `Task`, a greenlet that gives control back to the loop while it sleeps
or waits, so ordinary blocking code interleaves without threads. On the virtual clock the loop
jumps from event to event, in an order that depends on nothing but the seed.
"""
# Scheduler, Task and Signal are one mechanism: they may look into each other.
# ruff: noqa: SLF001

import heapq
import logging
import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, TextIO

import time_machine
from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

START_S: Final = 1_767_571_200.0
"""Where virtual time starts unless told: a Monday, 2026-01-05 00:00 UTC, the same in every run."""

CALL_TIMEOUT_S: Final = 900.0
"""How long `call` lets pass by default: as long as the longest Lambda function may run."""

logger = logging.getLogger(__name__)


class TaskKilledError(BaseException):
    """Thrown into a task that ends before its time, so that no `except Exception` holds it up."""


class Event:
    """Something that happens at a time, unless cancelled before."""

    __slots__ = ("args", "cancelled", "fn", "when_s")

    def __init__(self, when_s: float, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when_s = when_s
        self.fn = fn
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen; harmless afterwards."""
        self.cancelled = True


class Task:
    """A function running in a greenlet of its own.

    Attributes:
        name: For people.
        context: Whatever the one who spawned it attaches; the botocore hook finds the Lambda
            execution here.
        output: What `sys.stdout` is while it runs, if not the process's own.
        skew_s: How far its machine's clock is ahead; only on the virtual clock.
        done: Whether it ended.
        error: What it ended with, if it failed.
    """

    def __init__(self, scheduler: "Scheduler", name: str) -> None:
        self.name = name
        self.context: Any = None
        self.output: TextIO | None = None
        self.skew_s = 0.0
        self.done = False
        self.error: BaseException | None = None
        self._scheduler = scheduler
        self._value: Any = None
        self._greenlet: Any = None
        self._parked: object | None = None
        self._observed = False
        self._followers: list[Callable[[Task], object]] = []

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        if not self.done:
            raise RuntimeError(f"task {self.name!r} is not done")
        if self.error is not None:
            raise self.error
        return self._value

    def on_done(self, follower: Callable[["Task"], object]) -> None:
        """Call `follower(task)` in the loop when the task ends, also if it failed."""
        self._observed = True
        if self.done:
            self._scheduler.after(0.0, follower, self)
        else:
            self._followers.append(follower)

    def kill(self, error: BaseException | None = None) -> None:
        """Throw an error into the task where it waits; nothing happens to a task that is done."""
        self._observed = True
        self._scheduler.throw(self, error or TaskKilledError(self.name))


class Scheduler:
    """The loop and its clock.

    Args:
        virtual: Jump from event to event instead of waiting for the wall clock.
        start_s: When virtual time starts, in seconds since the epoch; ignored on the wall clock.
        seed: Of the one random source. In virtual mode it also feeds `os.urandom`, `uuid4`,
            `secrets` and `random`, because job ids and retry jitter decide what happens next.
    """

    _virtual_owner: ClassVar["Scheduler | None"] = None

    def __init__(self, *, virtual: bool, start_s: float | None = None, seed: int = 0) -> None:
        self.virtual = virtual
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311 replayable on purpose
        self.closed = False
        self._heap: list[tuple[float, int, Event]] = []
        self._order = 0
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._wake = threading.Condition()
        self._tasks: set[Task] = set()
        self._current: Task | None = None
        self._hub: Any = None
        self._thread = threading.get_ident()
        self._loop: threading.Thread | None = None
        self._running = False
        self._stopping = False
        self._now = START_S if start_s is None else start_s
        if virtual:
            if Scheduler._virtual_owner is not None:
                raise RuntimeError("only one virtual clock at a time: close the other one first")
            Scheduler._virtual_owner = self
            self._traveller = time_machine.travel(self._now, tick=False)
            self._travel = self._traveller.start()
            self._entropy = _Entropy(seed)

    # -- time and events ---------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now if self.virtual else time.time()

    def reseed(self, seed: int) -> None:
        """Draw everything random from another seed from now on; only on the virtual clock."""
        if not self.virtual:
            raise RuntimeError("only virtual time can be replayed")
        self.seed = seed
        self.random.seed(seed)
        self._entropy.close()
        self._entropy = _Entropy(seed)

    @property
    def current(self) -> Task | None:
        """The task that is running in this thread."""
        return self._current if threading.get_ident() == self._thread else None

    def at(self, when_s: float, fn: Callable[..., object], *args: Any) -> Event:
        """Call `fn(*args)` in the loop at a time; events of one time happen in order."""
        event = Event(max(when_s, self._now) if self.virtual else when_s, fn, args)
        self._order += 1
        heapq.heappush(self._heap, (event.when_s, self._order, event))
        return event

    def after(self, delay_s: float, fn: Callable[..., object], *args: Any) -> Event:
        """Call `fn(*args)` in the loop after a delay in seconds."""
        return self.at(self.now() + delay_s, fn, *args)

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` in the loop soon; the one method besides `call` for other threads."""
        with self._wake:
            self._inbox.append((fn, args))
            self._wake.notify()

    # -- tasks -------------------------------------------------------------------------------

    def spawn(self, fn: Callable[..., Any], *args: Any, name: str = "") -> Task:
        """Run `fn(*args)` as a task, from the loop's next turn on.

        An error that nobody waits for stops the loop: nothing fails silently.
        """
        task = Task(self, name or getattr(fn, "__name__", "task"))

        def run(_: object = None) -> None:
            try:
                task._value = fn(*args)
            except BaseException as error:  # noqa: BLE001 the task's result, whatever it is
                task.error = error
            self._finish(task)

        self._tasks.add(task)
        task._greenlet = greenlet(run)
        token = task._parked = object()
        self.after(0.0, self._unpark, task, token, True)  # noqa: FBT003
        return task

    def sleep(self, seconds: float) -> None:
        """Let time pass for the current task while others run."""
        self._park(max(0.0, seconds))

    def wait(self, task: Task, timeout_s: float | None = None) -> Any:
        """Suspend the current task until another ends; its result, or the error it raised.

        Raises:
            TimeoutError: It did not end in time; it goes on running.
        """
        task._observed = True
        if not task.done:
            me = self._me()
            token = me._parked = object()
            follower = lambda _: self._unpark(me, token, True)  # noqa: E731, FBT003
            task._followers.append(follower)
            if not self._park(timeout_s, token):
                task._followers.remove(follower)
                raise TimeoutError(f"task {task.name!r} took more than {timeout_s} s")
        return task.result()

    def throw(self, task: Task, error: BaseException) -> None:
        """Raise an error in a task at the point where it waits."""
        if task.done:
            return
        if task is self.current:
            raise error
        task._parked = None
        self.after(0.0, self._resume, task, None, error)

    def blocking(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run something that really blocks, such as HTTP, without stopping the loop.

        On the wall clock it runs in a thread while the current task waits; on the virtual clock
        it runs here and no time passes.
        """
        if self.virtual or self.current is None:
            return fn(*args)
        signal = Signal(self)
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args))
            except BaseException as error:  # noqa: BLE001 raised again in the task
                future.set_exception(error)
            self.post(signal.fire)

        threading.Thread(target=work, daemon=True, name="blocking").start()
        signal.wait(CALL_TIMEOUT_S)
        return future.result(timeout=0)

    def call(
        self, fn: Callable[..., Any], *args: Any, timeout_s: float = CALL_TIMEOUT_S, name: str = ""
    ) -> Any:
        """Run `fn(*args)` as a task and return its result, from wherever one is.

        Inside a task it is an ordinary call. In the loop's thread it drives the loop; from
        another thread it waits for the loop.

        Raises:
            TimeoutError: It did not end in time; it goes on running.
            RuntimeError: In an event's callback, which must not wait.
        """
        if self.current is not None:
            return fn(*args)
        if threading.get_ident() != self._thread and self._loop is not None:
            return self._call_from_thread(fn, args, timeout_s, name)
        task = self.spawn(fn, *args, name=name)
        task._observed = True
        if not self._drive(lambda: task.done, self.now() + timeout_s):
            raise TimeoutError(f"task {task.name!r} took more than {timeout_s} s")
        return task.result()

    def _call_from_thread(
        self, fn: Callable[..., Any], args: tuple[Any, ...], timeout_s: float, name: str
    ) -> Any:
        future: Future[Any] = Future()

        def deliver(task: Task) -> None:
            if task.error is not None:
                future.set_exception(task.error)
            else:
                future.set_result(task._value)

        self.post(lambda: self.spawn(fn, *args, name=name).on_done(deliver))
        return future.result(timeout=timeout_s)

    @contextmanager
    def true_time(self) -> Iterator[None]:
        """Let the current task see the true time: what it calls runs on another machine."""
        task = self.current
        skew_s = task.skew_s if task is not None else 0.0
        if task is None or not skew_s:
            yield
            return
        task.skew_s = 0.0
        self._travel.move_to(self._now)
        try:
            yield
        finally:
            task.skew_s = skew_s
            self._travel.move_to(self._now + skew_s)

    # -- the loop ----------------------------------------------------------------------------

    def run_until(self, when_s: float) -> None:
        """Run everything that happens up to a time, and be there; in a task, sleep."""
        if self.current is not None:
            self.sleep(when_s - self.now())
        else:
            self._drive(None, when_s)

    def run_for(self, seconds: float) -> None:
        """Run everything that happens in so many seconds."""
        self.run_until(self.now() + seconds)

    def run_until_true(
        self, predicate: Callable[[], bool], limit_s: float, *, every_s: float = 0.0
    ) -> bool:
        """Run until the predicate holds.

        Args:
            predicate: Asked after every event, outside any task.
            limit_s: Give up after so many seconds.
            every_s: Ask only so often, for a predicate that costs something.

        Returns:
            Whether it holds.
        """
        end_s = self.now() + limit_s
        if every_s <= 0:
            return self._drive(predicate, end_s)
        while not predicate():
            if self.now() >= end_s:
                return False
            self.run_until(min(end_s, self.now() + every_s))
        return True

    def run_forever(self) -> None:
        """Run on the wall clock in this thread until `close`; errors of tasks are logged."""
        if self.virtual:
            raise RuntimeError("virtual time only runs to a limit")
        self._thread = threading.get_ident()
        self._loop = threading.current_thread()
        while not self._stopping:
            try:
                self._drive(lambda: self._stopping, self.now() + 3600.0)
            except Exception:
                logger.exception("a task of the twin failed")
        self._kill_all()
        self._loop = None

    def start(self) -> None:
        """Run on the wall clock in a thread of its own, and return once it runs.

        Tasks belong to the thread that began them: start before the first one has to wait.
        """
        thread = threading.Thread(target=self.run_forever, daemon=True, name="twin")
        self._loop = thread
        self._thread = 0
        thread.start()
        self.call(lambda: None)

    def close(self) -> None:
        """End the loop and every task in it, and give time and chance back."""
        if self.closed:
            return
        self.closed = self._stopping = True
        thread = self._loop
        if thread is not None and thread is not threading.current_thread():
            self.post(lambda: None)
            thread.join(timeout=10)
        elif thread is None:
            self._kill_all()
        if self.virtual:
            self._entropy.close()
            self._traveller.stop()
            Scheduler._virtual_owner = None

    def _drive(self, stop: Callable[[], bool] | None, limit_s: float) -> bool:
        """Run events until `stop()` or the limit; each one has a time, so this ends."""
        if self._running:
            raise RuntimeError("an event's callback must not wait: spawn a task instead")
        if threading.get_ident() != self._thread:
            raise RuntimeError("the clock runs in another thread: use call")
        self._hub = getcurrent()
        while True:
            if stop is not None and stop():
                return True
            while self._inbox:
                fn, args = self._inbox.popleft()
                self.after(0.0, fn, *args)
            event = self._next(limit_s)
            if event is not None:
                self._running = True
                try:
                    event.fn(*event.args)
                finally:
                    self._running = False
            elif self.now() >= limit_s and not self._inbox:
                return stop is not None and stop()

    def _next(self, limit_s: float) -> Event | None:
        """The next event that is due; without one, let time pass up to it or to the limit."""
        heap = self._heap
        while heap and heap[0][2].cancelled:
            heapq.heappop(heap)
        when_s = heap[0][0] if heap else limit_s
        if self.virtual:
            if when_s > limit_s or not heap:
                self._move(limit_s)
                return None
            self._move(when_s)
        elif when_s > min(time.time(), limit_s) or not heap:
            with self._wake:
                if not self._inbox:
                    self._wake.wait(max(0.0, min(when_s, limit_s) - time.time()))
            return None
        return heapq.heappop(heap)[2]

    def _move(self, when_s: float) -> None:
        if when_s > self._now:
            self._now = when_s
            self._travel.move_to(when_s)

    # -- switching ---------------------------------------------------------------------------

    def _me(self) -> Task:
        task = self.current
        if task is None:
            raise RuntimeError("only a task can wait: use spawn or call")
        return task

    def _park(self, timeout_s: float | None, token: object | None = None) -> bool:
        """Suspend the current task until `_unpark` with its token; False if time ran out."""
        task = self._me()
        if token is None:
            token = task._parked = object()
        timer = None
        if timeout_s is not None:
            timer = self.after(timeout_s, self._unpark, task, token, False)  # noqa: FBT003
        try:
            return bool(self._hub.switch())
        finally:
            if timer is not None:
                timer.cancel()

    def _unpark(self, task: Task, token: object, value: bool) -> None:  # noqa: FBT001
        """Resume a task, unless it was resumed or killed since."""
        if task._parked is token:
            task._parked = None
            self._resume(task, value, None)

    def _resume(self, task: Task, value: object, error: BaseException | None) -> None:
        if task.done:
            return
        self._current = task
        stdout = sys.stdout
        if task.output is not None:
            sys.stdout = task.output
        task._greenlet.parent = self._hub
        if task.skew_s:
            self._travel.move_to(self._now + task.skew_s)
        try:
            if error is None:
                task._greenlet.switch(value)
            elif task._greenlet:
                task._greenlet.throw(error)
            else:  # It never began.
                task.error = error
                self._finish(task)
        finally:
            self._current = None
            sys.stdout = stdout
            if task.skew_s:
                self._travel.move_to(self._now)
        if task.error is not None and not task._observed:
            raise task.error

    def _finish(self, task: Task) -> None:
        task.done = True
        self._tasks.discard(task)
        for follower in task._followers:
            self.after(0.0, follower, task)

    def _kill_all(self) -> None:
        """End every task; `closed` keeps their finally blocks from having effects."""
        self._hub = getcurrent()
        for task in list(self._tasks):
            with suppress(BaseException):
                self._resume(task, None, TaskKilledError(task.name))
        self._heap.clear()


class Signal:
    """Something that tasks wait for and anybody in the loop may fire, any number of times."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiting: list[tuple[Task, object]] = []

    def wait(self, timeout_s: float | None = None) -> bool:
        """Suspend the current task until the next firing; False if time ran out."""
        scheduler = self._scheduler
        task = scheduler._me()
        token = task._parked = object()
        entry = (task, token)
        self._waiting.append(entry)
        try:
            return scheduler._park(timeout_s, token)
        finally:
            with suppress(ValueError):
                self._waiting.remove(entry)

    def fire(self) -> None:
        """Resume every task that waits."""
        for task, token in self._waiting:
            self._scheduler.after(0.0, self._scheduler._unpark, task, token, True)  # noqa: FBT003


class _Entropy:
    """Feeds everything that asks the system for random bytes from a seed, until closed."""

    def __init__(self, seed: int) -> None:
        source = random.Random(f"entropy {seed}")  # noqa: S311 replayable on purpose
        self._state = random.getstate()
        self._urandom = os.urandom
        random.seed(seed)
        os.urandom = source.randbytes
        # `secrets` and `SystemRandom` keep a reference of their own.
        random._urandom = source.randbytes  # type: ignore[attr-defined]

    def close(self) -> None:
        os.urandom = self._urandom
        random._urandom = self._urandom  # type: ignore[attr-defined]
        random.setstate(self._state)
