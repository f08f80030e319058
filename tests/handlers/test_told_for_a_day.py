"""A receiver that is down: a day of tries on a real queue, then the dead letters; the result stays.

The queue is moto's, with the receipts that the template allows; time moves from try to try.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.utils import unix_time_millis
from moto.sqs.models import SQSBackend, sqs_backends

from lambdas.adapters.webhooks import Courier
from lambdas.domain.webhooks import DELIVERIES_MAX, JITTER_SHARE, Answer, Failure, Target
from lambdas.handlers import complete, notify, record
from tests.handlers.region import HERE, DiedError, Region, aws

ADDRESS = "https://example.com/told"
HOUR_S = 3600
MOTOS_ACCOUNT = "123456789012"
HIDDEN_S = 180
"""The queue's own visibility time: six timeouts of notify."""


@dataclass
class Receiver:
    """A client's receiver, down until somebody mends it."""

    up: bool = False
    heard: list[tuple[float, str, bytes]] = field(default_factory=list)

    def deliver(self, region: Region, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer a try."""
        self.heard.append((region.now_s, headers["webhook-id"], body))
        return Answer(status=204) if self.up else Answer(failure=Failure.UNREACHABLE)


change_message_visibility = SQSBackend.change_message_visibility


def hidden_since_received(
    backend: SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int
) -> None:
    """Change a message's visibility; moto counts the 12 h at most from when it was first sent.

    SQS counts them from when it was received last (developer guide, "Visibility timeout").
    """
    message: Any
    for message in backend.get_queue(queue_name)._messages:
        if message.had_receipt_handle(receipt_handle):
            sent_ms = message.sent_timestamp
            message.sent_timestamp = unix_time_millis()
            change_message_visibility(backend, queue_name, receipt_handle, visibility_timeout)
            message.sent_timestamp = sent_ms


@pytest.fixture
def receiver(region: Region, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """Where webhooks go, with the tenant's secret and the queues as the template makes them."""
    item: Any = {"pk": {"S": "webhook#acme"}, "secret": {"S": "whsec_" + "A" * 32}}
    aws("dynamodb").put_item(TableName=region.names.directory, Item=item)
    sqs, names = aws("sqs"), region.names
    dead = sqs.create_queue(QueueName=names.webhooks_dead_letters)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    redrive = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": DELIVERIES_MAX}
    sqs.set_queue_attributes(
        QueueUrl=names.queue_url(HERE, names.webhooks),
        Attributes={
            "RedrivePolicy": json.dumps(redrive),
            "VisibilityTimeout": str(HIDDEN_S),
        },
    )
    monkeypatch.setattr(SQSBackend, "change_message_visibility", hidden_since_received)
    receiver = Receiver()

    def deliver(_: Courier, __: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        return receiver.deliver(region, headers, body)

    monkeypatch.setattr(Courier, "deliver", deliver)
    return receiver


def mapped(region: Region, function: Any, queue: str) -> int:
    """Do what Lambda's event source mapping does once; how many messages were received."""
    sqs, url = aws("sqs"), region.names.queue_url(HERE, queue)
    found = sqs.receive_message(QueueUrl=url, AttributeNames=["All"], MaxNumberOfMessages=10).get(
        "Messages", []
    )
    if not found:
        return 0
    records = [
        {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
        }
        for message in found
    ]
    try:
        reply = region.handler(function)({"Records": records}, None)
    except (DiedError, ClientError):
        region.forget_environments()
        return len(found)  # they come back when their time is up
    failed = {failure["itemIdentifier"] for failure in reply["batchItemFailures"]}
    for message in found:
        if message["MessageId"] not in failed:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return len(found)


def let_pass(region: Region, hours: float) -> None:
    """Let hours pass, from one visible message to the next."""
    names = region.names
    backend = sqs_backends[MOTOS_ACCOUNT][HERE]
    queues = [backend.get_queue(name) for name in (names.webhooks, names.deliveries)]
    until_s = region.now_s + hours * HOUR_S
    while region.now_s < until_s:
        mapped(region, notify, names.webhooks)
        mapped(region, record, names.deliveries)
        visible_s = [message.visible_at / 1000 for queue in queues for message in queue._messages]
        region.sleep(max(1, min([until_s, *visible_s]) - region.now_s))


def completed(region: Region) -> str:
    """A job with a webhook that SageMaker has answered."""
    job = region.submitted(webhook=ADDRESS)
    region.start(job)
    said = {
        "invocationStatus": "Completed",
        "inferenceId": f"{job}.1",
        "responseBody": {"content": json.dumps({"answer": 42})},
    }
    body = {"messageId": "m-1", "body": json.dumps(said)}
    attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(1000 * region.now_s))}
    region.handler(complete)({"Records": [{**body, "attributes": attributes}]}, None)
    return job


