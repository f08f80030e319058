"""Cursors of lists: opaque to clients, bound to their tenant."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import date

from lambdas.domain.errors import ApiError, invalid
from lambdas.domain.job import is_job_id

CREATED_MS_LIMIT = 2**53
"""Larger numbers do not survive clients that read JSON as doubles."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last job of a page.

    Attributes:
        day: Its day, `YYYY-MM-DD` in UTC.
        created_ms: When it was created.
        job: Its id; empty at the start of a day.
    """

    day: str
    created_ms: int
    job: str


def write_cursor(cursor: Cursor, tenant: str) -> str:
    """The text that a client sends back to go on."""
    document = [cursor.day, cursor.created_ms, cursor.job, _seal(cursor, tenant)]
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def read_cursor(text: str, tenant: str) -> Cursor:
    """Read a cursor back.

    The seal protects from mistakes; it is no secret. A list is always the caller's own, whatever
    its cursor says, so a forged one shows nothing that its forger may not see.

    Raises:
        ApiError: It is not a cursor that this tenant was given.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        day, created_ms, job, seal = json.loads(base64.urlsafe_b64decode(padded))
        cursor = Cursor(date.fromisoformat(day).isoformat(), created_ms, job)
    except (ValueError, TypeError, RecursionError):
        raise _refusal() from None
    in_range = type(created_ms) is int and 0 <= created_ms < CREATED_MS_LIMIT
    if not in_range or not _place(job) or seal != _seal(cursor, tenant):
        raise _refusal()
    return cursor


def _place(job: object) -> bool:
    """Whether it is a job's id, or empty: the start of a day."""
    return isinstance(job, str) and (not job or is_job_id(job))


def _refusal() -> ApiError:
    return invalid("after is a next_cursor that an earlier list returned.", param="after")


def _seal(cursor: Cursor, tenant: str) -> str:
    parts = ["cursor", tenant, cursor.day, str(cursor.created_ms), cursor.job]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
