"""What a synthesized deployment consists of, for tests to look into."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from config.schema import Deployment

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Resource:
    """One resource of one stack."""

    stack: str
    logical_id: str
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its CloudFormation type."""
        return str(self.body["Type"])

    @property
    def properties(self) -> dict[str, Any]:
        """Its properties."""
        return dict(self.body.get("Properties", {}))


@dataclass(frozen=True)
class Assembly:
    """A synthesized deployment."""

    path: Path
    deployment: Deployment
    manifest: dict[str, Any]
    templates: dict[str, dict[str, Any]]

    def resources(self, kind: str | None = None, *, stack: str = "") -> list[Resource]:
        """The resources of a type, in stacks whose id begins so."""
        return [
            Resource(name, logical_id, body)
            for name, template in self.templates.items()
            for logical_id, body in template["Resources"].items()
            if name.startswith(stack) and kind in {None, body["Type"]}
        ]

    def one(self, kind: str, *, stack: str = "", **properties: Any) -> Resource:
        """The only resource of a type with those properties."""
        found = [
            resource
            for resource in self.resources(kind, stack=stack)
            if properties.items() <= resource.properties.items()
        ]
        assert len(found) == 1, f"{len(found)} of {kind} with {properties} in {stack}"
        return found[0]

    def stacks(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every stack's entry in the manifest."""
        for name, artifact in self.manifest["artifacts"].items():
            if artifact["type"] == "aws:cloudformation:stack":
                yield name, artifact


def listed(value: Any) -> list[Any]:
    """IAM writes one of something without a list."""
    return value if isinstance(value, list) else [value]


def statements(role: Resource) -> Iterator[dict[str, Any]]:
    """The statements of a role's policies."""
    for policy in role.properties.get("Policies", []):
        yield from policy["PolicyDocument"]["Statement"]


Synthesize = Callable[..., Assembly]


def changed_dev(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The dev configuration in one region, with a change."""
    document = yaml.safe_load((ROOT / "config" / "dev.yaml").read_text())
    document["regions"] = ["us-east-1"]
    change(document)
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    return path
