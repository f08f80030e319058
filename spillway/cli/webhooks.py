"""What operators do with webhooks: secrets that sign them, and those that were given up."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from lambdas.domain.notices import Notice
from spillway.cli.aws import EndpointUrl, Replica, aws_errors
from spillway.cli.deployment import WrittenConfig, named, said
from spillway.cli.operating import (
    at_directory,
    check_known,
    show_once,
    to_change,
    unknown_tenant,
)
from spillway.cli.terminal import CommandError, Json, answer, table, usage
from spillway.dead_webhooks import DeadWebhook, DeadWebhooks
from spillway.directory import Directory
from spillway.signing import SigningError, Signings

OVERLAP_HOURS: Final = 24
OVERLAP_HOURS_MAX: Final = 168
"""A secret that signs for longer is not being replaced."""
NO_URL: Final = "none"
SHOWN_MAX: Final = 100
"""Dead letters that are listed one by one; all of them are counted."""

app = typer.Typer(no_args_is_help=True, help="Webhooks that were given up (operators).")


def sign(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", show_default=False)],
    *,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make a new secret; both sign for a while.")
    ] = False,
    overlap_hours: Annotated[
        int,
        typer.Option(min=0, max=OVERLAP_HOURS_MAX, help="With --rotate: how long; 0 if it leaked."),
    ] = OVERLAP_HOURS,
    finish: Annotated[
        bool, typer.Option("--finish", help="End a rotation: the former secret is worthless.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="Address for jobs whose clients cannot name one; none takes it away."),
    ] = None,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Make, rotate or finish the secret that signs a tenant's webhooks; without one none are sent.

    A secret is printed here and never again, in the form that Standard Webhooks' libraries take.
    """
    if rotate and finish:
        raise usage("--rotate begins a rotation and --finish ends one: give one of them")
    overlap_s = 3600 * overlap_hours if rotate else None

    def act(directory: Directory) -> tuple[str | None, dict[str, Any]]:
        if directory.tenant(tenant) is None:
            raise unknown_tenant(tenant)
        secret = _changed(directory.signings, tenant, overlap_s=overlap_s, finish=finish, url=url)
        return secret, directory.signings.of(tenant) or {}

    deployment = to_change(config, endpoint_url)
    try:
        secret, item = at_directory(deployment, endpoint_url, act)
    except SigningError as error:
        raise CommandError(str(error), code=error.code) from error
    except ValueError as error:
        raise usage(str(error)) from error
    document: dict[str, Any] = {"tenant": tenant} | ({"webhook_secret": secret} if secret else {})
    document |= webhook_document(item) | named(deployment)

    def render(console: Console) -> None:
        if secret:
            show_once(console, f"tenant {tenant} of {deployment.name}, webhook secret", secret)
            return
        line = said(deployment, f"webhooks of tenant {tenant}: {webhook_line(document)}")
        console.print(line, highlight=False, soft_wrap=True)

    answer(document, as_json=as_json, render=render)


def _changed(
    signings: Signings, tenant: str, *, overlap_s: int | None, finish: bool, url: str | None
) -> str | None:
    """Do what the command was asked for; the new secret, if one was made."""
    secret = None
    if overlap_s is not None:
        secret = signings.rotate(tenant, overlap_s=overlap_s)
    elif finish:
        signings.finish(tenant)
    elif url != NO_URL:
        secret = signings.make(tenant)
        if secret is None and url is None:
            raise has_secret(tenant)
    if url is not None:
        signings.direct(tenant, None if url == NO_URL else url)
    return secret


def webhook_document(item: dict[str, Any] | None) -> dict[str, Any]:
    """What may be shown of a tenant's webhooks: never a secret."""
    item = item or {}
    until_ms = int(item.get("previous_until_ms", 0)) if "previous" in item else 0
    return {
        "webhooks": bool(item),
        "webhook_url": item.get("address"),
        "former_secret_until_ms": until_ms if until_ms > 1000 * time.time() else None,
    }


def webhook_line(document: dict[str, Any]) -> str | None:
    """The same, for a table."""
    if not document["webhooks"]:
        return None
    parts = ["signed"]
    until_ms = document["former_secret_until_ms"]
    if until_ms:
        until = datetime.fromtimestamp(until_ms / 1000, UTC).isoformat(timespec="seconds")
        parts.append(f"by two secrets until {until}")
    if document["webhook_url"]:
        parts.append("with an address of its own")
    return ", ".join(parts)


def has_secret(tenant: str) -> CommandError:
    """The tenant has one, which nobody can read again."""
    return CommandError(
        f"tenant {tenant} has a webhook secret, which cannot be shown again; "
        f"`spillway tenant webhook {tenant} --rotate` replaces it",
        code="webhook_secret_exists",
    )


@app.command("redeliver")
def redeliver(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    job: Annotated[str | None, typer.Option(help="Only this job's.")] = None,
    region: Annotated[str | None, typer.Option(help="Only this region's.")] = None,
    only_look: Annotated[
        bool, typer.Option("--list", help="Show what there is, and send nothing.")
    ] = False,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Have webhooks told again that were given up after a day of tries, with the same ids.

    What was looked at and not sent is hidden from the next look for two minutes.
    """
    deployment = to_change(config, endpoint_url)
    if region is not None:
        check_known("region", [region], deployment.regions)

    def wanted(notice: Notice) -> bool:
        whose = notice.letter.tenant if notice.letter else None
        return (job is None or notice.job == job) and (tenant is None or whose == tenant)

    found: list[DeadWebhook] = []
    for each in deployment.regions if region is None else [region]:
        there = Replica(each, deployment.names.ledger, endpoint_url)
        with aws_errors(each, there.name, code="no_ledger"):
            dead = DeadWebhooks(there.service("sqs"), there.client(), deployment.names, each)
            found += dead.look(wanted, again=not only_look)
    sent = sum(letter.sent for letter in found)
    document: dict[str, Any] = {
        "found": len(found),
        "sent": sent,
        "webhooks": [asdict(letter) for letter in found[:SHOWN_MAX]],
    }

    def render(console: Console) -> None:
        rows = [
            (each.region, each.job, each.event, each.tenant, "sent" if each.sent else "")
            for each in found[:SHOWN_MAX]
        ]
        if rows:
            console.print(table(None, ("region", "job", "event", "tenant", ""), rows))
        line = said(deployment, f"{len(found)} dead letters of webhooks, {sent} sent again")
        console.print(line, highlight=False, soft_wrap=True)

    answer(document | named(deployment), as_json=as_json, render=render)
