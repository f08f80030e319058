"""`spillway local`: the deployment as a service of this machine, until interrupted."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from spillway.cli.terminal import Json, answer, progress_console

API_PORT = 8080
AWS_PORT = 8081
CONTROL_PORT = 8082


def local(
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
    as_json: Json = False,
) -> None:
    """Run the deployment on this machine, in real time, until Ctrl-C.

    Nothing survives its end, and only this machine can reach it.
    """
    from spillway.service import LocalService  # noqa: PLC0415 seconds that others need not wait

    console = progress_console()
    with console.status(f"starting {config}"):
        service = LocalService(
            config, port=port, aws_port=aws_port, control_port=control_port, assembly=assembly
        )
    with service:
        first = service.deployment.primary_region
        variables = {
            "SPILLWAY_URL": service.urls[first],
            "SPILLWAY_API_KEY": service.key,
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
            "api_key": service.key,
            "environment": variables,
        }

        def render(console: Console) -> None:
            for region, url in service.urls.items():
                console.print(f"{region:12} {url}", highlight=False, soft_wrap=True)
            console.print("\nIn another terminal:")
            for name, value in variables.items():
                console.print(f"export {name}={value}", highlight=False, soft_wrap=True)
            console.print('spillway submit embedder --text "Where is my parcel?" --wait 10')
            console.print(f"spillway tenant list --config {config}")
            last = service.deployment.regions[-1]
            for command in ("kill", "isolate", "slow", "restore", "drain"):
                configured = f" --config {config}" if command in ("restore", "drain") else ""
                console.print(f"spillway region {command} {last}{configured}")
            console.print("\nCtrl-C ends it.")

        answer(document, as_json=as_json, render=render)
        _until_interrupted()


def _until_interrupted() -> None:
    """Wait for Ctrl-C or a polite kill; both are how this command is meant to end."""
    over = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        over.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    over.wait()
