"""The directory table as operators change it: tenants, their limits and their keys."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lambdas.domain.access import LIVE_KEYS_MAX
from lambdas.domain.keys import KEY_BYTES, key_hash, key_id, new_key
from spillway.signing import PREFIX, Signings

if TYPE_CHECKING:
    from types_boto3_dynamodb.service_resource import Table


class TooManyKeysError(Exception):
    """A name has as many keys that open something as it may have."""


class NoKeyError(Exception):
    """A name has no key that opens something."""


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

    def change(self, tenant: str, changes: dict[str, Any], *, remove: Sequence[str] = ()) -> None:
        """Change some of a tenant's fields and remove others, creating it if there is none."""
        values = {f":{name}": value for name, value in changes.items()}
        sets = [f"#{name} = :{name}" for name in changes]
        sets.append("#created_ms = if_not_exists(#created_ms, :created_ms)")
        self._table.update_item(
            Key={"pk": f"tenant#{tenant}"},
            UpdateExpression="SET "
            + ", ".join(sets)
            + (f" REMOVE {', '.join(f'#{name}' for name in remove)}" if remove else ""),
            ExpressionAttributeNames={
                f"#{name}": name for name in ("created_ms", *changes, *remove)
            },
            ExpressionAttributeValues={**values, ":created_ms": self._now_ms()},
        )

    def add_key(self, tenant: str, name: str, **limits: Any) -> str:
        """Make a key for a tenant and store its hash; the key is nowhere but in the answer.

        Args:
            tenant: Whose.
            name: For people, and to rotate it by.
            limits: `scopes`, `models`, `tiers`, `expires_ms`; what is None is no limit.
        """
        key = new_key(secrets.token_bytes(KEY_BYTES))
        pk = f"key#{key_hash(key)}"
        item: dict[str, Any] = {
            "pk": pk,
            "tenant": tenant,
            "name": name,
            "created_ms": self._now_ms(),
        }
        item |= {field: value for field, value in limits.items() if value is not None}
        self._table.put_item(Item=item)
        return key

    def live_keys(self, tenant: str, name: str) -> list[dict[str, Any]]:
        """A tenant's keys of a name that open something, oldest first."""
        now_ms = self._now_ms()
        return [
            key
            for key in self.list_keys()
            if (key["tenant"], key["name"]) == (tenant, name)
            and "revoked_ms" not in key
            and key.get("expires_ms", now_ms + 1) > now_ms
        ]

    def check_room(self, tenant: str, name: str) -> None:
        """Whether a name may have one more key.

        Looking and adding are two steps: operators who add in the same second may end with a key
        too many, which `spillway tenant list` shows.

        Raises:
            TooManyKeysError: It has `LIVE_KEYS_MAX` that open something, whose ids are the text.
        """
        live = self.live_keys(tenant, name)
        if len(live) >= LIVE_KEYS_MAX:
            raise TooManyKeysError(", ".join(key_id(key["id"]) for key in live))

    def rotate_key(self, tenant: str, name: str) -> tuple[str, list[str]]:
        """Make a key like the newest one of a name: same limits, same length of life.

        Returns:
            The key, and the ids of those that are to be revoked when it is in use.

        Raises:
            NoKeyError: There is none to be replaced.
            TooManyKeysError: It was rotated already, and the old one was not revoked.
        """
        live = self.live_keys(tenant, name)
        if not live:
            raise NoKeyError
        self.check_room(tenant, name)
        newest = live[-1]
        limits = {field: newest.get(field) for field in ("scopes", "models", "tiers")}
        if "expires_ms" in newest:
            life_ms = newest["expires_ms"] - newest["created_ms"]
            limits["expires_ms"] = self._now_ms() + life_ms
        return self.add_key(tenant, name, **limits), [key_id(key["id"]) for key in live]

    @property
    def signings(self) -> Signings:
        """The secrets that sign tenants' webhooks."""
        return Signings(self._table, self._now)

    def list_signings(self) -> dict[str, dict[str, Any]]:
        """The items of all tenants that have webhook secrets, by tenant."""
        return {item["pk"].removeprefix(PREFIX): item for item in self._scan(PREFIX)}

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
        The key, which can never be read again. That a name has two live ones at most is for the
        commands to see to: programs give keys as they need them.
    """
    changes = {name: value for name, value in limits.items() if value is not None}
    if directory.tenant(tenant) is None:
        changes = {"id": tenant, "disabled": False, **changes}
    if changes:
        directory.change(tenant, changes)
    return directory.add_key(tenant, key_name)
