"""What a batch is made of in the bucket of its region: blocks of lines, answers and errors."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lambdas.adapters.payloads import DELETE_MAX

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PART_BYTES = 8 << 20
"""Of a multipart upload: more than the 5 MiB that S3 asks for, and 80 GB in 10,000 parts."""
CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Writer:
    """Writes an object of unknown length, holding a part of it in memory.

    Whoever dies leaves an upload that the bucket's lifecycle ends after a day.

    Attributes:
        client: Of the bucket's region.
        bucket: Its name.
        key: The object's.
        size: Bytes so far.
    """

    client: "S3Client"
    bucket: str
    key: str
    size: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _upload: str | None = None
    _parts: list[Any] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        """Add to the object."""
        self._buffer += data
        self.size += len(data)
        while len(self._buffer) >= PART_BYTES:
            self._part(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def close(self) -> None:
        """Have the object; before, nobody sees any of it."""
        if self._upload is None:
            self.client.put_object(
                Bucket=self.bucket,
                Key=self.key,
                Body=bytes(self._buffer),
                ContentType="application/jsonl",
            )
            return
        if self._buffer:
            self._part(bytes(self._buffer))
        self.client.complete_multipart_upload(
            Bucket=self.bucket,
            Key=self.key,
            UploadId=self._upload,
            MultipartUpload={"Parts": self._parts},
        )

    def _part(self, body: bytes) -> None:
        if self._upload is None:
            reply = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=self.key, ContentType="application/jsonl"
            )
            self._upload = reply["UploadId"]
        number = len(self._parts) + 1
        etag = self.client.upload_part(
            Bucket=self.bucket,
            Key=self.key,
            UploadId=self._upload,
            PartNumber=number,
            Body=body,
        )["ETag"]
        self._parts.append({"PartNumber": number, "ETag": etag})


@dataclass(frozen=True, slots=True)
class Pieces:
    """Objects in the bucket of one region.

    Attributes:
        client: Makes, or finds, its client: most ticks find no batch.
        bucket: Its name.
    """

    client: "Callable[[], S3Client]"
    bucket: str

    def put(self, key: str, body: bytes) -> None:
        """Write a piece."""
        self.client().put_object(Bucket=self.bucket, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        """Read a piece."""
        with closing(self.client().get_object(Bucket=self.bucket, Key=key)["Body"]) as stream:
            return stream.read()

    def chunks(self, key: str) -> Iterator[bytes]:
        """Read a piece that may be large."""
        with closing(self.client().get_object(Bucket=self.bucket, Key=key)["Body"]) as stream:
            yield from stream.iter_chunks(CHUNK_BYTES)

    def writer(self, key: str) -> Writer:
        """Begin an object."""
        return Writer(self.client(), self.bucket, key)

    def delete(self, keys: Collection[str]) -> None:
        """Delete pieces; those that never were there do no harm."""
        ordered = sorted(keys)
        for start in range(0, len(ordered), DELETE_MAX):
            some = ordered[start : start + DELETE_MAX]
            self.client().delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": [{"Key": key} for key in some], "Quiet": True},
            )
