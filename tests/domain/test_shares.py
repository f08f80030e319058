"""Which version answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain import capacity
from lambdas.domain.shares import (
    Plan,
    choose_version,
    shares_in_service,
    shares_of_attempt,
    slots_in_service,
)
from tests.domain.api_policy import model

MODEL = model()
VERSIONS = ("v1", "v2", "v3")
CANARY = {"v1": 0.9, "v2": 0.1}
fleets = st.dictionaries(st.sampled_from(VERSIONS), st.integers(0, 9))
trials = st.sampled_from([None, "v2"])
plans = st.floats(0, 1).map(lambda share: {"v1": 1 - share, "v2": share, "v3": 0.0})


def test_versions_get_their_shares() -> None:
    """A canary of a tenth must not be a half."""
    chosen = [choose_version(CANARY, f"job_{n}", 1) for n in range(5000)]
    assert 0.085 <= chosen.count("v2") / len(chosen) <= 0.115


def test_the_same_attempt_always_gets_the_same_version() -> None:
    """A message that is delivered again must not run on another version."""
    assert len({choose_version({"a": 0.5, "b": 0.5}, "job_x", 2) for _ in range(50)}) == 1


def test_a_version_without_a_share_gets_nothing() -> None:
    """A version that was taken back must not answer a single job."""
    assert {choose_version({"v1": 1.0, "v2": 0.0}, f"job_{n}", 1) for n in range(200)} == {"v1"}
    with pytest.raises(ValueError, match="no version"):
        choose_version({"v1": 0.0}, "job_x", 1)


def test_jobs_go_on_running_on_what_serves() -> None:
    """A new version has its share before it has an endpoint: nobody should wait for that."""
    shares = {"v1": 0.0, "v2": 1.0}
    assert shares_in_service(shares, {"v1": 2}, on_trial="v2") == {"v1": 1.0}
    assert shares_in_service(CANARY, {"v1": 1}, on_trial="v2") == {"v1": 1.0}
    assert shares_in_service(CANARY, {"v1": 0, "v2": 1}, on_trial="v2") == {"v2": 1.0}


def test_a_version_gets_no_more_than_its_instances_can_carry() -> None:
    """The whole load on the first new instance of six would be an outage."""
    for trial in ("v2", None):
        shares = shares_in_service({"v1": 0.0, "v2": 1.0}, {"v1": 5, "v2": 1}, on_trial=trial)
        assert shares == pytest.approx({"v1": 5 / 6, "v2": 1 / 6})


def test_a_version_gets_all_its_share_while_its_instances_can_carry_it() -> None:
    """The old instances stay for a while: a release must not leave half of the jobs to them."""
    full, both = {"v1": 0.0, "v2": 1.0}, {"v1": 1, "v2": 1}
    assert shares_in_service(full, both, busy=0.5) == {"v1": 0.0, "v2": 1.0}
    assert shares_in_service(full, both, busy=0.8)["v2"] == pytest.approx(0.625)
    assert shares_in_service(full, both, busy=1.0)["v2"] == pytest.approx(0.5)


def test_a_version_on_trial_gets_no_more_than_its_share() -> None:
    """It is given a tenth because it may be bad, however many instances it has."""
    assert shares_in_service(CANARY, {"v1": 1, "v2": 4}, on_trial="v2") == pytest.approx(CANARY)
    few = shares_in_service(CANARY, {"v1": 19, "v2": 1}, on_trial="v2")
    assert few == pytest.approx({"v1": 0.95, "v2": 0.05})


def test_a_version_that_is_not_named_gets_nothing_even_if_nothing_else_serves() -> None:
    """It is in quarantine: jobs wait until the other one has warmed up."""
    assert shares_in_service({"v1": 1.0}, {"v2": 3}) == {}
    assert shares_of_attempt({"v1": 1.0}, {"v2": 3}, 1) == {}


def test_further_attempts_stay_away_from_a_version_on_trial() -> None:
    """What failed a job once should not have it again."""
    shares = {"v1": 0.0, "v2": 1.0}
    both = {"v1": 1, "v2": 3}
    assert shares_of_attempt(CANARY, both, 2, on_trial="v2") == {"v1": pytest.approx(0.9)}
    assert shares_of_attempt(shares, {"v1": 1, "v2": 3}, 2, on_trial="v2").keys() == {"v1"}
    assert shares_of_attempt(shares, {"v2": 3}, 2, on_trial="v2") == {"v2": 1.0}


def test_without_news_of_instances_the_plan_is_what_there_is() -> None:
    """A trickle goes on while beat is down; it must not go to a stand-in that idles at zero."""
    assert shares_of_attempt({"v1": 0.0, "v2": 1.0}, None, 1) == {"v2": 1.0}


@given(plans, fleets, trials, st.floats(0, 1))
def test_shares_are_whole(
    planned: dict[str, float], instances: dict[str, int], trial: str | None, busy: float
) -> None:
    """A job that no version gets is never started; who does not serve gets none."""
    shares = shares_in_service(planned, instances, on_trial=trial, busy=busy)
    serving = {name for name in planned if instances.get(name)}
    assert shares.keys() == serving
    assert all(share >= -1e-9 for share in shares.values())
    if serving:
        assert sum(shares.values()) == pytest.approx(1)
    if serving - {trial} and trial in serving:
        assert shares[trial] <= planned[trial] + 1e-9


def test_a_canary_adds_no_slots_that_the_others_would_have_to_carry() -> None:
    """SageMaker's own queue knows no priority: it is kept shallow at every version."""
    plan = Plan(shares={"batch": CANARY, "interactive": {"v1": 1.0}}, on_trial="v2")
    alone = capacity.slots(MODEL, 9)
    assert slots_in_service(MODEL, plan, {"v1": 9, "v2": 9}) <= alone / 0.9 + 1
    assert slots_in_service(MODEL, plan, {"v1": 9, "v2": 9}) > alone


def test_slots_count_who_may_get_jobs() -> None:
    """A version in quarantine offers no room; the one on trial does where it is alone."""
    smoke = Plan(shares={"batch": {"v1": 1.0}}, on_trial="v2")
    full = Plan(shares={"batch": {"v1": 0.0, "v2": 1.0}}, on_trial="v2")
    assert slots_in_service(MODEL, smoke, {"v3": 4}) == 0
    assert slots_in_service(MODEL, smoke, {"v2": 1}) == capacity.slots(MODEL, 1)
    assert slots_in_service(MODEL, smoke, {"v1": 2, "v2": 1}) == capacity.slots(MODEL, 2)
    assert slots_in_service(MODEL, full, {"v1": 2, "v2": 1}) == capacity.slots(MODEL, 3)
    assert slots_in_service(MODEL, Plan(), {"v1": 2}) == 0
