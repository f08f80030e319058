"""What everything else in the twin relies on: time passes, in order, the same way every time."""

import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from spillway.twin.clock import START_S, Scheduler, Signal, TaskKilledError


@pytest.fixture
def clock() -> Iterator[Scheduler]:
    """A virtual clock."""
    scheduler = Scheduler(virtual=True, seed=1)
    yield scheduler
    scheduler.close()


@pytest.fixture
def wall() -> Iterator[Scheduler]:
    """A wall clock that runs in its thread."""
    scheduler = Scheduler(virtual=False)
    scheduler.start()
    yield scheduler
    scheduler.close()


def test_a_virtual_day_takes_no_time(clock: Scheduler) -> None:
    """Whoever replays a day of traffic would otherwise wait a day."""
    began = time.perf_counter()
    clock.call(clock.sleep, 86_400.0, timeout_s=100_000)
    assert time.perf_counter() - began < 1
    assert clock.now() == START_S + 86_400
    # Code under test, moto and log timestamps read the interpreter's own clock.
    assert time.time() == clock.now()
    assert datetime.now(UTC).day == 6


def test_events_of_one_moment_happen_in_the_order_they_were_planned(clock: Scheduler) -> None:
    """A replay that reorders them would not be a replay."""
    seen: list[int] = []
    for number in (2, 0, 1):
        clock.at(clock.now() + number, seen.append, number)
        clock.at(clock.now() + number, seen.append, number + 10)
    clock.after(1.0, seen.append, 99).cancel()
    clock.run_for(5)
    assert seen == [0, 10, 1, 11, 2, 12]
    assert clock.now() == START_S + 5


def test_tasks_take_turns_while_they_sleep(clock: Scheduler) -> None:
    """Races between functions would otherwise never be seen."""
    seen: list[str] = []

    def walk(name: str, pause_s: float) -> str:
        for step in range(3):
            clock.sleep(pause_s)
            seen.append(f"{name}{step}")
        return name

    first, second = clock.spawn(walk, "a", 2.0), clock.spawn(walk, "b", 3.0)
    assert clock.call(lambda: (clock.wait(first), clock.wait(second))) == ("a", "b")
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_waiting_passes_on_results_errors_and_patience(clock: Scheduler) -> None:
    """A caller must learn how the other one ended, or go on without."""

    def fail() -> None:
        clock.sleep(1.0)
        raise KeyError("no")

    def dawdle() -> str:
        clock.sleep(10.0)
        return "late"

    slow = clock.spawn(dawdle)
    with pytest.raises(KeyError):
        clock.call(lambda: clock.wait(clock.spawn(fail)))
    with pytest.raises(TimeoutError):
        clock.call(clock.wait, slow, 2.0)
    assert clock.call(clock.wait, slow) == "late"
    assert clock.now() == START_S + 10


def test_a_killed_task_cleans_up_and_is_gone(clock: Scheduler) -> None:
    """A function killed by its timeout must not run on."""
    seen: list[str] = []

    def work() -> None:
        try:
            clock.sleep(60.0)
            seen.append("worked")
        except Exception:  # noqa: BLE001 what careless code does
            seen.append("swallowed")
        finally:
            seen.append("cleaned")

    task = clock.spawn(work)
    clock.run_for(1)
    task.kill()
    clock.run_for(100)
    assert seen == ["cleaned"]
    assert isinstance(task.error, TaskKilledError)


