"""What tenants used: added up over the regions, each of which counts in its own gate."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from config.schema import Deployment, load
from lambdas.domain.errors import ApiError
from lambdas.domain.usage import Period, counters_of, key_of, read_period, rows, total
from spillway.cli.aws import EndpointUrl, Replica, at_a_replica
from spillway.cli.deployment import CONFIG, Config, named
from spillway.cli.operating import at_directory, check_known, unknown_tenant
from spillway.cli.terminal import Code, CommandError, Json, answer, progress_console, table
from spillway.cli.terminal import usage as wrong_words
from spillway.directory import Directory

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BATCH_GET_MAX: Final = 100
"""Items in one BatchGetItem (DynamoDB API reference)."""
BATCH_TRIES_MAX: Final = 5
ANY_DAY: Final = ""

Counted = list[tuple[str, dict[str, int]]]


def usage(
    tenant: Annotated[
        str | None, typer.Argument(metavar="TENANT", help="All without it.", show_default=False)
    ] = None,
    *,
    since: Annotated[
        str | None, typer.Option("--from", help="First day, like 2026-01-31, in UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day; today without it.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Show what tenants used: jobs, tokens, GPU-seconds, dollars, what users thought (operators).

    92 days at most, the last 30 without options.
    """
    deployment = load(config)
    check_known("model", [model] if model else None, deployment.models)
    try:
        period = read_period(since, until, now_ms=int(time.time() * 1000))
    except ApiError as error:
        raise wrong_words(error.message.replace("from is", "--from is").rstrip(".")) from None
    tenants = _tenants(deployment, endpoint_url, tenant)
    counted: dict[str, Counted] = {name: [] for name in tenants}
    missing = []
    for region in deployment.regions:
        try:
            found = _counted(deployment, region, endpoint_url, tenants, period)
        except CommandError as error:
            if error.code != "unreachable":
                raise
            missing.append(region)
            continue
        for name, day, counters in found:
            counted[name].append((day, counters))
    if len(missing) == len(deployment.regions):
        raise CommandError(
            f"the gates of {', '.join(missing)} do not answer; check the network",
            exit_code=Code.UNREACHABLE,
            code="unreachable",
        )
    _tell(deployment, period, counted, missing, model=model, as_json=as_json)


def _tenants(deployment: Deployment, endpoint_url: str | None, tenant: str | None) -> Sequence[str]:
    """Whom to look at: the one that is named, if it is there, or all."""

    def look(directory: Directory) -> list[str]:
        if tenant is not None:
            if directory.tenant(tenant) is None:
                raise unknown_tenant(tenant)
            return [tenant]
        return [item["pk"].removeprefix("tenant#") for item in directory.list_tenants()]

    return at_directory(deployment, endpoint_url, look)


def _counted(
    deployment: Deployment,
    region: str,
    endpoint_url: str | None,
    tenants: Iterable[str],
    period: Period,
) -> list[tuple[str, str, dict[str, int]]]:
    """Tenant, day and counters, of one region."""
    keys = {key_of(region, tenant, day): tenant for tenant in tenants for day in period.days()}

    def read(replica: Replica) -> list[tuple[str, str, dict[str, int]]]:
        client = replica.client()
        return [
            (keys[item["pk"]["S"]], *counters_of(item)) for item in _items(client, replica, keys)
        ]

    gate = deployment.names.gate
    return at_a_replica(gate, [region], endpoint_url, read, missing_code="no_gate")


def _items(client: "DynamoDBClient", replica: Replica, keys: Iterable[str]) -> Iterator[Any]:
    """The items that there are."""
    left = iter(keys)
    while page := list(islice(left, BATCH_GET_MAX)):
        wanted: Any = [{"pk": {"S": key}} for key in page]
        for _ in range(BATCH_TRIES_MAX):  # unprocessed keys come back under throttling
            reply = client.batch_get_item(RequestItems={replica.name: {"Keys": wanted}})
            yield from reply["Responses"].get(replica.name, [])
            unprocessed: Any = reply.get("UnprocessedKeys", {})
            wanted = unprocessed.get(replica.name, {}).get("Keys", [])
            if not wanted:
                break
        else:
            raise CommandError(
                f"{replica.region} throttles; try again, or ask for fewer days", code="throttled"
            )


def _tell(
    deployment: Deployment,
    period: Period,
    counted: dict[str, Counted],
    missing: list[str],
    *,
    model: str | None,
    as_json: bool,
) -> None:
    first, last = period.first.isoformat(), period.last.isoformat()
    document = {
        "from": first,
        "to": last,
        "tenants": [
            {
                "tenant": tenant,
                "data": rows(found, model=model),
                "total": total(found, model=model),
            }
            for tenant, found in counted.items()
        ],
        "missing_regions": missing,
    }
    if missing:
        progress_console().print(
            f"{', '.join(missing)} did not answer: what was used there is missing",
            highlight=False,
            soft_wrap=True,
        )

    def render(console: Console) -> None:
        lines = [
            (tenant, *_line(each))
            for tenant, found in counted.items()
            for each in rows(((ANY_DAY, counters) for _, counters in found), model=model)
        ]
        columns = ("tenant", "model", "version", "done", "not", "tokens in", "out", "GPU s", "$")
        title = f"{deployment.name}, {first} to {last}"
        console.print(table(title, (*columns, "rated"), lines, numbers=7))

    answer(document | named(deployment), as_json=as_json, render=render)


def _line(used: dict[str, Any]) -> tuple[str, ...]:
    """One version's use over all days."""
    jobs, cost, feedback = used["jobs"], used["cost_usd"], used["feedback"]
    rated = feedback["ratings"]
    return (
        used["model"],
        used["version"] or "none",
        str(jobs["completed"]),
        str(sum(jobs.values()) - jobs["completed"]),
        str(used["tokens"]["input"]),
        str(used["tokens"]["output"]),
        f"{used['gpu_s']:.1f}",
        "?" if cost is None else f"{cost:.4f}",
        f"{feedback['rating_sum'] / rated:+.2f} of {rated}" if rated else "",
    )
