"""The directory: the global, eventually consistent table of tenants, keys and snapshots."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SCAN_PAGES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key.

    Attributes:
        tenant: Its owner.
        name: What an operator called it.
        revoked: Whether it no longer opens anything.
        expires_ms: When it opens nothing any more; None for never.
        scopes: What it may do; None for all.
        models: What it may use of what its tenant may; None for all of it.
        tiers: How urgently it may ask, of what its tenant may; None for all of it.
    """

    tenant: str
    name: str
    revoked: bool
    expires_ms: int | None = None
    scopes: frozenset[str] | None = None
    models: frozenset[str] | None = None
    tiers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An owner of API keys. None stands for the deployment's default, or for all.

    Attributes:
        id: Its name.
        disabled: Whether all its keys are refused.
        models: What it may use.
        tiers: How urgently it may ask.
        rate_per_s: Submissions a second.
        in_flight_max: Unfinished jobs.
        tokens_per_day: All regions together; None for no quota.
        metadata_mask: What becomes of fields of its jobs' metadata, see `masking.masked`.
    """

    id: str
    disabled: bool = False
    models: frozenset[str] | None = None
    tiers: frozenset[str] | None = None
    rate_per_s: float | None = None
    in_flight_max: int | None = None
    tokens_per_day: int | None = None
    metadata_mask: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Directory:
    """Tenants and keys in DynamoDB."""

    client: "DynamoDBClient"
    table: str

    def key(self, hashed: str) -> Key | None:
        """Look an API key up by its hash."""
        item = self._get(f"key#{hashed}")
        if item is None:
            return None
        return Key(
            tenant=item["tenant"]["S"],
            name=item.get("name", {}).get("S", ""),
            revoked="revoked_ms" in item,
            expires_ms=int(item["expires_ms"]["N"]) if "expires_ms" in item else None,
            scopes=_names(item.get("scopes")),
            models=_names(item.get("models")),
            tiers=_names(item.get("tiers")),
        )

    def tenant(self, tenant: str) -> Tenant | None:
        """Look a tenant up."""
        item = self._get(f"tenant#{tenant}")
        return None if item is None else _tenant(tenant, item)

    def tenants(self) -> list[str]:
        """All tenants, in no order. Reads the whole table: not for requests."""
        found: list[str] = []
        start: dict[str, Any] = {}
        for _ in range(SCAN_PAGES_MAX):
            reply = self.client.scan(
                TableName=self.table,
                FilterExpression="begins_with(pk, :prefix)",
                ExpressionAttributeValues={":prefix": {"S": "tenant#"}},
                ProjectionExpression="pk",
                **start,
            )
            found += [str(item["pk"]["S"]).removeprefix("tenant#") for item in reply["Items"]]
            if "LastEvaluatedKey" not in reply:
                break
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}
        return found

    def write_snapshot(self, region: str, snapshot: Mapping[str, Any]) -> None:
        """Tell the other regions what beat saw of this one."""
        self.client.put_item(
            TableName=self.table,
            Item={"pk": {"S": f"snapshot#{region}"}, "document": {"S": json.dumps(snapshot)}},
        )

    def snapshot(self, region: str) -> dict[str, Any]:
        """What a region's beat told the others, about a second late; empty if it never did."""
        item = self._get(f"snapshot#{region}")
        return dict(json.loads(item["document"]["S"])) if item else {}

    def _get(self, pk: str) -> Any:
        reply = self.client.get_item(TableName=self.table, Key={"pk": {"S": pk}})
        return reply.get("Item")


def _tenant(tenant: str, item: Mapping[str, Any]) -> Tenant:
    return Tenant(
        id=tenant,
        disabled=item.get("disabled", {}).get("BOOL", False),
        models=_names(item.get("models")),
        tiers=_names(item.get("tiers")),
        rate_per_s=float(item["rate_per_s"]["N"]) if "rate_per_s" in item else None,
        in_flight_max=int(item["in_flight_max"]["N"]) if "in_flight_max" in item else None,
        tokens_per_day=int(item["tokens_per_day"]["N"]) if "tokens_per_day" in item else None,
        metadata_mask={
            name: str(rule.get("S"))
            for name, rule in item.get("metadata_mask", {}).get("M", {}).items()
        },
    )


def _names(value: Mapping[str, Any] | None) -> frozenset[str] | None:
    if value is None:
        return None
    if "SS" in value:
        return frozenset(value["SS"])
    return frozenset(part["S"] for part in value["L"])
