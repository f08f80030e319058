"""Reading, listing, cancelling and erasing jobs."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from lambdas.adapters.clock import now_ms, now_s
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.domain import payloads
from lambdas.domain.admission import Caller
from lambdas.domain.cursors import Cursor, read_cursor, write_cursor
from lambdas.domain.errors import ApiError, conflict, invalid, not_found
from lambdas.domain.job import Job, Status, is_job_id
from lambdas.domain.payloads import input_key
from lambdas.domain.policy import Policy
from lambdas.domain.prediction import place
from lambdas.domain.views import job_view
from lambdas.handlers.api import ANSWER_BYTES_MAX, Request, answer, written_bytes
from lambdas.handlers.endings import RESULT_BYTES_MAX, Endings, result_keys
from lambdas.handlers.snapshots import Snapshots
from lambdas.handlers.uploads import Uploads

PAGE_DEFAULT = 20
PAGE_MAX = 100
PAGE_BYTES_MAX = ANSWER_BYTES_MAX - 10_000
"""Of a page's jobs, whose metadata may be large: the rest of them is the next page's."""
DAYS_A_PAGE_MAX = 31
"""Days that one request looks through; a page may be short, its cursor goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model answered.

    Attributes:
        document: As JSON, unless it is too large to be read here.
        link: Where it can be fetched then, signed and expiring.
    """

    document: Any = None
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Answers questions about jobs in one region, wherever they are."""

    policy: Policy
    endings: Endings
    payloads: Payloads
    uploads: Uploads
    snapshots: Snapshots

    @property
    def ledger(self) -> Ledger:
        """Where the jobs are."""
        return self.endings.ledger

    def find(self, request: Request) -> Job:
        """The job that the path names, if it is the caller's.

        Raises:
            ApiError: 404; the same for an unknown id, an erased job and another tenant's.
        """
        return self.job_of(str(request.parameters.get("id", "")), request.known_caller)

    def job_of(self, job_id: str, caller: Caller) -> Job:
        """A job by its id, if it is the caller's.

        Raises:
            ApiError: 404; the same for an unknown id, an erased job and another tenant's.
        """
        job = self.own(job_id, caller)
        if job.erased:
            raise not_found()
        return self.settled(job)

    def output(self, job: Job) -> Output:
        """What a completed job's model answered.

        Raises:
            ApiError: 404: the job was erased.
            botocore.exceptions.ClientError: The region that keeps it does not give it.
        """
        if job.output is not None:
            return Output(document=json.loads(payloads.unpack(job.output)))
        if job.output_key is None:
            raise not_found()
        stored = self.payloads.result(job.output_key, region=job.owner, bytes_max=RESULT_BYTES_MAX)
        if stored.body is None:
            return Output(link=self.link(job))
        return Output(document=json.loads(stored.body))

    def link(self, job: Job) -> str | None:
        """Where a large result can be fetched for an hour; None for one that is in the ledger."""
        return self.payloads.link(job.output_key, region=job.owner) if job.output_key else None

    def settled(self, job: Job) -> Job:
        """The job, expired if its deadline has passed while it waited."""
        at_ms = now_ms()
        if job.status is not Status.QUEUED or job.deadline_ms > at_ms:
            return job
        return self.endings.expired(job, now_ms=at_ms).job or job

    def view(
        self, job: Job, snapshot: dict[str, Any] | None = None, *, with_output: bool = True
    ) -> dict[str, Any]:
        """The job as clients see it, with its place in the queue or its result."""
        where = None
        if job.status is Status.QUEUED and job.model in self.policy.models:
            where = place(
                job,
                self.policy.models[job.model],
                self.policy.tiers,
                self.snapshots.of(job.owner) if snapshot is None else snapshot,
                now_ms=now_ms(),
            )
        link = self.link(job) if with_output else None
        return job_view(job, place=where, output_url=link, with_output=with_output)

    def list_jobs(self, request: Request) -> dict[str, Any]:
        """`GET /v1/jobs`: the caller's jobs, newest first."""
        tenant = request.known_caller.tenant
        limit = _limit(request.query.get("limit"))
        after = request.query.get("after")
        cursor = read_cursor(after, tenant) if after is not None else None
        listed, reached = self._listed(tenant, limit, cursor)
        jobs = self.ledger.get_many(job_id for _, job_id, _ in listed)
        data: list[dict[str, Any]] = []
        left_bytes = PAGE_BYTES_MAX
        for number, (_, job_id, _) in enumerate(listed):
            if job_id not in jobs or jobs[job_id].erased:
                continue
            view = job_view(jobs[job_id], with_output=False)
            left_bytes -= written_bytes(view)
            if left_bytes < 0 and data:
                day, before, made_ms = listed[number - 1]
                reached = Cursor(day, made_ms, before)
                break
            data.append(view)
        following = write_cursor(reached, tenant) if reached is not None else None
        return answer(
            200,
            {
                "object": "list",
                "data": data,
                "has_more": following is not None,
                "next_cursor": following,
            },
        )

    def cancel(self, request: Request) -> dict[str, Any]:
        """`POST /v1/jobs/{id}/cancel`."""
        return answer(200, self.view(self.cancelled(self.find(request))))

    def cancelled(self, job: Job) -> Job:
        """A job after its cancellation, now or earlier.

        Raises:
            ApiError: 409: it ended otherwise, or changes just now.
        """
        job = self._cancelled(job)
        if not job.status.terminal:
            raise _changing(job)
        if job.status is not Status.CANCELLED:
            raise conflict(
                f"The job is {job.status} already.", code="job_finished", param="id", job=job.id
            )
        logger.info("cancelled", job_id=job.id)
        return job

    def erase(self, request: Request) -> dict[str, Any]:
        """`DELETE /v1/jobs/{id}`: payload and result are gone everywhere, and for good."""
        job = self.own(str(request.parameters.get("id", "")), request.known_caller)
        self.erased(job)
        return answer(200, {"id": job.id, "object": "job", "deleted": True})

    def erased(self, job: Job) -> None:
        """Erase a job.

        The tombstone comes first: from then on nobody reads payload and result, and a late result
        is dropped. Asking again repeats the rest, in case it was cut short.

        Raises:
            ApiError: 409: it changes just now.
        """
        if not job.erased:
            job = self._cancelled(self.settled(job))
            if not self.ledger.erase(job.id):
                raise _changing(job)
        if job.upload is not None:
            self.uploads.forget(job.tenant, job.upload)
        else:
            self.payloads.erase_input(
                input_key(job.id, job.request_hash),
                stored=job.stored or job.home,
                copied=job.copied,
                brought=self.policy.regions if job.moves else (),
            )
        # Another region can have worked on it only if it was moved, which is a further attempt.
        results = result_keys(job, self.policy, range(1, job.attempt + 1))
        for region in self.policy.regions if job.attempt > 1 else (job.owner,):
            self.payloads.erase_results(results, region=region)
        logger.info("erased", job_id=job.id)

    def own(self, job_id: str, caller: Caller) -> Job:
        """The caller's job, erased or not.

        Raises:
            ApiError: 404; the same for an unknown id and another tenant's.
        """
        job = self.ledger.get(job_id) if is_job_id(job_id) else None
        if job is None or job.tenant != caller.tenant:
            raise not_found()
        return job

    def _cancelled(self, job: Job) -> Job:
        if job.status.terminal:
            return job
        return self.endings.cancelled(job, now_ms=now_ms()).job or job

    def _listed(
        self, tenant: str, limit: int, cursor: Cursor | None
    ) -> tuple[list[tuple[str, str, int]], Cursor | None]:
        """Walk back day by day; returns day, id and time of jobs, and where to go on."""
        now = datetime.fromtimestamp(now_s(), UTC).date()
        kept_s = self.policy.retention_s + self.policy.deadline_s_max
        oldest = now - timedelta(seconds=kept_s, days=1)
        day = date.fromisoformat(cursor.day) if cursor else now
        after = (cursor.created_ms, cursor.job) if cursor and cursor.job else None
        found: list[tuple[str, str, int]] = []
        for _ in range(DAYS_A_PAGE_MAX):
            if day < oldest:
                return found, None
            page = self.ledger.jobs_of(
                tenant, day.isoformat(), limit=limit - len(found), after=after
            )
            found += [(day.isoformat(), job_id, created_ms) for job_id, created_ms in page]
            if len(found) >= limit:
                last_day, last_id, last_ms = found[-1]
                return found, Cursor(last_day, last_ms, last_id)
            day, after = day - timedelta(days=1), None
        return found, Cursor(day.isoformat(), 0, "")


def _changing(job: Job) -> ApiError:
    return conflict("The job is changing just now; try again.", code="job_changing", job=job.id)


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_DEFAULT
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= PAGE_MAX:
        raise invalid(f"limit is 1 to {PAGE_MAX}.", param="limit")
    return int(text[:9])
