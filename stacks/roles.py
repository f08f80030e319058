"""Roles made of grants: what may be done to what, and why where a wildcard stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.acknowledgement import acknowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Something that a role may do.

    Attributes:
        actions: Without wildcards.
        resources: Addresses; a wildcard stands only where names are made later.
        why: Why a resource has a wildcard; required then.
        conditions: Further conditions, as IAM writes them.
    """

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    why: str = ""
    conditions: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse wildcards that nobody explained."""
        if any("*" in action for action in self.actions):
            raise ValueError(f"name the actions: {self.actions}")
        if self.wildcards and not self.why:
            raise ValueError(f"say why a wildcard is needed: {self.resources}")

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The resources that are not one resource."""
        return tuple(resource for resource in self.resources if "*" in resource)

    def statement(self) -> dict[str, object]:
        """The grant as IAM writes it."""
        statement: dict[str, object] = {
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        return statement | ({"Condition": dict(self.conditions)} if self.conditions else {})


def role_of(
    scope: Construct, construct_id: str, *, service: str, grants: Iterable[Grant]
) -> iam.Role:
    """
    A role that a service assumes, with exactly the grants.

    The policy is part of the role, so whatever uses the role never starts without its rights.

    Args:
        scope: Where the role belongs.
        construct_id: Its id there.
        service: The service's principal, like `lambda.amazonaws.com`.
        grants: All that the role may do.

    Returns:
        The role, with its wildcards acknowledged one by one.
    """
    grants = tuple(grants)
    role = iam.Role(
        scope,
        construct_id,
        assumed_by=iam.ServicePrincipal(service),
        inline_policies={
            # As one document: each statement of its own would be a call into jsii.
            "Grants": iam.PolicyDocument.from_json(
                {"Version": "2012-10-17", "Statement": [grant.statement() for grant in grants]}
            )
        },
    )
    acknowledge(
        role,
        {
            f"AwsSolutions-IAM5[Resource::{wildcard}]": grant.why
            for grant in grants
            for wildcard in grant.wildcards
        },
    )
    return role
