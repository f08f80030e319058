"""What a key may do: its scopes, the routes that need them, and until when it holds."""

from typing import Final

from lambdas.domain.admission import Caller
from lambdas.domain.errors import forbidden, unauthorized

JOBS_WRITE: Final = "jobs:write"
JOBS_READ: Final = "jobs:read"
USAGE_READ: Final = "usage:read"
SCOPES: Final = {
    JOBS_WRITE: "submit, cancel, erase, judge; upload files, make batches",
    JOBS_READ: "read and list jobs, files and batches, and fetch results",
    USAGE_READ: "read what the tenant used",
}
"""All there are, by name; a key without any may do all of it."""
LIVE_KEYS_MAX: Final = 2
"""Keys of one name that open something at a time: the old one and the new one, while an
application is changed over. A third would be one that nobody knows the use of."""

_ANY_SCOPE = frozenset({"GET /v1/models", "GET /v1/models/{id}", "GET /v1/capacity"})
"""What a client asks before it asks for anything: the answer holds nothing of anybody's jobs."""


def scope_needed(route: str) -> str | None:
    """The scope that a route needs.

    By rule and not by list, so that a route which is added later is never open by oversight:
    whatever is not known to read, writes.

    Args:
        route: Method and resource, like `GET /v1/jobs/{id}`.

    Returns:
        A name of `SCOPES`, or None where any key is let in.
    """
    method, _, path = route.partition(" ")
    if route in _ANY_SCOPE:
        return None
    if path.startswith("/v1/usage"):
        return USAGE_READ
    return JOBS_READ if method in {"GET", "HEAD"} else JOBS_WRITE


def check_access(caller: Caller, route: str, *, now_ms: int) -> None:
    """Whether a key that the authorizer let in still holds, and may use a route.

    API Gateway keeps the authorizer's answer for a minute, so an expiry is looked at here again.

    Args:
        caller: As the authorizer found.
        route: Method and resource.
        now_ms: This region's time.

    Raises:
        ApiError: 401 as for an unknown key, or 403 naming the scope that is needed.
    """
    if caller.expires_ms is not None and caller.expires_ms <= now_ms:
        raise unauthorized()
    needed = scope_needed(route)
    if needed is None or caller.has_scope(needed):
        return
    raise forbidden(
        f"This needs a key with the scope {needed}.", param="Authorization", code="scope_missing"
    )


def narrowed(tenant: frozenset[str] | None, key: frozenset[str] | None) -> frozenset[str] | None:
    """What both a tenant and its key allow; None is all."""
    if tenant is None or key is None:
        return key if tenant is None else tenant
    return tenant & key
