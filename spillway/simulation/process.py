"""Runs in processes: one boots a deployment, and plays each run in a fork of itself.

A fork is a copy of everything: moto's state, queues, heaps, execution environments, caches, random
sources. So each run begins from the same deployment whatever was played before it, and nobody has
to know where a piece of state hides. The process has one thread and a fixed hash seed, because a
fork copies no threads, and because the order of sets of texts must not differ between processes.
"""

import gc
import hashlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import IO, Any, Final, Self

from spillway.assembly import ROOT
from spillway.simulation.history import told
from spillway.simulation.invariants import check
from spillway.simulation.stage import Played, Stage

RUN_SECONDS_MAX: Final = 240
"""Real seconds of one run, which takes one or two: more is a loop that lets no time pass."""
READY: Final = "ready"
DEFECTS: Final = frozenset(
    {"AttributeError", "AssertionError", "IndexError", "KeyError", "NameError", "TypeError"}
)
"""What no fault makes a function raise."""


class SimulationError(RuntimeError):
    """The simulation itself failed, in words for whoever runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to play.

    Attributes:
        seed: Of the run.
        without_troubles: Faults to leave out, by their place in the scenario.
        without_jobs: Jobs to leave out, by their number.
        sabotage: `module:function` that breaks the code before the run; empty for none.
    """

    seed: int
    without_troubles: tuple[int, ...] = ()
    without_jobs: tuple[int, ...] = ()
    sabotage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to.

    Attributes:
        order: What was played.
        violations: `invariant`, `job` and `text` of each.
        strikes: How often each kind of fault struck.
        checks: How many things were checked, by invariant.
        troubles: Places of the faults that were played.
        jobs: Numbers of the jobs that were played.
        history: The run as a person reads it; empty without a violation.
        digest: Of every call, every answer and every change of the ledger.
        simulated_s: Virtual seconds.
        calls: AWS calls.
        error: Why there is no result, else empty.
    """

    order: Order
    violations: list[dict[str, str]] = field(default_factory=list)
    strikes: dict[str, int] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    troubles: list[int] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    digest: str = ""
    simulated_s: float = 0.0
    calls: int = 0
    error: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.violations and not self.error


class Pool:
    """Several processes that play runs.

    Args:
        processes: How many; each takes some seconds to boot.
    """

    def __init__(self, processes: int) -> None:
        self._players = [Player() for _ in range(processes)]
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="simulation")
        self._idle = list(self._players)

    def play(self, orders: Iterable[Order]) -> Iterator[Result]:
        """Play runs side by side; the results come in the order of the orders."""
        pending: list[Future[Result]] = []
        ahead = 4 * len(self._players)
        for order in orders:
            pending.append(self._threads.submit(self._one, order))
            if len(pending) >= ahead:
                yield pending.pop(0).result()
        while pending:
            yield pending.pop(0).result()

    def _one(self, order: Order) -> Result:
        # As many threads as players: there is always an idle one.
        player = self._idle.pop()
        try:
            return player.play(order)
        finally:
            self._idle.append(player)

    def close(self) -> None:
        """End the processes."""
        for player in self._players:
            player.close()
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Player:
    """One process that plays runs, one after the other. It is ready some seconds after this."""

    def __init__(self) -> None:
        environment = {
            **os.environ,  # noqa: TID251 the process needs PATH and its kin
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spillway.simulation.process"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ready = False

    def play(self, order: Order) -> Result:
        """Play one run.

        Raises:
            SimulationError: The process ended.
        """
        if not self._ready and self._line() != READY:
            raise SimulationError("the simulated deployment did not boot; see above")
        self._ready = True
        self._stream(self._process.stdin).write(json.dumps(asdict(order)) + "\n")
        self._stream(self._process.stdin).flush()
        document = json.loads(self._line())
        return Result(**{**document, "order": order})

    def _line(self) -> str:
        line: str = self._stream(self._process.stdout).readline()
        if not line:
            raise SimulationError(f"the simulation ended with {self._process.wait()}; see above")
        return line.rstrip("\n")

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        if stream is None:
            raise SimulationError("the simulation's process has no pipes")
        return stream

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            self._stream(stream).close()


def play(stage: Stage, order: Order) -> Result:
    """Play a run in this process, once."""
    if order.sabotage:
        module, _, name = order.sabotage.partition(":")
        getattr(importlib.import_module(module), name)()
    scenario = stage.scenario(order.seed)
    places = [
        place for place in range(len(scenario.troubles)) if place not in order.without_troubles
    ]
    scenario = scenario.without(order.without_troubles, order.without_jobs)
    played = stage.play(scenario)
    violations, checks = check(played, stage)
    defects = {
        f"{report.function} raised {report.error}"
        for report in stage.twin.functions.reports
        if report.error in DEFECTS
    }
    return Result(
        error="; ".join(sorted(defects)),
        order=order,
        violations=[asdict(violation) for violation in violations],
        strikes=dict(played.strikes),
        checks=checks,
        troubles=places,
        jobs=[job.number for job in scenario.jobs],
        history=told(played, stage, violations) if violations else [],
        digest=_digest(played, stage),
        simulated_s=round(played.ended_s - played.began_s, 3),
        calls=len(stage.twin.hook.log),
    )


def _digest(played: Played, stage: Stage) -> str:
    """Everything that a run did, in its order: two runs of a seed have the same."""
    digest = hashlib.sha256()
    for call in stage.twin.hook.log:
        # Not the addresses of streams, which are another's in every process.
        params = json.dumps(call.params, default=lambda value: type(value).__name__)
        digest.update(f"{call} {call.execution} {call.request_bytes} {params}\n".encode())
    for seen in played.clients.seen:
        digest.update(f"{seen}\n".encode())
    for job, changes in sorted(played.audit.jobs.items()):
        digest.update(f"{job} {[(change.at_s, change.item) for change in changes]}\n".encode())
    return digest.hexdigest()


def _in_fork(stage: Stage, order: Order) -> dict[str, Any]:
    """Play a run in a copy of this process, and read what it came to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(stage, order, writing)
    os.close(writing)
    try:
        text = _read_all(reading)
    finally:
        os.close(reading)
    if text is None:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not text:
        took = f"a run took more than {RUN_SECONDS_MAX} s" if text is None else "a run broke off"
        return {"error": f"seed {order.seed}: {took}"}
    found: dict[str, Any] = json.loads(text)
    return found


