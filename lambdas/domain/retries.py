"""Whether an attempt that failed is followed by another, and when."""

from lambdas.domain.breaker import Breaker
from lambdas.domain.job import Job
from lambdas.domain.policy import Model
from lambdas.domain.release import RELEASE_TENANT, Release

DELAY_S_MAX = 900
"""Longest delay of one message (SQS API reference)."""

SPARED_MAX = 100
"""Attempts of one job that are not counted: its own input may be what fails. At the longest delay
they last for a day."""

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


def may_spare(job: Job) -> bool:
    """Whether one more attempt of a job may go uncounted."""
    return (job.spared or 0) < SPARED_MAX


def is_spared(job: Job, *, release: Release | None, breaker: Breaker) -> bool:
    """Whether a failure says more of the version that served it than of the job.

    Args:
        job: Whose current attempt failed.
        release: The model's record, which has changed since the attempt began, perhaps.
        breaker: The model's, in this region.
    """
    if not may_spare(job):
        return False
    trusted = release is None or (
        job.version != release.candidate and job.version not in release.quarantined
    )
    return breaker.open or not trusted


def tries(job: Job) -> int:
    """Attempts of a job that count, the current one included."""
    return job.attempt - (job.moves or 0) - (job.spared or 0) - (job.earlier or 0)


def is_first(job: Job) -> bool:
    """Whether the current attempt is the first that its model has made of a job."""
    return job.attempt - (job.moves or 0) - (job.earlier or 0) == 1


def retry_delay_s(
    job: Job, model: Model | None, *, now_ms: int, spared: bool = False
) -> float | None:
    """How long the next attempt waits.

    Args:
        job: Whose current attempt failed.
        model: What should answer; None when it is not in the configuration any more.
        now_ms: The moment of the failure.
        spared: Whether this attempt is not counted either.

    Returns:
        Seconds; None when there is no further attempt, or none that could start before the
        job's deadline: its client should read of what failed, not of a wait that is in vain. Nor
        for a smoke job: what it is there to find out is how the first one ends.
    """
    if job.tenant == RELEASE_TENANT:
        return None
    made = tries(job) - int(spared)
    if model is None or made >= model.attempts_max:
        return None
    # Attempts that are spared wait longer and longer too: an outage must not use them up.
    failed = made - 1 + (job.spared or 0) + int(spared)
    delay_s = min(DELAY_S_MAX, model.retry_delay_s * 2 ** max(0, failed))
    left_s = (job.deadline_ms - now_ms) / 1000
    if spared:
        delay_s = max(model.retry_delay_s, min(delay_s, left_s / 2))
    return delay_s if delay_s < left_s else None
