"""The command line: what there is, in the order in which people meet it."""

import typer

from spillway.cli import cost, demo, jobs, local, region, replay, simulate, tenants
from spillway.cli.terminal import EXIT_CODES, Commands

app = typer.Typer(
    cls=Commands,
    help="Serve your own GPU models through one API, on AWS or on this machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(demo.demo)
app.command()(local.local)
app.command()(jobs.submit)
app.command()(jobs.status)
app.command()(jobs.cancel)
app.command()(jobs.models)
app.command()(jobs.capacity)
app.add_typer(tenants.app, name="tenant")
app.add_typer(region.app, name="region")
app.command()(replay.replay)
app.command()(simulate.simulate)
app.command()(cost.cost)

if __name__ == "__main__":
    app()
