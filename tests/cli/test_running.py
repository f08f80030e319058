"""The commands that run a deployment on this machine, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from typer.testing import CliRunner

from spillway import traces
from spillway.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "config" / "dev.yaml")
READY_LINES_MAX = 200
LEASE_LOOKS_MAX = 2000
READY_LOOKS_MAX = 20_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the functions' log lines are kept."""
    return tmp_path_factory.mktemp("log") / "functions.jsonl"


@pytest.fixture(scope="module")
def service(log: Path) -> Iterator[dict[str, Any]]:
    """`spillway local --json` in a process of its own: its one document."""
    command = [sys.executable, "-m", "spillway.cli.main", "local", "--json", "--log", str(log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    listening = ("", "aws-", "control-", "console-")
    ports = [word for name in listening for word in (f"--{name}port", "0")]
    with subprocess.Popen(
        [*command, *ports, "--config", CONFIG],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        text = ""
        for _ in range(READY_LINES_MAX):
            text += process.stdout.readline()
            try:
                yield {**json.loads(text), "process": process}
                break
            except ValueError:
                continue
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
    assert process.returncode == 0


def run(service: dict[str, Any], *words: str) -> Any:
    """Run a command in the environment that `spillway local` prints; its JSON."""
    result = CliRunner().invoke(app, [*words, "--json"], env=service["environment"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_commands_of_applications_work_on_the_local_service(service: dict[str, Any]) -> None:
    """What the README tells a newcomer to type has to work as it stands there."""
    job = run(service, "submit", "embedder", "--text", "Where is my parcel?", "--wait", "20")
    again = run(service, "status", job["id"])
    models = run(service, "models")
    waits = run(service, "capacity")

    assert job["status"] == again["status"] == "completed"
    assert len(job["output"]["data"][0]["embedding"]) == 384
    assert sorted(model["id"] for model in models["data"]) == ["chat", "embedder"]
    assert {model["model"] for model in waits["data"]} == {"chat", "embedder"}


def test_the_commands_of_operators_work_on_the_local_service(service: dict[str, Any]) -> None:
    """Operators rehearse on the laptop what they will do at night on AWS."""
    added = run(service, "tenant", "add", "acme", "--config", CONFIG)
    mine = {**service, "environment": {**service["environment"], "SPILLWAY_API_KEY": added["key"]}}

    job = run(mine, "submit", "embedder", "--text", "hello", "--tier", "batch")
    others = CliRunner().invoke(app, ["status", job["id"]], env=service["environment"])
    run(service, "tenant", "revoke", added["key_id"], "--config", CONFIG)
    tenants = run(service, "tenant", "list", "--config", CONFIG)["tenants"]

    assert others.exit_code == 1
    assert {tenant["id"] for tenant in tenants} == {"acme", "local"}
    assert tenants[0]["keys"][0]["revoked_ms"] is not None


def test_the_whole_deployment_is_seen_at_once(service: dict[str, Any]) -> None:
    """What the console shows, a terminal without a browser shows, too, and so does AWS."""
    seen = run(service, "overview", "--config", CONFIG)
    words = ["overview", "--config", CONFIG]
    told = CliRunner().invoke(app, words, env=service["environment"])
    page = httpx.get(service["console_url"])

    assert seen["problems"] == []
    assert [each["region"] for each in seen["regions"]] == list(service["urls"])
    for each in seen["regions"]:
        assert each["state"] == "serving"
        assert {model["model"] for model in each["models"]} == {"chat", "embedder"}
        assert all(model["slots"]["capacity"] > 0 for model in each["models"])
        assert sum(each["alarms"]["states"].values()) > 20
    assert told.exit_code == 0
    assert all(word in told.stdout for word in ("us-west-2", "embedder", "serving"))
    assert page.status_code == httpx.codes.OK
    assert "<title>Spillway</title>" in page.text


def _beat(service: dict[str, Any], looks_max: int) -> None:
    """Let every region take its lease now; its schedule would within a minute."""
    session = boto3.Session("local", "local")
    client = partial(session.client, endpoint_url=service["aws_url"])
    for region in service["urls"]:
        functions = client("lambda", region_name=region)
        functions.invoke(FunctionName="spillway-dev-beat", Payload=b"{}")
    for region in service["urls"]:
        table = client("dynamodb", region_name=region)
        key = {"pk": {"S": f"region#{region}"}}
        assert any(
            "Item" in table.get_item(TableName="spillway-dev-ledger", Key=key)
            for _ in range(looks_max)
        )


def _serves_again(url: str) -> None:
    """Until its beat has seen it a region sends its jobs away as if it were drained still."""
    with httpx.Client(base_url=url) as client:
        assert any(
            client.get("/health/ready").status_code == httpx.codes.OK
            for _ in range(READY_LOOKS_MAX)
        )


def test_a_region_is_lost_and_found_on_the_local_service(service: dict[str, Any]) -> None:
    """The runbook is rehearsed here: another region takes the job while one is dead."""
    last, *_, first = reversed(service["urls"])
    at = ("--config", CONFIG)
    killed = run(service, "region", "kill", first)
    words = ["submit", "embedder", "--text", "x", "--url", service["urls"][first]]
    unanswered = CliRunner().invoke(app, words, env=service["environment"])
    tenants = CliRunner().invoke(app, ["tenant", "list", *at], env=service["environment"])
    job = run(service, *words[:-1], service["urls"][last], "--wait", "20")
    restored = run(service, "region", "restore", first, *at)
    _beat(service, LEASE_LOOKS_MAX)
    drained = run(service, "region", "drain", first, *at)
    serving = run(service, "region", "restore", first, *at)
    again = run(service, *words, "--wait", "20")
    _serves_again(service["urls"][first])

    assert killed["killed"]
    # Its API does not answer, nor do its tables: another region's do.
    assert (unanswered.exit_code, tenants.exit_code) == (3, 0)
    assert f"{first} did not answer" in tenants.stderr
    assert "local" in tenants.stdout
    assert job["status"] == "completed"
    assert not restored["killed"]
    assert (drained["state"], serving["state"]) == ("drained", "serving")
    assert again["status"] == "completed"


def test_every_region_answers_on_its_own_address(service: dict[str, Any]) -> None:
    """Three regions that are one would hide every mistake between regions."""
    for region, url in service["urls"].items():
        job = run(service, "submit", "embedder", "--text", region, "--wait", "20", "--url", url)
        assert job["region"] == region


def test_the_functions_logs_can_be_read(service: dict[str, Any], log: Path) -> None:
    """What a function says on this machine is all that there is to find a fault by."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]

    assert {line["region"] for line in lines} == set(service["urls"])
    assert {"spillway-dev-beat"} <= {line["function"] for line in lines}
    assert all(line["at"].endswith("+00:00") and line["execution"] for line in lines)
    assert any(isinstance(line["line"], dict) for line in lines)


def test_a_trace_is_replayed_in_real_time(service: dict[str, Any]) -> None:
    """The same command measures the laptop and production."""
    trace = str(traces.SLICE)
    report = run(service, "replay", trace, "--limit", "5", "--speed", "5", "--config", CONFIG)

    assert (report["accepted"], report["completed"], report["lost"]) == (5, 5, 0)


@pytest.mark.parametrize(
    ("url", "key", "exit_code", "code"),
    [(None, "sk-spillway-wrong", 4, "invalid_api_key"), ("http://127.0.0.1:9", "x", 3, "")],
)
def test_a_replay_that_nobody_accepts_fails(
    service: dict[str, Any], url: str | None, key: str, exit_code: int, code: str
) -> None:
    """A load test that loaded nothing must not look like a passed one."""
    words = ["replay", str(traces.SLICE), "--limit", "2", "--speed", "100", "--config", CONFIG]
    words += ["--url", url or next(iter(service["urls"].values())), "--key", key]
    as_json = CliRunner().invoke(app, [*words, "--json"])
    told = CliRunner().invoke(app, words)

    assert as_json.exit_code == told.exit_code == exit_code
    assert json.loads(as_json.stdout)["accepted"] == 0
    assert f"no job was accepted: {code}" in told.stdout


def test_a_trace_is_replayed_on_the_virtual_clock() -> None:
    """Half an hour of traffic in the time of a coffee."""
    words = ["replay", str(traces.SLICE), "--virtual", "--limit", "8", "--config", CONFIG]
    as_json = CliRunner().invoke(app, [*words, "--json"])
    told = CliRunner().invoke(app, words)

    assert as_json.exit_code == told.exit_code == 0
    report = json.loads(as_json.stdout)
    assert (report["accepted"], report["completed"], report["lost"]) == (8, 8, 0)
    assert set(report["wait_s"]["batch"]) == {"p50", "p95", "p99"}
    assert report["gpu_hours"] > 0
    assert report["calls_per_job"] > 5
    assert "interactive" in told.stdout
    assert "AWS calls per job" in told.stdout


def test_the_demo_keeps_its_promises_or_fails() -> None:
    """The first thing that anybody runs must not say 0 when a promise is broken."""
    result = CliRunner().invoke(app, ["demo", "--limit", "60", "--config", CONFIG, "--json"])
    shown = json.loads(result.stdout)
    near, *far = shown["embeddings"]["similarities"].values()

    assert len({job["region"] for job in shown["embeddings"]["jobs"]}) == 3
    assert near > max(far)
    assert (shown["replay"]["accepted"], shown["replay"]["lost"]) == (60, 0)
    assert shown["replay"]["outage"]["region"] == "us-east-2"
    assert result.exit_code == (0 if all(shown["promises"].values()) else 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay", "nowhere.csv"), "nowhere.csv: cannot be read"),
        (("replay", str(traces.SLICE), "--tiers", "urgent=1"), "'urgent' is not one of"),
        (("replay", str(traces.SLICE), "--model", "gpt"), "'gpt' is not one of"),
        (("replay", str(traces.SLICE), "--url", "us-east-1=http://x"), "one for each region"),
        (("cost", "--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("local", "--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("local", "--log", "/nowhere/log"), "/nowhere/log: cannot be written"),
        (("demo", "--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
    ],
)
def test_wrong_usage_is_told_before_anything_starts(words: tuple[str, ...], message: str) -> None:
    """Half a minute of starting up before a typing error is found is half a minute lost."""
    configured = words if "--config" in words else (*words, "--config", CONFIG)
    result = CliRunner().invoke(app, configured, env={"SPILLWAY_URL": ""})

    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_cost_reads_keys_rules_and_pollers_from_the_templates() -> None:
    """What nobody counted by hand is what surprises on the invoice."""
    words = ["cost", "--config", str(ROOT / "config" / "prod.yaml")]
    as_json = CliRunner().invoke(app, [*words, "--json"])
    told = CliRunner().invoke(app, words)

    assert as_json.exit_code == told.exit_code == 0
    document = json.loads(as_json.stdout)
    whats = " ".join(part["what"] for part in document["hourly"]["parts"])
    assert all(each in whats for each in ("KMS keys", "web ACLs", "WAF rules", "event sources"))
    assert document["hourly"]["idle"] < document["hourly"]["maximum"]
    assert document["prices"]["dated"]
    assert "dollars per million jobs" in told.stdout


def test_an_unknown_instance_type_names_the_price_table(tmp_path: Path) -> None:
    """A new GPU without a price must not be free."""
    config = tmp_path / "odd.yaml"
    text = Path(CONFIG).read_text(encoding="utf-8").replace("ml.g5.2xlarge", "ml.q9.huge")
    config.write_text(text, encoding="utf-8")
    (tmp_path / "Data.template.json").write_text("{}", encoding="utf-8")

    result = CliRunner().invoke(app, ["cost", "--config", str(config), "--assembly", str(tmp_path)])

    assert result.exit_code == 2
    assert "instances.yaml has no price of ml.q9.huge" in result.stderr
