"""DynamoDB tables: in one region, or global and replicated, strongly or eventually.

moto keeps the items of every table in every region's own backend; what regions share, and what
time does to items, is added here.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, Literal
from unittest import mock

from moto.dynamodb.exceptions import MockValidationException
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler

from spillway.twin.calls import Call, Flight
from spillway.twin.clock import Scheduler, Signal
from spillway.twin.indexes import Indexes, Key, indexed
from spillway.twin.replication import Replication
from spillway.twin.resources import Resource, UnsupportedError

STRONG_REGIONS: Final = 3
"""A strongly consistent table spans exactly three regions, of which one may be a witness."""

QUORUM: Final = 2
"""A write is in one more region than its own before it succeeds ("How global tables work")."""

Contention = Literal["ReplicatedWriteConflictException", "ConditionalCheckFailedException"]
CONFLICT: Final[Contention] = "ReplicatedWriteConflictException"
NO_QUORUM: Final = "InternalServerError"
"""What a replica answers that reaches no other one; which error it is, is not documented."""

WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"})
READS: Final = frozenset({"GetItem", "BatchGetItem", "Query", "Scan"})

TTL_AGE_SECONDS_MAX: Final = 5 * 365 * 86_400
"""Items that expired longer ago than five years are left alone: the attribute is a mistake."""


@dataclass(frozen=True, slots=True)
class _Strong:
    """A strongly consistent table: its three regions, and the names of its key's attributes."""

    regions: frozenset[str]
    key: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Write:
    """A write to items of a strongly consistent table, from its sending to its answer."""

    owner: "DynamoDb"
    call: Call
    items: tuple[str, ...]
    rivals: list["_Write"] = field(default_factory=list)
    refused: bool = False
    over: bool = False

    def arrive(self) -> str:
        """Lose against earlier writes of other regions, or wait for them, as is assumed."""
        if not self.owner.quorum(self.call):
            return NO_QUORUM
        if self.refused:
            return CONFLICT
        self.owner.wait_for(self.rivals)
        return ""


@dataclass(frozen=True, slots=True)
class _Read:
    """A strongly consistent read."""

    owner: "DynamoDb"
    call: Call

    def arrive(self) -> str:
        """Fail where the replica is alone."""
        return "" if self.owner.quorum(self.call) else NO_QUORUM


