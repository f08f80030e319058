"""The commands about whole regions, against moto's ledger and a twin's control port."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws
from typer.testing import CliRunner, Result

from config.schema import load
from spillway.cli.main import app
from spillway.control import ControlServer
from spillway.twin.twin import Twin

CONFIG = str(Path(__file__).resolve().parents[2] / "config" / "dev.yaml")
REGIONS = ("us-east-1", "us-east-2", "us-west-2")
HERE, SICK, THIRD = REGIONS
LEDGER = "spillway-dev-ledger"
AWS = "https://dynamodb.us-east-1.amazonaws.com"
"""An endpoint that moto answers for, as every region that a request is signed for."""


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell without anything that points to an account or a running twin."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "SPILLWAY_CONTROL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def ledger() -> Iterator[Any]:
    """The dev deployment's ledger; each region's moto has one, with every region's lease."""
    with mock_aws():
        for region in REGIONS:
            client = boto3.client("dynamodb", region_name=region)
            client.create_table(
                TableName=LEDGER,
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                AttributeDefinitions=[
                    {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "live")
                ],
                BillingMode="PAY_PER_REQUEST",
                GlobalSecondaryIndexes=[
                    {
                        "IndexName": "live",
                        "KeySchema": [{"AttributeName": "live", "KeyType": "HASH"}],
                        "Projection": {"ProjectionType": "KEYS_ONLY"},
                    }
                ],
            )
            for each in REGIONS:
                lease(client, each, "serving")
        # What the commands write about SICK is written through another region's replica.
        yield boto3.client("dynamodb", region_name=HERE)


def lease(client: Any, region: str, state: str) -> None:
    """Write a region's lease."""
    item = {"pk": {"S": f"region#{region}"}, "epoch": {"N": "3"}, "state": {"S": state}}
    client.put_item(TableName=LEDGER, Item=item)


def stored(client: Any, region: str = SICK) -> Any:
    """A region's lease."""
    return client.get_item(TableName=LEDGER, Key={"pk": {"S": f"region#{region}"}}).get("Item")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[str]:
    """The control port of a twin with a stack in two regions; its URL."""
    stacks = {
        f"Stack-{region}": {
            "type": "aws:cloudformation:stack",
            "environment": f"aws://111122223333/{region}",
            "properties": {"templateFile": "stack.json", "stackName": "stack"},
        }
        for region in (HERE, SICK)
    }
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "queue"}}
    for name, document in (
        ("manifest.json", {"artifacts": stacks}),
        ("stack.json", {"Resources": {"Queue": queue}}),
    ):
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    with Twin(tmp_path, virtual=False, containers={}) as twin:
        twin.deploy()
        server = ControlServer(twin)
        twin.scheduler.start()
        server.start()
        try:
            yield server.url
        finally:
            server.close()


def run(*words: str) -> Result:
    """Run `spillway region …`; on the dev configuration where there is one."""
    configured = ["--config", CONFIG] if words[0] in ("drain", "list", "restore") else []
    return CliRunner().invoke(app, ["region", *words, *configured])


