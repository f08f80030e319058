"""Commands that change a deployment are told which."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from spillway.assembly import ROOT
from spillway.cli.deployment import VARIABLE, to_write
from spillway.cli.main import app
from spillway.cli.terminal import CommandError

WRITING = (
    "release promote embedder",
    "release pause embedder",
    "release resume embedder",
    "release rollback embedder",
    "release clear embedder",
    "region drain us-east-1",
    "region restore us-east-1",
    "tenant add acme",
    "tenant webhook acme",
    "tenant disable acme",
    "tenant revoke 0123456789ab",
    "model register embedder v1",
)


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that points nowhere."""
    for name in ("AWS_ENDPOINT_URL", "SPILLWAY_CONTROL_URL", VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("command", WRITING)
def test_what_changes_a_deployment_asks_which(command: str) -> None:
    """An operator of production would else take a version of dev back, and read that it worked."""
    result = CliRunner().invoke(app, [*command.split(), "--json"])

    error: dict[str, Any] = json.loads(result.stdout)["error"]
    assert result.exit_code == 2
    assert error["code"] == "usage"
    assert error["message"].startswith("which deployment?")
    assert VARIABLE in error["message"]


def test_a_twin_on_this_machine_needs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be broken there, and what is pasted from a page works."""
    monkeypatch.chdir(ROOT)
    assert to_write(None, "http://127.0.0.1:5001").name == "spillway-dev"
    assert to_write(ROOT / "config" / "prod.yaml", None).name == "spillway-prod"
    for elsewhere in (None, "", "https://dynamodb.us-east-1.amazonaws.com", "http://localhost.x"):
        with pytest.raises(CommandError):
            to_write(None, elsewhere)
