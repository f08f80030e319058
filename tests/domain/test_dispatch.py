"""Which tier is served next."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.dispatch import CREDIT_MAX, lowest_share, plan, settle
from lambdas.domain.policy import Tier

TIERS = (
    Tier(name="interactive", target_wait_s=5, share_min=0.5),
    Tier(name="standard", target_wait_s=60, share_min=0.2),
    Tier(name="batch", target_wait_s=3600, share_min=0.1),
)


def serve(waiting: Counter[str], owed: dict[str, float], free: int) -> Counter[str]:
    """One round of dispatch: take as planned, then settle; changes both arguments."""
    started: Counter[str] = Counter()
    empty: set[str] = set()
    left = free
    for pull in plan(free, TIERS, owed):
        asked = min(pull.at_most, left)
        if asked <= 0:
            break
        taken = min(asked, waiting[pull.tier])
        if taken < asked:
            empty.add(pull.tier)
        waiting[pull.tier] -= taken
        started[pull.tier] += taken
        left -= taken
    for tier, change in settle(TIERS, owed, started, empty).items():
        owed[tier] = owed.get(tier, 0.0) + change
    return started


@given(
    backlog=st.fixed_dictionaries({tier.name: st.integers(0, 300) for tier in TIERS}),
    rounds=st.lists(st.integers(1, 10), min_size=1, max_size=60),
)
def test_a_free_slot_never_waits_while_any_tier_has_work(
    backlog: dict[str, int], rounds: list[int]
) -> None:
    """An idle GPU beside a queue is what nobody wants to pay for."""
    waiting, owed = Counter(backlog), dict.fromkeys(backlog, 0.0)
    for free in rounds:
        before = waiting.total()
        started = serve(waiting, owed, free)
        assert started.total() == min(free, before)
        assert all(-1e-9 <= credit <= CREDIT_MAX + 1e-9 for credit in owed.values())


@given(rounds=st.lists(st.integers(1, 10), min_size=20, max_size=120))
def test_every_tier_with_work_gets_its_share(rounds: list[int]) -> None:
    """Whoever pays for batch is promised progress under any load of interactive work."""
    waiting = Counter({tier.name: 100_000 for tier in TIERS})
    owed: dict[str, float] = {}
    started: Counter[str] = Counter()
    for free in rounds:
        started += serve(waiting, owed, free)
    for tier in TIERS:
        # A round is settled after it, so a tier may be behind by what one round earns it, and by
        # the single slots that go to the other tiers which are owed as much.
        behind = 10 * tier.share_min + len(TIERS) - 1
        assert started[tier.name] >= tier.share_min * started.total() - behind


def test_what_is_not_guaranteed_goes_to_the_most_urgent() -> None:
    """Shares are a floor: beyond them interactive work goes first."""
    waiting = Counter({tier.name: 100_000 for tier in TIERS})
    owed: dict[str, float] = {}
    started: Counter[str] = Counter()
    for _ in range(1000):
        started += serve(waiting, owed, 1)
    assert 690 <= started["interactive"] <= 710
    assert 195 <= started["standard"] <= 205
    assert 95 <= started["batch"] <= 105


def test_a_tier_without_work_saves_nothing_up() -> None:
    """After a quiet night batch must not push interactive work aside for an hour."""
    waiting = Counter({"interactive": 500})
    owed: dict[str, float] = {}
    for _ in range(500):
        serve(waiting, owed, 1)
    waiting.update({"interactive": 100, "batch": 100})
    started = sum((serve(waiting, owed, 1) for _ in range(20)), Counter[str]())
    assert started["batch"] <= 3


def test_the_lowest_share_is_that_of_a_tier_that_waits() -> None:
    """Who has nothing to do is not starved, and who gets less than was promised is."""
    starts = {"interactive": 90.0, "standard": 10.0}
    assert lowest_share(TIERS, starts, {"interactive": 5, "standard": 1}) == 0.5
    assert lowest_share(TIERS, starts, {"interactive": 5, "batch": 1}) == 0
    assert lowest_share(TIERS, starts, {"interactive": 5}) == 1.8
    assert lowest_share(TIERS, starts, {}) is None
    assert lowest_share(TIERS, {}, {"batch": 1}) is None
    # All that waits for the first instance is late, and not starved by what started long ago.
    assert lowest_share(TIERS, {"interactive": 0.01}, {"batch": 1}) is None
