"""How a job's end was told: its delivery log, and telling it once more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.logs import logger
from lambdas.adapters.outbox import Outbox
from lambdas.domain.deliveries import log_view
from lambdas.domain.errors import conflict
from lambdas.domain.events import delivery_id, event_type
from lambdas.domain.job import Job
from lambdas.handlers.api import Request, Route, answer
from lambdas.handlers.rates import Rates
from lambdas.handlers.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """Tells of deliveries, and makes another one."""

    rates: Rates
    reading: Reading
    outbox: Outbox

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {
            "GET /v1/jobs/{id}/deliveries": self.get,
            "POST /v1/jobs/{id}/deliveries": self.post,
        }

    def get(self, request: Request) -> dict[str, Any]:
        """`GET /v1/jobs/{id}/deliveries`: every try that is kept, the first one first."""
        job = self.reading.find(request)
        data = log_view(job.deliveries or ())
        return answer(200, {"object": "list", **_what(job), "data": data})

    def post(self, request: Request) -> dict[str, Any]:
        """`POST /v1/jobs/{id}/deliveries`: tell the job's end again, under the same id.

        It counts as a submission: it makes us ask a host that somebody chose, up to 20 times.
        """
        job = self.reading.find(request)
        if job.webhook is None:
            raise conflict(
                "The job has no webhook; one is named when a job is submitted.",
                code="no_webhook",
                param="id",
            )
        if not job.status.terminal:
            raise conflict(
                f"The job is {job.status}; its end is told by itself.",
                code="job_unfinished",
                param="id",
            )
        self.rates.count(request.known_caller)
        self.outbox.announce(job)
        logger.info("told again", job_id=job.id)
        place = {"Location": request.path}
        return answer(202, {"object": "redelivery", **_what(job)}, place)


def _what(job: Job) -> dict[str, str | None]:
    """What is told of a job, and under which id; null before its end and without a webhook."""
    tells = job.webhook is not None and job.status.terminal
    return {
        "job": job.id,
        "event": event_type(job) if tells else None,
        "webhook_id": delivery_id(job) if tells else None,
    }
