"""What beat last saw of each region, kept for a moment in the execution environment."""

from dataclasses import dataclass, field
from typing import Any

from lambdas.adapters.clock import now_s
from lambdas.adapters.directory import Directory
from lambdas.adapters.gate import Gate

KEPT_S = 2
"""Some 16 health checkers ask every 10 s: one read serves most of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """The regions' snapshots; the own one from the gate, the others' from the directory."""

    region: str
    gate: Gate
    directory: Directory
    kept: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def here(self) -> dict[str, Any]:
        """This region's; empty before its first beat."""
        return self.of(self.region)

    def of(self, region: str) -> dict[str, Any]:
        """A region's, at most `KEPT_S` older than what is stored."""
        at_s = now_s()
        kept_s, snapshot = self.kept.get(region, (0.0, {}))
        if not 0 <= at_s - kept_s <= KEPT_S:
            own = region == self.region
            snapshot = self.gate.snapshot() if own else self.directory.snapshot(region)
            self.kept[region] = (at_s, snapshot)
        return snapshot
