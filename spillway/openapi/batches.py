"""OpenAI's files and batches: many requests in one file, their answers in another."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lambdas.domain.batches import BatchRequest
from lambdas.domain.files import (
    FILENAME_LENGTH_MAX,
    KEPT_S_MAX,
    KEPT_S_MIN,
    LIMIT_MAX,
    PAGE_MAX,
    FileRequest,
)
from spillway.openapi.answers import Told
from spillway.openapi.jobs import IDEMPOTENCY_KEY, LOCATION
from spillway.openapi.refusals import OF_A_BODY
from spillway.openapi.shape import Answer, Operation, Parameter

FILE_PATTERN, BATCH_PATTERN = r"^file-[a-z2-7]{26}$", r"^batch_[a-z2-7]{26}$"
GROUP = "Batches"


def _id(pattern: str) -> Parameter:
    return Parameter(
        name="id",
        place="path",
        schema={"type": "string", "pattern": pattern},
        says="As OpenAI's clients know it.",
    )


def _page(most: int, pattern: str) -> tuple[Parameter, Parameter]:
    return (
        Parameter(
            name="limit",
            place="query",
            schema={"type": "integer", "minimum": 1, "maximum": most},
            says=f"At most so many; a page has {PAGE_MAX} at most.",
        ),
        Parameter(
            name="after",
            place="query",
            schema={"type": "string", "pattern": pattern},
            says="The last id of the page before.",
        ),
    )


FILE, BATCH = _id(FILE_PATTERN), _id(BATCH_PATTERN)
FILTERS = (
    Parameter(
        name="order",
        place="query",
        schema={"type": "string", "enum": ["asc", "desc"]},
        says="By the time at which they were made; desc unless told otherwise.",
    ),
    Parameter(
        name="purpose",
        place="query",
        schema={"type": "string"},
        says="Only files of that purpose: batch, or batch_output of those that batches made.",
    ),
)


class FileForm(BaseModel):
    """A form with a file; `expires_after[anchor]` and `expires_after[seconds]` may be sent too."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "properties": {
                "file": {
                    "type": "string",
                    "contentMediaType": "application/octet-stream",
                    "description": "its bytes, with the file's name, of at most "
                    f"{FILENAME_LENGTH_MAX} characters",
                },
                "purpose": {"const": "batch", "type": "string"},
                "expires_after[anchor]": {"const": "created_at", "type": "string"},
                "expires_after[seconds]": {
                    "type": "integer",
                    "minimum": KEPT_S_MIN,
                    "maximum": KEPT_S_MAX,
                },
            }
        },
    )

    file: str
    purpose: Literal["batch"]


class File(Told):
    """A file, without its bytes."""

    id: str = Field(pattern=FILE_PATTERN)
    object: Literal["file"]
    bytes: int = Field(ge=0)
    created_at: int = Field(description="seconds since the epoch")
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]
    status_details: str | None


class FileList(Told):
    """A page of files."""

    object: Literal["list"]
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileReference(Told):
    """Which file is at `Location`."""

    id: str = Field(pattern=FILE_PATTERN)
    object: Literal["file"]


class FileErased(Told):
    """The file is gone everywhere."""

    id: str = Field(pattern=FILE_PATTERN)
    object: Literal["file"]
    deleted: Literal[True]


class BatchFault(Told):
    """What is wrong with one line."""

    code: str
    line: int | None = Field(ge=1)
    message: str
    param: str | None


class BatchFaults(Told):
    """What is wrong with a batch's file, as far as it is told."""

    object: Literal["list"]
    data: list[BatchFault]


class BatchCounts(Told):
    """Lines: all, and those whose jobs are known to have ended well, or otherwise."""

    total: int = Field(ge=0)
    completed: int = Field(ge=0)
    failed: int = Field(ge=0)


class BatchInputDetails(Told):
    """Of the tokens that were read."""

    cached_tokens: int


class BatchOutputDetails(Told):
    """Of the tokens that were written."""

    reasoning_tokens: int


class BatchUsage(Told):
    """Tokens of the answers that were collected, where the models count them."""

    input_tokens: int
    input_tokens_details: BatchInputDetails
    output_tokens: int
    output_tokens_details: BatchOutputDetails
    total_tokens: int


