"""Which of a job's metadata is kept: a tenant's rules, applied before anything is written."""

from collections.abc import Mapping
from typing import Final

MASKED: Final = "***"
DROP: Final = "drop"
MASK: Final = "mask"
RULES_MAX: Final = 32
"""They travel with every request, in what API Gateway keeps of the authorizer."""
NAME_LENGTH_MAX: Final = 64
"""Of a field of metadata: longer ones are refused anyway."""


def masked(metadata: Mapping[str, str] | None, rules: Mapping[str, str]) -> dict[str, str] | None:
    """What is kept of a job's metadata.

    Args:
        metadata: As the client sent it.
        rules: `drop` or `mask` by the exact name of a field. Anything else drops it too: a rule
            that a later release wrote must not let through what it was made to hold back.

    Returns:
        What is left of it, in the client's order.
    """
    if metadata is None:
        return None
    return {
        name: MASKED if rules.get(name) == MASK else value
        for name, value in metadata.items()
        if rules.get(name, MASK) == MASK
    }
