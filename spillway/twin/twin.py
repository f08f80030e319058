"""The twin: the stacks of a cloud assembly, running in this process on moto's state."""

import os
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self
from unittest import mock

import httpx
from moto import mock_aws
from moto.moto_api._internal import mock_random

from spillway.twin import alarm_messages
from spillway.twin.alarm_messages import AlarmEvent
from spillway.twin.alarms import Alarms
from spillway.twin.apigateway import ApiGateway
from spillway.twin.calls import Hook, Session
from spillway.twin.clock import Scheduler
from spillway.twin.cloudformation import (
    SUPPORTED,
    Assembly,
    AssemblyError,
    CloudFormation,
    DeploymentError,
    check_code,
)
from spillway.twin.containers import Factory
from spillway.twin.dynamodb import DynamoDb
from spillway.twin.dynamodb_metrics import DynamoDbMetrics
from spillway.twin.event_sources import EventSources
from spillway.twin.events import Events
from spillway.twin.functions import Functions, UnknownFunctionError, function_name
from spillway.twin.http import LinkTransport, Transport
from spillway.twin.links import Links
from spillway.twin.metrics import Metrics
from spillway.twin.regions import Regions, Services
from spillway.twin.resources import Deploy, UnsupportedError
from spillway.twin.route53 import Resolver, Route53
from spillway.twin.s3 import S3
from spillway.twin.sagemaker import Assumptions, SageMaker
from spillway.twin.sagemaker_metrics import SageMakerMetrics
from spillway.twin.scaling import Scaling
from spillway.twin.schedules import Schedules
from spillway.twin.service_metrics import ServiceMetrics
from spillway.twin.sns import publish, subscribe
from spillway.twin.sqs import Sqs

LOOPBACK: Final = r"https?://(127\.0\.0\.1|localhost)[:/].*"


