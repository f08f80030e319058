"""What counts against a version when attempts of the same job fail, and whose fault that is."""

import json
from typing import Any

import pytest

from lambdas.adapters.gate import Gate
from lambdas.domain.job import inference_id
from lambdas.handlers import complete
from tests.handlers.region import MODEL, Region, aws

DECLINED = (
    "ClientError: Received client error (400) from model. See the SageMaker Endpoint logs in your "
    "account for more information."
)
BROKEN = DECLINED.replace("client error (400)", "server error (500)")
UNTOLD = "ClientError: The model failed. See the SageMaker Endpoint logs in your account."


def attempt(region: Region, job: str, reason: str | None, *, version: str = "v1") -> None:
    """Let the current attempt run on a version, and end with an answer or for a reason."""
    current = region.job(job)
    begun = region.ledger.apply(
        current,
        "start",
        now_ms=int(region.now_s * 1000),
        started_ms=int(region.now_s * 1000),
        version=version,
        slot=f"s.{current.attempt}",
        message=f"m-{current.attempt}",
    )
    assert begun.won
    said: dict[str, Any] = {"inferenceId": inference_id(job, current.attempt)}
    if reason is None:
        said |= {"invocationStatus": "Completed", "responseBody": {"content": "[1]"}}
    else:
        said |= {"invocationStatus": "Failed", "failureReason": reason}
    record = {"messageId": f"n-{current.attempt}", "body": json.dumps(said)}
    assert region.handler(complete)({"Records": [record]}, None) == {"batchItemFailures": []}


def counted(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], float]:
    """What CloudWatch is told of versions, without zeros."""
    sums: dict[tuple[str, str], float] = {}
    for line in capsys.readouterr().out.splitlines():
        told = json.loads(line)
        for name in ("Completed", "Failed"):
            if "_aws" in told and told.get(name):
                key = (told["Version"], name)
                sums[key] = sums.get(key, 0) + sum(told[name])
    return {key: value for key, value in sums.items() if value}


def bad(region: Region) -> float:
    """Failures that the breaker has counted."""
    return Gate(aws("dynamodb"), region.names.gate).state(MODEL).breaker.bad


@pytest.mark.parametrize(
    ("reason", "failures", "opens"), [(DECLINED, {}, 0), (BROKEN, 1, 3), (UNTOLD, 1, 3)]
)
def test_one_tenants_bad_input_is_hardly_held_against_a_version(
    region: Region, capsys: pytest.CaptureFixture[str], reason: str, failures: Any, opens: int
) -> None:
    """A tenth of all jobs would take a version back, and each of them counted thrice."""
    job = region.submitted()
    while region.job(job).status == "queued":
        attempt(region, job, reason)

    assert (region.job(job).status, region.job(job).attempt) == ("failed", 3)
    assert counted(capsys) == ({("v1", "Failed"): failures} if failures else {})
    assert bad(region) == opens


def test_a_version_that_declines_what_another_answers_is_at_fault(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """One with a shorter context would go through its release, and refuse what clients may ask."""
    job = region.submitted()
    attempt(region, job, DECLINED, version="v2")
    assert counted(capsys) == {}
    attempt(region, job, BROKEN)
    assert counted(capsys) == {}, "it is no first attempt"
    attempt(region, job, None)

    assert region.job(job).status == "completed"
    assert counted(capsys) == {("v2", "Failed"): 1, ("v1", "Completed"): 1}
    assert bad(region) == 1


@pytest.mark.parametrize("status", [401, 404, 408, 424, 429])
def test_what_may_be_the_containers_own_fault_counts(
    region: Region, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """A version without its credentials, or without a route, answers so too."""
    job = region.submitted()
    attempt(region, job, DECLINED.replace("400", str(status)))
    assert counted(capsys) == {("v1", "Failed"): 1}
    assert bad(region) == 1
