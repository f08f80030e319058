"""An operator's command switches a tenant's webhooks on, and a receiver can verify them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lambdas.adapters.webhooks import Courier
from lambdas.domain.webhooks import Answer, Target
from spillway.cli.main import app
from spillway.testing import REPLICATED_S
from tests.end_to_end.world import Tenant, World

Received = list[tuple[Mapping[str, str], bytes]]
ADDRESS = "https://example.com/told"
CONFIG = str(Path(__file__).with_name("one_region.yaml"))


@pytest.fixture
def received(world: World, monkeypatch: pytest.MonkeyPatch) -> Received:
    """What arrived: headers and bodies."""
    arrived: Received = []

    def deliver(
        _self: Courier, _target: Target, *, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        arrived.append((headers, body))
        return Answer(status=204)

    monkeypatch.setattr(Courier, "deliver", deliver)
    return arrived


def spillway(world: World, *words: str) -> Any:
    """Run a command of operators on the world, as on AWS; its JSON."""
    result = CliRunner().invoke(app, ["tenant", *words, "--config", CONFIG, "--json"])
    assert result.exit_code == 0, result.output
    world.run_for(REPLICATED_S)
    return json.loads(result.stdout)


def verified(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """What a receiver does by the specification, without our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


def test_webhooks_are_switched_on_by_a_command(world: World, received: Received) -> None:
    """Without it every webhook is refused; with it a receiver can tell ours from anybody's."""
    key = spillway(world, "add", "acme")["key"]
    acme = Tenant(world=world, id="acme", api_key=key)
    job = {"model": "small", "input": {"text": "hello"}, "webhook": ADDRESS}
    refused = acme.post(job)

    first = spillway(world, "webhook", "acme")["webhook_secret"]
    told = acme.submit(webhook=ADDRESS)
    world.assert_rest()
    second = spillway(world, "webhook", "acme", "--rotate")["webhook_secret"]
    acme.submit(webhook=ADDRESS)
    world.assert_rest()
    spillway(world, "webhook", "acme", "--finish")
    acme.submit(webhook=ADDRESS)
    world.assert_rest()

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "webhook")
    (before, body), (during, body_during), (after, body_after) = received
    assert json.loads(body)["data"]["id"] == told
    assert verified(first, before, body)
    # While a receiver changes over, it verifies with either.
    assert verified(first, during, body_during)
    assert verified(second, during, body_during)
    assert not verified(first, after, body_after)
    assert verified(second, after, body_after)