class Twin:
    """A deployment on this machine; one at a time in a process, as moto's state is one.

    Each part is an attribute, with its settings and its faults: `scheduler`, `hook`, `functions`,
    `event_sources`, `schedules`, `events`, `gateway`, `route53`, `sagemaker`, `sagemaker_metrics`,
    `dynamodb`, `s3`, `links`, `sqs`, `scaling`, `metrics`, `alarms`, `cloudformation`, and
    `regions` for faults of whole regions. It is open from here on until `close`, also as a
    context manager.

    Args:
        assembly: Directory that `make synth` wrote.
        virtual: Whether time jumps from event to event, instead of passing.
        containers: What serves each endpoint, by the endpoint's name.
        seed: Of everything random: the same seed runs the same again on the virtual clock.
        start_s: Where virtual time begins, in seconds since the epoch.
        assumptions: Answers to what AWS does not document about SageMaker.
        warm_up_factor: Share of an endpoint's warm-up that really passes.

    Raises:
        AssemblyError: There is no assembly, it is not the code that is here, or it is of several
            accounts.
    """

    def __init__(
        self,
        assembly: Path | str,
        *,
        virtual: bool,
        containers: Mapping[str, Factory],
        seed: int = 0,
        start_s: float | None = None,
        assumptions: Assumptions | None = None,
        warm_up_factor: float = 1.0,
    ) -> None:
        self.assembly = Assembly(assembly)
        self.account = _account(self.assembly)
        check_code(self.assembly.stacks)
        self._undo = ExitStack()
        with ExitStack() as undo:  # What was begun is ended if a later part fails.
            self._open_moto(undo)
            self.scheduler = Scheduler(virtual=virtual, start_s=start_s, seed=seed)
            undo.callback(self.scheduler.close)
            self.hook = Hook(self.scheduler, account=self.account)
            undo.callback(self.hook.close)
            self.sqs = Sqs(self.scheduler)
            undo.callback(self.sqs.close)
            self.functions = Functions(self.scheduler, self.hook)
            undo.callback(self.functions.close)
            self.event_sources = EventSources(self.scheduler, self.hook, self.sqs, self.functions)
            self.schedules = Schedules(self.scheduler, self.functions)
            self.events = Events(self.scheduler, self.functions, self.schedules)
            self.gateway = ApiGateway(self.scheduler, self.functions)
            self.route53 = Route53(self.scheduler, self.gateway)
            self.sagemaker = SageMaker(
                self.scheduler,
                containers,
                assumptions=assumptions,
                warm_up_factor=warm_up_factor,
            )
            undo.callback(self.sagemaker.close)
            self._open_cloudwatch(undo)
            self.scaling = Scaling(self.scheduler, self.sagemaker, self.alarms)
            undo.callback(self.scaling.close)
            self.dynamodb = DynamoDb(self.scheduler)
            undo.callback(self.dynamodb.close)
            self.hook.consistency = self.dynamodb
            self.s3 = S3(self.scheduler)
            undo.callback(self.s3.close)
            self.regions = Regions(
                self.hook,
                Services(
                    alarms=self.alarms,
                    dynamodb=self.dynamodb,
                    event_sources=self.event_sources,
                    events=self.events,
                    functions=self.functions,
                    gateway=self.gateway,
                    metrics=self.metrics,
                    s3=self.s3,
                    sagemaker=self.sagemaker,
                    scaling=self.scaling,
                    schedules=self.schedules,
                ),
                names=(stack.region for stack in self.assembly.stacks),
            )
            self.links = Links(
                self.scheduler,
                account=self.account,
                region_of=lambda bucket: self.s3.region(self.account, bucket),
                away=self.regions.killed,
            )
            self.cloudformation = CloudFormation(self._services())
            undo.callback(self.cloudformation.close)
            # Last in, first out: the loop ends before anything it uses.
            undo.callback(self.scheduler.close)
            self._undo = undo.pop_all()

    def _open_moto(self, undo: ExitStack) -> None:
        """Start moto, so that whoever calls AWS from here on reaches the twin and only that."""
        # moto asks this variable at every request, also of clients that the hook did not make.
        undo.enter_context(mock.patch.dict(os.environ, {"MOTO_ACCOUNT_ID": self.account}))
        undo.enter_context(
            mock_aws(
                config={
                    "core": {
                        "mock_credentials": True,
                        "reset_boto3_session": True,
                        "service_whitelist": None,
                        # Clients of the twin's own servers do use the network.
                        "passthrough": {"urls": [LOOPBACK], "services": []},
                    },
                    "lambda": {"use_docker": False},
                }
            )
        )

    def _open_cloudwatch(self, undo: ExitStack) -> None:
        """Start metrics and alarms, and lead lines, actions and events to where they go."""
        self.metrics = Metrics(self.scheduler)
        undo.callback(self.metrics.close)
        self.functions.readers.append(lambda line: self.metrics.read_line(line.region, line.text))
        self.sagemaker_metrics = SageMakerMetrics(self.scheduler, self.sagemaker, self.metrics)
        undo.callback(self.sagemaker_metrics.close)
        self.alarms = Alarms(self.scheduler, self.metrics, act=self._act)
        undo.callback(self.alarms.close)
        self.alarms.observers.append(self._tell_bus)
        ServiceMetrics(self.scheduler, self.metrics, self.functions, account=self.account)
        DynamoDbMetrics(self.scheduler, self.hook, self.metrics)

    def _act(self, region: str, action: str, event: AlarmEvent) -> None:
        """Run an alarm's action.

        CloudWatch does not "detect any errors resulting from an attempt to invoke nonexistent
        actions" (user guide, "Using Amazon CloudWatch alarms").
        """
        service = action.split(":")[2]
        if service == "sns":
            publish(
                action,
                alarm_messages.notification(event),
                subject=alarm_messages.subject(event),
            )
        elif service == "lambda":
            with suppress(UnknownFunctionError):
                self.functions.invoke_async(
                    region, function_name(action), alarm_messages.invocation(event)
                )
        else:
            self.scaling.execute(region, action, value=event.value, threshold=event.threshold)

    def _tell_bus(self, event: AlarmEvent) -> None:
        id_ = str(uuid.UUID(int=self.scheduler.random.getrandbits(128), version=4))
        self.events.put(event.region, alarm_messages.state_change(event, id_=id_))

    def _services(self) -> Mapping[str, Deploy]:
        """Which service creates a resource, by its type."""
        by_service = {
            "AWS::ApiGateway": self.gateway.create,
            "AWS::ApplicationAutoScaling": self.scaling.create,
            "AWS::CloudWatch": self.alarms.create,
            "AWS::DynamoDB": self.dynamodb.create,
            "AWS::Events": self.events.create,
            "AWS::Lambda": self.functions.create,
            "AWS::Route53": self.route53.create,
            "AWS::S3": self.s3.create,
            "AWS::SNS": subscribe,
            "AWS::SageMaker": self.sagemaker.create,
        }
        services = {kind: by_service[kind.rpartition("::")[0]] for kind in SUPPORTED}
        return services | {"AWS::Lambda::EventSourceMapping": self.event_sources.create}

    def deploy(self) -> Self:
        """Create every stack of the assembly.

        Raises:
            UnsupportedError: Templates contain what the twin cannot run; nothing was created.
            DeploymentError: AWS would refuse a resource.
        """
        self.cloudformation.deploy(self.assembly)
        return self

    def update(self, assembly: Path | str, *, containers: Mapping[str, Factory]) -> None:
        """Change the stacks to those of another assembly, as a further deployment does.

        Args:
            assembly: The cloud assembly's folder.
            containers: What serves endpoints, those that are new among them, by their names.

        Raises:
            AssemblyError: There is no assembly, or it is not the code that is here.
            UnsupportedError: A change cannot be made here; nothing was changed.
            DeploymentError: AWS would refuse a resource.
        """
        changed = Assembly(assembly)
        check_code(changed.stacks)
        before = dict(self.sagemaker.containers)
        self.sagemaker.containers.update(containers)
        try:
            self.cloudformation.update(changed)
        except (DeploymentError, UnsupportedError):
            self.sagemaker.containers.clear()
            self.sagemaker.containers.update(before)
            raise
        self.assembly = changed

    def reseed(self, seed: int) -> None:
        """Draw everything random, also what moto draws, from another seed from now on."""
        self.scheduler.reseed(seed)
        mock_random.seed(seed)

    def operator(self, region: str) -> Session:
        """A boto3 session of somebody with every permission, whose calls the hook logs."""
        return self.hook.session(region=region)

    def api(self, region: str, *, timeout_s: float = 60.0) -> httpx.Client:
        """An HTTP client of a region's API, in this process: `client.get("/v1/models")`."""
        return httpx.Client(
            transport=Transport(self.scheduler, self.gateway, region=region),
            base_url=f"https://api.{region}.twin",
            timeout=timeout_s,
        )

    def link_client(self, *, timeout_s: float = 60.0) -> httpx.Client:
        """An HTTP client without a key, in this process: for presigned links, and nothing else."""
        return httpx.Client(transport=LinkTransport(self.scheduler, self.links), timeout=timeout_s)

    def client(self, name: str, *, near: str, timeout_s: float = 60.0) -> httpx.Client:
        """An HTTP client of the deployment's domain, in this process: it goes where DNS leads it.

        Args:
            name: The domain's name, or a region's own name in it.
            near: The region that the client is nearest to; any of AWS's, not only the deployment's.
            timeout_s: Of connecting, and of reading.

        Raises:
            ValueError: It is not known where `near` is.
        """
        resolver = Resolver(self.scheduler, self.route53, near=near)
        return httpx.Client(
            transport=Transport(self.scheduler, self.gateway, resolver=resolver),
            base_url=f"https://{name}",
            timeout=timeout_s,
        )

    def close(self) -> None:
        """End everything that runs, and give moto, botocore and time back."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _account(assembly: Assembly) -> str:
    accounts = sorted({stack.account for stack in assembly.stacks})
    if len(accounts) != 1:
        raise AssemblyError(
            f"{assembly.path} has stacks of accounts {accounts}: the twin runs one account"
        )
    return accounts[0]
