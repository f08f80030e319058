"""AWS Lambda: execution environments, concurrency, timeouts, and both kinds of invocation.

Every execution is a task on the scheduler, and its death is a `FunctionDied` raised where it
waits. `lambda:Invoke` sent by anybody arrives here, through moto's own Lambda.
"""

import importlib
import io
import json
import sys
import traceback
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Final, TextIO, cast
from unittest.mock import patch

from botocore.retries.quota import RetryQuota
from moto.awslambda.models import LambdaBackend
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core.exceptions import JsonRESTError

from spillway.twin.calls import Caller, FunctionDied, Hook
from spillway.twin.clock import Event, Scheduler, Task
from spillway.twin.receivers import Receivers
from spillway.twin.resources import Resource

INIT_TIMEOUT_S: Final = 10.0
"""How long an environment may take to start (developer guide, "Lambda execution environment")."""
REQUEST_BYTES_MAX: Final = 6_291_456
ASYNC_BYTES_MAX: Final = 1_048_576
RESPONSE_BYTES_MAX: Final = 6_291_556
CONCURRENCY_MAX: Final = 1000
"""Executions at once per region, Lambda's default quota."""
RETRY_WAITS_S: Final = (60.0, 120.0)
"""Between attempts of an asynchronous event that ended in an error."""
THROTTLE_WAIT_S_MAX: Final = 300.0
LOG_LINES_MAX: Final = 200_000
REPORTS_MAX: Final = 200_000


class ThrottledError(Exception):
    """No concurrency left; Lambda answers 429 TooManyRequestsException."""


class UnknownFunctionError(LookupError):
    """There is no such function; Lambda answers 404 ResourceNotFoundException."""


class RegionDownError(Exception):
    """Nothing runs in the region; whoever asks from elsewhere gets no answer at all."""


class RequestTooLargeError(ValueError):
    """The payload exceeds Lambda's limit; Lambda answers 413 RequestTooLargeException."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDefinition:
    """A function as deployed.

    Args:
        name: Unique in its region.
        region: Where it runs.
        account: Twelve digits.
        handler: `package.module.attribute`; the attribute offers
            `environment(environ=, session=, sleep=, detour=)`, which returns a handler.
        code: Such an object, instead of importing one.
        environment: Environment variables.
        timeout_s: Seconds until an invocation is killed.
        memory_mb: Megabytes; only reported.
        reserved_concurrency: At most so many executions at once; None shares the region's.
        asset: Directory of the code, what functions see as LAMBDA_TASK_ROOT.
        role_arn: Only kept.
        event_age_s_max: How long an asynchronous event is kept for another attempt.
        retries_max: How often an asynchronous event is repeated after an error.
    """

    name: str
    region: str
    account: str = "123456789012"
    handler: str = ""
    code: Any = None
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 3.0
    memory_mb: int = 128
    reserved_concurrency: int | None = None
    asset: Path | None = None
    role_arn: str = ""
    event_age_s_max: float = 21_600.0
    retries_max: int = 2

    @property
    def arn(self) -> str:
        """Its Amazon resource name."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an invocation came to.

    Args:
        payload: JSON: the handler's result, or Lambda's description of its error.
        error: Empty, or `Unhandled`, as in Lambda's FunctionError.
        request: Its request id.
    """

    payload: bytes
    error: str = ""
    request: str = ""

    def json(self) -> Any:
        """The payload, read."""
        return json.loads(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What Lambda writes in its REPORT line, one for each execution.

    Args:
        at_s: When it began.
        region, function, execution: What ran; `execution` is the request id.
        duration_s: Seconds in the handler.
        init_s: Seconds of the cold start; 0 in a warm environment.
        memory_mb: Configured megabytes.
        error: Empty, or the errorType.
    """

    at_s: float
    region: str
    function: str
    execution: str
    duration_s: float
    init_s: float
    memory_mb: int
    error: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that an execution wrote to standard output."""

    at_s: float
    region: str
    function: str
    execution: str
    text: str


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, scheduler: Scheduler, definition: FunctionDefinition, request: str) -> None:
        self.function_name = definition.name
        self.function_version = "$LATEST"
        self.invoked_function_arn = definition.arn
        self.memory_limit_in_mb = str(definition.memory_mb)
        self.aws_request_id = request
        self.log_group_name = f"/aws/lambda/{definition.name}"
        self.log_stream_name = "twin"
        self.identity = None
        self.client_context = None
        self._scheduler = scheduler
        self._deadline_s = scheduler.now() + definition.timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the timeout."""
        return max(0, int((self._deadline_s - self._scheduler.now()) * 1000))


