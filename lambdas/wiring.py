"""The composition root of the functions: an execution environment in, a handler with ports out.

Built once per execution environment, on its first event, from the environment handed in; never
at import and never from a process-wide cache, because the twin runs many environments in one
process. In Lambda the environment is the process itself.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from botocore.config import Config

from lambdas.adapters.credentials import Refusals
from lambdas.adapters.metrics import Metrics
from lambdas.domain.names import Names
from lambdas.domain.policy import Policy

SDK_DEFAULTS = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=1,
    read_timeout=2,
)
"""Standard retries: the legacy default waits 60 s, and does not repeat a conflict on the ledger."""

SEND_ONCE = Config(
    retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=2
)
"""For InvokeEndpointAsync: an SDK that repeats it would run a job twice on a GPU. And for asking
another region whether it is there: no answer is an answer."""

WAIT_FOR_FUNCTION = Config(
    retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=29
)
"""For a synchronous call of `wait` or `linger`, which answer after up to `wait_s_max`."""

SIGNED_LINKS = SDK_DEFAULTS.merge(
    Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
    )
)
"""For S3. By itself boto3 signs links the old way, which S3 refuses for objects under KMS keys,
and for the global endpoint, which redirects, and so breaks them, while a bucket is new."""

LARGE_COPIES = SIGNED_LINKS.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=25)
)
"""For copies of up to 1 GB between regions, which S3 answers at their end."""

Handler = Callable[[Any, Any], Any]


class Session(Protocol):
    """What we need of `boto3.Session`."""

    @property
    def client(self) -> Callable[..., Any]:
        """Makes a client of a service."""


class Execution:
    """One execution environment: its variables, its way to AWS, its way to let time pass.

    Args:
        environ: The environment variables, Lambda's own among them.
        session: Makes clients; boto3 itself in Lambda.
        sleep: Lets that many seconds pass.
        detour: Puts something between us and clients' hosts, which gets what would reach them.
            Only the twin has one: no template and no variable can make one.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        session: Session,
        sleep: Callable[[float], None],
        detour: Callable[[Any], Any] | None = None,
    ) -> None:
        self.environ = environ
        self.session = session
        self.sleep = sleep
        self.detour = detour
        self._clients: dict[tuple[str, str, int], Any] = {}

    @property
    def region(self) -> str:
        """The region that this environment runs in."""
        return self.environ["AWS_REGION"]

    @cached_property
    def policy(self) -> Policy:
        """The resolved policy that travels with the code."""
        path = Path(self.environ["LAMBDA_TASK_ROOT"]) / "lambdas" / "policy.json"
        return Policy.from_json(json.loads(path.read_text(encoding="utf-8")))

    def description(self) -> str:
        """The API's OpenAPI document, which travels with the code as well."""
        path = Path(self.environ["LAMBDA_TASK_ROOT"]) / "lambdas" / "openapi.json"
        return path.read_text(encoding="utf-8")

    @property
    def names(self) -> Names:
        """The fixed names of the deployment's resources."""
        return self.policy.names

    @cached_property
    def refusals(self) -> Refusals:
        """Who is told when AWS refuses a call for want of a right."""
        return Refusals(Metrics(self.names.metrics), self.region)

    def client(
        self, service: str, config: Config = SDK_DEFAULTS, *, region: str | None = None
    ) -> Any:
        """A client of a service, in this region unless told otherwise.

        There is one for each service, region and configuration: every further one would take its
        time at a cold start, and open connections of its own.
        """
        region = region or self.region
        # Configurations are this module's constants: the same one is the same object.
        key = (service, region, id(config))
        if key not in self._clients:
            client = self.session.client(service, region_name=region, config=config)
            self.refusals.watch(client)
            self._clients[key] = client
        return self._clients[key]


class Function:
    """A Lambda entry point: `create` runs once per execution environment.

    Args:
        create: Wires a handler to the ports of an execution environment.
    """

    def __init__(self, create: Callable[[Execution], Handler]) -> None:
        self._create = create
        self._handler: Handler | None = None

    def __call__(self, event: Any, context: Any) -> Any:
        """Handle an event in Lambda, where the process is the execution environment."""
        if self._handler is None:
            import boto3  # noqa: PLC0415 the twin hands in sessions of its own

            self._handler = self.environment(
                environ=os.environ, session=boto3.Session(), sleep=time.sleep
            )
        return self._handler(event, context)

    def environment(
        self,
        *,
        environ: Mapping[str, str],
        session: Session,
        sleep: Callable[[float], None],
        detour: Callable[[Any], Any] | None = None,
    ) -> Handler:
        """A fresh execution environment's handler."""
        return self._create(Execution(environ=environ, session=session, sleep=sleep, detour=detour))
