"""The commands about releases, against moto's ledger."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws
from typer.testing import CliRunner, Result

from config.schema import load
from lambdas.adapters.releases import Releases
from lambdas.domain import release as releases
from lambdas.domain.policy import Model
from lambdas.domain.release import Release
from spillway.cli.main import app
from spillway.releases import (
    CHANGE_TRIES_MAX,
    CHANGE_WAIT_S,
    Records,
    ReleaseError,
    TakeBack,
    paused,
    resumed,
)

DEV = Path(__file__).resolve().parents[2] / "config" / "dev.yaml"
REGIONS = ("us-east-1", "us-east-2", "us-west-2")
LEDGER = "spillway-dev-ledger"
AWS = "https://dynamodb.us-east-1.amazonaws.com"


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell without anything that points to an account or a running twin."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "SPILLWAY_CONTROL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Dev with a second version of its embedder, which is wanted."""
    document = yaml.safe_load(DEV.read_text())
    embedder = document["models"]["embedder"]
    embedder["versions"]["v2"] = embedder["versions"]["v1"]
    embedder["wanted"] = "v2"
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.fixture
def model(config: str) -> Model:
    """The embedder as functions see it."""
    return load(config).policy().models["embedder"]


@pytest.fixture
def ledger() -> Iterator[Releases]:
    """The dev deployment's ledger in its first region."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name=REGIONS[0])
        client.create_table(
            TableName=LEDGER,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield Releases(client, LEDGER)


@pytest.fixture
def begun(ledger: Releases, model: Model) -> Release:
    """A release of v2, at the first step after its smoke jobs."""
    first = replace(releases.first(model, now_ms=0), live="v1")
    begun = releases.begin(first, model, REGIONS, now_ms=0)
    step = releases.advance(begun, model, now_ms=0)
    for record in (first, begun, step):
        assert ledger.write(record)
    return step


def run(config: str, *words: str, as_json: bool = True) -> Result:
    """Run a command."""
    options = ["--config", config, "--endpoint-url", AWS, *(["--json"] if as_json else [])]
    return CliRunner().invoke(app, ["release", *words, *options])


def document(result: Result) -> Any:
    """The JSON document that a command printed."""
    return json.loads(result.stdout)


def stored(ledger: Releases) -> Release:
    """The record."""
    found = ledger.read("embedder")
    assert found is not None
    return found


def test_status_tells_where_a_release_is(config: str, begun: Release) -> None:
    """Whoever is called at night asks this first."""
    told = document(run(config, "status", "embedder"))
    assert (told["live"], told["candidate"], told["step"]) == ("v1", "v2", "batch")
    assert (told["region"], told["step_number"], told["steps"]) == (REGIONS[0], 2, 15)
    assert told["until_ms"] == begun.since_ms + 360_000
    assert told["shares"][REGIONS[0]]["batch"] == {"v1": 0.9, "v2": 0.1}
    assert told["shares"][REGIONS[1]]["batch"] == {"v1": 1.0}

    text = run(config, "status", "embedder", as_json=False).stdout
    assert "v2, step batch in us-east-1 (2 of 15)" in text
    assert "v1 90%, v2 10%" in text
    assert "last step  judged by 1 smoke job" in text
    assert told["judged"] == begun.events[-1].why


def test_history_tells_what_happened(config: str, begun: Release) -> None:
    """The newest last, as it stands in a log."""
    told = document(run(config, "history", "embedder", "--limit", "2"))
    assert [event["what"] for event in told["events"]] == ["began", "step batch"]
    assert "began" in run(config, "history", "embedder", as_json=False).stdout


@pytest.mark.usefixtures("begun")
def test_operators_hold_a_release_and_let_it_go_on(config: str, ledger: Releases) -> None:
    """Somebody wants to look closer before more clients get the version."""
    assert document(run(config, "pause", "embedder"))["paused"]
    assert stored(ledger).paused
    again = run(config, "pause", "embedder", as_json=False)
    assert again.stdout.startswith("spillway-dev (us-east-1, us-east-2, us-west-2): ")
    assert (again.exit_code, "nothing changed" in again.stdout) == (0, True)
    held = run(config, "promote", "embedder")
    assert (held.exit_code, document(held)["error"]["code"]) == (1, "nothing_waits")
    assert "resume it first" in document(held)["error"]["message"]
    assert not document(run(config, "resume", "embedder"))["paused"]
    assert not document(run(config, "resume", "embedder"))["changed"]
    assert document(run(config, "promote", "embedder"))["until_ms"] is not None
    assert stored(ledger).promoted


def test_smoke_jobs_cannot_be_skipped(config: str, ledger: Releases, model: Model) -> None:
    """Nobody hurries a version to clients that has answered nothing yet."""
    first = replace(releases.first(model, now_ms=0), live="v1")
    for record in (first, releases.begin(first, model, REGIONS, now_ms=0)):
        assert ledger.write(record)
    refused = document(run(config, "promote", "embedder"))["error"]["message"]
    assert "smoke jobs in us-east-1: they cannot be skipped" in refused


@pytest.mark.usefixtures("begun")
def test_an_operator_takes_a_version_back_and_clears_it(config: str, ledger: Releases) -> None:
    """What no alarm sees, somebody reads in a mail."""
    told = document(run(config, "rollback", "embedder", "--why", "it is rude"))
    assert (told["candidate"], told["quarantined"]) == (None, {"v2": "it is rude"})
    assert stored(ledger).events[-1].why == "it is rude"

    watched = run(config, "watch", "embedder")
    assert (watched.exit_code, document(watched)["error"]["code"]) == (1, "rolled_back")
    assert "it is rude" in document(watched)["error"]["message"]
    assert document(watched)["error"]["release"]["live"] == "v1"

    wrong = document(run(config, "clear", "embedder", "v9"))["error"]
    assert wrong["message"] == "v9 is not in quarantine: there is v2"
    assert document(run(config, "clear", "embedder"))["quarantined"] == {}
    empty = run(config, "clear", "embedder")
    assert (empty.exit_code, document(empty)["error"]["code"]) == (1, "not_quarantined")


def test_the_only_version_cannot_be_taken_back(config: str, ledger: Releases, model: Model) -> None:
    """A mistyped command must not stop every job."""
    assert ledger.write(releases.first(model, now_ms=0))
    unnamed = document(run(config, "rollback", "embedder"))["error"]
    assert unnamed["code"] == "not_named"
    assert unnamed["message"].endswith("name it: rollback embedder v2")
    refused = run(config, "rollback", "embedder", "v2")
    assert (refused.exit_code, document(refused)["error"]["code"]) == (1, "no_other_version")
    assert "no version was live before it" in document(refused)["error"]["message"]


def released(ledger: Releases, begun: Release) -> Release:
    """The record of v2 live, which came after v1."""
    live = replace(begun, live="v2", previous="v1", candidate=None, order=(), step=0, revision=4)
    assert ledger.write(live)
    return live


def test_a_second_rollback_changes_nothing(config: str, ledger: Releases, begun: Release) -> None:
    """Whoever is not sure gives the command again; the good version must stay."""
    third = replace(begun, live="v1", previous="v0", revision=4)
    assert ledger.write(third)
    assert document(run(config, "rollback", "embedder"))["changed"]
    again = document(run(config, "rollback", "embedder"))
    assert (again["changed"], again["live"], set(again["quarantined"])) == (False, "v1", {"v2"})
    named = run(config, "rollback", "embedder", "v2", as_json=False)
    assert named.stdout.endswith(": v2 is in quarantine already: nothing changed\n")
    other = document(run(config, "rollback", "embedder", "v7"))["error"]
    assert other["code"] == "not_serving"
    assert other["message"].endswith("none is on trial, and v1 is live")


def test_a_live_version_is_taken_back_by_its_name(
    config: str, ledger: Releases, begun: Release
) -> None:
    """Nobody takes it back by a command that came a moment late."""
    live = released(ledger, begun)
    unnamed = document(run(config, "rollback", "embedder"))["error"]
    assert unnamed["message"].endswith(
        "v2 is live: to take that back, name it: rollback embedder v2"
    )
    assert stored(ledger) == live
    told = document(run(config, "rollback", "embedder", "v2"))
    assert (told["live"], set(told["quarantined"])) == ("v1", {"v2"})


@pytest.mark.parametrize("ours", [False, True])
def test_a_rollback_that_loses_a_race_takes_nothing_else_back(
    ledger: Releases, begun: Release, model: Model, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard was faster, or our write arrived, and its answer did not."""
    begun = replace(begun, previous="v0", revision=4)
    assert ledger.write(begun)
    model = replace(model, versions={"v0": 0.0, **model.versions})
    records = Records(ledger.client, LEDGER)
    back = TakeBack(model, None, "it is rude", 7)

    def write(release: Release) -> bool:
        guard = releases.roll_back(begun, model, "v2", why="guard", now_ms=5)
        assert ledger.write(release if ours else guard)  # type: ignore[arg-type]
        if ours:
            raise ReadTimeoutError(endpoint_url=AWS)
        return False

    with monkeypatch.context() as patched:
        patched.setattr(Records, "_write", lambda _, release: write(release))
        if ours:
            with pytest.raises(ReadTimeoutError):
                records.change("embedder", back)
        else:
            assert not records.change("embedder", back)[1]
    release, changed = records.change("embedder", back)
    assert (changed, release.live, set(release.quarantined)) == (False, "v1", {"v2"})
    assert back.version == "v2"


