"""Which metadata is kept."""

from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.masking import masked

NAMES = st.sampled_from(["email", "Email", "ssn", "run"])


def test_fields_are_masked_or_dropped_by_their_exact_names() -> None:
    """What must not be kept is gone; what nobody named is the client's own."""
    sent = {"email": "a@b.example", "Email": "kept", "ssn": "1", "run": "7"}

    assert masked(sent, {"email": "mask", "ssn": "drop"}) == {
        "email": "***",
        "Email": "kept",
        "run": "7",
    }


def test_a_rule_that_is_not_understood_drops() -> None:
    """A later release's rule was made to hold something back."""
    assert masked({"email": "a@b.example"}, {"email": "hash"}) == {}


@given(
    st.dictionaries(NAMES, st.text(min_size=4)),
    st.dictionaries(NAMES, st.sampled_from(["mask", "drop"])),
)
def test_no_ruled_value_is_left(sent: dict[str, str], rules: dict[str, str]) -> None:
    """One case that slips through is a letter to a data protection officer."""
    left = masked(sent, rules)

    assert left is not None
    assert all(value in {"***", sent[name]} for name, value in left.items())
    assert not {name for name, value in left.items() if name in rules and value != "***"}
    assert set(left) == set(sent) - {name for name, rule in rules.items() if rule == "drop"}


def test_nothing_stays_nothing() -> None:
    """A job without metadata has none."""
    assert masked(None, {"email": "mask"}) is None
