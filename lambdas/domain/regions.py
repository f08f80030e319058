"""Regions: who may serve, who is lost, and who takes over whose jobs.

A region serves by a lease in the ledger. Nobody compares clocks: a region counts its own lease
from the start of its last renewal, and its peers count, each by its own clock, how long they have
not seen the lease change. What a region may do ends before its peers may take it over.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEASE_S = 20
"""A region serves so long after the start of its last renewal: three beats may fail, or a
minute's tick, after which beats come every 15 s."""
LOST_S = 28
"""A lease that did not change for so long, seen from outside, is stale.

A peer may see the last renewal one beat late, and that it is stale another one later; then it asks
the region itself: 40 s after its death, at the latest, a region is lost."""
PEER_FRESH_S = 20
"""What a peer tells of itself is believed for so long after it last changed."""

SERVING, DRAINED, LOST = "serving", "drained", "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A region's lease as the ledger holds it.

    Attributes:
        region: Whose.
        epoch: Rises whenever somebody else decides about the region: the fencing number.
        sequence: Rises with every renewal.
        state: `serving`, `drained` by an operator, or `lost`.
    """

    region: str
    epoch: int
    sequence: int
    state: str


def fenced(snapshot: Mapping[str, Any], *, regions: int, now_ms: int) -> bool:
    """Whether a region must neither accept nor dispatch, by what its own beat wrote.

    Args:
        snapshot: Of the region itself.
        regions: Of the deployment; a single one has nobody who could take it over.
        now_ms: The region's own time.
    """
    lease = snapshot.get("lease") or {}
    return regions > 1 and int(lease.get("until_ms", 0)) <= now_ms


def may_start_ms(lease: Mapping[str, Any], *, regions: int) -> int | None:
    """Until when dispatch may start jobs; None for ever, 0 for not at all."""
    if lease.get("state") == DRAINED:
        return 0
    return int(lease.get("until_ms", 0)) if regions > 1 else None


def watched(
    before: Mapping[str, Any], lease: Lease, told: Mapping[str, Any], *, now_ms: int
) -> dict[str, Any]:
    """What a region notes of a peer at one beat.

    Args:
        before: What it noted at the last beat; empty at first.
        lease: The peer's lease now.
        told: The peer's snapshot in the directory; empty if it never wrote one.
        now_ms: The watching region's own time.

    Returns:
        The lease and since when it has not changed (`since_ms`), and what the peer tells of its
        models and since when that has not changed (`seen_ms`).
    """
    same_lease = (before.get("epoch"), before.get("sequence")) == (lease.epoch, lease.sequence)
    same_news = before.get("at_ms") == told.get("at_ms")
    return {
        "state": lease.state,
        "epoch": lease.epoch,
        "sequence": lease.sequence,
        "since_ms": before["since_ms"] if same_lease else now_ms,
        "at_ms": told.get("at_ms"),
        "seen_ms": before.get("seen_ms", 0) if same_news else now_ms,
        "models": told.get("models", {}),
        "grants": told.get("grants", {}),
    }


def stale(peer: Mapping[str, Any], *, now_ms: int) -> bool:
    """Whether a peer's lease has not changed for so long that it may be lost."""
    return peer["state"] != LOST and now_ms - int(peer["since_ms"]) >= 1000 * LOST_S


def believed(peer: Mapping[str, Any], *, now_ms: int) -> bool:
    """Whether a peer serves and what it tells of itself is news."""
    recent = now_ms - int(peer["seen_ms"]) <= 1000 * PEER_FRESH_S
    return peer["state"] == SERVING and recent and not stale(peer, now_ms=now_ms)


def survivors(region: str, peers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The regions that share the jobs of one that is gone, this one among them.

    Observers may for a moment disagree about who survives: a job that nobody takes for that
    reason is taken in a later round, and one that two take is moved once by the ledger.
    """
    return sorted([region, *(name for name, peer in peers.items() if peer["state"] == SERVING)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of another region's jobs that one execution moves.

    Attributes:
        number: From 0.
        of: Into how many parts the jobs are split, over all survivors.
    """

    number: int
    of: int

    def holds(self, job: str) -> bool:
        """Whether a job belongs to it."""
        return zlib.crc32(job.encode()) % self.of == self.number


def parts(region: str, among: Sequence[str], *, executions: int) -> list[Part]:
    """The parts that a survivor moves, one for each of its executions.

    A survivor's share is the same whatever `executions`: each decides by what it still sees of the
    jobs, and who comes later sees fewer. What one thinks another's must be what that one takes.
    """
    of, first = len(among) * executions, among.index(region)
    return [Part(number=number, of=of) for number in range(first, of, len(among))]


def urgency(tier: str, created_ms: int, tiers: Sequence[str]) -> tuple[int, int]:
    """What jobs are moved by, the lowest first: urgent tiers, then the oldest."""
    return (tiers.index(tier) if tier in tiers else len(tiers), created_ms)
