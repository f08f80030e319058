"""What fields of the configuration are made of: closed sections, checked words, problems."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

WORDS: dict[str, str] = {}
"""What an error message says instead of a pattern."""


def text(pattern: str, allowed: str, length_max: int = 2048) -> Any:
    """A pattern, and what an error message says instead of it."""
    WORDS[pattern] = allowed
    return Field(pattern=pattern, max_length=length_max, description=allowed)


def listed(names: Iterable[str]) -> str:
    """Names in one line, in the order of the alphabet."""
    return ", ".join(sorted(names))


Slug = Annotated[
    str,
    text(
        r"^[a-z](-?[a-z0-9])*$",
        "lower-case letters, digits and single hyphens, beginning with a letter, like embedder",
        20,
    ),
]
Region = Annotated[
    str,
    text(
        r"^(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d$",
        "a region of the aws partition, like us-east-1",
    ),
]
EnvironmentName = Annotated[
    str, text(r"^[A-Z_][A-Z0-9_]*$", "upper-case letters, digits and underscores", 1024)
]
SecretArn = Annotated[
    str,
    text(
        r"^arn:aws:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+$",
        "the ARN of a secret, arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME",
    ),
]


class Strict(BaseModel):
    """Frozen and closed: a typing error in a field name is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def problem(field: str, allowed: str, given: object = None) -> PydanticCustomError:
    """An error in one field that only shows beside others."""
    return PydanticCustomError(
        "problem", "{allowed}", {"field": field, "allowed": allowed, "given": given}
    )
