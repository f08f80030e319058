"""The records of releases: items of the ledger, where every region sees the same."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.adapters.aws import through_conflicts
from lambdas.adapters.ledger import UnreadError
from lambdas.domain.release import Release

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Releases:
    """Records in DynamoDB. Every write is conditional on the revision that its writer knows."""

    client: "DynamoDBClient"
    table: str

    def read(self, model: str) -> Release | None:
        """Read a model's record, strongly consistent; None before there is one."""
        reply = self.client.get_item(TableName=self.table, Key=_key(model), ConsistentRead=True)
        return _release(reply["Item"]) if "Item" in reply else None

    def read_many(self, models: Collection[str]) -> dict[str, Release]:
        """Read records strongly consistent, at most 100; a model without one is left out.

        Raises:
            UnreadError: Not all could be read.
        """
        keys: Any = [_key(model) for model in models]
        reply = self.client.batch_get_item(
            RequestItems={self.table: {"Keys": keys, "ConsistentRead": True}}
        )
        if reply.get("UnprocessedKeys"):
            raise UnreadError
        found = [_release(item) for item in reply["Responses"].get(self.table, [])]
        return {release.model: release for release in found}

    def write(self, release: Release) -> bool:
        """Write the next revision of a record; False if somebody else changed it meanwhile.

        A write of ours that arrived in an earlier send is recognised by what it wrote.
        """
        document = json.dumps(release.document(), sort_keys=True)
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if release.revision > 1:
            condition = {
                "ConditionExpression": "#revision = :before",
                "ExpressionAttributeNames": {"#revision": "revision"},
                "ExpressionAttributeValues": {":before": {"N": str(release.revision - 1)}},
            }
        try:
            through_conflicts(
                self.client,
                self.client.put_item,
                TableName=self.table,
                Item={
                    **_key(release.model),
                    "revision": {"N": str(release.revision)},
                    "document": {"S": document},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **condition,
            )
        except self.client.exceptions.ConditionalCheckFailedException as refusal:
            item: Any = refusal.response.get("Item") or {}
            return bool(item.get("document", {}).get("S") == document)
        return True


def _key(model: str) -> dict[str, Any]:
    return {"pk": {"S": f"release#{model}"}}


def _release(item: Mapping[str, Any]) -> Release:
    return Release.read(json.loads(item["document"]["S"]))
