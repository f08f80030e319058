"""Forms with files, as the clients that we know write them and as others might."""

from contextlib import suppress

import httpx
import pytest

from lambdas.domain.errors import ApiError
from lambdas.domain.multipart import PARTS_MAX, read_form


def form(files: dict[str, tuple[str, bytes]], **fields: str) -> tuple[str, bytes]:
    """Content type and body of a form as httpx writes it."""
    request = httpx.Request("POST", "http://x", data=fields, files=files)
    return request.headers["content-type"], request.read()


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1}\n{"b": 2}\n',
        b"\r\n\r\n--\r\n",
        bytes(range(256)) * 3,
        b"--boundary\r\n" * 3,
        b"\x85\x0b\x0c\x1c\n",
        b"",
    ],
)
def test_a_files_bytes_come_through_as_they_are(body: bytes) -> None:
    """A line end too many or too few, and an input differs from what its client hashed."""
    found = read_form(*form({"file": ("in.jsonl", body)}, purpose="batch"))

    assert found["file"].body == body
    assert (found["file"].filename, found["purpose"].filename) == ("in.jsonl", None)
    assert found["purpose"].body == b"batch"


@pytest.mark.parametrize("name", ["ä ö.jsonl", 'with "quotes".jsonl', "100%41.jsonl", "a\\b"])
def test_a_files_name_comes_through_as_it_is(name: str) -> None:
    """A client that looks for its file by name must find it."""
    assert read_form(*form({"file": (name, b"x")}))["file"].filename == name


GOOD = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n'


def test_a_form_is_read_without_its_preamble_and_epilogue() -> None:
    """RFC 2046 lets mail programs write there."""
    assert (
        read_form("multipart/form-data; boundary=b", b"hello\r\n" + GOOD + b"bye")["a"].body == b"x"
    )
    assert read_form('Multipart/Form-Data; boundary="b"', GOOD)["a"].body == b"x"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", GOOD),
        ("application/json", b"{}"),
        ("multipart/form-data", GOOD),
        ("multipart/mixed; boundary=b", GOOD),
        ("multipart/form-data; boundary=" + "b" * 71, GOOD),
        ("multipart/form-data; boundary=\xff", GOOD),
        ("multipart/form-data; boundary=other", GOOD),
        ("multipart/form-data; boundary=b\r\nX: y", b""),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", GOOD[:-6]),
        ("multipart/form-data; boundary=b", GOOD.replace(b"form-data", b"inline")),
        ("multipart/form-data; boundary=b", GOOD.replace(b'; name="a"', b"")),
        ("multipart/form-data; boundary=b", GOOD.replace(b"\r\n\r\n", b"\r\n", 1)),
        ("multipart/form-data; boundary=b", GOOD.replace(b"--b\r\n", b"--bX\r\n", 1)),
        ("multipart/form-data; boundary=b", GOOD[:-6] + b"\r\n" + GOOD),
        ("multipart/form-data; boundary=b", (GOOD[:-6] + b"\r\n") * PARTS_MAX * 2 + GOOD),
        (
            "multipart/form-data; boundary=b",
            GOOD.replace(b"form-data;", b"form-data; " + b"x" * 5000),
        ),
    ],
)
def test_what_is_no_such_form_is_a_400(content_type: str, body: bytes) -> None:
    """A broken upload must say so, and not become half a file."""
    with pytest.raises(ApiError) as refusal:
        read_form(content_type, body)
    assert refusal.value.status == 400


@pytest.mark.parametrize("encoding", ["undefined", "punycode", "idna"])
def test_an_encoding_that_only_python_knows_is_no_500(encoding: str) -> None:
    """RFC 2231 lets whoever sends a name say how it is written, and Python believes it."""
    named = f"filename*0*={encoding}''%ff; filename*1=b"
    sent = f'--abc\r\nContent-Disposition: form-data; name="file"; {named}\r\n\r\nx\r\n--abc--'
    for boundary in ("boundary=abc", f"boundary*={encoding}''%ff"):
        with suppress(ApiError):  # or it is read as something
            read_form(f"multipart/form-data; {boundary}", sent.encode())
