"""`spillway local`: the deployment as a service of this machine, until interrupted."""

import json
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from config.schema import Deployment
from spillway.cli.terminal import Json, answer, progress_console, typed_command, usage

if TYPE_CHECKING:
    from spillway.twin.functions import LogLine

API_PORT = 8080
AWS_PORT = 8081
CONTROL_PORT = 8082
CONSOLE_PORT = 8083


def local(  # noqa: PLR0913 a command's options
    *,
    config: Annotated[Path, typer.Option(help="The deployment.")] = Path("config/dev.yaml"),
    assembly: Annotated[
        Path | None, typer.Option(help="Synthesized templates; made from --config without it.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the API; 0: any.")] = API_PORT,
    aws_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Of AWS for operators; 0: any.")
    ] = AWS_PORT,
    control_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Of the regions' faults; 0: any.")
    ] = CONTROL_PORT,
    console_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Of the console, a page to look at; 0: any.")
    ] = CONSOLE_PORT,
    log: Annotated[
        Path | None,
        typer.Option(help="Append the functions' log lines to this file, as JSON with the region."),
    ] = None,
    receiver: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=http://127.0.0.1:PORT: webhooks to https://NAME/… end there; repeat."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the deployment on this machine, in real time, until Ctrl-C.

    Nothing survives its end, and only this machine can reach it.
    """
    from spillway.service import LocalService  # noqa: PLC0415 seconds that others need not wait

    console = progress_console()
    receivers = _receivers(receiver or [])
    with ExitStack() as stack:
        keep = stack.enter_context(_log(log)) if log else None
        with console.status(f"starting {config}"):
            service = LocalService(
                config,
                port=port,
                aws_port=aws_port,
                control_port=control_port,
                console_port=console_port,
                assembly=assembly,
                log=keep,
            )
        stack.enter_context(service)
        for name, server in receivers.items():
            service.twin.functions.receivers.add(name, server)
        first = service.deployment.primary_region
        variables = {
            "SPILLWAY_URL": service.urls[first],
            "SPILLWAY_API_KEY": service.key,
            "SPILLWAY_WEBHOOK_SECRET": service.webhook_secret,
            "SPILLWAY_CONTROL_URL": service.control_url,
            "AWS_ENDPOINT_URL": service.aws_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        document = {
            "deployment": service.deployment.name,
            "urls": service.urls,
            "aws_url": service.aws_url,
            "control_url": service.control_url,
            "console_url": service.console_url,
            "api_key": service.key,
            "environment": variables,
        }

        def render(console: Console) -> None:
            for region, url in service.urls.items():
                console.print(f"{region:12} {url}", highlight=False, soft_wrap=True)
            console.print(f"\nTo look at in a browser: {service.console_url}", soft_wrap=True)
            console.print("\nIn another terminal:")
            for name, value in variables.items():
                console.print(f"export {name}={value}", highlight=False, soft_wrap=True)
            for command in _commands(service.deployment, config):
                console.print(command, markup=False, highlight=False, soft_wrap=True)
            console.print("\nCtrl-C ends it.")

        answer(document, as_json=as_json, render=render)
        _until_interrupted()


def _receivers(given: list[str]) -> dict[str, str]:
    """Read what `--receiver` says, before the seconds that a start takes."""
    from spillway.twin.receivers import check  # noqa: PLC0415 see above

    found = dict(each.partition("=")[::2] for each in given)
    for name, server in found.items():
        try:
            check(name, server)
        except ValueError as error:
            raise usage(f"--receiver: {error}") from error
    return found


@contextmanager
def _log(path: Path) -> Iterator["Callable[[LogLine], None]"]:
    """What writes a function's log line to a file, at once: somebody may follow it."""
    try:
        file = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise usage(f"{path}: cannot be written: {error}") from error

    def keep(line: "LogLine") -> None:
        try:
            said = json.loads(line.text)
        except ValueError:
            said = line.text
        document = {
            "at": datetime.fromtimestamp(line.at_s, UTC).isoformat(timespec="milliseconds"),
            "region": line.region,
            "function": line.function,
            "execution": line.execution,
            "line": said,
        }
        file.write(json.dumps(document, ensure_ascii=False) + "\n")

    with file:
        yield keep


def _commands(deployment: Deployment, config: Path) -> list[str]:
    """What can be pasted into another terminal."""
    spillway, of = typed_command(), f"--config {shlex.quote(str(config))}"
    model, last = next(iter(deployment.models)), deployment.regions[-1]
    return [
        f'{spillway} submit {model} --text "Where is my parcel?" --wait 10',
        f"{spillway} tenant list {of}",
        f"{spillway} region list {of}",
        *(f"{spillway} region {fault} {last}" for fault in ("kill", "isolate", "slow")),
        *(f"{spillway} region {command} {last} {of}" for command in ("restore", "drain")),
    ]


def _until_interrupted() -> None:
    """Wait for Ctrl-C or a polite kill; both are how this command is meant to end."""
    over = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        over.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    over.wait()
