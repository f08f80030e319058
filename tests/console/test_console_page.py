"""The console's page alone, on a document that is made up: what a reader sees of it."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from spillway.console.server import ConsoleError, application
from spillway.twin.serving import Serving

MARKUP = "<img src=x onerror=document.title='broken'>"
HERE, THERE, DRAINED = "eu-west-1", "eu-north-1", "eu-west-3"


def region(name: str, **fields: Any) -> dict[str, Any]:
    """A region that serves, but for some fields."""
    return {
        "region": name,
        "state": "serving",
        "ready": True,
        "reason": "",
        "seen_ms": 1_000_000_000_000,
        "faults": {"killed": False, "isolated_from": [], "slow_factor": 1.0},
        "models": [
            {
                "model": "chat",
                "unfinished": 31,
                "waiting": {"interactive": 2, "standard": 10, "batch": 20},
                "slots": {"in_use": 12, "capacity": 16},
                "instances": [{"version": "v1", "serving": 1, "ordered": 3}],
            }
        ],
        "alarms": {"states": {"ALARM": 1, "OK": 20, "INSUFFICIENT_DATA": 4}, "ringing": []},
    } | fields


RELEASE = {
    "model": "chat",
    "live": "v1",
    "candidate": "v2",
    "region": HERE,
    "step": "batch",
    "step_number": 2,
    "steps": 15,
    "waits": "",
    "quarantined": {},
    "shares": {HERE: {"batch": {"v1": 0.5, "v2": 0.5}, "standard": {"v1": 1.0}}},
    "events": [
        {"at_ms": 1, "what": "began", "version": "v2", "region": HERE, "why": MARKUP, "share": 0}
    ],
}
DOCUMENT: dict[str, Any] = {
    "at_ms": 1_000_000_003_000,
    "deployment": MARKUP,
    "tiers": ["interactive", "standard", "batch"],
    "models": [{"model": "chat", "wanted": "v1", "versions": ["v1", "v2"]}],
    "regions": [
        region(HERE),
        region(THERE, faults={"killed": True}, ready=False, reason="its API does not answer"),
        region(DRAINED, state="drained", ready=False, reason="drained"),
    ],
    "releases": [RELEASE],
    "ringing": [
        {
            "region": HERE,
            "name": "chat-v2-failures",
            "kind": "guard",
            "since_ms": 1,
            "description": MARKUP,
        }
    ],
    "jobs": [
        {
            "id": "job_1",
            "status": "completed",
            "model": MARKUP,
            "version": "v1",
            "tier": "batch",
            "region": HERE,
            "attempt": 2,
            "created_at": "2001-09-09T01:46:00.000Z",
            "timings": {"queue_s": 1.25, "model_s": 0.5},
        }
    ],
    "offers": [{"model": "chat", "version": "v2", "why_not": "v2 is on trial"}],
    "tasks": {
        "burst": {"told": "", "done": 0, "failed": 0, "of": None, "running": False},
        "release": {"told": "", "done": 0, "failed": 0, "of": None, "running": False},
    },
    "problems": [],
}


class MadeUp:
    """A console that shows what a test says, and remembers what was pressed."""

    def __init__(self) -> None:
        self.shown = deepcopy(DOCUMENT)
        self.acted: list[tuple[str, Mapping[str, Any]]] = []
        self.looks = 0

    def document(self) -> dict[str, Any]:
        """What the test says."""
        self.looks += 1
        return self.shown

    def act(self, action: str, wanted: Mapping[str, Any]) -> str:
        """Remember; a burst cannot be sent."""
        self.acted.append((action, wanted))
        if action == "burst":
            raise ConsoleError(f"no burst: {MARKUP}")
        return f"{action} is done"


@pytest.fixture
def console() -> MadeUp:
    """What the page shows."""
    return MadeUp()


@pytest.fixture
def serving(console: MadeUp) -> Iterator[Serving]:
    """The console's server, without any deployment."""
    server = Serving(application(console), port=0, name="console")
    server.start()
    yield server
    server.close()


@pytest.fixture
def opened(page: Page, serving: Serving) -> Page:
    """The page, showing the document."""
    page.goto(serving.url)
    expect(page.locator("#connection")).to_contain_text("live")
    return page


def look_again(page: Page, console: MadeUp) -> None:
    """Let the page ask twice more, as when its tab is shown again: it has shown the first then."""
    for _ in range(2):
        looks = console.looks
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        until_s = time.monotonic() + 20
        while console.looks == looks:
            assert time.monotonic() < until_s
            page.wait_for_timeout(20)


def card(page: Page, name: str) -> Locator:
    """What is shown of a region."""
    return page.locator("#regions article").filter(has=page.get_by_role("heading", name=name))


