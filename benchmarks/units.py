"""How AWS turns requests into what it bills: pure arithmetic, each rule with its source."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096
QUEUE_CHUNK_BYTES = 64 * 1024
LOG_EVENT_BYTES = 26
"""Added to every line (CloudWatch Logs API reference, PutLogEvents)."""
FULL_CPU_MB = 1769
"""Memory at which a function has one whole processor (Lambda developer guide, "Memory")."""

Item = Mapping[str, Any]
"""An item as the DynamoDB API writes it: `{"name": {"S": "text"}}`."""


def item_bytes(item: Item) -> int:
    """Size of an item.

    Source:
        DynamoDB developer guide, "Item sizes and formats": names and strings in UTF-8, a number
        one byte for every two digits and one more, three bytes for a list or map and one for each
        of its elements.
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    return _SIZES[kind](content)


def _number_bytes(text: str) -> int:
    digits = text.lstrip("-").replace(".", "").strip("0") or "0"
    return math.ceil(len(digits) / 2) + 1 + text.startswith("-")


_SIZES: dict[str, Callable[[Any], int]] = {
    "S": lambda text: len(text.encode()),
    "N": _number_bytes,
    "B": len,
    "BOOL": lambda _: 1,
    "NULL": lambda _: 1,
    "M": lambda parts: 3 + len(parts) + item_bytes(parts),
    "L": lambda parts: 3 + sum(1 + _value_bytes(part) for part in parts),
    "SS": lambda members: sum(len(member.encode()) for member in members),
    "NS": lambda members: sum(map(_number_bytes, members)),
    "BS": lambda members: sum(map(len, members)),
}


def write_units(size_bytes: int) -> int:
    """Write units of an item; a write of nothing, such as a refused one, still costs one."""
    return max(1, math.ceil(size_bytes / WRITE_UNIT_BYTES))


def read_units(size_bytes: int, *, consistent: bool) -> float:
    """Read units of one read; half of them where the answer may be old."""
    units = max(1, math.ceil(size_bytes / READ_UNIT_BYTES))
    return float(units) if consistent else units / 2


def requests(size_bytes: int) -> int:
    """Requests that SQS or SNS bills for a payload: each 64 KB is one (SQS pricing page)."""
    return max(1, math.ceil(size_bytes / QUEUE_CHUNK_BYTES))


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index: its key attributes, and everything that it repeats."""

    keys: Sequence[str]
    attributes: Sequence[str]

    def entry(self, item: Item) -> Item | None:
        """What the index holds of an item; None for one without the keys."""
        if any(key not in item for key in self.keys):
            return None
        return {name: item[name] for name in self.attributes if name in item}

    def write_units(self, before: Item, after: Item) -> int:
        """Write units that a change of an item costs in the index.

        Source:
            DynamoDB developer guide, "Write operations considerations for global secondary
            indexes": one write to put, delete or change an entry, two to change its key, none
            when nothing that the index holds has changed.
        """
        old, new = self.entry(before), self.entry(after)
        if old == new:
            return 0
        if old is None or new is None:
            return write_units(item_bytes(new or old or {}))
        if any(old[key] != new[key] for key in self.keys):
            return write_units(item_bytes(old)) + write_units(item_bytes(new))
        return write_units(max(item_bytes(old), item_bytes(new)))


def gb_seconds(*, memory_mb: int, waiting_s: float, cpu_s: float) -> float:
    """What one execution of a function is billed, in GB-seconds.

    Args:
        memory_mb: Configured memory.
        waiting_s: Seconds in which it waits for answers.
        cpu_s: Seconds of a whole processor that it computes; with less than `FULL_CPU_MB` it
            gets a part of one, and takes longer in proportion.

    Source:
        Lambda pricing page: milliseconds, rounded up, times memory.
    """
    seconds = waiting_s + cpu_s * max(1.0, FULL_CPU_MB / memory_mb)
    return math.ceil(round(seconds * 1000, 6)) / 1000 * memory_mb / 1024
