"""What a model promises of its answers is checked before anything is built."""

import ast
from pathlib import Path
from typing import Any

import pytest

from config.patterns import trouble
from config.schema import Deployment
from lambdas.domain.policy import Policy
from tests.config.test_schema import ROOT, changed, refusal

OUTPUT = "models.embedder.output"
SCHEMA = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "array", "items": {"$ref": "#/$defs/row"}}},
    "$defs": {"row": {"type": "array", "items": {"type": "number"}}},
}


def output(**fields: Any) -> dict[str, Any]:
    """The dev configuration, whose embedder promises something."""
    return changed("models/embedder/output", fields)


def test_a_promise_reaches_the_functions() -> None:
    """Results are judged by the policy that travels with it."""
    refusal = {"pointer": "/choices/0/finish_reason", "equals": "content_filter"}
    document = output(schema=SCHEMA, refusal=refusal, on_invalid="count")

    policy = Deployment.model_validate(document).policy()

    found = Policy.from_json(policy.to_json()).models["embedder"].output
    assert found is not None
    assert found == policy.models["embedder"].output
    assert (found.schema, found.on_invalid, found.on_refused) == (SCHEMA, "count", "refuse")
    assert found.refusal is not None
    assert found.refusal.equals == "content_filter"


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "text"}, "#/type: 'text' is not valid"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
        ({"$ref": "https://example.com/answer.json"}, "to a place in this schema"),
        ({"items": {"$ref": "#/$defs/gone"}}, "#/items/$ref must be"),
        ({"$dynamicRef": "#row"}, "use $ref"),
        ({"properties": {"a": {"$id": "https://example.com/a"}}}, "#/properties/a/$id"),
        ({"$ref": "#"}, "must not lead back to itself"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}}, "itself"),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "#/properties/a/pattern must be a pattern"),
        ({"patternProperties": {"^a": {}}}, "use propertyNames"),
        ({"enum": ["x" * 20_000]}, "at most 16384 bytes"),
        (None, "needs schema, refusal or both"),
    ],
)
def test_a_schema_that_could_not_be_trusted_is_refused(
    tmp_path: Path, schema: Any, says: str
) -> None:
    """It would be found out by the first answer, of a customer."""
    message = refusal(tmp_path, output(schema=schema))

    assert message.startswith(OUTPUT)
    assert says in message
    assert len(message) < 700


def test_a_recursive_schema_is_allowed(tmp_path: Path) -> None:
    """Trees are answers too; `pattern` and `$ref` may be names of properties."""
    tree = {
        "properties": {
            "children": {"items": {"$ref": "#"}},
            "pattern": {},
            "$ref": {"type": "null"},
        }
    }
    assert Deployment.model_validate(output(schema=tree)).models


@pytest.mark.parametrize(
    ("refused", "field", "says"),
    [
        ({"pointer": "choices/0", "equals": "x"}, "refusal.pointer", "a JSON pointer"),
        ({"pointer": "/a"}, "refusal", "exactly one of equals and pattern"),
        ({"pointer": "/a", "equals": "x", "pattern": "y"}, "refusal", "exactly one"),
        ({"pointer": "/a", "pattern": "I (cannot"}, "refusal.pattern", "a regular expression"),
    ],
)
def test_a_refusal_that_cannot_be_told_is_refused(
    tmp_path: Path, refused: Any, field: str, says: str
) -> None:
    """A guard that never counts is worse than none."""
    message = refusal(tmp_path, output(refusal=refused))

    assert message.startswith(f"{OUTPUT}.{field}")
    assert says in message


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|aa)+$",
        r"(a?){30}a{30}",
        r"(.*)\1",
        r"a*a*a*b",
        "a?" * 20 + "a" * 20,
        "x" * 257,
        "(" * 3 + "a*" + ")*" * 3,
    ],
)
def test_patterns_that_can_take_for_ever_are_refused(pattern: str) -> None:
    """One answer would hold up everybody's."""
    assert trouble(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i)^(i am|i'm) sorry\b.*\b(cannot|can't)",
        r"^\d{4}-\d{2}-\d{2}$",
        r"(ab){3}",
        r"(?:\d{3}-)+",
    ],
)
def test_patterns_that_people_write_are_allowed(pattern: str) -> None:
    """Who is refused a sensible pattern guards nothing."""
    assert trouble(pattern) is None


def test_only_who_declares_a_schema_pays_for_the_library() -> None:
    """A tenth of a second at every cold start, and at every command, of everybody else."""
    for package in ("config", "lambdas"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                assert "jsonschema" not in ast.unparse(node).split()[:2], path
