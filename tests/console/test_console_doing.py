"""What the console's buttons do and refuse, without any deployment behind them."""

import time
from pathlib import Path
from typing import Any

import pytest

from config.schema import Deployment, load
from spillway.assembly import LocalError
from spillway.bad_releases import BadReleases
from spillway.cli.looking import Api
from spillway.console.doing import JOBS_MAX, LocalConsole
from spillway.console.server import ConsoleError

CONFIG = Path(__file__).with_name("console.yaml")
NOWHERE = "http://127.0.0.1:9"


class Seen:
    """A look that a test makes up."""

    def __init__(self) -> None:
        self.deployment = load(CONFIG)
        self.release: dict[str, Any] = {
            "model": "chat",
            "live": "v1",
            "candidate": None,
            "quarantined": {},
        }
        self.looks = 0

    def once(self) -> dict[str, Any]:
        """What the test says."""
        self.looks += 1
        return {"regions": [], "releases": [self.release]}

    def close(self) -> None:
        """Hold nothing."""


class Refuses:
    """A release that cannot be deployed."""

    def version(self, model: str) -> str | None:
        """There is one."""
        return "v2"

    def release(self, model: str) -> Deployment:
        """Refuse it."""
        raise LocalError("synth failed")


@pytest.fixture
def seen() -> Seen:
    """What is seen."""
    return Seen()


@pytest.fixture
def console(seen: Seen) -> LocalConsole:
    """A console of a deployment whose addresses nobody answers at."""
    api = Api(dict.fromkeys(seen.deployment.regions, NOWHERE), "sk-spillway-made-up")
    return LocalConsole(seen, api=api, control_url=NOWHERE, bad=Refuses())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"live": None}, "no record of releases yet"),
        ({"candidate": "v2"}, "v2 is on trial"),
        ({"quarantined": {"v2": "it failed"}}, "`spillway release clear chat v2`"),
        ({"live": "v2"}, "v2 is live"),
    ],
)
def test_the_release_is_offered_or_the_reason_is_said(
    console: LocalConsole, seen: Seen, changed: dict[str, Any], reason: str
) -> None:
    """A button that is grey for no reason is reported as a bug."""
    seen.release |= changed
    (offer,) = console.document()["offers"]

    assert offer["version"] == "v2"
    assert reason in offer["why_not"]
    assert bool(reason) == bool(offer["why_not"])


def test_a_version_goes_bad_only_when_it_is_released(tmp_path: Path) -> None:
    """Whoever releases that version without the console must find it as it is configured."""
    bad = BadReleases(CONFIG, tmp_path)
    (endpoint,) = bad.containers()

    assert endpoint == "spillway-console-chat-v2"
    assert (bad.version("chat"), bad._fails(endpoint, (), b"x")) == ("v2", False)
    bad._bad.add(endpoint)
    smoke = ({"input_tokens": 100},)
    failed = [n for n in range(300) if bad._fails(endpoint, smoke, b'{"n": %d}' % n)]
    assert 70 < len(failed) < 130
    assert not any(bad._fails(endpoint, ({"n": n},), b'{"n": %d}' % n) for n in failed)


@pytest.mark.parametrize(
    ("action", "wanted", "message"),
    [
        ("reboot", {}, "there is no reboot; there is submit, burst, kill, restore, release"),
        ("kill", {"region": "eu-west-1"}, "`region` must be one of us-east-1"),
        ("kill", {"region": ["us-east-1"]}, "`region` must be one of us-east-1"),
        ("kill", {}, "`region` must be one of us-east-1"),
        ("kill", {"region": "us-east-1"}, "no `spillway local` answers"),
        ("submit", {"region": "us-east-1", "model": "gpt"}, "`model` must be one of chat"),
        ("submit", {"region": "us-east-1", "model": "chat", "tier": "now"}, "`tier` must be one"),
        ("burst", {"region": "us-east-1", "model": "chat", "jobs": 0}, f"from 1 to {JOBS_MAX}"),
        ("burst", {"region": "us-east-1", "model": "chat", "jobs": 10**9}, f"to {JOBS_MAX}"),
        ("burst", {"region": "us-east-1", "model": "chat", "jobs": True}, f"to {JOBS_MAX}"),
        ("release", {"model": "gpt"}, "`model` must be one of chat"),
    ],
)
def test_what_a_button_cannot_do_is_said(
    console: LocalConsole, action: str, wanted: dict[str, Any], message: str
) -> None:
    """A page of an older start may ask for what is not there any more."""
    with pytest.raises(ConsoleError) as refused:
        console.act(action, wanted)

    assert message in str(refused.value)


def test_a_release_that_cannot_be_deployed_says_why(console: LocalConsole) -> None:
    """Its task runs on its own: nobody waits for what it raises."""
    console.act("release", {"model": "chat"})
    until_s = time.monotonic() + 10
    while (task := console.document()["tasks"]["release"])["running"]:
        assert time.monotonic() < until_s
        time.sleep(0.01)

    assert task["told"] == "synth failed"


def test_many_pages_look_once(console: LocalConsole, seen: Seen) -> None:
    """Ten open tabs must not load the deployment ten times as much."""
    for _ in range(10):
        console.document()

    assert seen.looks == 1


def test_one_burst_goes_on_at_a_time_and_ends_with_the_console(console: LocalConsole) -> None:
    """A thousand jobs to nowhere must not hold Ctrl-C up."""
    wanted = {"region": "us-east-1", "model": "chat", "jobs": JOBS_MAX}
    console.act("burst", wanted)
    with pytest.raises(ConsoleError, match="a burst goes on"):
        console.act("burst", wanted)
    began_s = time.monotonic()
    console.close()

    assert time.monotonic() - began_s < 4
    assert not console._tasks["burst"].running
