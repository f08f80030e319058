"""Search for the first seed that notices each sabotage: `python -m tests.simulation.search`.

Names of sabotages may follow; without any, all are searched for, which takes half an hour. What it
prints belongs into `CAUGHT` and docs/simulation.md. It exits with 1 if one is not seen that should
be.
"""

import sys
from typing import Final

from spillway.simulation.process import Order, Player
from tests.simulation.sabotage import CAUGHT, UNSEEN, broken

SEEDS: Final = 150
"""After so many seeds without a violation, a sabotage counts as unseen."""


def search(player: Player, sabotage: str) -> str | None:
    """Which seed noticed a sabotage, and by which invariants; None if none did."""
    for seed in range(SEEDS):
        result = player.play(Order(seed=seed, sabotage=sabotage))
        if result.violations:
            invariants = sorted({each["invariant"] for each in result.violations})
            return f"seed {seed}: {', '.join(invariants)}"
    return None


def main() -> int:
    """Search for all sabotages, or for those that are named; returns the exit status."""
    player, missed = Player(), 0
    try:
        for each in (*CAUGHT, *UNSEEN):
            if not sys.argv[1:] or each.__name__ in sys.argv[1:]:
                found = search(player, broken(each))
                missed += found is None and each in CAUGHT
                sys.stdout.write(f"{each.__name__}: {found or f'not seen in {SEEDS} seeds'}\n")
                sys.stdout.flush()
    finally:
        player.close()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