def document(*words: str) -> dict[str, Any]:
    """What `spillway region … --json` prints."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


# ---- drain and back


def test_a_region_is_drained_and_serves_again(ledger: Any) -> None:
    """The command of the night: one word takes a region out, one brings it back."""
    told = {"region": SICK, "changed": True, "deployment": "spillway-dev"}
    told["regions"] = list(load(CONFIG).regions)
    assert document("drain", SICK) == told | {"state": "drained"}
    drained = stored(ledger)
    assert document("restore", SICK) == told | {"state": "serving"}

    assert drained == {
        "pk": {"S": f"region#{SICK}"},
        "epoch": {"N": "3"},
        "state": {"S": "drained"},
    }
    assert stored(ledger)["state"] == {"S": "serving"}
    assert stored(ledger, HERE)["state"] == {"S": "serving"}


def test_it_may_be_done_twice(ledger: Any) -> None:
    """Two operators at night do the same thing."""
    told = [run(word, SICK) for word in ("drain", "drain", "restore", "restore")]
    assert [each.exit_code for each in told] == [0, 0, 0, 0]
    assert "drained" in told[0].stdout
    assert f"{SICK} serves" in told[2].stdout
    said = [" ".join(each.stdout.split()) for each in told]
    assert ["nothing changed" in each for each in said] == [False, True, False, True]


def test_a_lost_region_stays_lost_and_comes_back_as_it_is_told(ledger: Any) -> None:
    """Its state belongs to the regions that move its jobs: overwritten, they would stop halfway."""
    lease(ledger, SICK, "lost")
    drained = run("drain", SICK)
    kept = stored(ledger)
    restored = run("restore", SICK)

    assert (drained.exit_code, restored.exit_code) == (0, 1)
    assert "it will come back drained" in drained.stdout
    assert f"{SICK} is lost" in restored.stderr
    assert (kept["state"], kept["was"]) == ({"S": "lost"}, {"S": "drained"})
    assert stored(ledger)["state"] == {"S": "lost"}
    assert "was" not in stored(ledger)


def test_the_last_serving_region_is_drained_only_if_told_so(ledger: Any) -> None:
    """A command too many must not be the outage."""
    lease(ledger, HERE, "drained")
    lease(ledger, THIRD, "lost")
    refused = run("drain", SICK)
    assert refused.exit_code == 1
    assert "no other region serves" in refused.stderr
    assert stored(ledger)["state"] == {"S": "serving"}
    assert document("drain", SICK, "--last")["state"] == "drained"


def test_a_region_that_never_ran_has_nothing_to_drain(ledger: Any) -> None:
    """An invented lease would look like a region that is there."""
    ledger.delete_item(TableName=LEDGER, Key={"pk": {"S": f"region#{SICK}"}})
    told = [run(word, SICK, "--json") for word in ("drain", "restore")]
    assert [each.exit_code for each in told] == [1, 1]
    assert {json.loads(each.stdout)["error"]["code"] for each in told} == {"no_lease"}
    assert stored(ledger) is None


def test_the_lease_is_written_where_the_region_is_not(ledger: Any) -> None:
    """The region that must be drained is the one whose DynamoDB may not answer."""
    run("drain", HERE)
    assert stored(ledger, HERE)["state"] == {"S": "serving"}
    there = boto3.client("dynamodb", region_name=SICK)
    assert stored(there, HERE)["state"] == {"S": "drained"}


def test_a_ledger_that_is_not_there_is_named(ledger: Any) -> None:
    """The wrong account looks like an outage unless somebody says so."""
    for region in REGIONS:
        boto3.client("dynamodb", region_name=region).delete_table(TableName=LEDGER)
    told = run("drain", SICK)
    assert told.exit_code == 1
    assert f"{HERE} has no table {LEDGER}" in told.stderr


def test_a_region_of_another_deployment_is_refused() -> None:
    """A typing error must not look like a drained region."""
    told = run("drain", "us-east-9")
    assert told.exit_code == 2
    assert "there is no region us-east-9; there is us-east-1, us-east-2, us-west-2" in told.stderr


def test_no_answer_from_any_region_is_unreachable() -> None:
    """It is told apart from a refusal: one is waited for, the other one is not."""
    told = run("drain", SICK, "--endpoint-url", "http://127.0.0.1:9")
    assert told.exit_code == 3
    assert "127.0.0.1:9" in told.stderr
    assert "answers in no region" in told.stderr
    assert all(region in told.stderr for region in REGIONS)
    assert "AWS_ENDPOINT_URL" in told.stderr


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalServerError"), (503, "Unavailable"), (400, "ThrottlingException")],
)
def test_a_replica_that_does_not_work_is_passed_over(
    ledger: Any, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    """A strongly consistent table without a quorum answers, and cannot: its peers can."""
    broken(monkeypatch, {HERE}, status, code)
    told = run("drain", SICK)
    there = boto3.client("dynamodb", region_name=THIRD)
    assert told.exit_code == 0
    assert f"{HERE} did not answer: asked {THIRD} instead" in " ".join(told.stderr.split())
    assert stored(there, SICK)["state"] == {"S": "drained"}

    broken(monkeypatch, set(REGIONS), status, code)
    told = run("drain", SICK)
    assert told.exit_code == 3
    assert all(f"{region}: AWS refused" in told.stderr for region in REGIONS)


def broken(monkeypatch: pytest.MonkeyPatch, regions: set[str], status: int, code: str) -> None:
    """Let DynamoDB in regions answer every call with an error."""
    call: Any = vars(BaseClient)["_make_api_call"]

    def answered(self: BaseClient, operation: str, params: Any) -> Any:
        if self.meta.region_name not in regions:
            return call(self, operation, params)
        error: Any = {
            "Error": {"Code": code, "Message": "not now"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        raise ClientError(error, operation)

    monkeypatch.setattr(BaseClient, "_make_api_call", answered)


def test_a_refusal_is_not_asked_for_again(ledger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not drain a region may not do it through another one either."""
    broken(monkeypatch, {HERE}, 400, "AccessDeniedException")
    assert run("drain", SICK).exit_code == 4
    assert stored(boto3.client("dynamodb", region_name=THIRD))["state"] == {"S": "serving"}


