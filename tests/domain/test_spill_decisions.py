"""Whether a job should wait in another region's queue."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.capacity import Load, predicted_wait_s
from lambdas.domain.regions import DRAINED, PEER_FRESH_S, SERVING
from lambdas.domain.spill import Offer, grant, offers, spilling
from tests.domain.api_policy import TIERS, model, snapshot

NOW_MS = 1_700_000_000_000
BUSY_S = 20.0
"""A wait that misses the interactive target of 5 s and meets the standard one of 60 s."""


def peer(**seen: Any) -> dict[str, Any]:
    """An idle peer that offers ten jobs."""
    jobs = seen.pop("jobs", 10)
    values = {
        "state": SERVING,
        "epoch": 1,
        "sequence": 1,
        "since_ms": NOW_MS,
        "seen_ms": NOW_MS,
        "at_ms": 5,
        "grants": {"embedder": jobs},
    }
    load = {"instances": 1, "in_use": 0, "waiting": {}}
    return values | {k: v for k, v in seen.items() if k in values} | {
        "models": {"embedder": load | {k: v for k, v in seen.items() if k in load}}
    }  # fmt: skip


def offered(
    peers: dict[str, Any],
    *,
    tier: str = "interactive",
    wait_s: float = BUSY_S,
    deadline_s: float = 86_400,
    **here: Any,
) -> tuple[Offer, ...]:
    """The offers that one job of the embedder finds."""
    state = here.pop("state", SERVING)
    seen = snapshot(**here) | {"peers": peers, "lease": {"state": state}}
    return offers(model(), TIERS, tier, seen, wait_s=wait_s, deadline_s=deadline_s, now_ms=NOW_MS)


def regions(found: tuple[Offer, ...]) -> list[str]:
    """Where they would go, the best first."""
    return [offer.region for offer in found]


def test_a_job_stays_while_its_target_is_met_here() -> None:
    """Every job that is sent away costs, and a result that lies elsewhere is lost with it."""
    assert offered({"b": peer()}, wait_s=5) == ()
    assert offered({"b": peer()}, tier="standard") == ()
    assert regions(offered({"b": peer()})) == ["b"]


def test_a_job_goes_where_its_deadline_is_met_however_patient_its_tier_is() -> None:
    """It would be refused here, beside a peer that has nothing to do."""
    assert regions(offered({"b": peer()}, tier="standard", deadline_s=BUSY_S - 1)) == ["b"]


def test_it_goes_where_it_starts_soonest() -> None:
    """Two queues of which one is empty are one too many."""
    found = offered({"b": peer(waiting={"interactive": 20}), "c": peer()})
    assert regions(found) == ["c", "b"]
    assert found[0] == Offer(region="c", wait_s=0.0, jobs=10, at_ms=5)


def test_a_peer_that_is_hardly_better_is_not_worth_the_way() -> None:
    """Two regions that are equally busy would send each other their jobs."""
    assert offered({"b": peer(waiting={"interactive": 70})}) == ()


def test_a_peer_that_offers_nothing_or_is_not_believed_gets_nothing() -> None:
    """What it says may be old, and then its room is gone."""
    silent_ms = NOW_MS - 1000 * PEER_FRESH_S - 1
    none = {
        "b": peer(jobs=0),
        "c": peer(seen_ms=silent_ms),
        "d": peer(state=DRAINED),
        "e": peer() | {"models": {}},
    }
    assert offered(none) == ()


def test_a_drained_region_sends_everything_to_whoever_serves() -> None:
    """Its clients still come for as long as their resolvers remember it."""
    assert regions(offered({"b": peer(jobs=0)}, wait_s=0, state=DRAINED)) == ["b"]
    assert offered({"b": peer(state=DRAINED)}, wait_s=0, state=DRAINED) == ()


def test_a_region_without_instances_sends_its_jobs_where_some_are() -> None:
    """It would be minutes until one is warm."""
    wait_s = predicted_wait_s(model(), TIERS, "standard", Load(instances=0, in_use=0, waiting={}))
    assert regions(offered({"b": peer()}, tier="standard", wait_s=wait_s, instances=0)) == ["b"]


def test_a_region_without_instances_keeps_no_job_however_long_its_target_is() -> None:
    """Batch waits an hour for its target, and for ever where no instance comes back."""
    found = offered({"b": peer()}, tier="batch", instances=0)
    assert regions(found) == ["b"]
    assert offered({"b": peer(instances=0, jobs=0)}, tier="batch", instances=0) == ()


def test_spilling_goes_on_until_the_queue_is_clearly_shorter() -> None:
    """A queue that is just long enough must not be here and there in turn."""
    between = Load(instances=1, in_use=4, waiting={"interactive": 12})
    wait_s = predicted_wait_s(model(), TIERS, "interactive", between)
    assert 2.5 < wait_s < 5
    assert spilling(model(), TIERS, between, []) == []
    assert spilling(model(), TIERS, between, ["interactive"]) == ["interactive"]
    assert offered({"b": peer()}, wait_s=wait_s) == ()
    assert regions(offered({"b": peer()}, wait_s=wait_s, spilling=["interactive"])) == ["b"]


@given(
    instances=st.integers(0, 8),
    in_use=st.integers(0, 40),
    waiting=st.integers(0, 200),
    peers=st.integers(0, 2),
)
def test_together_the_peers_never_send_more_than_there_is_room_for(
    instances: int, in_use: int, waiting: int, peers: int
) -> None:
    """Else a burst moves on from region to region, and everybody waits."""
    load = Load(instances=instances, in_use=in_use, waiting={"standard": waiting})
    jobs = grant(model(), load, peers=peers, seconds=5)
    room = instances * 6 - in_use + instances * 4 * 5 - waiting
    assert 0 <= jobs * peers <= max(0, room)
    assert jobs == 0 or instances > 0


def test_a_model_that_takes_no_jobs_offers_nothing() -> None:
    """A region must not fill the queues of a model that another one drains."""
    idle = Load(instances=1, in_use=0, waiting={})
    assert grant(model(state="draining"), idle, peers=2, seconds=5) == 0
    assert grant(model(), idle, peers=2, seconds=5) == 13
