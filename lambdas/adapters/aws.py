"""What may go wrong on the way to AWS."""

from collections.abc import Callable, Mapping
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


def put_new(client: Any, *, table: str, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Put an item into a strongly consistent table, unless there is one of its key.

    Args:
        client: DynamoDB's.
        table: The table.
        item: With a `token` that no other write has.

    Returns:
        None when this call put it, also if only an earlier send of it arrived; else the item that
        was there before.
    """
    try:
        through_conflicts(
            client,
            client.put_item,
            TableName=table,
            Item=item,
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except client.exceptions.ConditionalCheckFailedException as refusal:
        existing: Mapping[str, Any] = refusal.response["Item"]
        return None if existing.get("token") == item["token"] else existing
    return None
