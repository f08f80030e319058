"""OpenAI's requests as jobs: what reaches the model, and what is refused by its name."""

import json
from dataclasses import replace
from typing import Any

import pytest

from lambdas.domain.errors import ApiError
from lambdas.domain.openai_requests import read_body, read_request
from lambdas.domain.responses import chat_of, output_of, usage_of
from tests.domain.api_policy import ANYBODY, model, policy

MESSAGES = [{"role": "user", "content": "hi"}]
POLICY = policy(
    talker=model("talker", apis=("chat.completions",)),
    embedder=model("embedder", apis=("embeddings",)),
    thinker=model("thinker", apis=("responses",)),
)


def read(api: str, **body: Any) -> Any:
    """What the model would get."""
    submission = read_body(api, json.dumps(body).encode(), POLICY, ANYBODY)
    assert submission.api == api
    return json.loads(submission.input_bytes)


def refused(api: str, **body: Any) -> ApiError:
    """How a body is refused."""
    with pytest.raises(ApiError) as refusal:
        read_body(api, json.dumps(body).encode(), POLICY, ANYBODY)
    return refusal.value


def test_only_what_the_service_acts_on_is_taken_off() -> None:
    """A container serves one model; its own settings are nobody else's business."""
    got = read(
        "chat.completions",
        model="talker",
        messages=MESSAGES,
        service_tier="flex",
        stream=False,
        store=True,
        metadata={"a": "b"},
        temperature=0,
        new_in_2027={"x": [1]},
    )

    assert got == {"messages": MESSAGES, "temperature": 0, "new_in_2027": {"x": [1]}}


