"""Who serves: a region keeps its lease, and its peers declare it lost when it cannot."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from lambdas.adapters.directory import Directory
from lambdas.adapters.leases import Leases
from lambdas.domain.regions import DRAINED, LEASE_S, LOST, LOST_S, SERVING
from lambdas.handlers.leasing import Leasing, Standing
from tests.handlers.region import HERE, NEXT, Region, aws

BEAT_S = 5


@dataclass
class Probed:
    """A region's functions, which answer or do not."""

    answers: bool
    asked: int = 0

    def ready(self) -> bool:
        """Answer the health route."""
        self.asked += 1
        return self.answers


@dataclass
class Watcher:
    """The beats of one region, as far as they are about leases."""

    leasing: Leasing
    region: Region
    before: dict[str, Any] = field(default_factory=dict)

    def beat(self, seconds: float = BEAT_S) -> Standing:
        """Let the time of a beat pass, and beat."""
        self.region.sleep(seconds)
        standing = self.leasing.once(self.before, now_ms=int(1000 * self.region.now_s))
        self.before = {"lease": standing.lease, "peers": standing.peers}
        return standing


@pytest.fixture
def probed() -> Probed:
    """The peer's functions."""
    return Probed(answers=False)


@pytest.fixture
def watchers(region: Region, probed: Probed) -> tuple[Watcher, Watcher]:
    """Two regions that have beaten once."""

    def watcher(name: str) -> Watcher:
        leasing: Any = Leasing(
            region=name,
            policy=region.policy,
            leases=Leases(aws("dynamodb"), region.names.ledger),
            directory=Directory(aws("dynamodb"), region.names.directory),
            functions_in=lambda _: probed,  # type: ignore[arg-type, return-value]
        )
        return Watcher(leasing, region)

    here, there = watcher(HERE), watcher(NEXT)
    for each in (here, there):
        each.beat()
    return here, there


def state(region: Region, name: str) -> str:
    """A region's state in the ledger."""
    return Leases(aws("dynamodb"), region.names.ledger).read([name])[name].state


def test_a_lease_is_renewed_and_counts_from_the_start_of_the_beat(
    watchers: tuple[Watcher, Watcher],
) -> None:
    """Time that the write took is time in which peers already count."""
    here, _ = watchers
    first, second = here.beat().lease, here.beat().lease
    assert (first["epoch"], second["epoch"]) == (1, 1)
    assert second["until_ms"] == 1000 * (here.region.now_s + LEASE_S)


def test_a_region_that_falls_silent_is_lost_within_forty_seconds(
    watchers: tuple[Watcher, Watcher], probed: Probed
) -> None:
    """A beat before it died, the silence, and a beat until somebody looks."""
    here, there = watchers
    here.beat()
    died_s = here.region.now_s
    while there.beat().peers[HERE]["state"] != LOST:
        assert here.region.now_s - died_s <= LOST_S + 2 * BEAT_S
    assert here.region.now_s - died_s >= LEASE_S
    assert state(here.region, HERE) == LOST
    assert probed.asked == 1


def test_a_region_that_answers_is_not_lost(
    watchers: tuple[Watcher, Watcher], probed: Probed
) -> None:
    """Its lease may merely not reach the one that watches."""
    here, there = watchers
    probed.answers = True
    for _ in range(20):
        there.beat()
    assert probed.asked
    assert state(here.region, HERE) == SERVING


def test_one_renewal_in_time_is_enough(watchers: tuple[Watcher, Watcher]) -> None:
    """Slow is not dead."""
    here, there = watchers
    for _ in range(12):
        there.beat()
        there.beat()
        here.beat(BEAT_S)
    assert state(here.region, HERE) == SERVING
    assert here.beat().lease["epoch"] == 1


def test_a_lost_region_wins_a_new_epoch_when_it_is_back(
    watchers: tuple[Watcher, Watcher],
) -> None:
    """Nobody else has to bring it back; what it held in the old epoch is not its own."""
    here, there = watchers
    for _ in range(8):
        there.beat()
    assert state(here.region, HERE) == LOST
    back = here.beat()
    assert (back.lease["state"], back.verdict) == (SERVING, "")
    assert back.lease["epoch"] == 3  # one for the loss, one for the return
    assert there.beat().peers[HERE]["state"] == SERVING


def test_a_renewal_that_meets_a_new_epoch_is_refused(
    watchers: tuple[Watcher, Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and renewing its lease a region may be declared lost."""
    here, _ = watchers
    leases = Leases(aws("dynamodb"), here.region.names.ledger)
    stale = leases.read([HERE])
    assert leases.lose(stale[HERE])
    monkeypatch.setattr(Leases, "read", lambda *_: stale)
    refused = here.beat()
    assert (refused.lease, refused.verdict) == ({}, "no lease")


def test_a_drained_region_keeps_its_lease_and_gets_no_clients(
    watchers: tuple[Watcher, Watcher],
) -> None:
    """It still ends what it runs, and is nobody's to take over."""
    here, there = watchers
    aws("dynamodb").update_item(
        TableName=here.region.names.ledger,
        Key={"pk": {"S": f"region#{HERE}"}},
        UpdateExpression="SET #state = :drained",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":drained": {"S": DRAINED}},
    )
    standing = here.beat()
    assert (standing.verdict, standing.lease["state"]) == (DRAINED, DRAINED)
    for _ in range(8):
        there.beat()
    assert state(here.region, HERE) == LOST
    assert here.beat().verdict == DRAINED


def test_a_region_without_the_ledger_keeps_only_what_is_left_of_its_lease(
    watchers: tuple[Watcher, Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not serve longer for not being able to ask."""
    here, _ = watchers
    until_ms = here.beat().lease["until_ms"]

    def unreachable(*_: Any) -> Any:
        return aws("dynamodb").get_item(TableName="away", Key={"pk": {"S": "x"}})

    monkeypatch.setattr(Leases, "read", unreachable)
    standing = here.beat()
    assert standing.lease["until_ms"] == until_ms
    assert standing.verdict
