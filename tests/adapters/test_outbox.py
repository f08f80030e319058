"""The webhooks queue."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from lambdas.adapters.outbox import Outbox
from lambdas.domain.job import Job, Status
from lambdas.domain.notices import Letter, Notice, read_notice

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageTypeDef


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    """A webhooks queue."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("sqs", region_name="eu-west-1")
        yield Outbox(client, client.create_queue(QueueName="t-webhooks")["QueueUrl"])


def received(outbox: Outbox) -> "list[MessageTypeDef]":
    """What can be received now."""
    return outbox.client.receive_message(QueueUrl=outbox.url).get("Messages", [])


def job(status: Status, webhook: str | None) -> Job:
    """A job with a payload."""
    return Job(
        id="job_a",
        status=status,
        attempt=1,
        owner="eu-west-1",
        home="eu-west-1",
        tenant="acme",
        model="embedder",
        tier="batch",
        created_ms=1,
        deadline_ms=2,
        request_hash=b"",
        webhook=webhook,
        finished_ms=3,
        output=b"private answer",
        metadata="private metadata",
    )


def test_the_end_of_a_job_is_announced_with_all_that_is_sent_and_nothing_else(
    outbox: Outbox,
) -> None:
    """Who delivers it may read neither jobs nor tenants; and no payload lies in a queue."""
    outbox.announce(job(Status.FAILED, "https://hooks.example.com/told"))

    (message,) = received(outbox)
    notice = read_notice(message["Body"])
    assert notice is not None
    assert (notice.job, notice.event) == ("job_a", "job.failed")
    assert notice.letter is not None
    assert notice.letter.tenant == "acme"
    assert notice.letter.address == "https://hooks.example.com/told"
    assert notice.letter.delivery == "msg_job_a_failed"
    assert json.loads(notice.letter.body)["data"]["id"] == "job_a"
    assert "private" not in message["Body"]


@pytest.mark.parametrize(
    ("status", "webhook"),
    [
        (Status.COMPLETED, None),
        (Status.QUEUED, "https://a.b/"),
        (Status.IN_PROGRESS, "https://a.b/"),
    ],
)
def test_nothing_is_announced_when_nobody_asked_or_nothing_ended(
    outbox: Outbox, status: Status, webhook: str | None
) -> None:
    """Every job without a webhook would cost a message, a receive and a function call."""
    outbox.announce(job(status, webhook))

    assert received(outbox) == []


def test_a_postponed_message_comes_back_when_its_time_is_up(outbox: Outbox) -> None:
    """A retry that comes at once hits a receiver that is still down, and uses up the tries."""
    outbox.announce(job(Status.COMPLETED, "https://a.b/"))
    (message,) = received(outbox)

    outbox.postpone(message["ReceiptHandle"], 5)
    assert received(outbox) == []
    outbox.postpone(message["ReceiptHandle"], 0)
    (again,) = received(outbox)

    assert again["MessageId"] == message["MessageId"]


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "[]", "null", "7", "{}", '"x"'),
        '{"job":"job_a"}',
        '{"job":1,"event":"job.failed"}',
        '{"job":"job_a","event":"job.failed","body":"{}"}',
        '{"job":"a","event":"e","body":{},"tenant":"t","delivery":"d","address":"https://a.b"}',
    ],
)
def test_a_malformed_message_is_recognised(body: str) -> None:
    """A message that nobody can read would come back for a day and block nobody but cost all."""
    assert read_notice(body) is None


def test_fields_that_a_later_release_adds_are_read_over() -> None:
    """During a deployment, old functions read what new ones wrote."""
    letter = {"tenant": "acme", "delivery": "msg_1", "address": "https://a.b/", "body": "{}"}
    body = {"format": 3, "job": "job_a", "event": "job.failed", "added": True, **letter}

    assert read_notice(json.dumps(body)) == Notice("job_a", "job.failed", Letter(**letter))


def test_a_message_of_the_first_format_is_known_as_one() -> None:
    """It names a job alone: whoever takes it for malformed loses the event."""
    body = '{"format":1,"job":"job_a","event":"job.failed"}'

    assert read_notice(body) == Notice("job_a", "job.failed")
