"""The bytes of files, in the bucket of their region or in the second copy's."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.payloads import OUTPUT_URL_S
from lambdas.domain.files import File
from lambdas.domain.names import Names

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CHUNK_BYTES = 1 << 18
MISSING = frozenset({"NoSuchKey", "404", "NotFound"})


@dataclass(frozen=True, slots=True)
class FileObjects:
    """The objects of files, read from any region.

    Attributes:
        client_in: Makes, or finds, the client of a region.
        names: The buckets' names.
    """

    client_in: "Callable[[str], S3Client]"
    names: Names

    def read(self, file: File) -> bytes | None:
        """A file's bytes; None if they are gone.

        Raises:
            botocore.exceptions.ClientError: No copy can be read.
        """
        stream = self._open(file)
        if stream is None:
            return None
        with closing(stream):
            body: bytes = stream.read()
            return body

    def lines(self, file: File, *, bytes_max: int) -> Iterator[bytes] | None:
        """A file's lines without their ends, as they come; None if they are gone.

        Args:
            file: Which.
            bytes_max: A longer line is cut off a little beyond that: nobody takes it.

        Raises:
            botocore.exceptions.ClientError: No copy can be read.
        """
        stream = self._open(file)
        return None if stream is None else _lines(stream, bytes_max)

    def link(self, file: File, *, lost: Collection[str] = ()) -> str:
        """A link to a file, which works without a key for an hour."""
        home = file.home not in lost or file.copied == file.home
        region = file.home if home else file.copied
        bucket = self.names.bucket(region) if home else self.names.replica_bucket(region)
        return self.client_in(region).generate_presigned_url(
            "get_object",
            Params={
                "Bucket": bucket,
                "Key": file.key,
                "ResponseContentType": "application/octet-stream",
            },
            ExpiresIn=OUTPUT_URL_S,
        )

    def _open(self, file: File) -> Any:
        places = [(file.home, self.names.bucket(file.home))]
        if file.copied != file.home:
            places.append((file.copied, self.names.replica_bucket(file.copied)))
        silent: Exception | None = None
        for region, bucket in places:
            try:
                return self.client_in(region).get_object(Bucket=bucket, Key=file.key)["Body"]
            except (ClientError, BotoCoreError) as error:
                silent = silent if _is_missing(error) else error
        if silent is not None:  # it may be there, where nobody answers
            raise silent
        return None


def _is_missing(error: Exception) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in MISSING


def _lines(stream: Any, bytes_max: int) -> Iterator[bytes]:
    """Lines of a stream, of which no more is held than one line and a chunk."""
    begun = bytearray()
    with closing(stream):
        for chunk in stream.iter_chunks(CHUNK_BYTES):
            first, *others = chunk.split(b"\n")
            begun += first[: max(0, bytes_max + 1 - len(begun))]
            for following in others:
                yield bytes(begun)
                begun = bytearray(following[: bytes_max + 1])
    if begun:
        yield bytes(begun)
