"""What a model promises of its answers: a JSON Schema, and how to tell a refusal."""

import json
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import ConfigDict, Field, model_validator

from config.fields import Strict, problem, text
from config.patterns import trouble
from lambdas.domain import output as outputs

SCHEMA_BYTES_MAX = 16_384
"""The policy travels with every function, and each of them reads it at its cold start."""
SCHEMA_DEPTH_MAX = 32
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SAME_VALUE = ("not", "if", "then", "else")
_SAME_VALUE_LISTS = ("allOf", "anyOf", "oneOf")
_WITHIN = (
    *("items", "contains", "additionalProperties", "propertyNames", "contentSchema"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_WITHIN_LISTS = ("prefixItems",)
_BY_NAME = ("properties", "$defs", "definitions")
_REFUSED = {
    "$dynamicRef": "use $ref",
    "$vocabulary": "the vocabularies are those of 2020-12",
    "patternProperties": "use propertyNames: names are the model's, and may be of any length",
}


class Refusal(Strict):
    """How to tell that a model refused: the value at `pointer` is `equals`, or has `pattern`."""

    pointer: Annotated[
        str,
        text(
            r"^(/([^~/]|~[01])*)*$",
            "a JSON pointer (RFC 6901), like /choices/0/finish_reason",
            256,
        ),
    ]
    equals: str | bool | int | float | None = None
    pattern: Annotated[
        str | None, Field(description="Searched in the text's first 1,000 characters.")
    ] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.equals is None) == (self.pattern is None):
            raise problem("", "needs exactly one of equals and pattern")
        if self.pattern is not None and (wrong := trouble(self.pattern)):
            raise problem("pattern", f"must be {wrong}", self.pattern)
        return self


class Output(Strict):
    """What a model promises of its answers, and what becomes of one that breaks the promise."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    refusal: Refusal | None = None
    on_invalid: Literal["fail", "count"] = "fail"
    on_refused: Literal["refuse", "count"] = "refuse"

    @model_validator(mode="after")
    def _promises_something(self) -> Self:
        if self.schema_ is None and self.refusal is None:
            raise problem("", "needs schema, refusal or both")
        if self.schema_ is not None:
            _check_schema(self.schema_)
        return self

    def domain(self) -> outputs.Output:
        """What the functions need to know."""
        refusal = None
        if self.refusal is not None:
            refusal = outputs.Refusal(**self.refusal.model_dump())
        return outputs.Output(
            schema=self.schema_,
            refusal=refusal,
            on_invalid=self.on_invalid,
            on_refused=self.on_refused,
        )


def _check_schema(schema: dict[str, Any]) -> None:
    """Refuse a schema that is none, that reads from elsewhere, or that could take for ever."""
    # Only who declares a schema pays for the library.
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415

    if len(json.dumps(schema)) > SCHEMA_BYTES_MAX:
        raise problem("schema", f"must have at most {SCHEMA_BYTES_MAX} bytes of JSON")
    if schema.get("$schema", DIALECT) != DIALECT:
        raise problem("schema.$schema", f"must be {DIALECT} or left out", schema["$schema"])
    same: dict[str, list[str]] = {}
    waiting, parts = [("#", schema)], {}
    while waiting:
        place, part = waiting.pop()
        if place in parts or not isinstance(part, dict):
            continue
        if place.count("/") > SCHEMA_DEPTH_MAX:
            raise problem("schema", f"must be nested at most {SCHEMA_DEPTH_MAX} levels deep")
        parts[place] = part
        _check_keywords(place, part)
        beside = list(_same_value(schema, place, part))
        same[place] = [where for where, _ in beside]
        waiting += [*beside, *_within(place, part)]
    try:
        Draft202012Validator.check_schema(schema)
        TopologicalSorter(same).prepare()
    except SchemaError as error:
        where = "/".join(("#", *(str(part) for part in error.absolute_path)))
        wrong = f"must be a JSON Schema (2020-12); {where}: {error.message}"
        raise problem("schema", wrong[:500]) from None
    except CycleError as error:
        raise problem(
            "schema", f"must not lead back to itself: {' -> '.join(error.args[1])}"
        ) from None


def _check_keywords(place: str, part: dict[str, Any]) -> None:
    for keyword, instead in _REFUSED.items():
        if keyword in part:
            raise problem("schema", f"{place}/{keyword} is not supported: {instead}")
    if place != "#" and "$id" in part:
        raise problem("schema", f"{place}/$id is not supported: only the whole schema has one")
    pattern = part.get("pattern")
    if isinstance(pattern, str) and (wrong := trouble(pattern)):
        raise problem("schema", f"{place}/pattern must be {wrong}", pattern)


def _same_value(root: dict[str, Any], place: str, part: dict[str, Any]) -> Iterator[Any]:
    """The schemas that a value must meet besides this one, and where they stand."""
    reference = part.get("$ref")
    if reference is not None:
        target = unquote(str(reference))
        wrong = f"{place}/$ref must be # or #/..., to a place in this schema"
        if target != "#" and not target.startswith("#/"):
            raise problem("schema", wrong, reference)
        try:
            yield target, outputs.resolved(root, target[1:])
        except KeyError:
            raise problem("schema", wrong, reference) from None
    for keyword in _SAME_VALUE:
        if keyword in part:
            yield f"{place}/{keyword}", part[keyword]
    for keyword in _SAME_VALUE_LISTS:
        yield from _listed(place, part, keyword)
    yield from _named(place, part, "dependentSchemas")


def _within(place: str, part: dict[str, Any]) -> Iterator[Any]:
    """The schemas of what lies within a value, and where they stand."""
    for keyword in _WITHIN:
        if keyword in part:
            yield f"{place}/{keyword}", part[keyword]
    for keyword in _WITHIN_LISTS:
        yield from _listed(place, part, keyword)
    for keyword in _BY_NAME:
        yield from _named(place, part, keyword)


def _listed(place: str, part: dict[str, Any], keyword: str) -> Iterator[Any]:
    inner = part.get(keyword)
    if isinstance(inner, list):
        yield from ((f"{place}/{keyword}/{number}", each) for number, each in enumerate(inner))


def _named(place: str, part: dict[str, Any], keyword: str) -> Iterator[Any]:
    inner = part.get(keyword)
    if isinstance(inner, dict):
        for name, each in inner.items():
            escaped = str(name).replace("~", "~0").replace("/", "~1")
            yield f"{place}/{keyword}/{escaped}", each
