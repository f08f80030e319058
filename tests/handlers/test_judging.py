"""Answers that break their model's promise, on the way through complete and sweep."""

import json
from typing import Any

import pytest

from lambdas.adapters.endpoints import output_key
from lambdas.domain.job import inference_id
from lambdas.handlers import complete
from tests.handlers.region import HERE, MODEL, Region, aws
from tests.handlers.test_endings import view
from tests.handlers.test_large_results import unheard

SCHEMA = {"type": "object", "required": ["data"]}
REFUSAL = {"pointer": "/refused", "equals": True, "pattern": None}


def promise(region: Region, **changes: Any) -> str:
    """Let the model promise something; a job of it that is at work."""
    output = {"schema": SCHEMA, "refusal": REFUSAL, "on_invalid": "fail", "on_refused": "refuse"}
    region.configure(output=output | changes)
    job = region.submitted()
    region.start(job)
    return job


def included(region: Region, job: str, answer: Any, *, endpoint: bool = True) -> None:
    """SageMaker tells the answer with its notification."""
    said: dict[str, Any] = {
        "invocationStatus": "Completed",
        "inferenceId": inference_id(job, 1),
        "responseParameters": {"responseBody": {"content": json.dumps(answer)}},
    }
    if endpoint:
        said["requestParameters"] = {"endpointName": region.names.endpoint(MODEL, "v1")}
    record = {"messageId": "n-1", "body": json.dumps(said)}
    assert region.handler(complete)({"Records": [record]}, None) == {"batchItemFailures": []}


def unnamed(region: Region, job: str, answer: Any) -> None:
    """The same, but the notification does not say which endpoint answered."""
    included(region, job, answer, endpoint=False)


def found_later(region: Region, job: str, answer: Any) -> None:
    """No notification comes: sweep finds the answer."""
    key = output_key(MODEL, "v1", job, 1)
    aws("s3").put_object(Bucket=region.names.bucket(HERE), Key=key, Body=json.dumps(answer))
    unheard(region, job)


WAYS = pytest.mark.parametrize("end", [included, unnamed, found_later])


def counted(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """What the logs tell CloudWatch of the version, summed."""
    sums: dict[str, float] = {}
    for line in capsys.readouterr().out.splitlines():
        told = json.loads(line)
        if "_aws" in told and told.get("Version") == "v1":
            for name in ("Completed", "Failed", "InvalidOutput", "Refused"):
                sums[name] = sums.get(name, 0) + sum(told.get(name, []))
    return {name: value for name, value in sums.items() if value}


@WAYS
def test_an_invalid_answer_fails_its_attempt_and_is_tried_again(
    region: Region, end: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its client would have to find out by itself, and the guard would never hear of it."""
    job = promise(region)

    end(region, job, {"private": "text"})

    seen = view(region, job)
    assert (seen["status"], seen["attempt"]) == ("queued", 2)
    assert seen["error"] == {
        "code": "invalid_output",
        "message": "The model's answer does not match the model's schema at #/required.",
    }
    assert counted(capsys) == {"Failed": 1, "InvalidOutput": 1}


@WAYS
def test_an_invalid_answer_is_only_counted_where_the_configuration_says_so(
    region: Region, end: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schema that is tried out must not cost anybody an answer."""
    job = promise(region, on_invalid="count")

    end(region, job, {"other": 1})

    seen = view(region, job)
    assert (seen["status"], seen["output"]) == ("completed", {"other": 1})
    assert counted(capsys) == {"Completed": 1, "InvalidOutput": 1}


@WAYS
def test_a_refusal_ends_its_job_as_refused(
    region: Region, end: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trying again costs a GPU and gives the same answer."""
    job = promise(region)

    end(region, job, {"refused": True})

    seen = view(region, job)
    assert (seen["status"], seen["attempt"], seen["output"]) == ("refused", 1, None)
    assert seen["error"] == {"code": "refused", "message": "The model refused to answer."}
    assert counted(capsys) == {"Completed": 1, "Refused": 1}


def test_a_model_that_promises_nothing_costs_no_further_read(region: Region) -> None:
    """Every read is paid for each job."""
    job = region.submitted()
    region.start(job)
    region.calls.clear()

    included(region, job, {"any": "thing"}, endpoint=False)

    assert view(region, job)["status"] == "completed"
    assert region.operations().count("GetItem") == 1, "the client's"
