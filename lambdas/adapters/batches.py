"""Batches in the ledger."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lambdas.adapters.aws import put_new, through_conflicts
from lambdas.adapters.files import kept_key
from lambdas.domain.batches import Batch, BatchStatus
from lambdas.domain.job import FORMAT

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_NAMES = [each.name for each in fields(Batch) if each.name not in {"id", "status"}]
LIVE_PAGE = 500
LIVE_PAGES_MAX = 10
"""Of a region's unfinished batches: 5,000 of them have turns, those beyond when some have ended."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a change.

    Attributes:
        won: Whether it took place, now or in an earlier send of the same write.
        batch: The batch after it, or as it stands; None if there is none.
    """

    won: bool
    batch: Batch | None


@dataclass(frozen=True, slots=True)
class BatchRecords:
    """Batches in DynamoDB: strongly consistent, in every region; their lists follow in a second."""

    client: "DynamoDBClient"
    table: str

    def create(self, batch: Batch) -> Batch | None:
        """Accept a batch.

        Returns:
            None when this call created it, also if only an earlier send of it arrived; else the
            batch that was there before.
        """
        token = secrets.token_hex(6)
        values = {name: getattr(batch, name) for name in _NAMES} | {"token": token}
        item = {
            name: _encode(value) for name, value in values.items() if value not in (None, False)
        }
        item |= {
            **_key(batch.id),
            "format": {"N": str(FORMAT)},
            "status": {"S": batch.status},
            "tenant_day": {"S": _list(batch.tenant)},
            "live": {"S": live_key(batch.owner)},
        }
        existing = put_new(self.client, table=self.table, item=item)
        return None if existing is None else _batch(existing)

    def get(self, batch_id: str) -> Batch | None:
        """Read a batch."""
        reply = self.client.get_item(TableName=self.table, Key=_key(batch_id), ConsistentRead=True)
        item = reply.get("Item")
        return _batch(item) if item else None

    def change(self, batch: Batch, **values: Any) -> Written:
        """Change a batch, unless anybody has changed it since it was read.

        Args:
            batch: As it was read: its status, owner and step are the guard.
            **values: Attributes; None takes one away. `status` and `owner` are among them.
        """
        return self._change(batch, values, {})

    def put_by(self, batch: Batch, *, until_ms: int) -> Written:
        """Take a batch that needs no more work off the list of those that do.

        Args:
            batch: As it was read.
            until_ms: When it may be forgotten.
        """
        index = {"live": {"S": kept_key(batch.owner)}, "deadline_ms": {"N": str(until_ms)}}
        return self._change(batch, {"tidied": True}, index)

    def take_over(self, batch: Batch, region: str, **values: Any) -> Written:
        """Make a batch of another region this one's."""
        live = {"live": {"S": live_key(region)}}
        return self._change(batch, {"owner": region, **values}, live)

    def forget(self, batch_id: str) -> None:
        """Delete a batch whose retention is over."""
        through_conflicts(
            self.client, self.client.delete_item, TableName=self.table, Key=_key(batch_id)
        )

    def listed(
        self, tenant: str, *, limit: int, after: Batch | None = None, since_ms: int = 0
    ) -> tuple[list[Batch], bool]:
        """A tenant's batches since a time, the newest first, and whether there are more.

        They are fewer than asked for where some are forgotten that the list still has.
        """
        start: dict[str, Any] = {}
        if after is not None:
            start["ExclusiveStartKey"] = {
                **_key(after.id),
                "tenant_day": {"S": _list(tenant)},
                "created_ms": {"N": str(after.created_ms)},
            }
        reply = self.client.query(
            TableName=self.table,
            IndexName="listing",
            KeyConditionExpression="tenant_day = :list AND created_ms >= :since",
            ExpressionAttributeValues={
                ":list": {"S": _list(tenant)},
                ":since": {"N": str(since_ms)},
            },
            ScanIndexForward=False,
            Limit=limit,
            **start,
        )
        found = (self.get(_id(item)) for item in reply["Items"])
        return [batch for batch in found if batch is not None], len(reply["Items"]) == limit

    def unfinished(self, region: str) -> list[tuple[str, str]]:
        """A region's batches that something is to be done for, the oldest first.

        Returns:
            The id and the tenant of each, of `LIVE_PAGES_MAX` pages at most.
        """
        found: list[tuple[str, str]] = []
        start: dict[str, Any] = {}
        for _ in range(LIVE_PAGES_MAX):
            reply = self.client.query(
                TableName=self.table,
                IndexName="live",
                KeyConditionExpression="live = :live",
                ExpressionAttributeValues={":live": {"S": live_key(region)}},
                Limit=LIVE_PAGE,
                **start,
            )
            found += [(_id(item), str(item["tenant"]["S"])) for item in reply["Items"]]
            if "LastEvaluatedKey" not in reply:
                break
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}
        return found

    def overdue(self, region: str, *, now_ms: int, pages_max: int) -> Iterator[str]:
        """The keys of files and batches of a region that are to be forgotten."""
        start: dict[str, Any] = {}
        for _ in range(pages_max):
            reply = self.client.query(
                TableName=self.table,
                IndexName="live",
                KeyConditionExpression="live = :live",
                FilterExpression="deadline_ms <= :now",
                ExpressionAttributeValues={
                    ":live": {"S": kept_key(region)},
                    ":now": {"N": str(now_ms)},
                },
                **start,
            )
            yield from (str(item["pk"]["S"]) for item in reply["Items"])
            if "LastEvaluatedKey" not in reply:
                return
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def _change(self, batch: Batch, values: dict[str, Any], index: dict[str, Any]) -> Written:
        token = secrets.token_hex(6)
        values = {**values, "step": batch.step + 1, "token": token}
        bound: dict[str, Any] = {f":{name}": value for name, value in index.items()}
        bound |= {f":{n}": _encode(v) for n, v in values.items() if v is not None}
        names = {f"#{name}": name for name in (*values, *index)}
        sets = ", ".join(f"#{name} = :{name}" for name in names.values() if f":{name}" in bound)
        removes = ", ".join(f"#{name}" for name, value in values.items() if value is None)
        names |= {"#was_status": "status", "#was_owner": "owner", "#was_step": "step"}
        try:
            reply = through_conflicts(
                self.client,
                self.client.update_item,
                TableName=self.table,
                Key=_key(batch.id),
                UpdateExpression=f"SET {sets}" + (f" REMOVE {removes}" if removes else ""),
                ConditionExpression="#was_status = :was_status AND #was_owner = :was_owner "
                "AND #was_step = :was_step",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={
                    **bound,
                    ":was_status": {"S": batch.status},
                    ":was_owner": {"S": batch.owner},
                    ":was_step": {"N": str(batch.step)},
                },
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as refusal:
            item: Any = refusal.response.get("Item")
            if not item:
                return Written(won=False, batch=None)
            current = _batch(item)
            return Written(won=current.token == token, batch=current)
        return Written(won=True, batch=_batch(reply["Attributes"]))


def live_key(region: str) -> str:
    """The partition of the `live` index that holds a region's unfinished batches.

    No model's jobs are there: `#` is in no model's name.
    """
    return f"batches#{region}#"


def _list(tenant: str) -> str:
    return f"{tenant}#batches"


def _key(batch_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"batch#{batch_id}"}}


def _id(item: Any) -> str:
    return str(item["pk"]["S"]).removeprefix("batch#")


def _encode(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
    return {"S": str(value)}


def _decode(value: Any) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return int(content)
        case "B":
            return bytes(content)
    return content


def _batch(item: Any) -> Batch:
    values = {name: _decode(item[name]) for name in _NAMES if name in item}
    return Batch(id=_id(item), status=BatchStatus(item["status"]["S"]), **values)
