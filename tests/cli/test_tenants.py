"""The commands of operators, against moto's DynamoDB."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from typer.testing import CliRunner, Result

from lambdas.domain.keys import key_hash
from spillway.cli.main import app

CONFIG = str(Path(__file__).resolve().parents[2] / "config" / "dev.yaml")


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The dev deployment's directory table, empty, in an account that is not anybody's."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "SPILLWAY_CONTROL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield table_in("us-east-1")


def table_in(region: str) -> Any:
    """A region's copy of the directory, empty; moto lets every region's live for itself."""
    return boto3.resource("dynamodb", region_name=region).create_table(
        TableName="spillway-dev-directory",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def run(*words: str, given: str | None = None) -> Result:
    """Run `spillway tenant …` on the dev configuration."""
    return CliRunner().invoke(app, ["tenant", *words, "--config", CONFIG], input=given)


def document(*words: str) -> dict[str, Any]:
    """What `spillway tenant … --json` prints."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


def tenants() -> dict[str, dict[str, Any]]:
    """The listed tenants by id."""
    return {tenant["id"]: tenant for tenant in document("list")["tenants"]}


def test_a_new_tenant_gets_a_key_whose_hash_alone_is_stored(directory: Any) -> None:
    """A leaked table must not be a leaked set of keys."""
    key = document("add", "acme")["key"]

    items = directory.scan()["Items"]

    assert key.startswith("sk-spillway-")
    assert len(key) == len("sk-spillway-") + 43
    assert {item["pk"] for item in items} == {"tenant#acme", f"key#{key_hash(key)}"}
    assert key not in repr(items)


def test_the_key_is_printed_once_and_never_again(directory: Any) -> None:
    """Terminals are recorded, shared and logged."""
    added = run("add", "acme")
    key = added.stdout.splitlines()[-1]
    later = [run("list"), run("list", "--json"), run("disable", "acme"), run("revoke", "x")]

    assert added.stdout.count(key) == 1
    assert all(key not in result.output for result in later)


def test_limits_are_stored_and_listed(directory: Any) -> None:
    """A limit that was set and is not in force lets one tenant starve the others."""
    document(
        *("add", "acme", "--model", "chat", "--tier", "batch", "--tier", "standard"),
        *("--rate-per-s", "2.5", "--in-flight-max", "7"),
    )

    acme = tenants()["acme"]
    item = directory.get_item(Key={"pk": "tenant#acme"})["Item"]

    assert (acme["models"], acme["tiers"]) == (["chat"], ["batch", "standard"])
    assert (acme["rate_per_s"], acme["in_flight_max"]) == (2.5, 7)
    assert item["id"] == "acme"
    assert item["models"] == ["chat"]
    assert item["disabled"] is False


def test_a_tenant_without_limits_may_use_every_model(directory: Any) -> None:
    """Absent means all: an empty list would lock the tenant out."""
    document("add", "acme")

    item = directory.get_item(Key={"pk": "tenant#acme"})["Item"]

    assert not {"models", "tiers", "rate_per_s", "in_flight_max"} & set(item)
    assert tenants()["acme"]["models"] is None


def test_adding_again_gives_a_further_key_and_keeps_the_limits(directory: Any) -> None:
    """Rotating a key must not lift a tenant's limits, or let a disabled one in."""
    document("add", "acme", "--in-flight-max", "7")
    document("disable", "acme")

    document("add", "acme", "--key-name", "second")

    acme = tenants()["acme"]
    assert [key["name"] for key in acme["keys"]] == ["default", "second"]
    assert acme["in_flight_max"] == 7
    assert acme["disabled"]


def test_a_webhook_secret_is_as_the_specification_says(directory: Any) -> None:
    """Receivers hand it to a library, which refuses any other form."""
    document("add", "acme")

    made = document("webhook", "acme")

    secret = made["webhook_secret"]
    stored = directory.get_item(Key={"pk": "webhook#acme"})["Item"]["secret"]
    assert (made["tenant"], made["webhook_secret"]) == ("acme", stored)
    assert made["deployment"] == "spillway-dev"
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert tenants()["acme"]["webhooks"] is True


def test_a_tenant_may_begin_with_webhooks(directory: Any) -> None:
    """One command gives an application all that it has to be told."""
    document("add", "plain")
    added = run("add", "acme", "--webhooks")
    secret, key = added.stdout.splitlines()[1::2]
    again = document("add", "other", "--webhooks")

    assert key.startswith("sk-spillway-")
    assert secret == directory.get_item(Key={"pk": "webhook#acme"})["Item"]["secret"]
    assert again["webhook_secret"] != secret
    assert {name: each["webhooks"] for name, each in tenants().items()} == {
        "plain": False,
        "acme": True,
        "other": True,
    }


def test_a_webhook_secret_is_printed_once_and_never_again(directory: Any) -> None:
    """Whoever has it can tell receivers anything."""
    secret = document("add", "acme", "--webhooks")["webhook_secret"]

    later = [run("list"), run("list", "--json"), run("disable", "acme"), run("webhook", "acme")]

    assert all(secret not in result.output for result in later)