@pytest.mark.parametrize(
    ("api", "body", "param", "code"),
    [
        ("chat.completions", {"messages": MESSAGES}, "model", "missing_field"),
        ("chat.completions", {"model": "talker"}, "messages", "missing_field"),
        ("chat.completions", {"model": "talker", "messages": []}, "messages", "invalid_value"),
        ("chat.completions", {"model": "talker", "messages": "hi"}, "messages", "invalid_value"),
        ("chat.completions", {"model": "none", "messages": MESSAGES}, "model", "model_not_found"),
        (
            "chat.completions",
            {"model": "embedder", "messages": MESSAGES},
            "model",
            "model_not_supported",
        ),
        (
            "chat.completions",
            {"model": "talker", "messages": MESSAGES, "stream": True},
            "stream",
            "invalid_value",
        ),
        (
            "chat.completions",
            {"model": "talker", "messages": MESSAGES, "stream": 0},
            "stream",
            "invalid_value",
        ),
        (
            "chat.completions",
            {"model": "talker", "messages": MESSAGES, "service_tier": "scale"},
            "service_tier",
            "invalid_value",
        ),
        (
            "chat.completions",
            {"model": "talker", "messages": MESSAGES, "metadata": {"a": 1}},
            "metadata",
            "invalid_value",
        ),
        (
            "chat.completions",
            {"model": "talker", "messages": MESSAGES, "metadata": {"a": "x" * 513}},
            "metadata",
            "invalid_value",
        ),
        ("embeddings", {"model": "embedder"}, "input", "missing_field"),
        ("embeddings", {"model": "embedder", "input": 7}, "input", "invalid_value"),
        (
            "responses",
            {"model": "talker", "input": "x", "previous_response_id": "resp_1"},
            "previous_response_id",
            "invalid_value",
        ),
        (
            "responses",
            {"model": "talker", "input": "x", "tools": [{"type": "web_search"}]},
            "tools",
            "invalid_value",
        ),
        (
            "responses",
            {"model": "talker", "input": [{"type": "mcp_call"}]},
            "input",
            "invalid_value",
        ),
        ("responses", {"model": "embedder", "input": "x"}, "model", "model_not_supported"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(
    api: str, body: dict[str, Any], param: str, code: str
) -> None:
    """Silently leaving something out would give answers to another question."""
    refusal = refused(api, **body)

    assert (refusal.param, refusal.code) == (param, code)
    assert refusal.status == (404 if code == "model_not_found" else 400)


def test_a_body_that_nests_deeply_is_refused_before_anything_reads_it() -> None:
    """Deep documents exhaust parsers, the model's among them."""
    deep: Any = "x"
    for _ in range(65):
        deep = [deep]

    assert "64 levels" in refused("embeddings", model="embedder", input=deep).message


def test_an_equal_input_of_another_route_is_another_request() -> None:
    """The same idempotency key must not answer a chat with embeddings."""
    document = {"model": "both", "input": ["x"], "messages": MESSAGES}
    both = policy(both=model("both"))
    digests = {
        read_body(api, json.dumps(document).encode(), both, ANYBODY).digest
        for api in ("chat.completions", "embeddings")
    }

    assert len(digests) == 2


def test_a_repetition_is_known_whatever_a_release_changes() -> None:
    """Else a client's repetition after a deployment is another request: 409, or a second job."""
    body = json.dumps({"model": "talker", "input": "x", "instructions": "y"}).encode()
    speaks = policy(talker=model("talker", apis=("responses",)))
    patient = replace(POLICY, wait_s_max=POLICY.wait_s_max - 1)

    found = [read_body("responses", body, each, ANYBODY) for each in (POLICY, speaks, patient)]

    assert len({submission.digest for submission in found}) == 1
    assert len({submission.input_bytes for submission in found}) == 2
    assert len({submission.request.deadline_s for submission in found}) == 2


@pytest.mark.parametrize(
    "field", [{"background": True}, {"service_tier": "flex"}, {"metadata": {"a": "b"}}]
)
def test_what_a_request_asks_of_us_makes_it_another_one(field: dict[str, Any]) -> None:
    """A reused idempotency key must not hide that."""
    digests = {
        read_body("responses", json.dumps(body).encode(), POLICY, ANYBODY).digest
        for body in ({"model": "talker", "input": "x"}, {"model": "talker", "input": "x"} | field)
    }

    assert len(digests) == 2


def test_a_line_of_a_batch_is_nobodys_repetition() -> None:
    """A client that repeats a chat must not get, and cancel, the batch's job."""
    document: dict[str, Any] = {"model": "talker", "input": "x", "service_tier": "flex"}
    document["background"] = True
    alone, line = (
        read_request("responses", document, POLICY, ANYBODY, deadline_s=deadline_s, background=True)
        for deadline_s in (None, 7)
    )

    assert alone.digest != line.digest


def test_a_response_reaches_a_chat_model_in_its_own_words() -> None:
    """The container knows chat completions and nothing else."""
    chat = chat_of(
        {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": "What time is it?"},
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "noon"},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "And here?"},
                        {"type": "input_image", "image_url": "data:x", "detail": "low"},
                    ],
                },
            ],
            "tools": [{"type": "function", "name": "clock", "parameters": {}, "strict": True}],
            "tool_choice": {"type": "function", "name": "clock"},
            "text": {"format": {"type": "json_schema", "name": "t", "schema": {}}},
            "reasoning": {"effort": "low"},
            "max_output_tokens": 7,
            "temperature": 0.2,
            "include": [],
            "truncation": None,
            "guided_regex": "x",
        }
    )

    called = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}
    assert chat == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c1", "content": "noon"},
            {"role": "user", "content": [{"type": "text", "text": "And here?"}, image]},
        ],
        "tools": [
            {"type": "function", "function": {"name": "clock", "parameters": {}, "strict": True}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "clock"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "t", "schema": {}}},
        "reasoning_effort": "low",
        "max_tokens": 7,
        "temperature": 0.2,
        "guided_regex": "x",
    }


def test_a_chat_completion_is_told_as_items_of_a_response() -> None:
    """Text, thoughts, refusals and calls of functions each have an item of their own."""
    message = {
        "content": "Noon.",
        "reasoning_content": "Hm.",
        "refusal": None,
        "tool_calls": [{"id": "c1", "function": {"name": "clock", "arguments": "{}"}}],
    }
    choices = [{"message": message, "finish_reason": "length"}]

    thought, said, call = output_of({"choices": choices}, "t")

    assert thought["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert (said["content"][0]["text"], said["status"]) == ("Noon.", "incomplete")
    assert (call["type"], call["call_id"], call["name"]) == ("function_call", "c1", "clock")
    assert output_of({"choices": []}, "t") == output_of({}, "t") == []


def test_tokens_are_told_in_the_words_of_responses() -> None:
    """Programs add them up by these names."""
    usage = usage_of({"usage": {"prompt_tokens": 3, "completion_tokens": 2}})

    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (3, 2, 5)
    assert usage_of({}) is None


@pytest.mark.parametrize("api", ["chat.completions", "embeddings", "responses"])
def test_a_field_whose_name_is_not_unicode_is_refused(api: str) -> None:
    """JSON can write it, and no model could be sent it; in a batch, all others would stand."""
    names = {"chat.completions": "talker", "embeddings": "embedder", "responses": "thinker"}
    body = {"model": names[api], "input": "hi", "messages": MESSAGES, "\ud800": 1}

    assert refused(api, **body).status == 400
