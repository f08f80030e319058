"""The routes of our own: jobs."""

from lambdas.domain.requests import JobRequest
from spillway.openapi.answers import Job, JobErased, JobPage, JobReference
from spillway.openapi.refusals import RETRY_AFTER, SUBMITTING
from spillway.openapi.shape import Answer, Header, Operation, Parameter

JOB = Parameter(
    name="id",
    place="path",
    schema={"type": "string", "pattern": r"^job_[a-z2-7]{26}$"},
    says="The job's id.",
)
WAIT = Parameter(
    name="wait",
    place="query",
    schema={"type": "integer", "minimum": 0},
    says="Seconds to wait for the job's end; more than the deployment allows are cut to that.",
)
PREFER = Parameter(
    name="Prefer",
    place="header",
    schema={"type": "string", "examples": ["wait=20"]},
    says="`wait=N`, as the query parameter, which goes first (RFC 7240).",
)
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    schema={"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    says="The same key and body give the same job, in any region, as long as the job is kept.",
)
LOCATION = Header(name="Location", schema={"type": "string"}, says="Where to go on.", always=True)
REPLAYED = Header(
    name="Idempotent-Replayed",
    schema={"type": "string", "enum": ["true"]},
    says="The job was there before.",
)
WAITS_ON = Answer(
    status=303,
    says="It takes longer: the GET of `Location` waits on.",
    body=JobReference,
    headers=(LOCATION, RETRY_AFTER, REPLAYED),
)
UPLOADED = ("no_upload", "upload_incomplete", "upload_used", "upload_not_ready")
"""What is wrong with an upload that is to become a job."""
CANCELLING = ("job_finished", "job_changing")

OPERATIONS = (
    Operation(
        route="POST /v1/jobs",
        name="submitJob",
        group="Jobs",
        summary="Take a job",
        says="202 means that the job is kept. After a 5xx repeat the request with its "
        "`Idempotency-Key`: it gives the same job if the first one arrived.",
        parameters=(WAIT, PREFER, IDEMPOTENCY_KEY),
        body=JobRequest,
        example={
            "model": "embedder",
            "input": {"input": "hello"},
            "tier": "interactive",
            "metadata": {"document": "17"},
        },
        answers=(
            Answer(
                status=202,
                says="The job waits.",
                body=Job,
                headers=(LOCATION, REPLAYED),
            ),
            Answer(
                status=200,
                says="The job has ended, after a wait or before.",
                body=Job,
                headers=(LOCATION, REPLAYED),
            ),
            WAITS_ON,
        ),
        refusals=("unknown_field", "unknown_model", *SUBMITTING, *UPLOADED),
    ),
    Operation(
        route="GET /v1/jobs",
        name="listJobs",
        group="Jobs",
        summary="The tenant's jobs, newest first, without results",
        says="Go on while `has_more` is true, also after an empty page.",
        parameters=(
            Parameter(
                name="limit",
                place="query",
                schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
                says="Jobs of a page.",
            ),
            Parameter(
                name="after",
                place="query",
                schema={"type": "string"},
                says="The `next_cursor` of an earlier answer.",
            ),
        ),
        answers=(Answer(status=200, says="A page.", body=JobPage),),
        refusals=("invalid_value",),
    ),
    Operation(
        route="GET /v1/jobs/{id}",
        name="getJob",
        group="Jobs",
        summary="One job: its place in the queue, or its result",
        parameters=(JOB, WAIT, PREFER),
        answers=(
            Answer(status=200, says="The job as it stands.", body=Job),
            Answer(
                status=202,
                says="As many clients wait as may; the job as it stands.",
                body=Job,
                headers=(RETRY_AFTER,),
            ),
            WAITS_ON,
        ),
        refusals=("invalid_value", "job_not_found"),
    ),
    Operation(
        route="DELETE /v1/jobs/{id}",
        name="eraseJob",
        group="Jobs",
        summary="Cancel if needed, then erase payload and result for good",
        parameters=(JOB,),
        answers=(Answer(status=200, says="It is gone; again: the same answer.", body=JobErased),),
        refusals=("job_not_found", "job_changing"),
    ),
    Operation(
        route="POST /v1/jobs/{id}/cancel",
        name="cancelJob",
        group="Jobs",
        summary="Cancel a job that has not ended",
        parameters=(JOB,),
        answers=(Answer(status=200, says="It is cancelled; again: the same answer.", body=Job),),
        refusals=("job_not_found", *CANCELLING),
    ),
)
