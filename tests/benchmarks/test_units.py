"""The arithmetic of a bill: a wrong rule here is a wrong price in every document."""

import pytest

from benchmarks.units import (
    Index,
    gb_seconds,
    item_bytes,
    read_units,
    requests,
    write_units,
)

LISTING = Index(keys=("day", "at"), attributes=("pk", "day", "at", "tenant"))


def test_an_item_weighs_its_names_and_values() -> None:
    """Whoever plans a bill by item size must get DynamoDB's size, not JSON's."""
    assert item_bytes({"pk": {"S": "job#1"}}) == 2 + 5
    assert item_bytes({"n": {"N": "1234567"}}) == 1 + 4 + 1
    assert item_bytes({"n": {"N": "-12"}}) == 1 + 1 + 1 + 1
    assert item_bytes({"b": {"B": b"12345"}}) == 1 + 5
    assert item_bytes({"f": {"BOOL": True}}) == 1 + 1
    assert item_bytes({"m": {"M": {"code": {"S": "x"}}}}) == 1 + 3 + 1 + 4 + 1
    assert item_bytes({"s": {"SS": ["ab", "cd"]}}) == 1 + 4
    assert item_bytes({"text": {"S": "é"}}) == 4 + 2


@pytest.mark.parametrize(("size_bytes", "units"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (3000, 3)])
def test_a_write_is_billed_by_the_started_kilobyte(size_bytes: int, units: int) -> None:
    """A job that grows beyond 1 KB costs twice: the benchmark must show it."""
    assert write_units(size_bytes) == units


def test_a_strong_read_costs_twice_an_eventual_one() -> None:
    """The choice of consistency is a choice of price."""
    assert read_units(100, consistent=True) == 1
    assert read_units(100, consistent=False) == 0.5
    assert read_units(4097, consistent=True) == 2


def test_a_queue_request_is_64_kilobytes() -> None:
    """A large batch is not one request on the bill."""
    assert [requests(size) for size in (0, 65_536, 65_537)] == [1, 1, 2]


def test_an_index_is_written_only_when_what_it_holds_changes() -> None:
    """Most of a job's transitions must not be billed in its indexes."""
    before = {"pk": {"S": "a"}, "day": {"S": "x"}, "at": {"N": "1"}, "status": {"S": "queued"}}
    other = {**before, "status": {"S": "completed"}}
    moved = {**before, "day": {"S": "y"}}
    named = {**before, "tenant": {"S": "acme"}}

    assert LISTING.write_units({}, before) == 1
    assert LISTING.write_units(before, other) == 0
    assert LISTING.write_units(before, named) == 1
    assert LISTING.write_units(before, moved) == 2
    assert LISTING.write_units(before, {}) == 1
    assert LISTING.write_units({"pk": {"S": "a"}}, {}) == 0


def test_a_small_function_computes_longer_and_waits_as_long() -> None:
    """Memory buys processor time: the price of waiting grows with it, that of computing hardly."""
    assert gb_seconds(memory_mb=1769, waiting_s=0, cpu_s=0.1) == pytest.approx(0.1 * 1769 / 1024)
    assert gb_seconds(memory_mb=512, waiting_s=0.1, cpu_s=0) == pytest.approx(0.05)
    computing = gb_seconds(memory_mb=256, waiting_s=0, cpu_s=0.1)
    assert computing == pytest.approx(0.1 * 1769 / 1024, rel=0.01)
    assert gb_seconds(memory_mb=1024, waiting_s=0.0001, cpu_s=0) == 0.001
