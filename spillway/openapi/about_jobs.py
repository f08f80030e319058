"""What goes with jobs: feedback, deliveries of webhooks, what was used."""

from typing import Any, Literal

from pydantic import Field

from lambdas.domain.feedback import FeedbackRequest
from spillway.openapi.answers import Job, JobId, Moment, Told
from spillway.openapi.jobs import JOB
from spillway.openapi.refusals import OF_A_BODY
from spillway.openapi.shape import Answer, Header, Operation, Parameter

EVENT = "like `job.completed`; null before the job's end, and without a webhook"


class Delivery(Told):
    """One try to tell a webhook."""

    object: Literal["delivery"]
    at: Moment
    number: int = Field(alias="try", ge=1)
    status: int | None = Field(description="what the receiver answered")
    failure: (
        Literal[
            "refused",
            "unresolved",
            "unreachable",
            "untrusted",
            "timeout",
            "protocol",
            "unsigned",
        ]
        | None
    ) = Field(description="why there was no answer")
    elapsed_ms: int = Field(ge=0)
    verdict: Literal["delivered", "retry", "drop", "given_up"]
    next_at: Moment | None = Field(description="when it is tried again")


class DeliveryLog(Told):
    """How a job's end was told, the first try first."""

    object: Literal["list"]
    job: JobId
    event: str | None = Field(description=EVENT)
    webhook_id: str | None
    data: list[Delivery]


class Redelivery(Told):
    """The end is told once more, under the same id."""

    object: Literal["redelivery"]
    job: JobId
    event: str | None = Field(description=EVENT)
    webhook_id: str | None


class JobCounts(Told):
    """Jobs by how they ended."""

    completed: int
    failed: int
    refused: int
    cancelled: int
    expired: int


class TokenCounts(Told):
    """Tokens, where the model reports them."""

    input: int
    output: int


class FeedbackCounts(Told):
    """What users said of the answers."""

    ratings: int
    rating_sum: int
    corrections: int


class UsageSum(Told):
    """What was used."""

    jobs: JobCounts
    tokens: TokenCounts
    gpu_s: float = Field(description="the jobs' part of instances, in seconds")
    cost_usd: float | None = Field(description="what that costs; null without a price")
    feedback: FeedbackCounts


class UsageRow(UsageSum):
    """What was used of a version on a day."""

    day: str = Field(json_schema_extra={"format": "date"})
    model: str
    version: str | None = Field(description="null of jobs that no version answered")


class Usage(Told):
    """What the tenant used, by day, model and version."""

    object: Literal["usage"]
    first: str = Field(alias="from", json_schema_extra={"format": "date"})
    last: str = Field(alias="to", json_schema_extra={"format": "date"})
    data: list[UsageRow]
    total: UsageSum
    missing_regions: list[str] = Field(description="those that did not answer")


def _day(name: str, says: str) -> Parameter:
    schema: dict[str, Any] = {
        "type": "string",
        "format": "date",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    }
    return Parameter(name=name, place="query", schema=schema, says=says)


OPERATIONS = (
    Operation(
        route="POST /v1/jobs/{id}/feedback",
        name="giveFeedback",
        group="Jobs",
        summary="Say what a user thinks of the answer",
        says="At least one field; the last feedback wins.",
        parameters=(JOB,),
        body=FeedbackRequest,
        example={"rating": -1, "correction": "Paris", "comment": "That is the capital."},
        answers=(Answer(status=200, says="It is kept with the job.", body=Job),),
        refusals=(*OF_A_BODY, "unknown_field", "job_not_found", "job_unfinished", "rate_limit"),
    ),
    Operation(
        route="GET /v1/jobs/{id}/deliveries",
        name="listDeliveries",
        group="Jobs",
        summary="How the job's webhook was told: every try that is kept",
        parameters=(JOB,),
        answers=(Answer(status=200, says="The tries.", body=DeliveryLog),),
        refusals=("job_not_found",),
    ),
    Operation(
        route="POST /v1/jobs/{id}/deliveries",
        name="redeliver",
        group="Jobs",
        summary="Have the job's webhook told once more",
        says="It counts as a submission.",
        parameters=(JOB,),
        answers=(
            Answer(
                status=202,
                says="It will be told.",
                body=Redelivery,
                headers=(
                    Header(
                        name="Location",
                        schema={"type": "string"},
                        says="The deliveries.",
                        always=True,
                    ),
                ),
            ),
        ),
        refusals=("job_not_found", "no_webhook", "job_unfinished", "rate_limit"),
    ),
    Operation(
        route="GET /v1/usage",
        name="getUsage",
        group="Usage",
        summary="What the tenant used, by day, model and version",
        says="At most 92 days; without any, the last 30.",
        parameters=(
            _day("from", "The first day, in UTC."),
            _day("to", "The last day; today without it."),
            Parameter(
                name="model",
                place="query",
                schema={"type": "string"},
                says="Only this one's.",
            ),
        ),
        answers=(Answer(status=200, says="Added up over the regions.", body=Usage),),
        refusals=("invalid_value", "unknown_model", "not_allowed"),
    ),
)
