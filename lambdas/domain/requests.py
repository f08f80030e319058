"""Requests as clients send them: closed, bounded, refused with the field's name."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lambdas.domain.admission import Caller
from lambdas.domain.errors import ApiError, forbidden, invalid, too_large
from lambdas.domain.policy import Model, Policy
from lambdas.domain.webhooks import parse_address

BODY_BYTES_MAX = 4_000_000
"""A Lambda event holds 6 MB after JSON escaping."""
DEPTH_MAX = 64
"""Nesting of an input: deeper documents exhaust parsers, the model's among them."""
WAIT_DIGITS_MAX = 9
METADATA_NAME_LENGTH_MAX = 64
METADATA_VALUE_LENGTH_MAX = 512
Metadata = dict[
    Annotated[str, Field(max_length=METADATA_NAME_LENGTH_MAX)],
    Annotated[str, Field(max_length=METADATA_VALUE_LENGTH_MAX)],
]
"""What clients keep with what they ask for; the bounds are those of OpenAI's API."""
DEADLINE_S_MAX = 518_400
"""Six days: a message lives for seven. A deployment may allow less."""
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([^,;\"\s]*)", re.IGNORECASE)
_Shape = TypeVar("_Shape", bound=BaseModel)
_DEADLINE = "whole seconds from now by which the job must have started"


class JobRequest(BaseModel):
    """The body of `POST /v1/jobs`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str = Field(max_length=64, description="the name of a model, see GET /v1/models")
    input: Any = Field(
        None, description="any JSON, unless there is input_upload; the model receives it as it is"
    )
    tier: Literal["interactive", "standard", "batch"] = Field(
        "standard", description="interactive, standard or batch"
    )
    deadline_s: int | None = Field(None, ge=1, le=DEADLINE_S_MAX, description=_DEADLINE)
    metadata: Metadata | None = Field(
        None,
        max_length=16,
        description=(
            "an object of at most 16 texts, returned with the job; names have at most "
            f"{METADATA_NAME_LENGTH_MAX} and texts at most {METADATA_VALUE_LENGTH_MAX} characters"
        ),
    )
    webhook: str | None = Field(
        None,
        max_length=1024,
        description="an https:// address, which is told when the job ends",
        json_schema_extra={"format": "uri", "pattern": "^https://"},
    )
    input_upload: str | None = Field(
        None, max_length=80, description="the id of an upload, instead of input"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A valid request for a job.

    Attributes:
        request: As parsed.
        input_bytes: The input as compact JSON, its names in the client's order: models that
            write by a schema follow the order of the schema's names. Empty if it was uploaded.
        digest: Of everything in the request, to tell a replay from another request.
        api: Through which of OpenAI's routes it came; None through our own.
        background: Whether its client does not wait for it.
    """

    request: JobRequest
    input_bytes: bytes
    digest: bytes
    api: str | None = None
    background: bool = False


def read_submission(body: bytes, policy: Policy, caller: Caller) -> Submission:
    """Check the body of `POST /v1/jobs`.

    Raises:
        ApiError: 400 naming the field and what is allowed, 403 for a model or tier that the key
            may not use, or 413 naming the limit.
    """
    try:
        request = JobRequest.model_validate(read_document(body))
    except ValidationError as error:
        raise _refusal(error, policy) from None
    _one_input(request)
    model = find_model(request.model, policy, caller)
    check_tier(request.tier, caller)
    _bounds(request, policy)
    return submission_of(request, model)


def submission_of(
    request: JobRequest,
    model: Model,
    *,
    api: str | None = None,
    background: bool = False,
    body: Mapping[str, Any] | None = None,
) -> Submission:
    """Make a checked request a submission.

    Args:
        request: As parsed.
        model: Which it asks for.
        api: Through which of OpenAI's routes it came; None through our own.
        background: Whether its client does not wait for it.
        body: What came through that route, as its client wrote it.

    Raises:
        ApiError: 413: the input is larger than the model takes.
    """
    input_bytes = b"" if request.input_upload is not None else compact(request.input)
    if len(input_bytes) > model.input_bytes_max:
        raise too_large(
            f"The input is larger than the {model.input_bytes_max} bytes "
            f"that model {model.name} takes.",
            param=None if api else "input",
        )
    if api is None:
        # Defaults are left out, so that a field which a later release adds changes no digest.
        asked = request.model_dump(exclude_defaults=True)
        if request.input_upload is None:
            asked["input"] = request.input
    else:
        # What came, and not what was made of it: a release that translates otherwise, or waits
        # longer, still knows a repetition. A line of a batch is none of a request.
        asked = {"api": api, "body": body, "tier": request.tier, "background": background}
        asked["deadline"] = request.deadline_s is not None
    return Submission(
        request=request,
        input_bytes=input_bytes,
        digest=hashlib.sha256(compact(asked, in_order=True)).digest()[:16],
        api=api,
        background=background,
    )


def read_body(body: bytes, shape: type[_Shape]) -> _Shape:
    """Check a body that has only bounds that the fields' types can say.

    Raises:
        ApiError: 400 naming the field and what is allowed.
    """
    try:
        return shape.model_validate(read_document(body))
    except ValidationError as error:
        raise _misfit(error, shape) from None


def _one_input(request: JobRequest) -> None:
    """The input comes with the request, or was uploaded."""
    given = {"input", "input_upload"} & request.model_fields_set
    if not given or (request.input_upload is None and "input" not in given):
        field = JobRequest.model_fields["input"]
        raise invalid(
            f"input is required: {field.description}.", param="input", code="missing_field"
        )
    if request.input_upload is not None and "input" in given:
        raise invalid("There is either input or input_upload, not both.", param="input_upload")


def find_model(name: str, policy: Policy, caller: Caller, *, missing: int = 400) -> Model:
    """The model of that name, if this key may use it.

    Args:
        name: As the client wrote it.
        policy: Knows the models.
        caller: Whose key.
        missing: The status that says that there is none.

    Raises:
        ApiError: There is none, or 403: it is not for this key.
    """
    model = policy.models.get(name)
    if model is None:
        # Only what the caller may use: names of models may tell of plans.
        known = ", ".join(sorted(name for name in policy.models if caller.may_use(name)))
        raise ApiError(
            missing,
            "invalid_request_error",
            "model_not_found",
            f"There is no model of that name; there is: {known or 'none for this key'}.",
            param="model",
        )
    if not caller.may_use(model.name):
        raise forbidden("This key may not use that model.", param="model")
    return model


def check_tier(tier: str, caller: Caller, *, param: str = "tier") -> None:
    """Whether this key may ask that urgently.

    Raises:
        ApiError: 403: it may not.
    """
    if caller.tiers is not None and tier not in caller.tiers:
        allowed = ", ".join(sorted(caller.tiers)) or "none"
        raise forbidden(f"This key may not use that tier, but: {allowed}.", param=param)


def check_live(model: Model) -> None:
    """Whether a model takes new jobs; jobs that it took before can be asked for again.

    Raises:
        ApiError: It does not.
    """
    if model.state != "live":
        raise invalid(
            f"Model {model.name} is {model.state} and takes no new jobs.",
            param="model",
            code="model_not_live",
        )


def _bounds(request: JobRequest, policy: Policy) -> None:
    """What the types of the fields cannot say."""
    if request.webhook is not None:
        try:
            parse_address(request.webhook)
        except ValueError as error:
            raise invalid(str(error), param="webhook") from None
    if request.deadline_s is not None and request.deadline_s > policy.deadline_s_max:
        raise _deadline(policy)


def read_idempotency_key(value: str | None) -> str | None:
    """Check the `Idempotency-Key` header.

    Raises:
        ApiError: It is empty, too long, or holds other than printable ASCII.
    """
    if value is not None and not _IDEMPOTENCY_KEY.fullmatch(value):
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
        wait_s_max: Longer wishes are cut to this, however they are made.

    Raises:
        ApiError: It is not a whole number of seconds.
    """
    found = _PREFER_WAIT.search(prefer or "")
    if wait is None and found is None:
        return 0
    text, param = (wait, "wait") if wait is not None else (found[1] if found else "", "Prefer")
    if not re.fullmatch(r"[0-9]+", text):
        raise invalid(
            f"The wait is a whole number of seconds; more than {wait_s_max} are {wait_s_max}.",
            param=param,
        )
    # Python refuses to read thousands of digits.
    digits = text.lstrip("0") or "0"
    return wait_s_max if len(digits) > WAIT_DIGITS_MAX else min(int(digits), wait_s_max)


def read_document(body: bytes, *, part: str | None = "input") -> dict[str, Any]:
    """Read a body as one JSON object.

    Args:
        body: As sent.
        part: The field that may be nested deeply; None for the body itself.

    Raises:
        ApiError: 413, or 400 for what is no such object, or nested too deeply.
    """
    if len(body) > BODY_BYTES_MAX:
        raise too_large(f"The body is larger than {BODY_BYTES_MAX} bytes.")
    try:
        # As text: of bytes, Python would guess the encoding.
        document = json.loads(
            body.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except _TwiceError:
        raise invalid(
            "A name stands twice in one object of the body.", param=None, code="invalid_json"
        ) from None
    except (ValueError, RecursionError):
        raise invalid("The body is not JSON (RFC 8259).", param=None, code="invalid_json") from None
    if not isinstance(document, dict):
        raise invalid("The body must be a JSON object.", param=None, code="invalid_json")
    # The body itself is a level around the input's.
    if _deeper_than(document, DEPTH_MAX + (1 if part else 0)):
        name = part or "The body"
        raise invalid(f"{name} is nested deeper than {DEPTH_MAX} levels.", param=part)
    return document


class _TwiceError(ValueError):
    """An object with a name that stands twice, of which parsers keep one or the other."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


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


def compact(document: object, *, in_order: bool = False) -> bytes:
    """JSON as models and digests get it; `in_order` sorts its names.

    Raises:
        ApiError: JSON's grammar has numbers and texts that nobody can send on: 1e999, or half
            of a surrogate pair.
    """
    try:
        return json.dumps(
            document,
            separators=(",", ":"),
            sort_keys=in_order,
            ensure_ascii=False,
            allow_nan=False,
        ).encode()
    except ValueError:
        raise invalid(
            "input holds a number beyond 1.8e308, or text that is not Unicode.", param="input"
        ) from None


def _not_allowed(field: str, shape: type[BaseModel] = JobRequest) -> ApiError:
    return invalid(f"{field} is {shape.model_fields[field].description}.", param=field)


def _deadline(policy: Policy) -> ApiError:
    return invalid(
        f"deadline_s is 1 to {policy.deadline_s_max}: {_DEADLINE}.",
        param="deadline_s",
    )


def _refusal(error: ValidationError, policy: Policy) -> ApiError:
    refusal = _misfit(error, JobRequest)
    about_deadline = refusal.param == "deadline_s" and refusal.code == "invalid_value"
    return _deadline(policy) if about_deadline else refusal


def _misfit(error: ValidationError, shape: type[BaseModel]) -> ApiError:
    """What the first field is that does not fit, and what is allowed there."""
    problem = error.errors(include_url=False, include_input=False)[0]
    if not problem["loc"] or problem["type"] == "extra_forbidden":
        fields = ", ".join(shape.model_fields)
        return invalid(
            f"There is no field of that name; the fields are {fields}.",
            param=str(problem["loc"][0])[:METADATA_NAME_LENGTH_MAX] if problem["loc"] else None,
            code="unknown_field",
        )
    field = str(problem["loc"][0])
    if problem["type"] == "missing":
        description = shape.model_fields[field].description
        return invalid(f"{field} is required: {description}.", param=field, code="missing_field")
    return _not_allowed(field, shape)
