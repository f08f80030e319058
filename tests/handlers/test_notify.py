"""notify: one message of the webhooks queue, one try, one log line."""

import io
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError
from moto import mock_aws

from config.schema import load
from lambdas.adapters.outbox import Outbox
from lambdas.adapters.reports import Report, read_report
from lambdas.domain.deliveries import Try, read_line
from lambdas.domain.job import Job, Status
from lambdas.domain.notices import write_batch_notice
from lambdas.domain.webhooks import Answer, Failure, Signing, Target, Verdict, signature
from lambdas.handlers.notify import Notify, handle

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONFIG = Path(__file__).resolve().parents[2] / "config" / "dev.yaml"
NOW_S = 1_700_000_020
JOB = Job(
    id="job_" + "a" * 26,
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
DELIVERY = f"msg_{JOB.id}_completed"
MESSAGE = "0f8a1c2e-message"


@dataclass
class World:
    """Secrets, courier and queues around the function, all in memory."""

    signing: Signing | None = field(default_factory=lambda: Signing(secret=SECRET))
    answer: Answer = field(default_factory=lambda: Answer(status=204, elapsed_ms=12))
    sent: list[tuple[Target, Mapping[str, str], bytes]] = field(default_factory=list)
    postponed: list[tuple[str, int]] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    told: list[bool] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def of(self, tenant: str) -> Signing | None:
        """Take the place of the directory."""
        return self.signing if tenant == "acme" else None

    def deliver(self, target: Target, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take the place of the internet."""
        self.sent.append((target, headers, body))
        return self.answer

    def postpone(self, receipt: str, wait_s: int) -> None:
        """Take the place of the queue."""
        self.postponed.append((receipt, wait_s))

    def send(self, report: Report) -> None:
        """Take the place of record."""
        self.reports.append(report)

    def receive(self, body: object, *, receives: int = 1, now_s: float = NOW_S) -> list[str]:
        """Have the function handle one message; the messages that it keeps in the queue."""
        notify = Notify(
            secrets=self,
            courier=self,
            outbox=self,
            reports=self,
            logger=Logger(service=f"test-{id(self)}", level="DEBUG", stream=self.log),
            now=lambda: now_s,
            tell=self.told.append,
        )
        text = body if isinstance(body, str) else json.dumps(body)
        reply = notify.handle({"Records": [record(text, receives)]}, None)
        return [failure["itemIdentifier"] for failure in reply["batchItemFailures"]]

    @property
    def tries(self) -> list[Try]:
        """What was told to record, of the one job that there is."""
        assert {report.job for report in self.reports} <= {JOB.id}
        tries = [read_line(report.line) for report in self.reports]
        return [tried for tried in tries if tried is not None]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def record(body: str, receives: int = 1) -> dict[str, Any]:
    """A message as Lambda's event source mapping hands it over."""
    return {
        "messageId": MESSAGE,
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


def notice(**changes: Any) -> dict[str, Any]:
    """A message's body, as an end is announced."""
    written: list[str] = []
    queue: Any = SimpleNamespace(send_message=lambda **sent: written.append(sent["MessageBody"]))
    Outbox(queue, "").announce(JOB)
    return dict(json.loads(written[0])) | changes


def test_the_end_of_a_job_is_told_once_and_signed() -> None:
    """A client that waits for its webhook never learns that its job is done."""
    world = World()

    assert world.receive(notice()) == []

    ((target, headers, body),) = world.sent
    assert target == Target("hooks.private.example", 443, "/private-path?token=private")
    assert json.loads(body)["type"] == EVENT
    assert headers == {
        "webhook-id": DELIVERY,
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": signature(SECRET, delivery=DELIVERY, sent_s=NOW_S, body=body),
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

    assert world.receive(notice(), receives=5) == [MESSAGE]
    assert world.told == [True]

    ((receipt, wait_s),) = world.postponed
    assert receipt == "r-1"
    assert 64 <= wait_s <= 80


def test_after_the_last_try_the_message_goes_to_the_dead_letters() -> None:
    """An event that was given up must be where an operator finds it."""
    world = World(answer=Answer(status=500))

    assert world.receive(notice(), receives=20) == [MESSAGE]
    assert world.postponed == [("r-1", 0)]
    assert [(tried.verdict, tried.next_ms) for tried in world.tries] == [("given_up", None)]


@pytest.mark.parametrize("answer", [Answer(status=410), Answer(failure=Failure.REFUSED)])
def test_what_cannot_succeed_is_dropped(answer: Answer) -> None:
    """A receiver that said that it is gone would be asked for a day."""
    world = World(answer=answer)

    assert world.receive(notice()) == []
    assert world.postponed == []
    assert [line["verdict"] for line in world.lines] == ["drop"]


@pytest.mark.parametrize("body", ["not JSON", [], {"format": 2, "job": 7}, {"format": 1, "job": 7}])
def test_a_malformed_message_is_dropped_with_one_line(body: object) -> None:
    """It would come back for a day and end in the dead letters, hiding the real ones."""
    world = World()

    assert world.receive(body) == []

    assert (world.sent, world.reports) == ([], [])
    (line,) = world.lines
    assert (line["message"], line["reason"]) == ("webhook dropped", "malformed message")
    assert line["message_id"] == MESSAGE


def test_a_message_of_the_first_format_goes_to_the_dead_letters_at_once() -> None:
    """Dropped, the event of a job that ended during a deployment would be lost."""
    world = World()

    kept = world.receive({"format": 1, "job": JOB.id, "event": EVENT})

    assert kept == [MESSAGE]
    assert world.postponed == [("r-1", 0)]
    assert world.sent == []
    assert [line["message"] for line in world.lines] == ["webhook of a former format"]


def test_an_address_that_is_refused_is_never_connected_to() -> None:
    """A rule that was tightened holds for what was accepted before, too."""
    world = World()

    assert world.receive(notice(address="http://169.254.169.254/private")) == []

    assert world.sent == []
    assert [(tried.failure, tried.verdict) for tried in world.tries] == [("refused", "drop")]
    assert "private" not in world.log.getvalue()


@pytest.mark.parametrize("signing", [None, Signing(secret="private")])
def test_a_secret_that_is_missing_may_come(signing: Signing | None) -> None:
    """A tenant's secret reaches other regions a second late: an event must not be lost for it."""
    world = World(signing=signing)

    assert world.receive(notice()) == [MESSAGE]

    assert world.sent == []
    assert [(tried.failure, tried.verdict) for tried in world.tries] == [("unsigned", "retry")]
    assert "private" not in world.log.getvalue()


def test_during_a_rotation_both_secrets_sign_and_then_the_new_one_alone() -> None:
    """A receiver that still holds the former secret would lose every event."""
    new = "whsec_" + "A" * 32
    signing = Signing(secret=new, previous=SECRET, previous_until_ms=1000 * NOW_S + 60_000)
    world = World(signing=signing)

    world.receive(notice())
    world.receive(notice(), now_s=NOW_S + 61)

    (_, during, body), (_, after, _) = world.sent
    for secret in (new, SECRET):
        signed = signature(secret, delivery=DELIVERY, sent_s=NOW_S, body=body)
        assert signed in during["webhook-signature"].split(" ")
    assert after["webhook-signature"] == signature(
        new, delivery=DELIVERY, sent_s=NOW_S + 61, body=body
    )


def test_every_try_is_told_to_the_jobs_log() -> None:
    """Whoever asks why a webhook did not come finds what their receiver answered, and when."""
    world = World(answer=Answer(status=503, elapsed_ms=250))

    world.receive(notice(), receives=3)

    (tried,) = world.tries
    ((_, wait_s),) = world.postponed
    assert tried == Try(
        at_ms=1000 * NOW_S,
        message="0f8a1c2e",
        number=3,
        status=503,
        failure=None,
        elapsed_ms=250,
        verdict=Verdict.RETRY,
        next_ms=1000 * (NOW_S + wait_s) + 250,
    )
    assert "private" not in world.reports[0].line


def test_the_end_of_a_batch_is_told_and_kept_in_no_log() -> None:
    """The ledger's logs are jobs': a line for a batch would come back until it is too old."""
    batch = "batch_" + "a" * 26
    body = write_batch_notice(
        batch, status="completed", tenant="acme", address="https://a.example/", ended_ms=5000
    )
    world = World()

    assert world.receive(body) == []

    ((_, headers, _),) = world.sent
    assert headers["webhook-id"] == f"msg_{batch}_completed"
    assert world.reports == []


def test_a_log_that_cannot_be_written_makes_no_second_delivery() -> None:
    """The receiver has the event: it would get it again because of our own trouble."""

    class Silent(World):
        def send(self, report: Report) -> None:
            raise ClientError({"Error": {"Code": "Throttled", "Message": "private"}}, "SendMessage")

    world = Silent()

    assert world.receive(notice()) == []
    assert len(world.sent) == 1
    assert [line["message"] for line in world.lines] == ["webhook tried", "try not reported"]
    assert "private" not in world.log.getvalue()


def test_an_error_of_aws_leaves_the_message_to_come_back() -> None:
    """A directory that answers slowly for a second would cost the event."""

    class Broken(World):
        def of(self, tenant: str) -> Signing | None:
            raise ConnectionError("directory")

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
    assert line["delivery"] == DELIVERY
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
    """A region with the directory of a deployment `t`, and no ledger at all."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        session = boto3.Session(region_name="eu-west-1")
        dynamodb = session.client("dynamodb")
        dynamodb.create_table(
            TableName="t-directory",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        item: Any = {"pk": {"S": "webhook#acme"}, "secret": {"S": SECRET}}
        dynamodb.put_item(TableName="t-directory", Item=item)
        yield session


def test_an_execution_environment_reaches_secrets_and_queues_by_name(
    region: boto3.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that is wired to another resource fails on the first event in AWS.

    Only DNS is taken away, so the try fails, and a real message is postponed and another sent.
    """
    policy = replace(load(CONFIG).policy(), deployment="t", account="123456789012")
    (tmp_path / "lambdas").mkdir()
    (tmp_path / "lambdas" / "policy.json").write_text(json.dumps(policy.to_json()))
    sqs = region.client("sqs")
    sqs.create_queue(QueueName="t-webhooks")
    sqs.create_queue(QueueName="t-deliveries")
    queue = policy.names.queue_url("eu-west-1", policy.names.webhooks)
    Outbox(sqs, queue).announce(JOB)
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    event = record(message["Body"]) | {"receiptHandle": message["ReceiptHandle"]}

    def nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    environ = {"AWS_REGION": "eu-west-1", "LAMBDA_TASK_ROOT": str(tmp_path)}
    environment = handle.environment(environ=environ, session=region, sleep=lambda _: None)

    assert environment({"Records": [event]}, None) == {
        "batchItemFailures": [{"itemIdentifier": MESSAGE}]
    }
    hidden = sqs.get_queue_attributes(
        QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    assert hidden["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "1"}
    reported = sqs.receive_message(
        QueueUrl=policy.names.queue_url("eu-west-1", policy.names.deliveries)
    )
    report = read_report(reported["Messages"][0]["Body"])
    assert report is not None
    assert report.job == JOB.id
    assert '"failure":"unresolved"' in report.line
