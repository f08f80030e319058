"""Slots: never more than there are, whatever is repeated or lost."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from lambdas.adapters import gate as gates
from lambdas.adapters.gate import PLAN_KEPT_S, Gate
from lambdas.domain.breaker import Breaker
from lambdas.domain.shares import Plan


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """An empty gate."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="gate",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
        yield Gate(client, "gate")


def test_slots_are_reserved_all_or_none_within_the_capacity(gate: Gate) -> None:
    """One slot too many waits inside SageMaker, where priority means nothing."""
    assert gate.reserve("chat", ["a", "b"], capacity=3)
    assert not gate.reserve("chat", ["c", "d"], capacity=3)
    assert gate.reserve("chat", ["c"], capacity=3)
    assert not gate.reserve("chat", ["d"], capacity=3)
    assert not gate.reserve("chat", ["e", "f"], capacity=1)
    assert gate.state("chat").used == {"a", "b", "c"}


def test_a_repeated_reservation_or_release_changes_nothing(gate: Gate) -> None:
    """Both are sent again after a time-out, and a counter would drift."""
    gate.reserve("chat", ["a"], capacity=2)
    gate.reserve("chat", ["a"], capacity=2)
    gate.reserve("chat", ["b"], capacity=2)
    gate.release("chat", ["a"])
    assert gate.release("chat", ["a"]).used == {"b"}
    assert gate.release("chat", ["b"]).used == frozenset()
    assert gate.reserve("chat", ["c", "d"], capacity=2)


def test_word_is_left_only_while_the_gate_is_full(gate: Gate) -> None:
    """A word that nobody will read is a job that waits for the next beat."""
    gate.reserve("chat", ["a"], capacity=1)
    assert gate.want("chat", capacity=1, now_ms=5)
    assert gate.release("chat", ["a"]).wanted_ms == 5
    assert not gate.want("chat", capacity=1, now_ms=6)


def test_word_that_was_left_again_is_not_taken_away(gate: Gate) -> None:
    """Between looking into the queues and taking the word off, a job may have come."""
    gate.reserve("chat", ["a"], capacity=1)
    gate.want("chat", capacity=1, now_ms=5)
    gate.want("chat", capacity=1, now_ms=9)
    assert not gate.unwant("chat", seen_ms=5)
    assert gate.state("chat").wanted_ms == 9
    assert gate.unwant("chat", seen_ms=9)
    assert gate.state("chat").wanted_ms is None


def test_models_do_not_share_slots_and_credits_add_up(gate: Gate) -> None:
    """One model's burst must not stop another's work."""
    gate.reserve("chat", ["a"], capacity=1)
    assert gate.reserve("embedder", ["a"], capacity=1)
    gate.owe("chat", {"batch": 0.25, "standard": 0.0}, started={"interactive": 3})
    gate.owe("chat", {"batch": 0.5}, started={"interactive": 2, "batch": 1})
    assert gate.state("chat").credits == {"batch": 0.75}
    assert gate.state("chat").started == {"interactive": 5, "batch": 1}
    assert gate.state("embedder").credits == {}


def test_a_rate_is_counted_by_window_and_tenant(gate: Gate) -> None:
    """One tenant's loop must not use up another's rate, nor its own next minute."""
    allowed = [gate.count_submissions("acme", 1, window=100, limit=3) for _ in range(5)]
    assert allowed == [1, 2, 3, None, None]
    assert gate.count_submissions("other", 1, window=100, limit=3) == 1
    assert gate.count_submissions("acme", 1, window=101, limit=3) == 1


def test_submissions_that_are_counted_together_pass_together(gate: Gate) -> None:
    """A tenant with a high rate is counted several at a time, and held to its limit."""
    counted = [gate.count_submissions("acme", 5, window=100, limit=12) for _ in range(3)]
    assert counted == [5, 10, None]


def observed(gate: Gate, plan: Plan, *, capacity: int) -> None:
    """What a beat writes."""
    gate.observe(
        "chat",
        capacity=capacity,
        serving={"v1": 1},
        now_ms=capacity,
        breaker=Breaker(),
        may_start_ms=capacity,
        plan=plan,
    )


def test_a_slow_beat_does_not_bring_a_version_back(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read the record before the rollback, and writes after a beat that read it later."""
    at_ms = 1_000_000
    monkeypatch.setattr(gates, "current_ms", lambda: at_ms)
    before = Plan(shares={"batch": {"v2": 1.0}}, revision=4)
    after = Plan(shares={"batch": {"v1": 1.0}}, revision=5)
    observed(gate, before, capacity=1)
    observed(gate, after, capacity=2)

    observed(gate, before, capacity=3)
    state = gate.state("chat")
    assert state.plan == after
    assert (state.capacity, state.capacity_ms, state.may_start_ms) == (3, 3, 3), "all else is new"

    at_ms += 1000 * PLAN_KEPT_S + 1
    observed(gate, before, capacity=4)
    assert gate.state("chat").plan == before, "a restored ledger begins anew"
