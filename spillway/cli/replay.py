"""`spillway replay`: recorded traffic against a deployment, and how long everybody waited."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from config.schema import Deployment, load
from spillway.assembly import synthesize
from spillway.cli.replaying import comparison, sentence, shown, summary
from spillway.cli.terminal import (
    Code,
    CommandError,
    Json,
    answer,
    exit_code_of,
    held_signals,
    progress_console,
    usage,
)
from spillway.client import RegionalApi
from spillway.replay.bound import gpu_hours
from spillway.replay.plan import REGIONS_DEFAULT, TIERS_DEFAULT, Assignment, Request
from spillway.replay.report import Progress, Report
from spillway.traces import Row, read

Show = Callable[[Progress], object] | None


class Scaling(StrEnum):
    """What scales the fleets."""

    ALARMS = "alarms"
    SAGEMAKER_DEFAULT = "sagemaker-default"


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
    from_s: Annotated[float, typer.Option(min=0, help="Leave out what came before.")] = 0.0,
    until_s: Annotated[
        float | None, typer.Option(min=0, help="Leave out what came then or later.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows of that.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draws, and of the twin.")] = 0,
    scaling: Annotated[
        list[Scaling] | None,
        typer.Option(
            help="What scales the fleets, with --virtual: the deployment's own alarms, or what "
            "SageMaker documents for asynchronous endpoints. Give both to compare them.",
            show_default="alarms",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="With --virtual: draw arrivals, instances and waits into this .png file.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a trace. Exits with 1 if an accepted job was lost, or if none was accepted.

    If none was accepted because nobody answered, the key is wrong, or there was no room, the exit
    code is the one of that: 3, 4 or 5.

    Lost is a job that was accepted (202) and is in no terminal state at the end, or is gone, or
    has a result that is not its own. Waits run from acceptance to the start of the last attempt;
    with --virtual, until an instance takes it. GPU hours are billed from the request for an
    instance; the bound is what no policy could go below that keeps the first tier's target for
    99 % of its jobs. calls_per_job counts the AWS calls of
    every function but beat and sweep, which run without jobs. Over --url only what a client sees
    is reported: gpu_hours and calls_per_job are null.
    """
    scalings = list(dict.fromkeys(scaling or [Scaling.ALARMS]))
    if (scaling or plot) and not virtual:
        raise usage("--scaling and --plot go with --virtual")
    deployment = load(config)
    plan = Assignment.of(
        deployment, tiers=tiers, regions=regions, model=model, speed=speed, seed=seed
    )
    # Read once before anything starts, so that a damaged line is found at the beginning.
    rows = partial(_rows, trace, from_s, until_s, limit)
    count = sum(1 for _ in rows())
    if count == 0:
        raise usage(f"{trace} has no rows there")
    title, console = f"{trace.name}, {count} requests", progress_console()
    reports: list[Report] = []
    for each in scalings:
        with ExitStack() as stack:
            if virtual:
                run = _on_a_twin(stack, deployment, config, console, seed, each)
            else:
                run = _in_real_time(stack, deployment, config, console, url, key)
            with shown(console, count, f"{title}, {each}" if scaling else title) as show:
                reports.append(run(plan.requests(rows()), show))
    if virtual:
        bound = gpu_hours(plan.requests(rows()), deployment)
        for report in reports:
            report.gpu_hours_bound = bound
    if plot is not None:
        _draw(reports, plot, title=title)
    answer(_document(reports), as_json=as_json, render=lambda console: _render(reports, console))
    _exit(reports)


def _rows(trace: Path, from_s: float, until_s: float | None, limit: int | None) -> Iterator[Row]:
    """The part of a trace that is asked for, its times from the beginning of the part on."""
    last_s = float("inf") if until_s is None else until_s
    part = takewhile(lambda row: row.arrival_s < last_s, read(trace))
    later = (row for row in part if row.arrival_s >= from_s)
    return (replace(row, arrival_s=row.arrival_s - from_s) for row in islice(later, limit))


def _document(reports: list[Report]) -> dict[str, Any]:
    """One report as it is; several under the names of what scaled the fleets."""
    if len(reports) == 1:
        return reports[0].document()
    return {"runs": {report.scaling: report.document() for report in reports}}


def _render(reports: list[Report], console: Console) -> None:
    for report in reports:
        if len(reports) > 1:
            console.print(f"[bold]{report.scaling}[/bold]")
        console.print(summary(report))
        console.print(sentence(report), highlight=False)
        if not report.accepted:
            codes = ", ".join(f"{code} {count}" for code, count in report.turned_away.items())
            console.print(f"no job was accepted: {codes}", highlight=False, soft_wrap=True)
    if len(reports) > 1:
        console.print(comparison(reports))


def _exit(reports: list[Report]) -> None:
    """End with a code other than 0 if something is wrong."""
    if any(report.lost for report in reports):
        raise typer.Exit(Code.FAILED)
    for report in reports:
        if not report.accepted:
            # All alike as a rule; if not, what most of them got.
            most = max(report.turned_away, key=lambda code: report.turned_away[code], default="")
            raise typer.Exit(exit_code_of(most))


def _draw(reports: list[Report], path: Path, *, title: str) -> None:
    from spillway.replay.plot import PlotError, draw  # noqa: PLC0415 seconds, and an extra

    try:
        draw(reports, path, title=title)
    except PlotError as error:
        raise CommandError(str(error)) from error


def _on_a_twin(
    stack: ExitStack,
    deployment: Deployment,
    config: Path,
    console: Console,
    seed: int,
    scaling: Scaling,
) -> Callable[[Iterator[Request], Show], Report]:
    """What carries the requests out on a twin of its own."""
    with console.status(f"starting {config}"):
        from spillway.local import start  # noqa: PLC0415 seconds that others need not wait
        from spillway.replay import sagemaker_default  # noqa: PLC0415
        from spillway.replay.virtual import VirtualReplay  # noqa: PLC0415

        twin = stack.enter_context(start(config, virtual=True, seed=seed))
        check = stack.enter_context(held_signals())
        if scaling is Scaling.SAGEMAKER_DEFAULT:
            sagemaker_default.install(twin, deployment)
    replay = VirtualReplay(twin, deployment, scaling=scaling)
    return lambda requests, show: replay.run(requests, show=show, check=check)


def _in_real_time(
    stack: ExitStack,
    deployment: Deployment,
    config: Path,
    console: Console,
    url: list[str] | None,
    key: str,
) -> Callable[[Iterator[Request], Show], Report]:
    """What carries the requests out: a running service, or one of this machine."""
    targets_s: dict[str, float] = {
        name: tier.target_wait_s for name, tier in deployment.tiers.items()
    }
    if url:
        clients = {
            region: stack.enter_context(RegionalApi(base, key))
            for region, base in _urls(url, deployment).items()
        }
        return _over_http(clients, targets_s)
    with console.status(f"starting {config}"):
        from spillway.service import LocalService  # noqa: PLC0415

        service = stack.enter_context(LocalService(config, assembly=synthesize(config)))
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