@dataclass(slots=True, eq=False)
class _Environment:
    """An execution environment: one handler that serves one invocation after the other."""

    definition: FunctionDefinition
    handler: Callable[[Any, Any], Any] | None = None
    idle_since_s: float = 0.0
    quotas: dict[int, RetryQuota] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Run:
    """One execution."""

    environment: _Environment
    caller: Caller
    payload: bytes
    task: Task | None = None
    began_s: float = 0.0
    init_s: float = 0.0
    killed_by: str = ""


@dataclass(slots=True, eq=False)
class _AsyncEvent:
    """An event in Lambda's own queue."""

    key: tuple[str, str]
    payload: bytes
    accepted_s: float
    errors: int = 0
    throttles: int = 0


class Functions:
    """Lambda in every region.

    Args:
        scheduler: Time and tasks.
        hook: Makes the functions' sessions.
        cold_start_s: Seconds that a new environment takes, besides what its code takes.
        idle_s: An environment unused for so long is gone.
        async_latency_s: Seconds from accepting an asynchronous event to its execution.
        async_lost: Share of asynchronous events that Lambda loses; the documentation allows it.
        async_duplicated: Share that it delivers twice, which the documentation allows too.
        skew_s: How far the clocks of a region's machines are ahead, by region; virtual time only.

    Attributes:
        reports: One for each execution, the latest `REPORTS_MAX`.
        logs: What functions wrote, the latest `LOG_LINES_MAX` lines.
        log_bytes: Bytes written by function name, since the start.
        dropped: Asynchronous events given up, by function name.
        observers: Called with each report.
        readers: Called with each line that is logged.
        receivers: Hosts that functions reach on this machine, under public names.
    """

    _open: ClassVar[list["Functions"]] = []

    def __init__(
        self,
        scheduler: Scheduler,
        hook: Hook,
        *,
        cold_start_s: float = 0.25,
        idle_s: float = 600.0,
        async_latency_s: float = 0.02,
        async_lost: float = 0.0,
        async_duplicated: float = 0.0,
        skew_s: Mapping[str, float] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.receivers = Receivers(scheduler)
        self.cold_start_s = cold_start_s if scheduler.virtual else 0.0
        self.idle_s = idle_s
        self.async_latency_s = async_latency_s
        self.async_lost = async_lost
        self.async_duplicated = async_duplicated
        self.skew_s: dict[str, float] = dict(skew_s or {})
        self.reports: deque[Report] = deque(maxlen=REPORTS_MAX)
        self.logs: deque[LogLine] = deque(maxlen=LOG_LINES_MAX)
        self.log_bytes: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.observers: list[Callable[[Report], object]] = []
        self.readers: list[Callable[[LogLine], object]] = []
        self._hook = hook
        self._definitions: dict[tuple[str, str], FunctionDefinition] = {}
        self._idle: defaultdict[tuple[str, str], list[_Environment]] = defaultdict(list)
        self._running: defaultdict[tuple[str, str], list[_Run]] = defaultdict(list)
        self._unended: dict[str, str] = {}
        self._paused: dict[str, list[_AsyncEvent]] = {}
        self._undo = ExitStack()
        ours = self._moto_invoke()
        for backend in (LambdaBackend, LambdaSimpleBackend):
            self._undo.enter_context(patch.object(backend, "invoke", ours))
        Functions._open.append(self)

    def close(self) -> None:
        """Give moto its own Lambda back."""
        if self in Functions._open:
            Functions._open.remove(self)
        self._undo.close()

    # -- deployment --------------------------------------------------------------------------

    def create(self, resource: Resource) -> Resource | None:
        """Deploy a function, or its settings for asynchronous events, from a template."""
        properties = resource.properties
        if resource.type == "AWS::Lambda::EventInvokeConfig":
            key = (resource.region, function_name(properties["FunctionName"]))
            self.deploy(
                replace(
                    self.definition(*key),
                    event_age_s_max=float(properties.get("MaximumEventAgeInSeconds", 21_600)),
                    retries_max=int(properties.get("MaximumRetryAttempts", 2)),
                )
            )
            return None
        reserved = properties.get("ReservedConcurrentExecutions")
        definition = FunctionDefinition(
            name=resource.physical_id,
            region=resource.region,
            account=resource.account,
            handler=properties["Handler"],
            environment=properties.get("Environment", {}).get("Variables", {}),
            timeout_s=float(properties.get("Timeout", 3)),
            memory_mb=int(properties.get("MemorySize", 128)),
            reserved_concurrency=None if reserved is None else int(reserved),
            asset=resource.asset,
            role_arn=str(properties["Role"]),
        )
        self.deploy(definition)
        return replace(resource, attributes={"Arn": definition.arn})

    def deploy(self, definition: FunctionDefinition) -> None:
        """Create or update a function; the next invocation starts a new environment."""
        key = (definition.region, definition.name)
        self._definitions[key] = definition
        self._idle.pop(key, None)

    def definition(self, region: str, name: str) -> FunctionDefinition:
        """A function as deployed.

        Raises:
            UnknownFunctionError: There is none.
        """
        try:
            return self._definitions[region, name]
        except KeyError:
            raise UnknownFunctionError(f"Function not found: {name} in {region}") from None

    # -- invocation --------------------------------------------------------------------------

    def invoke(self, region: str, name: str, payload: Any = None) -> Task:
        """Begin a synchronous invocation; the task's result is an `Answer`, errors included.

        Args:
            region: Where.
            name: Which.
            payload: A JSON value, or bytes or text that are JSON.

        Raises:
            UnknownFunctionError, ThrottledError, RequestTooLargeError: Lambda would refuse.
            RegionDownError: The region is paused.
        """
        definition = self.definition(region, name)
        if region in self._paused:
            raise RegionDownError(f"nothing runs in {region}")
        body = _bytes(payload)
        if len(body) > REQUEST_BYTES_MAX:
            raise RequestTooLargeError(f"Request must be smaller than {REQUEST_BYTES_MAX} bytes")
        key = (region, name)
        self._admit(definition, key)
        run = self._place(definition, body)
        self._running[key].append(run)
        run.task = self.scheduler.spawn(self._execute, run, name=name)
        run.task.context = run.caller
        run.task.output = _OUTPUT
        run.task.skew_s = self.skew_s.get(region, 0.0) if self.scheduler.virtual else 0.0
        return run.task

    def invoke_async(self, region: str, name: str, payload: Any = None) -> None:
        """Put an event into the function's queue; it is executed soon, and again on errors.

        Raises:
            UnknownFunctionError, RequestTooLargeError: Lambda would refuse.
        """
        self.definition(region, name)
        body = _bytes(payload)
        if len(body) > ASYNC_BYTES_MAX:
            raise RequestTooLargeError(f"Request must be smaller than {ASYNC_BYTES_MAX} bytes")
        chance = self.scheduler.random.random
        if self.async_lost and chance() < self.async_lost:
            self.dropped[name] += 1
            return
        copies = 2 if self.async_duplicated and chance() < self.async_duplicated else 1
        for copy in range(1, copies + 1):
            event = _AsyncEvent((region, name), body, self.scheduler.now())
            self.scheduler.after(self.async_latency_s * copy, self._deliver, event)

    def running(self, region: str, name: str) -> int:
        """Executions under way."""
        return len(self._running[region, name])

    def kill(self, region: str, name: str = "", *, reason: str = "Runtime.ExitError") -> int:
        """Kill every execution and environment of a function, or of all in a region.

        Returns:
            How many executions died.
        """
        victims: list[_Run] = []
        for key in list(self._definitions):
            if key[0] == region and name in ("", key[1]):
                self._idle.pop(key, None)
                victims += self._running[key]
        # Whoever calls this may be a victim itself: it dies last, at this point of its code.
        for run in sorted(victims, key=lambda run: run.task is self.scheduler.current):
            self._kill(run, reason)
        return len(victims)

    def pause(self, region: str) -> None:
        """Let a region's executions die where they are, and let none begin until `resume`."""
        self._paused.setdefault(region, [])
        self.kill(region)

    def resume(self, region: str) -> None:
        """Execute again; asynchronous events that waited come now, unless they are too old."""
        for event in self._paused.pop(region, []):
            self._again(event, self.async_latency_s)

    def _admit(self, definition: FunctionDefinition, key: tuple[str, str]) -> None:
        reserved = definition.reserved_concurrency
        if reserved is not None:
            if len(self._running[key]) >= reserved:
                raise ThrottledError("ReservedFunctionConcurrentInvocationLimitExceeded")
            return
        taken, free = 0, CONCURRENCY_MAX
        for other, each in self._definitions.items():
            if other[0] == key[0]:
                free -= each.reserved_concurrency or 0
                if each.reserved_concurrency is None:
                    taken += len(self._running[other])
        if taken >= free:
            raise ThrottledError("ConcurrentInvocationLimitExceeded")

    def _place(self, definition: FunctionDefinition, payload: bytes) -> _Run:
        """Take the environment used last, or a new one."""
        request = str(uuid.UUID(int=self.scheduler.random.getrandbits(128), version=4))
        idle = self._idle[definition.region, definition.name]
        fresh_s = self.scheduler.now() - self.idle_s
        while idle and idle[0].idle_since_s < fresh_s:
            del idle[0]
        environment = idle.pop() if idle else _Environment(definition)
        caller = Caller(definition.name, definition.region, request, quotas=environment.quotas)
        return _Run(environment, caller, payload)

    # -- one execution -----------------------------------------------------------------------

    def _execute(self, run: _Run) -> Answer:
        """Run the handler as the Lambda runtime does; never raises."""
        environment, caller = run.environment, run.caller
        definition = environment.definition
        run.began_s = self.scheduler.now()
        kind, value = "", None
        try:
            self._hook.alive(caller)
            with self._limit(run, INIT_TIMEOUT_S):
                if environment.handler is None:
                    self._start(environment)
            run.init_s, run.began_s = self.scheduler.now() - run.began_s, self.scheduler.now()
            with self._limit(run, definition.timeout_s):
                context = LambdaContext(self.scheduler, definition, caller.execution)
                handler = environment.handler
                if handler is not None:
                    value = handler(json.loads(run.payload or b"{}"), context)
        except FunctionDied:
            caller.dead = True
        except BaseException as error:  # noqa: BLE001 the runtime reports whatever code raises
            kind = getattr(error, "error_type", type(error).__name__)
            value = self._describe(error, kind, caller)
        if caller.dead:  # Even if the code swallowed it.
            kind = run.killed_by or "Runtime.ExitError"
            value = _epitaph(kind, caller.execution, definition)
        payload = b""
        try:
            payload = json.dumps(value, default=_encode, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            kind = "Runtime.MarshalError"
            message = f"Unable to marshal response: {error}"
            payload = _error(message, kind, caller.execution)
        if len(payload) > RESPONSE_BYTES_MAX:
            kind = "Function.ResponseSizeTooLarge"
            message = (
                "Response payload size exceeded maximum allowed payload size "
                f"({RESPONSE_BYTES_MAX} bytes)."
            )
            payload = _error(message, kind, caller.execution)
        self._end(run, kind)
        return Answer(payload=payload, error="Unhandled" if kind else "", request=caller.execution)

    def _start(self, environment: _Environment) -> None:
        """The init phase: the runtime, the import, the wiring."""
        definition = environment.definition
        if self.cold_start_s:
            self.scheduler.sleep(self.cold_start_s)
        code = definition.code if definition.code is not None else _load(definition)
        environment.handler = code.environment(
            environ={
                "AWS_REGION": definition.region,
                "AWS_DEFAULT_REGION": definition.region,
                "AWS_LAMBDA_FUNCTION_NAME": definition.name,
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(definition.memory_mb),
                "LAMBDA_TASK_ROOT": str(definition.asset or ""),
                "_HANDLER": definition.handler,
                **definition.environment,
            },
            session=self._hook.session(region=definition.region, function=definition.name),
            sleep=self._sleep,
            detour=self.receivers.detour,
        )

    def _sleep(self, seconds: float) -> None:
        """What a function waits with: the dead do not sleep."""
        task = self.scheduler.current
        caller = task.context if task is not None else None
        if isinstance(caller, Caller):
            self._hook.alive(caller)
        self.scheduler.sleep(seconds)

    @contextmanager
    def _limit(self, run: _Run, seconds: float) -> Iterator[Event]:
        timer = self.scheduler.after(seconds, self._kill, run, "Sandbox.Timedout")
        try:
            yield timer
        finally:
            timer.cancel()

    def _kill(self, run: _Run, reason: str) -> None:
        if run.task is not None and not run.task.done and not run.caller.dead:
            run.killed_by = reason
            run.caller.dead = True
            if run.began_s:  # Otherwise it dies with its first step.
                run.task.kill(FunctionDied(reason))

    def _end(self, run: _Run, kind: str) -> None:
        environment, caller = run.environment, run.caller
        if caller.execution in self._unended:
            self.write(caller, "\n")
        key = (caller.region, caller.function)
        self._running[key].remove(run)
        healthy = environment.handler is not None and not caller.dead
        if healthy and self._definitions[key] is environment.definition:
            environment.idle_since_s = self.scheduler.now()
            self._idle[key].append(environment)
        report = Report(
            at_s=run.began_s,
            region=caller.region,
            function=caller.function,
            execution=caller.execution,
            duration_s=self.scheduler.now() - run.began_s,
            init_s=run.init_s,
            memory_mb=environment.definition.memory_mb,
            error=kind,
        )
        self.reports.append(report)
        for observer in self.observers:
            observer(report)

    def _describe(self, error: BaseException, kind: str, caller: Caller) -> dict[str, Any]:
        """An error as the runtime answers and logs it."""
        trace = traceback.format_exception(error)
        self.write(caller, f"[ERROR] {kind}: {error}\n{''.join(trace)}")
        return {
            "errorMessage": str(error),
            "errorType": kind,
            "requestId": caller.execution,
            "stackTrace": traceback.format_tb(error.__traceback__),
        }

    def write(self, caller: Caller, text: str) -> None:
        """Keep what an execution wrote to standard output."""
        self.log_bytes[caller.function] += len(text)
        *lines, rest = (self._unended.pop(caller.execution, "") + text).split("\n")
        if rest:
            self._unended[caller.execution] = rest
        who = (caller.region, caller.function, caller.execution)
        for line in filter(None, lines):
            logged = LogLine(self.scheduler.now(), *who, line)
            self.logs.append(logged)
            for reader in self.readers:
                reader(logged)

    # -- asynchronous events -----------------------------------------------------------------

    def _deliver(self, event: _AsyncEvent) -> None:
        """Execute an event; what fails comes back here until it is too old or failed too often."""
        region, name = event.key
        if region in self._paused:
            self._paused[region].append(event)
            return
        try:
            task = self.invoke(region, name, event.payload)
        except ThrottledError:
            wait_s = min(THROTTLE_WAIT_S_MAX, 2.0**event.throttles)
            event.throttles += 1
            self._again(event, wait_s)
        else:
            task.on_done(lambda done: self._settle(event, done.result()))

    def _settle(self, event: _AsyncEvent, answer: Answer) -> None:
        if not answer.error:
            return
        event.errors += 1
        if event.errors > self.definition(*event.key).retries_max:
            self.dropped[event.key[1]] += 1
        else:
            self._again(event, RETRY_WAITS_S[min(event.errors, len(RETRY_WAITS_S)) - 1])

    def _again(self, event: _AsyncEvent, wait_s: float) -> None:
        ends_s = event.accepted_s + self.definition(*event.key).event_age_s_max
        if self.scheduler.now() + wait_s > ends_s:
            self.dropped[event.key[1]] += 1
        else:
            self.scheduler.after(wait_s, self._deliver, event)

    # -- boto3 -------------------------------------------------------------------------------

    def _moto_invoke(self) -> Callable[..., bytes]:
        """What moto's Lambda calls for `Invoke`, whoever sent it."""
        functions = self

        def invoke(
            backend: LambdaBackend,
            reference: str,
            qualifier: str | None,
            body: Any,
            headers: Mapping[str, str],
            response_headers: dict[str, str],
        ) -> bytes:
            region, name = backend.region_name, function_name(reference)
            kind = headers.get("X-Amz-Invocation-Type", "RequestResponse")
            try:
                if kind == "Event":
                    functions.invoke_async(region, name, body)
                    return b""
                if kind == "DryRun":
                    functions.definition(region, name)
                    return b""
                task = functions.invoke(region, name, body)
            except ThrottledError as error:
                raise _refusal(429, "TooManyRequestsException", str(error)) from None
            except UnknownFunctionError as error:
                raise _refusal(404, "ResourceNotFoundException", str(error)) from None
            except RegionDownError as error:
                raise _refusal(503, "ServiceException", str(error)) from None
            except RequestTooLargeError as error:
                raise _refusal(413, "RequestTooLargeException", str(error)) from None
            answer: Answer = functions.scheduler.call(functions.scheduler.wait, task)
            response_headers["x-amz-executed-version"] = "$LATEST"
            if answer.error:
                response_headers["x-amz-function-error"] = answer.error
            return answer.payload

        return invoke


class _Output(io.TextIOBase):
    """Standard output of functions: each line goes to the log of the execution that wrote it.

    Other threads that print meanwhile reach the terminal as if this were not here.
    """

    encoding = "utf-8"

    def isatty(self) -> bool:
        return sys.__stdout__ is not None and sys.__stdout__.isatty()

    def flush(self) -> None:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()

    def write(self, text: str) -> int:
        for functions in reversed(Functions._open):  # noqa: SLF001
            task = functions.scheduler.current
            if task is not None and isinstance(task.context, Caller):
                functions.write(task.context, text)
                return len(text)
        stream = sys.stdout if sys.stdout is not self else sys.__stdout__
        return stream.write(text) if stream is not None else 0


_OUTPUT: Final = cast("TextIO", _Output())


class _ImportFailedError(Exception):
    error_type = "Runtime.ImportModuleError"


def _load(definition: FunctionDefinition) -> Any:
    """Import the handler; the asset's directory is searched last, as it is a copy of the code."""
    module, _, attribute = definition.handler.rpartition(".")
    path = str(definition.asset) if definition.asset else None
    if path is not None:
        sys.path.append(path)
    try:
        code = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise _ImportFailedError(f"Unable to import module '{module}': {error}") from error
    finally:
        if path is not None:
            sys.path.remove(path)
    return code


def function_name(reference: str) -> str:
    """The name in a name, an ARN or a partial ARN."""
    parts = reference.split(":")
    return parts[parts.index("function") + 1] if "function" in parts else parts[0]


def _bytes(payload: Any) -> bytes:
    if payload is None:
        return b""
    if isinstance(payload, bytes | bytearray):
        return bytes(payload)
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


def _encode(value: Any) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _error(message: str, kind: str, request: str) -> bytes:
    return json.dumps(
        {"errorMessage": message, "errorType": kind, "requestId": request, "stackTrace": []}
    ).encode()


def _epitaph(kind: str, request: str, definition: FunctionDefinition) -> dict[str, str]:
    reason = "Runtime exited with error: signal: killed"
    if kind == "Sandbox.Timedout":
        reason = f"Task timed out after {definition.timeout_s:.2f} seconds"
    return {"errorType": kind, "errorMessage": f"RequestId: {request} Error: {reason}"}


def _refusal(status: int, kind: str, message: str) -> JsonRESTError:
    error = JsonRESTError(kind, message)
    error.code = status
    return error
