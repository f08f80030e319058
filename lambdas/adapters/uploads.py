"""Uploads in S3: in the bucket of one region, and replicated to every other."""

from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.domain.names import Names

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
PARTS_MAX = 1000
"""That ListParts tells at once (S3 API reference): five times as many as an upload can have."""


class SilentError(BotoCoreError):
    """A region gives no answer that may have what is looked for."""

    fmt = "a region does not answer that may have the upload"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is there.

    Attributes:
        etag: S3's name for what it holds.
        size: Bytes.
    """

    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class UploadBuckets:
    """The buckets of uploads, as one region uses them.

    Attributes:
        client_in: Makes, or finds, the client of a region.
        copying: The same, with the patience that a copy of a large object takes.
        names: The buckets' names.
        region: The region that this runs in.
        regions: All of the deployment.
    """

    client_in: "Callable[[str], S3Client]"
    copying: "Callable[[str], S3Client]"
    names: Names
    region: str
    regions: tuple[str, ...]

    # ---- what is known of an upload

    def put_about(self, key: str, document: bytes, *, home: str) -> None:
        """Keep what is known of an upload; S3 replicates it with the upload."""
        self.client_in(home).put_object(
            Bucket=self.names.bucket(home), Key=key, Body=document, ContentType="application/json"
        )

    def about(self, key: str, *, home: str) -> bytes | None:
        """What is known of an upload, or None if nothing is; while its region is away, of a copy.

        Raises:
            botocore.exceptions.ClientError: Its region does not answer, and no copy is there yet.
        """
        try:
            return self._read(home, self.names.bucket(home), key)
        except (ClientError, BotoCoreError):
            for region in self._others(home):
                with suppress(ClientError, BotoCoreError):
                    found = self._read(region, self.names.replica_bucket(region), key)
                    if found is not None:
                        return found
            raise

    def _read(self, region: str, bucket: str, key: str) -> bytes | None:
        try:
            reply = self.client_in(region).get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _absent(error):
                return None
            raise
        with closing(reply["Body"]) as stream:
            return stream.read()

    # ---- writing it

    def link(self, key: str, *, home: str, size: int, content_type: str, expires_s: int) -> str:
        """A link to write an upload to, once: of that size and type, and where nothing is yet."""
        return self.client_in(home).generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self.names.bucket(home),
                "Key": key,
                "ContentLength": size,
                "ContentType": content_type,
                "IfNoneMatch": "*",
            },
            ExpiresIn=expires_s,
        )

    def begin(self, key: str, *, home: str, content_type: str) -> str:
        """Begin an upload in parts; S3's name for it."""
        reply = self.client_in(home).create_multipart_upload(
            Bucket=self.names.bucket(home), Key=key, ContentType=content_type
        )
        return reply["UploadId"]

    def part_links(
        self, key: str, multipart: str, sizes: Mapping[int, int], *, home: str, expires_s: int
    ) -> dict[int, str]:
        """A link to write each part to, by its number: of that size."""
        client, bucket = self.client_in(home), self.names.bucket(home)
        return {
            number: client.generate_presigned_url(
                "upload_part",
                Params={
                    "Bucket": bucket,
                    "Key": key,
                    "UploadId": multipart,
                    "PartNumber": number,
                    "ContentLength": size,
                },
                ExpiresIn=expires_s,
            )
            for number, size in sizes.items()
        }

    def parts(self, key: str, multipart: str, *, home: str) -> dict[int, Part] | None:
        """The parts that are there, by their numbers; None if they were put together, or away."""
        try:
            reply = self.client_in(home).list_parts(
                Bucket=self.names.bucket(home), Key=key, UploadId=multipart, MaxParts=PARTS_MAX
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchUpload":
                return None
            raise
        return {
            part["PartNumber"]: Part(part["ETag"], part["Size"]) for part in reply.get("Parts", [])
        }

    def put_together(
        self, key: str, multipart: str, parts: Mapping[int, Part], *, home: str
    ) -> None:
        """Make one object of all parts."""
        ordered: Any = [
            {"PartNumber": number, "ETag": part.etag} for number, part in sorted(parts.items())
        ]
        self.client_in(home).complete_multipart_upload(
            Bucket=self.names.bucket(home),
            Key=key,
            UploadId=multipart,
            MultipartUpload={"Parts": ordered},
        )

    # ---- where it is

    def size(self, key: str, *, home: str) -> int | None:
        """Bytes of an upload in its own region, or None if it is not there."""
        return self._size(home, self.names.bucket(home), key)

    def copies(
        self, key: str, *, home: str, lost: Collection[str] = ()
    ) -> tuple[set[str], set[str]]:
        """The other regions that have a copy of an upload, and those that do not answer.

        Lost ones are not asked: each would take some seconds of the request's 29.
        """
        found: set[str] = set()
        silent: set[str] = set()
        for region in self._others(home):
            if region in lost:
                continue
            try:
                if self._size(region, self.names.replica_bucket(region), key) is not None:
                    found.add(region)
            except (ClientError, BotoCoreError):
                silent.add(region)
        return found, silent

    def location(self, key: str, *, home: str) -> str | None:
        """The address of an upload in this region, as an endpoint reads from no other.

        Returns:
            None if it is not here: it has to be brought, or is gone.

        Raises:
            botocore.exceptions.ClientError: S3 does not say.
        """
        here = self.region
        places = [(self.names.bucket(here), key)]
        if here != home:
            places = [
                (self.names.replica_bucket(here), key),
                (self.names.bucket(here), brought_key(key)),
            ]
        for bucket, name in places:
            if self._size(here, bucket, name) is not None:
                return f"s3://{bucket}/{name}"
        return None

    def source(self, key: str, *, home: str, silent: set[str]) -> str | None:
        """A bucket that an upload can be brought from; None if no region has it any more.

        Args:
            key: Of the upload.
            home: Its own region.
            silent: Regions that are not asked, because they gave no answer before; who gives none
                to this is added.

        Raises:
            SilentError: None that answers has it, and one does not answer.
        """
        if self.region == home:
            return None  # copies are of what is here: they are gone, or about to be
        others = [region for region in self._others(home) if region != self.region]
        places = {region: self.names.replica_bucket(region) for region in others}
        # Its own region comes last: that it is away is why an upload has to be brought, mostly.
        places[home] = self.names.bucket(home)
        for region, bucket in places.items():
            if region in silent:
                continue
            try:
                if self._size(region, bucket, key) is not None:
                    return bucket
            except (ClientError, BotoCoreError):
                silent.add(region)
        if silent & places.keys():
            raise SilentError
        return None

    def bring(self, key: str, *, source: str) -> None:
        """Copy an upload here: replication was not done when its region was lost, or later.

        Raises:
            botocore.exceptions.ClientError: It is not known whether it is here; `location` tells.
        """
        self.copying(self.region).copy_object(
            Bucket=self.names.bucket(self.region),
            Key=brought_key(key),
            CopySource={"Bucket": source, "Key": key},
        )

    def _size(self, region: str, bucket: str, key: str) -> int | None:
        try:
            return self.client_in(region).head_object(Bucket=bucket, Key=key)["ContentLength"]
        except ClientError as error:
            if _absent(error):
                return None
            raise

    # ---- the end of it

    def abort(self, key: str, multipart: str, *, home: str) -> None:
        """Throw parts away that were not put together."""
        try:
            self.client_in(home).abort_multipart_upload(
                Bucket=self.names.bucket(home), Key=key, UploadId=multipart
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":
                raise

    def erase(self, key: str, *, home: str) -> None:
        """Delete an object of an upload in every region; where it is not, that does no harm.

        Raises:
            botocore.exceptions.ClientError: A region did not do it.
        """
        self._delete(home, self.names.bucket(home), key)
        for region in self._others(home):
            # Replication brings the mark of the deletion too, but not before this is answered.
            self._delete(region, self.names.replica_bucket(region), key)
            self._delete(region, self.names.bucket(region), brought_key(key))

    def _delete(self, region: str, bucket: str, key: str) -> None:
        self.client_in(region).delete_object(Bucket=bucket, Key=key)

    def _others(self, home: str) -> list[str]:
        return [region for region in self.regions if region != home]


def brought_key(key: str) -> str:
    """Where an upload lies that was brought: under a prefix that is not replicated further."""
    return f"inputs/{key}"


def _absent(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in ABSENT
