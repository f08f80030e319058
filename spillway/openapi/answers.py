"""The API's own answers, field by field; what fills them is in `lambdas`, and never reads this.

Fields that do not apply are null, and never left out. A later release may add fields.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobId = Annotated[str, Field(pattern=r"^job_[a-z2-7]{26}$")]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Tier = Literal["interactive", "standard", "batch"]
Status = Literal["queued", "in_progress", "completed", "failed", "refused", "cancelled", "expired"]
Api = Literal["chat.completions", "embeddings", "responses"]


class Told(BaseModel):
    """What all answers have in common."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ErrorDetail(Told):
    """What was wrong, where, and what is allowed; never what was sent."""

    message: str = Field(description="for people; says what is allowed")
    type: str = Field(description="the kind of error, as OpenAI's clients know it")
    code: str | None = Field(description="the reason, for programs")
    param: str | None = Field(description="the field, header or parameter that it is about")


class Error(Told):
    """Every error has this shape, whoever answers."""

    error: ErrorDetail


class JobQueue(Told):
    """Where a waiting job stands; both are estimates."""

    position: int | None = Field(ge=1, description="1 starts next")
    predicted_start: Moment | None


class JobTimings(Told):
    """Where a job's time went, in seconds."""

    queue_s: float | None
    handoff_s: float | None
    model_s: float | None


class JobAnsweredBy(Told):
    """What answered: another model than asked for, if the job fell back."""

    model: str
    version: str | None


class JobFailure(Told):
    """The last failure of a job."""

    code: str
    message: str


class JobLinks(Told):
    """Paths relative to the base URL."""

    self: str
    cancel: str


class JobFeedback(Told):
    """What a user said of the answer."""

    rating: int | None = Field(ge=-1, le=1)
    correction: Any
    comment: str | None
    at: Moment


class Job(Told):
    """A job as it stands; fields that do not apply are null."""

    id: JobId
    object: Literal["job"]
    model: str = Field(description="as asked for")
    version: str | None
    tier: Tier
    status: Status
    attempt: int = Field(ge=1)
    region: str = Field(description="whose queue holds it")
    created_at: Moment
    started_at: Moment | None = Field(description="of the current attempt")
    finished_at: Moment | None
    deadline_at: Moment
    queue: JobQueue | None
    timings: JobTimings
    output: Any = Field(description="the model's JSON, if it is small")
    output_url: str | None = Field(description="otherwise a link, which works for one hour")
    usage: dict[str, Any] | None
    answered_by: JobAnsweredBy | None
    error: JobFailure | None
    metadata: dict[str, str]
    feedback: JobFeedback | None
    trace_id: str | None
    links: JobLinks


class JobPage(Told):
    """Jobs, newest first, without results."""

    object: Literal["list"]
    data: list[Job]
    has_more: bool
    next_cursor: str | None = Field(description="`after` of the next request")


class JobReference(Told):
    """A job whose answer is elsewhere: the `Location` says where."""

    id: JobId
    object: Literal["job"]
    status: Status


class JobErased(Told):
    """Payload and result are gone everywhere, and for good."""

    id: JobId
    object: Literal["job"]
    deleted: Literal[True]


class Model(Told):
    """A model that the key may use."""

    id: str
    object: Literal["model"]
    owned_by: str
    created: int
    state: str = Field(description="`live`, or why it takes no new jobs")
    versions: dict[str, float] = Field(description="each version's share, 0 to 1")
    tiers: list[Tier] = Field(description="those that the key may use")
    apis: list[Api] = Field(description="the routes of OpenAI's that it answers")
    input_bytes_max: int


class ModelList(Told):
    """The models that the key may use."""

    object: Literal["list"]
    data: list[Model]


class TierWait(Told):
    """How long a job of one tier would wait now, in seconds."""

    target_wait_s: float
    predicted_wait_s: float
    waiting: int = Field(ge=0, description="jobs in the queue")


class ModelCapacity(Told):
    """How busy a model is in this region."""

    model: str
    instances: int = Field(ge=0)
    tiers: dict[str, TierWait]


class Capacity(Told):
    """The wait to expect now."""

    object: Literal["list"]
    data: list[ModelCapacity]


class Health(Told):
    """The API answers, and the region can take and run jobs."""

    status: Literal["ok"]


class Unhealthy(Told):
    """The region cannot take or run jobs."""

    status: Literal["unavailable"]
    reason: str


class Description(Told):
    """This document."""

    model_config = ConfigDict(extra="allow", frozen=True)

    openapi: str
