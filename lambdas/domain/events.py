"""The event that tells a webhook of a job's end, never of what it answered.

The payload stays behind the API and its keys. The form is that of Standard Webhooks, and OpenAI's
client reads it as one of its own: of a job that came through the Responses route it is one, and its
client asks for the response by the id that it got.
"""

import json
from datetime import UTC, datetime
from typing import Any

from lambdas.domain import payloads
from lambdas.domain.job import RESPONSES, Job, Status
from lambdas.domain.openai_answers import public_id
from lambdas.domain.responses import ended_early

_RESPONSE_EVENTS = {
    # As a response's status tells its end: what the model refused is an answer that says so.
    Status.COMPLETED: "completed",
    Status.REFUSED: "completed",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "cancelled",
}


def event_type(job: Job) -> str | None:
    """What there is to tell about a job, None before its end.

    Returns:
        `job.completed` and so on; of a response `response.completed`, or `response.incomplete` if
        its answer lies in the ledger and stopped at the limit of tokens.
    """
    if not job.status.terminal:
        return None
    if job.api != RESPONSES:
        return f"job.{job.status}"
    return f"response.{'incomplete' if _ended_early(job) else _RESPONSE_EVENTS[job.status]}"


def event_body(job: Job) -> bytes:
    """The event of a job's end, the same bytes at every try.

    Raises:
        ValueError: The job has not ended.
    """
    kind = event_type(job)
    if kind is None or job.finished_ms is None:
        raise ValueError(f"{job.id} has not ended")
    data: dict[str, Any] = {"id": public_id(job)}
    if job.api != RESPONSES:
        data = {
            "id": job.id,
            "status": job.status,
            "model": job.wished,
            "tier": job.tier,
            "finished_at": _moment(job.finished_ms),
        }
    return _event(job.id.removeprefix("job_"), kind, job.finished_ms, data)


def batch_event_body(batch: str, status: str, ended_ms: int) -> bytes:
    """The event of a batch's end, the same bytes at every try.

    Args:
        batch: Its id, `batch_…`.
        status: `completed`, `failed`, `expired` or `cancelled`, as OpenAI's clients know it.
        ended_ms: When, in milliseconds since the epoch.
    """
    return _event(batch.removeprefix("batch_"), f"batch.{status}", ended_ms, {"id": batch})


def delivery_id(job: Job) -> str:
    """The id that stays the same however often a job's end is told: receivers count by it."""
    return f"msg_{job.id}_{job.status}"


def _event(tail: str, kind: str, ended_ms: int, data: dict[str, Any]) -> bytes:
    event = {
        "id": f"evt_{tail}",
        "object": "event",
        "created_at": ended_ms // 1000,
        "type": kind,
        "timestamp": _moment(ended_ms),
        "data": data,
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _moment(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ended_early(job: Job) -> bool:
    """Whether the answer stopped at the limit of tokens, as far as the ledger knows it."""
    if job.status is not Status.COMPLETED or job.output is None:
        return False
    answer = json.loads(payloads.unpack(job.output))
    return isinstance(answer, dict) and ended_early(answer)
