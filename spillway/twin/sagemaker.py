"""SageMaker asynchronous inference: endpoints, their instances, their queue, their notices.

moto refuses current instance types and knows neither inline bodies nor notifications, so the
endpoints live here. Whoever calls `sagemaker` or `sagemaker-runtime` through boto3, in this
process or over moto's HTTP server, arrives here, because moto's request handlers are pointed at
this module for as long as the service is open. Nothing here logs a payload.
"""

import base64
import json
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, Literal

from moto.core.responses import ActionResult
from moto.s3.models import s3_backends
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from spillway.twin.clock import Event, Scheduler
from spillway.twin.containers import Answer, Container, Factory, StartError
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.sns import publish

# InvokeEndpointAsync's limits (SageMaker Runtime API reference) and defaults.
BODY_BYTES_MAX: Final = 128_000
INFERENCE_ID_CHARACTERS_MAX: Final = 64
CUSTOM_ATTRIBUTES_CHARACTERS_MAX: Final = 1024
TTL_SECONDS: Final = (60, 21_600)
TTL_SECONDS_DEFAULT: Final = 21_600
TIMEOUT_SECONDS: Final = (1, 3_600)
TIMEOUT_SECONDS_DEFAULT: Final = 900
# "The inference response is included only if the response size is less than or equal to 128 KB"
# (AsyncInferenceNotificationConfig).
INCLUDED_BYTES_MAX: Final = 128 * 1024
# A container must answer pings within eight minutes (developer guide) unless the variant's
# ContainerStartupHealthCheckTimeoutInSeconds says otherwise.
START_SECONDS_MAX: Final = 480
# Ours, against a runaway test: AWS documents no bound, and a time to live of 6 h is one.
QUEUE_REQUESTS_MAX: Final = 1_000_000
REMEMBERED_IDS_MAX: Final = 100_000
LISTED_DEFAULT: Final = 10


class RefusedError(Exception):
    """SageMaker refuses a call; boto3's callers get it as a ClientError of that code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What AWS does not document, each with the answers that a simulation should try.

    Args:
        in_flight: A request whose instance is scaled in, or whose endpoint is deleted: queued
            again (failed when no endpoint is left), failed with a notification, or silent.
        same_inference_id: Two invocations with one InferenceId both run, or the second is
            accepted and dropped.
        failure_notice: The body of a failure's notification names inference id and endpoint, or
            only the input's location.
        failure_reason: It tells the container's status, or nothing of it.
        notifications: They come at least once, or sometimes never.
        notifications_odd_share: Share of notifications that come twice, or never.
        output: The object is there before its notification, or after.
        queue: Requests beyond an endpoint's concurrency are taken in order, or in any order.
        included_response: How a notification encodes the response that it includes.
        expired: A request that outlived its time to live is notified as failed, or vanishes.
    """

    in_flight: Literal["requeued", "failed", "silent"] = "requeued"
    same_inference_id: Literal["both_run", "second_dropped"] = "both_run"
    failure_notice: Literal["inference_id", "input_location"] = "inference_id"
    failure_reason: Literal["status", "general"] = "status"
    notifications: Literal["at_least_once", "sometimes_never"] = "at_least_once"
    notifications_odd_share: float = 0.0
    output: Literal["object_first", "notification_first"] = "object_first"
    queue: Literal["in_order", "any_order"] = "in_order"
    included_response: Literal["base64", "text"] = "base64"
    expired: Literal["notified", "silent"] = "notified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One instance's bill: it runs from the request for it until it is let go.

    Args:
        region: Where it runs.
        endpoint: What it serves.
        instance_type: Such as `ml.g5.xlarge`.
        requested_s: Seconds since the epoch.
        stopped_s: Seconds since the epoch, None while it runs.
    """

    region: str
    endpoint: str
    instance_type: str
    requested_s: float
    stopped_s: float | None


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """One invocation in an endpoint's queue or on one of its instances."""

    inference_id: str
    received_s: float
    body: bytes | None
    input_location: str | None
    headers: Mapping[str, str]
    output: tuple[str, str]
    failure: tuple[str, str] | None
    timeout_s: float
    expires_s: float
    expiry: Event | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Instance:
    """One machine of an endpoint, with what it computes now."""

    container: Container
    requested_s: float
    running: dict[Request, Event] = field(default_factory=dict)
    in_service: bool = False
    stopped_s: float | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Endpoint:
    """One asynchronous endpoint of one variant."""

    name: str
    arn: str
    region: str
    account: str
    config: Mapping[str, Any]
    factory: Factory
    environment: Mapping[str, str]
    created_s: float
    modified_s: float
    desired: int
    instances: list[Instance] = field(default_factory=list)
    waiting: deque[Request] = field(default_factory=deque)
    lost: list[Request] = field(default_factory=list)
    seen: dict[str, None] = field(default_factory=dict)
    created: bool = False
    failure_reason: str = ""

    @property
    def variant(self) -> Mapping[str, Any]:
        """The production variant's properties."""
        variant: Mapping[str, Any] = self.config["ProductionVariants"][0]
        return variant

    @property
    def outputs(self) -> Mapping[str, Any]:
        """Where answers go, and who is told."""
        outputs: Mapping[str, Any] = self.config["AsyncInferenceConfig"]["OutputConfig"]
        return outputs

    @property
    def concurrency(self) -> int:
        """Requests that one instance gets at once; 1 where SageMaker would choose."""
        client = self.config["AsyncInferenceConfig"].get("ClientConfig") or {}
        return int(client.get("MaxConcurrentInvocationsPerInstance", 1))

    @property
    def in_service(self) -> list[Instance]:
        """The instances that take requests."""
        return [instance for instance in self.instances if instance.in_service]

    @property
    def backlog(self) -> int:
        """Requests queued and in process, as ApproximateBacklogSize counts them."""
        return len(self.waiting) + sum(len(instance.running) for instance in self.instances)

    @property
    def oldest_s(self) -> float | None:
        """When the oldest request came that is queued or in process; None without one."""
        working = (request for instance in self.instances for request in instance.running)
        return min((one.received_s for one in chain(self.waiting, working)), default=None)

    @property
    def status(self) -> str:
        """The EndpointStatus."""
        if self.failure_reason and not self.created:
            return "Failed"
        settled = len(self.in_service) == len(self.instances) == self.desired
        return "InService" if settled else "Updating" if self.created else "Creating"


