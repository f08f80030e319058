"""Cursors of lists."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.cursors import Cursor, read_cursor, write_cursor
from lambdas.domain.errors import ApiError
from lambdas.domain.job import job_id

JOB = job_id("acme", "k1", b"")
CURSORS = st.builds(
    Cursor,
    st.dates().map(lambda day: day.isoformat()),
    st.integers(0, 2**53 - 1),
    st.just("") | st.text().map(lambda key: job_id("acme", key, b"")),
)


def refused(text: str, tenant: str = "acme") -> bool:
    """Whether a cursor is answered with a 400."""
    try:
        read_cursor(text, tenant)
    except ApiError as error:
        return (error.status, error.param) == (400, "after")
    return False


@given(CURSORS)
def test_a_cursor_survives_its_way_through_the_client(cursor: Cursor) -> None:
    """A list that cannot be continued hides all older jobs."""
    text = write_cursor(cursor, "acme")

    assert read_cursor(text, "acme") == cursor
    assert all(letter.isalnum() or letter in "-_" for letter in text)


@given(CURSORS, st.text())
def test_a_cursor_is_its_tenants_own(cursor: Cursor, tenant: str) -> None:
    """A cursor that leaked must not be mistaken for one's own."""
    assert refused(write_cursor(cursor, "acme"), tenant) == (tenant != "acme")


@given(st.text())
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Anything can be put into an address; none of it may be a 500."""
    assert refused(text)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "2026-11-21"),
        (0, "soon"),
        (0, 7),
        (1, 1),
        (1, -1),
        (1, 2**53),
        (1, 10**400),
        (1, True),
        (1, "1"),
        (2, "job_" + "a" * 26),
        (2, "job#x"),
        (2, None),
        (2, ["x"]),
        (3, None),
        (3, "0" * 12),
    ],
)
def test_a_cursor_that_was_changed_is_refused(place: int, value: Any) -> None:
    """A list that silently starts elsewhere is worse than an error."""
    text = write_cursor(Cursor("2026-11-20", 1_700_000_000_000, JOB), "acme")
    document = json.loads(base64.urlsafe_b64decode(text + "=="))
    assert not refused(text)
    document[place] = value

    assert refused(base64.urlsafe_b64encode(json.dumps(document).encode()).decode())
