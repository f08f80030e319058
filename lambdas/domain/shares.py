"""Which version answers a job: planned shares meet the instances that are in service."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lambdas.domain import capacity
from lambdas.domain.policy import Model, Tier
from lambdas.domain.release import Release, place, planned_shares, serving_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a region's jobs of one model are to run on, as beat writes it into the gate.

    Attributes:
        shares: By tier, then by version, summing to 1. A version with a share of 0 may stand in
            for one that does not serve; one that is not named gets nothing.
        on_trial: The version that never gets more than its share while another one serves.
        live: The version that others are compared with; None if there are no others.
        revision: Of the record that it was made by; 0 without one.
    """

    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    on_trial: str | None = None
    live: str | None = None
    revision: int = 0

    @property
    def versions(self) -> frozenset[str]:
        """All that may get jobs of some tier."""
        return frozenset(version for shares in self.shares.values() for version in shares)

    def may_run(self, version: str) -> bool:
        """Whether a version may be given jobs at all, if only those that were made to try it."""
        return version == self.on_trial or version in self.versions

    def document(self) -> dict[str, Any]:
        """The document that `read` reads."""
        return {
            "shares": self.shares,
            "on_trial": self.on_trial,
            "live": self.live,
            "revision": self.revision,
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a plan."""
        return cls(
            shares=document.get("shares", {}),
            on_trial=document.get("on_trial"),
            live=document.get("live"),
            revision=document.get("revision", 0),
        )


def plan(release: Release | None, model: Model, region: str, tiers: Iterable[Tier]) -> Plan:
    """The plan of one model in one region, by its release; without one, by the configuration."""
    at = place(release) if release is not None else None
    trial = None
    if release is not None and at is not None and release.candidate in model.versions:
        reached = release.order[: release.order.index(at.region) + 1]
        trial = release.candidate if region in reached else None
    shares = {tier.name: planned_shares(release, model, region, tier.name) for tier in tiers}
    live = None
    if len(model.versions) > 1:
        live = serving_version(release, model) if release is not None else model.wanted
    revision = release.revision if release is not None else 0
    return Plan(shares=shares, on_trial=trial, live=live, revision=revision)


def shares_in_service(
    planned: Mapping[str, float],
    instances: Mapping[str, int],
    *,
    on_trial: str | None = None,
    busy: float = 1.0,
) -> dict[str, float]:
    """Share the jobs of a tier among the versions that can take them now.

    A release begins when functions know of it, before the new version has an endpoint; instances
    come and go one by one. So what serves carries what does not, and no version gets more than
    its instances can work on while those of a trusted one are idle.

    Args:
        planned: By version, summing to 1; see `Plan.shares`.
        instances: In service by version; nothing for one that does not serve.
        on_trial: Takes nothing over from others, unless nothing else serves.
        busy: Part of all slots that are in use, 0 to 1: the fewer there are, the more of them one
            version can have. When all are, each gets its part of the instances.

    Returns:
        Shares by version, summing to 1; nothing if none of the planned versions serves.
    """
    serving = {name: float(instances[name]) for name in planned if instances.get(name)}
    trusted = {name: number for name, number in serving.items() if name != on_trial}
    if not trusted:
        return dict.fromkeys(serving, 1.0)
    shares = {name: planned[name] for name in serving}
    missing = 1 - sum(shares.values())
    for name, number in trusted.items():
        shares[name] += missing * number / sum(trusted.values())
    whole = sum(serving.values()) * max(busy, 1e-6)
    parts = {name: number / whole for name, number in serving.items()}
    over = {name: max(0.0, shares[name] - parts[name]) for name in serving}
    room = {name: max(0.0, parts[name] - shares[name]) for name in trusted}
    moved = min(sum(over.values()), sum(room.values()))
    for name, amount in over.items():
        shares[name] -= amount * moved / (sum(over.values()) or 1)
    for name, amount in room.items():
        shares[name] += amount * moved / (sum(room.values()) or 1)
    return shares


def instances_in_service(plan: Plan, instances: Mapping[str, int]) -> int:
    """Instances that jobs may run on; one on trial without a share counts where it is alone."""
    trial = instances.get(plan.on_trial or "", 0)
    trusted = sum(instances.get(name, 0) for name in plan.versions - {plan.on_trial})
    return trusted + (trial if not trusted or _trial_share(plan) else 0)


def slots_in_service(model: Model, plan: Plan, instances: Mapping[str, int]) -> int:
    """Jobs to have on their way at once, over all versions that may get some.

    A version on trial with a tenth of the jobs, and an instance of its own, can be busy for a
    ninth of what the others are: more slots than that would only queue up at the others.

    Args:
        model: Concurrency, service and hand-off times.
        plan: Who gets what.
        instances: In service by version.
    """
    everything = capacity.slots(model, instances_in_service(plan, instances))
    trusted = sum(instances.get(name, 0) for name in plan.versions - {plan.on_trial})
    share = _trial_share(plan)
    if not trusted or share >= 1:
        return everything
    return min(everything, math.ceil(capacity.slots(model, trusted) / (1 - share)))


def _trial_share(plan: Plan) -> float:
    """The most that the version on trial has of any tier."""
    return max((each.get(plan.on_trial or "", 0.0) for each in plan.shares.values()), default=0.0)


def shares_of_attempt(
    planned: Mapping[str, float],
    instances: Mapping[str, int] | None,
    attempt: int,
    *,
    on_trial: str | None = None,
    busy: float = 1.0,
) -> Mapping[str, float]:
    """The versions that one attempt may run on.

    Args:
        planned: Of the job's tier.
        instances: In service by version; None if nobody knows: then the plan is what there is.
        attempt: Numbered from 1: a further one stays away from a version on trial, which may be
            what failed it.
        on_trial: As `shares_in_service` takes it.
        busy: As `shares_in_service` takes it.

    Returns:
        Shares by version; nothing if the job has to wait.
    """
    if instances is None:
        return {name: share for name, share in planned.items() if share > 0}
    shares = shares_in_service(planned, instances, on_trial=on_trial, busy=busy)
    trusted = {name: share for name, share in shares.items() if name != on_trial}
    if attempt > 1 and trusted:
        return trusted if any(trusted.values()) else dict.fromkeys(trusted, 1.0)
    return shares


def choose_version(shares: Mapping[str, float], job_id: str, attempt: int) -> str:
    """Choose a version with the probability of its share.

    The same attempt always gets the same version while the shares stay, wherever it is asked;
    a further attempt may get another one.

    Args:
        shares: By version; only what they are to each other counts.
        job_id: The job.
        attempt: Numbered from 1.

    Raises:
        ValueError: No version has a share.
    """
    carrying = [(version, share) for version, share in sorted(shares.items()) if share > 0]
    if not carrying:
        raise ValueError("no version has a share of the jobs")
    digest = hashlib.sha256(f"{job_id}.{attempt}".encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64 * sum(share for _, share in carrying)
    for version, share in carrying:
        point -= share
        if point < 0:
            return version
    return carrying[-1][0]