def test_an_error_that_nobody_waits_for_stops_the_loop(clock: Scheduler) -> None:
    """A broken service loop of the twin would otherwise look like a quiet one."""
    clock.spawn(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clock.run_for(1)


def test_running_until_something_is_true_has_a_limit(clock: Scheduler) -> None:
    """A test that waits for what never happens must end, and say so."""
    done: list[int] = []
    clock.after(7.0, done.append, 1)
    assert clock.run_until_true(lambda: bool(done), 100)
    assert clock.now() == START_S + 7
    assert not clock.run_until_true(lambda: False, 3)
    assert clock.now() == START_S + 10
    asked: list[float] = []

    def ask() -> bool:
        asked.append(clock.now())
        return False

    assert not clock.run_until_true(ask, 6, every_s=2)
    assert len(asked) == 4


def test_an_event_must_not_wait(clock: Scheduler) -> None:
    """Waiting in a callback would stop everything; the message says what to do instead."""
    clock.after(1.0, clock.sleep, 1.0)
    with pytest.raises(RuntimeError, match="spawn"):
        clock.run_for(5)
    clock.after(1.0, clock.call, clock.now)
    with pytest.raises(RuntimeError, match="spawn"):
        clock.run_for(5)


def test_a_signal_wakes_everybody_who_waits(clock: Scheduler) -> None:
    """A long poll must end when a message arrives, not when its time is over."""
    signal = Signal(clock)
    tasks = [clock.spawn(signal.wait, 60.0) for _ in range(2)]
    clock.after(5.0, signal.fire)
    clock.run_for(6)
    assert [task.result() for task in tasks] == [True, True]
    assert clock.call(signal.wait, 1.0) is False


def test_the_same_seed_gives_the_same_chance() -> None:
    """A failing seed is worth nothing if it does not fail again."""

    def draw(seed: int) -> tuple[object, ...]:
        clock = Scheduler(virtual=True, seed=seed)
        try:
            return clock.random.random(), uuid.uuid4(), secrets.token_hex(8)
        finally:
            clock.close()

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    assert uuid.uuid4() != uuid.uuid4()


def test_there_is_one_virtual_clock_at_a_time(clock: Scheduler) -> None:
    """Two would move one interpreter's time back and forth."""
    with pytest.raises(RuntimeError, match="close"):
        Scheduler(virtual=True)


def test_threads_run_things_in_the_loop(wall: Scheduler) -> None:
    """The HTTP server's threads must not touch moto at the same time."""
    threads: set[int] = set()

    def work(number: int) -> int:
        wall.sleep(0.01)
        threads.add(threading.get_ident())
        return number * 2

    answers: list[int] = []
    workers = [
        threading.Thread(target=lambda n=n: answers.append(wall.call(work, n))) for n in range(5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(answers) == [0, 2, 4, 6, 8]
    assert len(threads) == 1
    with pytest.raises(ZeroDivisionError):
        wall.call(lambda: 1 / 0)


def test_a_thread_gives_up_when_its_time_is_over(wall: Scheduler) -> None:
    """A client of a hanging request must get an answer."""
    with pytest.raises(TimeoutError):
        wall.call(wall.sleep, 30.0, timeout_s=0.05)


def test_blocking_work_does_not_stop_the_loop(wall: Scheduler) -> None:
    """A slow model process must not stop time for everybody else."""
    release = threading.Event()
    slow = wall.call(lambda: wall.spawn(wall.blocking, release.wait, 5))
    assert wall.call(lambda: "meanwhile") == "meanwhile"
    release.set()
    assert wall.call(wall.wait, slow, 5.0) is True


def test_closing_ends_what_still_waits() -> None:
    """A test that ends must leave nothing running behind it."""
    seen: list[str] = []
    scheduler = Scheduler(virtual=False)
    scheduler.start()

    def work() -> None:
        try:
            scheduler.sleep(60.0)
        finally:
            seen.append("ended")

    scheduler.call(lambda: scheduler.spawn(work))
    scheduler.call(scheduler.sleep, 0.01)
    scheduler.close()
    assert seen == ["ended"]


def test_another_seed_from_now_on_is_as_good_as_from_the_start() -> None:
    """A simulation deploys once and then runs many seeds."""

    def drawn(clock: Scheduler) -> tuple[object, ...]:
        return uuid.uuid4(), secrets.token_hex(4), clock.random.random()

    with_seed_from_start = Scheduler(virtual=True, seed=7)
    first = drawn(with_seed_from_start)
    with_seed_from_start.close()
    other = Scheduler(virtual=True, seed=1)
    drawn(other)
    other.reseed(7)
    assert drawn(other) == first
    other.close()
    assert uuid.uuid4() != first[0]