@pytest.mark.parametrize("words", [("webhook", "acme"), ("add", "acme", "--webhooks")])
def test_a_webhook_secret_is_replaced_only_on_demand(
    directory: Any, words: tuple[str, ...]
) -> None:
    """Replacing it by mistake makes a receiver refuse every delivery, and no key is left over."""
    first = document("add", "acme", "--webhooks")["webhook_secret"]

    refused = run(*words)
    kept = directory.get_item(Key={"pk": "webhook#acme"})["Item"]["secret"]
    second = document("webhook", "acme", "--rotate")["webhook_secret"]

    assert refused.exit_code == 1
    assert "--rotate replaces it" in refused.stderr.replace("`", "")
    assert kept == first
    assert second not in {first, None}
    assert directory.get_item(Key={"pk": "webhook#acme"})["Item"]["secret"] == second
    assert len(tenants()["acme"]["keys"]) == 1


def test_a_disabled_tenant_can_be_let_in_again(directory: Any) -> None:
    """Whoever stops a tenant by mistake needs a way back."""
    document("add", "acme")

    assert document("disable", "acme")["disabled"] is True
    assert tenants()["acme"]["disabled"] is True
    assert document("disable", "acme", "--undo")["disabled"] is False
    assert tenants()["acme"]["disabled"] is False


@pytest.mark.parametrize("by_itself", [False, True])
def test_a_key_is_revoked_by_its_id_or_by_itself(directory: Any, by_itself: bool) -> None:
    """A key found in a public place must be worthless a minute later, whosever it is."""
    leaked = document("add", "acme", "--key-name", "laptop")
    document("add", "acme", "--key-name", "server")
    word = "-" if by_itself else leaked["key_id"]

    result = run("revoke", word, given=leaked["key"] + "\n")

    assert result.exit_code == 0
    assert "laptop" in result.stdout
    revoked = {key["name"]: key["revoked_ms"] is not None for key in tenants()["acme"]["keys"]}
    assert revoked == {"laptop": True, "server": False}


@pytest.mark.parametrize(("word", "exit_code"), [("0" * 12, 1), ("-", 1), ("ab", 2), ("", 2)])
def test_a_key_is_never_guessed(directory: Any, word: str, exit_code: int) -> None:
    """Half an id could be somebody else's key."""
    document("add", "acme")

    result = run("revoke", word, given="sk-spillway-nobodys\n")

    assert result.exit_code == exit_code
    assert tenants()["acme"]["keys"][0]["revoked_ms"] is None


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("disable", "nobody"), 1, "there is no tenant nobody"),
        (("webhook", "nobody"), 1, "there is no tenant nobody"),
        (("webhook", "nobody", "--rotate"), 1, "there is no tenant nobody"),
        (("revoke", "0123456789ab"), 1, "there is no such key"),
        (("revoke", "0123"), 2, "has 12 hexadecimal digits"),
        (("add", "acme", "--rate-per-s", "0.05"), 2, "0.1"),
        (("add", "acme", "--endpoint-url", "garbage"), 2, "begins with http:// or https://"),
        (("add", "Acme & Co"), 2, "a tenant's id is made of"),
        (("add", "acme", "--model", "gpt"), 2, "there is no model gpt; there is embedder, chat"),
        (("add", "acme", "--tier", "urgent"), 2, "there is no tier urgent"),
        (("add", "acme", "--in-flight-max", "0"), 2, "in-flight-max"),
    ],
)
def test_wrong_words_are_explained(
    directory: Any, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    """An operator at night needs the sentence, not the stack trace."""
    result = run(*words)

    assert result.exit_code == exit_code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_deployment_that_is_not_there_is_named(directory: Any) -> None:
    """The wrong account looks like an empty deployment unless somebody says so."""
    directory.delete()

    result = run("list")

    assert result.exit_code == 1
    assert "us-east-1 has no table spillway-dev-directory" in result.stderr


def test_no_credentials_and_no_network_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is solved by signing in, the other by waiting."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.delenv("SPILLWAY_CONTROL_URL", raising=False)
    nowhere = ("--endpoint-url", "http://127.0.0.1:9")

    anonymous = run("list", *nowhere)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    unreachable = run("list", *nowhere)

    assert (anonymous.exit_code, unreachable.exit_code) == (4, 3)
    assert "AWS_PROFILE" in anonymous.stderr
    assert "127.0.0.1:9" in unreachable.stderr


def test_a_key_is_revoked_while_the_first_region_is_lost(
    directory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region that burns must not keep a leaked key alive in the others."""
    there = table_in("us-east-2")
    call: Any = vars(BaseClient)["_make_api_call"]

    def away(self: BaseClient, operation: str, params: Any) -> Any:
        if self.meta.region_name == "us-east-1":
            raise EndpointConnectionError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")
        return call(self, operation, params)

    monkeypatch.setattr(BaseClient, "_make_api_call", away)
    added = document("add", "acme", "--webhooks")
    document("webhook", "acme", "--rotate", "--overlap-hours", "0")
    document("disable", "acme")
    revoked = run("revoke", added["key_id"])
    acme = tenants()["acme"]

    assert revoked.exit_code == 0
    assert "us-east-1 did not answer: asked us-east-2" in " ".join(revoked.stderr.split())
    assert (acme["disabled"], acme["webhooks"]) == (True, True)
    assert acme["keys"][0]["revoked_ms"] is not None
    assert len(there.scan()["Items"]) == 3


def test_a_twin_without_its_endpoint_is_not_an_aws_account(
    directory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key made for a rehearsal must not open production."""
    monkeypatch.setenv("SPILLWAY_CONTROL_URL", "http://127.0.0.1:8082")
    told = run("add", "acme")
    assert told.exit_code == 2
    assert "AWS_ENDPOINT_URL is missing" in told.stderr
    assert directory.scan()["Items"] == []
