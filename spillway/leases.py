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
        code: `no_lease`, `region_lost` or `last_region`.
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

    def drain(self, region: str, *, last: bool = False) -> None:
        """Let a region take no further jobs, and its peers take those that wait there.

        Args:
            region: Which; nothing changes if it is drained already.
            last: Also if no other region serves.

        Raises:
            LeaseError: It has no lease, or is lost, or is the last one that serves.
        """
        if self.state(region) is None:
            raise LeaseError(f"{region} has no lease: its beat never ran", code="no_lease")
        others = [self.state(other) for other in self._regions if other != region]
        if not last and SERVING not in others:
            raise LeaseError(
                f"no other region serves: with {region} drained no job would be accepted",
                code="last_region",
            )
        if self._change(region, DRAINED, "attribute_exists(pk) AND not #state = :lost", LOST):
            return
        raise LeaseError(
            f"{region} is lost: its jobs are being moved to other regions anyway",
            code="region_lost",
        )

    def serve(self, region: str) -> str | None:
        """Let a drained region take jobs again; a lost one comes back by itself.

        Returns:
            Its state now; see `state`.
        """
        if self._change(region, SERVING, "#state = :drained", DRAINED):
            return SERVING
        return self.state(region)

    def _change(self, region: str, state: str, condition: str, compared: str) -> bool:
        values: dict[str, Any] = {":new": {"S": state}, f":{compared}": {"S": compared}}
        try:
            self._client.update_item(
                TableName=self._table,
                Key=_key(region),
                UpdateExpression="SET #state = :new",
                ConditionExpression=condition,
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues=values,
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _key(region: str) -> dict[str, Any]:
    return {"pk": {"S": f"region#{region}"}}
