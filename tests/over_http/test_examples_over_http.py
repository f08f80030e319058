"""The examples that ask a service, run as their first lines show; and the client beside them."""

import importlib.util
import json
import runpy
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn

from lambdas.domain.uploads import PART_BYTES_MIN
from spillway import Client
from spillway.client import Delivery
from spillway.service import LocalService
from tests.over_http.conftest import NUMBERS, Models

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def environment(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `spillway local` prints, exported."""
    monkeypatch.setenv("SPILLWAY_URL", service.urls["us-east-1"])
    monkeypatch.setenv("SPILLWAY_API_KEY", service.key)
    monkeypatch.setenv("SPILLWAY_WEBHOOK_SECRET", service.webhook_secret)


def loaded(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def until(holds: Callable[[], Any]) -> Any:
    """Wait until something holds; what it gave."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        if found := holds():
            return found
        time.sleep(0.1)
    raise AssertionError("it never held")


def test_the_application_on_openais_client_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An application needs an address and a key."""
    monkeypatch.setattr(sys, "argv", ["openai_app.py", "Where", "is my parcel?"])

    runpy.run_path(str(EXAMPLES / "openai_app.py"), run_name="__main__")

    printed = capsys.readouterr().out
    assert "answer:  You said: Where is my parcel?" in printed
    assert "summary: You said: Summarize: Where is my parcel?" in printed


def test_a_folder_is_gone_on_with_after_an_interruption(
    tmp_path: Path, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    """A night's work that was interrupted is started again, and makes nothing twice."""
    documents, results = tmp_path / "my documents", tmp_path / "results"
    (documents / "more").mkdir(parents=True)
    texts = [f"document {next(NUMBERS)} of a folder" for _ in range(9)]
    for number, text in enumerate(texts):
        folder = documents / ("more" if number % 2 else "")
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    example = loaded("bulk_folder")
    save: Callable[[Path, str], None] = example.save
    saved: list[Path] = []

    def interrupted(target: Path, text: str) -> None:
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(target)
        save(target, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            example.main(documents, results)

    assert example.main(documents, results) == 0

    assert "9 files, 6 to do" in capsys.readouterr().out
    assert [models.runs[text] for text in texts] == [1] * 9
    found = [json.loads(path.read_text()) for path in results.rglob("*.txt.json")]
    lengths = sorted(each["data"][0]["embedding"][0] for each in found)
    assert lengths == sorted(float(len(text)) for text in texts)


@pytest.fixture
def receiver(
    service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str]]:
    """The example's receiver, listening: its public address and its own."""
    monkeypatch.setenv("INBOX", str(tmp_path / "inbox.sqlite"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(loaded("webhook_receiver").app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url, name = f"http://127.0.0.1:{listener.getsockname()[1]}", f"told-{next(NUMBERS)}.example"
        service.twin.functions.receivers.add(name, url)
        yield f"https://{name}/told", f"{url}/told"
        server.should_exit = True
        thread.join(PATIENCE_S)


def test_the_receiver_acts_on_each_event_once_and_believes_nobody_else(
    service: LocalService, receiver: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever knows the address must not be able to tell the application stories."""
    public, own = receiver
    printed = []

    def said() -> str:
        printed.append(capsys.readouterr().out)
        return "".join(printed)

    with Client(service.urls["us-east-1"], service.key) as client:
        told_of = client.run("embedder", {"input": "told"}, webhook=public)
        until(lambda: f"{told_of.id} is completed" in said())
        client.redeliver(told_of)

        def twice() -> tuple[Delivery, ...]:
            tries = client.deliveries(told_of).data
            return tries if len(tries) == 2 else ()

        assert [each.status for each in until(twice)] == [204, 204]

    forged = {"type": "job.completed", "timestamp": "2026-01-01T00:00:00Z", "data": {"id": "j"}}
    assert httpx.post(own, json=forged).status_code == 400
    assert httpx.post(own, content=b"x" * 70_000).status_code == 413
    assert said().count(told_of.id) == 1


def test_a_large_input_and_its_large_result_go_by_links(
    service: LocalService, key: str, tmp_path: Path
) -> None:
    """The client does what a plain one would have to do by hand: parts, waits, a link."""
    text = f"large {next(NUMBERS)} " + "a" * PART_BYTES_MIN
    file = tmp_path / "input.json"
    file.write_text(json.dumps({"input": text}), encoding="utf-8")

    with Client(service.urls["us-east-1"], key) as client:
        upload = client.upload(file, part_bytes=PART_BYTES_MIN)
        job = client.run("thinker", upload, tier="interactive")
        (message,) = client.output(job)["output"]

        assert (len(upload.parts or ()), upload.ready) in {(0, True), (2, True)}
        assert (job.output, job.completed) == (None, True)
        assert message["content"][0]["text"] == f"Thought: {text}"
        assert client.feedback(job, rating=1).feedback is not None
        used = until(lambda: client.usage(model="thinker").data)
        assert used[0].jobs["completed"] == 1
