"""How attempts end that failed."""

import json
from typing import Any

import pytest

from lambdas.domain.job import inference_id
from lambdas.handlers import complete
from tests.handlers.region import Region

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
