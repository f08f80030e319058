"""Whether to take a job now, and when to come back if not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambdas.domain.capacity import CAPACITY_FRESH_S, Load, predicted_wait_s
from lambdas.domain.errors import ApiError, busy
from lambdas.domain.policy import Model, Tier
from lambdas.domain.spill import Offer, offers

BEAT_S = 5.0
"""How often the snapshot is renewed."""
TOO_LATE = "deadline_unreachable"
"""Code of the refusal of a job that could not start in time."""
BELL_NEEDLESS_S = 10.0
"""With more work waiting than this takes, a dispatcher is called at the next free slot anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, as the authorizer found.

    Attributes:
        tenant: Owner of the key.
        models: Names the key may use; None for all.
        tiers: Tiers the key may use; None for all.
        rate_per_s: Submissions a second.
        in_flight_max: Unfinished jobs.
        scopes: Names of `access.SCOPES` that the key has; None for all.
        expires_ms: When the key opens nothing any more; None for never.
        tokens_per_day: The tenant's quota, of all regions together; None for none.
        metadata_mask: What becomes of fields of its jobs' metadata, see `masking.masked`.
    """

    tenant: str
    models: frozenset[str] | None
    tiers: frozenset[str] | None
    rate_per_s: float
    in_flight_max: int
    scopes: frozenset[str] | None = None
    expires_ms: int | None = None
    tokens_per_day: int | None = None
    metadata_mask: Mapping[str, str] = field(default_factory=dict)

    def has_scope(self, scope: str) -> bool:
        """Whether the key has a scope."""
        return self.scopes is None or scope in self.scopes

    def may_use(self, model: str) -> bool:
        """Whether the key may use a model of that name."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a request for a job.

    Attributes:
        refusal: The 429 to answer, or None: the job is taken.
        predicted_wait_s: Seconds until it would start here.
        offers: The peers in whose queue it should rather wait, the best first.
    """

    refusal: ApiError | None
    predicted_wait_s: float
    offers: Sequence[Offer] = ()


def load_of(snapshot: Mapping[str, Any], model: str) -> Load:
    """A model's load in a region's snapshot; without one, an idle instance is assumed."""
    seen = snapshot.get("models", {}).get(model)
    if seen is None:
        return Load(instances=1, in_use=0, waiting={})
    return Load.read(seen)


def decide(
    *,
    caller: Caller,
    model: Model,
    tiers: Sequence[Tier],
    tier: str,
    snapshot: Mapping[str, Any],
    deadline_s: float,
    now_ms: int,
) -> Decision:
    """Decide whether a job can be taken.

    Args:
        caller: Its limits.
        model: What should answer.
        tiers: All tiers, most urgent first.
        tier: The job's.
        snapshot: What beat last saw of this region.
        deadline_s: Seconds by which the job must have started.
        now_ms: This region's time.

    Returns:
        The decision; a refusal tells the seconds after which it is worth another try.
    """
    load = load_of(snapshot, model.name)
    wait_s = predicted_wait_s(model, tiers, tier, load)
    others = offers(
        model, tiers, tier, snapshot, wait_s=wait_s, deadline_s=deadline_s, now_ms=now_ms
    )
    soonest_s = min([wait_s, *(offer.wait_s for offer in others)])
    return Decision(
        refusal=_over_cap(caller, model, load, snapshot) or _too_late(soonest_s, deadline_s),
        predicted_wait_s=wait_s,
        offers=others,
    )


def _over_cap(
    caller: Caller, model: Model, load: Load, snapshot: Mapping[str, Any]
) -> ApiError | None:
    unfinished = int(snapshot.get("tenants", {}).get(caller.tenant, 0))
    if unfinished < caller.in_flight_max:
        return None
    # As if the model worked for this tenant alone: sooner there is certainly no room.
    rate = max(1, load.instances) * model.concurrency / model.service_s
    return busy(
        f"You have {unfinished} unfinished jobs; your limit is {caller.in_flight_max}.",
        code="in_flight_limit",
        retry_after_s=max(BEAT_S, (unfinished - caller.in_flight_max + 1) / rate),
    )


def _too_late(wait_s: float, deadline_s: float) -> ApiError | None:
    if wait_s <= deadline_s:
        return None
    return busy(
        f"The job would start in about {wait_s:.0f} s, after its deadline of {deadline_s:.0f} s.",
        code=TOO_LATE,
        retry_after_s=wait_s - deadline_s,
    )


def is_fresh(snapshot: Mapping[str, Any], *, now_ms: int) -> bool:
    """Whether beat still works: one that does not rings no lost bells either."""
    return now_ms - int(snapshot.get("at_ms", 0)) <= 1000 * CAPACITY_FRESH_S


def bell_needed(model: Model, load: Load) -> bool:
    """Whether a new job needs a bell, or waits behind so much that one would change nothing."""
    waiting = sum(load.waiting.values())
    rate = load.instances * model.concurrency / model.service_s
    return waiting < BELL_NEEDLESS_S * rate
