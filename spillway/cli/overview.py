"""`spillway overview`: everything that can be seen of a deployment, at once."""

from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console

from config.schema import TIERS, load
from spillway.cli.aws import EndpointUrl, only_where_meant
from spillway.cli.deployment import CONFIG, Config
from spillway.cli.looking import Looking, ringing
from spillway.cli.region import ControlUrl
from spillway.cli.terminal import Code, Json, answer, table


def overview(
    *,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    control_url: ControlUrl = None,
    as_json: Json = False,
) -> None:
    """Show regions, queues, slots, instances, releases, and the alarms that ring.

    What beat tells of a region is up to five seconds old. Exits with 3 if something could not be
    seen, and says what.
    """
    only_where_meant(endpoint_url, control_url)
    looking = Looking(load(config), endpoint_url=endpoint_url, control_url=control_url)
    try:
        document = looking.once()
    finally:
        looking.close()
    answer(document, as_json=as_json, render=lambda console: _show(console, document))
    if document["problems"]:
        raise typer.Exit(Code.UNREACHABLE)


def _show(console: Console, document: dict[str, Any]) -> None:
    columns = ("region", "state", "model", "instances", "slots", *TIERS, "unfinished")
    console.print(table(None, columns, list(_rows(document)), numbers=len(TIERS) + 1))
    for release in document["releases"]:
        trial = f", {release['candidate']} on trial" if release.get("candidate") else ""
        back = "".join(f", {name} taken back" for name in release.get("quarantined", ()))
        console.print(f"{release['model']}: {release['live'] or 'nothing yet'} live{trial}{back}")
    rings = [
        (each["region"], each["kind"], each["name"], each["description"].partition(". ")[0])
        for each in ringing(document["regions"])
    ]
    if rings:
        console.print(table("ringing", ("region", "kind", "alarm", "what"), rings))
    for problem in document["problems"]:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)


def _rows(document: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for region in document["regions"]:
        killed = (region["faults"] or {}).get("killed")
        state = "killed" if killed else region["state"] or "no lease yet"
        for model in region["models"]:
            slots = model["slots"]
            yield (
                region["region"],
                state,
                model["model"],
                ", ".join(f"{each['version']} {each['serving']}" for each in model["instances"]),
                f"{slots['in_use']} / {slots['capacity']}",
                *(model["waiting"][tier] for tier in TIERS),
                model["unfinished"],
            )
