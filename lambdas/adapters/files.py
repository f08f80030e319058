"""Files in the ledger: whose they are and where their bytes lie."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.adapters.aws import through_conflicts
from lambdas.adapters.ledger import BATCH_GET_MAX, UnreadError
from lambdas.domain.files import File, Listing, created_ms_of
from lambdas.domain.job import FORMAT

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

READ_TRIES_MAX = 5
"""Unprocessed keys come back under throttling."""


@dataclass(frozen=True, slots=True)
class FileRecords:
    """Files in DynamoDB: strongly consistent, in every region; their lists follow in a second."""

    client: "DynamoDBClient"
    table: str

    def create(self, file: File) -> None:
        """Accept a file whose bytes are where they must be. Again, it writes the same."""
        through_conflicts(
            self.client,
            self.client.put_item,
            TableName=self.table,
            Item={
                **_key(file.id),
                "format": {"N": str(FORMAT)},
                "tenant_day": {"S": _list(file.tenant, file.purpose)},
                "live": {"S": kept_key(file.home)},
                "tenant": {"S": file.tenant},
                "purpose": {"S": file.purpose},
                "filename": {"S": file.filename},
                "size": {"N": str(file.size)},
                "created_ms": {"N": str(file.created_ms)},
                # As the index of what is kept has it.
                "deadline_ms": {"N": str(file.expires_ms)},
                "home": {"S": file.home},
                "copied": {"S": file.copied},
                "object_key": {"S": file.key},
            },
        )

    def get(self, file_id: str) -> File | None:
        """Read a file's record."""
        reply = self.client.get_item(TableName=self.table, Key=_key(file_id), ConsistentRead=True)
        item = reply.get("Item")
        return _file(item) if item else None

    def delete(self, file: File) -> None:
        """Forget a file whose bytes are gone."""
        through_conflicts(
            self.client, self.client.delete_item, TableName=self.table, Key=_key(file.id)
        )

    def listed(
        self, tenant: str, listing: Listing, *, since_ms: int
    ) -> tuple[list[File], str | None]:
        """A page of a tenant's files, in the order that was asked for.

        Args:
            tenant: Whose.
            listing: Which of them.
            since_ms: Only those created since then: older ones have expired.

        Returns:
            Files, fewer than asked for where some are gone that the list still has; and the id
            after which it goes on, None at its end.

        Raises:
            UnreadError: Not all could be read.
        """
        ids = [
            found
            for purpose in listing.purposes
            for found in self._ids(_list(tenant, purpose), listing, since_ms)
        ]
        ids.sort(key=lambda each: (created_ms_of(each), each), reverse=listing.newest_first)
        ids = ids[: listing.limit]
        files = {file.id: file for file in self._get_many(ids)}
        following = ids[-1] if len(ids) == listing.limit else None
        return [files[each] for each in ids if each in files], following

    def _ids(self, partition: str, listing: Listing, since_ms: int) -> list[str]:
        after_ms = None if listing.after is None else created_ms_of(listing.after)
        first_ms, last_ms = since_ms, 2**53
        start: dict[str, Any] = {}
        if listing.after is not None and after_ms is not None:
            first_ms, last_ms = (
                (since_ms, after_ms) if listing.newest_first else (max(since_ms, after_ms), last_ms)
            )
            if first_ms <= after_ms <= last_ms:
                start["ExclusiveStartKey"] = {
                    **_key(listing.after),
                    "tenant_day": {"S": partition},
                    "created_ms": {"N": str(after_ms)},
                }
        if first_ms > last_ms:
            return []
        reply = self.client.query(
            TableName=self.table,
            IndexName="listing",
            KeyConditionExpression="tenant_day = :list AND created_ms BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":list": {"S": partition},
                ":first": {"N": str(first_ms)},
                ":last": {"N": str(last_ms)},
            },
            ScanIndexForward=not listing.newest_first,
            Limit=listing.limit,
            **start,
        )
        return [str(item["pk"]["S"]).removeprefix("file#") for item in reply["Items"]]

    def _get_many(self, ids: Iterable[str]) -> list[File]:
        wanted, found = list(ids), []
        for first in range(0, len(wanted), BATCH_GET_MAX):
            keys: Any = [_key(each) for each in wanted[first : first + BATCH_GET_MAX]]
            for _ in range(READ_TRIES_MAX):
                reply = self.client.batch_get_item(RequestItems={self.table: {"Keys": keys}})
                found += [_file(item) for item in reply["Responses"].get(self.table, [])]
                unprocessed: Any = reply.get("UnprocessedKeys", {})
                keys = unprocessed.get(self.table, {}).get("Keys", [])
                if not keys:
                    break
            else:
                raise UnreadError
        return found


def kept_key(region: str) -> str:
    """The partition of the `live` index that holds what a region forgets one day.

    `#` is in no model's name, so that no model's jobs are there.
    """
    return f"kept#{region}#"


def _list(tenant: str, purpose: str) -> str:
    """The partition of the `listing` index; no day looks like it, so that no jobs are there."""
    return f"{tenant}#files#{purpose}"


def _key(file_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"file#{file_id}"}}


def _file(item: Any) -> File:
    return File(
        id=str(item["pk"]["S"]).removeprefix("file#"),
        tenant=item["tenant"]["S"],
        purpose=item["purpose"]["S"],
        filename=item["filename"]["S"],
        size=int(item["size"]["N"]),
        created_ms=int(item["created_ms"]["N"]),
        expires_ms=int(item["deadline_ms"]["N"]),
        home=item["home"]["S"],
        copied=item["copied"]["S"],
        key=item["object_key"]["S"],
    )
