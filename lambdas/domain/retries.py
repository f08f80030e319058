"""Whether an attempt that failed is followed by another, and when."""

from lambdas.domain.job import Job
from lambdas.domain.policy import Model

DELAY_S_MAX = 900
"""Longest delay of one message (SQS API reference)."""


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
