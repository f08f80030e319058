"""`spillway key`, against moto's DynamoDB."""

import json
from itertools import count
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lambdas.domain.keys import key_hash
from spillway.cli.main import app
from spillway.directory import Directory
from tests.cli.test_tenants import CONFIG, directory, document, tenants

__all__ = ["directory"]  # the fixture


def run(*words: str) -> Result:
    """Run `spillway key …` on the dev configuration."""
    return CliRunner().invoke(app, ["key", *words, "--config", CONFIG])


def made(*words: str) -> dict[str, Any]:
    """What `spillway key … --json` prints."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


def item(directory: Any, key: str) -> dict[str, Any]:
    """A key's item."""
    found: dict[str, Any] = directory.get_item(Key={"pk": f"key#{key_hash(key)}"})["Item"]
    return found


def test_a_key_can_be_made_narrower_than_its_tenant(directory: Any) -> None:
    """A key in a test pipeline that opens everything is found there sooner or later."""
    document("add", "acme")

    key = made("add", "acme", "ci", "--scope", "jobs:read", "--model", "chat", "--days", "30")

    kept = item(directory, key["key"])
    assert (kept["name"], kept["scopes"], kept["models"]) == ("ci", ["jobs:read"], ["chat"])
    assert kept["expires_ms"] - kept["created_ms"] == pytest.approx(30 * 86_400_000, abs=5000)
    listed = {each["name"]: each for each in tenants()["acme"]["keys"]}
    assert listed["ci"]["scopes"] == ["jobs:read"]
    assert listed["ci"]["expires_ms"] == kept["expires_ms"]
    shown = CliRunner().invoke(app, ["tenant", "list", "--config", CONFIG], env={"COLUMNS": "200"})
    assert "jobs:read" in shown.stdout


def test_a_key_is_rotated_without_a_moment_in_which_none_works(directory: Any) -> None:
    """Whoever has to stop an application to change its key never changes it."""
    document("add", "acme")
    first = made("add", "acme", "app", "--scope", "jobs:write", "--days", "10")

    second = made("rotate", "acme", "app")
    both = [each for each in tenants()["acme"]["keys"] if each["name"] == "app"]
    ended = run("revoke", second["replaces"][0])
    third = made("rotate", "acme", "app")

    assert second["replaces"] == [first["key_id"]]
    assert [each["revoked_ms"] for each in both] == [None, None]
    assert item(directory, second["key"])["scopes"] == ["jobs:write"]
    # It lives as long as the one before was made to live, and not until the same day.
    kept = item(directory, second["key"])
    assert kept["expires_ms"] - kept["created_ms"] == pytest.approx(10 * 86_400_000, abs=5000)
    assert ended.exit_code == 0
    assert third["replaces"] == [second["key_id"]]


def test_a_third_live_key_of_a_name_is_refused_with_the_reason(directory: Any) -> None:
    """Of three keys of one name nobody dares to revoke any."""
    first = document("add", "acme", "--key-name", "app")
    second = made("rotate", "acme", "app")
    before = len(directory.scan()["Items"])

    refused = [
        run("rotate", "acme", "app"),
        run("add", "acme", "app"),
        CliRunner().invoke(app, ["tenant", "add", "acme", "--key-name", "app", "--config", CONFIG]),
    ]

    for result in refused:
        told = " ".join(result.stderr.split())
        assert result.exit_code == 1
        assert "has 2 live keys named app" in told
        assert first["key_id"] in told
        assert second["key_id"] in told
        assert "spillway key revoke KEY_ID" in told
    assert len(directory.scan()["Items"]) == before


def overtake(monkeypatch: pytest.MonkeyPatch, name: str, looks: set[int]) -> None:
    """After some looks at the keys, counted from 0, another operator makes one."""
    look, numbers = Directory.list_keys, count()

    def looked(directory: Directory) -> list[dict[str, Any]]:
        found = look(directory)
        if next(numbers) in looks:
            with monkeypatch.context() as other:
                other.setattr(Directory, "list_keys", look)
                directory.add_key_in_room("acme", f"{name}-{len(found)}" if name else "app")
        return found

    monkeypatch.setattr(Directory, "list_keys", looked)


