"""A resource of a deployed stack, as the twin's services receive it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource with its intrinsic functions resolved.

    Args:
        type: CloudFormation type, such as `AWS::Lambda::Function`.
        logical_id: Its name in the template.
        physical_id: What `Ref` gives: the name property when the template sets it, otherwise
            `{stack}-{logical id}`. A service may give another one.
        region: Where its stack is.
        account: Twelve digits.
        stack: Name of its stack.
        properties: As in the template, intrinsic functions resolved.
        attributes: What `Fn::GetAtt` gives; filled in by the service.
        asset: Directory of the code asset that a function names; None for other types.
    """

    type: str
    logical_id: str
    physical_id: str
    region: str
    account: str
    stack: str
    properties: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)
    asset: Path | None = None


Deploy = Callable[[Resource], Resource | None]
"""A service's entry point for one type, called in the template's dependency order.

It creates the resource and returns it with the physical id and attributes that templates may
refer to (`dataclasses.replace`), or None when the ones it was given will do. It raises
`ValueError` with a sentence when AWS would refuse the properties; the deployment adds type, stack
and logical id.
"""


class UnsupportedError(RuntimeError):
    """A template asks for what the twin cannot run; the message names type, property and place."""
