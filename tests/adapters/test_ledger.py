"""The one truth: what may follow what, and who may write it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any
from unittest import mock

import boto3
import pytest
from moto import mock_aws

from lambdas.adapters.ledger import Attempt, Ledger
from lambdas.domain.job import LIVE, TRANSITIONS, Job, Status

TABLE = "ledger"
VALUES: dict[str, dict[str, Any]] = {
    "start": {
        "started_ms": 10,
        "lease_ms": 99,
        "version": "v1",
        "as_live": False,
        "slot": "1.a.0",
        "message": "m-1",
    },
    "complete": {"finished_ms": 20, "output": b"x"},
    "fail": {"finished_ms": 20, "error": {"code": "c", "message": "m"}},
    "refuse": {"finished_ms": 20, "error": {"code": "c", "message": "m"}},
    "retry": {"attempt": 2, "error": {"code": "c", "message": "m"}, "declined_by": "v1"},
    "fall_back": {"attempt": 2, "model": "small", "live": "us-east-1#small", "asked": "chat"},
    "divert": {"attempt": 2, "model": "small", "live": "us-east-1#small", "asked": "chat"},
    "move": {"attempt": 2, "owner": "us-west-2", "live": "us-west-2#chat"},
    "evacuate": {"attempt": 2, "owner": "us-west-2", "live": "us-west-2#chat"},
    "cancel": {"finished_ms": 20},
    "abandon": {"finished_ms": 20},
    "vacate": {},
    "defer": {},
    "expire": {"finished_ms": 20},
}


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """An empty ledger with the stack's indexes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        text = {"pk": "S", "live": "S", "tenant_day": "S", "created_ms": "N"}
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": kind}  # type: ignore[typeddict-item]
                for name, kind in text.items()
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": name,
                    "KeySchema": [
                        {"AttributeName": partition, "KeyType": "HASH"},
                        {"AttributeName": "created_ms", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
                for name, partition in (("live", "live"), ("listing", "tenant_day"))
            ],
        )
        yield Ledger(client, TABLE)


def job(number: int = 0, **changes: Any) -> Job:
    """A job as submit accepts it."""
    values: dict[str, Any] = {
        "id": f"job_{number}",
        "status": Status.QUEUED,
        "attempt": 1,
        "owner": "us-east-1",
        "home": "us-east-1",
        "tenant": "acme",
        "model": "chat",
        "tier": "batch",
        "created_ms": 1_000_000 + number,
        "deadline_ms": 9_000_000,
        "request_hash": b"h",
        "input": b"i",
    }
    return Job(**(values | changes))


def in_state(ledger: Ledger, status: Status) -> Job:
    """Create a job and bring it into a state by the table's own transitions."""
    ledger.create(job())
    path = {
        Status.QUEUED: [],
        Status.IN_PROGRESS: ["start"],
        Status.COMPLETED: ["start", "complete"],
        Status.FAILED: ["start", "fail"],
        Status.REFUSED: ["start", "refuse"],
        Status.CANCELLED: ["cancel"],
        Status.EXPIRED: ["expire"],
    }[status]
    current = ledger.get("job_0")
    assert current is not None
    for name in path:
        outcome = ledger.apply(current, name, now_ms=5, **VALUES[name])
        assert outcome.won
        assert outcome.job is not None
        current = outcome.job
    return current


@pytest.mark.parametrize(("status", "name"), list(product(Status, TRANSITIONS)))
def test_a_job_changes_only_as_the_table_says(ledger: Ledger, status: Status, name: str) -> None:
    """One wrong arrow and a cancelled job shows a result, or a finished one runs again."""
    current = in_state(ledger, status)
    values = VALUES[name] | ({"message": "another"} if name == "start" else {})
    outcome = ledger.apply(current, name, now_ms=5, **values)

    assert outcome.won == (status in TRANSITIONS[name].sources)
    after = ledger.get("job_0")
    assert after is not None
    if outcome.won:
        assert after.status == (TRANSITIONS[name].target or status)
        for attribute in TRANSITIONS[name].removes - set(values) - {"live"}:
            assert getattr(after, attribute) is None
    else:
        assert after == current == outcome.job
    live = [each.id for page in ledger.live(after.owner, after.model) for each in page]
    at_work = outcome.won and name == "abandon"
    assert live == (["job_0"] if after.status in LIVE or at_work else [])
    assert (after.lease_ms is not None) == (after.status is Status.IN_PROGRESS or at_work)


@pytest.mark.parametrize("name", [name for name, row in TRANSITIONS.items() if row.fenced])
@pytest.mark.parametrize("wrong", [{"attempt": 7}, {"owner": "eu-west-1"}])
def test_an_old_attempt_or_a_lost_region_changes_nothing(
    ledger: Ledger, name: str, wrong: dict[str, Any]
) -> None:
    """A result that comes late belongs to nobody any more."""
    current = in_state(ledger, min(TRANSITIONS[name].sources))
    assert not ledger.apply(replace(current, **wrong), name, now_ms=5, **VALUES[name]).won
    assert ledger.get("job_0") == current


