"""The directory table as operators change it: tenants, their limits and their keys."""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lambdas.domain.access import LIVE_KEYS_MAX
from lambdas.domain.keys import KEY_BYTES, key_hash, key_id, new_key
from spillway.signing import PREFIX, Signings

if TYPE_CHECKING:
    from types_boto3_dynamodb.service_resource import Table

KEY_PREFIX = "key#"
TRIES_MAX = 3
"""Of a key whose room another operator's took meanwhile."""


class TooManyKeysError(Exception):
    """A name has as many keys that open something as it may have."""


class NoKeyError(Exception):
    """A name has no key that opens something."""


class KeysChangingError(Exception):
    """Others make keys of the tenant just now."""


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

        However many it has: programs give keys as they need them.

        Args:
            tenant: Whose.
            name: For people, and to rotate it by.
            limits: `scopes`, `models`, `tiers`, `expires_ms`; what is None is no limit.
        """
        key, item = self._new_key(tenant, name, limits)
        self._table.put_item(Item=item)
        return key

    def add_key_in_room(self, tenant: str, name: str, **limits: Any) -> str:
        """Make a key, as `add_key` does, of a name that has fewer than `LIVE_KEYS_MAX`.

        Raises:
            TooManyKeysError: It has as many that open something, whose ids are the text.
            KeysChangingError: Others make keys of the tenant just now.
        """
        return self._in_room(tenant, name, lambda _: limits)[0]

    def _in_room(
        self,
        tenant: str,
        name: str,
        limits_of: Callable[[list[dict[str, Any]]], Mapping[str, Any]],
    ) -> tuple[str, list[dict[str, Any]]]:
        """Make a key beside the live ones of its name; both are returned.

        The tenant's item names the key that was made last. A key is put before it stands there, and
        only who looked after the last one's put may write over that: anybody else's key is taken
        away again, and was never shown. A command that ends in between leaves a key that nobody
        knows: it takes room until it is revoked by its id. Operators who reach different regions in
        the same second are not kept apart: commands go to the first region that answers.
        """
        for _ in range(TRIES_MAX):
            last = (self.tenant(tenant) or {}).get("last_key")
            live = self._live(self.list_keys(), tenant, name)
            _check_room(live)
            key, item = self._new_key(tenant, name, limits_of(live))
            self._table.put_item(Item=item)
            if self._is_next(tenant, item["pk"].removeprefix(KEY_PREFIX), after=last):
                return key, live
            self._table.delete_item(Key={"pk": item["pk"]})
        raise KeysChangingError

    def _is_next(self, tenant: str, key: str, *, after: str | None) -> bool:
        """Name a tenant's last key, if the one before is still that; whether it was."""
        known = "attribute_not_exists(last_key)" if after is None else "last_key = :after"
        try:
            self._table.update_item(
                Key={"pk": f"tenant#{tenant}"},
                UpdateExpression="SET last_key = :key",
                # Its own name is there if an answer was lost, and this is the repetition.
                ConditionExpression=f"attribute_exists(pk) AND ({known} OR last_key = :key)",
                ExpressionAttributeValues={":key": key} | ({":after": after} if after else {}),
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _new_key(
        self, tenant: str, name: str, limits: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """A key that was never given, and its item."""
        key = new_key(secrets.token_bytes(KEY_BYTES))
        item: dict[str, Any] = {
            "pk": f"{KEY_PREFIX}{key_hash(key)}",
            "tenant": tenant,
            "name": name,
            "created_ms": self._now_ms(),
        }
        return key, item | {field: value for field, value in limits.items() if value is not None}

    def check_room(self, tenant: str, name: str) -> None:
        """Whether a name may have one more key, so far: `add_key_in_room` decides.

        Raises:
            TooManyKeysError: It has `LIVE_KEYS_MAX` that open something, whose ids are the text.
        """
        _check_room(self._live(self.list_keys(), tenant, name))

    def _live(self, keys: Iterable[dict[str, Any]], tenant: str, name: str) -> list[dict[str, Any]]:
        """Those of a tenant's keys of a name that open something, in the same order."""
        now_ms = self._now_ms()
        return [
            key
            for key in keys
            if (key["tenant"], key["name"]) == (tenant, name)
            and "revoked_ms" not in key
            and key.get("expires_ms", now_ms + 1) > now_ms
        ]

    def rotate_key(self, tenant: str, name: str) -> tuple[str, list[str]]:
        """Make a key like the newest one of a name: same limits, same length of life.

        Returns:
            The key, and the ids of those that are to be revoked when it is in use.

        Raises:
            NoKeyError: There is none to be replaced.
            TooManyKeysError: It was rotated already, and the old one was not revoked.
            KeysChangingError: Others make keys of the tenant just now.
        """

        def like_the_newest(live: list[dict[str, Any]]) -> dict[str, Any]:
            if not live:
                raise NoKeyError
            newest = live[-1]
            limits = {field: newest.get(field) for field in ("scopes", "models", "tiers")}
            if "expires_ms" in newest:
                life_ms = newest["expires_ms"] - newest["created_ms"]
                limits["expires_ms"] = self._now_ms() + life_ms
            return limits

        key, live = self._in_room(tenant, name, like_the_newest)
        return key, [key_id(each["id"]) for each in live]

    @property
    def signings(self) -> Signings:
        """The secrets that sign tenants' webhooks."""
        return Signings(self._table, self._now)

    def list_signings(self) -> dict[str, dict[str, Any]]:
        """The items of all tenants that have webhook secrets, by tenant."""
        return {item["pk"].removeprefix(PREFIX): item for item in self._scan(PREFIX)}

    def list_keys(self) -> list[dict[str, Any]]:
        """All keys, oldest first; `id` is their hash."""
        keys = (
            {**item, "id": item["pk"].removeprefix(KEY_PREFIX)} for item in self._scan(KEY_PREFIX)
        )
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


def _check_room(live: Sequence[dict[str, Any]]) -> None:
    if len(live) >= LIVE_KEYS_MAX:
        raise TooManyKeysError(", ".join(key_id(key["id"]) for key in live))


def add_tenant(
    directory: Directory,
    tenant: str,
    *,
    key_name: str = "default",
    in_room: bool = False,
    **limits: Any,
) -> str:
    """Create a tenant or change its limits, and give it one more key.

    Args:
        directory: Where.
        tenant: Its id.
        key_name: For people, to tell its keys apart.
        in_room: Whether that name has `LIVE_KEYS_MAX` live ones at most; programs give keys as
            they need them.
        limits: `models`, `tiers`, `rate_per_s`, `in_flight_max`; what is None stays as it is.

    Returns:
        The key, which can never be read again.

    Raises:
        TooManyKeysError, KeysChangingError: See `Directory.add_key_in_room`; what was changed of
            the limits stays changed.
    """
    changes = {name: value for name, value in limits.items() if value is not None}
    if directory.tenant(tenant) is None:
        changes = {"id": tenant, "disabled": False, **changes}
    if changes:
        directory.change(tenant, changes)
    return (directory.add_key_in_room if in_room else directory.add_key)(tenant, key_name)
