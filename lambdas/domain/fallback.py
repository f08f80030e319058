"""Fallback: when another model takes a job over from the one that its client asked for.

It happens once in a job's life, when the attempts of the model are used up, or when the job would
start there later than its deadline and the fallback model would still make it.
"""

from typing import Any

from lambdas.domain.job import Job
from lambdas.domain.policy import Model, Policy
from lambdas.domain.release import RELEASE_TENANT
from lambdas.domain.retries import tries


def fallback_of(model: Model | None, policy: Policy) -> Model | None:
    """The model that may take jobs over from another one, if it takes new jobs at all."""
    other = policy.models.get(model.fallback) if model is not None and model.fallback else None
    return other if other is not None and other.state == "live" else None


def after_failure(job: Job, policy: Policy, *, now_ms: int) -> Model | None:
    """Which model takes a job over that its own model does not try again.

    Args:
        job: Whose last attempt failed.
        policy: Models and their fallbacks.
        now_ms: The moment of the failure.

    Returns:
        None when there is no such model, when the job fell back before, or when its deadline has
        passed: then it fails. Nor for a smoke job: it is there to try one model.
    """
    if job.asked is not None or job.deadline_ms <= now_ms or job.tenant == RELEASE_TENANT:
        return None
    return fallback_of(policy.models.get(job.model), policy)


def taken_over(job: Job, other: Model) -> dict[str, Any]:
    """The attributes of a job that another model takes over: its next attempt is the first there.

    What the client asked for is kept, and how many attempts do not count any more.
    """
    return {
        "attempt": job.attempt + 1,
        "model": other.name,
        "asked": job.model,
        "earlier": (job.earlier or 0) + tries(job),
    }
