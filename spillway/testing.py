"""The deployed stacks inside a test: no network, no AWS account, no waiting.

Another team's test asks for the fixture and talks HTTP to what production would run::

    from spillway.testing import spillway_config, stacks  # in conftest.py

    def test_our_code_embeds(stacks):
        stacks.model("embedder").answers(lambda request: {"data": [1, 2, 3]})
        client = stacks.http_client()
        job = client.post("/v1/jobs", json={"model": "embedder", "input": {"input": "x"}}).json()
        stacks.run_until_idle()
        assert client.get(f"/v1/jobs/{job['id']}").json()["output"] == {"data": [1, 2, 3]}

Time is virtual: it passes in `run_until_idle` and `run_for`, and while a request is answered.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from config.schema import Deployment, load
from lambdas.domain.names import FUNCTIONS
from spillway import local
from spillway.assembly import ROOT
from spillway.client import Client
from spillway.directory import add_tenant
from spillway.leases import Leases
from spillway.twin.calls import CallLog, Fault
from spillway.twin.containers import Answer, Factory, LocalProcess, Python
from spillway.twin.http import LinkTransport, Transport
from spillway.twin.regions import Side
from spillway.twin.twin import Twin

TENANT: Final = "test"
HOST: Final = "twin"
"""Where clients in this process find every region's API; any other host is S3's."""
IDLE_LIMIT_S: Final = 3600.0
"""Virtual seconds after which work that does not end is a failure of the test."""
LOOK_EVERY_S: Final = 1.0
ACTIONS: Final = (
    "die_before",
    "die_after",
    "timeout_before",
    "timeout_after",
    "unreachable",
    "throttle",
    "empty",
    "slow",
)
AWS_ERROR: Final = re.compile(r"[A-Z][A-Za-z0-9.]*")
SERVICES: Final = (
    "cloudwatch",
    "dynamodb",
    "events",
    "lambda",
    "s3",
    "sagemaker",
    "sagemaker-runtime",
    "secretsmanager",
    "sns",
    "sqs",
    "sts",
)
"""What the functions have clients of: those whose data `tools/build_layer.py` keeps."""
REPLICATED_S: Final = 5.0
"""The directory reaches other regions within about a second; well over that."""


class Model:
    """One model of the stacks, in every region."""

    def __init__(self, twin: Twin, deployment: Deployment, name: str) -> None:
        if name not in deployment.models:
            known = ", ".join(deployment.models)
            raise KeyError(f"there is no model {name!r}; there is {known}")
        self._twin = twin
        self._name = name
        self._model = deployment.models[name]
        self._endpoints = {
            version: deployment.names.endpoint(name, version) for version in self._model.versions
        }

    def answers(
        self,
        answer: Callable[[Any], Any],
        *,
        service_s: float = 0.1,
        version: str | None = None,
    ) -> None:
        """Let a function of the request's JSON answer from now on.

        Args:
            answer: Returns JSON, `bytes` for anything else, or an `Answer` to choose the status;
                what it raises becomes a 500.
            service_s: Virtual seconds that one answer takes.
            version: Only this version; all without it.
        """

        def checked(request: Any) -> Any:
            given = answer(request)
            if not isinstance(given, bytes | Answer):
                try:
                    json.dumps(given)
                except (TypeError, ValueError) as error:
                    raise TypeError(
                        f"the stub of model {self._name} returned what JSON cannot hold: {error}"
                    ) from error
            return given

        warm_up_s = self._model.warm_up_s
        self._serve(
            partial(Python, answers=checked, service_s=service_s, warm_up_s=warm_up_s), version
        )

    def runs(self, *, version: str | None = None) -> None:
        """Let the version's own local command answer, as a real process.

        Raises:
            ValueError: The configuration has no local command for it.
        """
        for name, settings in self._model.versions.items():
            if version in (None, name):
                if settings.local_command is None:
                    raise ValueError(f"version {name} has no local_command")
                command = settings.local_command
                self._serve(partial(LocalProcess, command=command, directory=ROOT), name)

    def _serve(self, factory: Factory, version: str | None) -> None:
        for name, endpoint in self._endpoints.items():
            if version in (None, name):
                self._twin.sagemaker.serve(endpoint, factory)


class StackRegions:
    """The regions of the stacks, to be lost and found: `stacks.regions.kill("us-east-2")`.

    Everything takes effect at once; what follows from it takes the time that it takes on AWS.
    Requests to a region that is away end in `httpx.ConnectTimeout`, after the client's own
    timeout.
    """

    def __init__(self, twin: Twin, deployment: Deployment) -> None:
        self._twin = twin
        self._deployment = deployment

    def kill(self, region: str) -> None:
        """Stop everything in a region where it is; what is stored there stays."""
        self._twin.regions.kill(region)

    def isolate(self, region: str, from_: Side = "global") -> None:
        """Cut a region off: from the `global` tables only, or from its `clients` only."""
        self._twin.regions.isolate(region, from_)

    def slow(self, region: str, factor: float) -> None:
        """Let AWS calls in and to a region take so many times their usual time."""
        self._twin.regions.slow(region, factor)

    def skew(self, region: str, seconds: float) -> None:
        """Let a region's clocks be ahead, or behind by a negative number."""
        self._twin.regions.skew(region, seconds)

    def drain(self, region: str, *, last: bool = False) -> None:
        """Take a region out of service politely, as `spillway region drain` does.

        Raises:
            LeaseError: It has no lease yet, or is the last one that serves.
        """
        self._leases(region).drain(region, last=last)

    def restore(self, region: str) -> None:
        """End what `kill`, `isolate`, `slow` and `drain` did to a region."""
        self._twin.regions.restore(region)
        if region in self._deployment.regions:
            self._leases(region).serve(region)

    def _leases(self, region: str) -> Leases:
        client = self._twin.operator(region).client("dynamodb")
        return Leases(client, self._deployment.names.ledger, self._deployment.regions)


