"""OpenAI's Responses: jobs that are waited for, and jobs in the background."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lambdas.domain.job import RESPONSES, Job, Status
from lambdas.domain.openai_answers import response
from lambdas.domain.openai_requests import ROUTES
from lambdas.domain.views import job_reference
from lambdas.handlers.api import Request, Route, answer, told_of
from lambdas.handlers.completions import Completions
from lambdas.handlers.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """Tells of jobs as responses."""

    completions: Completions
    reading: Reading

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        route = ROUTES[RESPONSES]
        return {
            f"POST {route}": partial(self.completions.post, RESPONSES),
            f"GET {route}/{{id}}": self.get,
            f"POST {route}/{{id}}/cancel": self.cancel,
            f"DELETE {route}/{{id}}": self.delete,
        }

    def get(self, request: Request) -> dict[str, Any]:
        """`GET /v1/responses/{id}`: as it stands, or for who was sent on to wait, its end."""
        if "hop" in request.query:
            return self.completions.get(RESPONSES, request)
        return self._told(self.completions.found(RESPONSES, request))

    def cancel(self, request: Request) -> dict[str, Any]:
        """`POST /v1/responses/{id}/cancel`; again: the same answer."""
        return self._told(self.reading.cancelled(self.completions.found(RESPONSES, request)))

    def delete(self, request: Request) -> dict[str, Any]:
        """`DELETE /v1/responses/{id}`: input and answer are gone everywhere, and for good."""
        job = self.completions.found(RESPONSES, request)
        self.reading.erased(job)
        return answer(200, {"id": request.parameters["id"], "object": "response", "deleted": True})

    def _told(self, job: Job) -> dict[str, Any]:
        if job.status is not Status.COMPLETED:
            return answer(200, response(job), told_of(job.id))
        output = self.reading.output(job)
        if output.link is not None:
            return answer(303, job_reference(job), {"Location": output.link, **told_of(job.id)})
        return answer(200, response(job, output.document), told_of(job.id))
