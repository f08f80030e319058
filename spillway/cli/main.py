"""The command line: what there is, in the order in which people meet it."""

from importlib.metadata import version
from typing import Annotated

import typer

from spillway.cli import (
    cost,
    demo,
    jobs,
    keys,
    local,
    model,
    overview,
    region,
    release,
    replay,
    simulate,
    tenants,
    usage,
    webhooks,
)
from spillway.cli.terminal import EXIT_CODES, Commands

app = typer.Typer(
    cls=Commands,
    help="Serve your own GPU models through one API, on AWS or on this machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"spillway {version('spillway')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take what stands before the command."""


app.command()(demo.demo)
app.command()(local.local)
app.command()(jobs.submit)
app.command()(jobs.status)
app.command()(jobs.cancel)
app.command()(jobs.models)
app.command()(jobs.capacity)
app.command()(overview.overview)
app.add_typer(tenants.app, name="tenant")
app.add_typer(keys.app, name="key")
app.add_typer(webhooks.app, name="webhook")
app.add_typer(region.app, name="region")
app.add_typer(release.app, name="release")
app.add_typer(model.app, name="model")
app.command()(replay.replay)
app.command()(simulate.simulate)
app.command()(cost.cost)
app.command()(usage.usage)

if __name__ == "__main__":
    app()
