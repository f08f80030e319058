"""Operators rotate webhook secrets, name addresses, and send what was given up again."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import time_machine
from moto import mock_aws
from typer.testing import CliRunner, Result

from config.schema import load
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.outbox import Outbox
from lambdas.domain.job import Job, Status
from spillway.cli.main import app
from tests.cli.test_tenants import CONFIG, table_in

HERE = "us-east-1"
NAMES = load(CONFIG).names
ADDRESS = "https://hooks.example.com/private-path"


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The dev deployment's directory, in an account that is not anybody's."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "SPILLWAY_CONTROL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield table_in(HERE)


def run(*words: str) -> Result:
    """Run a command on the dev configuration."""
    return CliRunner().invoke(app, [*words, "--config", CONFIG])


def document(*words: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


# ---- secrets and addresses


def test_a_rotation_keeps_the_former_secret_for_a_while(account: Any) -> None:
    """Receivers change over when they like, within the time that the operator gave."""
    first = document("tenant", "add", "acme", "--webhooks")["webhook_secret"]

    rotated = document("tenant", "webhook", "acme", "--rotate", "--overlap-hours", "2")

    item = account.get_item(Key={"pk": "webhook#acme"})["Item"]
    assert (item["secret"], item["previous"]) == (rotated["webhook_secret"], first)
    left_ms = int(item["previous_until_ms"]) - int(item["made_ms"])
    assert left_ms == 2 * 3_600_000
    assert rotated["former_secret_until_ms"] == int(item["previous_until_ms"])

    finished = document("tenant", "webhook", "acme", "--finish")
    item = account.get_item(Key={"pk": "webhook#acme"})["Item"]
    assert item["secret"] == rotated["webhook_secret"]
    assert "previous" not in item
    assert (finished["webhooks"], finished["former_secret_until_ms"]) == (True, None)
    assert "webhook_secret" not in finished


def test_a_second_rotation_waits_for_the_first(account: Any) -> None:
    """Three secrets would be one too many, and the oldest one's receivers would be lost."""
    document("tenant", "add", "acme", "--webhooks")
    now = document("tenant", "webhook", "acme", "--rotate")["webhook_secret"]

    refused = run("tenant", "webhook", "acme", "--rotate")

    assert refused.exit_code == 1
    assert "--finish ends that rotation" in " ".join(refused.stderr.split()).replace("`", "")
    assert account.get_item(Key={"pk": "webhook#acme"})["Item"]["secret"] == now
    # After its time it needs no end.
    with time_machine.travel(time.time() + 25 * 3600, tick=False):
        assert document("tenant", "webhook", "acme", "--rotate")["webhook_secret"] != now


def test_a_secret_that_leaked_is_worthless_at_once_also_in_a_rotation(account: Any) -> None:
    """Whoever has it can tell a receiver anything until then."""
    document("tenant", "add", "acme", "--webhooks")
    document("tenant", "webhook", "acme", "--rotate")

    secret = document("tenant", "webhook", "acme", "--rotate", "--overlap-hours", "0")

    item = account.get_item(Key={"pk": "webhook#acme"})["Item"]
    assert item["secret"] == secret["webhook_secret"]
    assert not {"previous", "previous_until_ms"} & set(item)


def test_a_tenant_gets_an_address_of_its_own_and_loses_it(account: Any) -> None:
    """OpenAI's clients name no address with a request."""
    document("tenant", "add", "acme")

    made = document("tenant", "webhook", "acme", "--url", ADDRESS)
    changed = document("tenant", "webhook", "acme", "--url", f"{ADDRESS}/2")
    listed = document("tenant", "list")["tenants"][0]
    gone = document("tenant", "webhook", "acme", "--url", "none")

    assert made["webhook_secret"].startswith("whsec_")
    assert "webhook_secret" not in changed
    assert changed["webhook_url"] == listed["webhook_url"] == f"{ADDRESS}/2"
    assert (gone["webhooks"], gone["webhook_url"]) == (True, None)


@pytest.mark.parametrize("address", ["http://a.example/", "https://127.0.0.1/", "https://a.b:22/"])
def test_an_address_that_leads_inside_is_refused(account: Any, address: str) -> None:
    """What no tenant may name, no operator should by mistake."""
    document("tenant", "add", "acme", "--webhooks")

    refused = run("tenant", "webhook", "acme", "--url", address)

    assert refused.exit_code == 2
    assert "address" not in account.get_item(Key={"pk": "webhook#acme"})["Item"]


