"""What beat does when the time, or SQS, does not allow for everything."""

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.adapters.gate import Gate
from lambdas.adapters.releases import Releases
from lambdas.domain.breaker import Breaker
from lambdas.domain.regions import LEASE_S
from lambdas.domain.release import Release
from lambdas.handlers import beat
from lambdas.wiring import SDK_DEFAULTS
from tests.handlers.region import HERE, Region, aws, error

BEAT_S = 5
BEATS_A_TICK = 16
MODELS = ("chat", "embedder")


def beats(region: Region, *left_ms: int) -> None:
    """Let beat run once; `left_ms` is what is left of its time before each model."""
    rest = iter(left_ms)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: next(rest))
    region.handler(beat)({"Records": [message(region)]}, context)


def message(region: Region, *, delay_s: int = 0, late_s: float = 0) -> dict[str, Any]:
    """A delayed message of the minute's tick, received so late."""
    sent_s = region.now_s - delay_s - late_s
    return {
        "body": json.dumps({"beat": delay_s}),
        "attributes": {"SentTimestamp": str(int(1000 * sent_s))},
    }


def looked_at(region: Region) -> list[str]:
    """The models whose gate was read, in order."""
    return [
        params["Key"]["pk"]["S"].removeprefix("model#")
        for operation, params in region.calls
        if operation == "GetItem" and params["Key"]["pk"]["S"].startswith("model#")
    ]


def shown(region: Region) -> dict[str, Any]:
    """The snapshot on which submit decides."""
    item = aws("dynamodb").get_item(TableName=region.names.gate, Key={"pk": {"S": "snapshot"}})
    found: dict[str, Any] = json.loads(item["Item"]["document"]["S"])
    return found


@pytest.fixture(autouse=True)
def queues(region: Region) -> None:
    """Those of the other model."""
    for tier in region.policy.tiers:
        aws("sqs").create_queue(QueueName=region.names.tier_queue("chat", tier.name))
    aws("sqs").create_queue(QueueName=region.names.beats)


def test_a_beat_that_has_no_time_shows_what_the_last_one_saw(region: Region) -> None:
    """Without a snapshot the region would leave DNS because one service is slow."""
    beats(region, 20_000, 20_000)
    before = shown(region)
    region.sleep(BEAT_S)
    region.calls.clear()

    beats(region, 5_000, 4_000)

    after = shown(region)
    assert looked_at(region) == []
    assert sorted(after["models"]) == list(MODELS)
    for model, seen in after["models"].items():
        assert seen == before["models"][model] | {"known": False}
    assert after["at_ms"] == before["at_ms"] + 1000 * BEAT_S


def test_every_model_has_its_turn_however_short_the_time_is(region: Region) -> None:
    """The last of many would never be seen, and its capacity grow old until nothing starts."""
    for _ in range(len(MODELS)):
        beats(region, 20_000, 5_000)
        region.sleep(BEAT_S)

    assert sorted(looked_at(region)) == list(MODELS)


