"""Payloads that are too large for the ledger: where their job runs, and in one other region."""

from collections.abc import Callable, Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.domain.names import Names

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

OUTPUT_URL_S = 3600
"""How long a link to a result works."""
DELETE_MAX = 1000
"""Objects in one DeleteObjects (S3 API reference)."""


@dataclass(frozen=True, slots=True)
class Result:
    """A result that is in the bucket.

    Attributes:
        body: What the model answered, or None if that was too large to read.
        size: Bytes.
    """

    body: bytes | None
    size: int


@dataclass(frozen=True, slots=True)
class Payloads:
    """The payload buckets, as one region uses them.

    Attributes:
        client_in: Makes, or finds, the client of a region: S3 answers a bucket's own region only.
        names: The buckets' names.
        region: The region that this runs in.
        regions: All of the deployment, in order: each keeps second copies for the one before, or
            for another one whose next is away.
    """

    client_in: "Callable[[str], S3Client]"
    names: Names
    region: str
    regions: tuple[str, ...]

    def keep_input(self, key: str, body: bytes, *, region: str, lost: Collection[str] = ()) -> str:
        """Write an input twice, so that a job that is accepted survives its region.

        Args:
            key: The object's.
            body: What it holds.
            region: Where the job will run: the first copy is there.
            lost: Regions that are not asked to keep the second one.

        Returns:
            The region of the second copy: the next one that takes it. The first one's if there is
            no other region, or all others are lost: then one copy has to do.

        Raises:
            botocore.exceptions.ClientError: A region that should keep a copy did not take it.
        """
        self._put(region, self.names.bucket(region), key, body)
        refusal: ClientError | BotoCoreError | None = None
        for place in self._after(region):
            if place in lost:
                continue
            try:
                self._put(place, self.names.replica_bucket(place), key, body)
            except (ClientError, BotoCoreError) as error:
                refusal = error
            else:
                return place
        if refusal is not None:
            raise refusal
        return region

    def _put(self, region: str, bucket: str, key: str, body: bytes) -> None:
        self.client_in(region).put_object(
            Bucket=bucket, Key=key, Body=body, ContentType="application/json"
        )

    def location(self, key: str, *, stored: str, copied: str | None = None) -> str:
        """The address of an input in this region: an endpoint reads from no other.

        Args:
            key: The object's.
            stored: The region of its first copy. If neither copy is here, one is brought.
            copied: What `keep_input` returned; None for what earlier releases kept, in the next
                region.

        Raises:
            botocore.exceptions.ClientError: No copy can be read.
        """
        copies = dict(self._copies(stored, copied))
        if self.region not in copies:
            self._bring(key, list(copies.values()))
        return f"s3://{copies.get(self.region, self.names.bucket(self.region))}/{key}"

    def _bring(self, key: str, sources: list[str]) -> None:
        """Copy an input into this region, from the second copy if the first one's region is away.

        The second is tried first: who moves a job mostly does so because the first is lost.
        """
        *others, last = sources
        for source in (last, *others):
            try:
                self.client_in(self.region).copy_object(
                    Bucket=self.names.bucket(self.region),
                    Key=key,
                    CopySource={"Bucket": source, "Key": key},
                )
            except (ClientError, BotoCoreError):
                if source == sources[0]:
                    raise
            else:
                return

    def result(self, key: str, *, bytes_max: int, region: str | None = None) -> Result:
        """Read a result of a region, this one unless told otherwise, if it is no larger than that.

        Raises:
            botocore.exceptions.ClientError: It is not there, or not yet.
        """
        place = region or self.region
        reply = self.client_in(place).get_object(Bucket=self.names.bucket(place), Key=key)
        with closing(reply["Body"]) as stream:
            size = reply["ContentLength"]
            return Result(body=stream.read() if size <= bytes_max else None, size=size)

    def find_result(self, key: str, *, bytes_max: int) -> Result | None:
        """Read a result of this region that may not be there."""
        try:
            return self.result(key, bytes_max=bytes_max)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404", "NotFound"}:
                return None
            raise

    def failure(self, key: str, *, bytes_max: int) -> bytes:
        """Read the beginning of what a model of this region answered instead of a result.

        Raises:
            botocore.exceptions.ClientError: It is not there, or empty.
        """
        reply = self.client_in(self.region).get_object(
            Bucket=self.names.bucket(self.region), Key=key, Range=f"bytes=0-{bytes_max - 1}"
        )
        return reply["Body"].read()

    def link(self, key: str, *, region: str) -> str:
        """A link to a result in a region, which works without a key for an hour."""
        return self.client_in(region).generate_presigned_url(
            "get_object",
            Params={"Bucket": self.names.bucket(region), "Key": key},
            ExpiresIn=OUTPUT_URL_S,
        )

    def erase_input(
        self, key: str, *, stored: str, copied: str | None = None, brought: Collection[str] = ()
    ) -> None:
        """Delete every copy of an input.

        Args:
            key: The object's.
            stored: The region of its first copy.
            copied: The region of its second, as for `location`.
            brought: Regions to which one may have been brought since.

        Raises:
            botocore.exceptions.ClientError: A copy that is there, or may be, was not deleted. One
                that a request left elsewhere which never became a job is tried only: that region
                may be away, and the bucket's lifecycle ends it.
        """
        copies = self._copies(stored, copied)
        copies += [(region, self.names.bucket(region)) for region in brought if region != stored]
        for region, bucket in copies:
            self.client_in(region).delete_object(Bucket=bucket, Key=key)
        for region, bucket in self._everywhere():
            if (region, bucket) not in copies:
                with suppress(ClientError, BotoCoreError):
                    self.client_in(region).delete_object(Bucket=bucket, Key=key)

    def erase_results(self, keys: Collection[str], *, region: str) -> None:
        """Delete results of a region; those that never were there do no harm."""
        ordered = sorted(keys)
        for start in range(0, len(ordered), DELETE_MAX):
            some = ordered[start : start + DELETE_MAX]
            self.client_in(region).delete_objects(
                Bucket=self.names.bucket(region),
                Delete={"Objects": [{"Key": key} for key in some], "Quiet": True},
            )

    def _everywhere(self) -> list[tuple[str, str]]:
        """Region and bucket of every place where an input can be."""
        buckets = [(region, self.names.bucket(region)) for region in self.regions]
        if len(self.regions) == 1:
            return buckets
        return buckets + [(region, self.names.replica_bucket(region)) for region in self.regions]

    def _after(self, region: str) -> tuple[str, ...]:
        """The other regions, the next one first."""
        place = self.regions.index(region)
        return self.regions[place + 1 :] + self.regions[:place]

    def _copies(self, first: str, second: str | None) -> list[tuple[str, str]]:
        """Region and bucket of each copy of an input."""
        copies = [(first, self.names.bucket(first))]
        if second is None:
            second = next(iter(self._after(first)), first)
        if second != first:
            copies.append((second, self.names.replica_bucket(second)))
        return copies
