"""One deployment of one region and one model, new for every test."""

from pathlib import Path

import pytest

from spillway.testing import stacks

__all__ = ["stacks"]


@pytest.fixture(scope="session")
def spillway_config() -> Path:
    """What the tests here deploy."""
    return Path(__file__).with_name("one_region.yaml")
