"""What serves a model on one instance, and that it keeps SageMaker's container contract.

Every test of a real process starts one: a few lines of Python that stand for a model server.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spillway.twin.clock import Scheduler
from spillway.twin.containers import Answer, Container, LocalProcess, Python, Simulated, StartError

SERVER = """
import http.server, json, os, sys, threading
if "crash" in sys.argv:
    sys.exit("no weights in " + os.environ["MODEL"])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200 if self.path == "/ping" else 404, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(3)
        if body == b"refuse":
            return self.answer(400, b"no")
        told = {k.lower(): v for k, v in self.headers.items()}
        self.answer(200, json.dumps({
            "path": self.path, "body": body.decode(), "model": os.environ["MODEL"],
            "custom": told.get("x-amzn-sagemaker-custom-attributes"), "pid": os.getpid(),
        }).encode())
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass

server = http.server.ThreadingHTTPServer(
    (os.environ["SPILLWAY_BIND_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
server.serve_forever()
"""


@pytest.fixture
def virtual() -> Iterator[Scheduler]:
    """Give a virtual clock."""
    scheduler = Scheduler(virtual=True, seed=1)
    yield scheduler
    scheduler.close()


@pytest.fixture
def wall() -> Iterator[Scheduler]:
    """Give a wall clock whose loop runs in a thread."""
    scheduler = Scheduler(virtual=False)
    scheduler.start()
    yield scheduler
    scheduler.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., LocalProcess]]:
    """Make containers of the little model server, and leave no process behind."""
    (tmp_path / "serve.py").write_text(SERVER)
    made: list[LocalProcess] = []

    def make(scheduler: Scheduler, *arguments: str, **options: Any) -> LocalProcess:
        container = LocalProcess(
            scheduler,
            {"MODEL": "tiny"},
            command=["{python}", "serve.py", *arguments],
            directory=tmp_path,
            **options,
        )
        made.append(container)
        return container

    yield make
    for container in made:
        container.stop()


class Box:
    """Keeps the answers that come, and when."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.answers: list[Answer | None] = []
        self.at_s: list[float] = []

    def __call__(self, answer: Answer | None) -> None:
        """Take one."""
        self.answers.append(answer)
        self.at_s.append(self.scheduler.now())


def ask(scheduler: Scheduler, container: Container, body: bytes, **headers: str) -> Box:
    """Invoke, and let up to 20 s pass until the answer is there."""
    box = Box(scheduler)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if scheduler.virtual:
        container.invoke(body, given, box)
        scheduler.run_until_true(lambda: bool(box.answers), 20)
    else:
        scheduler.call(container.invoke, body, given, box)
        until(lambda: bool(box.answers))
    return box


def until(predicate: Callable[[], bool]) -> None:
    """Wait for another thread or process; it is quick, and 20 s is a failure."""
    for _ in range(2000):
        if predicate():
            return
        time.sleep(0.01)
    pytest.fail("it took more than 20 s")


def test_simulated_time_is_a_function_of_the_request(virtual: Scheduler) -> None:
    """A replay of a trace is only as good as its service times."""
    container = Simulated(virtual, {}, service_s=lambda body: len(body) / 10)
    start_s = virtual.now()
    box = ask(virtual, container, b"x" * 25)
    assert box.at_s == [start_s + 2.5]
    assert box.answers == [Answer(body=b"{}")]


def test_a_python_function_answers_json(virtual: Scheduler) -> None:
    """A test author writes a model in one line."""
    container = Python(virtual, {}, answers=lambda body: {"n": body["n"] + 1}, service_s=2)
    start_s = virtual.now()
    box = ask(virtual, container, b'{"n": 1}')
    assert (box.answers, box.at_s) == ([Answer(body=b'{"n": 2}')], [start_s + 2])


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (b"not json", Answer(body=b"not json")),
        (Answer(status=429, body=b"later"), Answer(status=429, body=b"later")),
    ],
)
def test_a_python_function_chooses_bytes_and_status(
    virtual: Scheduler, given: object, answer: Answer
) -> None:
    """Models that answer garbage or an error are part of every scenario."""
    container = Python(virtual, {}, answers=lambda _: given)
    assert ask(virtual, container, b"1").answers == [answer]


def test_a_python_function_that_raises_is_a_failing_model(virtual: Scheduler) -> None:
    """An exception in a test's model must reach the job, not end the simulation."""

    def answers(_: Any) -> Any:
        raise ValueError("too long")

    (answer,) = ask(virtual, Python(virtual, {}, answers=answers), b"1").answers
    assert answer is not None
    assert answer.status == 500
    assert b"too long" in answer.body


def test_a_real_process_answers_on_the_virtual_clock(
    virtual: Scheduler, server: Callable[..., LocalProcess]
) -> None:
    """A simulated day may use the real model: its answers are real, its times are simulated.

    Amazon SageMaker Developer Guide, "Custom inference code with hosting services": GET /ping and
    POST /invocations, environment variables and custom attributes.
    """
    container = server(virtual, service_s=lambda _: 7.0, warm_up_s=60.0)
    start_s = virtual.now()
    assert container.warm_up_s == 60.0
    assert not container.ready()
    container.start()
    assert container.ready()
    assert virtual.now() == start_s
    box = ask(virtual, container, b"text", x_amzn_sagemaker_custom_attributes="trace")
    (answer,) = box.answers
    assert box.at_s == [start_s + 7]
    assert answer is not None
    assert answer.content_type == "application/json"
    for part in (b'"path": "/invocations"', b'"body": "text"', b'"tiny"', b'"trace"'):
        assert part in answer.body
    assert ask(virtual, container, b"refuse").answers == [
        Answer(status=400, body=b"no", content_type="application/json")
    ]


def test_a_real_process_never_holds_up_the_wall_clock(
    wall: Scheduler, server: Callable[..., LocalProcess]
) -> None:
    """One slow model must not freeze the service that everybody uses."""
    container = server(wall)
    wall.call(container.start)
    until(container.ready)
    (answer,) = ask(wall, container, b"text").answers
    assert answer is not None
    assert b'"body": "text"' in answer.body


def test_a_process_that_dies_breaks_off(
    virtual: Scheduler, server: Callable[..., LocalProcess]
) -> None:
    """A crash must be told from an answer."""
    container = server(virtual)
    container.start()
    assert ask(virtual, container, b"die").answers == [None]


def test_a_process_that_cannot_start_says_why(
    virtual: Scheduler, wall: Scheduler, server: Callable[..., LocalProcess]
) -> None:
    """Missing weights should read as missing weights, on either clock."""
    with pytest.raises(StartError, match="no weights in tiny"):
        server(virtual, "crash").start()
    container = server(wall, "crash")
    container.start()

    def ended() -> bool:
        try:
            return container.ready()
        except StartError as error:
            assert "no weights in tiny" in str(error)  # noqa: PT017 until it ends
            return True

    until(ended)


def test_stopping_ends_the_process(virtual: Scheduler, server: Callable[..., LocalProcess]) -> None:
    """Model servers left behind would fill a laptop's memory.

    Developer Guide, "Custom inference code with hosting services": SIGTERM, and SIGKILL 30 s later.
    """
    container = server(virtual)
    container.start()
    process = container._process
    assert process is not None
    container.stop()
    container.stop()
    until(lambda: process.poll() is not None)
    until(lambda: not container._standard_error.exists())
    assert not container.ready()


def test_a_program_that_is_not_there_is_an_error(virtual: Scheduler, tmp_path: Path) -> None:
    """A typing error in a command must fail the endpoint, not wait for eight minutes."""
    container = LocalProcess(virtual, {}, command=["no-such-program"], directory=tmp_path)
    with pytest.raises(FileNotFoundError):
        container.start()


def test_factories_are_partials(virtual: Scheduler) -> None:
    """The twin makes one container per instance from the scheduler and the model's environment."""
    factory = partial(LocalProcess, command=[sys.executable], directory=Path())
    assert not factory(virtual, {"A": "1"}).ready()
