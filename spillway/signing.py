"""The secrets that sign tenants' webhooks, as operators make, rotate and finish them.

They lie in items of their own in the directory: notify reads these, and nothing else there. During
a rotation two secrets sign every delivery, so that receivers change over when they like.
"""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lambdas.domain.webhooks import new_secret, parse_address

if TYPE_CHECKING:
    from types_boto3_dynamodb.service_resource import Table

PREFIX = "webhook#"
SECRET_BYTES = 32
"""As much as the HMAC-SHA256 that it keys; Standard Webhooks allows 24 to 64."""
PREVIOUS = ("previous", "previous_until_ms")
"""What a rotation leaves until it is finished."""
TRIES_MAX = 3
"""Of a change that meets another operator's."""


class SigningError(Exception):
    """The change contradicts what is there; the text says how.

    Attributes:
        code: For programs.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Signings:
    """Webhook secrets in the directory table.

    Args:
        table: The directory, in any of the deployment's regions.
        now: Seconds since the epoch.
    """

    def __init__(self, table: "Table", now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    def of(self, tenant: str) -> dict[str, Any] | None:
        """A tenant's item, its secrets among it."""
        reply = self._table.get_item(Key={"pk": f"{PREFIX}{tenant}"}, ConsistentRead=True)
        return reply.get("Item")

    def make(self, tenant: str) -> str | None:
        """Make a tenant's first secret; None if it has one, which stays."""
        secret = _random()
        return secret if self.put(tenant, secret) else None

    def put(self, tenant: str, secret: str) -> bool:
        """Store a tenant's first secret; whether it had none."""
        try:
            self._table.put_item(
                Item={"pk": f"{PREFIX}{tenant}", "secret": secret, "made_ms": self._now_ms()},
                ConditionExpression="attribute_not_exists(pk)",
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def rotate(self, tenant: str, *, overlap_s: int) -> str:
        """Make a new secret, which signs from now on.

        Args:
            tenant: A tenant that has one.
            overlap_s: How long that one signs as well; 0 makes it worthless at once, and one that
                is still there from a former rotation, too.

        Returns:
            The new secret.

        Raises:
            SigningError: There is none, or a rotation is not over, whose receivers would be lost.
        """
        for _ in range(TRIES_MAX):
            item = self._existing(tenant)
            if overlap_s and self._previous_until_ms(item):
                raise SigningError(
                    f"two secrets of tenant {tenant} sign already; "
                    f"`spillway tenant webhook {tenant} --finish` ends that rotation",
                    code="rotation_unfinished",
                )
            secret = _random()
            changed = {"secret": secret, "made_ms": self._now_ms()}
            if overlap_s:
                changed["previous"] = item["secret"]
                changed["previous_until_ms"] = self._now_ms() + 1000 * overlap_s
            if self._change(item, changed, removed=() if overlap_s else PREVIOUS):
                return secret
        raise _changing(tenant)

    def finish(self, tenant: str) -> bool:
        """End a rotation: the former secret is worthless from now on. Whether it was not before."""
        for _ in range(TRIES_MAX):
            item = self._existing(tenant)
            if self._change(item, {}, removed=PREVIOUS):
                return self._previous_until_ms(item) is not None
        raise _changing(tenant)

    def direct(self, tenant: str, address: str | None) -> None:
        """Name the address that hears of jobs whose clients cannot name one; None takes it away.

        Raises:
            ValueError: The address is refused.
            SigningError: The tenant has no secret.
        """
        if address is not None:
            parse_address(address)
        for _ in range(TRIES_MAX):
            item = self._existing(tenant)
            changed = {} if address is None else {"address": address}
            if self._change(item, changed, removed=() if changed else ("address",)):
                return
        raise _changing(tenant)

    def _existing(self, tenant: str) -> dict[str, Any]:
        item = self.of(tenant)
        if item is None:
            raise SigningError(
                f"tenant {tenant} has no webhook secret; `spillway tenant webhook {tenant}` makes "
                "one",
                code="no_webhook_secret",
            )
        return item

    def _previous_until_ms(self, item: dict[str, Any]) -> int | None:
        """Until when a former secret signs; None if none does."""
        until_ms = int(item.get("previous_until_ms", 0))
        return until_ms if "previous" in item and until_ms > self._now_ms() else None

    def _change(
        self, item: dict[str, Any], changed: dict[str, Any], *, removed: tuple[str, ...]
    ) -> bool:
        """Write over what was read; whether nobody else had changed the secret meanwhile."""
        sets = ", ".join(f"#{name} = :{name}" for name in changed)
        removes = ", ".join(f"#{name}" for name in removed)
        parts = [f"SET {sets}" if sets else "", f"REMOVE {removes}" if removes else ""]
        try:
            self._table.update_item(
                Key={"pk": item["pk"]},
                UpdateExpression=" ".join(filter(None, parts)),
                ConditionExpression="secret = :known",
                ExpressionAttributeNames={f"#{name}": name for name in (*changed, *removed)},
                ExpressionAttributeValues={
                    ":known": item["secret"],
                    **{f":{name}": value for name, value in changed.items()},
                },
            )
        except self._table.meta.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _random() -> str:
    return new_secret(secrets.token_bytes(SECRET_BYTES))


def _changing(tenant: str) -> SigningError:
    return SigningError(
        f"others change the webhook secret of tenant {tenant} just now; try again",
        code="webhook_secret_changing",
    )
