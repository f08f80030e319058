"""What must be so before any test module is imported: the first that needs stacks starts Node."""

import os
from collections.abc import Iterator

import pytest

from spillway.twin.speed import faster
from stacks.node import node_binary

# cfn-lint reads every template here; CDK's own validation would take most of the time, and runs in
# the one test that starts app.py as people do. jsii's Node reads this when it starts.
os.environ.setdefault("CDK_VALIDATION", "false")
node_binary()


@pytest.fixture(scope="session", autouse=True)
def _faster() -> Iterator[None]:
    """Tests of single functions ask moto as often as those of whole deployments do."""
    with faster():
        yield
