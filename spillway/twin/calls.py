"""The one seam between code and AWS: every request that botocore sends passes through here.

The hook sits where botocore puts a request on the wire, below its retries, so each resend is a
call of its own, as AWS would see it. There it logs the call, lets its latency pass while other
tasks run, and can make it fail, be lost after its effect, or kill the execution that made it.
"""

import copy
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final, NoReturn, Protocol, cast
from unittest.mock import patch

import boto3
import botocore.endpoint
import botocore.session
import botocore.waiter
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from botocore.retries import quota
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber
from moto.moto_api._internal import mock_random

from spillway.twin.clock import Scheduler
from spillway.twin.speed import faster

LATENCY_S: Final[Mapping[str | tuple[str, str], float]] = {
    "dynamodb": 0.005,
    "sqs": 0.008,
    "s3": 0.025,
    "sns": 0.015,
    "lambda": 0.012,
    "cloudwatch": 0.02,
    "sagemaker-runtime": 0.03,
}
"""Typical seconds of one call within a region, from experience and not from a document: what
matters is that time passes and calls interleave. Other services take `LATENCY_OTHER_S`."""

LATENCY_OTHER_S: Final = 0.02
OPERATOR: Final = "operator"
ACCESS_KEY: Final = "AKIATWIN"
SECRET_KEY: Final = "twin"  # noqa: S105 a word like any other
"""Everybody's: nothing here asks whose they are, but for links, which are signed with them."""
ENTRIES_MAX: Final = 200_000
"""Calls that the log keeps in full; the counts go on. Some hours of a busy twin."""

THROTTLED: Final = {
    "dynamodb": ("ThrottlingException", 400),
    "lambda": ("TooManyRequestsException", 429),
    "s3": ("SlowDown", 503),
    "sqs": ("RequestThrottled", 403),
    "sns": ("Throttling", 400),
}
BLOCKING: Final = {("lambda", "Invoke"), ("sqs", "ReceiveMessage")}
"""Calls that AWS answers late by design, so that a client's read timeout may end them first."""


class FunctionDied(BaseException):
    """The execution ended at once, as when Lambda kills its process.

    No `except Exception` sees it, and calls that a `finally` block still makes raise it again
    without reaching AWS.
    """


@dataclass(slots=True, eq=False)
class Caller:
    """Who makes calls: one execution of a function, or an operator.

    Args:
        function: The function's name, `operator`, or a service of the twin.
        region: Where it runs.
        execution: Id of the invocation, empty for operators.
        calls: Requests sent so far.
        dead: Whether it was killed.
        quotas: botocore's retry quotas, which belong to an execution environment.
    """

    function: str
    region: str
    execution: str = ""
    calls: int = 0
    dead: bool = False
    quotas: dict[int, quota.RetryQuota] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Call:
    """One request on the wire, retries counted separately.

    Attributes:
        at_s: When it was sent.
        region: Where it was sent to.
        function, execution, caller_region: Who sent it; see `Caller`.
        number: The how manieth of its execution, from 1.
        params: The operation's parameters.
        status: The answer's HTTP status; 0 without an answer.
        error: The error code of the answer, or why there is none.
        ended_s: When its sender went on.
    """

    at_s: float
    region: str
    function: str
    execution: str
    caller_region: str
    service: str
    operation: str
    params: Mapping[str, Any]
    number: int
    request_bytes: int
    response_bytes: int = 0
    status: int = 0
    error: str = ""
    ended_s: float = 0.0

    def __str__(self) -> str:
        outcome = self.error or str(self.status)
        return (
            f"{self.at_s:.3f} {self.caller_region} {self.function}#{self.number} "
            f"{self.service}.{self.operation} {self.region} {outcome}"
        )


