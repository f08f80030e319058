"""Requests as clients send them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.errors import ApiError
from lambdas.domain.requests import read_idempotency_key, read_submission, read_wait_s
from tests.domain.api_policy import ANYBODY, model, policy

POLICY = policy(embedder=model(), chat=model("chat"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def read(document: Any) -> Any:
    """Read a body."""
    return read_submission(json.dumps(document).encode(), POLICY, ANYBODY)


def refusal(read: Callable[..., object], *given: object) -> ApiError | None:
    """What is wrong with a part of a request."""
    try:
        read(*given)
    except ApiError as error:
        return error
    return None


def digest(**fields: Any) -> bytes:
    """The digest of a body."""
    submission = read({"model": "embedder", "input": 1, **fields})
    return bytes(submission.digest)


@given(JSON)
def test_the_model_receives_what_the_client_sent(value: Any) -> None:
    """An input that changes on its way gets an answer to another question."""
    assert json.loads(read({"model": "embedder", "input": value}).input_bytes) == value


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_sent_is_read_or_refused(body: bytes) -> None:
    """A body that makes the function fail is a way to make it fail for everybody."""
    error = refusal(read_submission, body, POLICY, ANYBODY)

    assert error is None or error.status in {400, 403, 413}


@given(
    st.dictionaries(
        st.sampled_from(["model", "input", "tier", "deadline_s", "metadata", "webhook", "x"]), JSON
    )
)
def test_every_refusal_names_a_field(document: dict[str, Any]) -> None:
    """A refusal without a field sends the client to its debugger."""
    error = refusal(read, document)

    if error is not None:
        assert error.param in {"model", "input", "tier", "deadline_s", "metadata", "webhook", "x"}
        assert error.message.endswith(".")


def test_the_order_of_names_and_defaults_do_not_change_a_request() -> None:
    """A client library that writes JSON its own way must find its job again."""
    assert digest(input={"a": 1, "b": 2}) == digest(input={"b": 2, "a": 1})
    assert digest() == digest(tier="standard", metadata=None, deadline_s=None)


@pytest.mark.parametrize(
    "changes",
    [{"input": 2}, {"model": "chat"}, {"tier": "batch"}, {"deadline_s": 5}, {"metadata": {}}],
)
def test_everything_else_changes_a_request(changes: dict[str, Any]) -> None:
    """Whoever asks for something else must not get the first answer."""
    assert digest(**changes) != digest()


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "chat", "input": 1, "model": "embedder"}',
        b'{"model": "chat", "input": [{"a": 1, "a": 2}]}',
    ],
)
def test_a_field_that_stands_twice_is_refused(body: bytes) -> None:
    """One of the two would be dropped, and who sent them never learns which."""
    error = refusal(read_submission, body, POLICY, ANYBODY)

    assert error is not None
    assert (error.status, error.code) == (400, "invalid_json")
    assert "twice" in error.body()["error"]["message"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32"])
def test_a_body_that_is_not_utf_8_is_refused(encoding: str) -> None:
    """Guessing an encoding is how an input changes on its way."""
    body = '{"model": "chat", "input": "é"}'.encode(encoding)
    error = refusal(read_submission, body, POLICY, ANYBODY)

    assert error is not None
    assert (error.status, error.code) == (400, "invalid_json")


@pytest.mark.parametrize("seconds", ["-5", "0", "1e300", "1.5", "99999999999"])
def test_a_deadline_out_of_range_is_told_the_range(seconds: str) -> None:
    """Who reads "whole seconds" after sending whole seconds tries the next wrong number."""
    body = f'{{"model": "chat", "input": 1, "deadline_s": {seconds}}}'.encode()
    error = refusal(read_submission, body, POLICY, ANYBODY)

    assert error is not None
    assert error.param == "deadline_s"
    assert f"1 to {POLICY.deadline_s_max}" in error.body()["error"]["message"]


def test_an_input_may_be_as_deep_as_the_documentation_says() -> None:
    """64 levels are 64, and not 63 because the body is one itself."""

    def deep(levels: int) -> bytes:
        return b'{"model": "chat", "input": ' + b"[" * levels + b"]" * levels + b"}"

    assert refusal(read_submission, deep(64), POLICY, ANYBODY) is None
    error = refusal(read_submission, deep(65), POLICY, ANYBODY)
    assert error is not None
    assert error.param == "input"


@pytest.mark.parametrize("text", ["26", "999999999999", "9" * 5000, "0" * 5000 + "26"])
def test_a_long_wait_is_cut_however_it_is_asked_for(text: str) -> None:
    """A client that asks for too much is no client that asks for nonsense."""
    assert read_wait_s(None, text, 25) == read_wait_s(f"wait={text}", None, 25) == 25


def test_what_the_key_may_not_use_is_refused_before_its_state_is_told() -> None:
    """A state is news of a team that is not the caller's."""
    off = policy(embedder=model(state="off"))
    caller = replace(ANYBODY, models=frozenset({"chat"}))

    with pytest.raises(ApiError) as refused:
        read_submission(b'{"model": "embedder", "input": 1}', off, caller)

    assert refused.value.status == 403


def test_the_name_of_an_unknown_field_is_cut() -> None:
    """An error that repeats four megabytes is no error message."""
    with pytest.raises(ApiError) as refused:
        read({"model": "embedder", "input": 1, "x" * 10_000: 1})

    assert refused.value.param == "x" * 64
    assert "x" * 65 not in json.dumps(refused.value.body())


def test_refusals_quote_nothing_of_the_payload() -> None:
    """Error messages end up in logs of clients."""
    for changes in ({"tier": "private"}, {"metadata": {"private": 1}}, {"webhook": "private"}):
        with pytest.raises(ApiError) as refused:
            read({"model": "embedder", "input": "private", **changes})
        assert "private" not in json.dumps(refused.value.body())


@given(st.text())
def test_idempotency_keys_are_ids_or_refused(key: str) -> None:
    """A key that proxies may change on its way is a job that runs twice."""
    error = refusal(read_idempotency_key, key)

    if error is None:
        assert read_idempotency_key(key) == key
        assert all("!" <= letter <= "~" for letter in key)
        assert 1 <= len(key) <= 255
    else:
        assert (error.status, error.param) == (400, "Idempotency-Key")


@given(st.none() | st.text(), st.none() | st.text())
def test_waits_are_seconds_or_refused(prefer: str | None, wait: str | None) -> None:
    """A wait beyond API Gateway's limit ends in a 504."""
    error = refusal(read_wait_s, prefer, wait, 25)

    if error is None:
        assert 0 <= read_wait_s(prefer, wait, 25) <= 25
    else:
        assert error.status == 400
        assert error.param == ("wait" if wait is not None else "Prefer")


def test_the_query_goes_before_the_header() -> None:
    """A redirect's address says how long to wait; the client's header is still there."""
    assert read_wait_s("wait=20", "3", 25) == 3
