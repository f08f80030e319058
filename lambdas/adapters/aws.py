"""What may go wrong on the way to AWS."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

CONFLICTS_MAX = 4
"""How often a write is begun again that met another region's; the SDK sends each three times within
some 75 ms, about as long as three writes to one item take."""

AWS_ERRORS = (ClientError, BotoCoreError)
"""A refusal by a service, or no answer from it."""


def reason(error: Exception) -> str:
    """The error's code, or its kind: what may stand in a log. Messages may quote payloads."""
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__


def through_conflicts(client: Any, write: Callable[..., Any], **request: Any) -> Any:
    """Write to a strongly consistent table, again while another region writes to the item.

    Such a refusal says that nothing was written, and what is written next decides by conditions.
    """
    for _ in range(CONFLICTS_MAX):
        with suppress(client.exceptions.ReplicatedWriteConflictException):
            return write(**request)
    return write(**request)
