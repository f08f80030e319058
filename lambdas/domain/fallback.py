"""Fallback: when another model takes a job over from the one that its client asked for.

It happens once in a job's life: when the attempts of the model are used up, or when the job would
start there later than its deadline and the fallback model would still make it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lambdas.domain import admission
from lambdas.domain.admission import TOO_LATE, Caller, Decision, load_of
from lambdas.domain.capacity import predicted_wait_s
from lambdas.domain.job import Job
from lambdas.domain.policy import Model, Policy, Tier
from lambdas.domain.prediction import Waiter, place
from lambdas.domain.release import RELEASE_TENANT
from lambdas.domain.retries import tries

MARGIN_S = 180.0
"""Left of a deadline when a waiting job goes to its fallback model, beside the wait there: three
sweeps, of which one may be late and one lost. Until then it waits for what its client asked for:
the model may get instances, or a good version back."""
ROLLBACK_S = 300.0
"""In which a bad version is taken back. A model that is only sent probes for longer than that and
the warming of an endpoint is not waited for any more, but for one job that tries it."""


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


def admitted(
    *,
    caller: Caller,
    policy: Policy,
    model: Model,
    tier: str,
    snapshot: Mapping[str, Any],
    deadline_s: float,
    now_ms: int,
) -> tuple[Model, Decision]:
    """Decide whether a job can be taken, and which model should answer it.

    Args:
        caller: Its limits.
        policy: Models and their fallbacks.
        model: What the client asks for.
        tier: The job's.
        snapshot: What beat last saw of this region and of its peers.
        deadline_s: Seconds by which the job must have started.
        now_ms: This region's time.

    Returns:
        The model itself, unless it would start the job too late here and in every peer, or is stuck
        here, and its fallback model would make it. Of a model that is stuck and has no job, it is
        the model again, if the deadline leaves time to go to the other one later: without jobs
        that try it, nobody would know when it is well.
    """
    decide = partial(
        admission.decide,
        caller=caller,
        tiers=policy.tiers,
        tier=tier,
        snapshot=snapshot,
        deadline_s=deadline_s,
        now_ms=now_ms,
    )
    decision, other = decide(model=model), fallback_of(model, policy)
    too_late = decision.refusal is not None and decision.refusal.code == TOO_LATE
    in_vain = too_late or (decision.refusal is None and _stuck(model, snapshot, now_ms))
    if other is None or not in_vain:
        return model, decision
    second = decide(model=other)
    tries_it = (
        not too_late
        and not any(snapshot["models"][model.name].get("unfinished", {}).values())
        and deadline_s > second.predicted_wait_s + MARGIN_S
    )
    return (model, decision) if tries_it or second.refusal is not None else (other, second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is known of a model and of the one that takes over from it, in one region.

    Attributes:
        model: Whose jobs wait.
        other: Its fallback model.
        tiers: All tiers, most urgent first.
        snapshot: What beat last saw of the region.
        now_ms: The region's time.
    """

    model: Model
    other: Model
    tiers: Sequence[Tier]
    snapshot: Mapping[str, Any]
    now_ms: int


def at_risk(job: Waiter, outlook: Outlook, taken: Mapping[str, int]) -> bool:
    """Whether a waiting job should go to the fallback model now.

    Args:
        job: Queued, and with its own model.
        outlook: What is known of both models.
        taken: Jobs by tier that the fallback model got since the snapshot was taken.

    Returns:
        True when it would start too late, or nobody knows when, and the fallback model would make
        it. Not before its deadline is as near as the wait there and `MARGIN_S`, unless the model
        is off or stuck.
    """
    model, snapshot = outlook.model, outlook.snapshot
    left_s, there_s = _left_s(job, outlook), _there_s(job, outlook, taken)
    if there_s >= left_s:
        return False
    if model.state == "off" or _stuck(model, snapshot, outlook.now_ms):
        return True
    if left_s > there_s + MARGIN_S:
        return False
    here = place(job, model, outlook.tiers, snapshot, now_ms=outlook.now_ms)
    return _open_ms(model, snapshot) is not None or here.start_ms > job.deadline_ms


def tries_it(job: Job, outlook: Outlook, taken: Mapping[str, int]) -> bool:
    """Whether a waiting job that is `at_risk` may stay, alone, to try a model that is stuck.

    Args:
        job: Queued, and with its own model.
        outlook: What is known of both models.
        taken: Jobs by tier that the fallback model got since the snapshot was taken.

    Returns:
        False once the model failed it there: the next one that is accepted goes on. Nor when its
        deadline leaves no time to go to the fallback model later.
    """
    model = outlook.model
    if model.state == "off" or not _stuck(model, outlook.snapshot, outlook.now_ms):
        return False
    in_time = _left_s(job, outlook) > _there_s(job, outlook, taken) + MARGIN_S
    return in_time and not job.spared


def _left_s(job: Waiter, outlook: Outlook) -> float:
    return (job.deadline_ms - outlook.now_ms) / 1000


def _there_s(job: Waiter, outlook: Outlook, taken: Mapping[str, int]) -> float:
    """Seconds until the fallback model would start a job."""
    load = load_of(outlook.snapshot, outlook.other.name)
    waiting = {
        tier.name: load.waiting.get(tier.name, 0) + taken.get(tier.name, 0)
        for tier in outlook.tiers
    }
    load = replace(load, waiting=waiting)
    return predicted_wait_s(outlook.other, outlook.tiers, job.tier, load)


def _open_ms(model: Model, snapshot: Mapping[str, Any]) -> int | None:
    """Since when a model is only sent probes; None while it is trusted."""
    since_ms = snapshot.get("models", {}).get(model.name, {}).get("open_ms")
    return int(since_ms) if since_ms is not None else None


def _stuck(model: Model, snapshot: Mapping[str, Any], now_ms: int) -> bool:
    since_ms = _open_ms(model, snapshot)
    return since_ms is not None and now_ms - since_ms >= 1000 * (ROLLBACK_S + model.warm_up_s)


def taken_over(job: Job, other: Model) -> dict[str, Any]:
    """The attributes of a job that another model takes over: its next attempt is the first there.

    What the client asked for is kept, and how many attempts do not count any more: those that the
    first model was spared too, which say nothing of this one.
    """
    return {
        "attempt": job.attempt + 1,
        "model": other.name,
        "asked": job.model,
        "earlier": (job.earlier or 0) + tries(job) + (job.spared or 0),
    }
