"""The directory's items with tenants' webhook secrets: all of it that notify may read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.domain.webhooks import Signing

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

PREFIX = "webhook#"
"""Of their partition keys, to which notify's grant is bound."""


@dataclass(frozen=True, slots=True)
class Signings:
    """Webhook secrets in DynamoDB."""

    client: "DynamoDBClient"
    table: str

    def of(self, tenant: str) -> Signing | None:
        """What signs a tenant's webhooks; None if an operator has made no secret for it."""
        reply = self.client.get_item(TableName=self.table, Key={"pk": {"S": f"{PREFIX}{tenant}"}})
        item: Any = reply.get("Item")
        if not item:
            return None
        return Signing(
            secret=item["secret"]["S"],
            previous=item.get("previous", {}).get("S"),
            previous_until_ms=int(item.get("previous_until_ms", {}).get("N", 0)),
            address=item.get("address", {}).get("S"),
        )