class DynamoDb:
    """The tables of every region and account of the twin.

    Args:
        scheduler: Clock of replication and of expiry.
        lag_s: Seconds until a write to an eventually consistent global table is in the other
            replicas; AWS says usually one or less.
        index_lag_s: Seconds until a write to a table is in its indexes; AWS says a fraction of one,
            usually. Tests of who is faster than that change it.
        ttl_every_s: Seconds between deletions of expired items; AWS says within a few days.
        strong_s: Seconds that a write to a strongly consistent table, or a strongly consistent
            read of one, takes longer than usual, on the virtual clock: the way to the nearest
            other region and back.
        contention: What a write meets that is sent while another region's write to the item is
            under way, which is not documented for conditional ones: that conflict, or its turn
            after the other one, so that its condition fails if the other one broke it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        lag_s: float = 1.0,
        index_lag_s: float = 0.0,
        ttl_every_s: float = 3600.0,
        strong_s: float = 0.015,
        contention: Contention = CONFLICT,
    ) -> None:
        self.lag_s = lag_s
        self.index_lag_s = index_lag_s
        self.strong_s = strong_s
        self.contention: Contention = contention
        self.ttl_every_s = ttl_every_s
        self._scheduler = scheduler
        self.replication = Replication(scheduler)
        self._strong: dict[str, _Strong] = {}
        self._writes: dict[str, list[_Write]] = {}
        self._written = Signal(scheduler)
        self._global: set[str] = set()
        self._regions: dict[str, None] = {}
        self._stamps = count(1)
        self._undo = ExitStack()
        self._undo.enter_context(indexed())
        for operation, sentence in (
            ("transact_write_items", "Transactions are not supported"),
            ("transact_get_items", "Transactions are not supported"),
            ("update_time_to_live", "Time to live is not supported"),
        ):
            ours = self._refusal(getattr(DynamoHandler, operation), sentence)
            self._undo.enter_context(mock.patch.object(DynamoHandler, operation, ours))

    def close(self) -> None:
        """Give moto its own handlers back."""
        self._undo.close()

    def create(self, resource: Resource) -> Resource:
        """Create a table, or the replicas of a global one.

        Raises:
            ValueError: DynamoDB would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        properties = resource.properties
        if properties.get("BillingMode") != "PAY_PER_REQUEST":
            raise UnsupportedError("BillingMode: only PAY_PER_REQUEST runs")
        regions = [replica["Region"] for replica in properties.get("Replicas") or ()]
        if resource.type == "AWS::DynamoDB::Table":
            regions = [resource.region]
        else:
            self._add_global(resource, regions)
        strong = properties.get("MultiRegionConsistency") == "STRONG"
        if strong:
            _check_strong(properties, regions)
        tables = [_table(resource, region) for region in regions]
        if strong:
            self._strong[resource.physical_id] = _Strong(
                frozenset([*regions, *_witnesses(resource)]),
                tuple(part["AttributeName"] for part in properties["KeySchema"]),
            )
            indexes = Indexes(tables[0], self.indexed)
            for table in tables:
                table.items = tables[0].items
                table.stream_shard = indexes  # type: ignore[assignment]
        else:
            # moto tells a table's stream about every write; these tables have no readers.
            replicas = [_Replica(self, table) for table in tables]
            for replica in replicas:
                replica.others = [other for other in replicas if other is not replica]
                replica.table.stream_shard = replica  # type: ignore[assignment]
        if not strong and tables[0].ttl["TimeToLiveStatus"] == "ENABLED":
            # Any replica may delete; the others hear of it.
            self._scheduler.after(self.ttl_every_s, self._expire, tables)
        arn = next(table.table_arn for table in tables if table.region_name == resource.region)
        return replace(
            resource,
            attributes={"Arn": arn, "TableId": arn, "StreamArn": f"{arn}/stream/twin"},
        )

    def indexed(self, write: Callable[..., None], *what: Any) -> None:
        """Write to an index, as late as it follows its table."""
        if self.index_lag_s > 0:
            self._scheduler.after(self.index_lag_s, write, *what)
        else:
            write(*what)

    def _add_global(self, resource: Resource, regions: list[str]) -> None:
        if resource.region not in regions:
            raise ValueError("Replicas must contain the region of the stack")
        self._global.add(resource.physical_id)
        self._regions.update(dict.fromkeys([*regions, *_witnesses(resource)]))

    def spread(self, source: "_Replica", target: "_Replica", key: Key) -> None:
        """Bring one item of one replica to another after the lag, unless that has a newer one."""
        stamp, item = source.stamps[key], copy.deepcopy(source.table.get_item(*key))

        def arrive() -> None:
            if stamp > target.stamps.get(key, 0):
                target.stamps[key] = stamp
                target.put(key, item)

        regions = frozenset({source.table.region_name, target.table.region_name})
        self.replication.send(self.lag_s, regions, arrive)

    def regions(self) -> list[str]:
        """Regions of global tables, witnesses included."""
        return list(self._regions)

    def is_global(self, params: Mapping[str, Any]) -> bool:
        """Whether an operation with these parameters is about a global table."""
        return any(name in self._global for name in tables_of(params))

    def stamp(self) -> int:
        """Number writes in the order in which they happened, whatever their region."""
        return next(self._stamps)

    # ---- strongly consistent tables

    def extra_s(self, call: Call) -> float:
        """Seconds that regions take to agree; see `spillway.twin.calls.Consistency`."""
        return self.strong_s if self._is_strong(call) else 0.0

    def flight(self, call: Call) -> AbstractContextManager[Flight | None]:
        """Hold a call's place among those to its items; see `spillway.twin.calls.Consistency`."""
        if not self._is_strong(call):
            return nullcontext()
        if call.operation in READS:
            return nullcontext(_Read(self, call))
        return self._flying(call)

    def _is_strong(self, call: Call) -> bool:
        if call.service != "dynamodb" or self._strong.keys().isdisjoint(tables_of(call.params)):
            return False
        if call.operation in READS:
            tables = (call.params.get("RequestItems") or {}).values()
            return any(table.get("ConsistentRead") for table in (call.params, *tables))
        return call.operation in WRITES

    @contextmanager
    def _flying(self, call: Call) -> Iterator[_Write]:
        write = _Write(self, call, tuple(dict.fromkeys(self._items(call.params))))
        rivals = [rival for item in write.items for rival in self._writes.get(item, ())]
        write.rivals = [
            rival for rival in rivals if not rival.refused and rival.call.region != call.region
        ]
        write.refused = bool(write.rivals) and self.contention == CONFLICT
        for item in write.items:
            self._writes.setdefault(item, []).append(write)
        try:
            yield write
        finally:
            write.over = True
            for item in write.items:
                self._writes[item].remove(write)
                if not self._writes[item]:
                    del self._writes[item]
            self._written.fire()

    def _items(self, params: Mapping[str, Any]) -> Iterator[str]:
        """Names of the items of strongly consistent tables that a write changes."""
        requests = [params]
        for name, changes in (params.get("RequestItems") or {}).items():
            for change in changes:
                requests += [{"TableName": name, **each} for each in change.values()]
        for request in requests:
            (name,) = tables_of({"TableName": request.get("TableName", "")})
            table = self._strong.get(name)
            if table is not None:
                whole = request.get("Key") or request.get("Item") or {}
                yield f"{name} {[whole.get(part) for part in table.key]}"

    def quorum(self, call: Call) -> bool:
        """Whether the replicas of the call's tables reach one more of their regions."""
        tables = [self._strong[name] for name in tables_of(call.params) if name in self._strong]
        return all(
            sum(not self.replication.away(region) for region in table.regions) >= QUORUM
            for table in tables
        )

    def wait_for(self, writes: list[_Write]) -> None:
        """Let the current task wait until these writes are over."""
        while not all(write.over for write in writes):
            self._written.wait()

    # ---- expiry

    def _expire(self, tables: list[Table]) -> None:
        """Delete what has expired, in a replica that the others will hear of."""
        self._scheduler.after(self.ttl_every_s, self._expire, tables)
        there = (one for one in tables if not self.replication.away(one.region_name))
        table = next(there, tables[0])
        now_s = self._scheduler.now()
        name = table.ttl["AttributeName"]
        for item in table.all_items():
            value = item.attrs.get(name)
            if value is not None and value.type == "N":
                expired_s = now_s - float(value.value)
                if 0 < expired_s < TTL_AGE_SECONDS_MAX:
                    table.delete_item(item.hash_key, item.range_key)

    def _refusal(self, operation: Callable[[Any], Any], sentence: str) -> Callable[[Any], Any]:
        def checked(handler: Any) -> Any:
            body = handler.body
            requests = [body]
            for item in body.get("TransactItems", ()):
                requests += item.values()
            for request in requests:
                if request.get("TableName", "").rpartition("/")[2] in self._strong:
                    raise MockValidationException(
                        f"{sentence} on a multi-Region strongly consistent table"
                    )
            return operation(handler)

        return checked


