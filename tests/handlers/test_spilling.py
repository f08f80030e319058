"""Jobs that are handed in here and wait elsewhere."""

from collections import Counter
from typing import Any

import pytest

from lambdas.adapters.gate import Gate
from lambdas.domain.regions import DRAINED, SERVING
from tests.handlers.region import HERE, LEASE, MODEL, NEXT, THIRD, Region, aws, error

PEERS = (NEXT, THIRD)
BUSY: dict[str, Any] = {"in_use": 4, "waiting": {"interactive": 50_000}}


def peer(region: Region) -> dict[str, Any]:
    """What beat saw of an idle peer that takes three jobs."""
    at_ms = int(1000 * region.now_s)
    seen = {"state": SERVING, "epoch": 1, "sequence": 1, "since_ms": at_ms, "seen_ms": at_ms}
    idle = {"instances": 1, "in_use": 0, "waiting": {}}
    return seen | {"at_ms": at_ms, "grants": {MODEL: 3}, "models": {MODEL: idle}}


def see(region: Region, *, state: str = SERVING) -> None:
    """Let this region be busy, or drained, beside its peers."""
    offers = {each: peer(region) for each in PEERS}
    region.see(**BUSY, lease=LEASE | {"state": state}, peers=offers)


def owners(region: Region, jobs: int) -> Counter[str]:
    """Where so many new jobs wait."""
    return Counter(
        region.job(region.submitted(f"text {n}", tier="interactive")).owner for n in range(jobs)
    )


def test_a_peer_gets_no_more_jobs_than_it_offered_to_take(region: Region) -> None:
    """It counts on that: room that two regions fill is a queue that nobody wanted."""
    see(region)
    assert owners(region, 8) == {NEXT: 3, THIRD: 3, HERE: 2}


def test_a_new_offer_counts_anew(region: Region) -> None:
    """Else a region that was busy once would never get rid of a job again."""
    see(region)
    owners(region, 6)
    region.sleep(5)
    see(region)
    assert owners(region, 6) == {NEXT: 3, THIRD: 3}


def test_an_offer_is_used_up_once_whoever_asks(region: Region) -> None:
    """Submissions run at the same time as each other."""
    gate = Gate(aws("dynamodb"), region.names.gate)
    taken = [gate.take_credit(NEXT, MODEL, offered_ms=1, limit=2) for _ in range(4)]
    assert taken == [True, True, False, False]
    assert gate.take_credit(NEXT, MODEL, offered_ms=2, limit=2)
    assert gate.take_credit(THIRD, MODEL, offered_ms=1, limit=2)


@pytest.mark.parametrize("state", [SERVING, DRAINED])
def test_a_peer_that_is_gone_does_not_keep_jobs_from_the_next(region: Region, state: str) -> None:
    """It is believed for twenty seconds more, and looks the idlest of all."""
    see(region, state=state)

    def gone() -> None:
        if NEXT in region.calls[-1][1]["QueueUrl"]:
            raise error("ServiceUnavailable", "SendMessage")

    region.faults = {"SendMessage": gone}
    assert owners(region, 2) == {THIRD: 2}


def test_a_drained_region_spreads_its_jobs_also_beyond_what_was_offered(region: Region) -> None:
    """It must send away everything, for as long as clients still come."""
    see(region, state=DRAINED)
    found = owners(region, 40)
    assert found.total() == 40
    assert HERE not in found
    assert min(found[NEXT], found[THIRD]) > 10
