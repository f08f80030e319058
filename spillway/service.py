"""A deployment as a service of this machine: real time, real processes, HTTP on loopback."""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

from config.schema import load
from spillway import local
from spillway.assembly import LocalError
from spillway.bad_releases import BadReleases
from spillway.cli.looking import Api, Looking
from spillway.client import RegionalApi, ServiceError
from spillway.console.doing import LocalConsole
from spillway.console.server import application
from spillway.control import ControlServer
from spillway.directory import add_tenant
from spillway.twin.containers import Factory
from spillway.twin.functions import LogLine
from spillway.twin.http import ApiServer, AwsServer
from spillway.twin.serving import Serving

TENANT: Final = "local"
WARM_UP_FACTOR: Final = 0.02
"""A minute of warm-up passes in a second: people wait for it, and learn nothing from waiting."""
READY_S_MAX: Final = 120.0
READY_POLL_S: Final = 0.1


class LocalService:
    """Every region's API on one port, AWS's, faults of regions and the console on others.

    Args:
        config: The deployment.
        port: Of the API; 0 takes a free one.
        aws_port: Of the AWS operations; 0 takes a free one.
        control_port: Of the regions' faults; 0 takes a free one.
        console_port: Of the console; 0 takes a free one.
        assembly: Templates that were synthesized before.
        log: Called with each line that a function logs, in the twin's thread.
        replaced: What serves some endpoints instead of what the configuration says.

    Attributes:
        twin: What runs.
        deployment: The configuration.
        urls: Base URLs of the API, by region.
        aws_url: What `AWS_ENDPOINT_URL` should be.
        control_url: What `SPILLWAY_CONTROL_URL` should be.
        console_url: A page that shows all of it.
        key: An API key of a tenant that may use everything.
        webhook_secret: Signs that tenant's webhooks.

    Raises:
        LocalError: It does not come up; the message says why.
    """

    def __init__(
        self,
        config: Path,
        *,
        port: int = 0,
        aws_port: int = 0,
        control_port: int = 0,
        console_port: int = 0,
        assembly: Path | None = None,
        log: Callable[[LogLine], object] | None = None,
        replaced: Mapping[str, Factory] | None = None,
    ) -> None:
        self.deployment = load(config)
        self._undo = ExitStack()
        with ExitStack() as undo:
            folder = undo.enter_context(tempfile.TemporaryDirectory())
            bad = BadReleases(config, Path(folder), replaced=replaced)
            self.twin = undo.enter_context(
                local.start(
                    config,
                    virtual=False,
                    assembly=assembly,
                    replaced=bad.containers(),
                    warm_up_factor=WARM_UP_FACTOR,
                )
            )
            bad.watch(self.twin)
            if log is not None:
                self.twin.functions.readers.append(log)
            scheduler = self.twin.scheduler
            try:
                api = ApiServer(scheduler, self.twin.gateway, port=port)
                undo.callback(api.close)
                aws = AwsServer(
                    scheduler,
                    port=aws_port,
                    away=self.twin.regions.killed,
                    links=self.twin.links,
                )
                undo.callback(aws.close)
                self.twin.hook.links_url = aws.url
                control = ControlServer(self.twin, port=control_port)
                undo.callback(control.close)
            # Flask's server ends the process where it cannot listen.
            except (OSError, SystemExit) as error:
                ports = f"{port}, {aws_port} or {control_port}"
                raise LocalError(f"cannot listen on port {ports}: {error}") from error
            scheduler.start()
            api.start()
            aws.start()
            control.start()
            self.urls = {region: f"{api.url}/{region}" for region in self.deployment.regions}
            self.aws_url = aws.url
            self.control_url = control.url
            self._wait_until_ready()
            for region in self.deployment.regions:
                scheduler.call(self._beat, region)
            directory = local.directory(self.twin, self.deployment)
            self.key = add_tenant(directory, TENANT)
            self.webhook_secret = directory.signings.make(TENANT) or ""
            self._wait_until_known()
            self.console_url = self._open_console(undo, bad, console_port)
            self._undo = undo.pop_all()

    def _open_console(self, undo: ExitStack, bad: BadReleases, port: int) -> str:
        """Serve the console, which knows of this service what operators and applications know."""
        api = Api(self.urls, self.key)
        looking = Looking(
            self.deployment, endpoint_url=self.aws_url, control_url=self.control_url, api=api
        )
        console = LocalConsole(looking, api=api, control_url=self.control_url, bad=bad)
        undo.callback(console.close)
        try:
            server = Serving(application(console), port=port, name="console")
        except OSError as error:
            raise LocalError(f"cannot listen on port {port}: {error}") from error
        undo.callback(server.close)
        server.start()
        return server.url

    def _wait_until_ready(self) -> None:
        """Let the models' processes load."""
        until_s = time.monotonic() + READY_S_MAX
        while not self.twin.sagemaker.settled:
            if time.monotonic() > until_s:
                raise LocalError(f"the models did not come up in {READY_S_MAX:g} s")
            time.sleep(READY_POLL_S)  # noqa: TID251 real processes load in real time

    def _beat(self, region: str) -> None:
        """Let a region see the models that have come up.

        An earlier beat may have seen none, and what a region cannot serve it sends to another.
        """
        beat = self.deployment.names.function("beat")
        task = self.twin.functions.invoke(region, beat, {"Records": []})
        self.twin.scheduler.wait(task)

    def _wait_until_known(self) -> None:
        """Let the key reach every region: the directory is eventually consistent."""
        for url in self.urls.values():
            with RegionalApi(url, self.key) as client:
                for _ in range(int(READY_S_MAX / READY_POLL_S)):
                    with suppress(ServiceError):
                        client.models()
                        break
                    time.sleep(READY_POLL_S)  # noqa: TID251 real replication takes real time
                else:
                    raise LocalError(f"{url} does not know its key after {READY_S_MAX:g} s")

    def close(self) -> None:
        """End the servers, the processes and the twin."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