@dataclass(slots=True, eq=False)
class Fault:
    """What goes wrong with the calls that match; empty fields match everything.

    Args:
        action: `die_before` and `die_after` kill the execution before or after the call has its
            effect; `timeout_before` and `timeout_after` are a read timeout without and with the
            effect; `unreachable` is a connect timeout; `throttle` is the service's throttling
            error; `empty` is an empty answer without effect, such as a receive that finds
            nothing; `slow` only adds `delay_s`; anything else is an error code to answer with.
        service: As boto3 names it.
        operation: As the API names it, `PutItem`.
        function: Who calls.
        region: Where the call goes to.
        caller_region: Where the caller runs.
        number: The how manieth call of its execution, from 1.
        when: A condition of one's own.
        skip: Let that many matches pass first.
        times: How often at most; None for ever.
        probability: How likely each match is hit, from the scheduler's random source.
        delay_s: Seconds that pass before anything else.
        status: HTTP status of an error code; 500 for `Internal…`, 503 for `ServiceUnavailable`,
            otherwise 400, unless given.
        hits: How often it struck.
    """

    action: str
    _: KW_ONLY
    service: str = ""
    operation: str = ""
    function: str = ""
    region: str = ""
    caller_region: str = ""
    number: int | None = None
    when: Callable[[Call], bool] | None = None
    skip: int = 0
    times: int | None = 1
    probability: float = 1.0
    delay_s: float = 0.0
    status: int | None = None
    hits: int = 0

    def matches(self, call: Call) -> bool:
        """Whether it is about this call, whatever it does then."""
        return (
            (self.times is None or self.hits < self.times)
            and self.service in ("", call.service)
            and self.operation in ("", call.operation)
            and self.function in ("", call.function)
            and self.region in ("", call.region)
            and self.caller_region in ("", call.caller_region)
            and self.number in (None, call.number)
            and (self.when is None or self.when(call))
        )


class Network(Protocol):
    """What lies between a caller and the region that it calls."""

    def cut(self, call: Call) -> bool:
        """Whether nothing gets through now."""

    def factor(self, call: Call) -> float:
        """How many times its usual time a call takes."""


class Flight(Protocol):
    """A call that is on its way to where it has its effect."""

    def arrive(self) -> str:
        """Wait for its turn; the error code that it is refused with, empty if it is not."""


class Consistency(Protocol):
    """What tables that are one in several regions ask of a call."""

    def extra_s(self, call: Call) -> float:
        """Seconds that regions take to agree, besides the usual latency."""

    def flight(self, call: Call) -> AbstractContextManager[Flight | None]:
        """Hold a call's place among those to the same items until it is over."""


