"""What users say of an answer: a rating, a correction, a comment."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lambdas.domain.errors import ApiError, invalid, too_large
from lambdas.domain.job import Job
from lambdas.domain.requests import compact, read_document
from lambdas.domain.usage import name_of

CORRECTION_BYTES_MAX: Final = 16_384
COMMENT_LENGTH_MAX: Final = 2_000
NAME_LENGTH_MAX: Final = 64


class FeedbackRequest(BaseModel):
    """The body of `POST /v1/jobs/{id}/feedback`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rating: int | None = Field(None, ge=-1, le=1, description="-1, 0 or 1")
    correction: Any = Field(
        None, description=f"any JSON of at most {CORRECTION_BYTES_MAX} bytes: what was right"
    )
    comment: str | None = Field(
        None,
        max_length=COMMENT_LENGTH_MAX,
        description=f"at most {COMMENT_LENGTH_MAX} characters of Unicode",
    )


def read_feedback(body: bytes) -> FeedbackRequest:
    """Check the body of `POST /v1/jobs/{id}/feedback`.

    Raises:
        ApiError: 400 naming the field and what is allowed, or 413 for too large a correction.
    """
    try:
        feedback = FeedbackRequest.model_validate(read_document(body, part="correction"))
    except ValidationError as error:
        raise _refusal(error) from None
    if not feedback.model_dump(exclude_none=True):
        raise invalid(
            "Say at least one of rating, correction and comment.",
            param="rating",
            code="missing_field",
        )
    if len(_written(feedback.correction, "correction")) > CORRECTION_BYTES_MAX:
        raise too_large(
            f"The correction is larger than {CORRECTION_BYTES_MAX} bytes.", param="correction"
        )
    _written(feedback.comment, "comment")
    return feedback


def _written(part: object, name: str) -> bytes:
    try:
        return compact(part)
    except ApiError:
        raise invalid(
            f"{name} holds a number beyond 1.8e308, or text that is not Unicode.", param=name
        ) from None


def kept(feedback: FeedbackRequest, *, at: str) -> str:
    """How feedback lies with its job, and is shown with it; `at` is when, RFC 3339."""
    return compact({**feedback.model_dump(), "at": at}).decode()


def counted(job: Job, before: str | None, after: str) -> Counter[str]:
    """What feedback changes in the counters of the version that answered.

    The last one wins, so what the one before had counted is taken off again.

    Args:
        job: What it is about.
        before: As it was kept until now; None for the first.
        after: As it is kept now.
    """
    changes: Counter[str] = Counter()
    for document, sign in ((before, -1), (after, 1)):
        if document is None:
            continue
        said: Mapping[str, Any] = json.loads(document)
        if said["rating"] is not None:
            changes[name_of(job.model, job.version, "ratings")] += sign
            changes[name_of(job.model, job.version, "rating_sum")] += sign * said["rating"]
        if said["correction"] is not None:
            changes[name_of(job.model, job.version, "corrections")] += sign
    return Counter({name: number for name, number in changes.items() if number})


def _refusal(error: ValidationError) -> ApiError:
    problem = error.errors(include_url=False, include_input=False)[0]
    field = str(problem["loc"][0]) if problem["loc"] else ""
    if field not in FeedbackRequest.model_fields:
        return invalid(
            f"There is no field of that name; the fields are "
            f"{', '.join(FeedbackRequest.model_fields)}.",
            param=field[:NAME_LENGTH_MAX] or None,
            code="unknown_field",
        )
    return invalid(f"{field} is {FeedbackRequest.model_fields[field].description}.", param=field)
