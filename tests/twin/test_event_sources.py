"""What an SQS event source mapping does, with the page that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from spillway.twin.event_sources import EventSource
from spillway.twin.resources import Resource

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"


class Worker:
    """A function on a queue, and what it was given."""

    def __init__(self, world: World, **settings: Any) -> None:
        function = {
            name: settings.pop(name)
            for name in ("timeout_s", "reserved_concurrency")
            if name in settings
        }
        self.world = world
        self.times: list[float] = []
        self.batches: list[list[str]] = []
        self.records: list[dict[str, Any]] = []
        self.answer: Any = None
        self.takes_s = 0.0
        world.deploy("worker", self.handle, **function)
        self.url = world.queue(VisibilityTimeout=settings.pop("visibility", "30"))
        self.identity = world.sources.add(
            EventSource(queue_arn=world.arn(self.url), function="worker", **settings)
        )

    def handle(self, event: Any, context: Any, session: Any, sleep: Any) -> Any:
        """Keep the records, take some time, answer."""
        self.times.append(self.world.scheduler.now())
        self.records += event["Records"]
        self.batches.append([record["body"] for record in event["Records"]])
        sleep(self.takes_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(event) if callable(self.answer) else self.answer

    def send(self, *bodies: str, **options: Any) -> None:
        """Send messages, all at one time."""
        for body in bodies:
            self.world.client("sqs").send_message(QueueUrl=self.url, MessageBody=body, **options)

    @property
    def left(self) -> int:
        """Messages that are still in the queue, visible or not."""
        queue = self.world.sqs.queue(self.world.arn(self.url))
        return len(queue._messages)


def test_a_message_invokes_the_function_and_is_deleted(world: World) -> None:
    """A result must be committed within moments, and once.

    Lambda developer guide, "Using Lambda with Amazon SQS": polls, invokes synchronously, deletes
    after success; "Example standard queue message event".
    """
    worker = Worker(world)
    began = world.scheduler.now()
    worker.send("hello", MessageGroupId="tenant")
    world.scheduler.run_for(100)
    assert worker.batches == [["hello"]]
    assert worker.times[0] - began == pytest.approx(0.016 + 0.25, abs=0.01)
    assert worker.left == 0
    record = worker.records[0]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == world.arn(worker.url)
    assert record["awsRegion"] == REGION
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"]["MessageGroupId"] == "tenant"
    assert {"messageId", "receiptHandle", "md5OfBody", "messageAttributes"} <= set(record)


def test_nobody_polls_an_empty_queue(world: World) -> None:
    """A virtual day must not consist of polls."""
    Worker(world)
    world.scheduler.run_for(1)
    before = world.scheduler._order
    world.scheduler.run_for(86_400)
    assert world.scheduler._order == before


def test_batches_hold_what_is_there_up_to_their_size(world: World) -> None:
    """Fewer invocations cost less; a batch larger than asked for breaks functions.

    Lambda developer guide, "Lambda parameters for Amazon SQS event source mappings": BatchSize.
    """
    worker = Worker(world, batch_size=4)
    worker.send(*map(str, range(10)))
    world.scheduler.run_for(10)
    assert [len(batch) for batch in worker.batches] == [4, 4, 2]


def test_a_window_gathers_a_batch(world: World) -> None:
    """With a window, a batch waits until it is full or the window is over.

    Lambda developer guide, "Batching behavior".
    """
    worker = Worker(world, batch_size=3, window_s=20.0)
    began = world.scheduler.now()
    worker.send("a")
    world.scheduler.run_for(5)
    worker.send("b")
    world.scheduler.run_for(30)
    assert worker.batches == [["a", "b"]]
    assert worker.times[0] - began == pytest.approx(20.3, abs=0.1)
    worker.send("c", "d", "e")
    world.scheduler.run_for(1)
    assert worker.batches[1:] == [["c", "d", "e"]]


def test_a_failed_batch_comes_back_after_the_visibility_timeout(world: World) -> None:
    """A crash of complete must delay results, not lose them.

    Lambda developer guide, "Handling errors for an SQS event source in Lambda": "After your
    queue's visibility timeout runs out, the message will again reappear in the queue."
    """
    worker = Worker(world)
    worker.answer = ValueError("no")
    worker.send("a")
    world.scheduler.run_for(10)
    worker.answer = None
    world.scheduler.run_for(60)
    assert worker.batches == [["a"], ["a"]]
    assert worker.times[1] - worker.times[0] == pytest.approx(30, abs=0.5)
    assert worker.records[1]["attributes"]["ApproximateReceiveCount"] == "2"
    assert worker.left == 0


def test_only_reported_failures_come_back(world: World) -> None:
    """One bad notification must not redo nine good ones.

    Lambda developer guide, "Implementing partial batch responses".
    """
    worker = Worker(world, partial=True)

    def fail_b(event: Any) -> Any:
        bad = [record for record in event["Records"] if record["body"] == "b"]
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in bad]}

    worker.answer = fail_b
    worker.send("a", "b", "c")
    world.scheduler.run_for(5)
    assert worker.left == 1
    worker.answer = {"batchItemFailures": []}
    world.scheduler.run_for(40)
    assert worker.batches == [["a", "b", "c"], ["b"]]
    assert worker.left == 0


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (None, 0),
        ({}, 0),
        ({"batchItemFailures": None}, 0),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, 1),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, 1),
        ({"batchItemFailures": [{"wrong": "x"}]}, 1),
        ({"batchItemFailures": [{"itemIdentifier": "unknown"}]}, 1),
        ("text", 1),
        (ValueError("raised"), 1),
    ],
    ids=str,
)
def test_what_counts_as_success(world: World, answer: Any, left: int) -> None:
    """A handler's slip must show here as it would in AWS.

    Lambda developer guide, "Implementing partial batch responses", "Success and failure
    conditions".
    """
    worker = Worker(world, partial=True)
    worker.answer = answer
    worker.send("a")
    world.scheduler.run_for(5)
    assert worker.left == left


def test_an_answer_does_not_matter_without_partial_responses(world: World) -> None:
    """Forgetting ReportBatchItemFailures loses messages: the twin must show it.

    Lambda developer guide, "Implementing partial batch responses".
    """
    worker = Worker(world)
    worker.answer = {"batchItemFailures": [{"itemIdentifier": "x"}]}
    worker.send("a")
    world.scheduler.run_for(5)
    assert worker.left == 0


def test_concurrency_starts_at_five_and_grows(world: World) -> None:
    """A burst meets five pollers first, then 300 more per minute.

    Lambda developer guide, "Configuring scaling behavior for SQS event source mappings".
    """
    worker = Worker(world, batch_size=1, timeout_s=900.0, visibility="1000")
    worker.takes_s = 600.0
    worker.send(*map(str, range(100)))
    world.scheduler.run_for(0.3)
    assert len(worker.batches) == 5
    world.scheduler.run_for(10)
    assert len(worker.batches) == pytest.approx(55, abs=3)
    world.scheduler.run_for(60)
    assert len(worker.batches) == 100


def test_maximum_concurrency_is_a_ceiling(world: World) -> None:
    """A mapping must not take all of a function's room.

    Lambda developer guide, "Configuring maximum concurrency for Amazon SQS event sources".
    """
    worker = Worker(world, batch_size=1, concurrency_max=2)
    worker.takes_s = 2.0
    worker.send(*"abcdef")
    world.scheduler.run_for(1.5)
    assert len(worker.batches) == 2
    world.scheduler.run_for(20)
    assert len(worker.batches) == 6
    assert worker.left == 0


def test_throttled_batches_are_tried_again_while_hidden(world: World) -> None:
    """A busy function delays messages and burns none of their receives.

    Lambda developer guide, "Handling errors for an SQS event source in Lambda": "Lambda continues
    to retry the message until the message's timestamp exceeds your queue's visibility timeout".
    """
    worker = Worker(world, reserved_concurrency=1, visibility="60", timeout_s=60.0)
    worker.takes_s = 5.0
    world.functions.invoke(REGION, "worker", {"Records": []})
    world.scheduler.run_for(1)
    worker.send("a")
    world.scheduler.run_for(30)
    assert worker.batches == [[], ["a"]]
    assert worker.records[0]["attributes"]["ApproximateReceiveCount"] == "1"

    worker.takes_s = 59.0
    for _ in range(3):  # Busy for longer than the message stays hidden.
        world.functions.invoke(REGION, "worker", {"Records": []})
        if worker.left == 0:
            worker.send("b")
        world.scheduler.run_for(59.5)
    worker.takes_s = 0.0
    world.scheduler.run_for(200)
    again = worker.records[-1]
    assert again["body"] == "b"
    assert int(again["attributes"]["ApproximateReceiveCount"]) > 1
    assert worker.left == 0


def test_a_slow_function_does_not_delete_what_another_has(world: World) -> None:
    """Visibility shorter than the work gives duplicates, not losses.

    API reference, "DeleteMessage"; Lambda developer guide, "Configuring a queue to use with
    Lambda": visibility at least six times the timeout.
    """
    worker = Worker(world, timeout_s=20.0, visibility="20")
    worker.takes_s = 19.9
    worker.send("a")
    world.scheduler.run_for(10)
    worker.takes_s = 1.0
    # The cold start makes the first attempt end after the message is visible again.
    world.scheduler.run_for(100)
    assert len(worker.batches) == 2
    assert worker.left == 0


def test_messages_from_anybody_wake_it(world: World) -> None:
    """SNS delivers inside moto, where no hook is.

    SNS developer guide, "Amazon SNS message delivery": queues as subscribers.
    """
    worker = Worker(world)
    sns = world.client("sns")
    topic = sns.create_topic(Name="succeeded")["TopicArn"]
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=world.arn(worker.url),
        Attributes={"RawMessageDelivery": "true"},
    )
    sns.publish(TopicArn=topic, Message="from SNS")
    world.scheduler.run_for(1)
    assert worker.batches == [["from SNS"]]
    worker.send("later", DelaySeconds=60)
    world.scheduler.run_for(59)
    assert len(worker.batches) == 1
    world.scheduler.run_for(2)
    assert worker.batches[1] == ["later"]


def test_a_disabled_mapping_leaves_messages_where_they_are(world: World) -> None:
    """An operator stops a consumer this way.

    API reference, "UpdateEventSourceMapping": Enabled.
    """
    worker = Worker(world)
    world.sources.enable(worker.identity, enabled=False)
    worker.send("a")
    world.scheduler.run_for(60)
    assert worker.batches == []
    world.sources.enable(worker.identity, enabled=True)
    world.scheduler.run_for(1)
    assert worker.batches == [["a"]]


def test_its_requests_to_sqs_are_in_the_log(world: World) -> None:
    """They are billed, and cost per job is counted from the log.

    SQS pricing: every receive and delete is a request; Lambda receives up to ten at once.
    """
    worker = Worker(world, batch_size=25, window_s=1.0)
    worker.send(*map(str, range(25)))
    world.scheduler.run_for(5)
    counts = world.hook.log.counts
    assert counts["event source of worker", "sqs", "ReceiveMessage"] == 3
    assert counts["event source of worker", "sqs", "DeleteMessageBatch"] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout_s": 31.0}, "less than Function timeout"),
        ({"batch_size": 11}, "batch window"),
        ({"concurrency_max": 1}, "from 2 to 1000"),
    ],
)
def test_what_lambda_would_refuse_is_refused(
    world: World, settings: dict[str, Any], message: str
) -> None:
    """A deployment that fails in AWS must fail here first.

    Lambda developer guide, "Creating and configuring an Amazon SQS event source mapping"; API
    reference, "CreateEventSourceMapping" and "ScalingConfig".
    """
    with pytest.raises(ValueError, match=message):
        Worker(world, **settings)


def test_templates_deploy_mappings(world: World) -> None:
    """A property of a template must arrive where it acts."""
    world.deploy("worker", lambda *_: None)
    arn = world.arn(world.queue())
    deployed = world.sources.create(
        Resource(
            type="AWS::Lambda::EventSourceMapping",
            logical_id="X",
            physical_id="x",
            region=REGION,
            account="123456789012",
            stack="stack",
            properties={
                "EventSourceArn": arn,
                "FunctionName": f"arn:aws:lambda:{REGION}:123456789012:function:worker",
                "BatchSize": 7,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "ScalingConfig": {"MaximumConcurrency": 3},
            },
        )
    )
    assert deployed is not None
    poller = world.sources._pollers[deployed.physical_id]
    assert poller.source == EventSource(
        queue_arn=arn, function="worker", batch_size=7, partial=True, concurrency_max=3
    )
