"""API keys."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.keys import KEY_BYTES, key_hash, key_id, new_key

ENTROPY = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


@given(ENTROPY)
def test_keys_look_alike_and_survive_headers_and_shells(entropy: bytes) -> None:
    """Secret scanners find keys by their shape, and people paste them anywhere."""
    assert re.fullmatch(r"sk-spillway-[A-Za-z0-9_-]{43}", new_key(entropy))


@given(ENTROPY, ENTROPY)
def test_every_bit_of_the_entropy_is_in_the_key(one: bytes, other: bytes) -> None:
    """A key that loses bits can be guessed."""
    assert (new_key(one) == new_key(other)) == (one == other)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_is_never_made_of_less(size: int) -> None:
    """A weak key looks like a strong one for ever."""
    with pytest.raises(ValueError, match="32 random bytes"):
        new_key(bytes(size))


def test_what_is_stored_and_shown_does_not_open_anything() -> None:
    """Whoever reads the directory, or a log, must not be able to ask as a tenant."""
    key = new_key(bytes(range(32)))
    hashed = key_hash(key)

    assert re.fullmatch(r"[0-9a-f]{64}", hashed)
    assert key_id(hashed) == hashed[:12]
    assert key[12:] not in hashed
