"""Whether an attempt that failed is followed by another, and when."""

from lambdas.domain.job import Job
from lambdas.domain.policy import Model

DELAY_S_MAX = 900
"""Longest delay of one message (SQS API reference)."""

AGAIN_S_FIRST = 5
AGAIN_S_MAX = 60
"""Fifty receipts, after which a message is a dead letter, then take most of an hour."""


def again_s(receives: int) -> int:
    """After how long a message comes back that could not be worked off now.

    Args:
        receives: How often it has been received, this time included.

    Returns:
        Whole seconds, doubling up to a minute: an outage is not made worse, nor waited for long.
    """
    return min(AGAIN_S_MAX, AGAIN_S_FIRST << min(16, max(0, receives - 1)))


def retry_delay_s(job: Job, model: Model | None, *, now_ms: int) -> float | None:
    """How long the next attempt waits.

    Args:
        job: Whose current attempt failed.
        model: What should answer; None when it is not in the configuration any more.
        now_ms: The moment of the failure.

    Returns:
        Seconds; None when there is no further attempt, or none that could start before the
        job's deadline: its client should read of what failed, not of a wait that is in vain.
    """
    tries = job.attempt - (job.moves or 0)
    if model is None or tries >= model.attempts_max:
        return None
    delay_s = min(DELAY_S_MAX, model.retry_delay_s * 2 ** (tries - 1))
    return delay_s if now_ms + 1000 * delay_s < job.deadline_ms else None
