"""Uploads: inputs that do not fit into a request."""

from typing import Literal

from pydantic import Field

from lambdas.domain.uploads import BYTES_MAX, UploadRequest
from spillway.openapi.answers import Moment, Told
from spillway.openapi.jobs import LOCATION
from spillway.openapi.refusals import OF_A_BODY
from spillway.openapi.shape import Answer, Operation, Parameter

ID_PATTERN = r"^upload_[a-z]{2}(-[a-z]+)+-[0-9]_[a-z2-7]{26}$"
UPLOAD = Parameter(
    name="id",
    place="path",
    schema={"type": "string", "pattern": ID_PATTERN},
    says="The upload's id.",
)


class UploadPart(Told):
    """One part, and where it is written to."""

    number: int = Field(ge=1)
    bytes: int = Field(ge=1)
    url: str


class Upload(Told):
    """An upload as it stands, with links to write to for as long as it waits."""

    id: str = Field(pattern=ID_PATTERN)
    object: Literal["upload"]
    status: Literal["waiting", "uploaded", "ready"] = Field(
        description="`uploaded`: its copies are on their way to the other regions"
    )
    bytes: int = Field(ge=1, le=BYTES_MAX)
    content_type: str
    region: str = Field(description="where it is written to")
    created_at: Moment
    expires_at: Moment | None = Field(description="when the links end")
    method: Literal["PUT"] | None
    url: str | None = Field(description="of an upload in one piece")
    headers: dict[str, str] | None = Field(description="to be sent with each link")
    parts: list[UploadPart] | None = Field(description="of an upload in parts")


class UploadErased(Told):
    """The upload is gone everywhere."""

    id: str
    object: Literal["upload"]
    deleted: Literal[True]


OPERATIONS = (
    Operation(
        route="POST /v1/uploads",
        name="beginUpload",
        group="Uploads",
        summary="Get links to write a large input to",
        says="For inputs of up to 1 GB. Once it is written, a job names it as `input_upload`.",
        body=UploadRequest,
        example={"bytes": 8_000_000, "content_type": "application/json"},
        answers=(Answer(status=201, says="The links.", body=Upload, headers=(LOCATION,)),),
        refusals=(*OF_A_BODY, "unknown_field", "rate_limit"),
    ),
    Operation(
        route="GET /v1/uploads/{id}",
        name="getUpload",
        group="Uploads",
        summary="How far an upload is; while it waits, with links that are new",
        parameters=(UPLOAD,),
        answers=(Answer(status=200, says="The upload as it stands.", body=Upload),),
        refusals=("upload_not_found",),
    ),
    Operation(
        route="DELETE /v1/uploads/{id}",
        name="eraseUpload",
        group="Uploads",
        summary="Erase an upload that became no job",
        parameters=(UPLOAD,),
        answers=(Answer(status=200, says="It is gone.", body=UploadErased),),
        refusals=("upload_not_found", "upload_used"),
    ),
    Operation(
        route="POST /v1/uploads/{id}/complete",
        name="completeUpload",
        group="Uploads",
        summary="Make one object of its parts",
        parameters=(UPLOAD,),
        answers=(Answer(status=200, says="It is one; again: the same answer.", body=Upload),),
        refusals=("upload_not_found", "upload_incomplete"),
    ),
)
