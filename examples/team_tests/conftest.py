"""The deployment that the team's tests run against."""

from pathlib import Path

import pytest

from spillway.testing import stacks

__all__ = ["stacks"]


@pytest.fixture(scope="session")
def spillway_config() -> Path:
    """What `stacks` deploys: the team's own configuration, or a small one like it."""
    return Path(__file__).with_name("deployment.yaml")
