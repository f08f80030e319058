"""The console of the real local service, in a browser: what it shows, and what its buttons do.

The release is seen to begin, to get its share after its smoke job, and to be taken back: by the
operator's command, unless a guard was faster, which takes it half a minute of the wall clock. That
guards do it is shown on the virtual one in tests/end_to_end/test_guards.py.
"""

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from spillway.assembly import synthesize
from spillway.releases import Records, TakeBack
from spillway.replay.bad_version import wanting
from spillway.service import LocalService

CONFIG = Path(__file__).with_name("console.yaml")
SCREENSHOT = "SPILLWAY_SCREENSHOT"
"""Where the picture for the README goes, if somebody wants one: docs/console.png."""
JOBS = 160 if os.environ.get(SCREENSHOT) else 40
LOOKS_MAX = 30
LOOK_MS = 1000

expect.set_options(timeout=40_000)


@pytest.fixture(scope="module")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """The service, and the templates of the release on their way: nobody waits for them here."""
    changed = wanting(CONFIG, "chat", "v2", tmp_path_factory.mktemp("changed"))
    assembly = synthesize(CONFIG)
    with ThreadPoolExecutor(1) as aside:
        templates = aside.submit(synthesize, changed)
        with LocalService(CONFIG, assembly=assembly) as service:
            yield service
            templates.result()


def card(page: Page, region: str) -> Locator:
    """What is shown of a region."""
    return page.locator("#regions article").filter(has=page.get_by_role("heading", name=region))


def decide(service: LocalService, region: str) -> None:
    """Let a region decide about releases now; its schedule would within a minute."""
    session: Any = boto3.Session("local", "local")
    client = session.client("lambda", region_name=region, endpoint_url=service.aws_url)
    client.invoke(
        FunctionName=service.deployment.names.function("release"),
        InvocationType="Event",
        Payload=b"{}",
    )


def take_back(service: LocalService) -> None:
    """Take the version back as `spillway release rollback` does, if no guard was faster."""
    deployment = service.deployment
    session: Any = boto3.Session("local", "local")
    client = session.client(
        "dynamodb", region_name=deployment.primary_region, endpoint_url=service.aws_url
    )
    back = TakeBack(
        deployment.policy().models["chat"],
        "v2",
        "an operator took it back",
        int(1000 * time.time()),
    )
    Records(client, deployment.names.ledger, time.sleep).change("chat", back)


def test_everything_is_seen_and_done(page: Page, service: LocalService) -> None:
    """Whoever meets Spillway first looks here: a dead button ends the acquaintance."""
    first, second, third = service.deployment.regions
    page.goto(service.console_url)
    sees_the_deployment(page, service)
    submits(page, first)
    releases_a_bad_version(page, service)
    bursts(page, second)
    kills(page, second)
    picture(page)
    submits(page, third)
    restores(page, second)
    take_back(service)
    chat = page.locator("#releases article")
    expect(chat).to_contain_text("v1 live, v2 taken back")
    expect(chat).to_contain_text(re.compile("an operator took it back|guard failures"))
    expect(chat).to_contain_text("spillway release clear chat v2")
    expect(chat.get_by_role("button")).to_be_disabled()


def sees_the_deployment(page: Page, service: LocalService) -> None:
    """Regions, their fleets, alarms, and that it is live."""
    expect(page.get_by_role("heading", name="spillway-console")).to_be_visible()
    expect(page.locator("#connection")).to_contain_text("live")
    for region in service.deployment.regions:
        expect(card(page, region).locator("[data-part=state]")).to_have_text("serving")
        expect(card(page, region)).to_contain_text("instances v1: 1, v2: 1")
        expect(card(page, region).locator("[data-part=slots-value]")).to_contain_text("0 / ")
    expect(page.locator("#alarms-count")).to_contain_text("quiet")
    expect(page.locator("#jobs-none")).to_be_visible()


def submits(page: Page, region: str) -> None:
    """A job, which comes to its end in the list."""
    page.get_by_role("combobox", name="Region").select_option(region)
    page.get_by_role("button", name="Submit a job").click()
    expect(page.locator("#notice")).to_contain_text(f"is accepted in {region}")
    row = page.locator("#jobs tr").filter(has_text=region).filter(has_text="interactive")
    expect(row.filter(has_text="completed").first).to_be_visible()


def releases_a_bad_version(page: Page, service: LocalService) -> None:
    """From the button to a share of the jobs."""
    chat, first = page.locator("#releases article"), service.deployment.regions[0]
    decide(service, first)
    expect(chat).to_contain_text("v1 live")
    chat.get_by_role("button", name="Release a bad version (v2)").click()
    expect(page.locator("#notice")).to_contain_text("v2 of chat, which fails every third job")
    expect(chat).to_contain_text("v2 is deployed")
    for _ in range(LOOKS_MAX):
        decide(service, first)
        page.wait_for_timeout(LOOK_MS)
        if "v2 50 %" in chat.inner_text():
            break
    expect(chat).to_contain_text("v2 on trial")
    expect(chat).to_contain_text("batch: v1 50 %, v2 50 %")


def bursts(page: Page, region: str) -> None:
    """Many jobs at once."""
    page.get_by_role("combobox", name="Region").select_option(region)
    page.get_by_role("spinbutton", name="Jobs").fill(str(JOBS))
    page.get_by_role("button", name="Send a burst").click()
    expect(page.locator("#burst")).to_contain_text(f" of {JOBS} accepted")
    expect(card(page, region).locator("[data-part=seen]")).to_have_text(re.compile(r"^[1-9]"))


def kills(page: Page, region: str) -> None:
    """A region, in the middle of the burst; what it held goes elsewhere."""
    page.get_by_role("button", name=f"Kill {region}").click()
    expect(card(page, region).locator("[data-part=state]")).to_have_text("killed")
    expect(card(page, region)).to_contain_text("its API does not answer")
    expect(page.locator("#burst")).to_contain_text(f"{JOBS} of {JOBS} accepted")


def restores(page: Page, region: str) -> None:
    """The region, which serves again."""
    page.get_by_role("button", name=f"Restore {region}").click()
    expect(card(page, region).locator("[data-part=state]")).not_to_have_text("killed")
    expect(page.get_by_role("button", name=f"Kill {region}")).to_be_enabled()


def picture(page: Page) -> None:
    """For the README, if somebody asks for it; a guard is given the time to take v2 back."""
    if path := os.environ.get(SCREENSHOT):
        expect(page.locator("#alarms")).to_contain_text("chat-v2-failures", timeout=120_000)
        page.screenshot(path=path, full_page=True, animations="disabled")