@pytest.mark.parametrize("words", [("--rotate",), ("--finish",), ("--url", "none")])
def test_what_is_not_there_cannot_be_changed(account: Any, words: tuple[str, ...]) -> None:
    """A rotation of nothing would leave the operator without a secret to hand on."""
    document("tenant", "add", "acme")

    refused = run("tenant", "webhook", "acme", *words)

    assert refused.exit_code == 1
    assert "has no webhook secret" in " ".join(refused.stderr.split())


# ---- dead letters


@pytest.fixture
def queues(account: Any) -> None:
    """The webhooks queue and its dead letters in every region, and the ledger."""
    for region in load(CONFIG).regions:
        sqs = boto3.client("sqs", region_name=region)
        sqs.create_queue(QueueName=NAMES.webhooks)
        sqs.create_queue(QueueName=NAMES.webhooks_dead_letters)
        boto3.client("dynamodb", region_name=region).create_table(
            TableName=NAMES.ledger,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


def ended(letter: str, tenant: str = "acme") -> Job:
    """A job that has ended."""
    return Job(
        id=f"job_{letter * 26}",
        status=Status.COMPLETED,
        attempt=1,
        owner=HERE,
        home=HERE,
        tenant=tenant,
        model="embedder",
        tier="batch",
        created_ms=1,
        deadline_ms=2,
        finished_ms=3,
        request_hash=b"hash",
        webhook=ADDRESS,
        output=b"private",
    )


def dead(job: Job, region: str = HERE) -> None:
    """Put the end of a job among the dead letters."""
    sqs = boto3.client("sqs", region_name=region)
    Outbox(sqs, sqs.get_queue_url(QueueName=NAMES.webhooks_dead_letters)["QueueUrl"]).announce(job)


def bodies(queue: str, region: str = HERE) -> list[Any]:
    """What can be received from a queue now."""
    sqs = boto3.client("sqs", region_name=region)
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]


@pytest.mark.usefixtures("queues")
def test_given_up_webhooks_are_sent_again_as_they_were() -> None:
    """A receiver that is mended after two days hears of what it missed, in every region."""
    dead(ended("a"))
    dead(ended("b"), "us-east-2")

    told = document("webhook", "redeliver")

    assert (told["found"], told["sent"]) == (2, 2)
    (first,), (second,) = bodies(NAMES.webhooks), bodies(NAMES.webhooks, "us-east-2")
    assert first["delivery"] == f"msg_job_{'a' * 26}_completed"
    assert second["job"] == f"job_{'b' * 26}"
    assert document("webhook", "redeliver")["found"] == 0


@pytest.mark.usefixtures("queues")
@pytest.mark.parametrize(
    "words",
    [("--tenant", "other"), ("--job", f"job_{'b' * 26}"), ("--tenant", "other", "--region", HERE)],
)
def test_only_what_was_asked_for_is_sent(words: tuple[str, ...]) -> None:
    """One application is mended; the others would be asked in vain for another day."""
    dead(ended("a"))
    dead(ended("b", "other"))

    told = document("webhook", "redeliver", *words)

    assert [each["job"] for each in told["webhooks"]] == [f"job_{'b' * 26}"]
    assert [body["tenant"] for body in bodies(NAMES.webhooks)] == ["other"]


@pytest.mark.usefixtures("queues")
def test_looking_sends_nothing_and_shows_no_address() -> None:
    """An operator looks first; addresses carry tokens."""
    dead(ended("a"))

    shown = run("webhook", "redeliver", "--list")

    assert shown.exit_code == 0
    assert f"job_{'a' * 26}" in shown.stdout.replace("\n", "")
    assert "private" not in shown.output
    assert bodies(NAMES.webhooks) == []


@pytest.mark.usefixtures("queues")
def test_a_letter_of_the_first_format_is_written_anew() -> None:
    """It ended before a deployment, after which nobody who delivers may look its job up."""
    job = ended("a")
    Ledger(boto3.client("dynamodb", region_name=HERE), NAMES.ledger).create(job)
    sqs = boto3.client("sqs", region_name=HERE)
    url = sqs.get_queue_url(QueueName=NAMES.webhooks_dead_letters)["QueueUrl"]
    for number in (job.id, f"job_{'z' * 26}"):
        body = {"format": 1, "job": number, "event": "job.completed"}
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    sqs.send_message(QueueUrl=url, MessageBody="not json")

    told = document("webhook", "redeliver")

    assert (told["found"], told["sent"]) == (2, 1)
    (body,) = bodies(NAMES.webhooks)
    assert (body["address"], body["tenant"]) == (ADDRESS, "acme")
    assert "private" not in body["body"]


def test_a_deployment_that_is_not_there_is_said_so() -> None:
    """Whoever is in the wrong account must not think that nothing was given up."""
    refused = run("webhook", "redeliver")

    assert refused.exit_code != 0
    assert "does not exist" in refused.stderr
