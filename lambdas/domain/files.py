"""Files: what clients bring for batches, and what batches leave for them."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lambdas.domain.errors import ApiError, invalid, not_found
from lambdas.domain.job import ENTROPY_BYTES_MIN
from lambdas.domain.multipart import Part

CONTENT_BYTES_MAX = 4_000_000
"""Of a file that is given in the answer itself; a larger one is given as a link."""
FILENAME_LENGTH_MAX = 255
BROUGHT, MADE = "batch", "batch_output"
PURPOSES = (BROUGHT, MADE)
"""What a file is for: those that clients bring, and those that batches make."""
KEPT_S_MIN, KEPT_S_MAX = 3600, 2_592_000
"""What OpenAI's clients may ask for; more than the deployment keeps is cut to that."""
PAGE_DEFAULT = PAGE_MAX = 100
LIMIT_MAX = 10_000
"""What OpenAI's clients may ask for; a page has `PAGE_MAX` at most, and its clients go on."""
_TIME_CHARACTERS, _CHARACTERS = 9, 26
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_FILE_ID = re.compile(rf"file-[a-z2-7]{{{_CHARACTERS}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as the ledger holds it; its bytes are in buckets. Times are milliseconds.

    Attributes:
        id: See `file_id`.
        tenant: Whose it is.
        purpose: One of `PURPOSES`.
        filename: As its owner calls it: the client's data, which no log tells.
        size: Bytes.
        created_ms: When it was accepted.
        expires_ms: When nobody can read it any more.
        home: The region whose bucket has it.
        copied: The region whose replica bucket has it too.
        key: The object's.
    """

    id: str
    tenant: str
    purpose: str
    filename: str
    size: int
    created_ms: int
    expires_ms: int
    home: str
    copied: str
    key: str


def file_id(created_ms: int, entropy: bytes) -> str:
    """Name a file.

    The id begins with the time: a list can go on after a file that was deleted meanwhile, as
    clients do that delete what they list.

    Args:
        created_ms: When it is accepted, in milliseconds since the epoch.
        entropy: At least 16 random bytes, of which 85 bits are used.

    Raises:
        ValueError: Too little entropy.
    """
    if len(entropy) < ENTROPY_BYTES_MIN:
        raise ValueError(f"{ENTROPY_BYTES_MIN} random bytes are needed, {len(entropy)} were given")
    digest = base64.b32encode(hashlib.sha256(entropy).digest()).decode().lower()
    time = [_ALPHABET[created_ms >> 5 * place & 31] for place in range(_TIME_CHARACTERS)]
    return f"file-{''.join(reversed(time))}{digest[: _CHARACTERS - _TIME_CHARACTERS]}"


def is_file_id(text: str) -> bool:
    """Whether it could be what `file_id` gave."""
    return _FILE_ID.fullmatch(text) is not None


def created_ms_of(text: str) -> int:
    """When the file of an id was accepted."""
    time = text.removeprefix("file-")[:_TIME_CHARACTERS]
    found = 0
    for character in time:
        found = found << 5 | _ALPHABET.index(character)
    return found


def no_file() -> ApiError:
    """404: there is no such file, or it is another tenant's; nobody can tell which."""
    return not_found("file")


class FileRequest(BaseModel):
    """The body of `POST /v1/files` that is no form: of an upload that is there."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    upload_id: str = Field(max_length=128, description="the id of an upload that is ready")
    purpose: Literal["batch"] = Field(description="batch")
    filename: str = Field(
        "file.jsonl",
        min_length=1,
        max_length=FILENAME_LENGTH_MAX,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description=f"a text of 1 to {FILENAME_LENGTH_MAX} printable characters",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A valid request for a file.

    Attributes:
        purpose: What it is for.
        filename: As the client calls it.
        body: Its bytes.
        kept_s: How long it is to be kept.
    """

    purpose: str
    filename: str
    body: bytes
    kept_s: int


def read_upload(form: Mapping[str, Part], *, retention_s: int) -> Upload:
    """Check the fields of `POST /v1/files`.

    Raises:
        ApiError: 400 naming the field and what is allowed, or 413 naming the limit.
    """
    known = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")
    for name in form:
        if name not in known:
            raise invalid(
                "There is no field of that name; the fields are file, purpose and expires_after.",
                param=name[:64],
                code="unknown_field",
            )
    for name in known[:2]:
        if name not in form:
            raise invalid(f"{name} is required.", param=name, code="missing_field")
    file = form["file"]
    if form["purpose"].body != BROUGHT.encode():
        raise invalid(f"purpose is {BROUGHT}: files are there for batches.", param="purpose")
    if not file.body:
        raise invalid("file is empty.", param="file")
    return Upload(
        purpose=BROUGHT,
        filename=_filename(file.filename),
        body=file.body,
        kept_s=_kept_s(form, retention_s),
    )


def _filename(sent: str | None) -> str:
    name = sent or "file.jsonl"
    if len(name) > FILENAME_LENGTH_MAX or not name.isprintable():
        raise invalid(
            f"A file's name has at most {FILENAME_LENGTH_MAX} printable characters.", param="file"
        )
    return name


def _kept_s(form: Mapping[str, Part], retention_s: int) -> int:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return retention_s
    text = b"" if seconds is None else seconds.body
    fits = text.isdigit() and KEPT_S_MIN <= int(text[:9]) <= KEPT_S_MAX
    if anchor is None or anchor.body != b"created_at" or not fits:
        raise invalid(
            "expires_after has anchor, which is created_at, and seconds, "
            f"{KEPT_S_MIN} to {KEPT_S_MAX}; more than {retention_s} are {retention_s}.",
            param="expires_after",
        )
    return min(int(text), retention_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What of the files is asked for.

    Attributes:
        purposes: Which of them.
        limit: At most so many.
        newest_first: In which order.
        after: The last one of an earlier page.
    """

    purposes: tuple[str, ...]
    limit: int
    newest_first: bool
    after: str | None


def read_listing(query: Mapping[str, str]) -> Listing:
    """Check the query of `GET /v1/files`.

    Raises:
        ApiError: 400 naming the parameter and what is allowed.
    """
    order, purpose = query.get("order", "desc"), query.get("purpose")
    if order not in {"asc", "desc"}:
        raise invalid("order is asc or desc.", param="order")
    return Listing(
        # What we have no files for is an empty list, as with OpenAI.
        purposes=PURPOSES if purpose is None else tuple(p for p in PURPOSES if p == purpose),
        limit=read_limit(query.get("limit"), default=PAGE_DEFAULT, most=LIMIT_MAX),
        newest_first=order == "desc",
        after=_after(query.get("after")),
    )


def read_limit(text: str | None, *, default: int, most: int) -> int:
    """How many a page may have; more than `PAGE_MAX` are cut to that.

    Raises:
        ApiError: It is no number from 1 to `most`.
    """
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= most:
        raise invalid(f"limit is 1 to {most}; a page has {PAGE_MAX} at most.", param="limit")
    return min(int(text[:9]), PAGE_MAX)


def _after(text: str | None) -> str | None:
    if text is not None and not is_file_id(text):
        raise invalid("after is the id of the last file of an earlier list.", param="after")
    return text


def file_view(file: File) -> dict[str, Any]:
    """The file as clients see it: OpenAI's `FileObject`."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_ms // 1000,
        "expires_at": file.expires_ms // 1000,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
