"""The job as clients see it."""

import json
from datetime import UTC, datetime
from typing import Any

from lambdas.domain import payloads
from lambdas.domain.job import Job, Status
from lambdas.domain.prediction import Place


def job_view(
    job: Job,
    *,
    place: Place | None = None,
    output_url: str | None = None,
    with_output: bool = True,
) -> dict[str, Any]:
    """What the API tells of a job.

    Args:
        job: As the ledger holds it.
        place: Its place in the queue, while it waits.
        output_url: Where a large result can be fetched, signed and expiring.
        with_output: Whether to include the result; lists do without.

    Returns:
        A JSON document; fields that do not apply are null. Links are relative to the API's base
        URL, which the job does not know.
    """
    output = None
    if with_output and job.status is Status.COMPLETED and job.output is not None:
        output = json.loads(payloads.unpack(job.output))
    usage = output.get("usage") if isinstance(output, dict) else None
    return {
        "id": job.id,
        "object": "job",
        "model": job.wished,
        "version": None if job.asked else job.version,
        "tier": job.tier,
        "status": job.status.value,
        "attempt": job.attempt,
        "region": job.owner,
        "created_at": _moment(job.created_ms),
        "started_at": _moment(job.started_ms),
        "finished_at": _moment(job.finished_ms),
        "deadline_at": _moment(job.deadline_ms),
        "queue": _queue(place) if job.status is Status.QUEUED else None,
        "timings": _timings(job),
        "output": output,
        "output_url": output_url if job.status is Status.COMPLETED else None,
        "usage": usage if isinstance(usage, dict) else None,
        "answered_by": _answered_by(job),
        "error": job.error,
        "metadata": json.loads(job.metadata) if job.metadata else {},
        "feedback": json.loads(job.feedback) if with_output and job.feedback else None,
        "trace_id": job.trace_id,
        "links": {"self": f"/v1/jobs/{job.id}", "cancel": f"/v1/jobs/{job.id}/cancel"},
    }


def job_reference(job: Job) -> dict[str, Any]:
    """What is told of a job whose answer is elsewhere."""
    return {"id": job.id, "object": "job", "status": job.status.value}


def _answered_by(job: Job) -> dict[str, str | None] | None:
    if job.status not in {Status.COMPLETED, Status.REFUSED}:
        return None
    return {"model": job.model, "version": job.version}


def _queue(place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return {"position": place.position, "predicted_start": _moment(place.start_ms)}


def _timings(job: Job) -> dict[str, float | None]:
    """Seconds spent waiting and in the model.

    SageMaker does not say when a container took a request, so the hand-off is part of model_s
    and stands apart only when the model itself reports it.
    """
    queue_s = model_s = None
    if job.started_ms is not None:
        queue_s = (job.started_ms - job.created_ms) / 1000
        if job.finished_ms is not None:
            model_s = (job.finished_ms - job.started_ms) / 1000
    return {"queue_s": queue_s, "handoff_s": None, "model_s": model_s}


def moment(milliseconds: int) -> str:
    """A moment as clients see it: RFC 3339 in UTC."""
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else moment(milliseconds)
