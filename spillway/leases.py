"""The regions' leases as operators change them: a region is drained, and serves again.

The lease itself is renewed by the region's own functions; who drains a region only sets its
state, in the ledger, where every region sees it with its next beat.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SERVING, DRAINED, LOST = "serving", "drained", "lost"


class LeaseError(RuntimeError):
    """A lease that is not in a state for what was asked.

    Args:
        message: What is wrong.
        code: `no_lease`, `last_region` or `contended`.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Leases:
    """The lease items of a deployment's regions.

    Args:
        client: DynamoDB in any region of the ledger.
        table: The ledger's name.
        regions: The deployment's regions.
    """

    def __init__(self, client: "DynamoDBClient", table: str, regions: Sequence[str]) -> None:
        self._client = client
        self._table = table
        self._regions = regions

    def state(self, region: str) -> str | None:
        """`serving`, `drained` or `lost`; None where the region never had a lease."""
        reply = self._client.get_item(TableName=self._table, Key=_key(region), ConsistentRead=True)
        item = reply.get("Item")
        return None if item is None else item.get("state", {}).get("S", SERVING)

    def unfinished(self, region: str, model: str) -> int:
        """Jobs of a model that a region still owns, from the ledger's index of them."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="live",
            Select="COUNT",
            KeyConditionExpression="live = :live",
            ExpressionAttributeValues={":live": {"S": f"{region}#{model}"}},
        )
        return sum(page["Count"] for page in pages)

    def holds(self, region: str, model: str) -> bool:
        """Whether a region still owns unfinished jobs of a model; to ask costs one read unit."""
        reply = self._client.query(
            TableName=self._table,
            IndexName="live",
            Select="COUNT",
            Limit=1,
            KeyConditionExpression="live = :live",
            ExpressionAttributeValues={":live": {"S": f"{region}#{model}"}},
        )
        return reply["Count"] > 0

    def drain(self, region: str, *, last: bool = False) -> str:
        """Let a region take no further jobs, and its peers take those that wait there.

        Args:
            region: Which; nothing changes if it is drained already.
            last: Also if no other region serves.

        Returns:
            `drained`; or `lost`, for a region that is and will come back drained.

        Raises:
            LeaseError: It has no lease, or is the last one that serves.
        """
        if self.state(region) is None:
            raise LeaseError(f"{region} has no lease: its beat never ran", code="no_lease")
        others = [self.state(other) for other in self._regions if other != region]
        if not last and SERVING not in others:
            raise LeaseError(
                f"no other region serves: with {region} drained no job would be accepted",
                code="last_region",
            )
        there = "attribute_exists(pk) AND NOT #state = :lost"
        if self._write(region, "SET #state = :drained", there):
            return DRAINED
        if self._write(region, "SET was = :drained", "#state = :lost"):
            return LOST
        raise LeaseError(f"the lease of {region} changes all the time: again", code="contended")

    def serve(self, region: str) -> str | None:
        """Let a drained region take jobs again; a lost one comes back by itself, and serving.

        Returns:
            Its state now; see `state`.
        """
        if self._write(region, "SET #state = :serving", "#state = :drained"):
            return SERVING
        self._write(region, "REMOVE was", "#state = :lost AND was = :drained")
        return self.state(region)

    def _write(self, region: str, update: str, condition: str) -> bool:
        """Change a lease on a condition; whether it held."""
        both = f"{update} {condition}"
        values: dict[str, Any] = {
            f":{word}": {"S": word} for word in (SERVING, DRAINED, LOST) if f":{word}" in both
        }
        try:
            self._client.update_item(
                TableName=self._table,
                Key=_key(region),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=values,
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _key(region: str) -> dict[str, Any]:
    return {"pk": {"S": f"region#{region}"}}
