"""notify: one message of the webhooks queue, one try, one log line."""

import io
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_lambda_powertools import Logger
from moto import mock_aws

from config.schema import load
from lambdas.adapters.directory import Tenant
from lambdas.adapters.ledger import Ledger
from lambdas.domain.job import Job, Status
from lambdas.domain.webhooks import Answer, Failure, Target, signature
from lambdas.handlers.notify import Notify, handle

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONFIG = Path(__file__).resolve().parents[2] / "config" / "dev.yaml"
NOW_S = 1_700_000_020
JOB = Job(
    id="job_a",
    status=Status.COMPLETED,
    attempt=1,
    owner="eu-west-1",
    home="eu-west-1",
    tenant="acme",
    model="embedder",
    tier="batch",
    created_ms=1_700_000_000_000,
    deadline_ms=1_700_086_400_000,
    request_hash=b"",
    metadata="private metadata",
    webhook="https://hooks.private.example/private-path?token=private",
    finished_ms=1_700_000_012_345,
    output=b"private answer",
)
EVENT = "job.completed"


@dataclass
class World:
    """Ledger, directory, courier and queue around the function, all in memory."""

    job: Job | None = JOB
    tenant_found: Tenant | None = field(
        default_factory=lambda: Tenant(id="acme", webhook_secret=SECRET)
    )
    answer: Answer = field(default_factory=lambda: Answer(status=204, elapsed_ms=12))
    sent: list[tuple[Target, Mapping[str, str], bytes]] = field(default_factory=list)
    postponed: list[tuple[str, int]] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def get(self, job_id: str) -> Job | None:
        """Take the place of the ledger."""
        return self.job if self.job and self.job.id == job_id else None

    def tenant(self, tenant_id: str, /) -> Tenant | None:
        """Take the place of the directory."""
        return self.tenant_found if tenant_id == "acme" else None

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take the place of the internet."""
        self.sent.append((target, headers, body))
        return self.answer

    def postpone(self, receipt: str, wait_s: int) -> None:
        """Take the place of the queue."""
        self.postponed.append((receipt, wait_s))

    def receive(self, body: object, *, receives: int = 1, now_s: float = NOW_S) -> list[str]:
        """Have the function handle one message; the messages that it keeps in the queue."""
        notify = Notify(
            jobs=self,
            tenants=self,
            courier=self,
            outbox=self,
            logger=Logger(service=f"test-{id(self)}", level="DEBUG", stream=self.log),
            now=lambda: now_s,
            tell=self.told.append,
        )
        text = body if isinstance(body, str) else json.dumps(body)
        reply = notify.handle({"Records": [record(text, receives)]}, None)
        return [failure["itemIdentifier"] for failure in reply["batchItemFailures"]]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def record(body: str, receives: int = 1) -> dict[str, Any]:
    """A message as Lambda's event source mapping hands it over."""
    return {
        "messageId": "m-1",
        "receiptHandle": "r-1",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "SentTimestamp": "1700000012500",
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "awsRegion": "eu-west-1",
    }


def notice(job: str = "job_a", event: str = EVENT) -> dict[str, Any]:
    """A message's body."""
    return {"format": 1, "job": job, "event": event}


def test_the_end_of_a_job_is_told_once_and_signed() -> None:
    """A client that waits for its webhook never learns that its job is done."""
    world = World()

    assert world.receive(notice()) == []

    ((target, headers, body),) = world.sent
    assert target == Target("hooks.private.example", 443, "/private-path?token=private")
    assert json.loads(body)["type"] == EVENT
    assert headers == {
        "webhook-id": "msg_job_a_completed",
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": signature(
            SECRET, delivery="msg_job_a_completed", sent_s=NOW_S, body=body
        ),
    }
    assert world.postponed == []
    assert world.told == [False]


def test_a_retry_has_the_same_id_and_body_and_a_time_and_signature_of_its_own() -> None:
    """A receiver counts an event twice, or refuses the retry as a replay of something old."""
    world = World(answer=Answer(status=503))

    world.receive(notice())
    world.receive(notice(), receives=2, now_s=NOW_S + 400)

    (_, first, first_body), (_, second, second_body) = world.sent
    assert first["webhook-id"] == second["webhook-id"]
    assert first_body == second_body
    assert int(second["webhook-timestamp"]) == NOW_S + 400
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    "answer", [Answer(status=500), Answer(status=307), Answer(failure=Failure.TIMEOUT)]
)
def test_a_failed_try_stays_in_the_queue_and_comes_back_later(answer: Answer) -> None:
    """A receiver that is down for a minute would lose the event."""
    world = World(answer=answer)

    assert world.receive(notice(), receives=5) == ["m-1"]
    assert world.told == [True]

    ((receipt, wait_s),) = world.postponed
    assert receipt == "r-1"
    assert 64 <= wait_s <= 80


def test_after_the_last_try_the_message_goes_to_the_dead_letters() -> None:
    """An event that was given up must be where an operator finds it."""
    world = World(answer=Answer(status=500))

    assert world.receive(notice(), receives=20) == ["m-1"]
    assert world.postponed == [("r-1", 0)]


