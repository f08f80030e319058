"""What operators do with API keys: make them narrower than their tenant, replace them, end them.

A key is printed once, when it is made; only its hash is stored.
"""

import time
from typing import Annotated, Any

import typer
from rich.console import Console

from config.schema import TIERS
from lambdas.domain.access import SCOPES
from lambdas.domain.keys import key_hash, key_id
from spillway.cli.aws import EndpointUrl
from spillway.cli.deployment import WrittenConfig, named
from spillway.cli.operating import (
    at_directory,
    check_known,
    revoke_key,
    show_once,
    to_change,
    too_many_keys,
    unknown_tenant,
)
from spillway.cli.terminal import CommandError, Json, answer
from spillway.directory import Directory, NoKeyError

DAY_MS = 86_400_000
DAYS_MAX = 3_650

app = typer.Typer(no_args_is_help=True, help="API keys of tenants (operators).")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called.")]


@app.command("add")
def add(  # noqa: PLR0913 a command's options
    tenant: Tenant,
    name: Name,
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(SCOPES)}; repeat. All without it.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Of the tenant's models; repeat. All without it.")
    ] = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="Of the tenant's tiers; repeat. All without it.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=DAYS_MAX, help="It expires after. Never without it.")
    ] = None,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Make a key for a tenant, which may do less than the tenant."""
    deployment = to_change(config, endpoint_url)
    check_known("scope", scope, SCOPES)
    check_known("model", model, deployment.models)
    check_known("tier", tier, TIERS)
    expires_ms = None if days is None else int(time.time() * 1000) + days * DAY_MS

    def act(directory: Directory) -> str:
        if directory.tenant(tenant) is None:
            raise unknown_tenant(tenant)
        with too_many_keys(tenant, name):
            return directory.add_key_in_room(
                tenant,
                name,
                scopes=scope or None,
                models=model or None,
                tiers=tier or None,
                expires_ms=expires_ms,
            )

    key = at_directory(deployment, endpoint_url, act)
    document = _document(tenant, name, key) | {"expires_ms": expires_ms} | named(deployment)
    what = f"tenant {tenant} of {deployment.name}, key {document['key_id']} ({name})"
    answer(document, as_json=as_json, render=lambda console: show_once(console, what, key))


@app.command("rotate")
def rotate(
    tenant: Tenant,
    name: Name,
    *,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Make a second key like the newest one of that name; both work until one is revoked."""
    deployment = to_change(config, endpoint_url)

    def act(directory: Directory) -> tuple[str, list[str]]:
        if directory.tenant(tenant) is None:
            raise unknown_tenant(tenant)
        with too_many_keys(tenant, name):
            try:
                return directory.rotate_key(tenant, name)
            except NoKeyError:
                raise CommandError(
                    f"{tenant} has no live key named {name}; `spillway key add` makes one, and "
                    "`spillway tenant list` shows those that there are",
                    code="key_not_found",
                ) from None

    key, replaced = at_directory(deployment, endpoint_url, act)
    document = _document(tenant, name, key) | {"replaces": replaced} | named(deployment)
    what = f"tenant {tenant} of {deployment.name}, key {document['key_id']} ({name})"

    def render(console: Console) -> None:
        show_once(console, what, key)
        console.print(
            f"The old one works until `spillway key revoke {' '.join(replaced)}`.",
            highlight=False,
            soft_wrap=True,
        )

    answer(document, as_json=as_json, render=render)


@app.command("revoke")
def revoke(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY_ID", help="The key's id from `tenant list`, or - to read the key itself."
        ),
    ],
    *,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Make a key worthless (401), for good."""
    revoke_key(key, config=config, endpoint_url=endpoint_url, as_json=as_json)


def _document(tenant: str, name: str, key: str) -> dict[str, Any]:
    return {"tenant": tenant, "key": key, "key_id": key_id(key_hash(key)), "name": name}
