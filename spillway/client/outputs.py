"""What a model answered: in the job, or behind a signed link that works for an hour."""

import json
from typing import Any, Final

import httpx

from spillway.client.calls import Calls
from spillway.client.errors import JobFailedError, JobUnfinishedError, UnavailableError
from spillway.client.flows import Flow
from spillway.client.views import Job
from spillway.client.wire import RETRIED, Answer, Send

OUTPUT_BYTES_MAX: Final = 256 * 2**20
"""A larger result is refused unless the caller allows it: it is held in memory twice."""
LINKS_MAX: Final = 2
"""A link that does not work any more is asked for again once."""


def output(calls: Calls, job: Job | str, *, zone: str | None, bytes_max: int) -> Flow[Any]:
    """What the model answered.

    Raises:
        JobFailedError: The job ended without a result.
        JobUnfinishedError: It has not ended.
        UnavailableError: The result is too large, is not JSON, or nobody gives it.
    """
    job = calls.handle(job, zone)
    told = job.done
    for _ in range(LINKS_MAX):
        if not told or not tells_all(job):
            job = yield from calls.job(job)
        _check(job)
        if job.output_url is None:
            return job.output
        found = yield from _fetched(calls, job.output_url, bytes_max)
        if found is not None:
            return _json(found)
        told = False
    raise UnavailableError(f"the result of {job.id} is not where its link leads", code="no_result")


def tells_all(job: Job) -> bool:
    """Whether a handle is more than an entry of a list, which has no result."""
    return not job.completed or job.output is not None or job.output_url is not None


def _check(job: Job) -> None:
    if job.completed:
        return
    if job.done:
        failure = job.error
        message = failure.message if failure else "there is no result"
        code = failure.code if failure else job.status
        error: JobFailedError | JobUnfinishedError = JobFailedError(
            f"{job.id} is {job.status}: {message}", code=code
        )
    else:
        error = JobUnfinishedError(f"{job.id} is {job.status}", code="unfinished")
    error.job = job
    raise error


def _fetched(calls: Calls, link: str, bytes_max: int) -> Flow[bytes | None]:
    """What lies behind a link, or None if nothing does any more.

    The link's host is another one than the API's: it gets no key.
    """
    retries = calls.retries
    until_s = calls.clock() + retries.timeout_s
    host = httpx.URL(link).host
    for attempt in range(1, retries.attempts_max + 1):
        heard = yield Send(
            method="GET",
            url=link,
            headers={},
            content=None,
            timeout_s=retries.request_timeout_s,
            connect_timeout_s=retries.connect_timeout_s,
            bytes_max=bytes_max,
        )
        if isinstance(heard, Answer) and heard.status not in RETRIED:
            if heard.status != httpx.codes.OK:
                return None
            if heard.whole:
                return heard.content
            raise UnavailableError(f"the result has more than {bytes_max} bytes", code="too_large")
        if calls.clock() >= until_s:
            break
        yield calls.pause(attempt, asked_s=0.0, until_s=until_s)
    raise UnavailableError(f"{host} did not give the result", code="no_result")


def _json(found: bytes) -> Any:
    try:
        return json.loads(found)
    except ValueError:
        raise UnavailableError("the result is not JSON", code="not_json") from None
