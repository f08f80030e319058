"""What operators do with tenants: who may ask, for what, and with which keys.

These commands speak to the directory table through boto3, so they work alike on AWS and on the
twin's endpoint. A key and a webhook secret are printed once, when they are made; of the key only
its hash is stored.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console

from config.schema import TENANT_RATE_PER_S_MIN, TIERS, load
from lambdas.domain.keys import key_hash, key_id
from lambdas.domain.masking import DROP, MASK, MASKED, NAME_LENGTH_MAX, RULES_MAX
from spillway.cli import keys
from spillway.cli.aws import EndpointUrl
from spillway.cli.deployment import CONFIG, Config, WrittenConfig, named, said
from spillway.cli.operating import (
    CACHED_S_MAX,
    at_directory,
    check_known,
    show_once,
    to_change,
    too_many_keys,
    unknown_tenant,
)
from spillway.cli.terminal import Json, answer, table, usage
from spillway.cli.webhooks import has_secret, sign, webhook_document, webhook_line
from spillway.directory import Directory, add_tenant

LIMITS = ("models", "tiers", "rate_per_s", "in_flight_max", "tokens_per_day", "metadata_mask")

app = typer.Typer(no_args_is_help=True, help="Tenants and their API keys (operators).")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", show_default=False)]


@app.command("add")
def add(  # noqa: PLR0913 a command's options
    tenant: Tenant,
    *,
    key_name: Annotated[str, typer.Option(help="To tell the tenant's keys apart.")] = "default",
    model: Annotated[
        list[str] | None, typer.Option(help="Allowed model; repeat. All without it.")
    ] = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="Allowed tier; repeat. All without it.")
    ] = None,
    rate_per_s: Annotated[
        float | None,
        typer.Option(min=TENANT_RATE_PER_S_MIN, help="Submissions a second, as a mean over 10 s."),
    ] = None,
    in_flight_max: Annotated[int | None, typer.Option(min=1, help="Unfinished jobs.")] = None,
    webhooks: Annotated[
        bool, typer.Option("--webhooks", help="Make a secret that signs its webhooks, too.")
    ] = False,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Add a tenant, or a further key of one; limits that are given replace the old ones.

    The key, and the secret if one is made, are printed here and never again.
    """
    deployment = to_change(config, endpoint_url)
    check_known("model", model, deployment.models)
    check_known("tier", tier, TIERS)
    if not tenant or not set(tenant) <= set(TENANT_CHARACTERS):
        raise usage("a tenant's id is made of a-z, 0-9, - and _")

    def act(directory: Directory) -> tuple[str, str | None]:
        if webhooks and directory.signings.of(tenant) is not None:
            raise has_secret(tenant)
        with too_many_keys(tenant, key_name):
            # Before the limits are changed; what comes after that is decided again.
            directory.check_room(tenant, key_name)
            key = add_tenant(
                directory,
                tenant,
                key_name=key_name,
                in_room=True,
                models=model or None,
                tiers=tier or None,
                rate_per_s=Decimal(str(rate_per_s)) if rate_per_s else None,
                in_flight_max=in_flight_max,
            )
        return key, directory.signings.make(tenant) if webhooks else None

    key, secret = at_directory(deployment, endpoint_url, act)
    document = {"tenant": tenant, "key": key, "key_id": key_id(key_hash(key)), "name": key_name}
    document |= named(deployment)
    if secret:
        document["webhook_secret"] = secret
    whose = f"tenant {tenant} of {deployment.name}"

    def render(console: Console) -> None:
        if secret:
            show_once(console, f"{whose}, webhook secret", secret)
        show_once(console, f"{whose}, key {document['key_id']} ({key_name})", key)

    answer(document, as_json=as_json, render=render)


TENANT_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_"


@app.command("list")
def list_tenants(
    *, config: Config = CONFIG, endpoint_url: EndpointUrl = None, as_json: Json = False
) -> None:
    """List tenants, their limits and the ids of their keys."""

    def look(directory: Directory) -> list[dict[str, Any]]:
        keys, signings = directory.list_keys(), directory.list_signings()
        return [
            _tenant_document(item, keys)
            | webhook_document(signings.get(item["pk"].removeprefix("tenant#")))
            for item in directory.list_tenants()
        ]

    tenants = at_directory(load(config), endpoint_url, look)

    def render(console: Console) -> None:
        rows = [
            (
                each["id"],
                "disabled" if each["disabled"] else "",
                ", ".join(each["models"] or ["all"]),
                ", ".join(each["tiers"] or ["all"]),
                each["rate_per_s"] or "default",
                each["in_flight_max"] or "default",
                each["tokens_per_day"],
                webhook_line(each),
                "\n".join(_key_line(key) for key in each["keys"]),
            )
            for each in tenants
        ]
        columns = (
            "tenant",
            "",
            "models",
            "tiers",
            "per s",
            "in flight",
            "tokens",
            "webhooks",
            "keys",
        )
        console.print(table(None, columns, rows))

    answer({"tenants": tenants}, as_json=as_json, render=render)