class SageMaker:
    """The SageMaker of every region and account of the twin.

    Args:
        scheduler: Clock and source of chance.
        containers: What serves an endpoint, by the endpoint's name; read when an instance starts.
        assumptions: Answers to what AWS does not document.
        warm_up_factor: Share of a container's warm-up that really passes: 1 on the virtual
            clock, less where people wait for it.
        notice_s: Seconds between an answer's object and its notification.
        deployed_warm: A deployment's first instances are in service without their warm-up,
            because CloudFormation waits for them before a stack is complete.

    Attributes:
        observers: Told of each request when an instance takes it out of the queue.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        containers: Mapping[str, Factory],
        *,
        assumptions: Assumptions | None = None,
        warm_up_factor: float = 1.0,
        notice_s: float = 0.05,
        deployed_warm: bool = True,
    ) -> None:
        self.assumptions = assumptions or Assumptions()
        self.observers: list[Callable[[Request], object]] = []
        self._scheduler = scheduler
        self.containers = dict(containers)
        self._warm_up_factor = warm_up_factor
        self._notice_s = notice_s
        self._deployed_warm = deployed_warm
        self._models: dict[str, Mapping[str, Any]] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}
        self._endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self._former: list[Container] = []
        self._usage: list[Usage] = []
        self._paused: dict[str, list[Callable[[], None]]] = {}
        self._undo = ExitStack()
        self._intercept()

    # ---- deployment

    def create(self, resource: Resource) -> Resource | None:
        """Create a model, an endpoint configuration or an endpoint of a template.

        Raises:
            ValueError: SageMaker would refuse it, or nothing is there to serve it.
            UnsupportedError: The twin cannot run it.
        """
        kind = resource.type.rpartition(":")[2]
        name = str(resource.properties.get(f"{kind}Name", resource.physical_id))
        arn = (
            f"arn:aws:sagemaker:{resource.region}:{resource.account}:"
            f"{_ARN_KINDS[kind]}/{name.lower() if kind != 'Endpoint' else name}"
        )
        if kind == "Model":
            self._models[f"{resource.region}/{name}"] = resource.properties
        elif kind == "EndpointConfig":
            _check_config(resource)
            self._configs[f"{resource.region}/{name}"] = {
                **resource.properties,
                "name": name,
                "created_s": self._scheduler.now(),
            }
        else:
            self._create_endpoint(resource, name, arn)
        return replace(resource, physical_id=arn, attributes={f"{kind}Name": name})

    def _create_endpoint(self, resource: Resource, name: str, arn: str) -> None:
        region, account = resource.region, resource.account
        if (account, region, name) in self._endpoints:
            raise ValueError(f"Cannot create already existing endpoint {arn!r}.")
        wanted = resource.properties["EndpointConfigName"]
        config = self._configs.get(f"{region}/{wanted}")
        if config is None:
            raise ValueError(f"Could not find endpoint configuration {wanted!r}.")
        model = config["ProductionVariants"][0].get("ModelName", "")
        if f"{region}/{model}" not in self._models:
            raise ValueError(f"Could not find model {model!r}.")
        factory = self.containers.get(name)
        if factory is None:
            raise ValueError(f"nothing on this machine serves endpoint {name!r}; give a container")
        definition = self._models[f"{region}/{model}"].get("PrimaryContainer") or {}
        now_s = self._scheduler.now()
        endpoint = Endpoint(
            name=name,
            arn=arn,
            region=region,
            account=account,
            config=config,
            factory=factory,
            environment={k: str(v) for k, v in (definition.get("Environment") or {}).items()},
            created_s=now_s,
            modified_s=now_s,
            desired=int(config["ProductionVariants"][0]["InitialInstanceCount"]),
        )
        self._endpoints[account, region, name] = endpoint
        for _ in range(endpoint.desired):
            self._launch(endpoint, warm=self._deployed_warm)

    # ---- what operators and autoscaling ask

    def endpoint(self, region: str, name: str) -> Endpoint:
        """Find an endpoint by its name, whatever its account.

        Raises:
            KeyError: There is none.
        """
        for (_, at, called), endpoint in self._endpoints.items():
            if (at, called) == (region, name):
                return endpoint
        raise KeyError(f"no endpoint {name!r} in {region}")

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint there is, in the order of creation."""
        return list(self._endpoints.values())

    @property
    def settled(self) -> bool:
        """Whether no endpoint is being created any more, so that a stack would be complete."""
        return all(endpoint.status != "Creating" for endpoint in self._endpoints.values())

    def resize(self, endpoint: Endpoint, instances: int) -> None:
        """Change the desired instance count, as UpdateEndpointWeightsAndCapacities does.

        Raises:
            RefusedError: The endpoint is being created or updated.
        """
        if endpoint.status != "InService":
            raise RefusedError(
                "ValidationException", f'Cannot update in-progress endpoint "{endpoint.arn}".'
            )
        endpoint.modified_s = self._scheduler.now()
        endpoint.desired = instances
        for _ in range(instances - len(endpoint.instances)):
            self._launch(endpoint)
        # Which ones SageMaker lets go is not documented: those with the least to lose.
        spare = sorted(endpoint.instances, key=lambda instance: len(instance.running))
        for instance in spare[: max(0, len(endpoint.instances) - instances)]:
            self._release(endpoint, instance)
        self._pump(endpoint)

    def delete(self, endpoint: Endpoint) -> None:
        """Let every instance go, and whatever waited with them."""
        del self._endpoints[endpoint.account, endpoint.region, endpoint.name]
        endpoint.desired = 0
        for instance in list(endpoint.instances):
            self._release(endpoint, instance)
        while endpoint.waiting:
            request = endpoint.waiting.popleft()
            if request.expiry:
                request.expiry.cancel()
            if self.assumptions.in_flight != "silent":
                self._fail(endpoint, request, "InternalServerError: the endpoint was deleted.")

    def usage(self) -> list[Usage]:
        """List every instance that ever ran: the stopped ones, then the running ones."""
        running = [
            _usage(endpoint, instance)
            for endpoint in self._endpoints.values()
            for instance in endpoint.instances
        ]
        return [*self._usage, *running]

    def instance_seconds(self, since_s: float, until_s: float) -> float:
        """Add up what instances are billed for, warm-up included, in a span of time."""
        return sum(
            max(0.0, min(until_s, use.stopped_s or until_s) - max(since_s, use.requested_s))
            for use in self.usage()
        )

    def serve(self, name: str, factory: Factory) -> None:
        """Serve an endpoint by something else from now on, in every region, without warm-up.

        Requests under way finish with the container that has them.

        Raises:
            KeyError: No region has such an endpoint.
        """
        found = [endpoint for endpoint in self._endpoints.values() if endpoint.name == name]
        if not found:
            raise KeyError(f"no endpoint {name!r}")
        for endpoint in found:
            endpoint.factory = factory
            for instance in endpoint.in_service:
                former, instance.container = instance.container, self._container(endpoint)
                instance.container.start()
                self._former.append(former)

    def pause(self, region: str) -> None:
        """Let a region's instances break off what they compute, and answer nothing."""
        self._paused.setdefault(region, [])
        for endpoint in self._in(region):
            for instance in endpoint.instances:
                for timeout in instance.running.values():
                    timeout.cancel()
                endpoint.lost += instance.running
                instance.running = {}

    def resume(self, region: str) -> None:
        """Serve again; what was in flight comes to the end that `Assumptions.in_flight` says.

        What waited in an endpoint's queue is still there, unless it expired.
        """
        notices = self._paused.pop(region, [])
        if self.assumptions.in_flight != "silent":
            for notice in notices:
                self._scheduler.after(self._notice_s, notice)
        for endpoint in self._in(region):
            overdue = [one for one in endpoint.waiting if one.expires_s <= self._scheduler.now()]
            orphans, endpoint.lost = endpoint.lost, []
            self._abandon(endpoint, orphans, "InternalServerError: the instance was lost.")
            for request in overdue:
                self._expire(endpoint, request)
            self._pump(endpoint)

    def _in(self, region: str) -> list[Endpoint]:
        return [endpoint for endpoint in self._endpoints.values() if endpoint.region == region]

    def close(self) -> None:
        """Stop every container and give moto's handlers back."""
        self._undo.close()
        for endpoint in self._endpoints.values():
            for instance in endpoint.instances:
                instance.container.stop()
        for container in self._former:
            container.stop()

    # ---- instances

    def _container(self, endpoint: Endpoint) -> Container:
        return endpoint.factory(self._scheduler, endpoint.environment)

    def _launch(self, endpoint: Endpoint, *, warm: bool = False) -> None:
        container = self._container(endpoint)
        instance = Instance(container=container, requested_s=self._scheduler.now())
        endpoint.instances.append(instance)
        if warm:
            self._start(endpoint, instance)
        else:
            warm_up_s = container.warm_up_s * self._warm_up_factor
            self._scheduler.after(warm_up_s, self._start, endpoint, instance)

    def _start(self, endpoint: Endpoint, instance: Instance) -> None:
        if instance.stopped_s is not None:
            return
        try:
            instance.container.start()
        except (StartError, OSError) as error:
            self._give_up(endpoint, instance, str(error))
            return
        limit_s = endpoint.variant.get("ContainerStartupHealthCheckTimeoutInSeconds")
        self._check(endpoint, instance, self._scheduler.now() + (limit_s or START_SECONDS_MAX))

    def _check(self, endpoint: Endpoint, instance: Instance, until_s: float) -> None:
        if instance.stopped_s is not None:
            return
        try:
            healthy = instance.container.ready()
        except StartError as error:
            self._give_up(endpoint, instance, str(error))
            return
        if healthy:
            instance.in_service = True
            endpoint.created = endpoint.created or endpoint.status == "InService"
            endpoint.modified_s = self._scheduler.now()
            self._pump(endpoint)
        elif self._scheduler.now() >= until_s:
            self._give_up(endpoint, instance, "it never answered /ping")
        else:
            poll_s = 1.0 if self._scheduler.virtual else 0.1
            self._scheduler.after(poll_s, self._check, endpoint, instance, until_s)

    def _give_up(self, endpoint: Endpoint, instance: Instance, why: str) -> None:
        variant = endpoint.variant["VariantName"]
        endpoint.failure_reason = (
            f"The primary container for production variant {variant} did not pass the ping "
            f"health check: {why}"
        )
        # A failed scale-out rolls back; a failed creation stays failed.
        endpoint.desired -= 1
        self._release(endpoint, instance)

    def _release(self, endpoint: Endpoint, instance: Instance) -> None:
        instance.in_service = False
        instance.stopped_s = self._scheduler.now()
        endpoint.instances.remove(instance)
        self._usage.append(_usage(endpoint, instance))
        instance.container.stop()
        orphans, instance.running = instance.running, {}
        for timeout in orphans.values():
            timeout.cancel()
        self._abandon(endpoint, orphans, "InternalServerError: the instance was stopped.")

    def _abandon(self, endpoint: Endpoint, orphans: Iterable[Request], reason: str) -> None:
        """Let requests come to the end that is assumed when their instance is gone."""
        for request in orphans:
            if self.assumptions.in_flight == "requeued" and self._lives(endpoint):
                endpoint.waiting.appendleft(request)
                self._expire_later(endpoint, request)
            elif self.assumptions.in_flight != "silent":
                self._fail(endpoint, request, reason)

    def _lives(self, endpoint: Endpoint) -> bool:
        return (endpoint.account, endpoint.region, endpoint.name) in self._endpoints

    # ---- invocations

    def invoke(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> Request:
        """Queue one request, as InvokeEndpointAsync does.

        Args:
            endpoint: Where.
            headers: The request's, by lower-case name.
            body: The inline payload, if any.

        Raises:
            RefusedError: SageMaker would refuse it.
        """
        request = self._accept(endpoint, headers, body)
        if len(endpoint.waiting) >= QUEUE_REQUESTS_MAX:
            raise RefusedError("ServiceUnavailable", "The endpoint's queue is full.")
        repeated = request.inference_id in endpoint.seen
        endpoint.seen[request.inference_id] = None
        if len(endpoint.seen) > REMEMBERED_IDS_MAX:
            del endpoint.seen[next(iter(endpoint.seen))]
        if repeated and self.assumptions.same_inference_id == "second_dropped":
            return request
        endpoint.waiting.append(request)
        self._expire_later(endpoint, request)
        self._pump(endpoint)
        return request

    def _accept(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> Request:
        def header(name: str) -> str | None:
            return headers.get(f"x-amzn-sagemaker-{name}")

        location = header("inputlocation")
        if (location is None) == (not body):
            raise _invalid("Provide exactly one of Body and InputLocation.")
        if len(body) > BODY_BYTES_MAX:
            raise _invalid(f"Body must have length less than or equal to {BODY_BYTES_MAX}")
        if location is not None and not location.startswith(("s3://", "https://")):
            raise _invalid("InputLocation must be an S3 address.")
        inference_id = header("inference-id") or str(uuid.UUID(int=self._bits(), version=4))
        if len(inference_id) > INFERENCE_ID_CHARACTERS_MAX:
            raise _invalid(
                f"InferenceId must have at most {INFERENCE_ID_CHARACTERS_MAX} characters"
            )
        if len(header("custom-attributes") or "") > CUSTOM_ATTRIBUTES_CHARACTERS_MAX:
            raise _invalid("CustomAttributes must have at most 1024 characters")
        ttl_s = _number("RequestTTLSeconds", header("requestttlseconds"), *TTL_SECONDS)
        timeout_s = _number(
            "InvocationTimeoutSeconds", header("invocationtimeoutseconds"), *TIMEOUT_SECONDS
        )
        places = [
            _place(path, header("s3outputpathextension"), header("filename"), default)
            for path, default in (
                (endpoint.outputs.get("S3OutputPath"), f"{inference_id}.out"),
                (endpoint.outputs.get("S3FailurePath"), f"{inference_id}-error.out"),
            )
        ]
        now_s = self._scheduler.now()
        return Request(
            inference_id=inference_id,
            received_s=now_s,
            body=body or None,
            input_location=location,
            headers={
                name: value
                for name, value in (
                    ("content-type", header("content-type")),
                    ("accept", header("accept")),
                    ("x-amzn-sagemaker-custom-attributes", header("custom-attributes")),
                    ("x-amzn-sagemaker-inference-id", inference_id),
                )
                if value is not None
            },
            output=places[0] or ("", ""),
            failure=places[1],
            timeout_s=timeout_s or TIMEOUT_SECONDS_DEFAULT,
            expires_s=now_s + (ttl_s or TTL_SECONDS_DEFAULT),
        )

    def _bits(self) -> int:
        return self._scheduler.random.getrandbits(128)

    def _expire_later(self, endpoint: Endpoint, request: Request) -> None:
        request.expiry = self._scheduler.at(request.expires_s, self._expire, endpoint, request)

    def _expire(self, endpoint: Endpoint, request: Request) -> None:
        if endpoint.region in self._paused:
            return
        endpoint.waiting.remove(request)
        if self.assumptions.expired == "notified":
            self._fail(endpoint, request, "ClientError: the request expired in the queue.")

    def _pump(self, endpoint: Endpoint) -> None:
        """Hand waiting requests to the instances that have room, the emptiest first."""
        while endpoint.waiting and endpoint.region not in self._paused:
            free = min(endpoint.in_service, key=lambda one: len(one.running), default=None)
            if free is None or len(free.running) >= endpoint.concurrency:
                return
            if self.assumptions.queue == "any_order":
                endpoint.waiting.rotate(self._scheduler.random.randrange(len(endpoint.waiting)))
            request = endpoint.waiting.popleft()
            if request.expiry:
                request.expiry.cancel()
            self._run(endpoint, free, request)

    def _run(self, endpoint: Endpoint, instance: Instance, request: Request) -> None:
        body = request.body
        if body is None:
            body = _read(endpoint.account, request.input_location or "")
            if body is None:
                self._fail(endpoint, request, "ClientError: Unable to download the input.")
                return
        timeout = self._scheduler.after(
            request.timeout_s, self._time_out, endpoint, instance, request
        )
        instance.running[request] = timeout
        for observer in self.observers:
            observer(request)

        def reply(answer: Answer | None) -> None:
            # A reply after the timeout, or from an instance that was let go, finds nobody.
            if instance.running.get(request) is timeout:
                timeout.cancel()
                del instance.running[request]
                self._finish(endpoint, instance, request, answer)

        instance.container.invoke(body, request.headers, reply)

    def _time_out(self, endpoint: Endpoint, instance: Instance, request: Request) -> None:
        del instance.running[request]
        self._fail(
            endpoint,
            request,
            "ModelError: Your invocation timed out while waiting for a response from container "
            "primary.",
        )
        self._pump(endpoint)

    def _finish(
        self, endpoint: Endpoint, instance: Instance, request: Request, answer: Answer | None
    ) -> None:
        if answer is None:
            # A container that breaks off is unhealthy: SageMaker puts a new instance in its place.
            self._fail(endpoint, request, "ModelError: the container closed the connection.")
            self._release(endpoint, instance)
            self._launch(endpoint)
        elif 200 <= answer.status < 300:  # noqa: PLR2004 HTTP's own
            self._deliver(endpoint, request, answer, reason=None)
        else:
            side = "client" if answer.status < 500 else "server"  # noqa: PLR2004 HTTP's own
            told = f"Received {side} error ({answer.status}) from model."
            if self.assumptions.failure_reason == "general":
                told = "The model failed."
            self._deliver(
                endpoint,
                request,
                answer,
                reason=f"ClientError: {told} See the SageMaker Endpoint logs in your account for "
                "more information.",
            )
        self._pump(endpoint)

    # ---- answers

    def _fail(self, endpoint: Endpoint, request: Request, reason: str) -> None:
        self._deliver(endpoint, request, None, reason=reason)

    def _deliver(
        self, endpoint: Endpoint, request: Request, answer: Answer | None, *, reason: str | None
    ) -> None:
        """Write the answer's object and tell the topic, in the order that is assumed."""
        place = request.output if reason is None else request.failure

        def write() -> None:
            if place is not None and answer is not None:
                _write(endpoint.account, place, answer)

        notice = self._notice(endpoint, request, answer, reason)
        topic = endpoint.outputs.get("NotificationConfig", {}).get(
            "SuccessTopic" if reason is None else "ErrorTopic"
        )

        def tell() -> None:
            for _ in range(self._copies()):
                if topic:
                    publish(topic, notice)

        first, second = (
            (write, tell) if self.assumptions.output == "object_first" else (tell, write)
        )
        first()

        def later() -> None:
            if endpoint.region in self._paused:
                self._paused[endpoint.region].append(second)
            else:
                second()

        self._scheduler.after(self._notice_s, later)

    def _copies(self) -> int:
        """Decide how often a notification comes."""
        if self._scheduler.random.random() >= self.assumptions.notifications_odd_share:
            return 1
        return 2 if self.assumptions.notifications == "at_least_once" else 0

    def _notice(
        self, endpoint: Endpoint, request: Request, answer: Answer | None, reason: str | None
    ) -> str:
        asked = {"endpointName": endpoint.name}
        if request.input_location is not None:
            asked["inputLocation"] = request.input_location
        for ours, theirs in (
            ("content-type", "contentType"),
            ("accept", "accept"),
            ("x-amzn-sagemaker-custom-attributes", "customAttributes"),
        ):
            if ours in request.headers:
                asked[theirs] = request.headers[ours]
        notice: dict[str, Any] = {
            "awsRegion": endpoint.region,
            "eventTime": _iso(self._scheduler.now()),
            "receivedTime": _iso(request.received_s),
            "invocationStatus": "Completed" if reason is None else "Failed",
            "requestParameters": asked,
            "inferenceId": request.inference_id,
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
        if reason is None and answer is not None:
            notice["responseParameters"] = {
                "contentType": answer.content_type,
                "outputLocation": _address(request.output),
            }
        else:
            notice["failureReason"] = reason
            if self.assumptions.failure_notice == "input_location":
                del notice["inferenceId"]
                notice["requestParameters"] = {
                    key: value for key, value in asked.items() if key == "inputLocation"
                }
        included = endpoint.outputs.get("NotificationConfig", {}).get(
            "IncludeInferenceResponseIn", ()
        )
        wanted = f"{'SUCCESS' if reason is None else 'ERROR'}_NOTIFICATION_TOPIC" in included
        if wanted and answer is not None and len(answer.body) <= INCLUDED_BYTES_MAX:
            notice["responseBody"] = self._included(answer.body)
        return json.dumps(notice)

    def _included(self, body: bytes) -> dict[str, str]:
        if self.assumptions.included_response == "text":
            return {"content": body.decode(errors="replace")}
        return {"content": base64.b64encode(body).decode(), "encoding": "BASE64"}

    # ---- boto3

    def _intercept(self) -> None:
        """Point moto's handlers of our operations here, until `close`."""
        for owner, handlers in (
            (
                SageMakerResponse,
                {
                    "describe_endpoint": self._describe,
                    "list_endpoints": self._list,
                    "update_endpoint_weights_and_capacities": self._update,
                    "delete_endpoint": self._delete,
                },
            ),
            (
                SageMakerRuntimeResponse,
                {"invoke_endpoint_async": self._invoked, "invoke_endpoint": self._refuse},
            ),
        ):
            for name, method in handlers.items():
                self._undo.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, _handler(method))

    def _named(self, response: Any) -> Endpoint:
        name = response._get_param("EndpointName")  # noqa: SLF001 moto's way to parameters
        key = (response.current_account, response.region, name)
        if key in self._endpoints:
            return self._endpoints[key]
        raise RefusedError("ValidationException", f'Could not find endpoint "{_arn(*key)}".')

    def _describe(self, response: Any) -> ActionResult:
        return ActionResult(_description(self._named(response)))

    def _update(self, response: Any) -> ActionResult:
        endpoint = self._named(response)
        for change in response._get_param("DesiredWeightsAndCapacities"):  # noqa: SLF001
            if change["VariantName"] != endpoint.variant["VariantName"]:
                raise RefusedError(
                    "ValidationException", f'Could not find variant "{change["VariantName"]}".'
                )
            if "DesiredInstanceCount" in change:
                self.resize(endpoint, int(change["DesiredInstanceCount"]))
        return ActionResult({"EndpointArn": endpoint.arn})

    def _delete(self, response: Any) -> ActionResult:
        self.delete(self._named(response))
        return ActionResult({})

    def _refuse(self, response: Any) -> ActionResult:
        self._called(response)
        raise _invalid("This endpoint takes asynchronous invocations only.")

    def _called(self, response: Any) -> Endpoint:
        name = response.path.split("/")[2]
        endpoint = self._endpoints.get((response.current_account, response.region, name))
        if endpoint is None or endpoint.status in ("Creating", "Failed"):
            raise _invalid(f"Endpoint {name} of account {response.current_account} not found.")
        return endpoint

    def _invoked(self, response: Any) -> tuple[str, dict[str, str | int]]:
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = response.body
        request = self.invoke(
            self._called(response), headers, body if isinstance(body, bytes) else body.encode()
        )
        told: dict[str, str | int] = {
            "status": 202,
            "X-Amzn-SageMaker-OutputLocation": _address(request.output),
        }
        if request.failure is not None:
            told["X-Amzn-SageMaker-FailureLocation"] = _address(request.failure)
        return json.dumps({"InferenceId": request.inference_id}), told

    def _list(self, response: Any) -> ActionResult:
        contains = response._get_param("NameContains") or ""  # noqa: SLF001
        status = response._get_param("StatusEquals")  # noqa: SLF001
        limit = int(response._get_param("MaxResults") or LISTED_DEFAULT)  # noqa: SLF001
        start = int(response._get_param("NextToken") or 0)  # noqa: SLF001
        found = [
            {
                "EndpointName": endpoint.name,
                "EndpointArn": endpoint.arn,
                "CreationTime": _when(endpoint.created_s),
                "LastModifiedTime": _when(endpoint.modified_s),
                "EndpointStatus": endpoint.status,
            }
            for (account, region, name), endpoint in self._endpoints.items()
            if (account, region) == (response.current_account, response.region)
            and contains in name
            and status in (None, endpoint.status)
        ]
        page: dict[str, Any] = {"Endpoints": found[start : start + limit]}
        if start + limit < len(found):
            page["NextToken"] = str(start + limit)
        return ActionResult(page)


_ARN_KINDS: Final = {"Model": "model", "EndpointConfig": "endpoint-config", "Endpoint": "endpoint"}


def _handler(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make what moto calls of a bound method: a function that answers errors as responses."""

    def handler(response: Any) -> Any:
        try:
            return method(response)
        except RefusedError as error:
            status = 503 if error.code == "ServiceUnavailable" else 400
            body = json.dumps({"__type": error.code, "message": str(error), "Message": str(error)})
            return body, {"status": status, "x-amzn-errortype": error.code}

    return handler


def _check_config(resource: Resource) -> None:
    variants = resource.properties["ProductionVariants"]
    if "AsyncInferenceConfig" not in resource.properties:
        raise UnsupportedError("AsyncInferenceConfig is missing: only asynchronous endpoints run")
    if len(variants) != 1:
        raise UnsupportedError("ProductionVariants: only one variant runs")
    if int(variants[0].get("InitialInstanceCount", 0)) < 1:
        raise ValueError("InitialInstanceCount must have value greater than or equal to 1")


def _invalid(message: str) -> RefusedError:
    """Make the runtime's error for a bad request; the control plane has `ValidationException`."""
    return RefusedError("ValidationError", message)


def _number(name: str, given: str | None, least: int, most: int) -> int | None:
    if given is None:
        return None
    if not given.isdecimal() or not least <= int(given) <= most:
        raise _invalid(f"{name} must be between {least} and {most}")
    return int(given)


def _place(
    path: str | None, extension: str | None, filename: str | None, default: str
) -> tuple[str, str] | None:
    """Tell bucket and key of an answer, None where the configuration names no place."""
    if not path:
        return None
    bucket, _, prefix = path.removeprefix("s3://").partition("/")
    parts = [prefix.strip("/"), (extension or "").strip("/"), filename or default]
    return bucket, "/".join(part for part in parts if part)


def _address(place: tuple[str, str]) -> str:
    return f"s3://{place[0]}/{place[1]}"


def _read(account: str, location: str) -> bytes | None:
    bucket, _, key = location.removeprefix("s3://").partition("/")
    # moto raises its own errors for a bucket that is not there.
    if bucket not in s3_backends[account]["aws"].buckets:
        return None
    found = s3_backends[account]["aws"].get_object(bucket, key)
    return None if found is None else bytes(found.value)


def _write(account: str, place: tuple[str, str], answer: Answer) -> None:
    written = s3_backends[account]["aws"].put_object(*place, answer.body)
    written.set_metadata({"Content-Type": answer.content_type}, replace=True)


def _iso(at_s: float) -> str:
    return _when(at_s).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _when(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, tz=UTC)


def _arn(account: str, region: str, name: str) -> str:
    return f"arn:aws:sagemaker:{region}:{account}:endpoint/{name}"


def _usage(endpoint: Endpoint, instance: Instance) -> Usage:
    return Usage(
        region=endpoint.region,
        endpoint=endpoint.name,
        instance_type=str(endpoint.variant.get("InstanceType", "")),
        requested_s=instance.requested_s,
        stopped_s=instance.stopped_s,
    )


def _description(endpoint: Endpoint) -> dict[str, Any]:
    weight = float(endpoint.variant.get("InitialVariantWeight", 1.0))
    described: dict[str, Any] = {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint.arn,
        "EndpointConfigName": endpoint.config["name"],
        "EndpointStatus": endpoint.status,
        "CreationTime": _when(endpoint.created_s),
        "LastModifiedTime": _when(endpoint.modified_s),
        "AsyncInferenceConfig": endpoint.config["AsyncInferenceConfig"],
        "ProductionVariants": [
            {
                "VariantName": endpoint.variant["VariantName"],
                "CurrentWeight": weight,
                "DesiredWeight": weight,
                "CurrentInstanceCount": len(endpoint.in_service),
                "DesiredInstanceCount": endpoint.desired,
            }
        ],
    }
    if endpoint.failure_reason:
        described["FailureReason"] = endpoint.failure_reason
    return described
