"""Jobs in the words of OpenAI's clients: answers, responses, and how a failure is told."""

import json
from typing import Any

from lambdas.domain.errors import ApiError
from lambdas.domain.job import CHAT, EMBEDDINGS, RESPONSES, Job, Status
from lambdas.domain.responses import ended_early, output_of, usage_of

SERVED = {"interactive": "priority", "standard": "default", "batch": "flex"}
"""OpenAI's names of our tiers."""
_PREFIXES = {CHAT: "chatcmpl-", EMBEDDINGS: "embd-", RESPONSES: "resp_"}
_JOB = "job_"
_OURS = ("id", "created_at", "model", "service_tier", "metadata", "background")
"""Of a response that the model wrote itself, what we know better."""
_ENDED = {
    # How a job that ended without an answer is told to who waits for one: status and type.
    Status.FAILED: (502, "server_error"),
    Status.EXPIRED: (504, "server_error"),
    Status.CANCELLED: (409, "conflict_error"),
    Status.REFUSED: (400, "invalid_request_error"),
}
_RESPONSE_STATUS = {
    Status.QUEUED: "queued",
    Status.IN_PROGRESS: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "cancelled",
    # What the model refused is an answer to OpenAI's clients, with a part that says so.
    Status.REFUSED: "completed",
}


def public_id(job: Job) -> str:
    """The id by which OpenAI's clients know a job."""
    return _PREFIXES.get(job.api or "", _JOB) + job.id.removeprefix(_JOB)


def job_of(public: str, api: str) -> str:
    """The job's id behind what `public_id` gave; what is no such id comes back as no job's."""
    prefix = _PREFIXES[api]
    return _JOB + public.removeprefix(prefix) if public.startswith(prefix) else ""


def completion(job: Job, output: Any) -> dict[str, Any]:
    """A completed job as a chat completion or a list of embeddings.

    Args:
        job: Which has ended well.
        output: What the model answered.

    Raises:
        ApiError: 502: the model did not answer in the form of the route.
    """
    part, kind = ("choices", "chat.completion") if job.api == CHAT else ("data", "list")
    if not isinstance(output, dict) or not isinstance(output.get(part), list):
        raise not_that_form(job)
    told = {**output, "object": kind, "model": job.model, "service_tier": SERVED.get(job.tier)}
    if job.api == CHAT:
        told |= {"id": public_id(job), "created": job.created_ms // 1000}
    return told


def not_that_form(job: Job) -> ApiError:
    """502: a model was asked for what it does not speak; asking again would not help."""
    return ApiError(
        502,
        "server_error",
        "invalid_output",
        f"The model's answer has not the form of this route; read it at /v1/jobs/{job.id}.",
        should_retry=False,
        job=job.id,
    )


def failure(job: Job) -> ApiError:
    """What a client that waits for an answer is told of a job that ended without one.

    A client that repeats such a request by itself would have the model work again.
    """
    status, kind = _ENDED[job.status]
    # A cancelled job may still have the error of an attempt before, which did not end it.
    error = {} if job.status is Status.CANCELLED else job.error or {}
    return ApiError(
        status,
        kind,
        error.get("code") or f"job_{job.status}",
        error.get("message") or f"The job was {job.status}.",
        should_retry=False,
        job=job.id,
    )


def unfinished(job: Job) -> ApiError:
    """504: the job goes on, and the client need not ask for it anew."""
    return ApiError(
        504,
        "server_error",
        "not_finished",
        f"The answer is not there yet; the job goes on: ask for it at /v1/jobs/{job.id}.",
        should_retry=False,
        job=job.id,
    )


def response(job: Job, output: Any = None) -> dict[str, Any]:
    """A job as a response, in whatever state it is.

    Args:
        job: Which came through the Responses route.
        output: What the model answered, if it has.
    """
    tail = job.id.removeprefix(_JOB)
    status = _RESPONSE_STATUS[job.status]
    told: dict[str, Any] = {
        "id": public_id(job),
        "object": "response",
        "created_at": job.created_ms // 1000,
        "status": status,
        "error": _error(job),
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": job.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": SERVED.get(job.tier),
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }
    told["metadata"] = json.loads(job.metadata) if job.metadata else {}
    told["background"] = bool(job.background)
    if job.finished_ms is not None:
        told["completed_at"] = job.finished_ms // 1000
    if job.status is Status.REFUSED:
        part = {"type": "refusal", "refusal": (job.error or {}).get("message", "")}
        told["output"] = [_message(tail, part)]
    elif isinstance(output, dict) and output.get("object") == "response":
        ours = {name: told[name] for name in _OURS}
        told |= {**output, **ours}
    elif isinstance(output, dict):
        told |= {"output": output_of(output, tail), "usage": usage_of(output)}
        if ended_early(output):
            details = {"reason": "max_output_tokens"}
            told |= {"status": "incomplete", "incomplete_details": details}
    return told


def _message(tail: str, part: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{tail}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def _error(job: Job) -> dict[str, str] | None:
    if job.status not in {Status.FAILED, Status.EXPIRED}:
        return None
    error = job.error or {}
    # OpenAI's clients know this code; the message says which of ours it is.
    code, message = error.get("code", job.status.value), error.get("message", "")
    return {"code": "server_error", "message": f"{code}: {message}"}
