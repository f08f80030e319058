"""A deployment's regions without their twin."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine
from moto import mock_aws

from tests.handlers.region import START_S, Region


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    """The deployment of config/dev.yaml, seen from its first region."""
    with mock_aws(), time_machine.travel(START_S, tick=False) as clock:
        here = Region(clock, tmp_path)
        here.create()
        yield here
