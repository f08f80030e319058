"""What travels between regions by itself, and waits while one of the two is away."""

from collections.abc import Callable
from typing import Any

from spillway.twin.clock import Scheduler


class Replication:
    """The way of one service's copies from region to region.

    Args:
        scheduler: Time.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._away: set[str] = set()
        self._held: list[tuple[frozenset[str], Callable[..., object], tuple[Any, ...]]] = []

    def send(
        self, lag_s: float, regions: frozenset[str], arrive: Callable[..., object], *args: Any
    ) -> None:
        """Call `arrive(*args)` after the lag, or once both regions are back.

        What has not arrived when a region goes away has not left either.
        """
        self._scheduler.after(lag_s, self._arrive, regions, arrive, args)

    def _arrive(
        self, regions: frozenset[str], arrive: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        if regions & self._away:
            self._held.append((regions, arrive, args))
        else:
            arrive(*args)

    def away(self, region: str) -> bool:
        """Whether nothing goes in or out of a region."""
        return region in self._away

    def leave(self, region: str) -> None:
        """Let nothing in or out of a region."""
        self._away.add(region)

    def rejoin(self, region: str, lag_s: float) -> None:
        """Bring what was missed, in its order, after the usual lag."""
        self._away.discard(region)
        held, self._held = self._held, []
        for regions, arrive, args in held:
            if regions & self._away:
                self._held.append((regions, arrive, args))
            else:
                self.send(lag_s, regions, arrive, *args)
