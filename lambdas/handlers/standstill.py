"""Tells whether the batches of a region go on, for the alarm that rings when they do not."""

from dataclasses import dataclass, field

from lambdas.adapters.metrics import Metrics
from lambdas.domain import metrics

FAILED_TURNS_MIN = 2
"""A turn that AWS refused once is no standstill: the next one makes it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """Which batches do not go on, as one execution environment saw them.

    Attributes:
        failed: By batch, its turns that failed since the last one that did not.
        told: Minutes for which something was told, to tell it once: 1 all went on, 0 not.
    """

    region: str
    metrics: Metrics
    failed: dict[str, int] = field(default_factory=dict)
    told: dict[int, float] = field(default_factory=dict)

    def went_on(self, batch: str) -> None:
        """Note that a batch made a step, waits for its jobs, or is no longer this region's."""
        self.failed.pop(batch, None)

    def stood(self, batch: str) -> None:
        """Note that a batch's turn came to nothing."""
        self.failed[batch] = self.failed.get(batch, 0) + 1

    def away(self) -> None:
        """Forget all batches: the region does not work, and others have them."""
        self.failed.clear()

    def tell(self, *, now_ms: int) -> None:
        """Publish whether all batches go on, once for each minute and change."""
        value = float(all(times < FAILED_TURNS_MIN for times in self.failed.values()))
        minute = now_ms // 60_000
        if self.told.get(minute) == value:
            return
        self.told.clear()
        self.told[minute] = value
        told = [(metrics.BATCHES_GO_ON, value)]
        self.metrics.publish({"Region": self.region}, told, at_ms=now_ms)
