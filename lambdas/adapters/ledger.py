"""The ledger: the global, strongly consistent table that is the one truth about jobs."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError

from lambdas.adapters.aws import put_new, through_conflicts
from lambdas.domain.job import FORMAT, TRANSITIONS, Job, Status, Transition

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_ATTRIBUTES = {field.name: field for field in fields(Job)}
_OPTIONAL = {name for name in _ATTRIBUTES if name not in {"id", "status"}}
BATCH_GET_MAX = 100
"""Items in one BatchGetItem (DynamoDB API reference)."""

LIVE_PAGE = 500
"""Unfinished jobs that are listed at once."""


class UnreadError(BotoCoreError):
    """Some of many items could not be read, which is not to say that they do not exist."""

    fmt = "the ledger left items unread"


class Claim(Protocol):
    """What guards a transition: which attempt of which job, owned by whom."""

    @property
    def id(self) -> str:
        """The job."""

    @property
    def owner(self) -> str:
        """The region that should hold it."""

    @property
    def attempt(self) -> int:
        """The attempt that should be current."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claim by someone who has not read the job.

    Attributes:
        id: The job.
        owner: The region that should hold it.
        attempt: The attempt that should be current.
        model: What should answer it, where that is not certain: a message of another model's may
            have been sent for the same attempt by somebody who died before the ledger knew.
    """

    id: str
    owner: str
    attempt: int
    model: str | None = None


@dataclass(frozen=True, slots=True)
class LiveJob:
    """A job that has not ended, or whose end is not done with, as the index shows it."""

    id: str
    tenant: str
    tier: str
    created_ms: int
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transition.

    Attributes:
        won: Whether it took place, now or in an earlier send of the same write.
        job: The job after it, or as it stands if the transition lost; None if there is no job.
    """

    won: bool
    job: Job | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Jobs in DynamoDB."""

    client: "DynamoDBClient"
    table: str

    def get(self, job_id: str, *, consistent: bool = True) -> Job | None:
        """Read a job, strongly consistent unless told otherwise."""
        reply = self.client.get_item(
            TableName=self.table, Key=_key(job_id), ConsistentRead=consistent
        )
        item = reply.get("Item")
        return _job(item) if item else None

    def get_many(self, job_ids: Iterable[str], *, consistent: bool = True) -> dict[str, Job]:
        """Read many jobs, strongly consistent unless told otherwise; absent ones are left out.

        Raises:
            UnreadError: Not all could be read. To the caller a job that is left out does not exist.
        """
        wanted = list(dict.fromkeys(job_ids))
        found: dict[str, Job] = {}
        for start in range(0, len(wanted), BATCH_GET_MAX):
            keys: Any = [_key(job_id) for job_id in wanted[start : start + BATCH_GET_MAX]]
            for _ in range(5):  # unprocessed keys come back under throttling
                reply = self.client.batch_get_item(
                    RequestItems={self.table: {"Keys": keys, "ConsistentRead": consistent}}
                )
                for item in reply["Responses"].get(self.table, []):
                    job = _job(item)
                    found[job.id] = job
                unprocessed: Any = reply.get("UnprocessedKeys", {})
                keys = unprocessed.get(self.table, {}).get("Keys", [])
                if not keys:
                    break
            else:
                raise UnreadError
        return found

    def create(self, job: Job) -> Job | None:
        """Accept a job.

        Returns:
            None when this call created it, also if only an earlier send of it arrived; else
            the job that was there before.
        """
        token = secrets.token_hex(6)
        day = datetime.fromtimestamp(job.created_ms / 1000, UTC).date().isoformat()
        item = {
            "pk": {"S": f"job#{job.id}"},
            "format": {"N": str(FORMAT)},
            "tenant_day": {"S": f"{job.tenant}#{day}"},
            **{
                name: _encode(value)
                for name in _ATTRIBUTES
                if name != "id" and (value := getattr(job, name)) is not None and value is not False
            },
            "live": {"S": live_key(job.owner, job.model)},
            "token": {"S": token},
        }
        existing = put_new(self.client, table=self.table, item=item)
        return None if existing is None else _job(existing)

    def apply(self, job: Claim, name: str, *, now_ms: int, **values: Any) -> Outcome:
        """Make a transition of `TRANSITIONS`, guarded by status, owner and attempt.

        Args:
            job: The job as the caller knows it: its id, owner and attempt are the guard.
            name: A row of the table.
            now_ms: The caller's time, compared with the deadline where the row says so.
            **values: Attributes that the row sets or keeps; None leaves one unset.

        Raises:
            ValueError: A value that the row does not name.
        """
        row = TRANSITIONS[name]
        unknown = set(values) - row.sets - row.keeps
        if unknown:
            raise ValueError(f"transition {name} does not write {sorted(unknown)}")
        token = secrets.token_hex(6)
        request = _update(job, row, values, token, now_ms)
        try:
            reply = through_conflicts(
                self.client, self.client.update_item, TableName=self.table, **request
            )
        except self.client.exceptions.ConditionalCheckFailedException as refusal:
            item: Any = refusal.response.get("Item")
            if not item:
                return Outcome(won=False, job=None)
            current = _job(item)
            return Outcome(won=current.token == token, job=current)
        return Outcome(won=True, job=_job(reply["Attributes"]))

    def erase(self, job_id: str) -> bool:
        """Remove payload and result of a finished job, leaving a tombstone.

        Returns:
            Whether the job is finished and now erased.
        """
        names = (
            *("input", "input_key", "output", "output_key"),
            *("metadata", "error", "feedback", "deliveries"),
        )
        try:
            through_conflicts(
                self.client,
                self.client.update_item,
                TableName=self.table,
                Key=_key(job_id),
                UpdateExpression=f"SET erased = :yes REMOVE {', '.join(f'#{n}' for n in names)}",
                ConditionExpression="attribute_exists(pk) AND NOT #status IN (:queued, :running)",
                ExpressionAttributeNames={"#status": "status", **{f"#{n}": n for n in names}},
                ExpressionAttributeValues={
                    ":yes": {"BOOL": True},
                    ":queued": {"S": Status.QUEUED},
                    ":running": {"S": Status.IN_PROGRESS},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def keep_feedback(self, job_id: str, *, tenant: str, document: str) -> Job | None:
        """Keep what a user said of a job that has ended, in place of what was said before.

        Returns:
            The job as it was until then; None if it is not that tenant's, has not ended, or is
            erased: then nothing is kept.
        """
        try:
            reply = through_conflicts(
                self.client,
                self.client.update_item,
                TableName=self.table,
                Key=_key(job_id),
                UpdateExpression="SET feedback = :document",
                ConditionExpression=(
                    "tenant = :tenant AND NOT #status IN (:queued, :running) "
                    "AND attribute_not_exists(erased)"
                ),
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={
                    ":document": {"S": document},
                    ":tenant": {"S": tenant},
                    ":queued": {"S": Status.QUEUED},
                    ":running": {"S": Status.IN_PROGRESS},
                },
                ReturnValues="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return _job(reply["Attributes"])

    def log_try(self, job_id: str, line: str, *, lines_max: int) -> frozenset[str] | None:
        """Add a line to a job's delivery log, unless the job is erased or gone.

        Returns:
            None when nothing is left to be done; else the lines of a log that is full.
        """
        try:
            through_conflicts(
                self.client,
                self.client.update_item,
                TableName=self.table,
                Key=_key(job_id),
                UpdateExpression="ADD deliveries :line",
                ConditionExpression=(
                    "attribute_exists(pk) AND attribute_not_exists(erased) AND "
                    "(attribute_not_exists(deliveries) OR size(deliveries) < :most "
                    "OR contains(deliveries, :text))"
                ),
                ExpressionAttributeValues={
                    ":line": {"SS": [line]},
                    ":text": {"S": line},
                    ":most": {"N": str(lines_max)},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as refusal:
            item: Any = refusal.response.get("Item") or {}
            if "erased" in item or "deliveries" not in item:
                return None
            return frozenset(item["deliveries"]["SS"])
        return None

    def forget_try(self, job_id: str, line: str) -> None:
        """Take a line out of a job's delivery log."""
        with suppress(self.client.exceptions.ConditionalCheckFailedException):
            through_conflicts(
                self.client,
                self.client.update_item,
                TableName=self.table,
                Key=_key(job_id),
                UpdateExpression="DELETE deliveries :line",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":line": {"SS": [line]}},
            )

    def forget(self, job_id: str) -> None:
        """Delete a finished job at the end of its retention; the strong table has no TTL."""
        try:
            through_conflicts(
                self.client,
                self.client.delete_item,
                TableName=self.table,
                Key=_key(job_id),
                ConditionExpression="NOT #status IN (:queued, :running)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={
                    ":queued": {"S": Status.QUEUED},
                    ":running": {"S": Status.IN_PROGRESS},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return

    def jobs_of(
        self,
        tenant: str,
        day: str,
        *,
        limit: int,
        before_ms: int | None = None,
        since_ms: int | None = None,
        after: tuple[int, str] | None = None,
        digest: bytes | None = None,
    ) -> list[tuple[str, int]]:
        """A tenant's jobs accepted on a day, newest first.

        Args:
            tenant: Whose.
            day: `YYYY-MM-DD` in UTC.
            limit: At most so many; they are looked through for a digest.
            before_ms: Only those created before.
            since_ms: Only those created then or later, where `before_ms` is not given.
            after: Creation time and id of the last one of an earlier page.
            digest: Only those of such a request.

        Returns:
            Pairs of job id and creation time in milliseconds.
        """
        condition = "tenant_day = :day"
        values: dict[str, Any] = {":day": {"S": f"{tenant}#{day}"}}
        if before_ms is not None:
            condition += " AND created_ms < :before"
            values[":before"] = {"N": str(before_ms)}
        elif since_ms is not None:
            condition += " AND created_ms >= :since"
            values[":since"] = {"N": str(since_ms)}
        start: dict[str, Any] = {}
        if after is not None:
            last = {**_key(after[1]), "tenant_day": values[":day"]}
            start["ExclusiveStartKey"] = {**last, "created_ms": {"N": str(after[0])}}
        if digest is not None:
            start["FilterExpression"] = "request_hash = :digest"
            values[":digest"] = {"B": digest}
        reply = self.client.query(
            TableName=self.table,
            IndexName="listing",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            Limit=limit,
            **start,
        )
        return [(_id(item), int(item["created_ms"]["N"])) for item in reply["Items"]]

    def live(
        self, owner: str, model: str, *, pages_max: int | None = None
    ) -> Iterator[list[LiveJob]]:
        """Unfinished jobs of a region and model, oldest first, a page at a time.

        Ended ones are among them while the model may still be at work on them or their end is to
        be announced. All of them unless `pages_max` bounds it, so that what is not among them is
        not unfinished.

        The index follows the table within about a second; read a job before acting on it.
        """
        start: dict[str, Any] = {}
        for _ in count() if pages_max is None else range(pages_max):
            reply = self.client.query(
                TableName=self.table,
                IndexName="live",
                KeyConditionExpression="live = :live",
                ExpressionAttributeValues={":live": {"S": live_key(owner, model)}},
                Limit=LIVE_PAGE,
                **start,
            )
            if reply["Items"]:
                yield [
                    LiveJob(
                        _id(item),
                        str(item["tenant"]["S"]),
                        str(item["tier"]["S"]),
                        int(item["created_ms"]["N"]),
                        int(item["deadline_ms"]["N"]),
                    )
                    for item in reply["Items"]
                ]
            if "LastEvaluatedKey" not in reply:
                return
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}


