"""`spillway replay`: recorded traffic against a deployment, and how long everybody waited."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from config.schema import Deployment, load
from spillway.assembly import synthesize
from spillway.cli.replaying import sentence, shown, summary
from spillway.cli.terminal import (
    Code,
    Json,
    answer,
    exit_code_of,
    held_signals,
    progress_console,
    usage,
)
from spillway.client import RegionalApi
from spillway.replay.plan import REGIONS_DEFAULT, TIERS_DEFAULT, Assignment, Request
from spillway.replay.report import Progress, Report
from spillway.traces import read

Show = Callable[[Progress], object] | None


def replay(  # noqa: PLR0913 a command's options
    trace: Annotated[
        Path,
        typer.Argument(
            help="A .csv or .csv.gz file: arrival_s,input_tokens,output_tokens,model,session.",
            show_default=False,
        ),
    ],
    *,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="On a twin of its own, as fast as it computes.")
    ] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SPILLWAY_URL",
            help="A running service; repeat region=URL for several. Without it and --virtual: "
            "a service on this machine, in real time.",
        ),
    ] = None,
    key: Annotated[str, typer.Option(envvar="SPILLWAY_API_KEY", help="Its API key.")] = "",
    config: Annotated[Path, typer.Option(help="The deployment.")] = Path("config/dev.yaml"),
    tiers: Annotated[
        str, typer.Option(help="Shares of the tiers, drawn row by row.")
    ] = TIERS_DEFAULT,
    regions: Annotated[
        str,
        typer.Option(
            help="Shares of the regions as region=weight,…; a session stays where it is. "
            "'even': all alike."
        ),
    ] = REGIONS_DEFAULT,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model for every row. Without it the row's own if the deployment has it, "
            "else the first one whose times are simulated."
        ),
    ] = None,
    speed: Annotated[float, typer.Option(help="Times faster than recorded.")] = 1.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draws, and of the twin.")] = 0,
    as_json: Json = False,
) -> None:
    """Replay a trace. Exits with 1 if an accepted job was lost, or if none was accepted.

    If none was accepted because nobody answered, the key is wrong, or there was no room, the exit
    code is the one of that: 3, 4 or 5.

    Lost is a job that was accepted (202) and is in no terminal state at the end, or is gone, or
    has a result that is not its own. Waits run from acceptance to the start of the last attempt.
    calls_per_job counts the AWS calls of every function but beat and sweep, which run without
    jobs. Over --url only what a client sees is reported: gpu_hours and calls_per_job are null.
    """
    deployment = load(config)
    plan = Assignment.of(
        deployment, tiers=tiers, regions=regions, model=model, speed=speed, seed=seed
    )
    # Read once before anything starts, so that a damaged line is found at the beginning.
    rows = sum(1 for _ in islice(read(trace), limit))
    if rows == 0:
        raise usage(f"{trace} has no rows")
    requests = plan.requests(islice(read(trace), limit))
    console = progress_console()
    with ExitStack() as stack:
        run = _runner(stack, deployment, config, console, virtual, url, key, seed)
        with shown(console, rows, f"{trace.name}, {rows} requests") as show:
            report = run(requests, show)

    def render(console: Console) -> None:
        console.print(summary(report))
        console.print(sentence(report), highlight=False)
        if not report.accepted:
            codes = ", ".join(f"{code} {count}" for code, count in report.turned_away.items())
            console.print(f"no job was accepted: {codes}", highlight=False, soft_wrap=True)

    answer(report.document(), as_json=as_json, render=render)
    if report.lost:
        raise typer.Exit(Code.FAILED)
    if not report.accepted:
        # All alike as a rule; if not, what most of them got.
        most = max(report.turned_away, key=lambda code: report.turned_away[code], default="")
        raise typer.Exit(exit_code_of(most))


def _runner(
    stack: ExitStack,
    deployment: Deployment,
    config: Path,
    console: Console,
    virtual: bool,  # noqa: FBT001
    url: list[str] | None,
    key: str,
    seed: int,
) -> Callable[[Iterator[Request], Show], Report]:
    """What carries the requests out: a twin, a service of this machine, or a running one."""
    targets_s: dict[str, float] = {
        name: tier.target_wait_s for name, tier in deployment.tiers.items()
    }
    if url and not virtual:
        clients = {
            region: stack.enter_context(RegionalApi(base, key))
            for region, base in _urls(url, deployment).items()
        }
        return _over_http(clients, targets_s)
    with console.status(f"starting {config}"):
        assembly = synthesize(config)
        if virtual:
            from spillway.local import start  # noqa: PLC0415 seconds that others need not wait
            from spillway.replay.virtual import VirtualReplay  # noqa: PLC0415

            twin = stack.enter_context(start(config, virtual=True, seed=seed, assembly=assembly))
            check = stack.enter_context(held_signals())
            return lambda requests, show: VirtualReplay(twin, deployment).run(
                requests, show=show, check=check
            )
        from spillway.service import LocalService  # noqa: PLC0415

        service = stack.enter_context(LocalService(config, assembly=assembly))
    clients = {
        region: stack.enter_context(RegionalApi(base, service.key))
        for region, base in service.urls.items()
    }
    over_http = _over_http(clients, targets_s)

    def run(requests: Iterator[Request], show: Show) -> Report:
        from spillway.local import calls_of_jobs  # noqa: PLC0415

        twin, calls, began_s = service.twin, calls_of_jobs(service.twin, deployment), time.time()
        report = over_http(requests, show)
        report.calls = calls_of_jobs(twin, deployment) - calls
        report.gpu_hours = twin.sagemaker.instance_seconds(began_s, time.time()) / 3600
        return report

    return run


def _over_http(
    clients: Mapping[str, RegionalApi], targets_s: Mapping[str, float]
) -> Callable[[Iterator[Request], Show], Report]:
    from spillway.replay.over_http import HttpReplay  # noqa: PLC0415

    return lambda requests, show: HttpReplay(clients, targets_s).run(requests, show=show)


def _urls(given: list[str], deployment: Deployment) -> dict[str, str]:
    """Base URLs by region: one for all, or one for each."""
    named = dict(each.split("=", 1) for each in given if not each.startswith("http"))
    if not named and len(given) == 1:
        return dict.fromkeys(deployment.regions, given[0])
    if set(named) != set(deployment.regions) or len(named) != len(given):
        regions = ", ".join(f"{region}=URL" for region in deployment.regions)
        raise usage(f"give one --url, or one for each region: {regions}")
    return named
