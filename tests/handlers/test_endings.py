"""How attempts end that failed."""

import json
from typing import Any

import pytest

from lambdas.adapters.endpoints import failure_key
from lambdas.domain.job import inference_id
from lambdas.handlers import complete
from tests.handlers.region import HERE, MODEL, NEXT, Region, aws, error

WORDS = "out of memory"


def fail(region: Region, job: str, *, attempt: int = 1, **said: Any) -> None:
    """Let complete hear that an attempt failed."""
    failure: dict[str, Any] = {
        "invocationStatus": "Failed",
        "inferenceId": inference_id(job, attempt),
        "failureReason": WORDS,
    }
    record = {"messageId": "n-1", "body": json.dumps(failure | said)}
    done = region.handler(complete)({"Records": [record]}, None)
    assert done == {"batchItemFailures": []}


def view(region: Region, job: str) -> Any:
    """The job as its client reads it."""
    return region.ask("GET /v1/jobs/{id}", job=job).json


@pytest.mark.parametrize("left_s", [5, 0, -10])
def test_a_job_without_time_for_another_attempt_fails_with_the_models_words(
    region: Region, left_s: int
) -> None:
    """It started in time: `did not start in time` would send its client the wrong way."""
    job = region.submitted(deadline_s=60)
    region.start(job)
    region.sleep(60 - left_s)

    fail(region, job)

    seen = view(region, job)
    assert (seen["status"], seen["attempt"]) == ("failed", 1)
    assert seen["error"] == {"code": "model_error", "message": WORDS}
    assert len(region.messages()) == 1, "no message of a second attempt"


def test_a_retry_that_does_not_start_in_time_expires_and_tells_what_failed(region: Region) -> None:
    """The client can mend what the model said, if it hears of it."""
    job = region.submitted(deadline_s=60)
    region.start(job)
    fail(region, job)
    assert view(region, job)["status"] == "queued"

    region.sleep(60)

    seen = view(region, job)
    assert (seen["status"], seen["error"]["code"]) == ("expired", "deadline_exceeded")
    assert f"model_error: {WORDS}" in seen["error"]["message"]


# ---- errors that are too long for a notification


def store(region: Region, key: str, body: bytes, *, where: str = HERE) -> str:
    """Write an error as SageMaker does; its address."""
    bucket = region.names.bucket(where)
    aws("s3", where).put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


def told(region: Region, job: str) -> str:
    """The error's message as the client reads it."""
    return str(view(region, job)["error"]["message"])


def test_an_error_too_long_for_its_notification_is_read_where_it_lies(region: Region) -> None:
    """The longest errors, with a trace in them, used to be the ones that were lost."""
    job = region.submitted()
    region.start(job)
    body = {"error": "no such layer", "trace": "x" * 200_000}
    store(region, failure_key(MODEL, "v1", job, 1), json.dumps(body).encode())

    fail(region, job)

    assert told(region, job) == "no such layer"


@pytest.mark.parametrize("nested", [False, True], ids=["at-the-top", "in-responseParameters"])
def test_an_error_lies_where_its_notification_says(region: Region, nested: bool) -> None:
    """How SageMaker names the object is not documented."""
    job = region.submitted()
    region.start(job)
    location = store(region, f"failures/{MODEL}/v1/0123-error.out", b"no such layer")
    named = {"failureLocation": location}

    fail(region, job, **({"responseParameters": named} if nested else named))

    assert told(region, job) == "no such layer"


@pytest.mark.parametrize(
    ("where", "key"),
    [
        (NEXT, f"failures/{MODEL}/v1/1-error.out"),
        (HERE, "failures/chat/v1/1-error.out"),
        (HERE, f"failures/{MODEL}/v2/1-error.out"),
        (HERE, f"results/{MODEL}/v1/job/1.json"),
        (HERE, "inputs/job/1.json"),
    ],
    ids=["bucket", "model", "version", "results", "inputs"],
)
def test_a_notification_cannot_have_any_other_object_read(
    region: Region, where: str, key: str
) -> None:
    """Whoever may publish on the topic would read other tenants' prompts in error messages."""
    job = region.submitted()
    region.start(job)
    location = store(region, key, b"somebody else's", where=where)
    region.calls.clear()

    fail(region, job, failureLocation=location)

    assert told(region, job) == WORDS
    read = [params["Key"] for operation, params in region.calls if operation == "GetObject"]
    assert read == [failure_key(MODEL, "v1", job, 1)]


@pytest.mark.parametrize("body", [None, b"", b"\xff\xfe\x00"], ids=["none", "empty", "binary"])
def test_without_an_error_to_read_sagemakers_reason_is_told(
    region: Region, body: bytes | None
) -> None:
    """A time-out leaves no object; its job must end all the same."""
    job = region.submitted()
    region.start(job)
    if body is not None:
        store(region, failure_key(MODEL, "v1", job, 1), body)

    fail(region, job)

    assert told(region, job) == WORDS


def test_an_attempt_ends_although_its_error_cannot_be_read(region: Region) -> None:
    """Words are a courtesy; without an end the job would wait for its lease."""

    def refuse() -> None:
        raise error("AccessDenied", "GetObject")

    job = region.submitted()
    region.start(job)
    region.faults = {"GetObject": refuse}

    fail(region, job)

    assert told(region, job) == WORDS


def test_a_megabyte_of_an_error_is_read_at_most(region: Region) -> None:
    """A model that answers gigabytes must not end the function that ends everybody's jobs."""
    job = region.submitted()
    region.start(job)
    store(region, failure_key(MODEL, "v1", job, 1), b"no such layer, " * 100_000)
    region.calls.clear()

    fail(region, job)

    assert told(region, job).startswith("no such layer, no such")
    (read,) = [params for operation, params in region.calls if operation == "GetObject"]
    assert read["Range"] == "bytes=0-1048575"


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_an_erased_job_leaves_no_error_of_its_model(region: Region, late: bool) -> None:
    """Errors quote the request; one may be written before or after the client erases its job."""
    job = region.submitted()
    region.start(job)
    key = failure_key(MODEL, "v1", job, 1)
    if not late:
        store(region, key, b"text")
    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200
    if late:
        store(region, key, b"text")
        fail(region, job)

    assert not region.objects()
