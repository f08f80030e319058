"""The fewest GPU-hours that a policy can spend on requests: what others are measured against."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from config.schema import TIERS, Deployment
from spillway.replay.plan import Request, tokens_in

IN_TIME_MIN: Final = 0.99
"""Of the most urgent tier: a policy that starts less of it in time is not what anybody wants."""


@dataclass(slots=True)
class _Demand:
    """What is asked of one model, in all regions.

    Attributes:
        work_s: Seconds of one place on an instance.
        end_s: Before this, its last job cannot have ended.
        urgent: Arrival and service seconds of the jobs of the most urgent tier.
    """

    work_s: float = 0.0
    end_s: float = 0.0
    urgent: list[tuple[float, float]] = field(default_factory=list)


def gpu_hours(requests: Iterable[Request], deployment: Deployment) -> float:
    """Tell what no policy can go below that keeps its targets, whatever it knows beforehand.

    Args:
        requests: In the order of their times.
        deployment: Whose models, minimums and targets.

    Returns:
        GPU-hours from the first request to the last end, billed from the request of an instance.

    Source:
        For each model the greater one of two. The work: an instance has so many places, and each
        is worth a second a second. Or the minimum: its instances run all the time in every
        region; and if they alone could not start `IN_TIME_MIN` of the most urgent tier in time,
        at least one more instance warms up.
    """
    asked: dict[str, _Demand] = defaultdict(_Demand)
    for request in requests:
        model = deployment.models[request.model]
        service = model.versions[model.wanted].service
        typical = (service.input_tokens_typical, service.output_tokens_typical)
        seconds = service.seconds(*tokens_in(request.body, typical=typical))
        demand = asked[request.model]
        demand.work_s += seconds
        demand.end_s = max(demand.end_s, request.at_s + seconds)
        if request.tier == TIERS[0]:
            demand.urgent.append((request.at_s, seconds))
    end_s = max((demand.end_s for demand in asked.values()), default=0.0)
    target_s = deployment.tiers[TIERS[0]].target_wait_s
    total_s = 0.0
    for name, model in deployment.models.items():
        if model.state == "off":
            continue
        least = len(deployment.regions) * model.instances_min
        demand = asked[name]
        floor_s = least * end_s
        places = least * model.concurrency
        if not suffices(demand.urgent, places=places, target_s=target_s):
            floor_s += model.warm_up_s
        total_s += max(floor_s, demand.work_s / model.concurrency)
    return total_s / 3600


def suffices(jobs: list[tuple[float, float]], *, places: int, target_s: float) -> bool:
    """Whether places that do nothing else start enough of some jobs in time.

    Args:
        jobs: Arrival and service seconds, in the order of arrival.
        places: How many run at once.
        target_s: Longest wait; a job that cannot start within it is not run at all.
    """
    if not jobs or not places:
        return not jobs
    free_s = [0.0] * places
    in_time = 0
    for at_s, seconds in jobs:
        start_s = max(free_s[0], at_s)
        if start_s - at_s <= target_s:
            heapq.heapreplace(free_s, start_s + seconds)
            in_time += 1
    return in_time >= IN_TIME_MIN * len(jobs)
