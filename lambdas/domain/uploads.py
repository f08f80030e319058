"""Uploads: inputs that their client brings to S3 itself, because they do not fit into a request.

An upload has no item anywhere: what is known of it lies beside it, under a name that only its
tenant's requests lead to. The job that it becomes is named after it, so that there is only one.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from lambdas.domain.errors import ApiError, invalid
from lambdas.domain.job import ENTROPY_BYTES_MIN
from lambdas.domain.requests import read_body

BYTES_MAX = 1_000_000_000
"""The largest payload of an asynchronous inference (SageMaker developer guide)."""
SINGLE_BYTES_MAX = 100_000_000
"""Larger ones go in parts: S3's user guide asks for that from about here on."""
PART_BYTES = 67_108_864
PART_BYTES_MIN = 5_242_880
"""S3's least, but for the last part (user guide, "Multipart upload limits"): 191 parts at most."""
LINK_S = 3600
"""How long a link to write to works."""
KEPT_S = 86_400
"""How long an upload can be made a job; the bucket's lifecycle lets the job's time pass as well."""
CONTENT_TYPE = "application/json"
OPENAIS = frozenset({"filename", "mime_type", "purpose"})
"""Fields of the request of the same address in OpenAI's API (its reference, "Create upload")."""
_CONTENT_TYPE = r"^[a-z0-9.+-]+/[a-z0-9.+-]+(; ?[a-z0-9-]+=[A-Za-z0-9._-]+)?$"
_ID = re.compile(r"upload_([a-z]{2}(?:-[a-z]+)+-[0-9])_[a-z2-7]{26}")


class UploadRequest(BaseModel):
    """The body of `POST /v1/uploads`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    bytes: int = Field(
        ge=1, le=BYTES_MAX, description=f"the exact size of the input, 1 to {BYTES_MAX}"
    )
    content_type: str = Field(
        CONTENT_TYPE,
        max_length=127,
        pattern=_CONTENT_TYPE,
        description="the input's media type in lower case, like application/json",
    )
    part_bytes: int | None = Field(
        None,
        ge=PART_BYTES_MIN,
        le=BYTES_MAX,
        description=f"the size of every part but the last, {PART_BYTES_MIN} to {BYTES_MAX}; "
        f"without it, inputs of more than {SINGLE_BYTES_MAX} bytes go in parts of {PART_BYTES}",
    )


class State(StrEnum):
    """How far an upload is."""

    WAITING = "waiting"
    """Its object is not there."""
    UPLOADED = "uploaded"
    """It is in its region; its copies are on their way."""
    READY = "ready"
    """It is everywhere where its job may run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One upload.

    Attributes:
        id: Names its region, and nothing else that could be guessed.
        size: Bytes of the input.
        content_type: What the model is told that it is.
        created_ms: When its links were first given.
        part_bytes: Of every part but the last; None if it goes in one piece.
        multipart: S3's name for what its parts belong to, if it goes in parts.
    """

    id: str
    size: int
    content_type: str
    created_ms: int
    part_bytes: int | None = None
    multipart: str | None = None

    @property
    def region(self) -> str:
        """Where it is written to."""
        return region_of(self.id) or ""

    @classmethod
    def read(cls, text: bytes) -> Self:
        """What `document` wrote; fields of later releases are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})

    def document(self) -> bytes:
        """What `read` reads."""
        return json.dumps(asdict(self)).encode()

    @property
    def parts(self) -> Mapping[int, int]:
        """Bytes of each part, by its number from 1; empty if it goes in one piece."""
        if self.part_bytes is None:
            return {}
        number = math.ceil(self.size / self.part_bytes)
        sizes = dict.fromkeys(range(1, number), self.part_bytes)
        return {**sizes, number: self.size - sum(sizes.values())}

    def usable(self, *, now_ms: int) -> bool:
        """Whether it is young enough to be made a job."""
        return now_ms - self.created_ms < 1000 * KEPT_S

    def lacks(self, there: Mapping[int, int]) -> list[int]:
        """The parts that are not there in their full size.

        Args:
            there: Bytes of the parts that are, by their numbers.
        """
        return [number for number, size in self.parts.items() if there.get(number) != size]


def read_request(body: bytes) -> UploadRequest:
    """Check the body of `POST /v1/uploads`.

    Raises:
        ApiError: 400 naming the field and what is allowed; to clients of OpenAI's API, which has
            other uploads at this address, what to send instead.
    """
    try:
        return read_body(body, UploadRequest)
    except ApiError as error:
        if error.code != "unknown_field" or error.param not in OPENAIS:
            raise
        raise invalid(
            "This is no upload of OpenAI's API. A file of up to 4,000,000 bytes goes to "
            "POST /v1/files. A larger one begins here with bytes and content_type alone, is "
            "written to the links of the answer, and becomes a file by its upload_id at "
            "POST /v1/files.",
            param=error.param,
            code="unknown_field",
        ) from None


def part_bytes(request: UploadRequest) -> int | None:
    """The size of the parts in which an input goes; None for one piece."""
    if request.part_bytes is not None:
        return request.part_bytes if request.part_bytes < request.bytes else None
    return PART_BYTES if request.bytes > SINGLE_BYTES_MAX else None


def upload_id(region: str, entropy: bytes) -> str:
    """Name an upload of a region.

    Args:
        region: Where it will be written to.
        entropy: At least 16 random bytes.

    Raises:
        ValueError: Too little entropy: the name is what makes it the tenant's.
    """
    if len(entropy) < ENTROPY_BYTES_MIN:
        raise ValueError(f"{ENTROPY_BYTES_MIN} random bytes are needed, {len(entropy)} were given")
    return f"upload_{region}_{_digest(entropy)}"


def region_of(upload: str) -> str | None:
    """The region that an upload's id names; None if it is no such id."""
    found = _ID.fullmatch(upload)
    return found[1] if found else None


def about_key(tenant: str, upload: str) -> str:
    """Where it lies what is known of an upload."""
    return f"{_folder(tenant, upload)}/about.json"


def object_key(tenant: str, upload: str) -> str:
    """Where an upload itself lies."""
    return f"{_folder(tenant, upload)}/input"


def job_key(upload: str) -> str:
    """The idempotency key of the one job that an upload becomes: no client can send a space."""
    return f"input_upload {upload}"


def state(*, home: bool, copies: Collection[str], needed: Collection[str]) -> State:
    """How far an upload is.

    Args:
        home: Whether its object is in its own region.
        copies: Other regions that have it.
        needed: Other regions that should have it: those that serve.
    """
    if not home:
        return State.WAITING
    return State.READY if set(needed) <= set(copies) else State.UPLOADED


def _folder(tenant: str, upload: str) -> str:
    """The tenant is part of it: with another tenant's key, the same id leads nowhere."""
    return f"uploads/{_digest(tenant.encode())}/{upload}"


def _digest(text: bytes) -> str:
    return base64.b32encode(hashlib.sha256(text).digest()).decode().lower()[:26]
