"""When another model takes a job over."""

from dataclasses import replace
from typing import Any

import pytest

from lambdas.domain import fallback
from lambdas.domain.breaker import Breaker
from lambdas.domain.fallback import MARGIN_S, ROLLBACK_S, Outlook
from lambdas.domain.job import Job
from lambdas.domain.policy import Policy
from lambdas.domain.retries import retry_delay_s, tries
from tests.domain.api_policy import ANYBODY, TIERS, model, policy
from tests.domain.test_retries import NOW_MS, job

IDLE: dict[str, Any] = {"instances": 1, "in_use": 0, "waiting": {}, "oldest_s": {}}
FULL = IDLE | {"in_use": 6, "waiting": {"batch": 2400}, "oldest_s": {"batch": 600}}
"""Some ten minutes of work."""


def pair(**changes: str) -> Policy:
    """A large model, and a small one that takes over from it."""
    return policy(large=model("large", fallback="small"), small=model("small", **changes))


def test_a_job_whose_attempts_are_used_up_falls_back() -> None:
    """An answer of the smaller model is worth more than none."""
    other = fallback.after_failure(job(model="large", attempt=3), pair(), now_ms=NOW_MS)

    assert other is not None
    assert other.name == "small"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "small"},
        {"model": "gone"},
        {"asked": "larger"},
        {"deadline_ms": NOW_MS},
    ],
    ids=["no-fallback", "model-is-gone", "fell-back-before", "too-late"],
)
def test_a_job_without_another_model_or_time_fails(changes: dict[str, str]) -> None:
    """Its client should read what failed, not wait for what cannot come."""
    failed = job(**{"model": "large", "attempt": 3} | changes)

    assert fallback.after_failure(failed, pair(), now_ms=NOW_MS) is None


@pytest.mark.parametrize("state", ["draining", "off"])
def test_a_model_that_takes_no_new_jobs_takes_none_over(state: str) -> None:
    """An operator who empties a model must not see it fill from another one."""
    failed = job(model="large", attempt=3)

    assert fallback.after_failure(failed, pair(state=state), now_ms=NOW_MS) is None


@pytest.mark.parametrize("moves", [None, 2])
def test_the_attempts_of_the_fallback_model_are_counted_anew(moves: int | None) -> None:
    """It would else have a single one, or none."""
    failed = job(model="large", attempt=5, moves=moves)
    small = pair().models["small"]

    values = fallback.taken_over(failed, small)
    fallen = replace(failed, **values)

    assert (fallen.model, fallen.asked, fallen.wished) == ("small", "large", "large")
    assert (fallen.attempt, tries(fallen)) == (6, 1)
    assert retry_delay_s(replace(fallen, attempt=7), small, now_ms=NOW_MS) is not None
    assert retry_delay_s(replace(fallen, attempt=8), small, now_ms=NOW_MS) is None


# ---- a deadline at risk


def seen(large: dict[str, Any], small: dict[str, Any], **region: Any) -> dict[str, Any]:
    """What beat saw of both models."""
    return {"at_ms": NOW_MS, "models": {"large": large, "small": small}, "tenants": {}} | region


STUCK_S = ROLLBACK_S + model().warm_up_s


def held(seconds: float | None) -> dict[str, Any]:
    """What beat says of a model that is only sent probes for so long."""
    return {} if seconds is None else {"open_ms": NOW_MS - round(1000 * seconds)}


def decided(snapshot: dict[str, Any], deadline_s: float) -> tuple[str, bool]:
    """Which model a new job goes to, and whether it is taken at all."""
    known = pair()
    chosen, decision = fallback.admitted(
        caller=ANYBODY,
        policy=known,
        model=known.models["large"],
        tier="batch",
        snapshot=snapshot,
        deadline_s=deadline_s,
        now_ms=NOW_MS,
    )
    return chosen.name, decision.refusal is None


def test_a_new_job_that_would_start_too_late_goes_to_the_fallback_model() -> None:
    """It would be refused, beside a model that has nothing to do."""
    assert decided(seen(FULL, IDLE), 500) == ("small", True)


@pytest.mark.parametrize(
    ("large", "small", "deadline_s", "taken"),
    [(FULL, IDLE, 900, True), (IDLE, IDLE, 60, True), (FULL, FULL, 500, False)],
    ids=["in-time", "idle", "both-too-late"],
)
def test_a_new_job_stays_with_its_model_when_that_makes_it_or_nobody_does(
    large: dict[str, Any], small: dict[str, Any], deadline_s: float, taken: bool
) -> None:
    """Its client asked for that model, and a refusal should tell of that one's wait."""
    assert decided(seen(large, small), deadline_s) == ("large", taken)


@pytest.mark.parametrize(("seconds", "chosen"), [(STUCK_S - 1, "large"), (STUCK_S, "small")])
def test_a_new_job_does_not_wait_behind_a_model_that_is_stuck(seconds: float, chosen: str) -> None:
    """Sweep would find it a minute later."""
    large = IDLE | held(seconds) | {"unfinished": {"batch": 1}}
    assert decided(seen(large, IDLE), 86_400) == (chosen, True)


@pytest.mark.parametrize(("deadline_s", "chosen"), [(86_400, "large"), (MARGIN_S, "small")])
def test_a_model_that_is_stuck_and_has_no_job_gets_one_that_can_wait(
    deadline_s: float, chosen: str
) -> None:
    """Without jobs that try it, nobody would know when it is well."""
    assert decided(seen(IDLE | held(STUCK_S), IDLE), deadline_s) == (chosen, True)


