"""Jobs in the words of OpenAI's clients, which branch on every one of them."""

from typing import Any

import pytest

from lambdas.domain.errors import ApiError
from lambdas.domain.job import CHAT, EMBEDDINGS, RESPONSES, Job, Status
from lambdas.domain.openai_answers import completion, failure, job_of, public_id, response

TAIL = "a" * 26
SAID = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
ERROR = {"code": "model_error", "message": "unwell"}


def job(status: Status, api: str = RESPONSES, **fields: Any) -> Job:
    """A job of one of OpenAI's routes."""
    known: dict[str, Any] = {"attempt": 1, "owner": "us-east-1", "home": "us-east-1"}
    known |= {"tenant": "acme", "model": "chat", "tier": "batch", "request_hash": b"h"}
    known |= {"created_ms": 1_700_000_000_000, "deadline_ms": 1_700_000_475_000, "api": api}
    return Job(id=f"job_{TAIL}", status=status, **known | fields)


@pytest.mark.parametrize("api", [CHAT, EMBEDDINGS, RESPONSES])
def test_an_id_leads_back_to_its_job_on_its_own_route_only(api: str) -> None:
    """An id of one route must not open another one's door."""
    public = public_id(job(Status.QUEUED, api))

    assert job_of(public, api) == f"job_{TAIL}"
    assert {job_of(public, other) for other in {CHAT, EMBEDDINGS, RESPONSES} - {api}} == {""}


@pytest.mark.parametrize(
    ("status", "error", "http", "code"),
    [
        (Status.FAILED, ERROR, 502, "model_error"),
        (Status.FAILED, None, 502, "job_failed"),
        (
            Status.EXPIRED,
            {"code": "deadline_exceeded", "message": "late"},
            504,
            "deadline_exceeded",
        ),
        (Status.REFUSED, {"code": "refused", "message": "no"}, 400, "refused"),
        # The error is of an attempt before, which did not end the job.
        (Status.CANCELLED, ERROR, 409, "job_cancelled"),
    ],
)
def test_an_end_without_an_answer_is_never_repeated(
    status: Status, error: dict[str, str] | None, http: int, code: str
) -> None:
    """A client that repeats by itself would have the model work again."""
    told = failure(job(status, error=error))

    assert (told.status, told.code, told.should_retry) == (http, code, False)
    assert told.job == f"job_{TAIL}"


@pytest.mark.parametrize("output", [None, [], "text", {"choices": "text"}, {"data": []}])
def test_an_answer_of_another_form_is_told_as_that(output: Any) -> None:
    """A program that reads `choices` must not find something else."""
    with pytest.raises(ApiError) as refusal:
        completion(job(Status.COMPLETED, CHAT), output)

    assert (refusal.value.code, refusal.value.should_retry) == ("invalid_output", False)


def test_a_chat_keeps_what_the_model_wrote_but_for_what_we_know_better() -> None:
    """Its id, its time, and which model and tier it was."""
    wrote = SAID | {"id": "theirs", "model": "/opt/ml/model", "usage": {"total_tokens": 3}}

    told = completion(job(Status.COMPLETED, CHAT), wrote)

    assert told["id"] == f"chatcmpl-{TAIL}"
    assert (told["model"], told["service_tier"], told["created"]) == ("chat", "flex", 1_700_000_000)
    assert (told["choices"], told["usage"]) == (SAID["choices"], wrote["usage"])


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Status.QUEUED, "queued"),
        (Status.IN_PROGRESS, "in_progress"),
        (Status.FAILED, "failed"),
        (Status.EXPIRED, "failed"),
        (Status.CANCELLED, "cancelled"),
        (Status.REFUSED, "completed"),
    ],
)
def test_every_state_of_a_job_is_one_of_a_response(status: Status, told: str) -> None:
    """A client polls until it knows the word."""
    found = response(job(status, error=ERROR))

    assert found["status"] == told
    assert (found["error"] is None) is (told != "failed")
    parts = [part["type"] for item in found["output"] for part in item["content"]]
    assert parts == (["refusal"] if status is Status.REFUSED else [])


def test_an_answer_that_was_cut_off_says_so() -> None:
    """Half a JSON document that looks complete breaks its reader somewhere else."""
    choice = SAID["choices"][0] | {"finish_reason": "length"}

    found = response(job(Status.COMPLETED), {"choices": [choice]})

    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}
    assert found["output"][0]["content"][0]["text"] == "hi"