class CallLog:
    """Every call in the order of sending: the last `ENTRIES_MAX` in full, all of them counted.

    Attributes:
        counts: Calls by (function, service, operation).
        observers: Called with each call when it has ended.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.observers: list[Callable[[Call], object]] = []
        self._entries: deque[Call] = deque(maxlen=ENTRIES_MAX)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._entries)

    def __getitem__(self, index: int) -> Call:
        return self._entries[index]

    def add(self, call: Call) -> None:
        """Note a call that is being sent."""
        self.counts[call.function, call.service, call.operation] += 1
        self._entries.append(call)

    def of(self, *, function: str = "", service: str = "", operation: str = "") -> list[Call]:
        """The kept calls that match; empty matches everything."""
        return [
            call
            for call in self._entries
            if function in ("", call.function)
            and service in ("", call.service)
            and operation in ("", call.operation)
        ]

    def clear(self) -> None:
        """Forget everything, counts too."""
        self.counts.clear()
        self._entries.clear()


@dataclass(slots=True)
class _Sending:
    """The API call that a task is making."""

    hook: "Hook"
    client: Any
    caller: Caller
    params: Mapping[str, Any]
    listeners: "_Listeners"


_SENDING: ContextVar[_Sending] = ContextVar("sending")
"""Each task has its own, because greenlets have contexts of their own. Clients find their hook
here, so all hooks share them: to make one takes longer than 50 calls."""


class Hook:
    """Makes sessions whose calls go to moto, through the log, the latency and the faults.

    Args:
        scheduler: Time and chance.
        account: The account that every call is made in.
        latency_s: Seconds by service or (service, operation), over `LATENCY_S` on the virtual
            clock; on the wall clock real time passes and nothing is added.
        latency_spread: Each latency is drawn evenly from (1 - spread, 1 + spread) times its
            value: this interleaves executions differently under each seed.

    Attributes:
        log: What was called.
        rules: Faults, the first that matches wins.
        network: What cuts regions off or slows them; operators' calls are not subject to it,
            so that a test can look into a region that is down.
        consistency: What strongly consistent tables ask of the calls of functions.
        links_url: Where presigned links lead instead of to S3; None where no network is used.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        account: str = "123456789012",
        latency_s: Mapping[str | tuple[str, str], float] | None = None,
        latency_spread: float = 0.5,
    ) -> None:
        self.scheduler = scheduler
        self.account = account
        self.log = CallLog()
        self.rules: list[Fault] = []
        self.network: Network | None = None
        self.consistency: Consistency | None = None
        self.links_url: str | None = None
        self.latency_s: dict[str | tuple[str, str], float] = dict(
            LATENCY_S if scheduler.virtual else {}
        ) | dict(latency_s or {})
        self.latency_other_s = LATENCY_OTHER_S if scheduler.virtual else 0.0
        self.latency_spread = latency_spread
        # botocore waits out its back-off itself; in a task that must be the twin's time.
        waits = SimpleNamespace(sleep=self._sleep)
        self._patches = [patch.object(botocore.endpoint, "time", waits)]
        self._patches.append(patch.object(botocore.waiter, "time", waits))
        for each in self._patches:
            each.start()
        self._faster = faster()
        if scheduler.virtual:
            mock_random.seed(scheduler.seed)

    def close(self) -> None:
        """Give botocore its own time back."""
        while self._patches:
            self._patches.pop().stop()
        self._faster.close()

    def session(self, *, region: str, function: str = OPERATOR, execution: str = "") -> "Session":
        """A session whose clients go through the hook, inside and outside of tasks.

        Args:
            region: The clients' region unless they name one.
            function: Who calls. In a task whose context is a `Caller`, that one is logged.
            execution: Id of the invocation, if it is one.
        """
        return Session(self, Caller(function, region, execution))

    def fail(self, fault: Fault) -> Fault:
        """Add a rule; `hits` of the returned one tells whether it struck."""
        self.rules.append(fault)
        return fault

    def note(self, caller: Caller, service: str, operation: str, params: Mapping[str, Any]) -> None:
        """Log a call that a service of the twin makes by itself, such as a poller's receive."""
        now_s = self.scheduler.now()
        caller.calls += 1
        call = Call(
            at_s=now_s,
            region=caller.region,
            function=caller.function,
            execution=caller.execution,
            caller_region=caller.region,
            service=service,
            operation=operation,
            params=params,
            number=caller.calls,
            request_bytes=0,
            status=200,
            ended_s=now_s,
        )
        self.log.add(call)
        for observer in self.log.observers:
            observer(call)

    # -- clients -----------------------------------------------------------------------------

    def client(self, caller: Caller, service: str, region: str, config: Config | None) -> Any:
        """A client for a caller: all callers share one botocore client underneath."""
        shared = _shared_client(service, region, config)
        client = object.__new__(type(shared))
        client.__dict__.update(shared.__dict__)
        # What a function registers to hear of is about its own calls.
        client.meta = copy.copy(shared.meta)
        client.meta.events = listeners = _Listeners(shared.meta.events)
        if service == "s3":
            presigned = shared.generate_presigned_url
            client.generate_presigned_url = lambda *args, **options: self._local(
                presigned(*args, **options)
            )
        client._make_api_call = lambda operation, params: self._api(
            _Sending(self, shared, caller, params, listeners), operation
        )
        return client

    def _local(self, link: str) -> str:
        """A link as clients of this machine reach it: its own host becomes part of the path."""
        if self.links_url is None:
            return link
        return f"{self.links_url}/{link.removeprefix('https://')}"

    def _api(self, sending: _Sending, operation: str) -> Any:
        """One API call of a client: in a task, so that time can pass."""
        task = self.scheduler.current
        if task is None:
            return self.scheduler.call(self._api, sending, operation, name=operation)
        if isinstance(task.context, Caller):
            sending.caller = task.context
        token = _SENDING.set(sending)
        try:
            return sending.client._make_api_call(operation, sending.params)  # noqa: SLF001
        finally:
            _SENDING.reset(token)

    def _sleep(self, seconds: float) -> None:
        if self.scheduler.current is not None:
            self.scheduler.sleep(seconds)
        else:
            time.sleep(seconds)

    # -- one request -------------------------------------------------------------------------

    def send(self, request: AWSPreparedRequest, operation: str, sending: _Sending) -> AWSResponse:
        """What botocore puts on the wire arrives here, and the answer goes back."""
        caller = sending.caller
        self.alive(caller)
        request.headers["x-moto-account-id"] = self.account
        caller.calls += 1
        meta = sending.client.meta
        call = Call(
            at_s=self.scheduler.now(),
            region=meta.region_name,
            function=caller.function,
            execution=caller.execution,
            caller_region=caller.region,
            service=meta.service_model.service_name,
            operation=operation,
            params=sending.params,
            number=caller.calls,
            request_bytes=_length(request),
        )
        self.log.add(call)
        try:
            with self.scheduler.true_time():
                response = self._answer(request, call, sending)
            call.status = response.status_code
            # Not `content`: it would use up a body that is read as a stream.
            body: bytes = response.raw.getvalue()
            call.response_bytes = len(body)
            if call.status >= 300:  # noqa: PLR2004 HTTP
                call.error = _error_code(response, body)
        except BaseException as error:
            call.error = type(error).__name__
            raise
        finally:
            call.ended_s = self.scheduler.now()
            for observer in self.log.observers:
                observer(call)
        return response

    def _answer(self, request: AWSPreparedRequest, call: Call, sending: _Sending) -> AWSResponse:
        """Latency there, faults, the effect, latency back."""
        fault = self._fault(call, cut=self._cut(call))
        half_s = self._latency_s(call) / 2
        gives_up_s = self._depart(request, call, sending, fault)
        with self._flight(call) as flight:
            if half_s:
                self._travel(request, call, half_s, gives_up_s)
                self.alive(sending.caller)
            if self._cut(call):  # Lost on its way there.
                self._time_out(request, gives_up_s)
            refusal = flight.arrive() if flight is not None else ""
            response = self._effect(request, call, sending, fault, refusal)
            if fault and fault.action == "timeout_after":
                self._time_out(request, gives_up_s)
            if self.scheduler.now() + half_s > gives_up_s:
                self._time_out(request, gives_up_s)
            if half_s:
                self.scheduler.sleep(half_s)
        if self._cut(call):  # Lost on its way back.
            self._time_out(request, gives_up_s)
        return response

    def _depart(
        self, request: AWSPreparedRequest, call: Call, sending: _Sending, fault: Fault | None
    ) -> float:
        """Send a request off, unless it gets nowhere; when its sender gives up waiting."""
        action, config = fault.action if fault else "", sending.client.meta.config
        if fault and fault.delay_s:
            self.scheduler.sleep(fault.delay_s)
        if action == "die_before":
            self.die(sending.caller)
        if action == "unreachable" or self._cut(call):
            self.scheduler.sleep(config.connect_timeout)
            if action == "die_after":
                self.die(sending.caller)
            raise ConnectTimeoutError(endpoint_url=request.url)
        gives_up_s: float = self.scheduler.now() + config.read_timeout
        if action == "timeout_before":
            self._time_out(request, gives_up_s)
        return gives_up_s

    def _flight(self, call: Call) -> AbstractContextManager[Flight | None]:
        if self.consistency is None or call.function == OPERATOR:
            return nullcontext()
        return self.consistency.flight(call)

    def _travel(
        self, request: AWSPreparedRequest, call: Call, seconds: float, gives_up_s: float
    ) -> None:
        """Let a request be on its way; its effect happens also if its sender gives up before."""
        arrives_s = self.scheduler.now() + seconds
        if arrives_s > gives_up_s:
            self.scheduler.at(arrives_s, self.scheduler.spawn, self._late, request, call)
            self._time_out(request, gives_up_s)
        self.scheduler.sleep(seconds)

    def _late(self, request: AWSPreparedRequest, call: Call) -> None:
        """Have the effect of a request whose sender listens no longer."""
        if not self._cut(call):
            _moto(request)

    def _time_out(self, request: AWSPreparedRequest, gives_up_s: float) -> NoReturn:
        """Wait for an answer in vain."""
        self.scheduler.sleep(gives_up_s - self.scheduler.now())
        raise ReadTimeoutError(endpoint_url=request.url)

    def _cut(self, call: Call) -> bool:
        return self.network is not None and call.function != OPERATOR and self.network.cut(call)

    def _effect(
        self,
        request: AWSPreparedRequest,
        call: Call,
        sending: _Sending,
        fault: Fault | None,
        refusal: str,
    ) -> AWSResponse:
        """What becomes of a request where it arrives; its sender may die of it."""
        if fault and fault.action not in ("die_after", "timeout_after", "slow"):
            model = sending.client.meta.service_model
            return _failure(request, fault.action, model, status=fault.status)
        if refusal:
            response = _failure(request, refusal, sending.client.meta.service_model)
        else:
            response = self._served(request, call, sending.client.meta.config.read_timeout)
        if fault and fault.action == "die_after":
            self.die(sending.caller)
        return response

    def _served(self, request: AWSPreparedRequest, call: Call, timeout_s: float) -> AWSResponse:
        if (call.service, call.operation) not in BLOCKING:
            return _moto(request)
        task = self.scheduler.spawn(_moto, request, name=call.operation)
        try:
            response: AWSResponse = self.scheduler.wait(task, timeout_s)
        except TimeoutError:
            raise ReadTimeoutError(endpoint_url=request.url) from None
        return response

    def _latency_s(self, call: Call) -> float:
        if call.function == OPERATOR:
            return 0.0
        table = self.latency_s
        mean_s = table.get((call.service, call.operation))
        if mean_s is None:
            mean_s = table.get(call.service, self.latency_other_s)
        if self.consistency is not None and mean_s:
            mean_s += self.consistency.extra_s(call)
        factor = self.network.factor(call) if self.network is not None else 1.0
        if factor != 1.0:
            # On the wall clock the usual time passes by itself; only what is more is added.
            mean_s = mean_s * factor if mean_s else _usual_s(call) * max(0.0, factor - 1)
        spread = self.latency_spread
        return mean_s * (1 + self.scheduler.random.uniform(-spread, spread)) if mean_s else 0.0

    def _fault(self, call: Call, *, cut: bool) -> Fault | None:
        """The rule that strikes; where nothing gets through, only a death can."""
        for rule in self.rules:
            if rule.matches(call) and not (cut and not rule.action.startswith("die")):
                if rule.skip > 0:
                    rule.skip -= 1
                elif rule.probability >= 1 or self.scheduler.random.random() < rule.probability:
                    rule.hits += 1
                    return rule
        return None

    # -- life and death ----------------------------------------------------------------------

    def alive(self, caller: Caller) -> None:
        """Raise `FunctionDied` if the caller, or the whole twin, is gone."""
        if caller.dead or self.scheduler.closed:
            raise FunctionDied(caller.function)

    def die(self, caller: Caller) -> None:
        """Kill the caller at this point of its code."""
        caller.dead = True
        raise FunctionDied(caller.function)


