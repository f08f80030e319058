"""At every beat: whether jobs of another region are to be taken over, and who is told to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.functions import Functions
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.domain import moves
from lambdas.domain.moves import Order
from lambdas.domain.policy import Policy
from lambdas.domain.regions import SERVING


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """One region's orders to its own sweep."""

    region: str
    policy: Policy
    ledger: Ledger
    functions: Functions

    def once(
        self,
        told: Mapping[str, Any],
        peers: Mapping[str, dict[str, Any]],
        before: Mapping[str, Any],
        *,
        beat_s: float,
        now_ms: int,
    ) -> set[str]:
        """Order what is due; a peer's `moved_ms` notes when jobs were last looked for.

        Args:
            told: What this region tells of itself: its models, and what it grants.
            peers: What is seen of the others, to be noted for the next beat.
            before: The region's last snapshot.
            beat_s: Seconds between beats.
            now_ms: This region's time.

        Returns:
            The models whose room is taken by jobs that are fetched: it is not offered as well.
        """
        relieved: set[str] = set()
        for source, peer in peers.items():
            noted = (before.get("peers") or {}).get(source, {})
            peer["moved_ms"] = noted.get("moved_ms", 0)
            if not moves.due(peer, noted, now_ms=now_ms):
                continue
            peer["moved_ms"] = now_ms
            orders = (
                moves.relieving(
                    self.policy,
                    source,
                    peer,
                    told["models"],
                    told["grants"],
                    beat_s=beat_s,
                    now_ms=now_ms,
                )
                if peer["state"] == SERVING
                else self._taking_over(source, peers)
            )
            for order in orders:
                self.functions.move(order.document())
                if order.model is not None:
                    relieved.add(order.model)
        return relieved

    def _taking_over(self, source: str, peers: Mapping[str, dict[str, Any]]) -> list[Order]:
        try:
            unfinished = sum(self._left(source, model) for model in self.policy.models)
        except AWS_ERRORS as error:
            logger.warning("jobs not looked for", source=source, reason=reason(error))
            return []
        if not unfinished:
            return []
        return moves.taking_over(self.region, source, peers, unfinished=unfinished)

    def _left(self, source: str, model: str) -> int:
        """Unfinished jobs of a model in another region, as many as one page holds."""
        return sum(len(page) for page in self.ledger.live(source, model, pages_max=1))
