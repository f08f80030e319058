"""wait: waits for a job's end on behalf of submit.

A function of its own, so that waiting clients can never use up the concurrency of submitting
ones. It reads little: eventually consistent, at growing intervals, and strongly once at the end.
"""

from typing import Any

from lambdas.adapters.clock import now_s
from lambdas.adapters.ledger import Ledger
from lambdas.wiring import Execution, Function, Handler

PAUSE_S_FIRST = 0.2
PAUSE_S_MAX = 2.0
PAUSE_GROWTH = 1.5
READS_MAX = 60


def create(execution: Execution) -> Handler:
    """Wire the waiting of an execution environment."""
    ledger = Ledger(execution.client("dynamodb"), execution.names.ledger)

    def handle(event: dict[str, Any], _context: Any) -> dict[str, bool]:
        until_s = event["until_ms"] / 1000
        pause_s = PAUSE_S_FIRST
        for _ in range(READS_MAX):
            left_s = until_s - now_s()
            if left_s <= 0:
                break
            execution.sleep(min(pause_s, left_s))
            pause_s = min(PAUSE_S_MAX, pause_s * PAUSE_GROWTH)
            job = ledger.get(event["job"], consistent=False)
            if job is not None and job.status.terminal:
                return {"finished": True}
        return {"finished": False}

    return handle


handle = Function(create)