def test_the_page_is_read_at_a_glance(opened: Page) -> None:
    """Whoever looks must see the dead region, the queues and the release without searching."""
    expect(card(opened, HERE).locator("[data-part=state]")).to_have_text("serving")
    expect(card(opened, THERE).locator("[data-part=state]")).to_have_text("killed")
    expect(card(opened, DRAINED).locator("[data-part=state]")).to_have_text("drained")
    shown = card(opened, HERE)
    expect(shown.locator("[data-part=slots-value]")).to_have_text("12 / 16")
    expect(shown.locator("[data-part=batch-value]")).to_have_text("20")
    expect(shown).to_contain_text("instances v1: 1 → 3")
    expect(shown).to_contain_text("31 unfinished, last beat 3 s ago")
    release = opened.locator("#releases article")
    expect(release).to_contain_text("v2: step batch in eu-west-1 (2 of 15)")
    expect(release).to_contain_text("batch: v1 50 %, v2 50 %; standard: v1 100 %")
    expect(release.get_by_role("button")).to_be_disabled()
    expect(opened.locator("#alarms")).to_contain_text("chat-v2-failures")
    expect(opened.locator("#alarms-count")).to_have_text(
        "3 ring, 60 are quiet, 12 have seen nothing yet"
    )
    row = opened.locator("#jobs tr")
    expect(row).to_contain_text("completed")
    expect(row).to_contain_text("1.3 s")


def test_what_the_service_says_stays_text(opened: Page) -> None:
    """A model's error or a tenant's word that were markup would run in the operator's browser."""
    expect(opened.locator("#deployment")).to_have_text(MARKUP)
    expect(opened.locator("#jobs")).to_contain_text(MARKUP)
    opened.get_by_role("button", name="Send a burst").click()
    expect(opened.locator("#notice")).to_have_text(f"no burst: {MARKUP}")

    assert opened.locator("img").count() == 1
    assert opened.title() == "Spillway"


def test_the_keyboard_is_enough(opened: Page, console: MadeUp) -> None:
    """Not everybody has a mouse; and a refresh must not take the focus away."""
    opened.get_by_role("combobox", name="Model").focus()
    for _ in range(2):
        opened.keyboard.press("Tab")
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Tab")
    look_again(opened, console)
    opened.keyboard.press("Enter")
    expect(opened.locator("#notice")).to_have_text("submit is done")
    opened.get_by_role("button", name=f"Restore {THERE}").focus()
    look_again(opened, console)
    opened.keyboard.press("Space")
    expect(opened.locator("#notice")).to_have_text("restore is done")

    wanted = {"model": "chat", "tier": "interactive", "region": THERE}
    assert console.acted == [("submit", wanted), ("restore", {"region": THERE})]


def test_a_refresh_changes_only_what_changed(opened: Page, console: MadeUp) -> None:
    """A page that is built anew every second flickers, and loses what was marked in it."""
    opened.evaluate(
        """() => {
          window.changes = [];
          new MutationObserver((seen) => window.changes.push(...seen.map((each) =>
            (each.target.closest?.('[id]') || each.target.parentElement.closest('[id]')).id)))
            .observe(document.querySelector('main'),
              {subtree: true, childList: true, characterData: true, attributes: true});
        }"""
    )
    look_again(opened, console)
    assert opened.evaluate("window.changes") == []

    console.shown["regions"][0]["models"][0]["waiting"]["batch"] = 21
    expect(card(opened, HERE).locator("[data-part=batch-value]")).to_have_text("21")
    assert set(opened.evaluate("window.changes")) == {"regions"}


def test_a_service_that_is_gone_is_said_to_be(opened: Page, serving: Serving) -> None:
    """Old numbers that look live are worse than none."""
    serving.close()

    expect(opened.locator("#connection")).to_have_text(re.compile("the service is gone since"))
    expect(opened.locator("body")).to_have_class("gone")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_legible(
    opened: Page, width: int, scheme: Any, contrast: Callable[[Page], list[str]]
) -> None:
    """On a phone or at night, nothing may be cut off or too faint to read."""
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width, "height": 800})

    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert contrast(opened) == []


@pytest.fixture
def contrast() -> Callable[[Page], list[str]]:
    """What is fainter than 4.5 to 1, as WCAG 2.2 asks of text (success criterion 1.4.3)."""

    def faint(page: Page) -> list[str]:
        found: list[str] = page.evaluate(
            """() => {
              const light = (rgb) => {
                const [r, g, b] = rgb.map((v) => v / 255)
                  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const parts = (text) => text.match(/[\\d.]+/g).map(Number);
              const back = (node) => {
                for (let at = node; at; at = at.parentElement) {
                  const [r, g, b, a = 1] = parts(getComputedStyle(at).backgroundColor);
                  if (a) return [r, g, b];
                }
                return [255, 255, 255];
              };
              return [...document.querySelectorAll('body *')]
                .filter((node) => [...node.childNodes].some((n) => n.data?.trim()))
                .filter((node) => !node.closest('.away, :disabled, option, noscript, [hidden]'))
                .filter((node) => {
                  const [one, other] = [light(parts(getComputedStyle(node).color).slice(0, 3)),
                    light(back(node))].sort((a, b) => b - a);
                  return (one + 0.05) / (other + 0.05) < 4.5;
                })
                .map((node) => `${node.className} ${node.textContent.slice(0, 30)}`);
            }"""
        )
        return found

    return faint
