"""OpenAI's Responses: jobs that are waited for, and jobs in the background."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lambdas.domain.errors import invalid, not_found
from lambdas.domain.job import RESPONSES
from lambdas.domain.openai_answers import job_of
from lambdas.domain.openai_requests import ROUTES, STREAM
from lambdas.handlers.api import Request, Route, answer
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
        if request.query.get("stream", "false") != "false":
            raise invalid(f"stream is {STREAM}.", param="stream")
        if request.query.keys() & {"hop", "kept"}:
            return self.completions.get(RESPONSES, request)
        return self.completions.as_it_stands(self.completions.found(RESPONSES, request))

    def cancel(self, request: Request) -> dict[str, Any]:
        """`POST /v1/responses/{id}/cancel`; again: the same answer."""
        job = self.completions.found(RESPONSES, request)
        return self.completions.as_it_stands(self.reading.cancelled(job))

    def delete(self, request: Request) -> dict[str, Any]:
        """`DELETE /v1/responses/{id}`: input and answer are gone everywhere, and for good.

        Again: the same answer, because what was cut short is done by asking again.
        """
        public = str(request.parameters.get("id", ""))
        job = self.reading.own(job_of(public, RESPONSES), request.known_caller)
        if job.api != RESPONSES:
            raise not_found()
        self.reading.erased(job)
        return answer(200, {"id": public, "object": "response", "deleted": True})
