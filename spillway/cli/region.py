"""What operators do with whole regions: drain one, and rehearse its loss on this machine.

`drain`, and `restore` of a drained region, write the region's lease with boto3 and work alike on
AWS and on the twin. The faults exist on the twin only, and go through its control port.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.exceptions import HTTPClientError
from rich.console import Console

from config.schema import Deployment, load
from spillway.cli.aws import EndpointUrl, aws_errors
from spillway.cli.terminal import Code, CommandError, Json, answer, table, usage
from spillway.leases import LOST, SERVING, LeaseError, Leases

CONFIG = Path("config/dev.yaml")
CONTROL_TIMEOUT_S = 10.0
FACTOR = 10.0

app = typer.Typer(no_args_is_help=True, help="Drain a region, or rehearse its loss (operators).")

Region = Annotated[str, typer.Argument(metavar="REGION", show_default=False)]
Config = Annotated[Path, typer.Option(help="The deployment whose region it is.")]
ControlUrl = Annotated[
    str | None,
    typer.Option(
        envvar="SPILLWAY_CONTROL_URL",
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
    """Show each region's state, the jobs that it still owns, and on the twin its faults."""
    deployment = load(config)
    faults = _ask(control_url, "GET", "")["regions"] if control_url else {}

    def look(leases: Leases) -> list[dict[str, Any]]:
        return [
            {
                "region": region,
                "state": leases.state(region),
                "unfinished": sum(leases.unfinished(region, name) for name in deployment.models),
                **faults.get(region, {}),
            }
            for region in deployment.regions
        ]

    regions = _at_ledger(deployment, deployment.regions[-1], endpoint_url, look)
    rows = [
        (each["region"], each["state"] or "no lease yet", _wrong(each), each["unfinished"])
        for each in regions
    ]
    answer(
        {"regions": regions},
        as_json=as_json,
        render=lambda console: console.print(
            table(None, ("region", "state", "faults", "unfinished jobs"), rows, numbers=1)
        ),
    )


def _wrong(condition: dict[str, Any]) -> str:
    found = ["killed"] if condition.get("killed") else []
    found += [f"isolated from {side}" for side in condition.get("isolated_from", ())]
    factor = condition.get("slow_factor", 1.0)
    found += [f"{factor:g} times slower"] if factor != 1.0 else []
    return "\n".join(found)


@app.command("kill")
def kill(region: Region, *, control_url: ControlUrl = None, as_json: Json = False) -> None:
    """Stop everything in a region of the twin; what is stored there stays."""
    document = _act(control_url, region, "kill", {})
    _tell(document, f"{region} is dead; `spillway region restore {region}` brings it back", as_json)


@app.command("isolate")
def isolate(
    region: Region,
    *,
    from_: Annotated[Side, typer.Option("--from", help="What it is cut off from.")] = Side.GLOBAL,
    control_url: ControlUrl = None,
    as_json: Json = False,
) -> None:
    """Cut a region of the twin off from the global tables only, or from the clients only."""
    document = _act(control_url, region, "isolate", {"from": from_.value})
    what = "the global tables" if from_ is Side.GLOBAL else "its clients"
    _tell(document, f"{region} is cut off from {what}", as_json)


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
    document = _act(control_url, region, "slow", {"factor": factor})
    _tell(document, f"calls in and to {region} take {factor:g} times their usual time", as_json)


@app.command("drain")
def drain(
    region: Region,
    *,
    last: Annotated[bool, typer.Option("--last", help="Even if no other region serves.")] = False,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Take a region out of service, politely, on AWS or on the twin.

    It accepts nothing for itself and starts nothing from its next beat on, health checks take it
    out of DNS, and its peers take over what waits there. What runs there ends there.
    """
    deployment = load(config)
    _known(deployment, region)
    state = _at_ledger(
        deployment, region, endpoint_url, lambda leases: leases.drain(region, last=last)
    )
    text = f"{region} is drained: it takes no jobs, and its peers take over what waits there"
    if state == LOST:
        text = f"{region} is lost, and its jobs are being moved anyway; it will come back drained"
    document = {"region": region, "state": state}
    _tell(document, f"{text}; `spillway region restore {region}` ends it", as_json)


@app.command("restore")
def restore(
    region: Region,
    *,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    control_url: ControlUrl = None,
    as_json: Json = False,
) -> None:
    """Let a drained region serve again; on the twin, also end kill, isolate and slow.

    A region that was lost needs no command on AWS: it takes a new lease by itself.
    """
    deployment = load(config)
    document: dict[str, Any] = {"region": region}
    if control_url:
        document = _act(control_url, region, "restore", {})
        if endpoint_url is None or region not in deployment.regions:
            # Without the twin's endpoint the ledger would be that of an AWS account.
            _tell(document, f"{region} is back", as_json)
            return
    _known(deployment, region)
    state = _at_ledger(deployment, region, endpoint_url, lambda leases: leases.serve(region))
    if state != SERVING and not control_url:
        raise _not_serving(region, state)
    text = f"{region} serves" if state == SERVING else f"{region} is back; its lease will follow"
    _tell({**document, "state": state}, text, as_json)


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
    act: Callable[[Leases], Any],
) -> Any:
    """Do something through a replica of the ledger: first those outside of the sick region."""
    import boto3  # noqa: PLC0415 a third of a second that other commands need not wait
    from botocore.config import Config as Settings  # noqa: PLC0415

    settings = Settings(
        retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=2, read_timeout=5
    )
    ledger = deployment.names.ledger
    replicas = sorted(deployment.regions, key=lambda other: other == region)
    for replica in replicas:
        # Not boto3's own default session, which remembers the credentials that it saw first.
        client = boto3.Session().client(
            "dynamodb", region_name=replica, endpoint_url=endpoint_url or None, config=settings
        )
        try:
            with aws_errors(replica, ledger, code="no_ledger"):
                return act(Leases(client, ledger, deployment.regions))
        except LeaseError as error:
            raise CommandError(str(error), code=error.code) from error
        except CommandError as error:
            gone = isinstance(error.__cause__, AwsConnectionError | HTTPClientError)
            if not gone or replica == replicas[-1]:
                raise
    raise AssertionError("a deployment has regions")


def _act(
    control_url: str | None, region: str, action: str, wanted: dict[str, Any]
) -> dict[str, Any]:
    """Do something to a region of the twin; what is wrong with it afterwards."""
    if not control_url:
        raise usage(
            f"{action} exists on the twin only: start `spillway local`, and set "
            "SPILLWAY_CONTROL_URL or give --control-url as it prints them"
        )
    document = _ask(control_url, "POST", f"/{region}/{action}", json=wanted)
    return {"region": region, **document["regions"][region]}


def _ask(control_url: str, method: str, path: str, **options: Any) -> dict[str, Any]:
    try:
        reply = httpx.request(
            method,
            f"{control_url.rstrip('/')}/regions{path}",
            timeout=CONTROL_TIMEOUT_S,
            trust_env=False,
            **options,
        )
        document: dict[str, Any] = reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise CommandError(
            f"no `spillway local` answers at {control_url}: {error}",
            exit_code=Code.UNREACHABLE,
            code="unreachable",
        ) from error
    if reply.status_code != httpx.codes.OK:
        problem = document.get("error", {})
        raise usage(str(problem.get("message", f"{control_url} answers {reply.status_code}")))
    return document


def _tell(document: dict[str, Any], text: str, as_json: bool) -> None:  # noqa: FBT001
    answer(
        document,
        as_json=as_json,
        render=lambda console: _print(console, text),
    )


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
