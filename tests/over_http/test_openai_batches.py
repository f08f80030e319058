"""The unmodified client of OpenAI, over HTTP: files and batches."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Batch

from spillway.service import LocalService

PATIENCE_S = 90
"""A batch is looked at every five seconds while its jobs are under way."""


@pytest.fixture
def client(service: LocalService, key: str) -> Iterator[openai.OpenAI]:
    """The client as its users make it: an address and a key, and its own two retries."""
    with openai.OpenAI(base_url=f"{service.urls['us-east-1']}/v1", api_key=key) as client:
        yield client


def lines(*prompts: str, model: str = "chat") -> bytes:
    """A batch's file."""
    requests = [
        {
            "custom_id": prompt,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": prompt}]},
        }
        for prompt in prompts
    ]
    return "\n".join(json.dumps(request) for request in requests).encode()


def begun(client: openai.OpenAI, *prompts: str, **options: Any) -> Batch:
    """A batch as its users make one."""
    file = client.files.create(file=("in.jsonl", lines(*prompts, **options)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    """Poll until the batch has ended, as its users do."""
    until_s = time.monotonic() + PATIENCE_S
    while batch.status not in {"completed", "failed", "expired", "cancelled"}:
        assert time.monotonic() < until_s, batch
        time.sleep(1)
        batch = client.batches.retrieve(batch.id)
    return batch


def told(client: openai.OpenAI, file: str | None) -> dict[str, Any]:
    """A file's lines by the names that their client gave them."""
    assert file is not None
    found = [json.loads(each) for each in client.files.content(file).text.splitlines()]
    return {each["custom_id"]: each for each in found}


def test_a_batch_answers_every_line(client: openai.OpenAI) -> None:
    """One bad answer is one line of the error file, and the others are not its fault."""
    batch = ended(client, begun(client, "batch one", "fail in batch", "batch ü"))

    assert batch.status == "completed"
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
    assert batch.usage is not None
    assert batch.usage.total_tokens == 10
    assert batch.model == "chat"
    good, bad = told(client, batch.output_file_id), told(client, batch.error_file_id)
    assert set(good) == {"batch one", "batch ü"}
    for prompt, line in good.items():
        body = line["response"]["body"]
        assert body["choices"][0]["message"]["content"] == f"You said: {prompt}"
        assert body["service_tier"] == "flex"
    assert bad["fail in batch"]["response"]["status_code"] == 502
    assert bad["fail in batch"]["response"]["body"]["error"]["code"] == "model_error"
    assert client.batches.list(limit=1).data[0].id == batch.id
    made = client.files.list(purpose="batch_output")
    assert {file.id for file in made} == {batch.output_file_id, batch.error_file_id}


def test_a_batch_with_a_bad_line_fails_with_its_number(client: openai.OpenAI) -> None:
    """Its users read the errors before they look at a log."""
    batch = ended(client, begun(client, "batch two", "batch three", model="gpt-none"))

    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(e.line, e.code, e.param) for e in batch.errors.data] == [
        (1, "model_not_found", "model"),
        (2, "model_not_found", "model"),
    ]


def test_a_cancelled_batch_keeps_what_it_has(client: openai.OpenAI) -> None:
    """The lines that nobody came to are in the error file."""
    batch = begun(client, *(f"slow batch {number}" for number in range(30)))
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    batch = ended(client, batch)

    assert batch.status == "cancelled"
    if batch.error_file_id is not None:
        codes = {line["error"]["code"] for line in told(client, batch.error_file_id).values()}
        assert codes == {"batch_cancelled"}
    assert client.batches.cancel(batch.id).status == "cancelled"


def test_the_asynchronous_client_has_batches_answered_and_cancels_them(
    client: openai.OpenAI,
) -> None:
    """Services that wait for many batches at once use it."""

    async def at_once() -> tuple[Batch, Batch]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as later:
            many = (f"slow later {number}" for number in range(30))
            made = []
            for prompts in (["later one", "later two"], many):
                file = await later.files.create(file=("in.jsonl", lines(*prompts)), purpose="batch")
                batch = await later.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                )
                made.append(batch)
            answered, given_up = made
            assert (await later.batches.cancel(given_up.id)).id == given_up.id
            return answered, await later.batches.retrieve(given_up.id)

    async def listed() -> list[str]:
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as later:
            return [batch.id async for batch in later.batches.list(limit=1)]

    answered, given_up = asyncio.run(at_once())
    assert ended(client, given_up).status == "cancelled"
    answered = ended(client, answered)
    assert answered.status == "completed"
    assert set(told(client, answered.output_file_id)) == {"later one", "later two"}
    assert {answered.id, given_up.id} <= set(asyncio.run(listed()))


def test_files_come_back_and_go(client: openai.OpenAI) -> None:
    """The asynchronous client goes through all pages by itself, also while it deletes."""
    body = b'{"a": "\xc3\xbc"}\n' * 3
    for number in range(3):
        client.files.create(file=(f"{number}.jsonl", body), purpose="batch")

    async def erase_all() -> list[str]:
        found = []
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as later:
            async for file in later.files.list(limit=1, order="asc"):
                found.append((await later.files.retrieve(file.id)).filename)
                assert (await later.files.content(file.id)).content == body
                assert (await later.files.delete(file.id)).deleted
        return found

    time.sleep(1.5)  # lists follow within about a second
    assert asyncio.run(erase_all()) == ["0.jsonl", "1.jsonl", "2.jsonl"]


def test_a_large_files_content_is_followed_to_its_bucket(client: openai.OpenAI) -> None:
    """The client follows such a link by itself, and leaves its key behind."""
    file = client.files.create(file=("large.jsonl", b'"' * 3_000_000), purpose="batch")

    assert client.files.content(file.id).content == b'"' * 3_000_000


def test_its_own_exceptions_tell_what_is_wrong_with_files(client: openai.OpenAI) -> None:
    """Programs catch these by their classes."""
    with pytest.raises(openai.NotFoundError) as missing:
        client.files.retrieve("file-" + "a" * 26)
    assert missing.value.code == "file_not_found"
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_" + "a" * 26)
    with pytest.raises(openai.BadRequestError) as purpose:
        client.files.create(file=b"{}", purpose="fine-tune")
    assert purpose.value.param == "purpose"
    with pytest.raises(openai.APIStatusError) as large:
        client.files.create(file=b"x" * 4_100_000, purpose="batch")
    assert large.value.status_code == 413
    with pytest.raises(openai.BadRequestError) as none:
        client.batches.create(
            input_file_id="file-none", endpoint="/v1/embeddings", completion_window="24h"
        )
    assert none.value.param == "input_file_id"
