"""What serves a model on one instance: a real process, a Python function, or simulated time.

Every kind keeps SageMaker's container contract: healthy once `GET /ping` answers 200, then
`POST /invocations` per request. Nothing here logs a payload.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from spillway.twin.clock import Scheduler

# SageMaker waits 2 s for an answer to a ping, and kills a container 30 s after asking it to stop
# (developer guide, "Custom inference code with hosting services").
PING_SECONDS_MAX: Final = 2.0
STOP_SECONDS_MAX: Final = 30.0
# The longest InvocationTimeoutSeconds that InvokeEndpointAsync takes.
INVOCATION_SECONDS_MAX: Final = 3600.0
# In virtual time the loop waits for a real process to start; this is how long, and how often it
# looks.
START_SECONDS_MAX: Final = 120.0
START_POLL_SECONDS: Final = 0.05
# Requests that one instance computes at once are bounded by its endpoint; these are only threads.
THREADS_MAX: Final = 64
STANDARD_ERROR_BYTES_SHOWN: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a container answered to `POST /invocations`."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"


Reply = Callable[[Answer | None], None]
"""Takes the answer, in the scheduler's thread; None if the container broke off without one."""

Factory = Callable[[Scheduler, Mapping[str, str]], "Container"]
"""Makes the container of one more instance, from the scheduler and the model's environment."""


class StartError(RuntimeError):
    """A local container ended, or never became healthy, before it served anything."""


class Container(Protocol):
    """One instance's container.

    Attributes:
        warm_up_s: Seconds from the request for an instance until its container starts: the
            machine, the image and the weights. Nothing of it happens on this machine.
    """

    warm_up_s: float

    def start(self) -> None:
        """Begin to load the model."""

    def ready(self) -> bool:
        """Tell whether `GET /ping` answers 200 by now."""

    def invoke(self, body: bytes, headers: Mapping[str, str], reply: Reply) -> None:
        """Serve one request; `reply` is called once, never before this returns."""

    def stop(self) -> None:
        """End; requests under way may go unanswered."""


class Simulated:
    """Takes as long as a function of the request says, and computes no answer.

    Args:
        scheduler: Lets the service time pass.
        environment: The model's environment variables; not used.
        service_s: Seconds that one request takes, from its body.
        answers: Answers a request; `{}` without one.
        warm_up_s: Seconds until a new instance's container starts.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        environment: Mapping[str, str],
        *,
        service_s: Callable[[bytes], float],
        answers: Callable[[bytes], Answer] = lambda _: Answer(body=b"{}"),
        warm_up_s: float = 0.0,
    ) -> None:
        self.warm_up_s = warm_up_s
        self._scheduler = scheduler
        self._service_s = service_s
        self._answers = answers

    def start(self) -> None:
        """Have nothing to load."""

    def ready(self) -> bool:
        """Be healthy at once: the warm-up stands for loading."""
        return True

    def invoke(self, body: bytes, headers: Mapping[str, str], reply: Reply) -> None:
        """Answer after the service time."""
        self._scheduler.after(max(0.0, self._service_s(body)), self._finish, body, reply)

    def _finish(self, body: bytes, reply: Reply) -> None:
        reply(self._answers(body))

    def stop(self) -> None:
        """Have nothing to end."""


class Python(Simulated):
    """Answers with a Python function of the request's JSON.

    The function may return JSON, or `bytes` to answer something else, or an `Answer` to choose
    the status; what it raises becomes a 500 with the error's text, as model servers do.

    Args:
        scheduler: Lets the service time pass.
        environment: The model's environment variables; not used.
        answers: The function.
        service_s: Seconds that one request takes: a number, or a function of its body.
        warm_up_s: Seconds until a new instance's container starts.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        environment: Mapping[str, str],
        *,
        answers: Callable[[Any], Any],
        service_s: float | Callable[[bytes], float] = 0.1,
        warm_up_s: float = 0.0,
    ) -> None:
        def answer(body: bytes) -> Answer:
            try:
                given = answers(json.loads(body))
            except Exception as error:  # noqa: BLE001 a model may fail in any way
                text = json.dumps({"error": {"message": str(error), "type": type(error).__name__}})
                return Answer(status=500, body=text.encode())
            if isinstance(given, Answer):
                return given
            return Answer(body=given if isinstance(given, bytes) else json.dumps(given).encode())

        super().__init__(
            scheduler,
            environment,
            service_s=service_s if callable(service_s) else lambda _: service_s,
            answers=answer,
            warm_up_s=warm_up_s,
        )


