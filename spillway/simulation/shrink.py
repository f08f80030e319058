"""Smaller runs that still fail: a fault or a job is left out as long as the same thing is wrong."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from spillway.simulation.process import Order, Player, Pool, Result


def smaller(pool: "Pool | Player", failed: Result, *, runs_max: int) -> Result:
    """Leave out as much of a failing run as `runs_max` further runs allow.

    The parts that are left stay what they were, although what is drawn while they are played may
    come out otherwise.

    Args:
        pool: Plays.
        failed: A run with violations.
        runs_max: Bounds the effort: each run takes a second or two.

    Returns:
        The smallest run that was found to violate the same invariant.
    """
    wanted = {each["invariant"] for each in failed.violations}
    best = failed
    for order in islice(_shorter(best), runs_max):
        merged = replace(
            best.order,
            without_troubles=(*best.order.without_troubles, *order.without_troubles),
            without_jobs=(*best.order.without_jobs, *order.without_jobs),
        )
        found = _play(pool, merged)
        if not found.error and wanted & {each["invariant"] for each in found.violations}:
            best = found
    return best


def _shorter(result: Result) -> Iterator[Order]:
    """What to leave out: half of the jobs, then each fault, then each job."""
    jobs = result.jobs
    half = len(jobs) // 2
    for some in (jobs[:half], jobs[half:]):
        if some and len(some) < len(jobs):
            yield Order(seed=result.order.seed, without_jobs=tuple(some))
    for place in result.troubles:
        yield Order(seed=result.order.seed, without_troubles=(place,))
    for number in jobs:
        yield Order(seed=result.order.seed, without_jobs=(number,))


def _play(pool: "Pool | Player", order: Order) -> Result:
    if isinstance(pool, Player):
        return pool.play(order)
    (result,) = pool.play([order])
    return result
