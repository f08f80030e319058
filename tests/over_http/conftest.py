"""One deployment on the wall clock, which clients reach over HTTP as they would on AWS."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from config.schema import load
from spillway import local
from spillway.directory import add_tenant
from spillway.service import LocalService
from spillway.twin.containers import Answer, Python

CONFIG = Path(__file__).with_name("serving.yaml")
SLOW_S = 2.5
"""Longer than two waits of `limits.wait_s_max`."""
NUMBERS = count(1)


class Models:
    """What the models of the deployment answer; each prompt is counted.

    A prompt that begins with `slow` takes longer than a client waits at once, one that begins with
    `fail` is answered with an error every time.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.asked: dict[str, Any] = {}

    def takes_s(self, body: bytes) -> float:
        """Seconds that a request takes."""
        return SLOW_S if _prompt(json.loads(body)).startswith("slow") else 0.05

    def answer(self, asked: Any) -> Any:
        """Answer in the form of the route that the request belongs to."""
        prompt = _prompt(asked)
        self.runs[prompt] += 1
        self.asked[prompt] = asked
        if prompt.startswith("fail"):
            return Answer(status=500, body=b'{"error": "this model is unwell"}')
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        if isinstance(asked, dict) and "messages" in asked:
            message = {"role": "assistant", "content": f"You said: {prompt}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"object": "chat.completion", "choices": [choice], "usage": usage}
        given = asked["input"] if isinstance(asked, dict) and "input" in asked else asked
        texts = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(str(text))), 0.5]}
            for index, text in enumerate(texts)
        ]
        return {"object": "list", "data": data, "usage": usage}

    def think(self, asked: Any) -> Any:
        """Answer as a model that speaks Responses itself."""
        prompt = _prompt(asked)
        self.runs[prompt] += 1
        part = {"type": "output_text", "text": f"Thought: {prompt}", "annotations": []}
        message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
        return {"object": "response", "status": "completed", "output": [message], "tools": []}


def _prompt(asked: Any) -> str:
    """What tells a request from others, whatever its form: models are asked for anything."""
    if not isinstance(asked, dict):
        return str(asked)
    messages, given = asked.get("messages"), asked.get("input")
    if messages and isinstance(messages, list):
        last = messages[-1]
        return str(last.get("content")) if isinstance(last, dict) else str(last)
    return str(given[0] if given and isinstance(given, list) else given)


@pytest.fixture(scope="module")
def models() -> Models:
    """What the models answer."""
    return Models()


def deployed(models: Models) -> LocalService:
    """The deployment, with models that answer so."""
    names = load(CONFIG).names
    made = partial(Python, answers=models.answer, service_s=models.takes_s)
    replaced = {names.endpoint(model, "v1"): made for model in ("chat", "embedder")}
    replaced[names.endpoint("thinker", "v1")] = partial(Python, answers=models.think)
    return LocalService(CONFIG, replaced=replaced)


@pytest.fixture(scope="module")
def service(models: Models) -> Iterator[LocalService]:
    """The deployment, for all tests of a module: other worlds come before and after it."""
    with deployed(models) as service:
        yield service


@pytest.fixture
def key(service: LocalService) -> str:
    """A key of a tenant that nobody has used before."""
    directory = local.directory(service.twin, service.deployment)
    return str(service.twin.scheduler.call(add_tenant, directory, f"tenant-{next(NUMBERS)}"))
