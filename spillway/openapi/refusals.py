"""Every error that the API answers with, by its code: the table of docs/api.md."""

from dataclasses import dataclass

from spillway.openapi.shape import Header

INVALID, SERVER = "invalid_request_error", "server_error"
MISSING, CONFLICT, BUSY = "not_found_error", "conflict_error", "rate_limit_error"
DENIED = "permission_error"

RETRY_AFTER = Header(
    name="Retry-After",
    schema={"type": "integer", "minimum": 0},
    says="Seconds after which to ask again, computed.",
)
SHOULD_RETRY = Header(
    name="x-should-retry",
    schema={"type": "string", "enum": ["true", "false"]},
    says="false: repeating cannot help, or might make a second job. OpenAI's clients read it.",
)
JOB_ID = Header(
    name="X-Job-Id",
    schema={"type": "string", "pattern": r"^job_[a-z2-7]{26}$"},
    says="The job, if one is there.",
)
REQUEST_ID = Header(
    name="X-Request-Id",
    schema={"type": "string"},
    says="The job, where OpenAI's clients keep it, as `request_id`.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One error.

    Attributes:
        status: HTTP status.
        type: Its kind, as OpenAI's clients know it.
        code: Its reason, for programs.
        when: What was wrong.
    """

    status: int
    type: str
    code: str
    when: str


def _table(*rows: tuple[str, int, str, str, str]) -> dict[str, Refusal]:
    return {
        name: Refusal(status=status, type=kind, code=code, when=when)
        for name, status, kind, code, when in rows
    }


REFUSALS = _table(
    # name here, status, type, code, when
    ("invalid_json", 400, INVALID, "invalid_json", "the body is no JSON object"),
    ("missing_field", 400, INVALID, "missing_field", "a field that is required is not there"),
    ("unknown_field", 400, INVALID, "unknown_field", "there is no field of that name"),
    ("invalid_value", 400, INVALID, "invalid_value", "something is out of its range"),
    ("unknown_model", 400, INVALID, "model_not_found", "there is no model of that name"),
    ("no_model", 404, INVALID, "model_not_found", "there is no model of that name"),
    (
        "model_not_supported",
        400,
        INVALID,
        "model_not_supported",
        "the model does not answer this one of OpenAI's routes",
    ),
    ("model_not_live", 400, INVALID, "model_not_live", "the model takes no new jobs"),
    ("refused", 400, INVALID, "refused", "the model refused to answer"),
    ("not_allowed", 403, DENIED, "not_allowed", "the key may not use that model or tier"),
    (
        "scope_missing",
        403,
        DENIED,
        "scope_missing",
        "the key has not the scope that the message names",
    ),
    ("job_not_found", 404, MISSING, "job_not_found", "there is no such job, or it is another's"),
    (
        "idempotency_key_reused",
        409,
        CONFLICT,
        "idempotency_key_reused",
        "the Idempotency-Key was used for another request",
    ),
    ("job_erased", 409, CONFLICT, "job_erased", "the job of the Idempotency-Key was erased"),
    ("job_unfinished", 409, CONFLICT, "job_unfinished", "this is for a job that has ended"),
    ("no_webhook", 409, CONFLICT, "no_webhook", "nobody asked to be told of the job's end"),
    ("upload_not_found", 404, MISSING, "upload_not_found", "there is no such upload"),
    (
        "no_upload",
        400,
        INVALID,
        "upload_not_found",
        "there is no such upload, or it is older than a day",
    ),
    ("file_not_found", 404, MISSING, "file_not_found", "there is no such file"),
    ("no_file", 400, INVALID, "file_not_found", "input_file_id names no file of the tenant"),
    ("batch_not_found", 404, MISSING, "batch_not_found", "there is no such batch"),
    ("batch_finished", 409, CONFLICT, "batch_finished", "it ended, or is ending"),
    ("batch_changing", 409, CONFLICT, "batch_changing", "it is changing just now; try again"),
    ("upload_incomplete", 409, CONFLICT, "upload_incomplete", "a part of it is not there"),
    ("upload_used", 409, CONFLICT, "upload_used", "the upload became a job: erase that"),
    (
        "upload_not_ready",
        429,
        BUSY,
        "upload_not_ready",
        "the upload is on its way to the other regions",
    ),
    ("job_finished", 409, CONFLICT, "job_finished", "it ended before it could be cancelled"),
    ("job_changing", 409, CONFLICT, "job_changing", "the job is changing just now; try again"),
    ("job_cancelled", 409, CONFLICT, "job_cancelled", "the job was cancelled"),
    ("too_large", 413, INVALID, "too_large", "body or input over the limit that is named"),
    ("rate_limit", 429, BUSY, "rate_limit", "too many requests; the header tells when"),
    (
        "token_quota",
        429,
        BUSY,
        "token_quota",
        "the tenant's tokens of the day are used up in this region",
    ),
    ("in_flight_limit", 429, BUSY, "in_flight_limit", "too many unfinished jobs of the tenant"),
    (
        "deadline_unreachable",
        429,
        BUSY,
        "deadline_unreachable",
        "the predicted wait is longer than the deadline",
    ),
    (
        "no_room",
        429,
        BUSY,
        "no_room_to_wait",
        "as many clients wait as may; the job was taken back",
    ),
    ("no_room_goes_on", 503, SERVER, "no_room_to_wait", "as many clients wait; the job goes on"),
    (
        "share_used",
        429,
        BUSY,
        "waiting_limit",
        "as many of the tenant's clients wait as may; the job was taken back",
    ),
    (
        "share_used_goes_on",
        503,
        SERVER,
        "waiting_limit",
        "as many of the tenant's clients wait as may; the job goes on",
    ),
    (
        "region_unavailable",
        503,
        SERVER,
        "region_unavailable",
        "the region takes no jobs: use another one",
    ),
    ("model_error", 502, SERVER, "model_error", "the model failed; the message is its own"),
    ("model_timeout", 502, SERVER, "model_timeout", "the model did not answer in time"),
    (
        "invalid_output",
        502,
        SERVER,
        "invalid_output",
        "the model's answer has not the form of the route, or of its schema",
    ),
    (
        "invocation_refused",
        502,
        SERVER,
        "invocation_refused",
        "the model's endpoint does not take the request",
    ),
    ("deadline_exceeded", 504, SERVER, "deadline_exceeded", "the job did not start in time"),
    ("not_finished", 504, SERVER, "not_finished", "the job goes on; the message names it"),
    ("internal_error", 500, SERVER, "internal_error", "a fault of ours"),
    (
        "temporarily_unavailable",
        503,
        SERVER,
        "temporarily_unavailable",
        "a service behind the API did not answer",
    ),
)
"""By a name of its own where two statuses share a code."""

EVERYWHERE = ("internal_error", "temporarily_unavailable")
"""What any operation with a key may answer."""
OF_A_BODY = ("invalid_json", "missing_field", "invalid_value", "too_large")
SUBMITTING = (
    *OF_A_BODY,
    "not_allowed",
    "model_not_live",
    "idempotency_key_reused",
    "job_erased",
    "rate_limit",
    "token_quota",
    "in_flight_limit",
    "deadline_unreachable",
    "region_unavailable",
)
"""What a route that takes a job may answer."""
ENDED = (
    "model_error",
    "model_timeout",
    "invalid_output",
    "invocation_refused",
    "deadline_exceeded",
    "job_cancelled",
    "refused",
)
"""What a route of OpenAI's tells of a job that ended without an answer."""