@pytest.mark.parametrize(
    ("words", "look"),
    [
        (("key", "add", "acme", "app"), 0),
        (("key", "rotate", "acme", "app"), 0),
        # It looks before it changes the tenant's limits, too.
        (("tenant", "add", "acme", "--key-name", "app"), 1),
    ],
)
def test_operators_who_make_keys_in_the_same_second_make_no_third_one(
    directory: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], look: int
) -> None:
    """Between the look of one operator and the put there is room for another's."""
    document("add", "acme", "--key-name", "app")
    overtake(monkeypatch, "", {look})

    result = CliRunner().invoke(app, [*words, "--config", CONFIG])

    assert result.exit_code == 1
    assert "has 2 live keys named app" in " ".join(result.stderr.split())
    assert [each["name"] for each in tenants()["acme"]["keys"]] == ["app", "app"]


@pytest.mark.parametrize(("looks", "exit_code"), [({0, 1}, 0), ({0, 1, 2}, 1)])
def test_an_operator_who_is_overtaken_tries_again_and_not_for_ever(
    directory: Any, monkeypatch: pytest.MonkeyPatch, looks: set[int], exit_code: int
) -> None:
    """Keys of other names take no room, and scripts that make them must not hold anybody up."""
    document("add", "acme")
    overtake(monkeypatch, "script", looks)

    result = run("add", "acme", "app")

    assert result.exit_code == exit_code
    assert ("others make keys of acme just now; try again" in result.stderr) is bool(exit_code)
    names = [each["name"] for each in tenants()["acme"]["keys"]]
    assert names.count("app") == 1 - exit_code


def test_revoked_and_expired_keys_leave_room(directory: Any) -> None:
    """A name whose keys have all ended is not used up."""
    for _ in range(2):
        old = document("add", "acme", "--key-name", "app")
        run("revoke", old["key_id"])
    short = made("add", "acme", "app", "--days", "1")
    directory.update_item(
        Key={"pk": f"key#{key_hash(short['key'])}"},
        UpdateExpression="SET expires_ms = :past",
        ExpressionAttributeValues={":past": 1},
    )

    assert run("rotate", "acme", "app").exit_code == 1  # none is left to be replaced
    made("add", "acme", "app")
    made("rotate", "acme", "app")


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("add", "nobody", "app"), 1, "there is no tenant nobody"),
        (("rotate", "nobody", "app"), 1, "there is no tenant nobody"),
        (("rotate", "acme", "app"), 1, "has no live key named app"),
        (("add", "acme", "app", "--scope", "jobs"), 2, "there is no scope jobs; there is jobs:wri"),
        (("add", "acme", "app", "--model", "gpt"), 2, "there is no model gpt"),
        (("add", "acme", "app", "--days", "0"), 2, "days"),
        (("revoke", "0123456789ab"), 1, "there is no such key"),
    ],
)
def test_wrong_words_about_keys_are_explained(
    directory: Any, words: tuple[str, ...], exit_code: int, message: str
) -> None:
    """An operator at night needs the sentence, not the stack trace."""
    document("add", "acme")

    result = run(*words)

    assert result.exit_code == exit_code
    assert message in " ".join(result.stderr.split())


def test_a_key_is_shown_once(directory: Any) -> None:
    """Terminals are recorded, shared and logged."""
    document("add", "acme")
    told = run("add", "acme", "app")
    key = told.stdout.splitlines()[-1]
    rotated = run("rotate", "acme", "app")

    assert key.startswith("sk-spillway-")
    assert key not in rotated.output
    assert "The old one works until `spillway key revoke" in rotated.stdout
    assert key not in repr(directory.scan()["Items"])
