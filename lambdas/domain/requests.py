"""Requests as clients send them: closed, bounded, refused with the field's name."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lambdas.domain.errors import ApiError, invalid, too_large
from lambdas.domain.policy import Policy
from lambdas.domain.webhooks import parse_address

BODY_BYTES_MAX = 4_000_000
"""A Lambda event holds 6 MB after JSON escaping; larger inputs are uploaded."""
DEPTH_MAX = 64
"""Nesting of an input: deeper documents exhaust parsers, the model's among them."""
_IDEMPOTENCY_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*([^,;\s]+)")


class JobRequest(BaseModel):
    """The body of `POST /v1/jobs`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str = Field(max_length=64, description="What should answer.")
    input: Any = Field(description="Any JSON; the model receives it as it is.")
    tier: Literal["interactive", "standard", "batch"] = "standard"
    deadline_s: int | None = Field(
        None, ge=1, description="Seconds from now by which the job must have started."
    )
    metadata: dict[str, str] | None = Field(
        None, max_length=16, description="The client's own words, returned with the job."
    )
    webhook: str | None = Field(None, max_length=1024, description="Told when the job ends.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A valid request for a job.

    Attributes:
        request: As parsed.
        input_bytes: The input as compact JSON.
        digest: Of everything in the request, to tell a replay from another request.
    """

    request: JobRequest
    input_bytes: bytes
    digest: bytes


def read_submission(body: bytes, policy: Policy) -> Submission:
    """Check the body of `POST /v1/jobs`.

    Raises:
        ApiError: 400 naming the field and what is allowed, or 413 naming the limit.
    """
    document = _document(body)
    try:
        request = JobRequest.model_validate(document)
    except ValidationError as error:
        raise _refusal(error) from None
    model = policy.models.get(request.model)
    if model is None:
        known = ", ".join(sorted(policy.models))
        raise invalid(
            f"There is no model of that name; there are: {known}.",
            param="model",
            code="model_not_found",
        )
    if model.state != "live":
        raise invalid(
            f"Model {model.name} is {model.state} and takes no new jobs.",
            param="model",
            code="model_not_live",
        )
    if request.webhook is not None:
        try:
            parse_address(request.webhook)
        except ValueError as error:
            raise invalid(str(error), param="webhook") from None
    if request.deadline_s is not None and request.deadline_s > policy.deadline_s_max:
        raise invalid(f"deadline_s is 1 to {policy.deadline_s_max}.", param="deadline_s")
    for name, value in (request.metadata or {}).items():
        if len(name) > 64 or len(value) > 512:  # noqa: PLR2004 said in the message
            raise invalid(
                "metadata has names of at most 64 and values of at most 512 characters.",
                param="metadata",
            )
    input_bytes = _compact(request.input)
    if len(input_bytes) > model.input_bytes_max:
        raise too_large(
            f"The input is larger than the {model.input_bytes_max} bytes "
            f"that model {model.name} takes.",
            param="input",
        )
    return Submission(
        request=request,
        input_bytes=input_bytes,
        digest=hashlib.sha256(_compact(request.model_dump())).digest()[:16],
    )


def read_idempotency_key(value: str | None) -> str | None:
    """Check the `Idempotency-Key` header.

    Raises:
        ApiError: It is empty, too long, or holds other than printable ASCII.
    """
    if value is not None and not _IDEMPOTENCY_KEY.match(value):
        raise invalid(
            "Idempotency-Key has 1 to 255 printable ASCII characters without spaces.",
            param="Idempotency-Key",
        )
    return value


def read_wait_s(prefer: str | None, wait: str | None, wait_s_max: int) -> int:
    """How long the client wants to wait for the result.

    Args:
        prefer: The `Prefer` header (RFC 7240), of which only `wait` is read.
        wait: The `wait` query parameter, which goes first.
        wait_s_max: Longer wishes are cut to this.

    Raises:
        ApiError: It is not a whole number of seconds from 0.
    """
    match = _PREFER_WAIT.search(prefer or "")
    text, param = (wait, "wait") if wait is not None else (match and match[1], "Prefer")
    if not text:
        return 0
    if not re.fullmatch(r"\d{1,6}", text):
        raise invalid(f"The wait is a whole number of seconds, 0 to {wait_s_max}.", param=param)
    return min(int(text), wait_s_max)


def _document(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_BYTES_MAX:
        raise too_large(f"The body is larger than {BODY_BYTES_MAX} bytes; upload larger inputs.")
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise invalid("The body is not JSON (RFC 8259).", param=None, code="invalid_json") from None
    if not isinstance(document, dict):
        raise invalid("The body must be a JSON object.", param=None, code="invalid_json")
    if _deeper_than(document, DEPTH_MAX):
        raise invalid(f"The body is nested deeper than {DEPTH_MAX} levels.", param="input")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _deeper_than(document: object, levels: int) -> bool:
    current: list[object] = [document]
    for _ in range(levels):
        current = [
            child
            for node in current
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not current:
            return False
    return True


def _compact(document: object) -> bytes:
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", errors="surrogatepass")


def _refusal(error: ValidationError) -> ApiError:
    problem = error.errors(include_url=False, include_input=False)[0]
    field = str(problem["loc"][0]) if problem["loc"] else "body"
    fields = ", ".join(JobRequest.model_fields)
    message = {
        "extra_forbidden": f"There is no field of that name; the fields are {fields}.",
        "missing": "This field is required.",
    }.get(problem["type"], problem["msg"] + ".")
    code = "unknown_field" if problem["type"] == "extra_forbidden" else "invalid_value"
    return invalid(message, param=field, code=code)
