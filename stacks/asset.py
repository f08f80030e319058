"""The two archives that every function runs on: the code with what it reads, and the layer."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aws_cdk import App

from config.schema import Deployment

_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "policy.json", "openapi.json")


@contextmanager
def staged_code(
    app: App, deployment: Deployment, *, source: Path, description: Path
) -> Iterator[Path]:
    """
    One directory for all functions: `lambdas/` as it is here, with what they read in it.

    That is the resolved policy and the API's description. The policy travels as a file because a
    function's environment holds only 4 KB. The asset's name is the hash of its content, so an
    unchanged function is not deployed again.

    Args:
        app: The application; its context `lambdas` names another source.
        deployment: Decides the policy.
        source: The directory `lambdas`.
        description: The OpenAPI document that the API serves.

    Yields:
        The directory, which the assembly has copied when the stacks are put together.
    """
    source = Path(app.node.try_get_context("lambdas") or source)
    told = json.dumps(json.loads(description.read_text(encoding="utf-8")), separators=(",", ":"))
    policy = json.dumps(deployment.policy().to_json(), indent=1, sort_keys=True)
    with TemporaryDirectory(prefix="spillway-") as directory:
        staged = Path(directory, "functions")
        shutil.copytree(source, staged / "lambdas", ignore=_NOT_CODE)
        (staged / "lambdas" / "policy.json").write_text(policy + "\n", encoding="utf-8")
        (staged / "lambdas" / "openapi.json").write_text(told + "\n", encoding="utf-8")
        yield staged


def built_layer(app: App, *, default: Path) -> Path:
    """
    The functions' dependencies, built beforehand because synthesis must not reach the network.

    Args:
        app: The application; its context `layer` names another directory.
        default: Where the build leaves the layer.

    Returns:
        A directory that contains `python/`.

    Raises:
        FileNotFoundError: The layer was not built yet.
    """
    layer = Path(app.node.try_get_context("layer") or default)
    if not layer.is_dir():
        raise FileNotFoundError(
            f"{layer} does not exist: `make setup` builds the functions' dependencies there, "
            "and so do `make synth` and `make deploy`"
        )
    return layer
