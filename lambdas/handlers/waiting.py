"""Waiting for a job's end on behalf of a client."""

from collections.abc import Callable
from dataclasses import dataclass

from lambdas.adapters.functions import Functions
from lambdas.adapters.ledger import Ledger
from lambdas.domain.job import Job
from lambdas.domain.policy import Policy
from lambdas.domain.requests import read_wait_s
from lambdas.handlers.api import Request


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

    def wait(self, job: Job, wait_s: int) -> tuple[Job, bool]:
        """Wait for so many seconds at most; the job after it, and whether there was room to."""
        if (
            not wait_s
            or job.status.terminal
            or not self.functions().wait(job=job.id, seconds=wait_s)
        ):
            return job, False
        return self.ledger.get(job.id) or job, True
