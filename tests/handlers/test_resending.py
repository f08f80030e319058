"""Messages that were lost: nobody else would find their jobs until the deadline."""

from types import SimpleNamespace

import pytest

from lambdas.handlers import resending, sweep
from lambdas.handlers.resending import WAITED_S
from tests.handlers.region import HERE, MODEL, Region, aws


@pytest.fixture(autouse=True)
def dead_letters(region: Region) -> None:
    """Sweep looks into them first."""
    region.create_dead_letters()


def lose(region: Region, tier: str = "standard") -> None:
    """Lose all messages of a tier."""
    url = region.names.queue_url(HERE, region.names.tier_queue(MODEL, tier))
    aws("sqs").purge_queue(QueueUrl=url)


def resent(region: Region) -> int:
    """How many messages one run sends again."""
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    return int(region.handler(sweep)({}, context)["resent"])


def attempts(region: Region, tier: str = "standard") -> list[tuple[str, int]]:
    """Job and attempt of the messages of a tier."""
    return sorted((each["job"], each["attempt"]) for each in region.messages(tier=tier))


def test_a_job_whose_message_was_lost_gets_another_one(region: Region) -> None:
    """Its client would read `queued` until the deadline, a day later."""
    jobs = sorted(region.submitted(f"text {n}") for n in range(12))
    lose(region)
    region.sleep(WAITED_S)

    assert resent(region) == 12
    assert attempts(region) == [(job, 1) for job in jobs]


def test_a_message_that_is_there_is_not_sent_again(region: Region) -> None:
    """Also while somebody holds it: a job that waits for its model would get one every minute."""
    job = region.submitted()
    region.sleep(WAITED_S)

    assert resent(region) == 0
    assert attempts(region) == [(job, 1)]  # hidden from now on
    assert resent(region) == 0


def test_a_job_that_has_just_come_is_left_alone(region: Region) -> None:
    """SQS's counts are right after a minute or so."""
    region.submitted()
    lose(region)
    region.sleep(WAITED_S - 1)

    assert resent(region) == 0


def test_only_tiers_whose_queue_is_empty_are_looked_at(region: Region) -> None:
    """Of many messages nobody can say which one is missing."""
    job = region.submitted(tier="batch")
    region.submitted()
    lose(region, "batch")
    region.sleep(WAITED_S)

    assert resent(region) == 1
    assert attempts(region, "batch") == [(job, 1)]


def test_jobs_at_work_need_no_message(region: Region) -> None:
    """Their lease is what finds them."""
    region.start(region.submitted())
    lose(region)
    region.configure(invocation_timeout_s=3600)
    region.sleep(WAITED_S)

    assert resent(region) == 0


def test_a_run_sends_a_bounded_number(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purged queue of a hundred thousand jobs must not keep sweep from its other repairs."""
    monkeypatch.setattr(resending, "RESENT_MAX", 3)
    for number in range(5):
        region.submitted(f"text {number}")
    lose(region)
    region.sleep(WAITED_S)

    assert resent(region) == 3


def test_a_lone_look_costs_one_call(region: Region) -> None:
    """It is made every minute, for every model and tier with long waits."""
    region.submitted()
    region.sleep(WAITED_S)
    region.calls.clear()

    resent(region)

    assert region.operations().count("GetQueueAttributes") == 1
