"""The simulation sees: every guard that is broken on purpose is missed within some seeds."""

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from spillway.simulation.process import Order, Player
from tests.simulation.sabotage import CAUGHT, UNSEEN, broken, sentence

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulation.md"


@pytest.mark.parametrize(
    "sabotage",
    [each for each, caught in CAUGHT.items() if caught.always],
    ids=lambda function: function.__name__,
)
def test_a_broken_guard_is_noticed(player: Player, sabotage: Callable[[], None]) -> None:
    """A simulation that holds whatever one breaks proves nothing.

    The seed that noticed it last is played first: other code makes other histories of a seed.
    """
    caught = CAUGHT[sabotage]
    for seed in chain(range(caught.first, caught.within), range(caught.first)):
        result = player.play(Order(seed=seed, sabotage=broken(sabotage)))
        if result.violations:
            return
        # A defect of the functions is none that an invariant noticed.
        assert not result.error, result.error
    pytest.fail(f"nothing was noticed in {caught.within} seeds")


def test_the_document_lists_what_is_broken() -> None:
    """Readers judge the simulation by these tables."""
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert rows == [
        (each.__name__, sentence(each), str(caught.first), str(caught.within))
        for each, caught in CAUGHT.items()
    ]
    unseen = re.findall(r"^\| `(\w+)` \| ([^|]+?) \| ([^|]+?) \|$", text, re.MULTILINE)
    assert unseen == [(each.__name__, sentence(each), why) for each, why in UNSEEN.items()]
