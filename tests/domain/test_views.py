"""The job as clients see it."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from lambdas.domain import payloads
from lambdas.domain.job import Job, Status
from lambdas.domain.prediction import Place
from lambdas.domain.views import job_view

CREATED_MS = 1_700_000_000_000
JOB = Job(
    id="job_a",
    status=Status.QUEUED,
    attempt=1,
    owner="us-east-2",
    home="us-east-1",
    tenant="acme-private",
    model="embedder",
    tier="batch",
    created_ms=CREATED_MS,
    deadline_ms=CREATED_MS + 60_000,
    request_hash=b"private",
    input=payloads.pack(b'"private input"'),
    metadata='{"run": "7"}',
    trace_id="Root=1-a",
    slot="private-slot",
    message="private-message",
    token="private-token",
    webhook="https://example.com/private",
)


def done(output: Any) -> Job:
    """The job with a result."""
    return replace(
        JOB,
        status=Status.COMPLETED,
        started_ms=CREATED_MS + 1500,
        finished_ms=CREATED_MS + 4000,
        version="v1",
        output=payloads.pack(json.dumps(output).encode()),
    )


def test_a_waiting_job_in_full() -> None:
    """This is what clients write their types by."""
    assert job_view(JOB, place=Place(3, CREATED_MS + 2000)) == {
        "id": "job_a",
        "object": "job",
        "model": "embedder",
        "version": None,
        "tier": "batch",
        "status": "queued",
        "attempt": 1,
        "region": "us-east-2",
        "created_at": "2023-11-14T22:13:20.000Z",
        "started_at": None,
        "finished_at": None,
        "deadline_at": "2023-11-14T22:14:20.000Z",
        "queue": {"position": 3, "predicted_start": "2023-11-14T22:13:22.000Z"},
        "timings": {"queue_s": None, "handoff_s": None, "model_s": None},
        "output": None,
        "output_url": None,
        "usage": None,
        "answered_by": None,
        "error": None,
        "metadata": {"run": "7"},
        "feedback": None,
        "trace_id": "Root=1-a",
        "links": {"self": "/v1/jobs/job_a", "cancel": "/v1/jobs/job_a/cancel"},
    }


@pytest.mark.parametrize("status", list(Status))
def test_what_is_ours_stays_ours(status: Status) -> None:
    """Slots, tokens and inputs are nobody's business, the tenant's other keys' included."""
    seen = json.dumps(job_view(replace(JOB, status=status)))

    assert "private" not in seen
    assert {field.name for field in fields(Job)} >= {"slot", "token", "message", "request_hash"}


def test_the_result_and_its_usage_are_shown() -> None:
    """Clients are billed by usage; they look for it where OpenAI's API has it."""
    seen = job_view(done({"data": [1.5], "usage": {"total_tokens": 9}}))

    assert seen["output"] == {"data": [1.5], "usage": {"total_tokens": 9}}
    assert seen["usage"] == {"total_tokens": 9}
    assert seen["timings"] == {"queue_s": 1.5, "handoff_s": None, "model_s": 2.5}


@pytest.mark.parametrize("output", [[1], "text", 7, None, {"usage": "much"}, {"usage": None}])
def test_a_model_may_answer_with_any_json(output: Any) -> None:
    """Not every model speaks OpenAI's language."""
    seen = job_view(done(output))

    assert seen["output"] == output
    assert seen["usage"] is None


def test_lists_do_without_results() -> None:
    """A hundred results do not fit into one answer."""
    assert job_view(done([1]), with_output=False)["output"] is None


def test_a_link_to_a_result_is_shown_for_a_finished_job_only() -> None:
    """An attempt that failed may have left an object that is no result."""
    failed = replace(JOB, status=Status.FAILED, error={"code": "model_error", "message": "no"})

    assert job_view(done(1), output_url="https://x")["output_url"] == "https://x"
    assert job_view(failed, output_url="https://x")["output_url"] is None
    assert job_view(failed)["error"] == {"code": "model_error", "message": "no"}


def test_a_finished_job_has_no_place_in_a_queue() -> None:
    """A position beside a result confuses people and programs."""
    assert job_view(done(1), place=Place(1, 1))["queue"] is None
