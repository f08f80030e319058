"""The directory table as operators change it: tenants, their limits and their keys."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lambdas.domain.keys import KEY_BYTES, key_hash, new_key
from lambdas.domain.webhooks import new_secret

if TYPE_CHECKING:
    from types_boto3_dynamodb.service_resource import Table

WEBHOOK_SECRET_BYTES = 32
"""As much as the HMAC-SHA256 that it keys; Standard Webhooks allows 24 to 64."""


class Directory:
    """The directory table, as operators change it.

    Args:
        table: The directory, in any of the deployment's regions.
        now: Seconds since the epoch.
    """

    def __init__(self, table: "Table", now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    def tenant(self, tenant: str) -> dict[str, Any] | None:
        """One tenant's item."""
        reply = self._table.get_item(Key={"pk": f"tenant#{tenant}"}, ConsistentRead=True)
        return reply.get("Item")

    def change(self, tenant: str, changes: dict[str, Any]) -> None:
        """Change some of a tenant's fields, creating it if there is none."""
        values = {f":{name}": value for name, value in changes.items()}
        sets = [f"#{name} = :{name}" for name in changes]
        sets.append("created_ms = if_not_exists(created_ms, :created_ms)")
        self._table.update_item(
            Key={"pk": f"tenant#{tenant}"},
            UpdateExpression="SET " + ", ".join(sets),
            ExpressionAttributeNames={f"#{name}": name for name in changes},
            ExpressionAttributeValues={**values, ":created_ms": self._now_ms()},
        )

    def add_key(self, tenant: str, name: str) -> str:
        """Make a key for a tenant and store its hash; the key is nowhere but in the answer."""
        key = new_key(secrets.token_bytes(KEY_BYTES))
        pk = f"key#{key_hash(key)}"
        item: dict[str, Any] = {
            "pk": pk,
            "tenant": tenant,
            "name": name,
            "created_ms": self._now_ms(),
        }
        self._table.put_item(Item=item)
        return key

    def make_webhook_secret(self, tenant: str, *, replace: bool = False) -> str | None:
        """Make the secret that signs a tenant's webhooks from now on.

        Args:
            tenant: A tenant that is there.
            replace: Whether a secret that it has becomes worthless.

        Returns:
            The secret, as a receiver's library takes it; None if the tenant keeps the one it has.
        """
        secret = new_secret(secrets.token_bytes(WEBHOOK_SECRET_BYTES))
        condition = "attribute_exists(pk)"
        if not replace:
            condition += " AND attribute_not_exists(webhook_secret)"
        try:
            self._table.update_item(
                Key={"pk": f"tenant#{tenant}"},
                UpdateExpression="SET webhook_secret = :secret",
                ConditionExpression=condition,
                ExpressionAttributeValues={":secret": secret},
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return None
        return secret

    def list_keys(self) -> list[dict[str, Any]]:
        """All keys, oldest first; `id` is their hash."""
        keys = ({**item, "id": item["pk"].removeprefix("key#")} for item in self._scan("key#"))
        return sorted(keys, key=lambda key: key["created_ms"])

    def list_tenants(self) -> list[dict[str, Any]]:
        """All tenants."""
        return sorted(self._scan("tenant#"), key=lambda item: item["pk"])

    def snapshot(self, region: str) -> dict[str, Any]:
        """What a region's beat told of it last, up to a few seconds ago; empty if it never did."""
        item = self._table.get_item(Key={"pk": f"snapshot#{region}"}).get("Item")
        return dict(json.loads(str(item["document"]))) if item else {}

    def revoke(self, key_id: str) -> None:
        """Make a key worthless; revoking it again changes nothing."""
        self._table.update_item(
            Key={"pk": f"key#{key_id}"},
            UpdateExpression="SET revoked_ms = if_not_exists(revoked_ms, :now)",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues={":now": self._now_ms()},
        )

    def _scan(self, prefix: str) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            reply = self._table.scan(
                FilterExpression="begins_with(pk, :prefix)",
                ExpressionAttributeValues={":prefix": prefix},
                ConsistentRead=True,
                **start,
            )
            yield from reply["Items"]
            if "LastEvaluatedKey" not in reply:
                return
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def add_tenant(
    directory: Directory, tenant: str, *, key_name: str = "default", **limits: Any
) -> str:
    """Create a tenant or change its limits, and give it one more key.

    Args:
        directory: Where.
        tenant: Its id.
        key_name: For people, to tell its keys apart.
        limits: `models`, `tiers`, `rate_per_s`, `in_flight_max`; what is None stays as it is.

    Returns:
        The key, which can never be read again.
    """
    changes = {name: value for name, value in limits.items() if value is not None}
    if directory.tenant(tenant) is None:
        changes = {"id": tenant, "disabled": False, **changes}
    if changes:
        directory.change(tenant, changes)
    return directory.add_key(tenant, key_name)