class Session(boto3.Session):
    """A boto3 session on the hook; clients are cheap, because they share what is expensive."""

    def __init__(self, hook: Hook, caller: Caller) -> None:
        # Not calling super().__init__: everything it builds is taken from the shared session.
        self.__dict__.update(_shared_session().__dict__)
        self._hook = hook
        self._caller = caller

    @property
    def region_name(self) -> str:
        """Where the caller is."""
        return self._caller.region

    def client(  # type: ignore[override]
        self,
        service_name: str,
        region_name: str | None = None,
        config: Config | None = None,
        **ignored: Any,
    ) -> Any:
        """A client; of boto3's other options, addresses and certificates have no meaning here."""
        return self._hook.client(
            self._caller, service_name, region_name or self._caller.region, config
        )


class _Quota(quota.RetryQuota):
    """botocore's retry quota, kept per execution environment although they share the client."""

    def _own(self) -> quota.RetryQuota:
        return _SENDING.get().caller.quotas.setdefault(id(self), quota.RetryQuota())

    def acquire(self, capacity_amount: int) -> bool:
        return self._own().acquire(capacity_amount)

    def release(self, capacity_amount: int) -> None:
        self._own().release(capacity_amount)


class _Listeners:
    """A client's events: those of all that share it, but for who wants to see its own answers."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self._answered: list[Callable[..., Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)

    def register(
        self, event_name: str, handler: Callable[..., Any], unique_id: str | None = None
    ) -> None:
        """Register a handler; of `after-call`, for this client alone."""
        if event_name == "after-call":
            self._answered.append(handler)
        else:
            self._shared.register(event_name, handler, unique_id)

    def answered(self, **told: Any) -> None:
        """Tell of an answer."""
        for handler in self._answered:
            handler(**told)


@lru_cache(maxsize=1)
def _shared_session() -> boto3.Session:
    core = botocore.session.Session()
    core.set_credentials(ACCESS_KEY, SECRET_KEY)
    # The shell may name another twin's endpoint: `spillway local` tells people to.
    core.set_config_variable("ignore_configured_endpoint_urls", True)  # noqa: FBT003 a setting
    # Our handler asks moto itself; with both, everything would happen twice.
    core.get_component("event_emitter").unregister("before-send", botocore_stubber)
    return boto3.Session(botocore_session=core)


_CLIENTS: Final[dict[tuple[str, str, str], Any]] = {}


def _shared_client(service: str, region: str, config: Config | None) -> Any:
    options = getattr(config, "_user_provided_options", {})
    key = (service, region, repr(sorted(options.items(), key=lambda item: item[0])))
    if key not in _CLIENTS:
        _CLIENTS[key] = _make_client(service, region, config)
    return _CLIENTS[key]


def _make_client(service: str, region: str, config: Config | None) -> Any:
    if service == "s3":
        # Unsigned requests carry no mark of the chunks that a checksum at their end needs.
        plain = Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        config = config.merge(plain) if config else plain
    core: Any = _shared_session()._session  # noqa: SLF001
    with patch.object(quota, "RetryQuota", _Quota):
        client = core.create_client(service, region_name=region, config=config)
    events, model = client.meta.events, client.meta.service_model
    # Nothing here reads signatures and user agents, which cost more than the rest of a request.
    agent = client._user_agent_creator  # noqa: SLF001
    for handler in (
        client._request_signer.handler,  # noqa: SLF001
        agent.rebuild_and_replace_user_agent_handler,
    ):
        events.unregister(f"request-created.{model.service_id.hyphenize()}", handler)
    agent.to_string = lambda: "twin"
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260105/{region}/{model.signing_name}"
        "/aws4_request, SignedHeaders=host, Signature=0"
    )

    def send(request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        request.headers["Authorization"] = authorization
        sending = _SENDING.get()
        return sending.hook.send(request, event_name.rpartition(".")[2], sending)

    events.register_first("before-send", send)
    events.register("after-call", _answered)
    return client


def _answered(**told: Any) -> None:
    """Tell whoever sent a request of its answer."""
    _SENDING.get().listeners.answered(**told)


def _usual_s(call: Call) -> float:
    usual_s = LATENCY_S.get((call.service, call.operation))
    return LATENCY_S.get(call.service, LATENCY_OTHER_S) if usual_s is None else usual_s


def _moto(request: AWSPreparedRequest) -> AWSResponse:
    answer = botocore_stubber.process_request(request)
    if answer is None:
        raise RuntimeError(f"moto does not serve {request.url}")
    status, headers, body = answer
    return _response(request, status, headers, body)


def _response(
    request: AWSPreparedRequest, status: int, headers: Mapping[str, str], body: str | bytes
) -> AWSResponse:
    # botocore copies any mapping of headers and reads any stream.
    return AWSResponse(request.url, status, cast("Any", headers), MockRawResponse(body))


def _failure(
    request: AWSPreparedRequest, code: str, model: Any, *, status: int | None = None
) -> AWSResponse:
    """An error in the service's protocol, or an empty answer."""
    if code == "empty":
        return _response(request, 200, {}, b"{}")
    if code == "throttle":
        code, status = THROTTLED.get(model.service_name, ("ThrottlingException", 400))
    if status is None:
        starts = {"Internal": 500, "ServiceUnavailable": 503}
        status = next((value for start, value in starts.items() if code.startswith(start)), 400)
    message = f"Injected {code}"
    body = f'{{"__type":"{code}","message":"{message}"}}'
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    if model.resolved_protocol == "rest-xml":
        body = error
    elif model.resolved_protocol == "query":
        body = f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>"
    headers = {"x-amzn-errortype": code, "x-amzn-requestid": "0"}
    return _response(request, status, headers, body)


def _error_code(response: AWSResponse, body: bytes) -> str:
    text = body[:4000].decode(errors="replace")
    found = re.search(r'"(?:__type|Code|code)"\s*:\s*"(?:[^"#]*#)?([^"]+)"|<Code>([^<]+)<', text)
    if found:
        return found[1] or found[2]
    return str(response.headers.get("x-amzn-errortype") or response.status_code)


def _length(request: AWSPreparedRequest) -> int:
    if isinstance(request.body, str | bytes | bytearray):
        return len(request.body)
    for name in ("x-amz-decoded-content-length", "Content-Length"):
        if name in request.headers:
            return int(request.headers[name])
    return 0
