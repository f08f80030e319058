"""Which submissions are counted in the gate: a write for each would cost as much as a start.

Counting is shared by all execution environments of a region, and an environment handles one
request at a time, some ten a second. For a tenant whose rate is high each of them therefore lets
a few submissions of a window pass uncounted, and counts the others several at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

COARSE_FROM = 100
"""Submissions a window. A tenant with a lower limit is counted exactly: it would notice."""
UNCOUNTED = 2
"""Of each window and environment: some 2 % over the rate, when environments are busy."""
AT_ONCE = 5
"""Counted in one write; what is not used when the window ends is some 5 % of the rate at most."""
TENANTS_MAX = 10_000
"""Kept by one environment; beyond it all are forgotten, and begin their window anew."""


@dataclass(slots=True)
class _Window:
    number: int
    left: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one execution environment may still let pass, by tenant."""

    windows: dict[str, _Window] = field(default_factory=dict)

    def take(self, tenant: str, *, window: int, limit: int, count: Callable[[int], bool]) -> bool:
        """Let one submission pass, or not.

        Args:
            tenant: Whose.
            window: Number of the current window.
            limit: Submissions that the tenant may make in a window.
            count: Counts so many for everybody; False if that is more than the limit leaves.

        Returns:
            Whether it is within the limit.
        """
        coarse = limit >= COARSE_FROM
        kept = self.windows.get(tenant)
        if kept is None or kept.number != window:
            if len(self.windows) >= TENANTS_MAX:
                self.windows.clear()
            kept = self.windows[tenant] = _Window(window, UNCOUNTED if coarse else 0)
        if kept.left == 0:
            at_once = AT_ONCE if coarse else 1
            if not count(at_once):
                return False
            kept.left = at_once
        kept.left -= 1
        return True