def test_a_peer_that_makes_it_goes_before_the_fallback_model() -> None:
    """What the client asked for elsewhere is better than something else here."""
    peer = {"state": "serving", "epoch": 1, "sequence": 1, "since_ms": NOW_MS, "seen_ms": NOW_MS}
    peer |= {"at_ms": NOW_MS, "grants": {"large": 3}, "models": {"large": IDLE, "small": IDLE}}

    assert decided(seen(FULL, IDLE, peers={"us-east-2": peer}), 500) == ("large", True)


def test_limits_of_a_tenant_hold_for_the_fallback_model_too() -> None:
    """A tenant over its limit must not get past it by way of a second model."""
    assert decided(seen(FULL, IDLE, tenants={"acme": 100}), 900) == ("large", False)


def risk(
    left_s: float,
    *,
    large: dict[str, Any] = FULL,
    small: dict[str, Any] = IDLE,
    state: str = "live",
    held_s: float | None = None,
    taken: int = 0,
) -> bool:
    """Whether the youngest waiting job goes to the fallback model, so long before its deadline."""
    outlook = Outlook(
        model=model("large", fallback="small", state=state),
        other=model("small"),
        tiers=TIERS,
        snapshot=seen(large | held(held_s), small),
        now_ms=NOW_MS,
    )
    waiting = job(model="large", created_ms=NOW_MS, deadline_ms=NOW_MS + round(1000 * left_s))
    return fallback.at_risk(waiting, outlook, {"batch": taken})


@pytest.mark.parametrize(("left_s", "goes"), [(1, True), (MARGIN_S, True), (MARGIN_S + 1, False)])
def test_a_waiting_job_goes_when_its_deadline_comes_near(left_s: float, goes: bool) -> None:
    """Sooner it may still get what its client asked for; later sweep may be too late."""
    assert risk(left_s) == goes


def test_a_waiting_job_that_will_start_in_time_stays() -> None:
    """Its client asked for that model."""
    assert not risk(100, large=IDLE | {"waiting": {"batch": 40}})


@pytest.mark.parametrize(("taken", "goes"), [(0, True), (300, True), (500, False)])
def test_the_fallback_model_gets_no_more_than_it_starts_in_time(taken: int, goes: bool) -> None:
    """Four jobs a second: more would only expire there."""
    assert risk(100, taken=taken) == goes


@pytest.mark.parametrize(
    ("known", "goes"),
    [
        ({"state": "off"}, True),
        ({"held_s": STUCK_S}, True),
        ({"held_s": STUCK_S - 1}, False),
        ({"large": FULL}, False),
    ],
    ids=["off", "stuck", "just-held", "only-busy"],
)
def test_a_model_that_starts_nothing_is_waited_for_a_while_and_not_for_a_day(
    known: dict[str, Any], goes: bool
) -> None:
    """A rollback takes minutes; a deadline is a day away, and the fallback model idle."""
    assert risk(86_400, **known) == goes


def test_a_model_that_only_gets_probes_starts_nobody_knows_when() -> None:
    """Its queue looks short, and does not move."""
    assert not risk(100, large=IDLE)
    assert risk(100, large=IDLE, held_s=10)


# ---- the way back

BEAT_S, SWEEP_S = 5, 60


@pytest.mark.parametrize("every_s", [1, 10, 60])
def test_a_model_that_is_mended_is_trusted_again_although_it_has_a_fallback(every_s: int) -> None:
    """Nothing is known of a model that gets no job: in a minute, or four jobs, it is trusted."""
    ends_s, mended_s = 3600 + 300, 3600
    breaker, queue = Breaker(bad=12), list[tuple[int, Job]]()
    known, deadline_s, tried = pair(), 86_400, 0
    large = known.models["large"]
    closed_s = None
    snapshot = seen(IDLE, IDLE)
    for second in range(ends_s):
        now_ms = NOW_MS + 1000 * second
        if second % BEAT_S == 0:
            breaker = breaker.at_beat(now_ms=now_ms)
            snapshot = seen(IDLE | {"unfinished": {"batch": len(queue)}}, IDLE) | {"at_ms": now_ms}
            snapshot["models"]["large"]["open_ms"] = breaker.open_ms
            if second > mended_s and not breaker.open:
                closed_s = second
                break
        if second % every_s == 0:
            chosen, _ = fallback.admitted(
                caller=ANYBODY,
                policy=known,
                model=large,
                tier="batch",
                snapshot=snapshot,
                deadline_s=deadline_s,
                now_ms=now_ms,
            )
            if chosen is large:
                deadline_ms = now_ms + 1000 * deadline_s
                queue.append((second, job(model="large", deadline_ms=deadline_ms)))
        if second % SWEEP_S == 0:
            outlook = Outlook(
                model=large,
                other=known.models["small"],
                tiers=TIERS,
                snapshot=snapshot,
                now_ms=now_ms,
            )
            leaving = [each for each in queue if fallback.at_risk(each[1], outlook, {})]
            tries = [each for each in leaving if fallback.tries_it(each[1], outlook, {})][:1]
            queue = [each for each in queue if each not in leaving or each in tries]
        ready = [each for each in queue if each[0] <= second]
        if ready and second % 2 == 0:
            due, one = ready[0]
            queue.remove((due, one))
            tried += second > STUCK_S
            if second >= mended_s:
                breaker = replace(breaker, ok=breaker.ok + 1)
                continue
            breaker = replace(breaker, bad=breaker.bad + 1)
            delay_s = retry_delay_s(one, large, now_ms=now_ms, spared=True)
            assert delay_s is not None
            again = replace(one, attempt=one.attempt + 1, spared=(one.spared or 0) + 1)
            queue.append((second + round(delay_s), again))
    assert closed_s is not None
    assert closed_s - mended_s <= 4 * max(every_s, 15)
    assert tried > 10, "it was tried all the time"
