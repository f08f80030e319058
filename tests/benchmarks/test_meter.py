"""What the figures of calls_per_job count."""

import gc
import time
from collections.abc import Callable
from typing import Any

from benchmarks.meter import processor_time
from lambdas import wiring
from lambdas.wiring import Execution


def own_s(work: Callable[[Execution], object], *, others_s: float = 0) -> float:
    """Processor seconds that are counted for an execution; others work while it sleeps."""

    def others(_seconds: float) -> None:
        began = time.thread_time()
        while time.thread_time() - began < others_s:
            pass

    def create(execution: Execution) -> wiring.Handler:
        return lambda _event, _context: work(execution)

    with processor_time() as taken:
        session: Any = None
        handler = wiring.Function(create).environment(
            environ={"AWS_LAMBDA_FUNCTION_NAME": "f"}, session=session, sleep=others
        )
        handler({}, None)
    (seconds,) = taken["f"]
    return seconds


def test_what_others_do_while_a_function_sleeps_is_not_its_work() -> None:
    """A function that waits would be billed for everything that happens on the twin meanwhile."""
    assert own_s(lambda execution: execution.sleep(1), others_s=0.2) < 0.1


def test_collecting_the_twins_garbage_is_no_functions_work() -> None:
    """Moto keeps millions of objects; a function in Lambda has a heap of its own."""
    heap = [[number] for number in range(500_000)]
    began = time.thread_time()
    gc.collect()
    collection_s = time.thread_time() - began

    assert own_s(lambda _execution: [gc.collect() for _ in range(5)]) < collection_s
    assert len(heap) == 500_000