class Stacks:
    """A deployment, running in this process on a virtual clock.

    Args:
        twin: Deployed.
        deployment: What it runs.

    Attributes:
        twin: Everything that the methods here do not reach.
        deployment: The configuration.
        regions: Regions as wholes, to be killed, cut off, slowed, drained and brought back.
        api_key: Of a tenant that may use every model and tier.
    """

    def __init__(self, twin: Twin, deployment: Deployment) -> None:
        self.twin = twin
        self.deployment = deployment
        self.regions = StackRegions(twin, deployment)
        self.api_key = self.new_key(TENANT)

    def new_key(self, tenant: str, **limits: Any) -> str:
        """Add a tenant, or a key of one; limits as in `spillway tenant add`.

        A few virtual seconds pass, after which every region knows the key.
        """
        key = add_tenant(local.directory(self.twin, self.deployment), tenant, **limits)
        self.run_for(REPLICATED_S)
        return key

    def http_client(self, region: str | None = None, *, api_key: str | None = None) -> httpx.Client:
        """An HTTP client of a region's API, signed in.

        It serves as the OpenAI client's `http_client` too, with `base_url=client.base_url` and
        `api_key=stacks.api_key`.

        Args:
            region: Whose API; the deployment's first region without it.
            api_key: Another key than `stacks.api_key`.
        """
        client = self.twin.api(region or self.deployment.primary_region)
        client.headers["Authorization"] = f"Bearer {api_key or self.api_key}"
        return client

    def client(self, *regions: str, api_key: str | None = None) -> Client:
        """The Python client of the deployment, which fails over between its regions.

        Args:
            regions: Those that it knows, the preferred one first; all of them without any.
            api_key: Another key than `stacks.api_key`.
        """
        return Client(
            [f"http://{HOST}/{region}" for region in regions or self.deployment.regions],
            api_key or self.api_key,
            transport=_ApiAndLinks(self.twin),
            # A virtual clock belongs to one thread.
            concurrency=1,
            clock=self.twin.scheduler.now,
            sleep=self.run_for,
        )

    def model(self, name: str) -> Model:
        """A model, to say what it answers.

        Raises:
            KeyError: The deployment has no such model.
        """
        return Model(self.twin, self.deployment, name)

    def receive(self, name: str, receiver: Callable[[str, Mapping[str, str], bytes], int]) -> None:
        """Let a function be the host of a webhook's address: `https://hooks.example/told`.

        The tenant needs a secret: `stacks.webhook_secret()` makes one.

        Args:
            name: The host's name, in lower case.
            receiver: Takes path, headers and body, and returns an HTTP status.
        """
        self.twin.functions.receivers.add(name, receiver)

    def webhook_secret(self, tenant: str = TENANT) -> str:
        """Make the secret that signs a tenant's webhooks; a few virtual seconds pass.

        Raises:
            ValueError: The tenant has one, which was told before.
        """
        secret = local.directory(self.twin, self.deployment).signings.make(tenant)
        if secret is None:
            raise ValueError(f"tenant {tenant} has a webhook secret already")
        self.run_for(REPLICATED_S)
        return secret

    def fail(
        self, action: str, *, function: str = "", times: int | None = 1, **match: Any
    ) -> Fault:
        """Let AWS calls go wrong: `stacks.fail("throttle", service="sqs", function="submit")`.

        Args:
            action: `die_before`, `die_after`, `timeout_before`, `timeout_after`, `throttle`,
                `unreachable`, or an AWS error code; see `spillway.twin.calls.Fault`.
            function: One of the deployment's functions, such as `dispatch`; any without it.
            times: How many matching calls go wrong; None for all.
            match: `service`, `operation`, `region`, `number` and the other fields of `Fault`.

        Returns:
            The fault; its `hits` tell how often it struck.

        Raises:
            ValueError: There is no such action, function or service: it would never strike.
        """
        if action not in ACTIONS and not AWS_ERROR.fullmatch(action):
            raise ValueError(
                f"there is no action {action!r}; there is {', '.join(ACTIONS)}, or an AWS error "
                "code, like InternalServerError"
            )
        _among("function", function, FUNCTIONS)
        _among("service", str(match.get("service", "")), SERVICES)
        name = self.deployment.names.function(function) if function else ""
        return self.twin.hook.fail(Fault(action=action, function=name, times=times, **match))

    @property
    def calls(self) -> CallLog:
        """Every AWS call so far."""
        return self.twin.hook.log

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.twin.scheduler.run_for(seconds)

    def run_until_idle(self, limit_s: float = IDLE_LIMIT_S) -> None:
        """Let virtual time pass until every job and webhook is done.

        Raises:
            AssertionError: Work is left after the limit; the message says what.
        """
        scheduler = self.twin.scheduler
        until_s = scheduler.now() + limit_s
        idle_before = False
        while True:
            idle = self._idle()
            # Twice in a row: between two queues work is for a moment in none.
            if idle and idle_before:
                return
            if scheduler.now() >= until_s:
                raise AssertionError(f"work is left after {limit_s:g} s: {self._left()}")
            idle_before = idle
            scheduler.run_for(LOOK_EVERY_S)

    def _idle(self) -> bool:
        if not local.work_left(self.twin, self.deployment).none:
            return False
        return not local.unfinished(self.twin, self.deployment)

    def _left(self) -> str:
        work = local.work_left(self.twin, self.deployment)
        jobs = local.unfinished(self.twin, self.deployment)
        return (
            f"{len(jobs)} unfinished jobs ({', '.join(jobs[:3])}), "
            f"{dict(work.queued)} queued, {work.running} running, {work.notices} notices"
        )


