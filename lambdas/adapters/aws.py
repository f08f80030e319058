"""What may go wrong on the way to AWS."""

from botocore.exceptions import BotoCoreError, ClientError

AWS_ERRORS = (ClientError, BotoCoreError)
"""A refusal by a service, or no answer from it."""


def reason(error: Exception) -> str:
    """The error's code, or its kind: what may stand in a log. Messages may quote payloads."""
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__
