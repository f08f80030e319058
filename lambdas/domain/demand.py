"""How many instances a version's work needs, so that alarms can ask for them.

Every number that scaling alarms read is made here. Instances that were asked for count as soon as
they are asked for: SageMaker takes no further change until they are warm, and an alarm must not
ask for the same ones twice.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lambdas.domain.bursts import Arrivals, fast_s
from lambdas.domain.capacity import Load, pressure, slots
from lambdas.domain.policy import Model, Tier

DRAIN_SHARE = 0.5
"""What has piled up is to be worked off within this share of the time that warming up took."""
NEEDED_UTILIZATION = 0.85
"""How busy new instances are to be with what comes then: at more, work waits by mere chance."""
KEPT_UTILIZATION = 0.65
"""An instance is spare only if the others would be no busier than this without it."""
PEAK_UTILIZATION = 0.8
"""The same for peaks of urgent tiers alone, before which patient work steps back."""
ROUNDING = 1e-6
LAST_JOBS_MIN = 0.37
"""The last instance is spare when fewer jobs than this come while another one would warm up, by the
fast average: after a lone job that takes about as long as warming up does (8 x exp(-3))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one version has to do in one region.

    Attributes:
        instances: In service.
        ordered: That there will be when those that were asked for are warm.
        in_use: Slots in use, of its own.
        held: The same, averaged over the warm-up time.
        waiting: Jobs that wait for it, by tier.
        oldest_s: Age of the oldest of them in seconds, by tier.
        arrivals: How its work comes, by tier.
    """

    instances: int
    ordered: int
    in_use: float
    held: float
    waiting: Mapping[str, float]
    oldest_s: Mapping[str, float]
    arrivals: Mapping[str, Arrivals]

    def of(self, tier: str) -> Arrivals:
        """How a tier's work comes."""
        return self.arrivals.get(tier, Arrivals())


def part(whole: Demand, shares: Mapping[str, float], *, instances: int, ordered: int) -> Demand:
    """A version's part of its model's demand.

    Args:
        whole: The model's.
        shares: What the version is to have of each tier's jobs, 0 to 1.
        instances: Of the version, in service.
        ordered: Of the version, those that were asked for among them.
    """
    of_work = instances / whole.instances if whole.instances else 0.0
    return Demand(
        instances=instances,
        ordered=ordered,
        in_use=whole.in_use * min(1.0, of_work),
        held=whole.held * min(1.0, of_work),
        waiting={tier: number * shares.get(tier, 0.0) for tier, number in whole.waiting.items()},
        oldest_s=whole.oldest_s,
        arrivals={
            tier: arrivals.scaled(shares.get(tier, 0.0))
            for tier, arrivals in whole.arrivals.items()
        },
    )


def needed(model: Model, tiers: Sequence[Tier], demand: Demand) -> float:
    """Instances that the work will need when an instance that is asked for now is warm.

    Urgent tiers need enough for the rate that is expected then, and to work off within
    `DRAIN_SHARE` of the warm-up time what will have piled up until then. A patient tier needs only
    that all of it is done within its own target wait, so it fills the slack that urgent tiers
    leave, and asks for an instance when that slack will not do.

    Args:
        model: Its concurrency, service and warm-up times.
        tiers: All tiers, most urgent first.
        demand: The version's.

    Source:
        Flow balance up to each time at which a tier's work is due: piled up = due until new
        instances are warm - what the present ones work off until then; afterwards all work off
        that and what comes.
    """
    if not any(demand.waiting.values()) and not any(a.fast for a in demand.arrivals.values()):
        return 0.0
    one = model.concurrency / model.service_s
    warm_s = model.warm_up_s
    soon_s = warm_s * (1 + DRAIN_SHARE)
    most = 0.0
    for horizon_s in sorted({max(soon_s, tier.target_wait_s) for tier in tiers}):
        until_warm, after = 0.0, 0.0
        for tier in tiers:
            if tier.target_wait_s > horizon_s:
                until_warm += _overdue(tier, demand, horizon_s)
                continue
            arrivals = demand.of(tier.name)
            until_warm += demand.waiting.get(tier.name, 0.0)
            if tier.target_wait_s <= soon_s:
                then = arrivals.ahead(model)
                until_warm += (arrivals.fast + then) / 2 * warm_s
                after += (then if horizon_s == soon_s else arrivals.slow) * (horizon_s - warm_s)
        piled_up = max(0.0, until_warm - demand.ordered * one * warm_s)
        rest_s = horizon_s - warm_s
        most = max(most, (piled_up + after / NEEDED_UTILIZATION) / (one * rest_s))
    return most


def _overdue(tier: Tier, demand: Demand, horizon_s: float) -> float:
    """Jobs of a patient tier that are due within a time; their ages are taken as even."""
    waiting = demand.waiting.get(tier.name, 0.0)
    oldest_s = demand.oldest_s.get(tier.name, 0.0)
    late_s = horizon_s - (tier.target_wait_s - oldest_s)
    return waiting * min(1.0, max(0.0, late_s / oldest_s)) if oldest_s > 0 else 0.0


