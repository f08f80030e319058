"""Search for the first seed that notices each sabotage: `python -m tests.simulation.search`.

Names of sabotages may follow; without any, all are searched for, which takes half an hour. What it
prints belongs into `CAUGHT` and docs/simulation.md.
"""

import sys
from typing import Final

from spillway.simulation.process import Order, Player
from tests.simulation.sabotage import CAUGHT, UNSEEN, broken

SEEDS: Final = 150
"""After so many seeds without a violation, a sabotage counts as unseen."""


def search(player: Player, sabotage: str) -> str:
    """What became of one sabotage, in a line."""
    for seed in range(SEEDS):
        result = player.play(Order(seed=seed, sabotage=sabotage))
        if result.violations:
            invariants = sorted({each["invariant"] for each in result.violations})
            return f"seed {seed}: {', '.join(invariants)}"
    return f"not seen in {SEEDS} seeds"


def main() -> None:
    """Search for all sabotages, or for those that are named."""
    player = Player()
    try:
        for each in (*CAUGHT, *UNSEEN):
            if not sys.argv[1:] or each.__name__ in sys.argv[1:]:
                sys.stdout.write(f"{each.__name__}: {search(player, broken(each))}\n")
                sys.stdout.flush()
    finally:
        player.close()


if __name__ == "__main__":
    main()