def test_a_receiver_that_is_down_is_asked_for_a_day_and_then_left_to_an_operator(
    region: Region, receiver: Receiver
) -> None:
    """Whoever repairs a receiver in a working day misses nothing; whoever does not, loses nothing.

    The waits double and differ; each try is in the job's log; the dead letter can be sent as it
    is; and the result is there all the while.
    """
    job = completed(region)

    let_pass(region, 26)

    # Twenty tries over most of a day, every wait longer than the one before, up to its bound.
    times = [at_s for at_s, _, _ in receiver.heard]
    assert len(times) == DELIVERIES_MAX
    assert 65_788 <= times[-1] - times[0] <= 86_400
    waits = [after - before for before, after in pairwise(times)]
    for number, wait_s in enumerate(waits):
        most_s = min(9_000, 5 * 2**number)
        assert (1 - JITTER_SHARE) * most_s - 1 <= wait_s <= most_s + 1
    assert len({(identity, body) for _, identity, body in receiver.heard}) == 1

    log = region.ask("GET /v1/jobs/{id}/deliveries", job=job).json["data"]
    assert [line["try"] for line in log] == list(range(1, DELIVERIES_MAX + 1))
    assert {line["failure"] for line in log} == {"unreachable"}
    assert [line["verdict"] for line in log] == ["retry"] * (DELIVERIES_MAX - 1) + ["given_up"]
    assert all(line["next_at"] for line in log[:-1])
    assert log[-1]["next_at"] is None

    view = region.ask("GET /v1/jobs/{id}", job=job).json
    assert (view["status"], view["output"]) == ("completed", {"answer": 42})

    # Nothing is left but the dead letter, which holds all that there is to be sent.
    assert region.notices() == []
    sqs, names = aws("sqs"), region.names
    url = names.queue_url(HERE, names.webhooks_dead_letters)
    (dead,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert json.loads(dead["Body"])["job"] == job

    receiver.up = True
    sqs.send_message(QueueUrl=names.queue_url(HERE, names.webhooks), MessageBody=dead["Body"])
    let_pass(region, 0.1)
    assert [identity for _, identity, _ in receiver.heard[DELIVERIES_MAX:]] == [
        f"msg_{job}_completed"
    ]
    log = region.ask("GET /v1/jobs/{id}/deliveries", job=job).json["data"]
    assert (log[-1]["try"], log[-1]["verdict"], log[-1]["status"]) == (1, "delivered", 204)


DEATHS = [
    pytest.param(function, moment, id=f"{function.__name__.rpartition('.')[2]}-{moment}")
    for function, moments in {
        notify: ("GetItem#1", "GetItem done#1", "SendMessage#1", "SendMessage done#1"),
        record: ("UpdateItem#1", "UpdateItem done#1"),
    }.items()
    for moment in moments
]


@pytest.mark.parametrize(("function", "moment"), DEATHS)
def test_a_death_at_any_call_loses_neither_the_delivery_nor_its_log(
    region: Region, receiver: Receiver, function: Any, moment: str
) -> None:
    """A function may end between any two calls: its message comes back, under the same id."""
    job = completed(region)
    region.calls.clear()

    def die() -> None:
        region.faults = {}
        raise DiedError

    receiver.up = True
    region.faults = {moment: die}
    if function is record:
        mapped(region, notify, region.names.webhooks)
    mapped(
        region, function, region.names.webhooks if function is notify else region.names.deliveries
    )
    assert region.faults == {}
    let_pass(region, 1)

    assert {identity for _, identity, _ in receiver.heard} == {f"msg_{job}_completed"}
    # Whoever died after a delivery makes it again; a receiver knows the second by its id.
    again = function is notify and moment.startswith("SendMessage")
    assert len(receiver.heard) == 1 + again
    log = region.ask("GET /v1/jobs/{id}/deliveries", job=job).json["data"]
    assert [line["verdict"] for line in log] == ["delivered"] * len(log)
    assert len(log) == 1 + (moment == "SendMessage done#1")


def test_receivers_that_failed_together_are_not_asked_again_together(
    region: Region, receiver: Receiver
) -> None:
    """A receiver that just came up would be knocked over by everything that it missed."""
    for _ in range(3):
        completed(region)

    let_pass(region, 3)

    assert len({at_s for at_s, _, _ in receiver.heard[-3:]}) > 1


def test_a_receiver_that_comes_back_hears_of_it_once_more_by_hand(
    region: Region, receiver: Receiver
) -> None:
    """A client that lost its own records asks for the same event again."""
    job = completed(region)
    receiver.up = True
    let_pass(region, 0.1)

    region.ask("POST /v1/jobs/{id}/deliveries", job=job)
    let_pass(region, 0.1)

    assert len(receiver.heard) == 2
    assert len({(identity, body) for _, identity, body in receiver.heard}) == 1
    log = region.ask("GET /v1/jobs/{id}/deliveries", job=job).json["data"]
    assert [(line["try"], line["verdict"]) for line in log] == [(1, "delivered")] * 2
