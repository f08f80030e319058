"""Usage counters: one item of the gate a tenant and day, written by its own region alone.

The gate is regional, so that counting costs one write and waits for no other region.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from lambdas.domain.usage import KEPT_S, TOTAL, counters_of, key_of

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BATCH_GET_MAX = 100
"""Items in one BatchGetItem (DynamoDB API reference)."""
BATCH_TRIES_MAX = 5


class UncountedError(BotoCoreError):
    """Some days could not be read, which is not to say that nothing was used."""

    fmt = "the gate left usage unread"


@dataclass(frozen=True, slots=True)
class UsageCounters:
    """What was used in one region, in DynamoDB.

    Attributes:
        client: Of that region.
        table: The gate.
        region: Which one; it stands in the keys, so that no copy of a table mixes them.
    """

    client: "DynamoDBClient"
    table: str
    region: str

    def add(self, tenant: str, day: str, counted: Mapping[str, int]) -> None:
        """Add to the counters of a tenant's day, in one write.

        An earlier sending of the same write is recognised, unless another one came in between:
        then it counts twice.
        """
        names = {f"#{number}": name for number, name in enumerate(counted)}
        values: dict[str, Any] = {
            f":{number}": {"N": str(value)} for number, value in enumerate(counted.values())
        }
        added = ", ".join(f"#{number} :{number}" for number in range(len(counted)))
        expires_s = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) + KEPT_S
        try:
            self.client.update_item(
                TableName=self.table,
                Key=self._key(tenant, day),
                UpdateExpression=f"ADD {added} SET last_write = :write, expires_s = :expires",
                ConditionExpression="attribute_not_exists(last_write) OR last_write <> :write",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values
                | {":write": {"S": secrets.token_hex(6)}, ":expires": {"N": str(expires_s)}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def tokens(self, tenant: str, day: str) -> int:
        """All tokens that were counted of a tenant's day here."""
        reply = self.client.get_item(
            TableName=self.table,
            Key=self._key(tenant, day),
            ProjectionExpression="#tokens",
            ExpressionAttributeNames={"#tokens": TOTAL},
        )
        return int(reply.get("Item", {}).get(TOTAL, {"N": "0"})["N"])

    def read(self, tenant: str, days: Iterable[str]) -> list[tuple[str, dict[str, int]]]:
        """What was counted of a tenant's days; days without anything are left out.

        Raises:
            UncountedError: Not all of them could be read.
        """
        wanted, found = list(days), []
        for start in range(0, len(wanted), BATCH_GET_MAX):
            keys: Any = [self._key(tenant, day) for day in wanted[start : start + BATCH_GET_MAX]]
            for _ in range(BATCH_TRIES_MAX):  # unprocessed keys come back under throttling
                reply = self.client.batch_get_item(RequestItems={self.table: {"Keys": keys}})
                found += [counters_of(item) for item in reply["Responses"].get(self.table, [])]
                unprocessed: Any = reply.get("UnprocessedKeys", {})
                keys = unprocessed.get(self.table, {}).get("Keys", [])
                if not keys:
                    break
            else:
                raise UncountedError
        return found

    def _key(self, tenant: str, day: str) -> dict[str, Any]:
        return {"pk": {"S": key_of(self.region, tenant, day)}}
