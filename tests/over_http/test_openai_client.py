"""The unmodified client of OpenAI, over HTTP: its calls, its errors, its own retries."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from spillway.service import LocalService
from tests.over_http.conftest import Models


@pytest.fixture
def client(service: LocalService, key: str) -> Iterator[openai.OpenAI]:
    """The client as its users make it: an address and a key, and its own two retries."""
    with openai.OpenAI(base_url=f"{service.urls['us-east-1']}/v1", api_key=key) as client:
        yield client


@pytest.fixture
def later(client: openai.OpenAI) -> openai.AsyncOpenAI:
    """The asynchronous client."""
    return openai.AsyncOpenAI(base_url=str(client.base_url), api_key=client.api_key)


def said(prompt: str) -> Any:
    """One message of a user."""
    return [{"role": "user", "content": prompt}]


def test_a_chat_is_answered_and_says_which_tier_served(client: openai.OpenAI) -> None:
    """An application should need an address and a key, and nothing else."""
    answer = client.chat.completions.create(
        model="chat", messages=said("hello"), service_tier="priority"
    )

    assert answer.choices[0].message.content == "You said: hello"
    assert answer.id.startswith("chatcmpl-")
    assert (answer.model, answer.object) == ("chat", "chat.completion")
    assert answer.service_tier == "priority"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert answer._request_id is not None
    assert answer._request_id.startswith("job_")


def test_fields_that_we_do_not_know_reach_the_model(client: openai.OpenAI, models: Models) -> None:
    """A model server has settings of its own, which its users set through `extra_body`."""
    client.chat.completions.create(
        model="chat",
        messages=said("passed on"),
        temperature=0.1,
        metadata={"who": "me"},
        extra_body={"guided_regex": "[a-z]+"},
    )

    asked = models.asked["passed on"]
    assert (asked["temperature"], asked["guided_regex"]) == (0.1, "[a-z]+")
    assert not {"model", "metadata", "service_tier", "stream"} & set(asked)


def test_embeddings_come_as_numbers(client: openai.OpenAI) -> None:
    """The client asks for base64 by itself, and takes what the model gives."""
    answer = client.embeddings.create(model="embedder", input=["one", "three"])

    assert [each.embedding for each in answer.data] == [[3.0, 0.5], [5.0, 0.5]]


def test_the_asynchronous_client_gets_the_same(later: openai.AsyncOpenAI) -> None:
    """Its users expect as much."""

    async def ask() -> tuple[Any, Any, Any]:
        async with later:
            return await asyncio.gather(
                later.chat.completions.create(model="chat", messages=said("async")),
                later.embeddings.create(model="embedder", input="async"),
                later.responses.create(model="chat", input="async too"),
            )

    chat, embedding, response = asyncio.run(ask())

    assert chat.choices[0].message.content == "You said: async"
    assert embedding.data[0].embedding == [5.0, 0.5]
    assert response.output_text == "You said: async too"


def test_a_slow_answer_is_waited_for_and_worked_on_once(
    client: openai.OpenAI, models: Models
) -> None:
    """Redirects keep the wait short at every hop; the client follows them with its key."""
    answer = client.chat.completions.with_raw_response.create(
        model="chat", messages=said("slow one")
    )

    assert answer.parse().choices[0].message.content == "You said: slow one"
    assert len(answer.http_response.history) >= 2
    assert answer.retries_taken == 0
    assert models.runs["slow one"] == 1


def test_a_job_that_failed_is_not_sent_again_by_the_clients_own_retries(
    client: openai.OpenAI, models: Models
) -> None:
    """Its attempts are used up; two retries of the client would be four runs more."""
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="chat", messages=said("fail for ever"))

    assert failed.value.code == "model_error"
    assert failed.value.request_id is not None
    assert failed.value.request_id.startswith("job_")
    assert models.runs["fail for ever"] == 2, "the attempts of one job"


def test_a_client_that_lost_sight_of_its_request_gets_the_same_job(
    client: openai.OpenAI, models: Models
) -> None:
    """It repeats the request by itself when its own time is up, and sends no idempotency key."""
    answer = client.with_options(timeout=0.8, max_retries=5).chat.completions.create(
        model="chat", messages=said("slow, and cut off")
    )

    assert answer.choices[0].message.content == "You said: slow, and cut off"
    assert models.runs["slow, and cut off"] == 1


def test_its_own_exceptions_tell_what_is_wrong(client: openai.OpenAI) -> None:
    """Programs catch these by their classes."""
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-none", messages=said("hello"))
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")

    with pytest.raises(openai.BadRequestError) as streamed:
        list(client.chat.completions.create(model="chat", messages=said("hello"), stream=True))
    assert streamed.value.param == "stream"
    assert "as a whole" in streamed.value.message

    with pytest.raises(openai.BadRequestError) as other:
        client.embeddings.create(model="chat", input="hello")
    assert other.value.code == "model_not_supported"

    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-spillway-wrong").models.list()


def test_a_response_in_the_background_is_polled_to_its_end(client: openai.OpenAI) -> None:
    """What takes long is asked for again and again, by an id that stays."""
    begun = client.responses.create(
        model="chat", input="slow thoughts", background=True, metadata={"topic": "t"}
    )
    assert begun.status in {"queued", "in_progress"}
    response = begun
    for _ in range(100):
        response = client.responses.retrieve(begun.id)
        if response.status not in {"queued", "in_progress"}:
            break

    assert (response.id, response.status) == (begun.id, "completed")
    assert response.output_text == "You said: slow thoughts"
    assert response.metadata == {"topic": "t"}
    assert response.usage is not None
    assert response.usage.input_tokens == 3
    with pytest.raises(openai.ConflictError):
        client.responses.cancel(begun.id)
    client.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(begun.id)


def test_a_response_can_be_cancelled(client: openai.OpenAI) -> None:
    """Twice, too: a client does not know whether its first wish arrived."""
    begun = client.responses.create(model="chat", input="slow, unwanted", background=True)

    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.retrieve(begun.id).status == "cancelled"


def test_a_model_that_speaks_responses_is_not_translated(client: openai.OpenAI) -> None:
    """Its own items stay as they are; the id is ours."""
    response = client.responses.create(model="thinker", input="deeply", instructions="Be brief.")

    assert response.output_text == "Thought: deeply"
    assert response.id.startswith("resp_")


def test_the_models_of_the_key_are_listed(client: openai.OpenAI) -> None:
    """Applications offer their users what is there."""
    assert {model.id for model in client.models.list()} == {"chat", "embedder", "thinker"}
    assert client.models.retrieve("chat").id == "chat"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-none")
