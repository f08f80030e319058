"""What applications do: submit, read and cancel jobs, look at models and capacity."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from spillway.cli.terminal import Code, CommandError, Json, answer, table, usage
from spillway.client import RegionalApi, ServiceError

TERMINAL = frozenset({"completed", "failed", "refused", "cancelled", "expired"})
WAIT_S_MAX = 25
"""The longest single wait that any deployment may allow; longer ones are asked for again."""
PAUSE_S = 1.0
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

Url = Annotated[
    str,
    typer.Option(
        envvar="SPILLWAY_URL",
        help="Base URL of a region's API, everything before /v1.",
        show_default=False,
    ),
]
Key = Annotated[
    str,
    typer.Option(
        envvar="SPILLWAY_API_KEY", help="API key; better given by the variable.", show_default=False
    ),
]
JobId = Annotated[str, typer.Argument(help="The job's id, job_…", show_default=False)]


@dataclass(frozen=True, slots=True)
class Network:
    """How commands reach HTTP and let time pass; tests hand in one that leads nowhere."""

    transport: httpx.BaseTransport | None = None
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def _network(context: typer.Context) -> Network:
    return context.obj if isinstance(context.obj, Network) else Network()


def _job_id(text: str) -> str:
    """A job's id, which becomes part of an address: nothing else may.

    Raises:
        CommandError: It cannot be one.
    """
    if not JOB_ID.fullmatch(text):
        raise usage("a job's id is made of letters, digits, _ and -, like job_…")
    return text


@contextmanager
def _client(network: Network, url: str, key: str) -> Iterator[RegionalApi]:
    if not url:
        raise usage("which service? Give --url or set SPILLWAY_URL; `spillway local` prints both")
    try:
        client = RegionalApi(url, key or None, transport=network.transport)
    except ValueError as error:
        raise usage(str(error)) from error
    with client:
        try:
            yield client
        except ServiceError as error:
            if not _is_strange(error):
                raise
            answered = f" (status {error.status})" if error.status else ""
            raise CommandError(
                f"{url} does not answer as a Spillway API{answered}; the URL is everything before "
                "/v1, as `spillway local` or the output Url of a Region stack gives it",
                exit_code=Code.UNREACHABLE,
                code="not_spillway",
                details={"status": error.status},
            ) from error


def _is_strange(error: ServiceError) -> bool:
    """Whether an answer is one that no Spillway API gives: its errors are JSON with own codes."""
    if error.code in {"not_json", "not_spillway"}:
        return True
    return error.status == httpx.codes.NOT_FOUND and error.code in {"no_path", "refused"}


def submit(  # noqa: PLR0913 a command's options
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A name from `spillway models`.")],
    model_input: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT]", help="What the model gets: JSON, @FILE, or - for stdin."),
    ] = None,
    *,
    text: Annotated[str | None, typer.Option(help='Short for {"input": TEXT}.')] = None,
    tier: Annotated[
        str | None, typer.Option(help="interactive, standard or batch; else the service's default.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key again gives the same job.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object kept with the job.")] = None,
    deadline_s: Annotated[
        int | None, typer.Option(min=1, help="Seconds from now by which it must have started.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="https:// address told of the end.")] = None,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for the end.")] = 0,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Hand in a job; with --wait, stay for its result."""
    body: dict[str, Any] = {"model": model, "input": _input(model_input, text)}
    options = {"tier": tier, "deadline_s": deadline_s, "webhook": webhook}
    body |= {name: value for name, value in options.items() if value is not None}
    if metadata is not None:
        body["metadata"] = _parsed(metadata, "--metadata")
    network = _network(context)
    until_s = network.now() + wait
    with _client(network, url, key) as client:
        job = client.submit(
            body, idempotency_key=idempotency_key, wait_s=min(wait, WAIT_S_MAX) or None
        ).document
        job = _waited(client, job, until_s, network)
    _show(job, as_json=as_json)
    _fail_unless_well(job, as_json=as_json)


