"""Requests that a client's library repeats by itself, after it lost sight of the first one.

OpenAI's clients send no idempotency key, but say how often they have repeated a request. The job
of the first one is looked for then: what was sent once should work once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from lambdas.adapters.clock import now_ms
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.domain.job import Job, Status
from lambdas.domain.requests import Submission
from lambdas.handlers.api import Request

REPEATED_MS_MAX = 900_000
"""OpenAI's clients wait ten minutes for an answer, and somewhat before they ask again."""
LOOKED_AT_MAX = 2000
"""Of the tenant's latest jobs of a day, by what the index tells of them: some 30 read units."""

FAILED_MS_MAX = 30_000
"""A client that lost a failure on its way repeats within seconds; who was told of it, and asks
again, wants another try."""
ALIKE_MAX = 10
"""Jobs of the same content that are read: most of them may have been taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeating:
    """Finds the job of a repeated request."""

    ledger: Ledger

    def earlier(self, request: Request, submission: Submission) -> Job | None:
        """The job that an earlier sending of this request made, as far as that can be told.

        Several jobs of the same content are nobody's: who sends the same request many times, for
        many different answers, gets as many.
        """
        repeated = request.headers.get("x-stainless-retry-count", "0")
        if not repeated.isdecimal() or not repeated.strip("0"):
            return None
        tenant, at_ms = request.known_caller.tenant, now_ms()
        # Two around midnight: jobs are listed by day.
        days = dict.fromkeys(_day(moment_ms) for moment_ms in (at_ms, at_ms - REPEATED_MS_MAX))
        alike = [
            each
            for day in days
            for each in self.ledger.jobs_of(
                tenant, day, limit=LOOKED_AT_MAX, digest=submission.digest
            )
        ]
        recent = [job_id for job_id, made_ms in alike if at_ms - made_ms <= REPEATED_MS_MAX]
        if len(recent) > ALIKE_MAX:
            return None
        same = [
            job
            for job in self.ledger.get_many(recent).values()
            if not job.erased and job.status is not Status.CANCELLED and not _told(job, at_ms)
        ]
        if len(same) != 1:
            return None
        logger.info("repeated by its client", job_id=same[0].id)
        return same[0]


def _told(job: Job, at_ms: int) -> bool:
    """Whether a job failed so long ago that its client knows, and tries anew."""
    failed = job.status.terminal and job.status is not Status.COMPLETED
    return failed and at_ms - (job.finished_ms or at_ms) > FAILED_MS_MAX


def _day(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).date().isoformat()