class _ApiAndLinks(httpx.BaseTransport):
    """The way of a client that is given links to S3 by the API."""

    def __init__(self, twin: Twin) -> None:
        self._api = Transport(twin.scheduler, twin.gateway)
        self._links = LinkTransport(twin.scheduler, twin.links)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        way = self._api if request.url.host == HOST else self._links
        return way.handle_request(request)


def _among(what: str, given: str, allowed: Iterable[str]) -> None:
    """Refuse a name that nothing has; an empty one stands for all."""
    if given and given not in allowed:
        raise ValueError(f"there is no {what} {given!r}; there is {', '.join(allowed)}")


def _canned(deployment: Deployment) -> Mapping[str, Factory]:
    """No test starts a process unless it asks for one."""
    return {
        deployment.names.endpoint(name, version): partial(Python, answers=_echo)
        for name, model in deployment.models.items()
        for version in model.versions
    }


def _echo(request: Any) -> Any:
    return {"echo": request}


@pytest.fixture(scope="session")
def spillway_config() -> Path:
    """The configuration that `stacks` deploys; override the fixture for your own."""
    return ROOT / "config" / "dev.yaml"


@pytest.fixture
def stacks(spillway_config: Path) -> Iterator[Stacks]:
    """The deployed stacks; every model echoes its request until the test says otherwise."""
    deployment = load(spillway_config)
    with local.start(spillway_config, virtual=True, replaced=_canned(deployment)) as twin:
        yield Stacks(twin, deployment)
