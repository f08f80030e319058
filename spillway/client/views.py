"""The service's documents as typed objects; fields that this version does not know are ignored."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Tier = Literal["interactive", "standard", "batch"]
TERMINAL: Final = frozenset({"completed", "failed", "refused", "cancelled", "expired"})


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


class Listing(View):
    """A page of jobs as it arrives."""

    data: tuple[dict[str, Any], ...]
    has_more: bool = False
    next_cursor: str | None = None


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
