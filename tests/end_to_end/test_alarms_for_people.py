"""Every alarm that a person reads rings for its cause, and is over when the cause is."""

import json
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from config.operator_alarms import (
    STILL_MINUTES,
    UNDECIDED_MINUTES,
    OperatorAlarm,
    Together,
    of_model,
    of_region,
)
from lambdas.adapters.webhooks import Courier
from lambdas.domain.webhooks import Answer
from spillway.twin.calls import Call
from tests.end_to_end.world import Tenant, World

READER = "reads-alarms"
RECEIVER = "https://receiver.example/hook"
FAILED = Answer(status=500, elapsed_ms=1)
UNHEARD = {
    "dead-letters-small-interactive",
    "dead-letters-small-batch",
    "dead-letters-webhooks",
    "idle-small-v1",
}
"""They are like those of the other queues, whose alarms do ring here; that of idle instances takes
half an hour, and is asked in tests/config/test_scaling_numbers.py."""
NEW_S = 60 * max(STILL_MINUTES, UNDECIDED_MINUTES) + 60
"""For so long no alarm is looked at that listens for what comes every minute."""
REPAIRED_AFTER_S = 130
"""Sweep takes back a slot that was reserved longer ago."""


@pytest.fixture
def client(module_world: World) -> Tenant:
    """A tenant of its own."""
    return module_world.tenant(webhooks=True, rate_per_s=100)


