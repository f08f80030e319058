"""OpenAI's routes that answer when the job is done, on a chain of redirects if that takes long.

Clients of OpenAI follow redirects and repeat requests by themselves, without an idempotency key.
So nothing that is answered once a job was taken makes them send their request anew: the job would
run twice. They find its id in every such answer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.logs import logger
from lambdas.domain.errors import ApiError, busy, invalid, not_found, unavailable
from lambdas.domain.job import CHAT, EMBEDDINGS, RESPONSES, Job, Status
from lambdas.domain.openai_answers import (
    completion,
    failure,
    job_of,
    public_id,
    response,
    unfinished,
)
from lambdas.domain.openai_requests import HOPS_MAX, ROUTES, read_body
from lambdas.domain.policy import Policy
from lambdas.domain.requests import read_idempotency_key
from lambdas.domain.views import job_reference
from lambdas.handlers.accepting import Accepting
from lambdas.handlers.api import Request, Route, answer, fits, told_of
from lambdas.handlers.reading import Reading
from lambdas.handlers.repeating import Repeating
from lambdas.handlers.waiting import Room, Waiting

NO_ROOM_S = 5
"""When to come back if as many clients wait as may: a wait takes up to 25 s."""
CLIENT_MARGIN_S = 2
"""Of a client's own patience, for the way to us and back."""
_CROWDS = {
    Room.NONE: ("clients", "no_room_to_wait"),
    Room.SHARE_USED: ("of your own requests", "waiting_limit"),
}
"""Who takes the room that a client does not find, and the error's code."""
KEPT = "true"
"""Of `kept`, in the address of a wait for a job that must not be taken back."""
_HOP = re.compile(r"[1-9][0-9]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """Takes jobs in OpenAI's words and answers with their results."""

    policy: Policy
    accepting: Accepting
    reading: Reading
    waiting: Waiting
    repeating: Repeating

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        table: dict[str, Route] = {}
        for api in (CHAT, EMBEDDINGS):
            table[f"POST {ROUTES[api]}"] = partial(self.post, api)
            table[f"GET {ROUTES[api]}/{{id}}"] = partial(self.get, api)
        return table

    def post(self, api: str, request: Request) -> dict[str, Any]:
        """Take a job and answer with its result."""
        job, repeatable = self.taken(api, request)
        try:
            job = self.reading.settled(job)
            if job.api == RESPONSES and job.background:
                return self.as_it_stands(job)
        except AWS_ERRORS as error:
            raise _lost_sight(job.id, error) from None
        return self.when_done(request, job, hop=0, repeatable=repeatable)

    def taken(self, api: str, request: Request) -> tuple[Job, bool]:
        """The job that a request makes, or made before, and whether the request may come again.

        A job that was there before may have another client that waits for it: it is not this
        one's to be taken back.
        """
        caller = request.known_caller
        key = read_idempotency_key(request.headers.get("idempotency-key"))
        submission = read_body(api, request.body, self.policy, caller)
        again = None
        if key is None:
            earlier, again = self.repeating.earlier(request, submission)
            if earlier is not None:
                return earlier, True
        job, replayed, _ = self.accepting.accept(
            caller, submission, key=key, trace_id=request.trace_id, again=again
        )
        return job, replayed or key is not None

    def as_it_stands(self, job: Job) -> dict[str, Any]:
        """A response whose end is not waited for."""
        if job.status is Status.COMPLETED:
            return self._result(job)
        return answer(200, response(job), told_of(job.id))

    def get(self, api: str, request: Request) -> dict[str, Any]:
        """Wait on, and answer with the result."""
        hop = request.query.get("hop", "1")
        if not _HOP.fullmatch(hop) or int(hop) > HOPS_MAX:
            raise invalid(f"hop is 1 to {HOPS_MAX}.", param="hop")
        kept = request.query.get("kept")
        if kept not in (None, KEPT):
            raise invalid(f"kept is {KEPT}, or is not there.", param="kept")
        public = str(request.parameters.get("id", ""))
        try:
            job = self.found(api, request)
        except AWS_ERRORS as error:
            raise _lost_sight(job_of(public, api), error) from None
        return self.when_done(request, job, hop=int(hop), repeatable=kept is not None)

    def found(self, api: str, request: Request) -> Job:
        """The caller's job behind one of OpenAI's ids.

        Raises:
            ApiError: 404; the same for an unknown id, an erased job and another tenant's.
        """
        job = self.reading.job_of(
            job_of(str(request.parameters.get("id", "")), api), request.known_caller
        )
        if job.api != api:
            raise not_found()
        return job

    def when_done(
        self, request: Request, job: Job, *, hop: int, repeatable: bool = False
    ) -> dict[str, Any]:
        """Wait for a job's end, here or by sending the client on.

        Args:
            request: Who waits.
            job: For what.
            hop: How often it was sent on.
            repeatable: Whether the same request gives the same job. The client is sent on with
                that: what it waits for may be another client's, too.
        """
        try:
            job, room = self.waiting.wait(request, job, self._wait_s(request))
            # Who waits to the end of a deadline is told so, and not that the job goes on.
            job = self.reading.settled(job)
            if job.status.terminal:
                return self._result(job)
        except AWS_ERRORS as error:
            raise _lost_sight(job.id, error) from None
        if room is not Room.WAITED:
            raise self._no_room(job, room, repeatable=repeatable)
        if hop >= HOPS_MAX:
            raise unfinished(job)
        path = request.path.rstrip("/")
        place = path if hop else f"{path}/{public_id(job)}"
        kept = f"&kept={KEPT}" if repeatable else ""
        return answer(
            303,
            job_reference(job),
            {"Location": f"{place}?hop={hop + 1}{kept}", "Retry-After": "0", **told_of(job.id)},
        )

    def _result(self, job: Job) -> dict[str, Any]:
        if job.status is Status.REFUSED and job.api == RESPONSES:
            return answer(200, response(job), told_of(job.id))
        if job.status is not Status.COMPLETED:
            raise failure(job)
        output = self.reading.output(job)
        link = output.link
        if link is None:
            told = response if job.api == RESPONSES else completion
            reply = answer(200, told(job, output.document), told_of(job.id))
            link = None if fits(reply) else self.reading.link(job)
            if link is None:
                return reply
        # Too large to pass through a function: the client fetches what the model wrote.
        return answer(303, job_reference(job), {"Location": link, **told_of(job.id)})

    def _wait_s(self, request: Request) -> int:
        """How long to wait from now on: no longer than the client, if it says how long it does."""
        try:
            patience_s = float(request.headers.get("x-stainless-read-timeout", "inf"))
        except ValueError:
            patience_s = float("inf")
        left_s = patience_s - CLIENT_MARGIN_S - (now_ms() - request.received_ms) / 1000
        return int(max(1, min(self.policy.wait_s_max, left_s)))

    def _no_room(self, job: Job, room: Room, *, repeatable: bool) -> ApiError:
        """As many clients wait as may, or as many of this tenant's.

        A job that nobody can wait for is taken back while it costs nothing, so that the client may
        come again with it.
        """
        who, code = _CROWDS[room]
        if repeatable:
            return unavailable(
                f"Too many {who} wait just now; the job goes on.",
                code=code,
                retry_after_s=NO_ROOM_S,
                job=job.id,
            )
        try:
            withdrawn = self.reading.endings.withdrawn(job, now_ms=now_ms())
        except AWS_ERRORS as error:
            return _lost_sight(job.id, error)
        if not withdrawn:
            return unfinished(job)
        return busy(f"Too many {who} wait just now.", code=code, retry_after_s=NO_ROOM_S)


def _lost_sight(job: str, error: Exception) -> ApiError:
    """A service did not answer once the job was there: it goes on, and must not run twice."""
    logger.error("a service did not answer", job_id=job, reason=reason(error))
    return unavailable(
        f"The answer could not be read; the job goes on: ask for it at /v1/jobs/{job}.",
        code="temporarily_unavailable",
        retry_after_s=NO_ROOM_S,
        should_retry=False,
        job=job or None,
    )
