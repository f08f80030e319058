"""Cursors of lists: opaque to clients, bound to their tenant."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from lambdas.domain.errors import invalid


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last job of a page.

    Attributes:
        day: Its day, `YYYY-MM-DD` in UTC.
        created_ms: When it was created.
        job: Its id.
    """

    day: str
    created_ms: int
    job: str


def write_cursor(cursor: Cursor, tenant: str) -> str:
    """The text that a client sends back to go on."""
    document = [cursor.day, cursor.created_ms, cursor.job, _bond(tenant)]
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def read_cursor(text: str, tenant: str) -> Cursor:
    """Read a cursor back.

    The tenant in it protects from mistakes only: a list is always the caller's own, whatever
    its cursor says.

    Raises:
        ApiError: It is not a cursor of this tenant.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        day, created_ms, job, bond = json.loads(base64.urlsafe_b64decode(padded))
        if not (
            isinstance(created_ms, int)
            and isinstance(day, str)
            and len(day) == len("2026-01-01")
            and isinstance(job, str)
            and bond == _bond(tenant)
        ):
            raise ValueError(text)  # noqa: TRY301 one answer to everything that is wrong with it
    except (ValueError, TypeError, binascii.Error, RecursionError):
        message = "after is a next_cursor that an earlier list returned."
        raise invalid(message, param="after") from None
    return Cursor(day, created_ms, job)


def _bond(tenant: str) -> str:
    return hashlib.sha256(f"cursor\0{tenant}".encode()).hexdigest()[:12]
