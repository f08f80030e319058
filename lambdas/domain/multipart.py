"""Forms with files (RFC 7578), as clients of `POST /v1/files` send them.

The parts' headers are read by Python's own parser of mail; the parts themselves are bytes that
nothing decodes, and are found by their delimiter alone.
"""

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from lambdas.domain.errors import ApiError, invalid

PARTS_MAX = 16
"""More than any form of ours has fields."""
HEADERS_BYTES_MAX = 4096
"""Of one part."""
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
"""RFC 2046, section 5.1.1."""
MEDIA_TYPE = "multipart/form-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One field of a form.

    Attributes:
        filename: What its sender calls it; None for what is no file.
        body: Its bytes.
    """

    filename: str | None
    body: bytes


def read_form(content_type: str, body: bytes) -> dict[str, Part]:
    """Take a form apart.

    Args:
        content_type: The header, with the boundary.
        body: As sent.

    Returns:
        Its fields by name.

    Raises:
        ApiError: 400: it is no such form, or has a field twice.
    """
    header = Message()
    header["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    try:
        boundary = header.get_boundary()
    except UnicodeError:  # RFC 2231 lets its sender name any encoding that Python has
        boundary = None
    if header.get_content_type() != MEDIA_TYPE or boundary is None:
        raise invalid(f"The body must be {MEDIA_TYPE}, with a boundary.", param="Content-Type")
    if not _BOUNDARY.fullmatch(boundary):
        raise invalid("The boundary is not one of RFC 2046.", param="Content-Type")
    form: dict[str, Part] = {}
    for piece in _pieces(body, boundary.encode("ascii")):
        name, part = _part(piece)
        if name in form:
            raise invalid("A field stands twice in the form.", param=name[:64])
        form[name] = part
    return form


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the delimiters, each of which begins a line."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, PARTS_MAX + 2)
    # The first is a preamble that nobody reads; the last begins with what closes the form.
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):  # noqa: PLR2004 a preamble and an end
        raise _broken()
    if len(pieces) > PARTS_MAX + 2:
        raise invalid(f"A form has at most {PARTS_MAX} fields.", param=None)
    found = []
    for piece in pieces[1:-1]:
        padding, line, rest = piece.partition(b"\r\n")
        if padding.strip(b" \t") or not line:
            raise _broken()
        found.append(rest)
    return found


def _part(piece: bytes) -> tuple[str, Part]:
    head, blank, body = piece.partition(b"\r\n\r\n")
    if not blank or len(head) > HEADERS_BYTES_MAX:
        raise _broken()
    headers = HeaderParser().parsestr(head.decode("utf-8", errors="replace"))
    try:
        name = headers.get_param("name", header="content-disposition")
        filename = headers.get_filename()
    except UnicodeError:  # as above
        raise _broken() from None
    if headers.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise _broken()
    return name, Part(filename=None if filename is None else _name(filename), body=body)


def _name(sent: str) -> str:
    """A file's name as it was before the browsers' way of escaping it (HTML, 4.10.21.8)."""
    return sent.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _broken() -> ApiError:
    return invalid("The body is not a complete multipart/form-data form (RFC 7578).", param=None)