class Batch(Told):
    """A batch as it stands. Times are seconds since the epoch."""

    id: str = Field(pattern=BATCH_PATTERN)
    object: Literal["batch"]
    endpoint: Literal["/v1/chat/completions", "/v1/embeddings", "/v1/responses"]
    model: str | None = Field(description="what all lines ask for, if it is one")
    errors: BatchFaults | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None = Field(description="answers, once the batch has ended")
    error_file_id: str | None = Field(description="the other lines, once the batch has ended")
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchList(Told):
    """A page of batches."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


OPERATIONS = (
    Operation(
        route="POST /v1/files",
        name="createFile",
        group=GROUP,
        summary="Keep a file of requests",
        says="As a form with the file, or as JSON that names an upload which is ready.",
        body=FileForm,
        media_type="multipart/form-data",
        other_body=FileRequest,
        other_example={
            "upload_id": f"upload_us-east-1_{'a' * 26}",
            "purpose": "batch",
            "filename": "requests.jsonl",
        },
        answers=(Answer(status=200, says="The file.", body=File),),
        refusals=(
            *OF_A_BODY,
            "unknown_field",
            "no_upload",
            "upload_incomplete",
            "upload_not_ready",
            "too_large",
            "rate_limit",
        ),
    ),
    Operation(
        route="GET /v1/files",
        name="listFiles",
        group=GROUP,
        summary="The tenant's files",
        parameters=(*_page(LIMIT_MAX, FILE_PATTERN), *FILTERS),
        answers=(Answer(status=200, says="A page of them.", body=FileList),),
        refusals=("invalid_value",),
    ),
    Operation(
        route="GET /v1/files/{id}",
        name="getFile",
        group=GROUP,
        summary="One file, without its bytes",
        parameters=(FILE,),
        answers=(Answer(status=200, says="The file.", body=File),),
        refusals=("file_not_found",),
    ),
    Operation(
        route="GET /v1/files/{id}/content",
        name="getFileContent",
        group=GROUP,
        summary="A file's bytes",
        parameters=(FILE,),
        answers=(
            Answer(status=200, says="The bytes.", media_type="application/octet-stream"),
            Answer(
                status=303,
                says="They are at `Location`, for one hour and without a key.",
                body=FileReference,
                headers=(LOCATION,),
            ),
        ),
        refusals=("file_not_found",),
    ),
    Operation(
        route="DELETE /v1/files/{id}",
        name="eraseFile",
        group=GROUP,
        summary="Erase a file for good",
        parameters=(FILE,),
        answers=(Answer(status=200, says="It is gone.", body=FileErased),),
        refusals=("file_not_found",),
    ),
    Operation(
        route="POST /v1/batches",
        name="createBatch",
        group=GROUP,
        summary="Have the requests of a file answered within 24 hours",
        parameters=(IDEMPOTENCY_KEY,),
        body=BatchRequest,
        example={
            "input_file_id": f"file-{'a' * 26}",
            "endpoint": "/v1/embeddings",
            "completion_window": "24h",
        },
        answers=(Answer(status=200, says="The batch; a repetition gives the same.", body=Batch),),
        refusals=(
            *OF_A_BODY,
            "unknown_field",
            "no_file",
            "not_allowed",
            "idempotency_key_reused",
            "rate_limit",
            "token_quota",
        ),
    ),
    Operation(
        route="GET /v1/batches",
        name="listBatches",
        group=GROUP,
        summary="The tenant's batches, the newest first",
        parameters=_page(PAGE_MAX, BATCH_PATTERN),
        answers=(Answer(status=200, says="A page of them.", body=BatchList),),
        refusals=("invalid_value",),
    ),
    Operation(
        route="GET /v1/batches/{id}",
        name="getBatch",
        group=GROUP,
        summary="How far a batch is, and where its answers are",
        parameters=(BATCH,),
        answers=(Answer(status=200, says="The batch as it stands.", body=Batch),),
        refusals=("batch_not_found",),
    ),
    Operation(
        route="POST /v1/batches/{id}/cancel",
        name="cancelBatch",
        group=GROUP,
        summary="Make no further jobs of a batch",
        parameters=(BATCH,),
        answers=(Answer(status=200, says="The batch; again: the same.", body=Batch),),
        refusals=("batch_not_found", "batch_finished", "batch_changing"),
    ),
)
