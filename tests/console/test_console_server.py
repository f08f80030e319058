"""The console's HTTP: who may look, who may press a button, and what a browser is told."""

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from spillway.console.server import BODY_BYTES_MAX, FILES, ConsoleError, application

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "spillway" / "console" / "page"
HERE = "http://127.0.0.1:8083"
TOKEN = "what-only-the-page-knows"
PRESSED = {"Origin": HERE, "X-Console-Token": TOKEN, "Content-Type": "application/json"}


class Recorded:
    """A console that does nothing but remember."""

    def __init__(self) -> None:
        self.acted: list[tuple[str, Mapping[str, Any]]] = []

    def document(self) -> dict[str, Any]:
        """Something to show."""
        return {"deployment": "<script>alert(1)</script>"}

    def act(self, action: str, wanted: Mapping[str, Any]) -> str:
        """Remember, or refuse."""
        if action == "impossible":
            raise ConsoleError("it cannot be done")
        self.acted.append((action, wanted))
        return "done"


@pytest.fixture
def console() -> Recorded:
    """What was done to it."""
    return Recorded()


@pytest.fixture
def browser(console: Recorded) -> TestClient:
    """A client at the console's address."""
    return TestClient(application(console, token=TOKEN), base_url=HERE)


def test_the_page_presses_its_buttons(browser: TestClient, console: Recorded) -> None:
    """A guard that refuses the page itself leaves nothing to press."""
    found = re.search(r'name="console-proof" content="([^"]+)"', browser.get("/").text)
    assert found is not None
    headers = {**PRESSED, "X-Console-Token": found[1], "Sec-Fetch-Site": "same-origin"}

    answer = browser.post("/actions/kill", json={"region": "us-east-1"}, headers=headers)

    assert (answer.status_code, answer.json()) == (200, {"told": "done"})
    assert console.acted == [("kill", {"region": "us-east-1"})]


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "https://advertisement.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8082"},
        {"Origin": "http://localhost:8083"},
        {"Origin": None},
        {"X-Console-Token": None},
        {"X-Console-Token": "guessed"},
        {"X-Console-Token": "gu\u00e9ssed"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_no_other_page_presses_a_button(
    browser: TestClient, console: Recorded, changed: dict[str, str | None]
) -> None:
    """An advertisement in another tab of this machine's browser would kill a region."""
    sent = {**PRESSED, **changed}
    headers = {name.encode(): value.encode() for name, value in sent.items() if value is not None}

    answer = browser.post("/actions/kill", content=b"{}", headers=headers)

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert console.acted == []


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example:8083",
        "127.0.0.1:80",
        "127.0.0.1",
        "192.168.1.7:8083",
        "127.0.0.1:8083.evil",
    ],
)
@pytest.mark.parametrize("path", ["/", "/state", "/console.js"])
def test_a_name_that_leads_here_is_not_this_machine(
    browser: TestClient, path: str, host: str
) -> None:
    """DNS rebinding makes a stranger's page one of our origin: it would read the proof."""
    answer = browser.get(path, headers={"Host": host})

    assert answer.status_code == 421
    assert TOKEN not in answer.text


def test_a_rebound_page_presses_no_button(browser: TestClient, console: Recorded) -> None:
    """Its origin and host agree; that must not be enough."""
    headers = {**PRESSED, "Host": "evil.example:8083", "Origin": "http://evil.example:8083"}

    assert browser.post("/actions/kill", json={}, headers=headers).status_code == 421
    assert console.acted == []


def test_localhost_is_this_machine(browser: TestClient, console: Recorded) -> None:
    """People type it."""
    name = "localhost:8083"
    headers = {**PRESSED, "Host": name, "Origin": f"http://{name}"}

    assert browser.get("/state", headers={"Host": name}).status_code == 200
    assert browser.post("/actions/kill", json={}, headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_an_action_is_a_post(browser: TestClient, console: Recorded, method: str) -> None:
    """What a link or an image can ask for must change nothing."""
    assert browser.request(method, "/actions/kill", headers=PRESSED).status_code == 405
    assert console.acted == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"kill"', b"[" * 9000, b"\xff", b" " * BODY_BYTES_MAX + b"{}"]
)
def test_a_body_that_is_none_is_refused(
    browser: TestClient, console: Recorded, body: bytes
) -> None:
    """A mistake in the page must read as one."""
    answer = browser.post("/actions/kill", content=body, headers=PRESSED)

    assert (answer.status_code, console.acted) == (400, [])
    assert "JSON object" in answer.json()["error"]["message"]


def test_what_cannot_be_done_is_said(browser: TestClient) -> None:
    """A button that does nothing and says nothing is a broken one."""
    answer = browser.post("/actions/impossible", json={}, headers=PRESSED)

    assert (answer.status_code, answer.json()["error"]["message"]) == (409, "it cannot be done")


@pytest.mark.parametrize("path", ["/", "/state", "/nowhere", "/icon.svg"])
def test_a_browser_is_told_what_the_page_may_do(browser: TestClient, path: str) -> None:
    """A job's metadata that is markup must stay text, and no frame may hide a button."""
    headers = browser.get(path).headers

    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_the_page_loads_nothing_of_others() -> None:
    """It must work in an aeroplane, and tell nobody that somebody looks."""
    texts = [path.read_text(encoding="utf-8") for path in PAGE.iterdir()]

    addresses = [each for text in texts for each in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)]
    assert set(addresses) <= {"http://www.w3.org"}
    assert not any(word in text for text in texts for word in ("innerHTML", "outerHTML", "eval("))
    assert not any("insertAdjacentHTML" in text or "document.write" in text for text in texts)


def test_an_installed_copy_has_the_page() -> None:
    """Setuptools leaves out what is no Python and not on its list."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]
    page = {path.name for path in PAGE.iterdir()}

    assert page == {*FILES, "index.html"}
    assert all(
        any(fnmatch(f"page/{name}", pattern) for pattern in patterns["spillway.console"])
        for name in page
    )
