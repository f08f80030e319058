"""Repairs of what was left behind."""

import json
from dataclasses import replace
from types import SimpleNamespace

from lambdas.domain.job import Status
from lambdas.handlers import sweep
from tests.handlers.region import HERE, MODEL, Region, aws


def repair(region: Region) -> None:
    """Let sweep run once."""
    region.handler(sweep)({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))


def live(region: Region) -> list[str]:
    """Jobs that have not ended."""
    return [job.id for page in region.ledger.live(HERE, MODEL) for job in page]


def test_a_dead_letter_goes_on_to_the_version_that_it_names(region: Region) -> None:
    """A smoke job without its version would judge the live one, and end the step for nothing."""
    region.create_dead_letters()
    job, other = region.submitted(), region.submitted()
    region.messages()
    dead = region.names.queue_url(HERE, region.names.tier_dead_letters(MODEL, "standard"))
    for name, pinned in ((job, {"version": "v2"}), (other, {})):
        body = json.dumps({"format": 1, "job": name, "attempt": 1, **pinned})
        aws("sqs").send_message(QueueUrl=dead, MessageBody=body, MessageGroupId="acme")

    repair(region)

    again = {message["job"]: message.get("version") for message in region.messages()}
    assert again == {job: "v2", other: None}


def test_a_model_that_is_put_back_ends_the_jobs_that_its_removal_left(region: Region) -> None:
    """The runbook says so to whoever took a model out of the configuration too early."""
    region.create_dead_letters()
    waiting, running = (region.submitted(deadline_s=120) for _ in range(2))
    region.start(running)
    whole = region.policy
    region.write(replace(whole, models={"chat": whole.models["chat"]}))
    region.sleep(120)
    repair(region)
    assert set(live(region)) == {waiting, running}

    region.write(whole)
    region.configure(state="off")
    repair(region)

    assert live(region) == []
    assert region.job(waiting).status is Status.EXPIRED
    assert region.job(running).status is Status.FAILED