@app.command("set")
def set_limits(  # noqa: PLR0913 a command's options
    tenant: Tenant,
    *,
    model: Annotated[list[str] | None, typer.Option(help="Allowed model; repeat.")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="Allowed tier; repeat.")] = None,
    rate_per_s: Annotated[
        float | None,
        typer.Option(min=TENANT_RATE_PER_S_MIN, help="Submissions a second, as a mean over 10 s."),
    ] = None,
    in_flight_max: Annotated[int | None, typer.Option(min=1, help="Unfinished jobs.")] = None,
    tokens_per_day: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens a day (UTC); each region may give an equal part."),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help=f"Field of metadata that is kept as {MASKED}; repeat."),
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Field of metadata that is not kept; repeat.")
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(help=f"Limit to lift, of {', '.join(LIMITS)}; repeat.")
    ] = None,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Change a tenant's limits; what is not given stays. Masking rules replace all there were."""
    deployment = to_change(config, endpoint_url)
    check_known("model", model, deployment.models)
    check_known("tier", tier, TIERS)
    check_known("limit", unset, LIMITS)
    changes = {
        "models": model or None,
        "tiers": tier or None,
        "rate_per_s": Decimal(str(rate_per_s)) if rate_per_s else None,
        "in_flight_max": in_flight_max,
        "tokens_per_day": tokens_per_day,
        "metadata_mask": _rules(mask, drop),
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if both := sorted(set(changes) & set(unset or [])):
        raise usage(f"{', '.join(both)} cannot be both set and lifted")
    if not changes and not unset:
        raise usage("nothing to set: give a limit, or --unset one")

    def act(directory: Directory) -> dict[str, Any]:
        if directory.tenant(tenant) is None:
            raise unknown_tenant(tenant)
        directory.change(tenant, changes, remove=sorted(set(unset or [])))
        return directory.tenant(tenant) or {}

    item = at_directory(deployment, endpoint_url, act)
    document = _limits_document(item) | {"id": tenant, "effective_within_s": CACHED_S_MAX}
    text = said(deployment, f"tenant {tenant} is changed, everywhere within {CACHED_S_MAX} s")
    answer(
        document | named(deployment),
        as_json=as_json,
        render=lambda console: console.print(text, highlight=False, soft_wrap=True),
    )


def _rules(mask: list[str] | None, drop: list[str] | None) -> dict[str, str] | None:
    """What becomes of fields of metadata, by their exact names."""
    rules = dict.fromkeys(mask or [], MASK) | dict.fromkeys(drop or [], DROP)
    if both := sorted(set(mask or []) & set(drop or [])):
        raise usage(f"{', '.join(both)} cannot be both masked and dropped")
    if len(rules) > RULES_MAX or any(not 0 < len(name) <= NAME_LENGTH_MAX for name in rules):
        raise usage(f"{RULES_MAX} fields at most, with names of 1 to {NAME_LENGTH_MAX} characters")
    return rules or None


app.command("webhook")(sign)


@app.command("disable")
def disable(
    tenant: Tenant,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let it in again.")] = False,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Refuse all of a tenant's requests (403); its keys and accepted jobs stay."""

    def act(directory: Directory) -> None:
        if directory.tenant(tenant) is None:
            raise unknown_tenant(tenant)
        directory.change(tenant, {"disabled": not undo})

    deployment = to_change(config, endpoint_url)
    at_directory(deployment, endpoint_url, act)
    document = {"tenant": tenant, "disabled": not undo, "effective_within_s": CACHED_S_MAX}
    state = "let in again" if undo else "disabled"
    text = said(deployment, f"tenant {tenant} is {state}, everywhere within {CACHED_S_MAX} s")
    answer(
        document | named(deployment),
        as_json=as_json,
        render=lambda console: console.print(text, highlight=False, soft_wrap=True),
    )


# A key is a tenant's: `spillway key revoke` under the name that it had first.
app.command("revoke")(keys.revoke)


def _limits_document(item: dict[str, Any]) -> dict[str, Any]:
    rate, most, tokens = (
        item.get(name) for name in ("rate_per_s", "in_flight_max", "tokens_per_day")
    )
    return {
        "models": item.get("models"),
        "tiers": item.get("tiers"),
        "rate_per_s": None if rate is None else float(rate),
        "in_flight_max": None if most is None else int(most),
        "tokens_per_day": None if tokens is None else int(tokens),
        "metadata_mask": item.get("metadata_mask"),
    }


def _tenant_document(item: dict[str, Any], keys: list[dict[str, Any]]) -> dict[str, Any]:
    tenant = item["pk"].removeprefix("tenant#")
    return {
        "id": tenant,
        "disabled": bool(item.get("disabled", False)),
        **_limits_document(item),
        "keys": [
            {
                "id": key_id(key["id"]),
                "name": key["name"],
                "created_ms": int(key["created_ms"]),
                "revoked_ms": int(key["revoked_ms"]) if "revoked_ms" in key else None,
                "expires_ms": int(key["expires_ms"]) if "expires_ms" in key else None,
                "scopes": key.get("scopes"),
                "models": key.get("models"),
                "tiers": key.get("tiers"),
            }
            for key in keys
            if key["tenant"] == tenant
        ],
    }


def _key_line(key: dict[str, Any]) -> str:
    notes = list(key.get("scopes") or [])
    if key.get("expires_ms"):
        notes.append(f"until {datetime.fromtimestamp(int(key['expires_ms']) / 1000, UTC):%F %R}Z")
    if key.get("revoked_ms"):
        notes = ["revoked"]
    return f"{key_id(key['id'])} {key['name']}" + (f" ({', '.join(notes)})" if notes else "")