def test_only_the_message_that_started_an_attempt_may_resume_it(ledger: Ledger) -> None:
    """A duplicate would run the job twice; a redelivery must finish what was begun."""
    started = in_state(ledger, Status.IN_PROGRESS)
    claim = Attempt("job_0", "us-east-1", 1)
    other = {"version": "v2", "as_live": True, "slot": "2.b.0", "lease_ms": 500}
    again = {**VALUES["start"], **other}

    assert not ledger.apply(claim, "start", now_ms=6, **(again | {"message": "m-2"})).won
    resumed = ledger.apply(claim, "start", now_ms=6, **again)

    assert resumed.won
    assert resumed.job is not None
    assert (resumed.job.version, resumed.job.slot) == (started.version, started.slot)
    assert resumed.job.as_live is False, "v2 is live by now, and this attempt is v1's"
    assert resumed.job.lease_ms == 500


def test_a_job_past_its_deadline_does_not_start(ledger: Ledger) -> None:
    """Its answer would be wasted GPU time."""
    ledger.create(job(deadline_ms=100))
    outcome = ledger.apply(job(), "start", now_ms=100, **VALUES["start"])
    assert not outcome.won
    assert outcome.job is not None
    assert outcome.job.status is Status.QUEUED


def test_an_attempt_that_was_resumed_is_not_put_back_by_who_gave_up_on_it(ledger: Ledger) -> None:
    """A second copy of its message handed it over, and is deleted: a queued job would have none."""
    ledger.create(job())
    first = ledger.apply(job(), "start", now_ms=5, **VALUES["start"]).job
    second = ledger.apply(job(), "start", now_ms=6, **{**VALUES["start"], "slot": "2.b.0"}).job
    assert first is not None
    assert second is not None
    assert second.slot == first.slot == "1.a.0"

    assert not ledger.apply(first, "defer", now_ms=7).won
    assert ledger.apply(second, "defer", now_ms=8).won


def test_a_write_that_is_sent_again_is_recognised_as_ours(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK repeats what timed out, and is then refused by our own first send."""
    monkeypatch.setattr("secrets.token_hex", lambda _bytes: "one-send")  # the resend's token
    assert ledger.create(job()) is None
    assert ledger.create(job()) is None
    for _ in range(2):
        outcome = ledger.apply(job(), "cancel", now_ms=5, finished_ms=6)
        assert outcome.won
        assert outcome.job is not None
        assert outcome.job.status is Status.CANCELLED


def test_a_second_job_of_the_same_id_is_shown_the_first(ledger: Ledger) -> None:
    """Idempotency stands on this one condition."""
    assert ledger.create(job()) is None
    earlier = ledger.create(job(tier="interactive"))
    assert earlier is not None
    assert earlier.tier == "batch"


def test_lists_go_on_where_they_stopped_even_at_one_instant(ledger: Ledger) -> None:
    """A client that pages must see every job once."""
    for number in range(7):
        ledger.create(job(number, created_ms=5_000))
    seen: list[str] = []
    after: tuple[int, str] | None = None
    for _ in range(10):
        page = ledger.jobs_of("acme", "1970-01-01", limit=2, after=after)
        if not page:
            break
        seen += [each for each, _ in page]
        after = (page[-1][1], page[-1][0])
    assert sorted(seen) == [f"job_{number}" for number in range(7)]


def test_many_jobs_are_read_in_batches(ledger: Ledger) -> None:
    """Sweep reads thousands; one call holds a hundred."""
    for number in range(130):
        ledger.create(job(number))
    found = ledger.get_many([f"job_{number}" for number in range(140)] * 2)
    assert len(found) == 130


def test_erasing_and_forgetting_wait_for_the_end(ledger: Ledger) -> None:
    """A running job needs its input; a finished one must leave nothing."""
    in_state(ledger, Status.IN_PROGRESS)
    assert not ledger.erase("job_0")
    ledger.forget("job_0")
    assert ledger.get("job_0") is not None
    ledger.apply(job(), "complete", now_ms=5, **VALUES["complete"])
    assert ledger.erase("job_0")
    erased = ledger.get("job_0")
    assert erased is not None
    assert (erased.erased, erased.output, erased.input, erased.metadata) == (True, None, None, None)
    ledger.forget("job_0")
    assert ledger.get("job_0") is None


@pytest.mark.parametrize(("conflicts", "accepted"), [(4, True), (5, False)])
def test_a_write_outlasts_the_writes_of_other_regions(
    ledger: Ledger, conflicts: int, accepted: bool
) -> None:
    """A region that dispatches a job at once must not make the others' clients see an error.

    The SDK sends three times within 75 ms (botocore, standard retries for DynamoDB), which three
    writers to one item use up.
    """
    client: Any = ledger.client
    refusal = client.exceptions.ReplicatedWriteConflictException(
        {"Error": {"Code": "ReplicatedWriteConflictException"}}, "PutItem"
    )
    answers = iter([*[refusal] * conflicts, *[None] * 9])
    write = client.put_item

    def contended(**request: Any) -> Any:
        answer = next(answers)
        if answer is not None:
            raise answer
        return write(**request)

    with mock.patch.object(client, "put_item", contended):
        if accepted:
            assert ledger.create(job()) is None
        else:
            with pytest.raises(client.exceptions.ReplicatedWriteConflictException):
                ledger.create(job())
    assert (ledger.get(job().id) is not None) == accepted


def test_a_message_of_another_models_queue_starts_nothing(ledger: Ledger) -> None:
    """Who died before a job fell back left it: the job would hold a slot of the wrong model."""
    ledger.create(job())
    others, own = (Attempt("job_0", "us-east-1", 1, model) for model in ("small", "chat"))

    assert not ledger.apply(others, "start", now_ms=5, **VALUES["start"]).won
    assert ledger.apply(own, "start", now_ms=5, **VALUES["start"]).won
