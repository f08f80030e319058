"""The service's documents as typed objects; fields that this version does not know are ignored."""

from datetime import date, datetime
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Tier = Literal["interactive", "standard", "batch"]
TERMINAL: Final = frozenset({"completed", "failed", "refused", "cancelled", "expired"})

T = TypeVar("T")


class View(BaseModel):
    """What every document has in common."""

    # A document that does not fit is told of without what is in it.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Place(View):
    """Where a waiting job stands, estimated from the last beat."""

    position: int | None = None
    predicted_start: datetime | None = None


class Timings(View):
    """Where a job's time went, in seconds."""

    queue_s: float | None = None
    handoff_s: float | None = None
    model_s: float | None = None


class JobFailure(View):
    """The last failure of a job."""

    code: str = ""
    message: str = ""


class AnsweredBy(View):
    """What answered a job: another model than was asked for, if the job fell back."""

    model: str
    version: str | None = None


class Feedback(View):
    """What a user said of an answer."""

    at: datetime | None = None
    rating: int | None = None
    correction: Any = Field(default=None, repr=False)
    comment: str | None = Field(default=None, repr=False)


class Job(View):
    """A job as the service last told of it; a handle for every call about it.

    The fields are those of docs/api.md. What may be private or is a signed link (output,
    output_url, metadata) stays out of `repr`.

    Attributes:
        zone: The deployment of the client that the job belongs to.
        status: `queued`, `in_progress`, or one of `TERMINAL`.
    """

    id: str
    zone: str
    status: str
    model: str | None = None
    version: str | None = None
    tier: str | None = None
    attempt: int | None = None
    region: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    queue: Place | None = None
    timings: Timings = Timings()
    output: Any = Field(default=None, repr=False)
    output_url: str | None = Field(default=None, repr=False)
    usage: dict[str, Any] | None = None
    answered_by: AnsweredBy | None = None
    error: JobFailure | None = None
    feedback: Feedback | None = None
    metadata: dict[str, Any] = Field(default_factory=dict, repr=False)
    trace_id: str | None = None
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in TERMINAL

    @property
    def completed(self) -> bool:
        """Whether it has ended with a result."""
        return self.status == "completed"


class UploadPart(View):
    """A part of an upload, and the link to write it to."""

    number: int
    bytes: int
    url: str = Field(repr=False)


class Upload(View):
    """An input that is brought by itself; once `ready`, it can be handed in as one.

    Attributes:
        status: `waiting`, `uploaded` or `ready`.
        headers: To be sent when it is written.
    """

    id: str
    status: str
    bytes: int
    content_type: str = ""
    region: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    url: str | None = Field(default=None, repr=False)
    headers: dict[str, str] | None = None
    parts: tuple[UploadPart, ...] | None = Field(default=None, repr=False)

    @property
    def ready(self) -> bool:
        """Whether a job can be made of it."""
        return self.status == "ready"


class Delivery(View):
    """One try to tell of a job's end; `number` is the API's `try`.

    Attributes:
        number: The how manieth since the end was last announced.
        status: What the receiver answered; None without an answer.
        failure: Why there was none.
        verdict: `delivered`, `retry`, `drop` or `given_up`.
        next_at: When it is tried again.
    """

    at: datetime
    number: int = Field(default=0, validation_alias="try")
    status: int | None = None
    failure: str | None = None
    elapsed_ms: int = 0
    verdict: str = ""
    next_at: datetime | None = None


class Deliveries(View):
    """How a job's webhook was told: every try that is kept, the first one first."""

    event: str | None = None
    webhook_id: str | None = None
    data: tuple[Delivery, ...] = ()


class FeedbackCount(View):
    """What users said, added up."""

    ratings: int = 0
    rating_sum: int = 0
    corrections: int = 0


class Used(View):
    """What was used.

    Attributes:
        jobs: How many ended in each way.
        tokens: `input` and `output`.
        gpu_s: Seconds of instances.
        cost_usd: Those at list price; None where it is not known.
    """

    jobs: dict[str, int] = Field(default_factory=dict)
    tokens: dict[str, int] = Field(default_factory=dict)
    gpu_s: float = 0.0
    cost_usd: float | None = None
    feedback: FeedbackCount = FeedbackCount()


class UsedOfDay(Used):
    """What was used on one day, of one version of a model."""

    day: date
    model: str
    version: str | None = None


class Usage(View):
    """What the key's tenant used; regions that did not answer are not in the sums."""

    data: tuple[UsedOfDay, ...] = ()
    total: Used = Used()
    missing_regions: tuple[str, ...] = ()


class Listing(View):
    """A page of jobs as it arrives."""

    data: tuple[dict[str, Any], ...]
    has_more: bool = False
    next_cursor: str | None = None


class Items(View, Generic[T]):
    """A list that comes as a whole."""

    data: tuple[T, ...]


class Model(View):
    """A model that the key may use."""

    id: str
    state: str = ""
    versions: dict[str, float] = Field(default_factory=dict)
    tiers: tuple[str, ...] = ()
    input_bytes_max: int | None = None


class TierWait(View):
    """How long a job of one tier would wait now, in seconds."""

    target_wait_s: float | None = None
    predicted_wait_s: float | None = None
    waiting: int = 0


class ModelCapacity(View):
    """How busy a model is in the region that answered."""

    model: str
    instances: int = 0
    tiers: dict[str, TierWait] = Field(default_factory=dict)
