"""`spillway cost`: what a configuration costs, before anybody deploys it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from config.schema import load
from spillway.assembly import synthesize
from spillway.cli.terminal import Json, answer, table
from spillway.cost import Cost, Counts, Inventory, Prices


def cost(
    *,
    config: Annotated[Path, typer.Option(help="The deployment.")] = Path("config/dev.yaml"),
    assembly: Annotated[
        Path | None, typer.Option(help="Synthesized templates; made from --config without it.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Another price table than spillway/prices.yaml.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hourly cost, idle and at most, and per million jobs by service."""
    deployment = load(config)
    table_of_prices = Prices.load(prices) if prices else Prices.load()
    inventory = Inventory.read(assembly or synthesize(config), deployment.name)
    document = Cost(deployment, inventory, table_of_prices, Counts.load()).document()
    answer(document, as_json=as_json, render=lambda console: _render(document, console))


def _render(document: dict[str, Any], console: Console) -> None:
    hourly, monthly = document["hourly"], document["monthly"]
    console.print(
        f"{document['deployment']}: ${hourly['idle']:.2f} an hour idle, "
        f"${hourly['maximum']:.2f} at most "
        f"(${monthly['idle']:,.0f} and ${monthly['maximum']:,.0f} a month), without traffic"
    )
    rows = [
        (part["service"], part["what"], f"{part['idle']:.4f}", f"{part['maximum']:.4f}")
        for part in hourly["parts"]
    ]
    console.print(table("dollars an hour", ("service", "what", "idle", "maximum"), rows, numbers=2))
    jobs = document["per_million_jobs"]
    services = sorted({name for profile in jobs.values() for name in profile["services"]})
    lines = [
        *((name, *_row(jobs, "services", name)) for name in services),
        ("together", *(f"{profile['total']:.2f}" for profile in jobs.values())),
        *((f"apart: {name}", *_row(jobs, "apart", name)) for name in jobs["idle"]["apart"]),
    ]
    console.print(table("dollars per million jobs", ("service", *jobs), lines, numbers=len(jobs)))
    prices, counts = document["prices"], document["counts"]
    console.print(f"prices of {prices['dated']} ({prices['file']})", soft_wrap=True)
    console.print(f"calls per job: {counts['basis']} of {counts['dated']}")
    for note in document["notes"]:
        console.print(f"- {note}")


def _row(jobs: dict[str, Any], group: str, name: str) -> list[str]:
    """One line of every profile's dollars."""
    return [f"{profile[group].get(name, 0):.2f}" for profile in jobs.values()]