@pytest.fixture
def read(world: World) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """What somebody who subscribed to the region's alarms was told since the last time."""
    sqs, sns = world.aws("sqs"), world.aws("sns")
    url = sqs.create_queue(QueueName=READER)["QueueUrl"]
    topic = f"arn:aws:sns:{world.region}:{world.twin.account}:{world.names.alarms_topic}"
    arn = f"arn:aws:sqs:{world.region}:{world.twin.account}:{READER}"
    told_by = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    start = world.names.alarm("")

    def told() -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                document = json.loads(json.loads(message["Body"])["Message"])
                assert "Runbook: docs/runbook.md#" in document["AlarmDescription"]
                name = document["AlarmName"].removeprefix(start)
                found.append((name, document["NewStateValue"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    yield told
    sns.unsubscribe(SubscriptionArn=told_by)
    sqs.delete_queue(QueueUrl=url)


def alarms(world: World) -> list[OperatorAlarm | Together]:
    """All alarms for people of the region and its model."""
    return [*of_region(world.deployment, world.region), *of_model(world.deployment, "small")]


def loud(world: World) -> set[str]:
    """Those that somebody is told of by themselves."""
    start = world.names.alarm("")
    return {
        alarm.name.removeprefix(start)
        for alarm in alarms(world)
        if not getattr(alarm, "silent", False)
    } - UNHEARD


def ringing(world: World) -> set[str]:
    """Alarms for people that ring now, by what they tell of."""
    start = world.names.alarm("")
    return {
        alarm.name.removeprefix(start)
        for alarm in alarms(world)
        if world.twin.alarms.state(world.region, alarm.name).value == "ALARM"
    }


def hold_slots_of_nobody(world: World) -> None:
    """Leave a slot as a dispatcher does that died after it had reserved it."""
    reserved_ms = int(1000 * (world.twin.scheduler.now() - REPAIRED_AFTER_S))
    world.aws("dynamodb").update_item(
        TableName=world.names.gate,
        Key={"pk": {"S": "model#small"}},
        UpdateExpression="ADD used :slot",
        ExpressionAttributeValues={":slot": {"SS": [f"{reserved_ms}.dead"]}},
    )


def to(queue: str) -> Callable[[Call], bool]:
    """Whether a call is about a queue."""
    return lambda call: str(call.params.get("QueueUrl", "")).endswith(queue)


def to_ledger(world: World) -> Callable[[Call], bool]:
    """Whether a call changes an item of the ledger."""
    ledger = world.names.ledger
    return lambda call: call.operation == "UpdateItem" and call.params["TableName"] == ledger


def start_interactive_jobs_only(world: World) -> None:
    """Count starts as dispatchers do that owe the other tiers nothing."""
    world.aws("dynamodb").update_item(
        TableName=world.names.gate,
        Key={"pk": {"S": "model#small"}},
        UpdateExpression="ADD started_interactive :some",
        ExpressionAttributeValues={":some": {"N": "5"}},
    )


def begin_a_batch_that_cannot_be_read(world: World, client: Tenant) -> None:
    """Its function runs, and every turn of it comes to nothing."""
    with client.client() as api:
        brought = api.post("/v1/files", data={"purpose": "batch"}, files={"file": b"{}"})
        asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        begun = api.post("/v1/batches", json=asked | {"input_file_id": brought.json()["id"]})
    assert begun.status_code == 200, begun.text
    world.fail("throttle", function="batches", operation="GetObject", times=None)


def disturb(world: World, client: Tenant, minute: int) -> None:
    """Cause one after the other what alarms are for; each takes some minutes to be noticed."""
    start_interactive_jobs_only(world)
    if minute == 0:
        # Messages that dispatch does not find.
        for tier in ("interactive", "batch"):
            client.submit(tier=tier, input={"name": tier})
            world.fail("empty", operation="ReceiveMessage", when=to(f"-{tier}"), times=None)
        dead = world.names.queue_url(world.region, world.names.results_dead_letters)
        world.aws("sqs").send_message(QueueUrl=dead, MessageBody="?")
        begin_a_batch_that_cannot_be_read(world, client)
        # And some that sweep may not touch any more.
        world.put_message("?", tier="standard", dead=True)
        world.fail("AccessDenied", function="sweep", when=to("-standard-dead"), times=4)
    if minute in {5, 7}:
        hold_slots_of_nobody(world)
    if minute == 7:
        world.fail("throttle", when=to_ledger(world), times=None, probability=0.3)
        for number in range(10):
            client.submit(input={"name": f"{number}"}, tier="standard", webhook=RECEIVER)
    if minute < 6:
        stranger = world.http_client(api_key="sk-spillway-of-nobody")
        for _ in range(22):
            assert stranger.get("/v1/models").status_code == 401


def test_every_alarm_rings_for_its_cause_and_ends_with_it(
    world: World, client: Tenant, read: Callable[[], list[tuple[str, str]]]
) -> None:
    """An alarm that never rang is a hope, and one that never ends is not looked at any more."""
    world.run_for(NEW_S)
    assert ringing(world) == set()
    assert {state for _, state in read()} <= {"OK"}, "new alarms find that all is well"
    shown = world.aws("cloudwatch").describe_alarms(AlarmNamePrefix=world.names.alarm(""))
    found = {each["AlarmName"] for each in shown["MetricAlarms"] + shown["CompositeAlarms"]}
    assert found == {alarm.name for alarm in alarms(world)}
    with mock.patch.object(Courier, "deliver", return_value=FAILED):
        for minute in range(12):
            disturb(world, client, minute)
            world.run_for(60)
    told = read()
    world.twin.hook.rules.clear()
    world.aws("sqs").purge_queue(
        QueueUrl=world.names.queue_url(world.region, world.names.results_dead_letters)
    )
    world.run_for(240)
    assert ringing(world) <= {"gate-drift-small", "webhooks-failing"}
    # Nothing runs that would tell of anything, while slots that were lost are forgotten.
    world.twin.schedules.pause(world.region)
    world.run_for(1800)
    assert ringing(world) == {"not-ready", "releases-undecided", "batches-stand-still"}
    world.twin.schedules.resume(world.region)
    world.run_for(120)

    told += read()
    assert {name for name, _ in told} == loud(world)
    for name in loud(world):
        # This one rings for a batch that comes to nothing, and when nothing runs.
        times = 2 if name == "batches-stand-still" else 1
        assert [state for of, state in told if of == name] == times * ["ALARM", "OK"], name
    assert ringing(world) == set()
