"""Payloads: inline or in S3."""

import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.payloads import (
    ENDPOINT_BYTES_MAX,
    INLINE_BYTES_MAX,
    input_key,
    is_json,
    pack,
    unpack,
)

PROSE = """
A burst of requests arrived a little before noon, when the editors of three papers had asked their
tool to sum up the same long report. Nobody had planned for it. The first hundred found an instance
that was warm and had nothing else to do; the rest had to queue, and behind them stood a nightly run
that somebody had forgotten to stop. What should happen next is easy to say and hard to build:
people who look at a screen go first, the run goes on with what is left, and nothing that was
accepted is ever lost, although a machine may die with a dozen answers half written. So each request
is written down before it is confirmed, each attempt carries a number, and an answer counts only if
its number is still the current one. Whoever repeats a request by mistake finds the first answer
again. Whoever gives up may cancel, and whoever changes their mind may have every trace removed. The
price of all this is one more table, two queues and a little patience, which turned out to be less
than the price of explaining why a report was missing.
"""


@given(st.binary(max_size=4000))
def test_packing_loses_nothing(body: bytes) -> None:
    """A payload that comes back different is a wrong answer that nobody notices."""
    packed = pack(body)

    if packed is not None:
        assert unpack(packed) == body
        assert len(packed) <= INLINE_BYTES_MAX


def test_a_kilobyte_of_prose_stays_within_one_write_unit() -> None:
    """Each further kilobyte is paid in every replica, for every job."""
    packed = pack(json.dumps({"input": PROSE[:1024]}).encode())

    assert len(PROSE) >= 1024
    assert packed is not None
    # The other attributes of a job take some 250 bytes of the unit's 1,024.
    assert len(packed) < 750


def test_what_does_not_fit_goes_to_s3() -> None:
    """An item of the ledger that grows with its payload grows the bill with it."""
    assert pack(secrets.token_bytes(INLINE_BYTES_MAX + 1)) is None


def test_what_the_endpoint_does_not_take_inline_goes_to_s3() -> None:
    """Dispatch would unpack it and find that it cannot be sent."""
    assert pack(b"0" * ENDPOINT_BYTES_MAX) is not None
    assert pack(b"0" * (ENDPOINT_BYTES_MAX + 1)) is None


def test_inputs_of_one_job_do_not_replace_each_other() -> None:
    """A second request with the same idempotency key is refused after its input was written."""
    assert input_key("job_a", b"\x01") != input_key("job_a", b"\x02")
    assert input_key("job_a", b"\x01").startswith("inputs/job_a/")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"\xff", b"[" * 100_000, b"{} {}"],
)
def test_an_answer_that_clients_cannot_read_is_not_json(body: bytes) -> None:
    """Handed on, it would break every client's parser, and our own."""
    assert not is_json(body)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_every_json_document_is_an_answer(document: Any) -> None:
    """A model may answer with any JSON, also a bare number or null."""
    assert is_json(json.dumps(document).encode())
