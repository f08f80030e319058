"""Secondary indexes of a table, each kept in its order.

moto looks at every item of a table for every page of a query, so that the pages of ten thousand
jobs take a minute. Here an index knows which items a page can hold, and moto reads only those.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any, Final
from unittest.mock import patch

from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import SecondaryIndex, Table

Key = tuple[DynamoType, DynamoType | None]
"""The hash key and the range key of an item in its table."""

Values = tuple[Any, ...]
"""What attributes of a key hold: which part of an index an item is in, or where in its part."""


class Indexes:
    """The indexes of a table; stands where moto expects a stream, and so hears of every write.

    Args:
        table: Whose.
        later: Has something happen as late as indexes follow their table.
    """

    def __init__(self, table: Table, later: Callable[..., None]) -> None:
        self._later = later
        key = [name for name in (table.hash_key_attr, table.range_key_attr) if name]
        self.of = {index.name: Index(index, key) for index in table.all_indexes()}

    def add(self, old: Item | None, new: Item | None) -> None:
        """Take note of a write; moto calls this."""
        item = new or old
        if item is not None:
            self.write((item.hash_key, item.range_key), new)

    def write(self, key: Key, item: Item | None) -> None:
        """Take note of an item as it is now, or that there is none any more."""
        for index in self.of.values():
            self._later(index.write, key, item)


class Index:
    """One index: the items that have all of its key, in its order, part by part."""

    def __init__(self, index: SecondaryIndex, table_key: list[str]) -> None:
        names: dict[str, list[str]] = {"HASH": [], "RANGE": []}
        for part in index.schema:
            names[part["KeyType"]].append(part["AttributeName"])
        self._part, self._place = names["HASH"], [*names["RANGE"], *table_key]
        self._parts: defaultdict[Values, list[Values]] = defaultdict(list)
        self._items: dict[tuple[Values, Values], Item] = {}
        self._where: dict[Key, tuple[Values, Values]] = {}

    def write(self, key: Key, item: Item | None) -> None:
        """Take note of an item as it is now, or that there is none any more."""
        if key in self._where:
            part, place = where = self._where.pop(key)
            del self._items[where]
            del self._parts[part][bisect_left(self._parts[part], place)]
        if item is None:
            return
        part_now, place_now = _values(item.attrs, self._part), _values(item.attrs, self._place)
        if part_now is not None and place_now is not None:
            self._where[key] = part_now, place_now
            self._items[part_now, place_now] = item
            insort(self._parts[part_now], place_now)

    def page(
        self,
        part: Mapping[str, DynamoType],
        *,
        after: Mapping[str, DynamoType] | None,
        forward: bool,
        count: int | None,
    ) -> list[Item] | None:
        """The items of one part that follow another; None if a key is not a whole one.

        Args:
            part: The partition key's attributes.
            after: The last key of the page before.
            forward: Ascending.
            count: At most so many; None for all.
        """
        place = None if after is None else _values(after, self._place)
        values = _values(part, self._part)
        if values is None or (after is not None and place is None):
            return None
        places = self._parts.get(values, [])
        if forward:
            numbers = range(0 if place is None else bisect_right(places, place), len(places))
        else:
            last = len(places) if place is None else bisect_left(places, place)
            numbers = range(last - 1, -1, -1)
        return [self._items[values, places[number]] for number in islice(numbers, count)]


def _values(attrs: Mapping[str, DynamoType], names: list[str]) -> Values | None:
    if not all(name in attrs for name in names):
        return None
    return tuple(attrs[name].cast_value for name in names)


_moto_query: Final = Table.query


def indexed() -> AbstractContextManager[Any]:
    """Let moto's queries look only at what can be on their page, as long as this is open."""
    return patch.object(Table, "query", _query)


def _query(table: Table, *asked: Any, hash_key_conditions: Any = None, **conditions: Any) -> Any:
    """Stand in for `Table.query`, which only moto's backend calls, and always in this form."""
    _, _, _, limit, start, forward, _, index_name, *_ = asked
    conditions_on_keys = conditions | {"hash_key_conditions": hash_key_conditions}
    query = partial(_moto_query, table, *asked, **conditions_on_keys)
    indexes: Any = table.stream_shard
    index = indexes.of.get(index_name) if isinstance(indexes, Indexes) else None
    if index is None:
        return query()
    # One more than fits tells moto that there is a next page. What it filters may be anywhere.
    filtered = limit is None or any(conditions.values())
    items = index.page(
        dict(hash_key_conditions or ()),
        after=start and {name: DynamoType(value) for name, value in start.items()},
        forward=forward,
        count=None if filtered else limit + 1,
    )
    if items is None:
        return query()
    with patch.object(table, "all_items", lambda: items):
        return query()
