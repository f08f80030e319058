"""Answers are held against what their model promises."""

import json
from typing import Any

import pytest

from lambdas.domain.output import (
    JUDGED_BYTES_MAX,
    SEARCHED_CHARACTERS_MAX,
    Judge,
    Judgement,
    Output,
    Refusal,
)

SCHEMA = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {"type": "array", "items": {"type": "number"}, "uniqueItems": True},
        "text": {"type": "string", "pattern": "^[a-z ]*$"},
    },
    "additionalProperties": {"type": "boolean"},
}


def judged(answer: Any, **promise: Any) -> Judgement:
    """What an answer is."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Judge(Output(**promise)).judge(body)


def test_an_answer_as_promised_is_committed() -> None:
    """Nobody is hurt by a guard that finds nothing."""
    assert judged({"data": [1.5, 2], "text": "fine"}, schema=SCHEMA) == Judgement()


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ([], "#/type"),
        ({}, "#/required"),
        ({"data": ["secret"]}, "#/properties/data/items/type"),
        ({"data": [1, 1]}, "#/properties/data/uniqueItems"),
        ({"data": [], "text": "SECRET"}, "#/properties/text/pattern"),
        ({"data": [], "secret": "name"}, "#/additionalProperties/type"),
    ],
)
def test_what_breaks_the_promise_fails_and_quotes_nothing(answer: Any, place: str) -> None:
    """Error messages are read by more people than answers."""
    found = judged(answer, schema=SCHEMA)

    assert (found.end, found.invalid, found.refused) == ("fail", True, False)
    assert found.message == f"The model's answer does not match the model's schema at {place}."
    assert judged(answer, schema=SCHEMA, on_invalid="count") == Judgement(invalid=True)


def test_what_is_not_json_fails_whatever_is_promised() -> None:
    """No client could read it."""
    for promise in (Output(schema=SCHEMA, on_invalid="count"), None):
        found = Judge(promise).judge(b"{")
        assert (found.end, found.invalid, found.message) == (
            "fail",
            True,
            "The model's answer is not JSON.",
        )


def test_what_is_too_large_or_too_long_is_not_judged() -> None:
    """A list of a million numbers would take the time of everybody's results."""
    assert judged(b"[" + b" " * JUDGED_BYTES_MAX + b"]", schema=SCHEMA) == Judgement()
    long = "A" * (SEARCHED_CHARACTERS_MAX + 1)
    assert judged({"data": [], "text": long}, schema=SCHEMA) == Judgement()
    assert judged({"data": [0] * 1001}, schema=SCHEMA) == Judgement()


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1e300"])
def test_an_odd_answer_is_judged_all_the_same(number: str) -> None:
    """One that stops complete is delivered for ever, with the batch it came in."""
    found = judged(number.encode(), schema={"multipleOf": 0.3})
    assert found.end in {"commit", "fail"}


def test_an_answer_deeper_than_python_goes_is_invalid() -> None:
    """A recursive schema follows every level of it."""
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    found = judged(deep, schema={"additionalProperties": {"$ref": "#"}})
    assert found.invalid


REFUSAL = {"choices": [{"finish_reason": "content_filter"}]}


@pytest.mark.parametrize(
    ("refusal", "answer", "refused"),
    [
        (Refusal(pointer="/choices/0/finish_reason", equals="content_filter"), REFUSAL, True),
        (Refusal(pointer="/choices/1/finish_reason", equals="content_filter"), REFUSAL, False),
        (Refusal(pointer="/choices/x", equals="content_filter"), REFUSAL, False),
        (Refusal(pointer="/refused", equals=True), {"refused": True}, True),
        (Refusal(pointer="/refused", equals=True), {"refused": 1}, False),
        (Refusal(pointer="/a~1b/~0", equals=0), {"a/b": {"~": 0}}, True),
        (Refusal(pointer="", pattern="^I cannot"), "I cannot do that", True),
        (Refusal(pointer="", pattern="cannot"), "x" * SEARCHED_CHARACTERS_MAX + "cannot", False),
        (Refusal(pointer="", pattern="cannot"), ["I cannot"], False),
    ],
)
def test_a_refusal_is_told_by_one_value(refusal: Refusal, answer: Any, refused: bool) -> None:
    """A guard that takes answers for refusals takes good versions back."""
    assert judged(answer, refusal=refusal).refused is refused


def test_a_refusal_ends_its_job_or_is_counted() -> None:
    """It is judged before the schema, which nobody writes for refusals."""
    promise: dict[str, Any] = {"schema": SCHEMA, "refusal": Refusal(pointer="", equals="no")}
    found = judged("no", **promise)
    assert found == Judgement(end="refuse", refused=True, message="The model refused to answer.")
    assert judged("no", **promise, on_refused="count") == Judgement(refused=True)
