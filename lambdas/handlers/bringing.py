"""Uploads that are not in the region of their job: where they are, and bringing one here.

Replication was behind when the region of an upload was lost, or this one when it came.
"""

import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms
from lambdas.adapters.gate import Gate
from lambdas.adapters.logs import logger
from lambdas.adapters.queues import Ticket
from lambdas.adapters.uploads import UploadBuckets

BRINGING_MS_MIN = 30_000
"""To bring an upload takes the 26 s of a copy at most (`LARGE_COPIES`), and a bell."""


class ElsewhereError(Exception):
    """An uploaded input is not in this region.

    Attributes:
        source: A bucket that has it; None if it is gone.
    """

    def __init__(self, source: str | None) -> None:
        super().__init__(source)
        self.source = source


class Brought(Enum):
    """What became of bringing an upload.

    `HERE`: it is here now. `BESIDE`: another dispatcher is bringing one. `NOT`: nobody knows.
    """

    HERE = "here"
    BESIDE = "beside"
    NOT = "not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An upload that has to be brought, and the message of its job."""

    key: str
    source: str
    ticket: Ticket


@dataclass(slots=True)
class Away:
    """What a run met of uploads that are not here.

    Attributes:
        missing: The one that it brings in the end.
        silent: Regions that gave no answer: no round has the time for ten time-outs.
    """

    missing: Missing | None = None
    silent: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bringing:
    """Finds uploads, and brings one at a time into a region.

    Attributes:
        gate: Knows whether another dispatcher does: all of them at it would leave nobody for jobs
            that can begin.
        uploads: Where they are.
    """

    gate: Gate
    uploads: UploadBuckets

    def location(self, key: str, *, home: str, silent: set[str]) -> str:
        """The address of an upload in this region; arguments as of `UploadBuckets.source`.

        Raises:
            ElsewhereError: It is not here.
            botocore.exceptions.BotoCoreError: Who may have it does not answer.
        """
        location = self.uploads.location(key, home=home)
        if location is None:
            raise ElsewhereError(self.uploads.source(key, home=home, silent=silent))
        return location

    def bring(self, missing: Missing) -> Brought:
        """Copy an upload here; who dies of it keeps others from theirs for `BRINGING_MS_MIN`."""
        who, at_ms = uuid.uuid4().hex[:12], now_ms()
        try:
            until_ms = at_ms + BRINGING_MS_MIN
            if not self.gate.take_bringing(who=who, until_ms=until_ms, now_ms=at_ms):
                return Brought.BESIDE
            self.uploads.bring(missing.key, source=missing.source)
            brought = Brought.HERE
            logger.info("upload brought", job_id=missing.ticket.job)
        except AWS_ERRORS as error:
            brought = Brought.NOT
            logger.warning("upload not brought", job_id=missing.ticket.job, reason=reason(error))
        with suppress(*AWS_ERRORS):  # else it ends by itself
            self.gate.leave_bringing(who=who)
        return brought
