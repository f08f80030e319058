"""Which deployment an operator's command is about, and that its answer says so.

Reading goes to `config/dev.yaml` unless something else is named. Writing asks: at night the wrong
deployment is one forgotten option away.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from config.schema import Deployment, load
from spillway.cli.terminal import usage

VARIABLE: Final = "SPILLWAY_CONFIG"
CONFIG: Final = Path("config/dev.yaml")
HERE: Final = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])([:/]|$)")

Config = Annotated[Path, typer.Option(envvar=VARIABLE, help="The deployment's configuration.")]
WrittenConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar=VARIABLE,
        help="The deployment's configuration; must be given on AWS.",
        show_default=False,
    ),
]


def to_write(config: Path | None, endpoint_url: str | None) -> Deployment:
    """The deployment that a command changes.

    Args:
        config: Which, if somebody said so.
        endpoint_url: Where AWS is. On this machine, where a twin runs, nothing can be broken, and
            what is read without an option may be changed without one.

    Raises:
        CommandError: Nobody said which.
        ConfigError: The configuration breaks the schema.
    """
    if config is None and not HERE.match(endpoint_url or ""):
        raise usage(
            f"which deployment? This changes one: give --config FILE, like {CONFIG}, or export "
            f"{VARIABLE}"
        )
    return load(config or CONFIG)


def named(deployment: Deployment) -> dict[str, Any]:
    """What an answer for programs says of the deployment that it is about."""
    return {"deployment": deployment.name, "regions": list(deployment.regions)}


def said(deployment: Deployment, text: str) -> str:
    """What an answer for people says first: the deployment, and its regions."""
    return f"{deployment.name} ({', '.join(deployment.regions)}): {text}"
