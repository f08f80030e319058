"""What operators do with whole regions: drain one, and rehearse its loss on this machine.

`drain`, and `restore` of a drained region, write the region's lease with boto3 and work alike on
AWS and on the twin. The faults exist on the twin only, and go through its control port.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from config.schema import Deployment, load
from spillway.cli.aws import CONTROL_VARIABLE, EndpointUrl, at_a_replica, only_where_meant
from spillway.cli.deployment import CONFIG, Config, WrittenConfig, named, said, to_write
from spillway.cli.faults import act, faults_of
from spillway.cli.terminal import Code, CommandError, Json, answer, table, usage
from spillway.leases import LOST, SERVING, LeaseError, Leases

Done = TypeVar("Done")

UNKNOWN = "unknown"
"""The state of a region while no copy of the ledger answers."""
UNCHANGED = "nothing changed"
FACTOR = 10.0

app = typer.Typer(no_args_is_help=True, help="Drain a region, or rehearse its loss (operators).")

Region = Annotated[str, typer.Argument(metavar="REGION", show_default=False)]
ControlUrl = Annotated[
    str | None,
    typer.Option(
        envvar=CONTROL_VARIABLE,
        help="The control port of a running `spillway local`, which prints it.",
    ),
]


class Side(StrEnum):
    """What a region can be cut off from."""

    GLOBAL = "global"
    CLIENTS = "clients"


@app.command("list")
def list_regions(
    *,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    control_url: ControlUrl = None,
    as_json: Json = False,
) -> None:
    """Show each region's state, the jobs that it still owns, and on the twin its faults.

    Without an answer from any region the states are unknown, and the exit code is 3.
    """
    deployment = load(config)
    faults = faults_of(control_url) if control_url else {}

    def look(leases: Leases) -> list[dict[str, Any]]:
        return [
            {
                "region": region,
                "state": leases.state(region),
                "unfinished": sum(leases.unfinished(region, name) for name in deployment.models),
            }
            for region in deployment.regions
        ]

    unanswered: CommandError | None = None
    try:
        regions = _at_ledger(
            deployment, deployment.regions[-1], endpoint_url, look, control_url=control_url
        )
    except CommandError as error:
        if error.exit_code != Code.UNREACHABLE:
            raise
        unanswered = error
        regions = [
            {"region": region, "state": UNKNOWN, "unfinished": None}
            for region in deployment.regions
        ]
    document: dict[str, Any] = {
        "regions": [each | faults.get(each["region"], {}) for each in regions]
    }
    if unanswered is not None:
        document["error"] = {"message": str(unanswered), "code": unanswered.code}
    answer(document, as_json=as_json, render=lambda console: _show(console, document["regions"]))
    if unanswered is not None:
        if as_json:
            raise typer.Exit(unanswered.exit_code)
        raise unanswered


def _show(console: Console, regions: list[dict[str, Any]]) -> None:
    rows = [
        (each["region"], each["state"] or "no lease yet", _wrong(each), each["unfinished"])
        for each in regions
    ]
    console.print(table(None, ("region", "state", "faults", "unfinished jobs"), rows, numbers=1))


def _wrong(condition: dict[str, Any]) -> str:
    found = ["killed"] if condition.get("killed") else []
    found += [f"isolated from {side}" for side in condition.get("isolated_from", ())]
    factor = condition.get("slow_factor", 1.0)
    found += [f"{factor:g} times slower"] if factor != 1.0 else []
    return "\n".join(found)


@app.command("kill")
def kill(region: Region, *, control_url: ControlUrl = None, as_json: Json = False) -> None:
    """Stop everything in a region of the twin; what is stored there stays."""
    document = act(control_url, region, "kill", {})
    is_dead = "is dead" if document["changed"] else f"was dead already: {UNCHANGED}"
    text = f"{region} {is_dead}; `spillway region restore {region}` brings it back"
    _tell(document, text, as_json)


@app.command("isolate")
def isolate(
    region: Region,
    *,
    from_: Annotated[Side, typer.Option("--from", help="What it is cut off from.")] = Side.GLOBAL,
    control_url: ControlUrl = None,
    as_json: Json = False,
) -> None:
    """Cut a region of the twin off from the global tables only, or from the clients only."""
    document = act(control_url, region, "isolate", {"from": from_.value})
    what = "the global tables" if from_ is Side.GLOBAL else "its clients"
    text = f"is cut off from {what}"
    if not document["changed"]:
        text = f"was cut off from {what} already: {UNCHANGED}"
    _tell(document, f"{region} {text}", as_json)


@app.command("slow")
def slow(
    region: Region,
    *,
    factor: Annotated[
        float, typer.Option(min=1.0, help="How many times their usual time calls take.")
    ] = FACTOR,
    control_url: ControlUrl = None,
    as_json: Json = False,
) -> None:
    """Let AWS calls that are made in or to a region of the twin take longer."""
    document = act(control_url, region, "slow", {"factor": factor})
    text = f"calls in and to {region} take {factor:g} times their usual time"
    if not document["changed"]:
        text += f" already: {UNCHANGED}"
    _tell(document, text, as_json)


@app.command("drain")
def drain(
    region: Region,
    *,
    last: Annotated[bool, typer.Option("--last", help="Even if no other region serves.")] = False,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Take a region out of service, politely, on AWS or on the twin.

    It accepts nothing for itself and starts nothing from its next beat on, health checks take it
    out of DNS, and its peers take over what waits there. What runs there ends there.
    """
    only_where_meant(endpoint_url)
    deployment = to_write(config, endpoint_url)
    _known(deployment, region)
    before, state = _at_ledger(
        deployment,
        region,
        endpoint_url,
        lambda leases: (leases.state(region), leases.drain(region, last=last)),
    )
    changed = before != state or state == LOST
    text = f"{region} is drained: it takes no jobs, and its peers take over what waits there"
    if state == LOST:
        text = f"{region} is lost, and its jobs are being moved anyway; it will come back drained"
    elif not changed:
        text = f"{region} was drained already: {UNCHANGED}"
    document = {"region": region, "state": state, "changed": changed} | named(deployment)
    text = said(deployment, f"{text}; `spillway region restore {region}` ends it")
    _tell(document, text, as_json)


