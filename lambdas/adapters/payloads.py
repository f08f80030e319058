"""Payloads that are too large for the ledger: in the home region's bucket and one other."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lambdas.domain.names import Names

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

OUTPUT_URL_S = 3600
"""How long a link to a result works."""


@dataclass(frozen=True, slots=True)
class Payloads:
    """The payload bucket of one region, and the bucket of second copies in the next."""

    client: "S3Client"
    names: Names
    region: str
    regions: tuple[str, ...]

    def keep_input(self, key: str, body: bytes) -> None:
        """Write an input twice, so that a job that is accepted survives its region."""
        for bucket in (self.names.bucket(self.region), self._second()):
            if bucket is not None:
                self.client.put_object(
                    Bucket=bucket, Key=key, Body=body, ContentType="application/json"
                )

    def location(self, key: str, *, home: str) -> str:
        """The address of an input for an endpoint of this region."""
        return f"s3://{self.names.bucket(home)}/{key}"

    def result(self, key: str) -> bytes:
        """Read a result.

        Raises:
            botocore.exceptions.ClientError: It is not there, or not yet.
        """
        reply = self.client.get_object(Bucket=self.names.bucket(self.region), Key=key)
        return reply["Body"].read()

    def find_result(self, key: str) -> bytes | None:
        """Read a result that may not be there."""
        try:
            return self.result(key)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404", "NotFound"}:
                return None
            raise

    def link(self, key: str, *, region: str) -> str:
        """A link to a result, which works without a key for an hour."""
        return self.client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self.names.bucket(region), "Key": key},
            ExpiresIn=OUTPUT_URL_S,
        )

    def erase(self, keys: Collection[str]) -> None:
        """Delete objects here and their second copies."""
        objects = [{"Key": key} for key in sorted(keys)]
        for bucket in (self.names.bucket(self.region), self._second()):
            if bucket is not None and objects:
                self.client.delete_objects(
                    Bucket=bucket,
                    Delete={"Objects": objects, "Quiet": True},  # type: ignore[typeddict-item]
                )

    def _second(self) -> str | None:
        if len(self.regions) < 2:  # noqa: PLR2004 one region has no other
            return None
        after = self.regions[(self.regions.index(self.region) + 1) % len(self.regions)]
        return self.names.replica_bucket(after)
