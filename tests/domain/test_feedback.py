"""What users say of answers."""

import json
from typing import Any

import pytest

from lambdas.domain.errors import ApiError
from lambdas.domain.feedback import (
    COMMENT_LENGTH_MAX,
    CORRECTION_BYTES_MAX,
    counted,
    kept,
    read_feedback,
)
from tests.domain.test_usage import JOB


def said(**fields: Any) -> str:
    """Feedback as it is kept."""
    return kept(read_feedback(json.dumps(fields).encode()), at="2026-01-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("body", "status", "param", "allowed"),
    [
        ({"rating": 2}, 400, "rating", "-1, 0 or 1"),
        ({"rating": True}, 400, "rating", "-1, 0 or 1"),
        ({"rating": 1.0}, 400, "rating", "-1, 0 or 1"),
        ({"rating": "1"}, 400, "rating", "-1, 0 or 1"),
        ({}, 400, "rating", "at least one"),
        ({"correction": None}, 400, "rating", "at least one"),
        ({"stars": 5}, 400, "stars", "rating, correction, comment"),
        ({"comment": 5}, 400, "comment", "2000"),
        ({"comment": "x" * (COMMENT_LENGTH_MAX + 1)}, 400, "comment", "2000"),
        ({"correction": "x" * CORRECTION_BYTES_MAX}, 413, "correction", "16384"),
        ('{"correction": 1e999}', 400, "correction", "1.8e308"),
        ('{"comment": "\\ud800"}', 400, "comment", "Unicode"),
        ('{"correction": ' + "[" * 80 + "]" * 80 + "}", 400, "correction", "64 levels"),
        ("[1]", 400, None, "JSON object"),
        ("nonsense", 400, None, "JSON"),
    ],
)
def test_what_is_no_feedback_is_refused_by_name(
    body: Any, status: int, param: str | None, allowed: str
) -> None:
    """Whoever sends stars must learn that there are none."""
    raw = body if isinstance(body, str) else json.dumps(body)

    with pytest.raises(ApiError, match=allowed) as refused:
        read_feedback(raw.encode())

    assert (refused.value.status, refused.value.param) == (status, param)


def test_the_largest_feedback_is_taken() -> None:
    """What the limits allow must not be refused."""
    document = json.loads(said(rating=-1, correction="x" * (CORRECTION_BYTES_MAX - 2), comment="é"))

    assert (document["rating"], document["comment"]) == (-1, "é")
    assert len(document["correction"]) == CORRECTION_BYTES_MAX - 2


def test_the_last_feedback_wins_in_the_counters_too() -> None:
    """A user who changes their mind has one opinion, not two."""
    first = counted(JOB, None, said(rating=1, correction={"a": 1}))
    second = counted(JOB, said(rating=1, correction={"a": 1}), said(rating=-1))
    same = counted(JOB, said(rating=1), said(rating=1, comment="still"))

    assert first == {
        "embedder/v1/ratings": 1,
        "embedder/v1/rating_sum": 1,
        "embedder/v1/corrections": 1,
    }
    assert second == {"embedder/v1/rating_sum": -2, "embedder/v1/corrections": -1}
    assert same == {}