class _Replica(Indexes):
    """One region's copy of an eventually consistent table, and when each item was written."""

    def __init__(self, owner: DynamoDb, table: Table) -> None:
        super().__init__(table, owner.indexed)
        self.table = table
        self.others: list[_Replica] = []
        self.stamps: dict[Key, int] = {}
        self._owner = owner

    def put(self, key: Key, item: Item | None) -> None:
        """Take over what another replica wrote, without telling anyone."""
        hash_key, range_key = key
        items: Any = self.table.items if range_key is None else self.table.items[hash_key]
        at = hash_key if range_key is None else range_key
        if item is None:
            items.pop(at, None)
        else:
            items[at] = item
        super().write(key, item)

    def write(self, key: Key, item: Item | None) -> None:
        """Take note of a write here, and tell the others."""
        super().write(key, item)
        if self.others:
            self.stamps[key] = self._owner.stamp()
            for other in self.others:
                self._owner.spread(self, other, key)


def _witnesses(resource: Resource) -> list[str]:
    return [one["Region"] for one in resource.properties.get("GlobalTableWitnesses") or ()]


def tables_of(params: Mapping[str, Any]) -> list[str]:
    """The tables that an operation names, by name or address."""
    found = [params.get("TableName", ""), *(params.get("RequestItems") or ())]
    for item in params.get("TransactItems") or ():
        found += [part.get("TableName", "") for part in item.values()]
    return [name.rpartition("/")[2] for name in found]


def _check_strong(properties: Mapping[str, Any], regions: list[str]) -> None:
    witnesses = properties.get("GlobalTableWitnesses") or []
    if len(regions) + len(witnesses) != STRONG_REGIONS or len(witnesses) > 1:
        raise ValueError(
            "a strongly consistent table needs three replicas, or two replicas and a witness"
        )
    for name in ("TimeToLiveSpecification", "LocalSecondaryIndexes"):
        if properties.get(name):
            raise ValueError(f"{name} is not supported on a strongly consistent table")


def _table(resource: Resource, region: str) -> Table:
    properties = resource.properties
    table = dynamodb_backends[resource.account][region].create_table(
        name=resource.physical_id,
        schema=properties["KeySchema"],
        throughput=None,
        attr=properties["AttributeDefinitions"],
        global_indexes=properties.get("GlobalSecondaryIndexes"),
        indexes=properties.get("LocalSecondaryIndexes"),
        streams=None,
        billing_mode="PAY_PER_REQUEST",
        sse_specification=None,
        tags=properties.get("Tags") or [],
        deletion_protection_enabled=properties.get("DeletionProtectionEnabled", False),
        warm_throughput=None,
    )
    if (ttl := properties.get("TimeToLiveSpecification")) and ttl.get("Enabled", True):
        table.ttl = {"TimeToLiveStatus": "ENABLED", "AttributeName": ttl["AttributeName"]}
    return table