def burst_ratio(model: Model, tiers: Sequence[Tier], demand: Demand, *, floor: int = 0) -> float:
    """Whole instances needed when new ones are warm / instances ordered, one at least.

    Args:
        model: Its concurrency, service and warm-up times.
        tiers: All tiers, most urgent first.
        demand: The version's.
        floor: Instances that are kept in any case, and so needed.
    """
    most = max(floor, math.ceil(needed(model, tiers, demand) - ROUNDING))
    return most / max(1, demand.ordered)


def floor(model: Model, *, least: int, warm: bool) -> int:
    """Instances of a version that are kept in any case.

    Args:
        model: While it drains, work alone keeps some.
        least: The minimum that the version is to keep; 0 for one that nobody wants.
        warm: Whether its release needs an instance here even without jobs.
    """
    return max(min(least, model.instances_max) if model.state == "live" else 0, int(warm))


def kept(
    model: Model,
    tiers: Sequence[Tier],
    parts: Mapping[str, Demand],
    floors: Mapping[str, int],
    *,
    named: Collection[str],
) -> dict[str, int]:
    """Instances that each version is to keep.

    Args:
        model: Its concurrency, service and warm-up times.
        tiers: All tiers, most urgent first.
        parts: What each version has to do.
        floors: Instances of each that are kept in any case.
        named: Versions that may get jobs; others have no reason to be there but their floor.

    Returns:
        By version: what its own work needs; and of one that is named without work of its own, as
        many as the others still lack of what they need, since it works for them meanwhile.
    """
    own = {v: max(floors[v], _busy_with(model, tiers, part)) for v, part in parts.items()}
    lacking = sum(max(0, own[version] - part.instances) for version, part in parts.items())
    return {
        version: max(own[version], min(parts[version].instances, lacking))
        if version in named
        else floors[version]
        for version in parts
    }


def _busy_with(model: Model, tiers: Sequence[Tier], demand: Demand) -> int:
    """Instances that a version's own work keeps busy enough.

    Each tier counts with those before it, by how it comes within its own target wait: what waits
    for a while anyway need not be held for its peaks. Those are held for tiers that cannot wait.
    """
    if not any(demand.waiting.values()):
        # The averages never fall to nothing: the last one goes when less than a job comes in the
        # time that another would warm up.
        coming = model.warm_up_s * sum(arrivals.fast for arrivals in demand.arrivals.values())
        if coming <= LAST_JOBS_MIN:
            return math.ceil(demand.held / slots(model, 1)) if demand.in_use else 0
    window_s = DRAIN_SHARE * model.warm_up_s
    one = model.concurrency / model.service_s
    most = waiting = fast = slow = 0.0
    for tier in tiers:
        arrivals = demand.of(tier.name)
        waiting += demand.waiting.get(tier.name, 0.0) / max(window_s, tier.target_wait_s)
        fast, slow = fast + arrivals.fast, slow + arrivals.slow
        most = max(most, (waiting + slow) / KEPT_UTILIZATION)
        if tier.target_wait_s <= fast_s(model.warm_up_s, model.service_s):
            most = max(most, (waiting + fast) / PEAK_UTILIZATION)
    # Long jobs go on when no more of them come, and one that is let go loses what it works on.
    return max(math.ceil(most / one), math.ceil(demand.held / slots(model, 1)))


def spare(demand: Demand, *, kept: int) -> int:
    """Instances beyond those that are kept; none while new ones warm up, of no use so far."""
    return max(0, demand.ordered - kept) if demand.ordered <= demand.instances else 0


def version_pressure(model: Model, tiers: Sequence[Tier], demand: Demand) -> float:
    """Predicted wait / target wait of the tier that is worst off, when new instances are warm.

    A queue that those which are there work off before an instance that is asked for now could help
    is no reason to ask for one. Without instances it is the pressure of now, with the first one
    being warmed up: any work that waits is a reason.
    """
    if demand.ordered == 0:
        waiting = {tier: math.ceil(number) for tier, number in demand.waiting.items()}
        return pressure(model, tiers, Load(instances=0, in_use=0, waiting=waiting))
    room = demand.ordered * model.concurrency / model.service_s * model.warm_up_s
    left: dict[str, int] = {}
    for tier in tiers:
        work = demand.waiting.get(tier.name, 0.0)
        work += demand.of(tier.name).fast * model.warm_up_s
        left[tier.name] = math.ceil(max(0.0, work - room))
        room = max(0.0, room - work)
    if not any(left.values()):
        return 0.0
    busy = slots(model, demand.ordered)
    return pressure(model, tiers, Load(instances=demand.ordered, in_use=busy, waiting=left))
