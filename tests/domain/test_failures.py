"""What a model says when it fails."""

import json
import time

import pytest

from lambdas.domain.failures import (
    MESSAGE_CHARACTERS_MAX,
    NO_MESSAGE,
    SEARCHED_CHARACTERS_MAX,
    late_message,
    model_message,
)

REASON = "ClientError: Received server error (500) from model."


@pytest.mark.parametrize(
    "document",
    [
        {"error": "too long"},
        {"error": {"message": "too long", "code": 7}},
        {"code": 500, "type": "InternalServerException", "message": "too long"},
        {"detail": "too long"},
        {"error": {"code": 7}, "message": "too long"},
        "too long",
    ],
)
def test_the_message_is_found_in_every_usual_shape(document: object) -> None:
    """A user who reads `500` cannot know what to change."""
    assert model_message(json.dumps(document).encode(), REASON) == "too long"


@pytest.mark.parametrize("body", [None, b"", b"\xff\xfe", b"\x00\x01", b'""'])
def test_without_a_readable_answer_sagemakers_reason_counts(body: bytes | None) -> None:
    """A time-out has no answer at all, and is told too."""
    assert model_message(body, REASON) in {REASON, '""'}


def test_a_plain_text_is_a_message_on_one_line() -> None:
    """A traceback in a JSON document must not break whoever prints it."""
    assert model_message(b"Traceback:\n  File x\n\tbad", REASON) == "Traceback: File x bad"


def test_a_document_without_a_message_is_shown_as_it_is() -> None:
    """Better than nothing."""
    assert model_message(b'{"status": 3}', REASON) == '{"status": 3}'


@pytest.mark.parametrize(
    "body", [b'{"error": ' * 5000, json.dumps({"error": {"error": {"error": {"error": "x"}}}})]
)
def test_deep_documents_do_no_harm(body: bytes | str) -> None:
    """A model that answers rubbish must not stop the function that reads it."""
    assert model_message(body if isinstance(body, bytes) else body.encode(), REASON)


def test_long_messages_are_cut_and_empty_ones_named() -> None:
    """A model's message may quote the whole request."""
    assert len(model_message(b"x" * 100_000, REASON)) == MESSAGE_CHARACTERS_MAX
    assert model_message(b"  ", "") == NO_MESSAGE


@pytest.mark.parametrize(
    "secret",
    [
        "sk-spillway-" + "Ab1_" * 10 + "xyz",
        "sk-proj-0123456789abcdefABCDEF",
        "hf_" + "aB3" * 12,
        "ghp_" + "aB3" * 12,
        "AKIA" + "ABCDEFGH23456789",
        "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
        "0123456789abcdef",
    ],
)
@pytest.mark.parametrize("before", ["Bearer ", "token=", "password: ", '"secret": "', "x "])
def test_what_looks_like_a_secret_is_removed(secret: str, before: str) -> None:
    """A server that quotes its environment would hand its owner's keys to every tenant."""
    known = before == "x " and secret == "0123456789abcdef"
    text = f"cannot load, {before}{secret} is refused"
    message = model_message(text.encode(), REASON)
    assert message.startswith("cannot load, ")
    assert (secret in message) == known


def test_what_signs_an_address_is_removed() -> None:
    """A signed link opens the tenant's object to whoever reads the error."""
    address = "https://u:p4ss@h/k?a=1&X-Amz-Signature=0123&X-Amz-Credential=AK"
    message = model_message(f"no such object: {address}".encode(), REASON)
    assert "0123" not in message
    assert "p4ss" not in message
    assert message.startswith("no such object: https://")


def test_a_secret_at_the_end_is_not_cut_in_half() -> None:
    """Half a key is half the work of guessing it."""
    text = "x" * (MESSAGE_CHARACTERS_MAX - 20) + " sk-spillway-" + "A" * 43
    assert "AAA" not in model_message(text.encode(), REASON)


def test_a_secret_far_behind_blanks_is_not_cut_in_half() -> None:
    """Blanks are told as one, so that the end of what is searched can be near the beginning."""
    secret = "sk-spillway-" + "A" * 43
    text = "refused:".ljust(SEARCHED_CHARACTERS_MAX - 20) + secret
    assert "AAA" not in model_message(text.encode(), REASON)


def test_a_text_made_to_be_searched_for_long_is_not() -> None:
    """A megabyte of what begins like a token held up the results of every tenant for minutes."""
    started_s = time.perf_counter()
    model_message(b"eyJaaaaaaaa-" * 80_000, REASON)
    assert time.perf_counter() - started_s < 2


def test_an_error_of_which_only_the_beginning_was_read_is_told() -> None:
    """The end of what is read may be in the middle of a letter."""
    assert model_message("zu groß".encode()[:-1], REASON) == "zu gro"


def test_a_job_that_waited_in_vain_for_a_retry_tells_what_failed() -> None:
    """`Did not start in time` sends its reader to look at the queue instead of the model."""
    earlier = {"code": "model_error", "message": "out of memory " + "x" * MESSAGE_CHARACTERS_MAX}

    message = late_message(earlier)

    assert "model_error: out of memory" in message
    assert len(message) == MESSAGE_CHARACTERS_MAX
    assert "after" not in late_message(None)
