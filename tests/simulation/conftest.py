"""One process that plays runs, for all tests of a worker."""

from collections.abc import Iterator

import pytest

from spillway.simulation.process import Player


@pytest.fixture(scope="session")
def player() -> Iterator[Player]:
    """Boots while the first test that needs it waits."""
    playing = Player()
    yield playing
    playing.close()
