"""A region that is lost in the middle of a replay, and how long until nothing misses it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from config.schema import Deployment
from spillway.leases import LOST, Leases

if TYPE_CHECKING:
    from spillway.twin.twin import Twin

LOOK_EVERY_S: Final = 1.0
BUSY_S_MAX: Final = 120.0
"""How long it is waited for a moment at which the region has much to lose."""
GIVEN_UP_S: Final = 600.0
"""A region whose jobs are not elsewhere by then comes back all the same."""


@dataclass(slots=True)
class Seen:
    """What an outage came to; seconds since its begin.

    Attributes:
        region: Which died.
        died: Whether it has.
        held: Unfinished jobs that it held then.
        lost_s: Until its peers had declared it lost; None if they never did.
        moved_s: Until it held no unfinished job any more; None if it always did.
    """

    region: str
    died: bool = False
    held: int = 0
    lost_s: float | None = None
    moved_s: float | None = None

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "region": self.region,
            "held": self.held,
            "lost_s": self.lost_s,
            "moved_s": self.moved_s,
        }


class Outage:
    """Kills a region of a twin, watches its jobs go, and brings it back.

    Args:
        twin: Deployed.
        deployment: What it runs.
        region: Which dies.
        at_s: When, in seconds since the first request.
        jobs_min: Wait then until it holds so many unfinished jobs.
        away_s: How long it stays away at least; it comes back when its jobs are elsewhere.
    """

    def __init__(
        self,
        twin: "Twin",
        deployment: Deployment,
        *,
        region: str,
        at_s: float,
        jobs_min: int = 0,
        away_s: float = 0.0,
    ) -> None:
        self.at_s = at_s
        self._jobs_min = jobs_min
        self._away_s = away_s
        self.seen = Seen(region)
        self._twin = twin
        self._models = list(deployment.models)
        client = twin.operator(deployment.primary_region).client("dynamodb")
        self._leases = Leases(client, deployment.names.ledger, deployment.regions)

    def happen(self) -> None:
        """The whole of it, in a task of the twin."""
        scheduler, seen = self._twin.scheduler, self.seen
        until_s = scheduler.now() + BUSY_S_MAX
        seen.held = self._held()
        while seen.held < self._jobs_min and scheduler.now() < until_s:
            scheduler.sleep(LOOK_EVERY_S)
            seen.held = self._held()
        self._twin.regions.kill(seen.region)
        seen.died = True
        began_s = scheduler.now()
        while seen.moved_s is None and scheduler.now() - began_s < GIVEN_UP_S:
            scheduler.sleep(LOOK_EVERY_S)
            passed_s = round(scheduler.now() - began_s, 1)
            if seen.lost_s is None:
                seen.lost_s = passed_s if self._leases.state(seen.region) == LOST else None
            elif not any(self._leases.holds(seen.region, model) for model in self._models):
                seen.moved_s = passed_s
        scheduler.sleep(max(0.0, began_s + self._away_s - scheduler.now()))
        self._twin.regions.restore(seen.region)

    def _held(self) -> int:
        return sum(self._leases.unfinished(self.seen.region, model) for model in self._models)
