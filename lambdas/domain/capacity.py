"""How much work the endpoints can hold, and how long new work will wait."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from lambdas.domain.breaker import Breaker
from lambdas.domain.policy import Model, Tier

CAPACITY_FRESH_S = 60
"""Twelve missed beats: what the gate says of instances is then no longer believed."""


def slots(model: Model, instances: int) -> int:
    """Jobs to have on their way to an endpoint at once.

    Args:
        model: Concurrency, service and hand-off times.
        instances: Instances in service.

    Returns:
        Instances x concurrency, plus just enough that an instance finds its next job when it
        ends one. SageMaker's own queue knows no priority, so it is kept this shallow.

    Source:
        Little's law: jobs in hand-off = rate x hand-off time, the rate being
        instances x concurrency / service time; never more than one further job a place.
    """
    working = instances * model.concurrency
    handing_over = math.ceil(working * model.handoff_s / max(model.service_s, 0.001))
    return working + min(working, handing_over)


def usable_slots(model: Model, *, capacity: int | None, age_s: float, breaker: Breaker) -> int:
    """Slots that dispatch may use now.

    A gate whose capacity is stale gives a bounded trickle, neither a flood nor a stop: the
    instances may be gone, or only beat may be. A model whose breaker is open gets one probe at a
    time, so that a bad version does not burn the queue.

    Args:
        model: Whose slots.
        capacity: What beat last wrote, or None if it never did.
        age_s: Seconds since then.
        breaker: The model's.

    Returns:
        Whole slots; 0 for a model that is off.
    """
    if model.state == "off":
        return 0
    trickle = 1 if breaker.open else max(1, model.concurrency // 4)
    if capacity is None or age_s > CAPACITY_FRESH_S:
        return trickle if capacity is None else min(capacity, trickle) or 1
    return min(capacity, trickle) if breaker.open else capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A model's load in one region.

    Attributes:
        instances: Instances in service.
        in_use: Slots in use.
        waiting: Jobs waiting by tier.
    """

    instances: int
    in_use: int
    waiting: Mapping[str, int]

    @classmethod
    def read(cls, seen: Mapping[str, Any]) -> Self:
        """The load in what beat saw of a model, here or at a peer."""
        return cls(instances=seen["instances"], in_use=seen["in_use"], waiting=seen["waiting"])


def predicted_wait_s(model: Model, tiers: Sequence[Tier], tier: str, load: Load) -> float:
    """Seconds until a job that is accepted now in `tier` would start.

    Jobs ahead of it are those of its own and more urgent tiers, and those that hold slots; what
    less urgent tiers are guaranteed is taken off the rate.

    Args:
        model: Its service and warm-up times.
        tiers: All tiers, most urgent first.
        tier: The job's.
        load: The region's load.

    Returns:
        0 while slots are free and nobody is ahead; the warm-up time is added without instances.

    Source:
        Flow balance: wait = jobs ahead / service rate.
    """
    order = [each.name for each in tiers]
    place = order.index(tier)
    ahead = sum(load.waiting.get(name, 0) for name in order[: place + 1])
    room = slots(model, load.instances)
    if load.instances > 0 and load.in_use + ahead < room:
        return 0.0
    rate = max(1, load.instances) * model.concurrency / model.service_s
    guaranteed = sum(
        each.share_min for each in tiers[place + 1 :] if load.waiting.get(each.name, 0) > 0
    )
    over = ahead + max(0, load.in_use - load.instances * model.concurrency) + 1
    warming = model.warm_up_s if load.instances == 0 else 0.0
    return warming + over / (rate * (1 - guaranteed))


def backlog(waiting: Mapping[str, int], unfinished: Mapping[str, int]) -> dict[str, int]:
    """Jobs that wait, by tier.

    Args:
        waiting: Messages by tier; those of jobs that have ended or moved are among them.
        unfinished: Unfinished jobs by tier, those at work among them.

    Returns:
        The fewer of both: there is no more work than jobs, whatever lies in the queue.
    """
    return {tier: min(number, unfinished.get(tier, 0)) for tier, number in waiting.items()}


def oldest_waiting(
    created_ms: Sequence[int], *, unfinished: int, waiting: int, in_use: int
) -> int | None:
    """When the oldest job of a tier that still waits was accepted; None if none does.

    The index of unfinished jobs does not know which are at work: each start would be a write of it
    more. Jobs start in about the order in which they came, so the oldest are those at work. One
    that waits for a further attempt may be taken for one of them: then the next one counts.

    Args:
        created_ms: When jobs were accepted, oldest first: `in_use` and one more, if there are.
        unfinished: All of them.
        waiting: Messages in the tier's queue.
        in_use: Slots in use: no more jobs than these are at work.
    """
    at_work = min(max(0, unfinished - waiting), in_use)
    return created_ms[at_work] if at_work < len(created_ms) else None


def pressure(model: Model, tiers: Sequence[Tier], load: Load) -> float:
    """Predicted wait / target wait of the tier that is worst off; above 1 its target is missed.

    Finite without instances: then it counts as if the first one were being warmed up, and only
    tiers that have work count, so that an idle model asks for nothing.
    """
    return max(
        (
            predicted_wait_s(model, tiers, tier.name, load) / tier.target_wait_s
            for tier in tiers
            if load.instances > 0 or load.waiting.get(tier.name, 0)
        ),
        default=0.0,
    )
