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
"""After so many seeds without a violation, one that nobody is expected to notice is unseen."""


def search(player: Player, sabotage: str, *, seeds: int) -> str | None:
    """Which of so many seeds noticed a sabotage, and by which invariants; None if none did."""
    for seed in range(seeds):
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
                seeds = CAUGHT[each].within if each in CAUGHT else SEEDS
                found = search(player, broken(each), seeds=seeds)
                missed += found is None and each in CAUGHT
                sys.stdout.write(f"{each.__name__}: {found or f'not seen in {seeds} seeds'}\n")
                sys.stdout.flush()
    finally:
        player.close()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
