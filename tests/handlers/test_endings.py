"""How attempts end that failed."""

import json
from typing import Any

import pytest

from lambdas.adapters.endpoints import failure_key, output_key
from lambdas.adapters.gate import Gate
from lambdas.adapters.releases import Releases
from lambdas.domain import payloads
from lambdas.domain.breaker import Breaker
from lambdas.domain.job import Status, inference_id
from lambdas.domain.release import Release
from lambdas.handlers import complete
from tests.handlers.region import HERE, MODEL, NEXT, DiedError, Region, aws, error

WORDS = "out of memory"
LARGE = json.dumps("x" * payloads.ENDPOINT_BYTES_MAX)
"""An answer that the ledger does not take."""


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


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"invocationStatus": "Completed"},
        {"invocationStatus": "Completed", "responseBody": {"content": LARGE}},
    ],
    ids=["failed", "stored", "large"],
)
@pytest.mark.parametrize(("version", "heard"), [("v0", False), ("v1", True)])
def test_another_versions_end_is_not_the_attempts(
    region: Region, said: dict[str, Any], version: str, heard: bool
) -> None:
    """An endpoint that gave no answer may have taken it; now it runs on another version."""
    job = region.submitted()
    region.start(job)
    for each in ("v0", "v1"):
        store(region, output_key(MODEL, each, job, 1), b"{}")

    endpoint = region.names.endpoint(MODEL, version)
    fail(region, job, requestParameters={"endpointName": endpoint}, **said)

    assert (region.job(job).status is Status.IN_PROGRESS) is not heard


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


# ---- while the breaker is open


def observe(region: Region, breaker: Breaker) -> None:
    """Let the gate hold a breaker, as beat writes it."""
    Gate(aws("dynamodb"), region.names.gate).observe(
        MODEL, capacity=4, serving={"v1": 1}, now_ms=0, breaker=breaker, may_start_ms=None
    )


def test_while_the_breaker_is_open_failures_cost_no_attempt(region: Region) -> None:
    """Nothing that waits may fail of a model that is known to be bad."""
    region.configure(attempts_max=1)
    job = region.submitted()
    region.start(job)
    observe(region, Breaker(open_ms=1))

    fail(region, job)

    assert (view(region, job)["status"], view(region, job)["attempt"]) == ("queued", 2)
    assert region.job(job).spared == 1
    observe(region, Breaker())
    region.start(job)
    fail(region, job, attempt=2)
    assert view(region, job)["status"] == "failed", "what is spared is not spared for ever"


def test_a_failure_counts_if_nobody_can_say_otherwise(region: Region) -> None:
    """A gate that does not answer must not keep a job from its end."""
    region.configure(attempts_max=1)
    job = region.submitted()
    region.start(job)
    observe(region, Breaker(open_ms=1))

    def refuse() -> None:
        if region.calls[-1][1]["TableName"] == region.names.gate:
            raise error("InternalServerError", "GetItem")

    region.faults = {"GetItem": refuse}
    fail(region, job)
    region.faults = {}

    assert view(region, job)["status"] == "failed"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"live": "v2", "candidate": "v1", "order": (HERE,)}, "queued"),
        ({"live": "v2", "quarantined": {"v1": "slow"}}, "queued"),
        ({"live": "v1"}, "failed"),
    ],
    ids=["on-trial", "taken-back", "live"],
)
def test_a_version_on_trial_or_taken_back_fails_at_its_own_cost(
    region: Region, changes: Any, status: str
) -> None:
    """No job may fail of a release that is taken back."""
    region.configure(attempts_max=1)
    job = region.submitted()
    region.start(job)
    record = Releases(aws("dynamodb"), region.names.ledger)
    assert record.write(Release(model=MODEL, revision=1, **changes))

    fail(region, job)

    assert view(region, job)["status"] == status
    assert region.job(job).spared == (1 if status == "queued" else None)


@pytest.mark.parametrize(
    ("quarantined", "bad"), [({"v1": "slow"}, 0), ({}, 1)], ids=["taken-back", "live"]
)
def test_what_a_version_that_was_taken_back_still_fails_does_not_hold_the_good_one(
    region: Region, quarantined: dict[str, str], bad: int
) -> None:
    """Its last attempts end after the rollback, and the breaker is the model's."""
    job = region.submitted()
    region.start(job)
    record = Releases(aws("dynamodb"), region.names.ledger)
    assert record.write(Release(model=MODEL, revision=1, live="v2", quarantined=quarantined))

    fail(region, job)

    state = Gate(aws("dynamodb"), region.names.gate).state(MODEL)
    assert (state.breaker.bad, dict(state.ended)) == (bad, {"standard": 1})
    assert state.used == frozenset()


@pytest.mark.parametrize("moment", ["SendMessage", "UpdateItem", "UpdateItem done"])
def test_a_death_while_an_attempt_is_spared_spares_it_once(region: Region, moment: str) -> None:
    """The count must not grow with every delivery of the same failure."""

    def die() -> None:
        raise DiedError

    region.configure(attempts_max=1)
    job = region.submitted()
    region.start(job)
    observe(region, Breaker(open_ms=1))
    region.faults = {moment: die}
    with pytest.raises(DiedError):
        fail(region, job)
    region.faults = {}

    fail(region, job)
    fail(region, job)

    assert (region.job(job).attempt, region.job(job).spared) == (2, 1)
    region.sleep(10)
    assert [message["attempt"] for message in region.messages()].count(2) >= 1
