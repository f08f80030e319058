"""Waiting for a job's end on behalf of a client.

Most waits are in the open places, those of the function `wait`: first come, first served, and
counted by nobody but Lambda. Only a client that finds them taken is given one of the places that
are kept, those of `linger`, of which each tenant holds a few at most. So a tenant that takes all
open places, and these few, leaves the others room to wait; and while places are open, nobody pays
for the counting.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.functions import Functions, Waited
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.domain.job import Job
from lambdas.domain.places import first_place, free_place
from lambdas.domain.policy import Policy
from lambdas.domain.requests import read_wait_s
from lambdas.handlers.api import Request

ANSWERED_S_MAX = 27
"""From a request's arrival to the end of its wait: API Gateway gives up after 29 s."""
PLACE_MARGIN_S = 3
"""For which a kept place is held longer than its wait lasts: the last look and the way back take
their time. Whoever dies without leaving it holds it no longer than that."""
PLACE_TRIES_MAX = 3
"""Of taking one, if others of the tenant take theirs at the same time."""


class Room(Enum):
    """Whether there was room to wait.

    `WAITED`: there was. `NONE`: there was not, or nothing to wait for. `SHARE_USED`: there is, but
    not for this tenant, whose share of the places is taken.
    """

    WAITED = "waited"
    NONE = "none"
    SHARE_USED = "share used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Waits in the functions that are there for it.

    Attributes:
        policy: Bounds a wait, and a tenant's share of the kept places.
        ledger: Says how it ended.
        gate: Knows who holds which of the kept places.
        functions: Makes the client of this region's functions: most requests do not wait.
    """

    policy: Policy
    ledger: Ledger
    gate: Gate
    functions: Callable[[], Functions]

    def wished_s(self, request: Request) -> int:
        """How long a client wants to wait.

        Raises:
            ApiError: It is not a whole number of seconds.
        """
        return read_wait_s(
            request.headers.get("prefer"), request.query.get("wait"), self.policy.wait_s_max
        )

    def wait(self, request: Request, job: Job, wait_s: int) -> tuple[Job, Room]:
        """Wait for so many seconds at most; the job after it, and whether there was room to.

        What the request took until now is taken off: API Gateway would answer it with an error of
        its own, which does not name the job.
        """
        if not wait_s or job.status.terminal:
            return job, Room.NONE
        waited, room = self._wait(request, job, wait_s, "wait"), Room.NONE
        if waited is Waited.FULL:
            waited, room = self._linger(request, job, wait_s)
        if waited is not Waited.DONE:
            return job, room
        return self.ledger.get(job.id) or job, Room.WAITED

    def _wait(self, request: Request, job: Job, wait_s: int, function: str) -> Waited:
        until_ms = _until_ms(request, wait_s)
        return self.functions().wait(job=job.id, until_ms=until_ms, function=function)

    def _linger(self, request: Request, job: Job, wait_s: int) -> tuple[Waited, Room]:
        """Wait in one of the places that are kept."""
        who = secrets.token_hex(6)
        until_ms = _until_ms(request, wait_s) + 1000 * PLACE_MARGIN_S
        try:
            place = self._place(job, who, until_ms)
        except AWS_ERRORS as error:
            logger.warning("no place is kept", job_id=job.id, reason=reason(error))
            return Waited.FAILED, Room.NONE
        if place is None:
            logger.info("share of places used", job_id=job.id, tenant=job.tenant)
            return Waited.FULL, Room.SHARE_USED
        waited = self._wait(request, job, wait_s, "linger")
        try:
            self.gate.leave_place(job.tenant, place, who=who)
        except AWS_ERRORS as error:
            logger.warning("place not left", job_id=job.id, reason=reason(error))
        return waited, Room.NONE

    def _place(self, job: Job, who: str, until_ms: int) -> int | None:
        """Hold one of the tenant's kept places; None if it holds all of them already."""
        places = self.policy.places_kept
        first = first_place(job.id, places)
        place: int | None = first
        for _ in range(PLACE_TRIES_MAX):
            if place is None:
                break
            at_ms = now_ms()
            held = self.gate.take_place(job.tenant, place, who=who, until_ms=until_ms, now_ms=at_ms)
            if held is None:
                return place
            place = free_place(held, first=first, places=places, now_ms=at_ms)
        return None


def _until_ms(request: Request, wait_s: int) -> int:
    """When a wait that begins now ends: after a second at least, or it would go in circles.

    A time and not a length: the function that waits may have to start first.
    """
    at_ms, gateway_ms = now_ms(), request.received_ms + 1000 * ANSWERED_S_MAX
    return max(at_ms + 1000, min(at_ms + 1000 * wait_s, gateway_ms))