@app.command("restore")
def restore(
    region: Region,
    *,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    control_url: ControlUrl = None,
    as_json: Json = False,
) -> None:
    """Let a drained region serve again; on the twin, also end kill, isolate and slow.

    A region that was lost needs no command on AWS: it takes a new lease by itself.
    """
    # The control port is a twin's, on whose machine nothing can be broken.
    deployment = to_write(config, endpoint_url) if not control_url else load(config or CONFIG)
    document: dict[str, Any] = {"region": region, "changed": False}
    if control_url:
        document = act(control_url, region, "restore", {})
        if not endpoint_url or region not in deployment.regions:
            # Without the twin's endpoint the ledger would be that of an AWS account.
            text = "is back" if document["changed"] else f"had no fault: {UNCHANGED}"
            if not endpoint_url:
                text += "; for a drain, too, set AWS_ENDPOINT_URL"
            _tell(document, f"{region} {text}", as_json)
            return
    _known(deployment, region)
    before, state = _at_ledger(
        deployment,
        region,
        endpoint_url,
        lambda leases: (leases.state(region), leases.serve(region)),
    )
    if state != SERVING and not control_url:
        raise _not_serving(region, state)
    document |= {"state": state, "changed": document["changed"] or before != state}
    text = f"{region} serves" if state == SERVING else f"{region} is back; its lease will follow"
    if not document["changed"] and state == SERVING:
        text = f"{region} serves, as it did: {UNCHANGED}"
    _tell(document | named(deployment), said(deployment, text), as_json)


def _not_serving(region: str, state: str | None) -> CommandError:
    if state == LOST:
        return CommandError(
            f"{region} is lost, not drained: it takes a new lease by itself once its functions "
            "run and reach the ledger",
            code="region_lost",
        )
    return CommandError(f"{region} has no lease: its beat never ran", code="no_lease")


def _known(deployment: Deployment, region: str) -> None:
    if region not in deployment.regions:
        raise usage(f"there is no region {region}; there is {', '.join(deployment.regions)}")


def _at_ledger(
    deployment: Deployment,
    region: str,
    endpoint_url: str | None,
    act: Callable[[Leases], Done],
    *,
    control_url: str | None = None,
) -> Done:
    """Do something through a replica of the ledger: first those outside of the sick region."""
    only_where_meant(endpoint_url, control_url)
    ledger = deployment.names.ledger
    try:
        return at_a_replica(
            ledger,
            sorted(deployment.regions, key=lambda other: other == region),
            endpoint_url,
            lambda replica: act(Leases(replica.client(), ledger, deployment.regions)),
            missing_code="no_ledger",
        )
    except LeaseError as error:
        raise CommandError(str(error), code=error.code) from error


def _tell(document: dict[str, Any], text: str, as_json: bool) -> None:  # noqa: FBT001
    answer(
        document,
        as_json=as_json,
        render=lambda console: _print(console, text),
    )


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