def _answer(stage: Stage, order: Order, writing: int) -> None:
    """In the copy: play, answer, and be gone without any of Python's endings."""
    gc.disable()  # A run ends sooner than its garbage matters.
    try:
        document = asdict(play(stage, order))
        del document["order"]
    except BaseException:  # noqa: BLE001 whatever it is, it is this run's answer
        document = {"error": f"seed {order.seed}: {traceback.format_exc()}"}
    with os.fdopen(writing, "w") as pipe:
        json.dump(document, pipe)
    os._exit(0)


def _read_all(reading: int) -> str | None:
    """Everything until the end, or None if it takes too long."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reading], [], [], RUN_SECONDS_MAX)
        if not ready:
            return None
        part = os.read(reading, 1 << 16)
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


def main() -> None:
    """Boot, then play what standard input orders, a line each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What anybody prints must not be taken for an answer.
    stage = Stage()
    # What is there now is in use for good: forks need not look through it again and again.
    gc.collect()
    gc.freeze()
    answers.write(READY + "\n")
    answers.flush()
    for line in sys.stdin:
        document = json.loads(line)
        for name in ("without_troubles", "without_jobs"):
            document[name] = tuple(document[name])
        json.dump(_in_fork(stage, Order(**document)), answers)
        answers.write("\n")
        answers.flush()


if __name__ == "__main__":
    main()
