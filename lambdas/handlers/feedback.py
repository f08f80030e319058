"""`POST /v1/jobs/{id}/feedback`: what a user says of an answer, kept with its job."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lambdas.adapters.clock import now_ms
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.domain import feedback, metrics
from lambdas.domain.access import JOBS_READ
from lambdas.domain.errors import conflict, not_found
from lambdas.domain.feedback import FeedbackRequest
from lambdas.domain.job import Job
from lambdas.domain.views import moment
from lambdas.handlers.api import Request, Route, answer
from lambdas.handlers.endings import Endings
from lambdas.handlers.rates import Rates
from lambdas.handlers.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """Keeps what users say, and counts it for the version that answered."""

    endings: Endings
    reading: Reading
    metrics: Metrics
    rates: Rates

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {"POST /v1/jobs/{id}/feedback": self.take}

    def take(self, request: Request) -> dict[str, Any]:
        """Keep feedback; the last one wins.

        Raises:
            ApiError: 400 or 413 for the body, 404 for a job that is not the caller's or was
                erased, 409 for one that has not ended, 429 above the tenant's rate.
        """
        said = feedback.read_feedback(request.body)
        job = self.reading.find(request)
        if not job.status.terminal:
            raise conflict(
                f"The job is {job.status.value}; feedback is for one that has ended.",
                code="job_unfinished",
                param="id",
            )
        self.rates.count(request.known_caller)
        at_ms = now_ms()
        after = feedback.kept(said, at=moment(at_ms))
        before = self.endings.ledger.keep_feedback(job.id, tenant=job.tenant, document=after)
        if before is None:
            raise not_found()  # erased meanwhile
        self._count(before, said, after, at_ms)
        logger.info("feedback", job_id=job.id, model=job.model, version=job.version)
        # A key that may not read jobs may judge them, and gets no answer to see by that.
        reads = request.known_caller.has_scope(JOBS_READ)
        view = self.reading.view(replace(before, feedback=after), with_output=reads)
        return answer(200, view | {"feedback": json.loads(after)})

    def _count(self, before: Job, said: FeedbackRequest, after: str, at_ms: int) -> None:
        """Count it on the day on which the job ended, where the job itself was counted."""
        changes = feedback.counted(before, before.feedback, after)
        self.endings.usage.add(before, changes, at_ms=before.finished_ms or at_ms)
        if before.version is None:
            return  # nobody answered: there is no version that it could be about
        told = []
        if said.rating is not None:
            told.append((metrics.RATING, float(said.rating)))
        if said.correction is not None:
            told.append((metrics.CORRECTIONS, 1.0))
        if told:
            at = {"Model": before.model, "Version": before.version}
            self.metrics.publish(at, told, at_ms=at_ms)