def test_a_twin_without_its_endpoint_is_not_an_aws_account(
    ledger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rehearsal with one variable too few must not drain production."""
    monkeypatch.setenv("SPILLWAY_CONTROL_URL", "http://127.0.0.1:9")
    told = run("drain", SICK)
    assert told.exit_code == 2
    assert "AWS_ENDPOINT_URL is missing" in told.stderr
    assert stored(ledger)["state"] == {"S": "serving"}


def test_with_every_region_dead_the_faults_are_told(control: str) -> None:
    """An empty table says neither what is wrong nor what to restore."""
    run("kill", SICK, "--control-url", control)
    at = ("--control-url", control, "--endpoint-url", "http://127.0.0.1:9")
    told, as_json = run("list", *at), run("list", *at, "--json")

    assert told.exit_code == as_json.exit_code == 3
    assert "answers in no region" in told.stderr
    assert told.stdout.count("unknown") == 3
    assert "killed" in told.stdout
    printed = json.loads(as_json.stdout)
    assert printed["error"]["code"] == "unreachable"
    assert [(each["region"], each["state"]) for each in printed["regions"]] == [
        (region, "unknown") for region in REGIONS
    ]
    assert [each.get("killed") for each in printed["regions"]] == [False, True, None]


def test_a_drain_is_watched_until_nothing_is_left(control: str, ledger: Any) -> None:
    """Whoever turns a region off too early turns off somebody's job."""
    lease(ledger, THIRD, "lost")
    ledger.delete_item(TableName=LEDGER, Key={"pk": {"S": f"region#{HERE}"}})
    for number, model in enumerate(("chat", "chat", "embedder")):
        item = {"pk": {"S": f"job#{number}"}, "live": {"S": f"{SICK}#{model}"}}
        ledger.put_item(TableName=LEDGER, Item=item)

    assert document("list")["regions"] == [
        {"region": HERE, "state": None, "unfinished": 0},
        {"region": SICK, "state": "serving", "unfinished": 3},
        {"region": THIRD, "state": "lost", "unfinished": 0},
    ]
    run("slow", SICK, "--control-url", control)
    run("isolate", SICK, "--control-url", control)
    shown = run("list", "--control-url", control, "--endpoint-url", AWS).stdout
    assert "isolated from global" in shown
    assert "10 times slower" in shown
    assert "no lease yet" in shown


# ---- faults


def test_faults_are_told_and_end_with_restore(control: str) -> None:
    """Who rehearses an outage must see what is broken, and get it whole again."""
    at = ("--control-url", control)
    sound = {"region": SICK, "killed": False, "isolated_from": [], "slow_factor": 1.0}

    assert document("kill", SICK, *at) == sound | {"killed": True, "changed": True}
    assert document("kill", SICK, *at) == sound | {"killed": True, "changed": False}
    assert document("isolate", SICK, *at)["isolated_from"] == ["global"]
    assert document("isolate", SICK, "--from", "clients", *at)["isolated_from"] == [
        "clients",
        "global",
    ]
    assert document("slow", SICK, "--factor", "20", *at)["slow_factor"] == 20.0
    regions = httpx.get(f"{control}/regions").json()["regions"]
    assert not regions[HERE]["killed"]
    assert regions[SICK]["killed"]
    assert document("restore", SICK, *at) == sound | {"changed": True}
    assert document("restore", SICK, *at) == sound | {"changed": False}


def test_people_are_told_in_a_sentence(control: str) -> None:
    """JSON is for programs."""
    at = ("--control-url", control)
    assert "is dead" in run("kill", SICK, *at).stdout
    assert "cut off from its clients" in run("isolate", SICK, "--from", "clients", *at).stdout
    assert "10 times" in run("slow", SICK, *at).stdout
    again = [run(*words, SICK, *at).stdout for words in (("kill",), ("slow",))]
    assert "is back" in run("restore", SICK, *at).stdout
    again.append(run("restore", SICK, *at).stdout)
    assert all("nothing changed" in each for each in again)


@pytest.mark.parametrize("word", ["kill", "isolate", "slow"])
def test_faults_are_for_the_twin_only(word: str) -> None:
    """Nobody must believe that this command could stop a region of AWS."""
    told = run(word, SICK)
    assert told.exit_code == 2
    assert f"{word} exists on the twin only" in told.stderr
    assert "SPILLWAY_CONTROL_URL" in told.stderr


def test_a_twin_that_is_not_there_is_unreachable() -> None:
    """The most likely reason is that `spillway local` has ended."""
    told = run("kill", SICK, "--control-url", "http://127.0.0.1:9", "--json")
    assert told.exit_code == 3
    assert json.loads(told.stdout)["error"]["code"] == "unreachable"


def test_wrong_words_are_explained(control: str) -> None:
    """An operator at night needs the sentence, not the stack trace."""
    at = ("--control-url", control)
    unknown = run("kill", "us-east-9", *at)
    backwards = run("slow", SICK, "--factor", "0.5", *at)
    far = run("slow", SICK, "--factor", "1e9", *at)
    aside = run("isolate", SICK, "--from", "everybody", *at)

    assert [each.exit_code for each in (unknown, backwards, far, aside)] == [2, 2, 2, 2]
    assert "there is no region us-east-9; there is us-east-1, us-east-2" in unknown.stderr
    assert "the factor must be from 1 to 10000" in far.stderr
    assert "Traceback" not in unknown.stderr + far.stderr + aside.stderr


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/", {}, 404),
        ("POST", "/regions/us-east-2/explode", {"json": {}}, 404),
        ("POST", "/regions/us-east-9/kill", {"json": {}}, 404),
        ("POST", "/regions", {"json": {}}, 404),
        ("POST", "/regions/us-east-2/slow", {"json": {}}, 400),
        ("POST", "/regions/us-east-2/slow", {"json": {"factor": True}}, 400),
        ("POST", "/regions/us-east-2/isolate", {"json": {"from": ["global"]}}, 400),
        ("POST", "/regions/us-east-2/kill", {"json": []}, 400),
        ("POST", "/regions/us-east-2/kill", {"content": b"{"}, 400),
        ("POST", "/regions/us-east-2/kill", {"json": {"x": "y" * 20_000}}, 400),
        # A page that the developer happens to have open.
        ("POST", "/regions/us-east-2/kill", {"data": {"a": "b"}}, 400),
        (
            "POST",
            "/regions/us-east-2/kill",
            {"json": {}, "headers": {"Origin": "https://example.com"}},
            400,
        ),
    ],
)
def test_the_control_port_refuses_what_makes_no_sense(
    control: str, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    """A fault that was not meant must not happen, and a typing error must not pass for one."""
    content = {"Content-Type": "application/json"} if "content" in options else {}
    headers = content | options.pop("headers", {})
    reply = httpx.request(method, f"{control}{path}", headers=headers, **options)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]
    assert not httpx.get(f"{control}/regions").json()["regions"][SICK]["killed"]


# ---- the runbook


def commands() -> list[str]:
    """Every command that the runbook tells somebody to type."""
    page = (Path(CONFIG).parents[1] / "docs" / "runbook.md").read_text(encoding="utf-8")
    told = re.findall(r"`spillway ([^`]+)`", page)
    told += re.findall(r"^\$ (?:\.venv/bin/)?spillway (.+?)(?: #.*)?$", page, re.MULTILINE)
    return sorted(set(told))


@pytest.mark.parametrize("command", commands())
def test_what_the_runbook_tells_to_type_exists(command: str) -> None:
    """The page is read at night, by somebody who has no time to guess."""
    words = command.split()
    options = [word for word in words if word.startswith("--")]
    names = [word for word in words if re.fullmatch(r"[a-z]+", word)]
    shown = CliRunner().invoke(app, [*names[:2], "--help"], terminal_width=200)
    if shown.exit_code:
        shown = CliRunner().invoke(app, [names[0], "--help"], terminal_width=200)
    assert shown.exit_code == 0, shown.output
    assert [option for option in options if option not in shown.output] == []