@pytest.mark.parametrize("answer", [Answer(status=410), Answer(failure=Failure.REFUSED)])
def test_what_cannot_succeed_is_dropped(answer: Answer) -> None:
    """A receiver that said that it is gone would be asked for a day."""
    world = World(answer=answer)

    assert world.receive(notice()) == []
    assert world.postponed == []
    assert [line["verdict"] for line in world.lines] == ["drop"]


@pytest.mark.parametrize(
    ("world", "body", "reason"),
    [
        (World(), "not JSON", "malformed message"),
        (World(), [], "malformed message"),
        (World(), {"format": 1, "job": 7}, "malformed message"),
        (World(), notice(job="job_b"), "no such job"),
        (World(), notice(event="job.failed"), "the job did not end like that"),
        (
            World(job=replace(JOB, status=Status.QUEUED)),
            notice(),
            "the job did not end like that",
        ),
        (World(job=replace(JOB, webhook=None)), notice(), "the job has no webhook"),
        (
            World(job=replace(JOB, webhook="http://169.254.169.254/private")),
            notice(),
            "the address is refused",
        ),
        (World(tenant_found=None), notice(), "the tenant has no secret"),
        (World(tenant_found=Tenant(id="acme")), notice(), "the tenant has no secret"),
        (
            World(tenant_found=Tenant(id="acme", webhook_secret="private")),
            notice(),
            "the tenant's secret is malformed",
        ),
    ],
)
def test_a_message_that_cannot_be_delivered_is_dropped_with_one_line(
    world: World, body: object, reason: str
) -> None:
    """It would come back for a day and end in the dead letters, hiding the real ones."""
    assert world.receive(body) == []

    assert world.sent == []
    (line,) = world.lines
    assert line["message"] == "webhook dropped"
    assert line["reason"] == reason
    assert line["message_id"] == "m-1"
    assert "private" not in world.log.getvalue()


def test_an_error_of_aws_leaves_the_message_to_come_back() -> None:
    """A ledger that answers slowly for a second would cost the event."""

    class Broken(World):
        def get(self, job_id: str) -> Job | None:
            raise ConnectionError("ledger")

    with pytest.raises(ConnectionError):
        Broken().receive(notice())


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=204, elapsed_ms=12),
        Answer(status=500, elapsed_ms=12),
        Answer(failure=Failure.UNTRUSTED, elapsed_ms=12),
    ],
)
def test_a_log_line_holds_ids_codes_and_timings_only(answer: Answer) -> None:
    """Addresses carry tokens, and whoever reads logs may not read payloads."""
    world = World(answer=answer)

    world.receive(notice())

    (line,) = world.lines
    assert line["delivery"] == "msg_job_a_completed"
    assert line["elapsed_ms"] == 12
    assert (line.get("status"), line.get("failure")) == (answer.status, answer.failure)
    written = world.log.getvalue()
    assert "private" not in written
    assert SECRET not in written
    assert SECRET.removeprefix("whsec_") not in written
    assert all(
        part not in written
        for _, headers, _ in world.sent
        for part in headers.values()
        if part.startswith("v1,")
    )


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """A region with the ledger, the directory and the webhooks queue of a deployment `t`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        session = boto3.Session(region_name="eu-west-1")
        dynamodb = session.client("dynamodb")
        for table in ("t-ledger", "t-directory"):
            dynamodb.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        dynamodb.put_item(
            TableName="t-directory",
            Item={
                "pk": {"S": "tenant#acme"},
                "id": {"S": "acme"},
                "disabled": {"BOOL": False},
                "created_ms": {"N": "1"},
                "webhook_secret": {"S": SECRET},
            },
        )
        yield session


def test_an_execution_environment_reaches_ledger_directory_and_queue_by_name(
    region: boto3.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is wired to another resource fails on the first event in AWS.

    Only DNS is taken away, so the try fails and a real message is postponed.
    """
    policy = replace(load(CONFIG).policy(), deployment="t", account="123456789012")
    (tmp_path / "lambdas").mkdir()
    (tmp_path / "lambdas" / "policy.json").write_text(json.dumps(policy.to_json()))
    Ledger(region.client("dynamodb"), policy.names.ledger).create(JOB)
    sqs = region.client("sqs")
    sqs.create_queue(QueueName="t-webhooks")
    queue = policy.names.queue_url("eu-west-1", policy.names.webhooks)
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(notice()))
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    event = record(message["Body"]) | {"receiptHandle": message["ReceiptHandle"]}

    def nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    environ = {"AWS_REGION": "eu-west-1", "LAMBDA_TASK_ROOT": str(tmp_path)}
    environment = handle.environment(environ=environ, session=region, sleep=lambda _: None)

    assert environment({"Records": [event]}, None) == {
        "batchItemFailures": [{"itemIdentifier": "m-1"}]
    }
    hidden = sqs.get_queue_attributes(
        QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    assert hidden["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "1"}
