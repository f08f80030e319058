"""Whether a model's answer is what the model promises: its JSON Schema, and what is a refusal."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lambdas.domain import payloads

JUDGED_BYTES_MAX = 256 << 10
"""Of an answer that is judged: a schema takes some 10 us a value on complete's half processor."""
SEARCHED_CHARACTERS_MAX = 1_000
"""Of a text that is held against a pattern: the time of that can grow with the third power."""
UNIQUE_ITEMS_MAX = 1_000
"""Of a list whose items are compared with each other: the time grows with the square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How to tell that a model refused to answer.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the value that tells it.
        equals: The value that means a refusal, or None.
        pattern: Otherwise a regular expression that is looked for in the value, a text.
    """

    pointer: str
    equals: str | float | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model promises of its answers.

    Attributes:
        schema: JSON Schema (2020-12) of an answer, or None.
        refusal: How to tell a refusal, or None.
        on_invalid: What does not match the schema fails its attempt, or is only counted.
        on_refused: A refusal ends its job as refused, or is only counted.
    """

    schema: dict[str, Any] | None = None
    refusal: Refusal | None = None
    on_invalid: Literal["fail", "count"] = "fail"
    on_refused: Literal["refuse", "count"] = "refuse"

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Output":
        """Read it from the policy's document."""
        refusal = document.get("refusal")
        return cls(
            schema=document.get("schema"),
            refusal=None if refusal is None else Refusal(**refusal),
            on_invalid=document["on_invalid"],
            on_refused=document["on_refused"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What an answer is, and what becomes of its attempt.

    Attributes:
        end: The answer is committed, fails its attempt, or ends its job as refused.
        invalid: Whether it is not what the model promises.
        refused: Whether it is a refusal.
        message: For the client, with nothing of the answer in it; empty when it is committed.
    """

    end: Literal["commit", "fail", "refuse"] = "commit"
    invalid: bool = False
    refused: bool = False
    message: str = ""


SOUND: Final = Judgement()
"""Of an answer that nothing is wrong with, as far as anybody looked."""
NOT_JSON: Final = Judgement(end="fail", invalid=True, message="The model's answer is not JSON.")


@dataclass(slots=True)
class Judge:
    """Judges the answers of one model; making the validator is worth doing once.

    Attributes:
        output: What the model promises; None if it promises JSON only.
    """

    output: Output | None
    _validator: Any = field(default=None, init=False)

    def judge(self, body: bytes) -> Judgement:
        """Judge an answer.

        Args:
            body: As the model wrote it. More than `JUDGED_BYTES_MAX` is only held to be JSON.

        Returns:
            A refusal before an invalid answer: nobody writes schemas for refusals. The message of
            an invalid answer names the place in the schema, which the operator wrote, and never
            one in the answer, whose names may be the client's.
        """
        if not payloads.is_json(body):
            return NOT_JSON
        if self.output is None or len(body) > JUDGED_BYTES_MAX:
            return SOUND
        document = json.loads(body)
        if self.output.refusal and is_refusal(self.output.refusal, document):
            ends = self.output.on_refused == "refuse"
            return Judgement(
                end="refuse" if ends else "commit",
                refused=True,
                message="The model refused to answer." if ends else "",
            )
        where = None if self.output.schema is None else self._mismatch(document)
        if where is None:
            return SOUND
        ends = self.output.on_invalid == "fail"
        message = f"The model's answer does not match the model's schema at {where}."
        return Judgement(
            end="fail" if ends else "commit", invalid=True, message=message if ends else ""
        )

    def _mismatch(self, document: Any) -> str | None:
        """Where in the schema an answer fails first; None if it matches."""
        if self._validator is None and self.output is not None:
            self._validator = validator(self.output.schema)
        try:
            found = next(self._validator.iter_errors(document), None)
        except (RecursionError, ArithmeticError):
            return "its nesting or its numbers"  # beyond what Python holds, and so any reader
        if found is None:
            return None
        return "#/" + "/".join(_escaped(str(part)) for part in found.absolute_schema_path)


def is_refusal(refusal: Refusal, document: Any) -> bool:
    """Whether an answer is a refusal."""
    try:
        value = resolved(document, refusal.pointer)
    except KeyError:
        return False
    if refusal.pattern is not None:
        if not isinstance(value, str):
            return False
        return re.search(refusal.pattern, value[:SEARCHED_CHARACTERS_MAX]) is not None
    # To Python, not to JSON, true is 1.
    return value == refusal.equals and isinstance(value, bool) == isinstance(refusal.equals, bool)


def resolved(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901).

    Raises:
        KeyError: There is none.
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and name in document:
            document = document[name]
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            raise KeyError(pointer)
    return document


def validator(schema: Any) -> Any:
    """What holds documents against a JSON Schema, in bounded time.

    Longer texts than `SEARCHED_CHARACTERS_MAX` match every `pattern`, and longer lists than
    `UNIQUE_ITEMS_MAX` are `uniqueItems`. `format` is not asserted, as 2020-12 has it.
    """
    # A tenth of a second at a cold start, for those who declare a schema only.
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415

    ours = Draft202012Validator.VALIDATORS

    def pattern(checks: Any, wanted: str, value: Any, within: Any) -> Any:
        short = isinstance(value, str) and len(value) <= SEARCHED_CHARACTERS_MAX
        return ours["pattern"](checks, wanted, value, within) if short else None

    def unique(checks: Any, wanted: bool, value: Any, within: Any) -> Any:  # noqa: FBT001 its caller's
        short = isinstance(value, list) and len(value) <= UNIQUE_ITEMS_MAX
        return ours["uniqueItems"](checks, wanted, value, within) if short else None

    bounded = validators.extend(  # type: ignore[no-untyped-call, unused-ignore]
        Draft202012Validator, {"pattern": pattern, "uniqueItems": unique}
    )
    return bounded(schema)


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
