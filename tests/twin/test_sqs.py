"""What SQS promises about standard queues, with the page that says so."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from spillway.twin.clock import START_S
from spillway.twin.resources import UnsupportedError

if TYPE_CHECKING:
    from tests.twin.conftest import World


def send(world: World, url: str, *bodies: str, **options: Any) -> None:
    """Send messages, a second apart."""
    for body in bodies:
        world.client("sqs").send_message(QueueUrl=url, MessageBody=body, **options)
        world.scheduler.run_for(1)


def receive(world: World, url: str, **options: Any) -> list[dict[str, Any]]:
    """Receive up to ten messages."""
    answer = world.client("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"], **options
    )
    found: list[dict[str, Any]] = answer.get("Messages", [])
    return found


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    """What messages say."""
    return [message["Body"] for message in messages]


def counts(world: World, url: str) -> list[int]:
    """Visible, in flight, delayed."""
    suffixes = ("", "NotVisible", "Delayed")
    names = [f"ApproximateNumberOfMessages{suffix}" for suffix in suffixes]
    answer = world.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return [int(answer["Attributes"][name]) for name in names]


def test_a_received_message_hides_and_comes_back(world: World) -> None:
    """Work of a worker that died must be done by another.

    SQS developer guide, "Amazon SQS visibility timeout".
    """
    url = world.queue(VisibilityTimeout="30")
    send(world, url, "a", "b")
    first = receive(world, url)
    assert bodies(first) == ["a", "b"]
    assert receive(world, url) == []
    assert counts(world, url) == [0, 2, 0]
    world.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"])
    world.scheduler.run_for(30)
    again = receive(world, url)
    assert bodies(again) == ["b"]
    assert again[0]["Attributes"]["ApproximateReceiveCount"] == "2"
    assert again[0]["ReceiptHandle"] != first[1]["ReceiptHandle"]
    assert (
        again[0]["Attributes"]["ApproximateFirstReceiveTimestamp"]
        == first[1]["Attributes"]["ApproximateFirstReceiveTimestamp"]
    )


def test_the_visibility_timeout_counts_from_its_last_change(world: World) -> None:
    """A dispatcher that puts a message back wants it back now.

    API reference, "ChangeMessageVisibility"; the message must be in flight (MessageNotInflight).
    """
    url = world.queue()
    send(world, url, "a")
    handle = receive(world, url, VisibilityTimeout=600)[0]["ReceiptHandle"]
    client = world.client("sqs")
    client.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=5)
    world.scheduler.run_for(4)
    assert counts(world, url) == [0, 1, 0]
    world.scheduler.run_for(1)
    assert counts(world, url) == [1, 0, 0]
    with pytest.raises(ClientError, match="MessageNotInflight"):
        client.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=5)
    handle = receive(world, url)[0]["ReceiptHandle"]
    client.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    assert bodies(receive(world, url)) == ["a"]


def test_only_the_latest_receipt_handle_counts(world: World) -> None:
    """A worker that was too slow must not delete the message under its successor's hands.

    API reference, "DeleteMessage": with an older receipt handle the request succeeds, but the
    message might not be deleted. Deleting again succeeds; an invented handle is refused.
    """
    url = world.queue(VisibilityTimeout="10")
    send(world, url, "a")
    client = world.client("sqs")
    old = receive(world, url)[0]["ReceiptHandle"]
    world.scheduler.run_for(10)
    new = receive(world, url)[0]["ReceiptHandle"]
    client.delete_message(QueueUrl=url, ReceiptHandle=old)
    assert counts(world, url) == [0, 1, 0]
    client.delete_message(QueueUrl=url, ReceiptHandle=new)
    client.delete_message(QueueUrl=url, ReceiptHandle=new)
    assert counts(world, url) == [0, 0, 0]
    with pytest.raises(ClientError, match="ReceiptHandleIsInvalid"):
        client.delete_message(QueueUrl=url, ReceiptHandle="invented")
    # The other possible answer.
    world.sqs.stale_handle_deletes = True
    send(world, url, "b")
    old = receive(world, url)[0]["ReceiptHandle"]
    world.scheduler.run_for(10)
    receive(world, url)
    client.delete_message(QueueUrl=url, ReceiptHandle=old)
    assert counts(world, url) == [0, 0, 0]


def test_delayed_messages_wait(world: World) -> None:
    """The beat's twelve messages must come five seconds apart.

    SQS developer guide, "Amazon SQS message timers" and "Amazon SQS delay queues".
    """
    url = world.queue(DelaySeconds="3")
    client = world.client("sqs")
    client.send_message(QueueUrl=url, MessageBody="own", DelaySeconds=10)
    client.send_message(QueueUrl=url, MessageBody="queue's")
    client.send_message(QueueUrl=url, MessageBody="none", DelaySeconds=0)
    assert bodies(receive(world, url)) == ["none"]
    assert counts(world, url) == [0, 1, 2]
    world.scheduler.run_for(3)
    assert bodies(receive(world, url)) == ["queue's"]
    world.scheduler.run_for(7)
    assert bodies(receive(world, url)) == ["own"]


def test_messages_received_too_often_move_to_the_dead_letters(world: World) -> None:
    """A message that kills its workers must not do so for ever.

    SQS developer guide, "Using dead-letter queues in Amazon SQS": moved when the receive count
    exceeds maxReceiveCount; "its expiration is based on its original enqueue timestamp".
    """
    dead = world.queue("dead", MessageRetentionPeriod="86400")
    policy = f'{{"deadLetterTargetArn": "{world.arn(dead)}", "maxReceiveCount": 2}}'
    url = world.queue(VisibilityTimeout="1", RedrivePolicy=policy)
    send(world, url, "poison")
    for _ in range(2):
        assert bodies(receive(world, url)) == ["poison"]
        world.scheduler.run_for(1)
    assert counts(world, dead) == [0, 0, 0]
    assert receive(world, url) == []
    assert counts(world, url) == [0, 0, 0]
    assert bodies(receive(world, dead)) == ["poison"]
    world.scheduler.run_until(START_S + 86_401)
    assert counts(world, dead) == [0, 0, 0]


def test_messages_expire(world: World) -> None:
    """Nothing waits for ever, and counts must not say so.

    API reference, "SetQueueAttributes": MessageRetentionPeriod.
    """
    url = world.queue(MessageRetentionPeriod="60")
    send(world, url, "old")
    world.scheduler.run_for(40)
    send(world, url, "new")
    world.scheduler.run_for(19)
    assert counts(world, url) == [1, 0, 0]
    assert bodies(receive(world, url)) == ["new"]


def test_a_long_poll_ends_with_the_first_message(world: World) -> None:
    """Waiting costs virtual time only, and not more than needed.

    SQS developer guide, "Amazon SQS short and long polling".
    """
    url = world.queue()
    world.scheduler.after(7.0, world.scheduler.spawn, send, world, url, "a")
    assert bodies(receive(world, url, WaitTimeSeconds=20)) == ["a"]
    assert world.scheduler.now() == START_S + 7
    assert receive(world, url, WaitTimeSeconds=5) == []
    assert world.scheduler.now() == START_S + 12
    # A message that becomes visible again ends it too.
    assert bodies(receive(world, url, WaitTimeSeconds=20)) == []
    assert bodies(receive(world, url, WaitTimeSeconds=20)) == ["a"]
    assert world.scheduler.now() == START_S + 37


def test_quiet_tenants_come_before_a_noisy_one(world: World) -> None:
    """One tenant's flood must not starve the others.

    SQS developer guide, "How Amazon SQS fair queues work": more than 10 % of the messages in
    flight, and at least 30 of them.
    """
    url = world.queue()
    client = world.client("sqs")
    for number in range(60):
        client.send_message(QueueUrl=url, MessageBody=f"loud {number}", MessageGroupId="loud")
    client.send_message(QueueUrl=url, MessageBody="quiet", MessageGroupId="quiet")
    received = [bodies(receive(world, url)) for _ in range(4)]
    assert received[2][-1] == "loud 29"
    assert received[3][0] == "quiet"
    assert received[3][1] == "loud 30"


def test_without_fairness_messages_come_in_order(world: World) -> None:
    """The documentation leaves open what happens with few messages: the twin can do either.

    SQS developer guide, "Amazon SQS standard queues": best-effort ordering.
    """
    world.sqs.ordering = "plain"
    url = world.queue()
    client = world.client("sqs")
    for number in range(40):
        client.send_message(QueueUrl=url, MessageBody=str(number), MessageGroupId="loud")
    client.send_message(QueueUrl=url, MessageBody="last", MessageGroupId="quiet")
    got = [body for _ in range(5) for body in bodies(receive(world, url))]
    assert got == [*map(str, range(40)), "last"]


def test_standard_queues_may_deliver_twice_out_of_order_or_nothing(world: World) -> None:
    """Handlers must survive all three; the simulation turns them on.

    SQS developer guide, "At-least-once delivery" and "Best-effort ordering" of standard queues;
    "Short polling" may return no messages.
    """
    url = world.queue()
    send(world, url, "a", "b")
    world.sqs.empty_receives = 1.0
    assert receive(world, url) == []
    world.sqs.empty_receives, world.sqs.duplicates = 0.0, 1.0
    assert bodies(receive(world, url)) == ["a", "b"]
    world.sqs.duplicates, world.sqs.disorder = 0.0, 1.0
    assert bodies(receive(world, url)) == ["b", "a"]


def test_attributes_travel_and_are_filtered(world: World) -> None:
    """Trace headers ride on message attributes.

    API reference, "ReceiveMessage": MessageAttributeNames.
    """
    url = world.queue(VisibilityTimeout="0")
    attributes = {
        name: {"DataType": "String", "StringValue": name.upper()} for name in ("one", "two")
    }
    send(world, url, "a", MessageAttributes=attributes)
    assert "MessageAttributes" not in receive(world, url)[0]
    found = receive(world, url, MessageAttributeNames=["two"])[0]["MessageAttributes"]
    assert {name: value["StringValue"] for name, value in found.items()} == {"two": "TWO"}


def test_batches_work_entry_by_entry(world: World) -> None:
    """Half a failed batch must not fail the other half.

    API reference, "DeleteMessageBatch" and "ChangeMessageVisibilityBatch".
    """
    url = world.queue()
    client = world.client("sqs")
    entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(3)]
    client.send_message_batch(QueueUrl=url, Entries=entries)
    handles = [message["ReceiptHandle"] for message in receive(world, url)]
    answer = client.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "ok", "ReceiptHandle": handles[0], "VisibilityTimeout": 0},
            {"Id": "bad", "ReceiptHandle": "invented", "VisibilityTimeout": 0},
        ],
    )
    assert [each["Id"] for each in answer["Successful"]] == ["ok"]
    assert [each["Id"] for each in answer["Failed"]] == ["bad"]
    answer = client.delete_message_batch(
        QueueUrl=url,
        Entries=[{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(handles)],
    )
    assert len(answer["Successful"]) == 3
    assert counts(world, url) == [0, 0, 0]


def test_purging_empties(world: World) -> None:
    """An operator's purge leaves nothing behind.

    API reference, "PurgeQueue".
    """
    url = world.queue()
    send(world, url, "a", "b")
    receive(world, url)
    world.client("sqs").purge_queue(QueueUrl=url)
    assert counts(world, url) == [0, 0, 0]
    send(world, url, "c")
    assert bodies(receive(world, url)) == ["c"]


def test_fifo_queues_are_refused(world: World) -> None:
    """An order that is promised must not be simulated by one that is not."""
    with pytest.raises(UnsupportedError, match="standard queues only"):
        world.queue("work.fifo", FifoQueue="true")


def test_a_queue_can_be_copied(world: World) -> None:
    """The simulation restores state per seed instead of deploying again."""
    url = world.queue()
    send(world, url, "a")
    queue = world.sqs.queue(world.arn(url))
    twin = copy.deepcopy(queue)
    assert bodies(receive(world, url)) == ["a"]
    assert twin.approximate_number_of_messages == 1
    assert queue.approximate_number_of_messages == 0


def test_a_test_may_change_or_lose_messages_on_their_way(world: World) -> None:
    """What a newer release writes, and what was never delivered, must be thought of."""

    def inspect(_queue: object, message: Any) -> bool:
        message.body = message.body.upper()
        return bool(message.body != "B")

    url = world.queue()
    world.sqs.inspect = inspect
    send(world, url, "a", "b")
    assert bodies(receive(world, url)) == ["A"]
