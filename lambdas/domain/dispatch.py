"""How many jobs to take from each tier: strict priority, with a guaranteed minimum share.

A tier that has work gains its minimum share of a credit with every start of any tier, and pays
one credit for every start of its own; a tier that is owed a whole start goes first. This is
deficit round robin (Shreedhar and Varghese, 1995) with the minimum shares as quanta; what is not
guaranteed goes to the most urgent tier that has work.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lambdas.domain.policy import Tier

CREDIT_MAX = 10.0
"""Credits a tier can save up: bounds how long more urgent tiers can be held off afterwards."""
STARTS_MIN = 0.1
"""Of remembered starts, half of which are forgotten in 33 s: one counts for two minutes."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Pull:
    """Take at most so many jobs from a tier."""

    tier: str
    at_most: int


def plan(free: int, tiers: Sequence[Tier], owed: Mapping[str, float]) -> list[Pull]:
    """The order in which to ask the tiers for jobs.

    Args:
        free: Slots to fill.
        tiers: Most urgent first.
        owed: Starts owed by tier; absent means none.

    Returns:
        Pulls to make in order until the slots are full: first what tiers are owed, then every
        tier by urgency, since a tier may have less than it is asked for.
    """
    first: list[Pull] = []
    left = free
    for tier in sorted(tiers, key=lambda each: -owed.get(each.name, 0.0)):
        due = min(left, int(min(CREDIT_MAX, owed.get(tier.name, 0.0)) + _ROUNDING))
        if due > 0 and tier.share_min > 0:
            first.append(Pull(tier.name, due))
            left -= due
    return first + [Pull(tier.name, free) for tier in tiers]


def settle(
    tiers: Sequence[Tier],
    owed: Mapping[str, float],
    started: Mapping[str, int],
    empty: Collection[str],
) -> dict[str, float]:
    """What a round of starts changes in the credits.

    Args:
        tiers: Most urgent first.
        owed: As before the round.
        started: Starts by tier in the round.
        empty: Tiers that had less than they were asked for: they save nothing up.

    Returns:
        Changes by tier, to be added; the new credit is within 0 and `CREDIT_MAX`.
    """
    total = sum(started.values())
    changes = {}
    for tier in tiers:
        before = owed.get(tier.name, 0.0)
        after = 0.0
        if tier.name not in empty:
            earned = before + tier.share_min * total - started.get(tier.name, 0)
            after = min(CREDIT_MAX, max(0.0, earned))
        if after != before:
            changes[tier.name] = after - before
    return changes


def lowest_share(
    tiers: Sequence[Tier], starts: Mapping[str, float], waiting: Mapping[str, int]
) -> float | None:
    """The share of the starts / the guaranteed share, of the tier that is worst off.

    Args:
        tiers: With their guaranteed shares.
        starts: Recent starts by tier.
        waiting: Jobs that wait by tier: who has none can have no share.

    Returns:
        Long below 1, a tier starves. None while nothing starts, or nobody with a guarantee waits:
        a tier that waits for the first instance is late, and gets no less than the others.
    """
    total = sum(starts.values())
    shares = [
        starts.get(tier.name, 0.0) / total / tier.share_min
        for tier in tiers
        if total >= STARTS_MIN and tier.share_min > 0 and waiting.get(tier.name, 0) > 0
    ]
    return min(shares, default=None)
