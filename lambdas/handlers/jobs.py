"""The routes of our own: `/v1/jobs`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.logs import logger
from lambdas.domain.job import Job
from lambdas.domain.policy import Policy
from lambdas.domain.requests import read_idempotency_key, read_submission
from lambdas.domain.views import job_reference, job_view
from lambdas.handlers.accepting import Accepting
from lambdas.handlers.api import Request, Route, answer
from lambdas.handlers.reading import Reading
from lambdas.handlers.waiting import Room, Waiting

NO_ROOM_S = "1"
"""When to look again if as many clients wait as may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Takes jobs and tells of them, as they are."""

    policy: Policy
    accepting: Accepting
    reading: Reading
    waiting: Waiting

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {
            "POST /v1/jobs": self.post,
            "GET /v1/jobs": self.reading.list_jobs,
            "GET /v1/jobs/{id}": self.get,
            "DELETE /v1/jobs/{id}": self.reading.erase,
            "POST /v1/jobs/{id}/cancel": self.reading.cancel,
        }

    def post(self, request: Request) -> dict[str, Any]:
        """`POST /v1/jobs`."""
        wait_s, caller = self.waiting.wished_s(request), request.known_caller
        job, replayed, snapshot = self.accepting.accept(
            caller,
            read_submission(request.body, self.policy, caller),
            key=read_idempotency_key(request.headers.get("idempotency-key")),
            trace_id=request.trace_id,
        )
        headers = {"Location": f"{request.path.rstrip('/')}/{job.id}"}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        try:
            job = self.reading.settled(job) if replayed else job
            job, room = self.waiting.wait(request, job, wait_s)
            waited = room is Room.WAITED
            if job.status.terminal and (waited or replayed):
                return answer(200, self.reading.view(job), headers)
            if waited:
                return _wait_on(job, headers.pop("Location"), wait_s, headers)
            if wait_s:
                headers["Retry-After"] = NO_ROOM_S
            return answer(202, self.reading.view(job, snapshot), headers)
        except AWS_ERRORS as error:
            # It is taken: told of a fault, a client without a key would make another one.
            logger.error("a job is not told whole", job_id=job.id, reason=reason(error))
            return answer(202, job_view(job), headers)

    def get(self, request: Request) -> dict[str, Any]:
        """`GET /v1/jobs/{id}`."""
        wait_s = self.waiting.wished_s(request)
        job = self.reading.find(request)
        if wait_s and not job.status.terminal:
            job, room = self.waiting.wait(request, job, wait_s)
            waited = room is Room.WAITED
            if waited and not job.status.terminal:
                return _wait_on(job, request.path, wait_s, {})
            if not waited:
                return answer(202, self.reading.view(job), {"Retry-After": NO_ROOM_S})
        return answer(200, self.reading.view(job))


def _wait_on(job: Job, path: str, wait_s: int, headers: dict[str, str]) -> dict[str, Any]:
    """Send the client to a GET that waits on; ordinary clients follow, keeping their key."""
    return answer(
        303,
        job_reference(job),
        {"Location": f"{path}?wait={wait_s}", "Retry-After": "0", **headers},
    )