def status(
    context: typer.Context,
    job_id: JobId,
    *,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for the end.")] = 0,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Show a job: where it stands, its place in the queue, its result."""
    job_id, network = _job_id(job_id), _network(context)
    until_s = network.now() + wait
    with _client(network, url, key) as client:
        job = client.job(job_id, wait_s=min(wait, WAIT_S_MAX) or None)
        job = _waited(client, job, until_s, network)
    _show(job, as_json=as_json)


def cancel(
    context: typer.Context,
    job_id: JobId,
    *,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Cancel a job that has not ended."""
    job_id = _job_id(job_id)
    with _client(_network(context), url, key) as client:
        job = client.cancel(job_id)
    _show(job, as_json=as_json)


def models(context: typer.Context, *, url: Url = "", key: Key = "", as_json: Json = False) -> None:
    """List the models that the key may use."""
    with _client(_network(context), url, key) as client:
        document = client.models()
    columns = ("model", "state", "versions", "tiers", "input bytes")
    rows = [_model_row(model) for model in document.get("data", [])]
    shown = table(None, columns, rows, numbers=1)
    answer(document, as_json=as_json, render=lambda console: console.print(shown))


def capacity(
    context: typer.Context, *, url: Url = "", key: Key = "", as_json: Json = False
) -> None:
    """Show how long work would wait now, by model and tier."""
    with _client(_network(context), url, key) as client:
        document = client.capacity()
    columns = ("model", "instances", "tier", "waiting", "predicted wait s", "target wait s")
    rows = [row for model in document.get("data", []) for row in _capacity_rows(model)]
    shown = table(None, columns, rows, numbers=3)
    answer(document, as_json=as_json, render=lambda console: console.print(shown))


def _input(given: str | None, text: str | None) -> Any:
    if (given is None) == (text is None):
        raise usage('give INPUT (JSON, @FILE or -) or --text "…", one of them')
    if text is not None:
        return {"input": text}
    if given == "-":
        return _parsed(sys.stdin.read(), "standard input")
    if given is not None and given.startswith("@"):
        path = Path(given[1:])
        try:
            return _parsed(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise usage(f"{path}: cannot be read: {error}") from error
    return _parsed(given or "", "INPUT")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        hint = '; for plain words use --text "…"' if where == "INPUT" else ""
        raise usage(f"{where} is not JSON: {error}{hint}") from error


def _waited(
    client: RegionalApi, job: dict[str, Any], until_s: float, network: Network
) -> dict[str, Any]:
    """Wait on in pieces that the service allows, until the time is up; then the whole job."""
    while (left_s := until_s - network.now()) > 0 and job["status"] not in TERMINAL:
        asked_s = network.now()
        job = client.job(str(job["id"]), wait_s=max(1, min(int(left_s), WAIT_S_MAX)))
        if job["status"] not in TERMINAL and network.now() - asked_s < PAUSE_S:
            # Everybody who may wait at once does: the service answers without waiting.
            network.sleep(PAUSE_S)
    # The answer to a wait that ended too early names the job and no more.
    return job if "model" in job else client.job(str(job["id"]))


def _fail_unless_well(job: dict[str, Any], *, as_json: bool) -> None:
    """A submitted job that ended without a result ends the command with 1.

    With --json the document was already printed, and there is exactly one.
    """
    if job.get("status") in TERMINAL - {"completed"}:
        if as_json:
            raise typer.Exit(Code.FAILED)
        raise CommandError(f"the job ended as {job['status']}")


_FIELDS = ("id", "status", "model", "version", "tier", "region", "attempt", "trace_id")


def _show(job: dict[str, Any], *, as_json: bool) -> None:
    def render(console: Console) -> None:
        rows: list[tuple[str, object]] = [
            (name, job[name]) for name in _FIELDS if job.get(name) is not None
        ]
        for group in ("answered_by", "queue", "timings", "usage", "error"):
            for name, value in (job.get(group) or {}).items():
                if value is not None:
                    rows.append((f"{group}.{name}", value))
        for name, value in rows:
            console.print(f"{name:24} {value}", markup=False, highlight=False, soft_wrap=True)
        for name in ("output", "output_url"):
            if job.get(name) is not None:
                console.print(f"{name}:", markup=False)
                text = json.dumps(job[name], ensure_ascii=False)
                console.print(text, markup=False, highlight=False, soft_wrap=True)

    answer(job, as_json=as_json, render=render)


def _model_row(model: dict[str, Any]) -> list[object]:
    versions = model.get("versions", {})
    shares = ", ".join(f"{name} {share:.0%}" for name, share in versions.items())
    tiers = ", ".join(model.get("tiers", []))
    return [model.get("id"), model.get("state"), shares, tiers, model.get("input_bytes_max")]


def _capacity_rows(model: dict[str, Any]) -> Iterator[list[object]]:
    for tier, load in model.get("tiers", {}).items():
        figures = [load.get(name) for name in ("waiting", "predicted_wait_s", "target_wait_s")]
        yield [model.get("model"), model.get("instances"), tier, *figures]
