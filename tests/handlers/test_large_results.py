"""Results that are larger than a function should read."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.adapters.endpoints import output_key
from lambdas.domain.job import Status, inference_id
from lambdas.handlers import complete, sweep
from lambdas.handlers.endings import RESULT_BYTES_MAX
from tests.handlers.region import HERE, MODEL, Region, aws

LEASE_S = 60


def heard(region: Region, job: str) -> None:
    """SageMaker tells of the answer's place."""
    said = {"invocationStatus": "Completed", "inferenceId": inference_id(job, 1)}
    record = {"messageId": "n-1", "body": json.dumps(said)}
    assert region.handler(complete)({"Records": [record]}, None) == {"batchItemFailures": []}


def unheard(region: Region, _job: str) -> None:
    """Sweep finds the answer when the lease is over."""
    region.create_dead_letters()
    region.sleep(LEASE_S)
    region.handler(sweep)({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))


@pytest.mark.parametrize("end", [heard, unheard], ids=["heard", "unheard"])
@pytest.mark.parametrize(
    ("content", "size", "status"),
    [
        (b"[1]", RESULT_BYTES_MAX, Status.COMPLETED),
        (b"[1}", RESULT_BYTES_MAX, Status.QUEUED),
        # Not read: the client parses it, and gets the model's own bytes either way.
        (b"[1]", RESULT_BYTES_MAX + 1, Status.COMPLETED),
        (b"[1}", RESULT_BYTES_MAX + 1, Status.COMPLETED),
    ],
)
def test_a_result_is_parsed_only_if_it_fits_the_functions_memory(
    region: Region, end: Any, content: bytes, size: int, status: Status
) -> None:
    """One huge answer would kill the function, with the batch that it came in, for ever."""
    job = region.submitted()
    region.start(job)
    key = output_key(MODEL, "v1", job, 1)
    aws("s3").put_object(
        Bucket=region.names.bucket(HERE), Key=key, Body=content[:-1].ljust(size - 1) + content[-1:]
    )

    end(region, job)

    found = region.job(job)
    assert found.status is status
    if status is Status.COMPLETED and size > RESULT_BYTES_MAX:
        assert found.output_key == key
        assert region.ask("GET /v1/jobs/{id}", job=job).json["output_url"]
