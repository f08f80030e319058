"""What beat does when the time, or SQS, does not allow for everything."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.handlers import beat
from tests.handlers.region import HERE, Region, aws

BEAT_S = 5
BEATS_A_MINUTE = 12
MODELS = ("chat", "embedder")


def beats(region: Region, *left_ms: int) -> None:
    """Let beat run once; `left_ms` is what is left of its time before each model."""
    rest = iter(left_ms)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: next(rest))
    region.handler(beat)({"Records": [{"body": "{}"}]}, context)


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
    assert after["models"] == before["models"]
    assert sorted(after["models"]) == list(MODELS)
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
    sqs = aws("sqs")
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

    queue = aws("sqs").get_queue_attributes(
        QueueUrl=region.names.queue_url(HERE, region.names.beats), AttributeNames=["All"]
    )["Attributes"]
    sent = int(queue["ApproximateNumberOfMessages"])
    assert sent + int(queue["ApproximateNumberOfMessagesDelayed"]) == BEATS_A_MINUTE
