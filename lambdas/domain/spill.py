"""Spill: whether a job should wait in another region's queue, and in whose."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambdas.domain.capacity import Load, predicted_wait_s, slots
from lambdas.domain.policy import Model, Tier
from lambdas.domain.regions import DRAINED, believed

CALM_SHARE = 0.5
"""A tier that began to spill goes on until its wait is below this share of its target: without
this a queue that is just long enough would be here and there in turn."""
BETTER_SHARE = 0.8
"""A peer is worth the way only if the wait there is below this share of the wait here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A peer that can take a job.

    Attributes:
        region: The peer.
        wait_s: Seconds until the job would start there.
        jobs: How many jobs it takes from this region until it speaks again.
        at_ms: When it said so, by its own clock: names the offer.
    """

    region: str
    wait_s: float
    jobs: int
    at_ms: int


def grant(model: Model, load: Load, *, peers: int, seconds: float) -> int:
    """How many jobs a region offers to take from each of its peers.

    Args:
        model: Which.
        load: The region's own load.
        peers: How many share the offer: together they never send more than there is room for.
        seconds: Until the next offer.

    Returns:
        What is free now and what comes free until then, less what waits already.

    Source:
        Flow balance: room = free slots + rate x time - queue.
    """
    if model.state != "live" or load.instances == 0 or peers == 0:
        return 0
    free = slots(model, load.instances) - load.in_use
    rate = load.instances * model.concurrency / model.service_s
    return max(0, int((free + rate * seconds - sum(load.waiting.values())) / peers))


def spilling(model: Model, tiers: Sequence[Tier], load: Load, before: Collection[str]) -> list[str]:
    """The tiers whose jobs look for another region.

    Args:
        model: Which.
        tiers: All tiers, most urgent first.
        load: The region's own load.
        before: Those that spilled at the last beat.
    """
    return [
        tier.name
        for tier in tiers
        if predicted_wait_s(model, tiers, tier.name, load)
        > tier.target_wait_s * (CALM_SHARE if tier.name in before else 1.0)
    ]


def offers(
    model: Model,
    tiers: Sequence[Tier],
    tier: str,
    snapshot: Mapping[str, Any],
    *,
    wait_s: float,
    deadline_s: float,
    now_ms: int,
) -> tuple[Offer, ...]:
    """The peers to which a job should go rather than wait here, the soonest first.

    Args:
        model: What should answer.
        tiers: All tiers, most urgent first.
        tier: The job's.
        snapshot: What beat last saw of this region and of its peers.
        wait_s: Predicted here.
        deadline_s: Seconds by which the job must have started.
        now_ms: This region's time.

    Returns:
        Empty while the wait here meets the tier's target, and the deadline. A region without an
        instance sends jobs to peers that have some, however long the target: nobody knows when it
        gets one. A region that is drained sends everything away, to any peer that serves.
    """
    drained = (snapshot.get("lease") or {}).get("state") == DRAINED
    here = snapshot.get("models", {}).get(model.name, {})
    bare = here.get("instances") == 0
    target_s = next(each.target_wait_s for each in tiers if each.name == tier)
    calm = CALM_SHARE if tier in here.get("spilling", ()) else 1.0
    if not drained and not bare and wait_s <= min(target_s * calm, deadline_s):
        return ()
    found = []
    for region, peer in snapshot.get("peers", {}).items():
        seen = peer["models"].get(model.name)
        if seen is None or not believed(peer, now_ms=now_ms):
            continue
        load = Load.read(seen)
        there_s = predicted_wait_s(model, tiers, tier, load)
        jobs = int(peer["grants"].get(model.name, 0))
        if drained or (jobs > 0 and there_s < BETTER_SHARE * wait_s):
            found.append(Offer(region=region, wait_s=there_s, jobs=jobs, at_ms=peer["at_ms"]))
    return tuple(sorted(found, key=lambda offer: (offer.wait_s, -offer.jobs, offer.region)))
