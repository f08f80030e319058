"""`spillway usage`, and `spillway tenant set`, against moto's DynamoDB."""

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from typer.testing import CliRunner, Result

from lambdas.adapters.usage import UsageCounters
from spillway.cli.main import app
from tests.cli.test_tenants import CONFIG, directory, document, tenants

__all__ = ["directory"]  # the fixture

TODAY = datetime.now(UTC).date().isoformat()
REGIONS = ("us-east-1", "us-east-2", "us-west-2")


def run(*words: str) -> Result:
    """Run `spillway usage …` on the dev configuration."""
    wide = {"COLUMNS": "200"}
    return CliRunner().invoke(app, ["usage", *words, "--config", CONFIG], env=wide)


def printed(*words: str) -> Any:
    """What `spillway usage … --json` prints."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def changed(*words: str) -> Result:
    """Run `spillway tenant set …`."""
    return CliRunner().invoke(app, ["tenant", "set", *words, "--config", CONFIG])


@pytest.fixture
def gates(directory: Any) -> Any:
    """Two tenants, and a gate in every region in which one job was counted of each."""
    for name in ("acme", "other"):
        document("add", name)
    for region in REGIONS:
        client = boto3.client("dynamodb", region_name=region)
        client.create_table(
            TableName="spillway-dev-gate",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        counters = UsageCounters(client, "spillway-dev-gate", region)
        for name in ("acme", "other"):
            used = {"completed": 1, "gpu_ms": 500, "nano_usd": 250_000_000, "tokens_in": 10}
            used |= {"ratings": 1, "rating_sum": -1}
            counters.add(name, TODAY, {f"chat/v1/{what}": n for what, n in used.items()})
    return directory


def test_usage_is_added_up_over_the_regions(gates: Any) -> None:
    """A bill that forgets a region is paid by the operator."""
    told = printed("acme")
    shown = run("acme").stdout

    (acme,) = told["tenants"]
    (row,) = acme["data"]
    assert (acme["tenant"], row["day"], row["model"], row["version"]) == (
        "acme",
        TODAY,
        "chat",
        "v1",
    )
    assert row["jobs"]["completed"] == 3
    assert (row["gpu_s"], row["cost_usd"], row["tokens"]["input"]) == (1.5, 0.75, 30)
    assert acme["total"]["feedback"] == {"ratings": 3, "rating_sum": -3, "corrections": 0}
    assert told["missing_regions"] == []
    assert told["deployment"] == "spillway-dev"
    assert "0.7500" in shown
    assert "-1.00 of 3" in shown


def test_all_tenants_are_shown_without_a_name(gates: Any) -> None:
    """At the end of a month nobody types every tenant's name."""
    told = printed("--from", TODAY, "--to", TODAY, "--model", "chat")

    assert [each["tenant"] for each in told["tenants"]] == ["acme", "other"]
    assert [each["total"]["jobs"]["completed"] for each in told["tenants"]] == [3, 3]
    assert printed("--model", "embedder")["tenants"][0]["data"] == []
    assert printed("--to", "2020-01-01")["tenants"][0]["data"] == []


def test_a_lost_regions_usage_is_said_to_be_missing(
    gates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too small a sum that looks whole is worse than one that says what is missing."""
    call: Any = vars(BaseClient)["_make_api_call"]

    def away(self: BaseClient, operation: str, params: Any) -> Any:
        if self.meta.region_name == "us-east-2":
            raise EndpointConnectionError(endpoint_url="https://dynamodb.us-east-2.amazonaws.com")
        return call(self, operation, params)

    monkeypatch.setattr(BaseClient, "_make_api_call", away)
    result = run("acme", "--json")

    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["tenants"][0]["total"]["jobs"]["completed"] == 2
    assert told["missing_regions"] == ["us-east-2"]
    assert "us-east-2 did not answer" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("nobody",), 1, "there is no tenant nobody"),
        (("acme", "--model", "gpt"), 2, "there is no model gpt"),
        (("acme", "--from", "yesterday"), 2, "--from is a day like 2026-01-31"),
        (("acme", "--from", "2020-01-01"), 2, "--from is at most 91 days before to"),
    ],
)
def test_wrong_words_about_usage_are_explained(
    gates: Any, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    """An operator needs the sentence, not the stack trace."""
    result = run(*words)

    assert result.exit_code == exit_code
    assert message in " ".join(result.stderr.split())


# ---- `spillway tenant set`


def test_limits_are_changed_without_a_new_key(directory: Any) -> None:
    """A key for every change is a key for everybody."""
    document("add", "acme", "--in-flight-max", "7", "--rate-per-s", "2")

    result = changed("acme", "--tokens-per-day", "1000", "--rate-per-s", "5", "--model", "chat")

    acme = tenants()["acme"]
    assert result.exit_code == 0
    assert "everywhere within 60 s" in " ".join(result.stdout.split())
    assert (acme["tokens_per_day"], acme["rate_per_s"], acme["models"]) == (1000, 5.0, ["chat"])
    assert acme["in_flight_max"] == 7
    assert len(acme["keys"]) == 1


def test_masking_rules_are_set_as_a_whole_and_lifted(directory: Any) -> None:
    """A rule that goes by accident shows what nobody may keep."""
    document("add", "acme")
    changed("acme", "--mask", "email", "--drop", "ssn", "--drop", "e, mail")
    first = tenants()["acme"]["metadata_mask"]
    changed("acme", "--mask", "phone")
    second = tenants()["acme"]["metadata_mask"]
    changed("acme", "--unset", "metadata_mask", "--tokens-per-day", "5")

    acme = tenants()["acme"]
    assert first == {"email": "mask", "ssn": "drop", "e, mail": "drop"}
    assert second == {"phone": "mask"}
    assert (acme["metadata_mask"], acme["tokens_per_day"]) == (None, 5)


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("nobody", "--tokens-per-day", "1"), 1, "there is no tenant nobody"),
        (("acme",), 2, "nothing to set"),
        (("acme", "--unset", "keys"), 2, "there is no limit keys; there is models, tiers"),
        (("acme", "--tokens-per-day", "5", "--unset", "tokens_per_day"), 2, "both set and lifted"),
        (("acme", "--mask", "a", "--drop", "a"), 2, "a cannot be both masked and dropped"),
        (("acme", "--mask", "a" * 65), 2, "names of 1 to 64 characters"),
        (("acme", "--tier", "urgent"), 2, "there is no tier urgent"),
        (("acme", "--tokens-per-day", "0"), 2, "tokens-per-day"),
    ],
)
def test_wrong_limits_are_explained(
    directory: Any, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    """A limit that is not in force is found when it is too late."""
    document("add", "acme")

    result = changed(*words)

    assert result.exit_code == exit_code
    assert message in " ".join(result.stderr.split())