class LocalProcess:
    """A real process on loopback that keeps the container contract.

    On the wall clock, HTTP happens in worker threads that deliver through `Scheduler.post`, so
    the loop never waits. On the virtual clock the process is started and asked synchronously,
    and only then the simulated service time passes: the answer is real, the time is not.

    Args:
        scheduler: Delivers answers.
        environment: The model's environment variables, on top of this process's own.
        command: Program and arguments; `{python}` is this interpreter, `{port}` the port, which
            is in `SAGEMAKER_BIND_TO_PORT` too.
        directory: Where it runs.
        service_s: Seconds that one request takes on the virtual clock, from its body.
        warm_up_s: Seconds until a new instance's container starts.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        environment: Mapping[str, str],
        *,
        command: Sequence[str],
        directory: Path,
        service_s: Callable[[bytes], float] = lambda _: 0.0,
        warm_up_s: float = 0.0,
    ) -> None:
        self.warm_up_s = warm_up_s
        self._scheduler = scheduler
        self._environment = environment
        self._command = command
        self._directory = directory
        self._service_s = service_s
        self._healthy = False
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._standard_error = Path()
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="container")

    def start(self) -> None:
        """Start the process; on the virtual clock, return only once it is healthy.

        Raises:
            StartError: It ended instead, or took longer than `START_SECONDS_MAX`.
            OSError: There is no such program.
        """
        self._port = _free_port()
        command = [
            part.replace("{python}", sys.executable).replace("{port}", str(self._port))
            for part in self._command
        ]
        handle, name = tempfile.mkstemp(prefix="container-", suffix=".log")
        self._standard_error = Path(name)
        try:
            with os.fdopen(handle, "wb") as standard_error:
                self._process = subprocess.Popen(
                    command,
                    cwd=self._directory,
                    env={
                        **os.environ,
                        **self._environment,
                        "SAGEMAKER_BIND_TO_PORT": str(self._port),
                        # A container listens everywhere; on a laptop only this machine may ask it.
                        "SPILLWAY_BIND_HOST": "127.0.0.1",
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=standard_error,
                )
        except OSError:
            self._standard_error.unlink()
            raise
        if self._scheduler.virtual:
            self._until_healthy(self._process)
        else:
            self._threads.submit(self._until_healthy, self._process)

    def ready(self) -> bool:
        """Tell whether a ping has been answered.

        Raises:
            StartError: The process ended before that; the message ends with its last words.
        """
        process = self._process
        if process is None or self._stopping.is_set():
            return False
        if not self._healthy and process.poll() is not None:
            raise StartError(f"{self._command[0]} ended with {process.returncode}: {self._said()}")
        return self._healthy

    def _until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(int(START_SECONDS_MAX / START_POLL_SECONDS)):
            if process.poll() is not None or self._stopping.is_set():
                break
            with suppress(OSError, http.client.HTTPException):
                if self._ask("GET", "/ping", timeout_s=PING_SECONDS_MAX).status == 200:  # noqa: PLR2004
                    self._healthy = True
                    return
            # Real time on both clocks: it is a real process that we wait for.
            time.sleep(START_POLL_SECONDS)
        if self._scheduler.virtual and not self.ready():
            raise StartError(f"{self._command[0]} never answered /ping: {self._said()}")

    def _said(self) -> str:
        # Only what it wrote before it served anything is ever shown, so no payload is in it.
        with self._standard_error.open("rb") as file:
            file.seek(max(0, self._standard_error.stat().st_size - STANDARD_ERROR_BYTES_SHOWN))
            return file.read().decode(errors="replace").strip() or "(it said nothing)"

    def invoke(self, body: bytes, headers: Mapping[str, str], reply: Reply) -> None:
        """Ask the process; see the class for which time passes."""
        if self._scheduler.virtual:
            answer = self._answer(body, headers)
            self._scheduler.after(max(0.0, self._service_s(body)), reply, answer)
        else:
            self._threads.submit(self._deliver, body, dict(headers), reply)

    def _deliver(self, body: bytes, headers: Mapping[str, str], reply: Reply) -> None:
        answer = self._answer(body, headers)
        # After a stop nobody listens any more, and the loop may be gone.
        if not self._stopping.is_set():
            self._scheduler.post(reply, answer)

    def _answer(self, body: bytes, headers: Mapping[str, str]) -> Answer | None:
        try:
            return self._ask("POST", "/invocations", body=body, headers=headers)
        except (OSError, http.client.HTTPException):
            return None

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = INVOCATION_SECONDS_MAX,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout_s)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            content_type = response.headers.get("Content-Type", "application/octet-stream")
            return Answer(status=response.status, body=response.read(), content_type=content_type)
        finally:
            connection.close()

    def stop(self) -> None:
        """Ask the process to end, and kill it when it has not after 30 s, as SageMaker does."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._healthy = False
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        # Not a daemon thread: leaving the interpreter waits until no process is left behind.
        threading.Thread(target=_reap, args=(self._process, self._standard_error)).start()


def _reap(process: subprocess.Popen[bytes], standard_error: Path) -> None:
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    standard_error.unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
