"""Which jobs of other regions are taken over."""

from typing import Any

from lambdas.domain.moves import (
    AGAIN_S,
    EXECUTIONS,
    LONG,
    RELIEVE_EVERY_S,
    Order,
    due,
    relieving,
    taking_over,
)
from lambdas.domain.regions import DRAINED, LOST, SERVING, Part
from tests.domain.api_policy import model, policy
from tests.domain.test_spill_decisions import NOW_MS, peer

IDLE = {"embedder": {"instances": 1, "in_use": 0, "waiting": {}}}


def relieved(seen: dict[str, Any], here: Any = None, jobs: int = 7) -> list[Order]:
    """The orders about one peer."""
    return list(
        relieving(
            policy(),
            "b",
            seen,
            IDLE if here is None else here,
            {"embedder": jobs},
            beat_s=5,
            now_ms=NOW_MS,
        )
    )


def test_an_order_travels_as_an_event() -> None:
    """Sweep reads what beat wrote."""
    order = Order(source="b", state=LOST, part=Part(number=3, of=8), model="m", jobs=5, skip=2)
    assert Order.read(order.document()) == order
    assert [Order(source="b", state=s, part=order.part).why for s in (LOST, DRAINED, SERVING)] == [
        "evacuate",
        "drain",
        "relieve",
    ]


def test_a_loss_is_acted_on_at_once_and_then_every_minute() -> None:
    """Whoever dies while moving must not leave the rest behind for ever."""
    assert due({"state": LOST}, {"state": SERVING, "moved_ms": 99}, now_ms=100)
    noted = {"state": LOST, "moved_ms": 0}
    assert not due({"state": LOST}, noted, now_ms=1000 * AGAIN_S - 1)
    assert due({"state": LOST}, noted, now_ms=1000 * AGAIN_S)
    assert not due({"state": SERVING}, {"state": LOST}, now_ms=10**6)
    assert due({"state": SERVING}, {"state": SERVING}, now_ms=1000 * RELIEVE_EVERY_S)


def test_a_long_list_is_split_and_a_short_one_is_not() -> None:
    """Ten thousand jobs one after the other would take five minutes."""
    peers = {"b": {"state": LOST}, "c": {"state": SERVING}}
    (only,) = taking_over("a", "b", peers, unfinished=LONG - 1)
    assert (only.part, only.state) == (Part(number=0, of=2), LOST)
    many = taking_over("c", "b", {"b": {"state": LOST}, "a": {"state": SERVING}}, unfinished=LONG)
    assert [order.part.number for order in many] == list(range(1, 2 * EXECUTIONS, 2))


def test_an_idle_region_takes_what_a_busy_one_cannot_start_in_time() -> None:
    """It takes no more than it has room for, and not what is about to start there."""
    busy = peer(in_use=4, waiting={"interactive": 60})
    (order,) = relieved(busy)
    assert (order.source, order.model, order.jobs, order.state) == ("b", "embedder", 7, SERVING)
    assert order.skip == 6 + 20  # its slots, and what it starts until the next beat


def test_a_region_without_an_instance_is_relieved_of_jobs_that_can_wait_too() -> None:
    """Nobody knows when it gets one, and here is room now."""
    (order,) = relieved(peer(instances=0, waiting={"batch": 3}))
    assert (order.jobs, order.skip) == (7, 0)


def test_a_region_that_meets_its_targets_keeps_its_jobs() -> None:
    """Jobs that go to and fro help nobody."""
    assert relieved(peer(in_use=4, waiting={"interactive": 12})) == []
    assert relieved(peer(in_use=4, waiting={"batch": 500})) == []
    busy = peer(in_use=4, waiting={"interactive": 60})
    assert relieved(busy, jobs=0) == []
    assert relieved(busy | {"state": DRAINED}) == []
    as_busy = {"embedder": {"instances": 1, "in_use": 4, "waiting": {"interactive": 60}}}
    assert relieved(busy, as_busy) == []
    assert model().concurrency == 4