def live_key(owner: str, model: str) -> str:
    """The partition of the `live` index that holds a region's unfinished jobs of a model."""
    return f"{owner}#{model}"


def _key(job_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"job#{job_id}"}}


def _id(item: Mapping[str, Any]) -> str:
    return str(item["pk"]["S"]).removeprefix("job#")


def _update(
    job: Claim, row: Transition, values: Mapping[str, Any], token: str, now_ms: int
) -> dict[str, Any]:
    names = {"#status": "status", "#token": "token"}
    bound: dict[str, Any] = {":token": {"S": token}}
    sets = ["#token = :token"]
    if row.target is not None:
        bound[":target"] = {"S": row.target}
        sets.append("#status = :target")
    for name, value in values.items():
        if value is None:
            continue
        names[f"#{name}"] = name
        bound[f":{name}"] = _encode(value)
        kept = f"if_not_exists(#{name}, :{name})" if name in row.keeps else f":{name}"
        sets.append(f"#{name} = {kept}")
    removes = sorted(row.removes - {name for name, value in values.items() if value is not None})
    names |= {f"#{name}": name for name in removes}
    expression = f"SET {', '.join(sets)}"
    if removes:
        expression += f" REMOVE {', '.join(f'#{name}' for name in removes)}"
    return {
        "Key": _key(job.id),
        "UpdateExpression": expression,
        "ConditionExpression": _guard(job, row, names, bound, now_ms),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": bound,
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _guard(
    job: Claim, row: Transition, names: dict[str, str], bound: dict[str, Any], now_ms: int
) -> str:
    sources = sorted(row.sources)
    bound.update({f":from{number}": {"S": source} for number, source in enumerate(sources)})
    guard = f"#status IN ({', '.join(f':from{number}' for number in range(len(sources)))})"
    if row.before_deadline:
        bound[":now"] = {"N": str(now_ms)}
        guard = f"({guard} AND deadline_ms > :now)"
    if row.resumes:
        guard = f"({guard} OR (#status = :target AND #message = :message))"
    if row.fenced:
        names |= {"#owner": "owner", "#attempt": "attempt"}
        bound[":guard_owner"] = {"S": job.owner}
        bound[":guard_attempt"] = {"N": str(job.attempt)}
        guard += " AND #owner = :guard_owner AND #attempt = :guard_attempt"
    if row.fenced and isinstance(job, Attempt) and job.model is not None:
        names["#model"] = "model"
        bound[":guard_model"] = {"S": job.model}
        guard += " AND #model = :guard_model"
    if row.unchanged and isinstance(job, Job) and job.token is not None:
        bound[":guard_token"] = {"S": job.token}
        guard += " AND #token = :guard_token"
    return guard


def _encode(value: Any) -> Any:
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": str(value)}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case dict():
            return {"M": {name: _encode(part) for name, part in value.items()}}
    raise TypeError(f"a job holds no {type(value).__name__}")


def _decode(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return int(content)
        case "B":
            return bytes(content)
        case "M":
            return {name: _decode(part) for name, part in content.items()}
        case "SS":
            return frozenset(content)
    return content


def _job(item: Mapping[str, Any]) -> Job:
    values = {name: _decode(item[name]) for name in _OPTIONAL if name in item}
    return Job(id=_id(item), status=Status(item["status"]["S"]), **values)
