"""The regions' leases: items of the ledger, where every region sees the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.adapters.aws import through_conflicts
from lambdas.adapters.ledger import UnreadError
from lambdas.domain.regions import LOST, SERVING, Lease

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Leases:
    """Leases in DynamoDB. Every write is conditional on the epoch that its writer knows."""

    client: "DynamoDBClient"
    table: str

    def read(self, regions: Sequence[str]) -> dict[str, Lease]:
        """Read leases strongly consistent; a region that never had one is left out.

        Raises:
            UnreadError: Not all could be read.
        """
        keys: Any = [_key(region) for region in regions]
        reply = self.client.batch_get_item(
            RequestItems={self.table: {"Keys": keys, "ConsistentRead": True}}
        )
        if reply.get("UnprocessedKeys"):
            raise UnreadError
        leases = [_lease(item) for item in reply["Responses"].get(self.table, [])]
        return {lease.region: lease for lease in leases}

    def begin(self, region: str, *, now_ms: int) -> Lease | None:
        """Take a region's first lease; None if it has one."""
        return self._write(
            region,
            "SET epoch = :one, #sequence = :one, beat_ms = :now, #state = :serving",
            "attribute_not_exists(pk)",
            {
                ":one": {"N": "1"},
                ":now": {"N": str(now_ms)},
                ":serving": {"S": SERVING},
            },
        )

    def renew(self, lease: Lease, *, now_ms: int) -> Lease | None:
        """Raise the sequence of a lease; None if its epoch is gone.

        It may be repeated: a sequence that rises twice says the same.
        """
        return self._write(
            lease.region,
            "SET #sequence = #sequence + :one, beat_ms = :now",
            "epoch = :epoch AND #state <> :lost",
            {
                ":one": {"N": "1"},
                ":now": {"N": str(now_ms)},
                ":epoch": {"N": str(lease.epoch)},
                ":lost": {"S": LOST},
            },
        )

    def win(self, lease: Lease, *, now_ms: int) -> Lease | None:
        """Begin a new epoch of a region that lost its own; None if somebody else was faster.

        What an operator drained before it was lost comes back drained.
        """
        return self._write(
            lease.region,
            "SET epoch = epoch + :one, #sequence = #sequence + :one, beat_ms = :now, "
            "#state = if_not_exists(was, :serving) REMOVE was",
            "epoch = :epoch",
            {
                ":one": {"N": "1"},
                ":now": {"N": str(now_ms)},
                ":epoch": {"N": str(lease.epoch)},
                ":serving": {"S": SERVING},
            },
        )

    def lose(self, lease: Lease) -> bool:
        """Declare a peer lost, unless it renewed its lease since this one was read."""
        lost = self._write(
            lease.region,
            # What an operator made of it is what it comes back as; it may be newer than our read.
            "SET was = #state, epoch = epoch + :one, #state = :lost",
            "epoch = :epoch AND #sequence = :seen AND #state <> :lost",
            {
                ":one": {"N": "1"},
                ":lost": {"S": LOST},
                ":epoch": {"N": str(lease.epoch)},
                ":seen": {"N": str(lease.sequence)},
            },
        )
        return lost is not None

    def _write(
        self, region: str, update: str, condition: str, values: Mapping[str, Any]
    ) -> Lease | None:
        try:
            reply = through_conflicts(
                self.client,
                self.client.update_item,
                TableName=self.table,
                Key=_key(region),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={
                    name: word
                    for name, word in (("#state", "state"), ("#sequence", "sequence"))
                    if name in update or name in condition
                },
                ExpressionAttributeValues=dict(values),
                ReturnValues="ALL_NEW",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return _lease(reply["Attributes"])


def _key(region: str) -> dict[str, Any]:
    return {"pk": {"S": f"region#{region}"}}


def _lease(item: Mapping[str, Any]) -> Lease:
    return Lease(
        region=str(item["pk"]["S"]).removeprefix("region#"),
        epoch=int(item["epoch"]["N"]),
        sequence=int(item["sequence"]["N"]),
        # Leases of the first release have no state.
        state=item.get("state", {}).get("S", SERVING),
    )
