"""How a region keeps its lease, watches its peers, and declares one lost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.directory import Directory
from lambdas.adapters.functions import Functions
from lambdas.adapters.leases import Leases
from lambdas.adapters.logs import logger
from lambdas.domain import regions
from lambdas.domain.policy import Policy
from lambdas.domain.regions import DRAINED, LEASE_S, LOST, Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a region stands among the others, as it goes into its snapshot.

    Attributes:
        lease: `epoch`, `state`, and until when it holds by the region's own clock (`until_ms`).
        peers: What is seen of each other region; see `regions.watched`.
        verdict: Why the region should get no clients; empty if it should.
    """

    lease: dict[str, Any]
    peers: dict[str, Any]
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leasing:
    """One region's part in the agreement about who serves."""

    region: str
    policy: Policy
    leases: Leases
    directory: Directory
    functions_in: Callable[[str], Functions]

    def once(self, before: Mapping[str, Any], *, now_ms: int) -> Standing:
        """Renew the lease, or win a new one, and look at the peers.

        Args:
            before: The region's last snapshot; empty at first.
            now_ms: When this beat began: the lease holds from then.
        """
        try:
            known = self.leases.read(self.policy.regions)
            mine = self._renewed(known.get(self.region), before, now_ms)
        except AWS_ERRORS as error:
            logger.warning("ledger not reached", reason=reason(error))
            return Standing(
                lease=dict(before.get("lease") or {}),
                peers=dict(before.get("peers") or {}),
                verdict="the ledger cannot be written",
            )
        peers = self._peers(known, before, now_ms)
        if mine is None:
            return Standing(lease={}, peers=peers, verdict="no lease")
        held = {
            "epoch": mine.epoch,
            "state": mine.state,
            "until_ms": now_ms + 1000 * LEASE_S,
        }
        return Standing(lease=held, peers=peers, verdict=DRAINED if mine.state == DRAINED else "")

    def _renewed(self, lease: Lease | None, before: Mapping[str, Any], now_ms: int) -> Lease | None:
        """The lease after this beat; None if somebody else wrote it meanwhile."""
        if lease is None:
            return self.leases.begin(self.region, now_ms=now_ms)
        if lease.state != LOST and lease.epoch == (before.get("lease") or {}).get("epoch"):
            return self.leases.renew(lease, now_ms=now_ms)
        won = self.leases.win(lease, now_ms=now_ms)
        logger.warning("a new epoch", epoch=won.epoch if won else None, was=lease.state)
        return won

    def _peers(
        self, known: Mapping[str, Lease], before: Mapping[str, Any], now_ms: int
    ) -> dict[str, Any]:
        peers = {}
        for region, lease in sorted(known.items()):
            if region == self.region:
                continue
            noted = (before.get("peers") or {}).get(region, {})
            peer = regions.watched(noted, lease, self._told(region, noted), now_ms=now_ms)
            if regions.stale(peer, now_ms=now_ms) and self._lost(lease):
                peer["state"] = LOST
            peers[region] = peer
        return peers

    def _told(self, region: str, noted: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self.directory.snapshot(region)
        except AWS_ERRORS as error:
            logger.warning("peer not read", peer=region, reason=reason(error))
            return noted  # unchanged, and so believed for a while only

    def _lost(self, lease: Lease) -> bool:
        """Declare a peer lost whose lease is stale, if it does not answer either."""
        if self.functions_in(lease.region).ready():
            return False
        try:
            lost = self.leases.lose(lease)
        except AWS_ERRORS as error:
            logger.warning("peer not declared lost", peer=lease.region, reason=reason(error))
            return False
        if lost:
            logger.error("peer lost", peer=lease.region, epoch=lease.epoch + 1)
        return lost
