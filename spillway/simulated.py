"""What stands in for a model on the twin: the time that its configuration predicts, and an answer.

The answer tells how much was asked, in the form of OpenAI's route that the request belongs to, so
that clients of those routes can be tried without a model.
"""

import json
from contextlib import suppress
from typing import Any

from config.schema import Service
from spillway.replay.plan import LETTERS_PER_TOKEN, tokens_in
from spillway.twin.containers import Answer

DIMENSIONS = 8
"""Of a simulated embedding."""


def service_s(service: Service, body: bytes) -> float:
    """Seconds that a request of this body takes."""
    return service.seconds(*_tokens(service, body))


def counted(service: Service, body: bytes) -> Answer:
    """A simulated model's answer: its size, and the row of a trace that it belongs to."""
    tokens, answered = (int(count) for count in _tokens(service, body))
    document: dict[str, Any] = {
        "object": "simulated",
        "usage": {
            "prompt_tokens": tokens,
            "completion_tokens": answered,
            "total_tokens": tokens + answered,
        },
    }
    with suppress(ValueError, AttributeError):
        asked = json.loads(body)
        document["row"] = asked.get("row")
        document |= _form(asked, tokens, answered)
    return Answer(body=json.dumps(document).encode())


def _form(asked: dict[str, Any], tokens: int, answered: int) -> dict[str, Any]:
    """The form of the route that such a request belongs to."""
    if "messages" in asked:
        said = f"Simulated: {tokens} tokens read, {answered} written."
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"object": "chat.completion", "choices": [choice]}
    if "input" in asked:
        given = asked["input"]
        texts = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": index, "embedding": [0.0] * DIMENSIONS}
            for index in range(len(texts))
        ]
        return {"object": "list", "data": data}
    return {}


def _tokens(service: Service, body: bytes) -> tuple[float, float]:
    typical = (service.input_tokens_typical, service.output_tokens_typical)
    try:
        document = json.loads(body)
    except ValueError:
        return len(body) / LETTERS_PER_TOKEN, float(typical[1])
    return tokens_in(document if isinstance(document, dict) else {}, typical=typical)
