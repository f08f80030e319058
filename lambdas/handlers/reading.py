"""Reading, listing, cancelling and erasing jobs; models, capacity and health."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from lambdas.adapters.clock import now_ms, now_s
from lambdas.adapters.endpoints import output_key
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.domain import admission
from lambdas.domain.admission import Caller
from lambdas.domain.capacity import predicted_wait_s
from lambdas.domain.cursors import Cursor, read_cursor, write_cursor
from lambdas.domain.errors import conflict, invalid, not_found
from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Policy
from lambdas.domain.views import job_view
from lambdas.handlers.api import Request, answer

PAGE_DEFAULT = 20
PAGE_MAX = 100
DAYS_A_PAGE_MAX = 31
"""Days that one request looks through; a page may be short, its cursor goes on."""
VERDICT_S_MAX = 30
"""An older verdict of beat is none: beat itself has stopped."""
SNAPSHOT_KEPT_S = 2
"""Some 16 health checkers ask every 10 s: one read serves most of them."""


@dataclass(slots=True)
class _Kept:
    snapshot: dict[str, Any] = field(default_factory=dict)
    at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Answers questions about jobs in one region."""

    policy: Policy
    ledger: Ledger
    gate: Gate
    payloads: Payloads
    kept: _Kept = field(default_factory=_Kept)

    def find(self, request: Request) -> Job:
        """The job that the path names, if it is the caller's.

        Raises:
            ApiError: 404; the same for an unknown id and for another tenant's.
        """
        job = self.ledger.get(str(request.parameters.get("id", "")))
        if job is None or job.erased or job.tenant != request.known_caller.tenant:
            raise not_found()
        at_ms = now_ms()
        if job.status is Status.QUEUED and job.deadline_ms <= at_ms:
            outcome = self.ledger.apply(
                job,
                "expire",
                now_ms=at_ms,
                finished_ms=at_ms,
                error={"code": "deadline_exceeded", "message": "The job did not start in time."},
            )
            job = outcome.job or job
        return job

    def view(self, job: Job, snapshot: dict[str, Any] | None = None) -> dict[str, Any]:
        """The job as clients see it, with its place in the queue or its result."""
        queue = None
        if job.status is Status.QUEUED:
            queue = self._queue(job, snapshot or self._snapshot())
        link = self.payloads.link(job.output_key, region=job.owner) if job.output_key else None
        return job_view(job, queue=queue, output_url=link)

    def list_jobs(self, request: Request) -> dict[str, Any]:
        """`GET /v1/jobs`: the caller's jobs, newest first."""
        tenant = request.known_caller.tenant
        limit = _limit(request.query.get("limit"))
        after = request.query.get("after")
        cursor = read_cursor(after, tenant) if after is not None else None
        listed, reached = self._listed(tenant, limit, cursor)
        jobs = self.ledger.get_many(job_id for _, job_id, _ in listed)
        data = [
            job_view(jobs[job_id], with_output=False)
            for _, job_id, _ in listed
            if job_id in jobs and not jobs[job_id].erased
        ]
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
        job = self._cancelled(self.find(request))
        if job.status is not Status.CANCELLED:
            raise conflict(f"The job is {job.status} already.", code="job_finished", param="id")
        logger.info("cancelled", job_id=job.id)
        return answer(200, self.view(job))

    def erase(self, request: Request) -> dict[str, Any]:
        """`DELETE /v1/jobs/{id}`: payload and result are gone everywhere, at once and for good."""
        job = self._cancelled(self.find(request))
        if not self.ledger.erase(job.id):
            raise conflict("The job is changing just now; try again.", code="job_changing")
        if job.input_key is not None:
            self.payloads.erase_input(job.input_key, home=job.home)
        self.payloads.erase_results(result_keys(job, self.policy), region=job.owner)
        logger.info("erased", job_id=job.id)
        return answer(200, {"id": job.id, "object": "job", "deleted": True})

    def models(self, request: Request) -> dict[str, Any]:
        """`GET /v1/models`: what the key may use."""
        data = [
            {
                "id": model.name,
                "object": "model",
                "owned_by": self.policy.deployment,
                "created": 0,
                "state": model.state,
                "versions": model.versions,
                "tiers": _tiers(request.known_caller, self.policy),
                "input_bytes_max": model.input_bytes_max,
            }
            for model in self.policy.models.values()
            if _may_use(request.known_caller, model.name)
        ]
        return answer(200, {"object": "list", "data": data})

    def capacity(self, request: Request) -> dict[str, Any]:
        """`GET /v1/capacity`: how long a job that is submitted now would wait."""
        snapshot = self._snapshot()
        data = []
        for model in self.policy.models.values():
            if not _may_use(request.known_caller, model.name):
                continue
            load = admission.load_of(snapshot, model.name)
            data.append(
                {
                    "model": model.name,
                    "instances": load.instances,
                    "tiers": {
                        tier.name: {
                            "target_wait_s": tier.target_wait_s,
                            "predicted_wait_s": round(
                                predicted_wait_s(model, self.policy.tiers, tier.name, load), 3
                            ),
                            "waiting": load.waiting.get(tier.name, 0),
                        }
                        for tier in self.policy.tiers
                    },
                }
            )
        return answer(200, {"object": "list", "data": data})

    def live(self, _request: Request) -> dict[str, Any]:
        """`GET /health/live`: the API answers."""
        return answer(200, {"status": "ok"})

    def ready(self, _request: Request) -> dict[str, Any]:
        """`GET /health/ready`: beat's verdict on the region, which Route 53 follows."""
        snapshot = self._snapshot()
        age_s = now_s() - snapshot.get("at_ms", 0) / 1000
        if age_s > VERDICT_S_MAX:
            return answer(503, {"status": "unavailable", "reason": "no verdict"})
        if not snapshot.get("ready"):
            return answer(503, {"status": "unavailable", "reason": snapshot.get("reason", "")})
        return answer(200, {"status": "ok"})

    def _cancelled(self, job: Job) -> Job:
        if job.status.terminal:
            return job
        at_ms = now_ms()
        return self.ledger.apply(job, "cancel", now_ms=at_ms, finished_ms=at_ms).job or job

    def _listed(
        self, tenant: str, limit: int, cursor: Cursor | None
    ) -> tuple[list[tuple[str, str, int]], Cursor | None]:
        """Walk back day by day; returns day, id and time of jobs, and where to go on."""
        now = datetime.fromtimestamp(now_s(), UTC).date()
        oldest = now - timedelta(seconds=self.policy.retention_s + self.policy.deadline_s_max)
        day = _day(cursor.day) if cursor else now
        after = (cursor.created_ms, cursor.job) if cursor and cursor.job else None
        found: list[tuple[str, str, int]] = []
        for _ in range(DAYS_A_PAGE_MAX):
            if day < oldest - timedelta(days=1):
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

    def _snapshot(self) -> dict[str, Any]:
        at_s = now_s()
        if at_s - self.kept.at_s > SNAPSHOT_KEPT_S or at_s < self.kept.at_s:
            self.kept.snapshot, self.kept.at_s = self.gate.snapshot(), at_s
        return self.kept.snapshot

    def _queue(self, job: Job, snapshot: dict[str, Any]) -> dict[str, Any]:
        load = admission.load_of(snapshot, job.model)
        model = self.policy.models[job.model]
        wait_s = predicted_wait_s(model, self.policy.tiers, job.tier, load)
        order = [tier.name for tier in self.policy.tiers]
        ahead = sum(load.waiting.get(name, 0) for name in order[: order.index(job.tier) + 1])
        start = datetime.fromtimestamp(max(now_s(), job.created_ms / 1000) + wait_s, UTC)
        return {
            "position": ahead,
            "predicted_start": start.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


def result_keys(job: Job, policy: Policy) -> set[str]:
    """Where any attempt may have left a result: SageMaker writes one even for small answers."""
    return {
        output_key(job.model, version, job.id, attempt)
        for version in policy.models[job.model].versions
        for attempt in range(1, job.attempt + 1)
    }


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = "after is a next_cursor that an earlier list returned."
        raise invalid(message, param="after") from None


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_DEFAULT
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= PAGE_MAX:
        raise invalid(f"limit is 1 to {PAGE_MAX}.", param="limit")
    return int(text)


def _may_use(caller: Caller, model: str) -> bool:
    return caller.models is None or model in caller.models


def _tiers(caller: Caller, policy: Policy) -> list[str]:
    return [tier.name for tier in policy.tiers if caller.tiers is None or tier.name in caller.tiers]