def test_beats_that_sqs_refuses_for_a_moment_are_sent_again(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten of twelve missing are fifty seconds without a lease."""
    sqs = aws("sqs", HERE, SDK_DEFAULTS)
    send = sqs.send_message_batch
    refused: list[str] = []

    def sometimes(**params: Any) -> Any:
        if refused:
            return send(**params)
        refused.extend(entry["Id"] for entry in params["Entries"])
        failed = [
            {"Id": each, "SenderFault": False, "Code": "InternalError"} for each in refused[1:]
        ]
        return {**send(**{**params, "Entries": params["Entries"][:1]}), "Failed": failed}

    monkeypatch.setattr(sqs, "send_message_batch", sometimes)
    region.handler(beat)({}, None)

    assert len(refused) > 1
    queue = aws("sqs").get_queue_attributes(
        QueueUrl=region.names.queue_url(HERE, region.names.beats), AttributeNames=["All"]
    )["Attributes"]
    sent = int(queue["ApproximateNumberOfMessages"])
    assert sent + int(queue["ApproximateNumberOfMessagesDelayed"]) == BEATS_A_TICK


def test_the_beats_of_a_tick_reach_beyond_the_next_one(region: Region) -> None:
    """One lost tick must not cost the lease: for twenty seconds there would be no beat."""
    region.handler(beat)({}, None)

    sent = [
        entry["DelaySeconds"]
        for operation, params in region.calls
        if operation == "SendMessageBatch"
        for entry in params["Entries"]
    ]
    pauses_s = [later - earlier for earlier, later in pairwise(sorted(sent))]
    assert max(sent) > 100
    assert max(pauses_s) < LEASE_S
    assert len([call for call in region.operations() if call == "SendMessageBatch"]) == 2


def test_a_beat_right_after_another_does_nothing(region: Region) -> None:
    """The spare beats of a tick meet the regular ones of the next."""
    beats(region, 20_000, 20_000)
    region.sleep(1)
    region.calls.clear()

    beats(region)

    assert region.operations() == ["GetItem", "GetItem done"]


def test_beats_that_waited_while_the_region_was_away_are_dropped(region: Region) -> None:
    """Twelve at once would take the lease from each other, and leave a minute without any."""
    region.handler(beat)({"Records": [message(region, delay_s=30, late_s=11)]}, None)
    assert region.operations() == []

    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 20_000)
    region.handler(beat)({"Records": [message(region, delay_s=30, late_s=9)]}, context)
    assert sorted(looked_at(region)) == list(MODELS)


def test_a_region_goes_on_while_sagemaker_describes_nothing(region: Region) -> None:
    """Its endpoints serve all the same: a region that stops helps nobody."""
    Gate(aws("dynamodb"), region.names.gate).observe(
        "embedder",
        capacity=4,
        serving={"v1": 2},
        now_ms=int(1000 * region.now_s) - 3000,
        breaker=Breaker(),
        may_start_ms=None,
    )

    def refuse() -> None:
        raise error("ThrottlingException", "DescribeEndpoint")

    region.faults = {"DescribeEndpoint": refuse}
    beats(region, 20_000, 20_000)

    seen, gate = shown(region), Gate(aws("dynamodb"), region.names.gate).state("embedder")
    assert seen["models"]["embedder"]["instances"] == 2
    assert seen["grants"] == {}, "peers are offered nothing that nobody sees"
    assert seen["ready"], seen["reason"]
    assert (gate.serving, gate.capacity_ms) == ({"v1": 2}, int(1000 * region.now_s) - 3000)
    assert gate.may_start_ms is not None
    assert gate.may_start_ms > 1000 * region.now_s


def test_minimums_stay_where_they_were_while_the_releases_cannot_be_read(region: Region) -> None:
    """A wanted version in quarantine must not be woken because a table stutters."""
    Releases(aws("dynamodb"), region.names.ledger).write(
        Release(model="embedder", revision=1, live="v0", quarantined={"v1": "guard failures"})
    )
    beats(region, 20_000, 20_000)
    before = shown(region)["models"]["embedder"]["versions"]

    def refuse() -> None:
        raise error("InternalServerError", "BatchGetItem")

    region.sleep(BEAT_S)
    region.faults = {"BatchGetItem": refuse}
    beats(region, 20_000, 20_000)

    assert before["lasting"] == []
    assert shown(region)["models"]["embedder"]["versions"] == before


@pytest.mark.parametrize("operation", ["GetQueueAttributes", "Query"])
def test_a_region_that_cannot_reach_ledger_or_queues_is_not_ready(
    region: Region, operation: str
) -> None:
    """Route 53 has to send clients where their jobs can be kept."""

    def refuse() -> None:
        raise error("ServiceUnavailable", operation)

    region.faults = {operation: refuse}
    beats(region, 20_000, 20_000)

    assert not shown(region)["ready"]
