"""Requests that a client's library repeats by itself, after it lost sight of the first one.

OpenAI's clients send no idempotency key, but say how often they have repeated a request. What the
first one made is looked for then: what was sent once should work once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from lambdas.adapters.clock import now_ms
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.domain.job import Job, Status
from lambdas.domain.requests import Submission
from lambdas.handlers.api import Request

Found = TypeVar("Found")

REPEATED_MS_MAX = 900_000
"""OpenAI's clients wait ten minutes for an answer, and somewhat before they ask again."""
LOOKED_AT_MAX = 2000
"""Of the tenant's latest jobs of a day, by what the index tells of them: some 30 read units."""
PAUSES_S = (1.0, 2.0)
"""Before it is looked again for what was not found: the index follows the table within about a
second, and OpenAI's clients repeat a request after less than half of one."""
LATE_MS_MAX = 30_000
"""What is older was in the index when it was first looked at: nobody looks for it again."""

FAILED_MS_MAX = 30_000
"""A client that lost a failure on its way repeats within seconds; who was told of it, and asks
again, wants another try."""
ALIKE_MAX = 10
"""Jobs of the same content that are read: most of them may have been taken back."""


def is_repeated(request: Request) -> bool:
    """Whether the client's library says that it sends the request anew."""
    repeated = request.headers.get("x-stainless-retry-count", "0")
    return repeated.isdecimal() and bool(repeated.strip("0"))


def looked_again(
    look: Callable[[int], Found | None], sleep: Callable[[float], None]
) -> Found | None:
    """Look for what an index may not tell of yet, until something is there or time is up.

    Args:
        look: Finds what was made since a time, in milliseconds; nothing is None, or empty.
        sleep: Lets that many seconds pass.
    """
    since_ms = now_ms() - LATE_MS_MAX
    for pause_s in PAUSES_S:
        sleep(pause_s)
        if found := look(since_ms):
            return found
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeating:
    """Finds the job of a repeated request.

    Attributes:
        ledger: Where it is.
        sleep: Lets that many seconds pass.
    """

    ledger: Ledger
    sleep: Callable[[float], None]

    def earlier(
        self, request: Request, submission: Submission
    ) -> tuple[Job | None, Callable[[], Job | None] | None]:
        """The job that an earlier sending of this request made, as far as that can be told.

        Several jobs of the same content are nobody's: who sends the same request many times, for
        many different answers, gets as many.

        Returns:
            The job, or else, if there may be one that is not listed yet, what waits a little and
            looks again.
        """
        if not is_repeated(request):
            return None, None
        tenant, digest = request.known_caller.tenant, submission.digest
        alike = self._alike(tenant, digest, now_ms() - REPEATED_MS_MAX)
        if alike:
            return _only(alike), None

        def again() -> Job | None:
            found = looked_again(partial(self._alike, tenant, digest), self.sleep)
            return _only(found or ())

        return None, again

    def _alike(self, tenant: str, digest: bytes, since_ms: int) -> list[Job]:
        """A tenant's jobs of the same content, but for those that answer nobody any more.

        Of more than `ALIKE_MAX` only the first are read: they are nobody's anyway.
        """
        at_ms = now_ms()
        # Two around midnight: jobs are listed by day.
        days = dict.fromkeys(_day(moment_ms) for moment_ms in (at_ms, since_ms))
        listed = [
            job_id
            for day in days
            for job_id, _ in self.ledger.jobs_of(
                tenant, day, limit=LOOKED_AT_MAX, since_ms=since_ms, digest=digest
            )
        ]
        if len(listed) > ALIKE_MAX:
            return list(self.ledger.get_many(listed[:2]).values())
        return [
            job
            for job in self.ledger.get_many(listed).values()
            if not job.erased and job.status is not Status.CANCELLED and not _told(job, at_ms)
        ]


def _only(alike: Sequence[Job]) -> Job | None:
    if len(alike) != 1:
        return None
    logger.info("repeated by its client", job_id=alike[0].id)
    return alike[0]


def _told(job: Job, at_ms: int) -> bool:
    """Whether a job failed so long ago that its client knows, and tries anew."""
    failed = job.status.terminal and job.status is not Status.COMPLETED
    return failed and at_ms - (job.finished_ms or at_ms) > FAILED_MS_MAX


def _day(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).date().isoformat()
