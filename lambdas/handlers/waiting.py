"""Waiting for a job's end on behalf of a client."""

from collections.abc import Callable
from dataclasses import dataclass

from lambdas.adapters.clock import now_ms
from lambdas.adapters.functions import Functions
from lambdas.adapters.ledger import Ledger
from lambdas.domain.job import Job
from lambdas.domain.policy import Policy
from lambdas.domain.requests import read_wait_s
from lambdas.handlers.api import Request

ANSWERED_S_MAX = 27
"""From a request's arrival to the end of its wait: API Gateway gives up after 29 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Waits in the function that is there for it.

    Attributes:
        policy: Bounds a wait.
        ledger: Says how it ended.
        functions: Makes the client of this region's functions: most requests do not wait.
    """

    policy: Policy
    ledger: Ledger
    functions: Callable[[], Functions]

    def wished_s(self, request: Request) -> int:
        """How long a client wants to wait.

        Raises:
            ApiError: It is not a whole number of seconds.
        """
        return read_wait_s(
            request.headers.get("prefer"), request.query.get("wait"), self.policy.wait_s_max
        )

    def wait(self, request: Request, job: Job, wait_s: int) -> tuple[Job, bool]:
        """Wait for so many seconds at most; the job after it, and whether there was room to.

        What the request took until now is taken off: API Gateway would answer it with an error of
        its own, which does not name the job.
        """
        if not wait_s or job.status.terminal:
            return job, False
        left_s = ANSWERED_S_MAX - (now_ms() - request.received_ms) // 1000
        # At least a second, or a client would be sent around in circles.
        if not self.functions().wait(job=job.id, seconds=max(1, min(wait_s, left_s))):
            return job, False
        return self.ledger.get(job.id) or job, True