@pytest.mark.parametrize(
    "code", ["ReplicatedWriteConflictException", "TransactionConflictException"]
)
def test_a_command_survives_writes_of_other_regions(
    ledger: Releases, begun: Release, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions of each region write the record too, at any moment."""
    real, left = ledger.client.put_item, [3]
    conflict = getattr(ledger.client.exceptions, code)({"Error": {"Code": code}}, "PutItem")

    def put_item(**request: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise conflict
        return real(**request)

    monkeypatch.setattr(ledger.client, "put_item", put_item)
    waits: list[float] = []
    records = Records(ledger.client, LEDGER, waits.append)
    release, changed = records.change("embedder", paused(7))
    assert (changed, release.paused, release.revision) == (True, True, begun.revision + 1)
    assert stored(ledger) == release
    assert waits == [CHANGE_WAIT_S] * 3

    left[0] = 100
    with pytest.raises(ReleaseError, match="changes all the time") as refused:
        records.change("embedder", resumed(8))
    assert refused.value.code == "contended"
    assert left[0] == 100 - CHANGE_TRIES_MAX


def test_watch_waits_until_the_version_is_live(
    config: str, ledger: Releases, begun: Release, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline goes on when the release is over, and not before."""
    steps = [replace(begun, step=12, revision=begun.revision + 1)]
    assert ledger.write(steps[0])

    def sleep(_seconds: float) -> None:
        steps.append(releases.advance(steps[-1], model, now_ms=0))
        assert ledger.write(steps[-1])

    monkeypatch.setattr("spillway.cli.release.time.sleep", sleep)
    watched = run(config, "watch", "embedder", as_json=False)
    assert (watched.exit_code, watched.stdout) == (0, "v2 is live in every region\n")
    assert steps[-1].live == "v2"
    assert "v2 is at step full in us-west-2" in watched.stderr
    assert run(config, "watch", "embedder").exit_code == 0, "it is there"


@pytest.mark.usefixtures("ledger")
def test_watch_tells_how_it_ends_otherwise(
    config: str, ledger: Releases, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that hangs, or takes a rollback for a success, is worse than none."""
    late = run(config, "watch", "embedder", "--timeout", "0")
    assert (late.exit_code, document(late)["error"]["code"]) == (5, "timeout")
    assert "there is no record yet" in document(late)["error"]["message"]

    first = replace(releases.first(model, now_ms=0), live="v1")
    begun = releases.begin(first, model, REGIONS, now_ms=0)
    for record in (first, begun):
        assert ledger.write(record)

    def drop(_seconds: float) -> None:
        assert ledger.write(releases.drop(begun, why="v1 is wanted again", now_ms=0))

    monkeypatch.setattr("spillway.cli.release.time.sleep", drop)
    dropped = run(config, "watch", "embedder")
    assert (dropped.exit_code, document(dropped)["error"]["code"]) == (1, "dropped")
    assert "v1 is wanted again" in document(dropped)["error"]["message"]


@pytest.mark.usefixtures("ledger")
def test_mistakes_are_told_with_what_is_allowed(config: str) -> None:
    """Nobody reads a manual at night."""
    for words, code, said in (
        (("status", "gpt"), 2, "there is chat, embedder"),
        (("watch", "embedder", "--version", "v9"), 2, "there is v1, v2"),
        (("status", "embedder"), 1, "no record of releases yet"),
    ):
        refused = run(config, *words)
        assert refused.exit_code == code
        assert said in document(refused)["error"]["message"]
    nowhere = CliRunner().invoke(
        app, ["release", "status", "embedder", "--json"], env={"SPILLWAY_CONTROL_URL": "http://x"}
    )
    assert "AWS_ENDPOINT_URL is missing" in document(nowhere)["error"]["message"]
