"""How versions take over from each other, and how they are taken back."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdas.domain import release as releases
from lambdas.domain.judgement import (
    PAUSED,
    SMOKE_TRIES_MAX,
    Sight,
    Smoke,
    decide,
    judge_smoke,
    may_begin,
    urgent,
)
from lambdas.domain.policy import Model, Package, Releasing, Tier
from lambdas.domain.release import (
    EVENTS_MAX,
    LEAST_URGENT_FIRST,
    STEPS,
    Release,
    Step,
    keeps_minimum,
    needs_warm,
    place,
    planned_shares,
)
from lambdas.domain.shares import Plan, plan
from tests.domain.api_policy import model

REGIONS = ("us-east-1", "us-east-2", "us-west-2")
HERE, NEXT, THIRD = REGIONS
MINUTE_MS = 60_000
BAKING = Releasing(canary_share=0.1, bake_s=300, final_bake_s=900, smoke=("hello",))


def configured(*versions: str, wanted: str = "", **changes: Any) -> Model:
    """A model of some versions, the last of which is wanted."""
    wanted = wanted or versions[-1]
    shares = {name: float(name == wanted) for name in versions}
    return model(versions=shares, **{"release": BAKING, **changes})


OLD, BOTH = configured("v1"), configured("v1", "v2")
STABLE = releases.first(OLD, now_ms=0)


def seen(region: str = HERE, **what: Any) -> Sight:
    """What a region sees when all goes well."""
    well: dict[str, Any] = {"instances": 1, "smoke": Smoke.PASSED, "now_ms": 0}
    return Sight(region=region, regions=REGIONS, **well | what)


def at(region: str, step: Step) -> Release:
    """The release of v2, standing at some step of a region."""
    begun = releases.begin(STABLE, BOTH, REGIONS, now_ms=0)
    return replace(begun, step=REGIONS.index(region) * len(STEPS) + STEPS.index(step))


def shares(release: Release | None, region: str, model: Model = BOTH) -> list[dict[str, float]]:
    """The shares of all tiers, the least urgent first."""
    return [planned_shares(release, model, region, tier) for tier in LEAST_URGENT_FIRST]


def changed(release: Release, sight: Sight, model: Model = BOTH) -> Release:
    """The next record, where there must be one."""
    decided = decide(release, model, sight)
    assert decided is not None
    assert decided.revision == release.revision + 1
    return decided


# ---- a release that goes well


@pytest.mark.parametrize("step", [*STEPS, None])
def test_dispatch_knows_which_version_is_live(step: Step | None) -> None:
    """What a canary is compared with is what is live then, also after others were taken back."""
    tiers = [Tier(name=name, target_wait_s=1, share_min=0) for name in LEAST_URGENT_FIRST]
    release = at(NEXT, step) if step else None
    for region in REGIONS:
        made = plan(release, BOTH, region, tiers)
        assert made.live == ("v1" if release else "v2"), "without a record, what is wanted"
        assert Plan.read(made.document()) == made
        assert plan(release, OLD, region, tiers).live is None, "alone, it is compared with nothing"


def test_a_good_version_is_released_step_by_step_and_region_by_region() -> None:
    """Whoever watches sees batch first, then standard, then everybody, one region at a time."""
    release, now_ms, path = STABLE, 0, []
    while release.live != "v2":
        decided = None
        for region in REGIONS:
            decided = decide(release, BOTH, seen(region, now_ms=now_ms)) or decided
        if decided is not None:
            release = decided
            path.append((now_ms // MINUTE_MS, place(release)))
        now_ms += MINUTE_MS
    minutes = [minute for minute, _ in path]
    steps = [(found.region, found.step) for _, found in path if found is not None]
    assert steps == [(region, step) for region in REGIONS for step in STEPS]
    # Smoke passes at the next tick; three steps of five minutes and one of fifteen follow.
    assert minutes == [31 * n + after for n in range(3) for after in (0, 1, 6, 11, 16)] + [93]
    assert (release.live, release.previous, release.candidate) == ("v2", "v1", None)
    assert [event.what for event in release.events[-1:]] == ["released"]
    assert shares(release, HERE) == [{"v2": 1.0, "v1": 0.0}] * 3


@pytest.mark.parametrize(
    ("step", "batch", "standard", "interactive"),
    [
        (Step.SMOKE, 0, 0, 0),
        (Step.BATCH, 0.1, 0, 0),
        (Step.STANDARD, 0.1, 0.1, 0),
        (Step.ALL, 0.1, 0.1, 0.1),
        (Step.FULL, 1, 1, 1),
    ],
)
def test_urgent_tiers_know_a_version_last(
    step: Step, batch: float, standard: float, interactive: float
) -> None:
    """An interactive client must not be the first to find out that a version is bad."""
    release = at(NEXT, step)
    given = [tier.get("v2", 0) for tier in shares(release, NEXT)]
    assert given == [batch, standard, interactive]
    assert shares(release, HERE) == [{"v1": 0.0, "v2": 1.0}] * 3, "it is through there"
    assert shares(release, THIRD) == [{"v1": 1.0}] * 3, "it is not there yet"


def test_each_region_makes_its_own_steps() -> None:
    """Only who sees the alarms of a region may say that all is well there."""
    release = at(NEXT, Step.BATCH)
    late = MINUTE_MS * 60
    assert decide(release, BOTH, seen(HERE, now_ms=late)) is None
    assert place(changed(release, seen(NEXT, now_ms=late))) == releases.Place(NEXT, Step.STANDARD)


def test_the_first_record_says_what_is_wanted() -> None:
    """A deployment that has never released anything has nothing to compare with."""
    first = releases.first(BOTH, now_ms=7)
    assert (first.live, first.revision, first.candidate) == ("v2", 1, None)
    assert decide(first, BOTH, seen()) is None
    assert shares(None, HERE, OLD) == [{"v1": 1.0}] * 3


def test_a_release_waits_for_an_instance_and_says_so() -> None:
    """Functions are deployed before models: the endpoint comes later, or from zero."""
    waits = changed(at(HERE, Step.SMOKE), seen(instances=0, smoke=Smoke.UNSENT))
    assert waits.waits == f"v2 has no instance in service in {HERE}"
    assert decide(waits, BOTH, seen(instances=0, smoke=Smoke.UNSENT)) is None, "it is known"
    assert changed(waits, seen(smoke=Smoke.UNSENT)).waits == ""
    for step in (Step.BATCH, Step.FULL):
        lost = decide(at(HERE, step), BOTH, seen(instances=0, now_ms=60 * MINUTE_MS))
        assert lost is not None
        assert place(lost) == releases.Place(HERE, step), "what is not there is not judged"


def test_a_region_that_does_not_know_the_version_yet_waits() -> None:
    """Regions are deployed one after the other."""
    release = at(NEXT, Step.SMOKE)
    assert "not deployed" in changed(release, seen(NEXT), OLD).waits
    assert shares(release, NEXT, OLD) == [{"v1": 1.0}] * 3


def test_a_version_is_warmed_where_it_is_its_turn() -> None:
    """Smoke jobs need an instance where no client's job asks for one."""
    release = at(NEXT, Step.SMOKE)
    warm = [region for region in REGIONS if needs_warm(release, BOTH, region, "v2")]
    assert warm == [NEXT]
    assert not needs_warm(release, BOTH, NEXT, "v1")
    assert not needs_warm(None, BOTH, HERE, "v2")
    assert not needs_warm(STABLE, BOTH, HERE, "v1")
    assert not needs_warm(release, OLD, NEXT, "v2")


def test_the_minimum_is_the_live_versions_and_the_next_ones() -> None:
    """After a rollback the version that answers keeps it, and not the one that nobody uses."""

    def keep(release: Release | None) -> list[str]:
        return [version for version in BOTH.versions if keeps_minimum(release, BOTH, version)]

    trial = at(HERE, Step.BATCH)
    back = releases.roll_back(trial, BOTH, "v2", why="bad", now_ms=0)
    assert keep(None) == ["v2"], "as configured"
    assert keep(STABLE) == keep(trial) == ["v1", "v2"]
    assert keep(back) == ["v1"]


# ---- smoke jobs


def test_smoke_jobs_decide_before_any_client_is_served() -> None:
    """An idle fleet has no failures to count."""
    release = at(HERE, Step.SMOKE)
    why = "smoke job 1 of 1 failed, model_error: job_x"
    back = changed(release, seen(smoke=Smoke.FAILED, smoke_why=why))
    assert (back.candidate, dict(back.quarantined)) == (None, {"v2": why})
    assert decide(release, BOTH, seen(smoke=Smoke.RUNNING)) is None
    again = changed(release, seen(smoke=Smoke.VOID, smoke_why="it ran elsewhere", now_ms=9))
    assert (again.since_ms, place(again)) == (9, place(release)), "new jobs, by a new name"
    assert place(changed(release, seen(smoke=Smoke.NONE))) == releases.Place(HERE, Step.BATCH)


def test_smoke_jobs_that_never_run_are_sent_a_few_times() -> None:
    """What could not be tried is not released, and nobody waits for ever to read so.

    While the model only gets probes they may not get their turn, which is not the version's fault;
    what an operator paused begins to be counted anew.
    """
    void = seen(smoke=Smoke.VOID, smoke_why="smoke job 1 of 1 did not run on it: job_x")
    release = at(HERE, Step.SMOKE)
    for _ in range(SMOKE_TRIES_MAX - 1):
        release = changed(release, void)
        assert release.candidate == "v2"
    probing = changed(release, replace(void, open_ms=1))
    assert (probing.candidate, probing.events[-1].what) == ("v2", releases.AGAIN)
    paused = releases.repeat(release, why=PAUSED, now_ms=0)
    assert changed(paused, void).candidate == "v2"
    assert changed(release, void).quarantined["v2"].startswith(void.smoke_why)


def test_nobody_is_judged_by_jobs_that_were_never_sent() -> None:
    """Whoever died before sending them finds them missing."""
    assert judge_smoke([], region=HERE, version="v2") == (Smoke.NONE, "")
    assert judge_smoke([None], region=HERE, version="v2") == (Smoke.UNSENT, "")


# ---- rollbacks


def test_a_firing_guard_takes_the_candidate_back_everywhere() -> None:
    """A bad version must not wait for its next step to be judged."""
    release = at(NEXT, Step.BATCH)
    back = changed(release, seen(HERE, firing={"v2": "failures fires"}))
    assert (back.live, back.candidate, back.previous) == ("v1", None, None)
    assert back.quarantined == {"v2": f"failures fires in {HERE}"}
    assert shares(back, HERE) == [{"v1": 1.0}] * 3
    assert [event.what for event in back.events][-1] == "rolled back"
    assert decide(back, BOTH, seen(now_ms=99 * MINUTE_MS)) is not None, "its reason is noted"
    noted = changed(back, seen())
    assert "quarantine" in noted.waits
    assert decide(noted, BOTH, seen(now_ms=99 * MINUTE_MS)) is None


def test_a_version_that_turns_bad_after_its_release_is_taken_back() -> None:
    """The old one is still configured, at zero: jobs wait while it warms up."""
    live = releases.advance(at(THIRD, Step.FULL), BOTH, now_ms=0)
    back = changed(live, seen(NEXT, firing={"v2": "slow fires"}))
    assert (back.live, back.previous, set(back.quarantined)) == ("v1", None, {"v2"})
    assert shares(back, THIRD) == [{"v1": 1.0}] * 3, "v2 has instances, and gets nothing"
    assert decide(back, OLD, seen(firing={"v1": "failures fires"})) is None, "nothing else answers"


def test_the_version_on_trial_goes_first_and_the_live_one_stays() -> None:
    """Both fail when what they share does, or when one wears the other out."""
    model = configured("v0", "v1", "v2")
    release = replace(at(NEXT, Step.BATCH), previous="v0")
    live, both = {"v1": "slow fires"}, {"v1": "slow fires", "v2": "slow fires"}
    back = changed(release, seen(HERE, firing=both, now_ms=1000), model)
    assert (back.live, back.candidate, set(back.quarantined)) == ("v1", None, {"v2"})

    within = 1000 + 1000 * BAKING.guard_window_s - 1
    for region in (NEXT, THIRD):
        assert decide(back, model, seen(region, firing=both, now_ms=within)) is None
    late = changed(back, seen(THIRD, firing=live, now_ms=within + 1), model)
    assert (late.live, set(late.quarantined)) == ("v0", {"v1", "v2"}), "it was not the candidate"


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("step", list(STEPS))
def test_the_live_version_is_guarded_while_another_is_on_trial(step: Step, paused: bool) -> None:
    """A release may wait for days, and the live version has most of the jobs meanwhile."""
    model, window_ms = configured("v0", "v1", "v2"), 1000 * BAKING.guard_window_s
    release = replace(at(NEXT, step), previous="v0", paused=paused)

    def sight(region: str, now_ms: int) -> Sight:
        return seen(region, firing={"v1": "failures fires"}, now_ms=now_ms)

    if step is not Step.SMOKE:
        assert decide(release, model, sight(NEXT, window_ms - 1)) is None, "it waits for v2's alarm"
    for region, now_ms in ((NEXT, window_ms), (THIRD, 0)):
        back = changed(release, sight(region, now_ms), model)
        assert (back.live, back.candidate) == ("v0", "v2"), "v2 may be the mended one"
        assert set(back.quarantined) == {"v1"}


def test_history_tells_how_many_attempts_judged_each_step() -> None:
    """A release that nobody tried looks like one that everybody tried."""
    release, said = releases.begin(STABLE, BOTH, REGIONS, now_ms=0), []
    for tried in (100, 100, 107, 150):
        release = releases.advance(release, BOTH, tried=tried, now_ms=0)
        said.append((release.events[-1].judged, release.events[-1].why))
    assert said == [
        (None, "judged by 1 smoke job"),
        (0, "no attempt in it: only smoke jobs judged"),
        (7, "judged by 7 attempts, too few for guards"),
        (43, "judged by 43 attempts"),
    ]
    again = releases.repeat(release, why="it was paused", tried=170, now_ms=0)
    onwards = releases.advance(again, BOTH, tried=175, now_ms=0)
    assert onwards.events[-1].judged == 5, "of the step as it was repeated"
    assert Release.read(onwards.document()) == onwards
    careless = configured("v1", "v2", release=replace(BAKING, smoke=()))
    for why in ("judged by no smoke job", "nothing judged it"):
        release = releases.advance(
            replace(release, step=len(STEPS) + (why[0] == "n")), careless, now_ms=0
        )
        assert release.events[-1].why == why
    last = releases.advance(at(THIRD, Step.FULL), BOTH, tried=30, now_ms=0).events[-1]
    assert (last.what, last.judged) == ("released", 30)


def test_a_candidate_that_no_client_has_met_protects_nobody() -> None:
    """It may wait for its approval for days, while the live version turns bad."""
    release = replace(at(HERE, Step.SMOKE), previous="v0")
    model = configured("v0", "v1", "v2")
    back = changed(release, seen(THIRD, firing={"v1": "slow fires"}), model)
    assert (back.live, back.candidate) == ("v0", "v2")


def test_a_fix_goes_on_when_the_live_version_is_taken_back() -> None:
    """v3 is being released because v2 is bad."""
    model = configured("v1", "v2", "v3")
    live = replace(STABLE, live="v2", previous="v1")
    fixing = releases.begin(live, model, REGIONS, now_ms=0)
    back = releases.roll_back(fixing, model, "v2", why="bad", now_ms=1)
    assert back is not None
    assert (back.live, back.candidate) == ("v1", "v3")
    going_back = releases.begin(live, configured("v1", "v2", wanted="v1"), REGIONS, now_ms=0)
    there = releases.roll_back(going_back, BOTH, "v2", why="bad", now_ms=1)
    assert there is not None
    assert (there.live, there.candidate) == ("v1", None), "it is there at once"


def test_an_old_alarm_does_not_end_a_second_try() -> None:
    """A version that was cleared gets no jobs until its alarms are quiet, and is judged anew."""
    release = at(HERE, Step.SMOKE)
    held = changed(release, seen(firing={"v2": "failures fires"}))
    assert (held.candidate, held.waits) == ("v2", f"failures fires in {HERE}")
    assert changed(held, seen()).candidate == "v2"
    elsewhere = changed(at(NEXT, Step.SMOKE), seen(HERE, firing={"v2": "failures fires"}))
    assert elsewhere.candidate is None, "jobs of clients run on it there"


@pytest.mark.parametrize("step", [Step.SMOKE, Step.BATCH, Step.FULL])
def test_an_old_alarm_of_a_region_still_to_come_does_not_undo_a_clear(step: Step) -> None:
    """It fired there at the first try, which had come further; nothing runs on it there now."""
    release = at(NEXT, step)
    stale = seen(THIRD, firing={"v2": "failures fires"})
    assert decide(release, BOTH, stale) is None
    assert changed(release, replace(stale, region=HERE)).candidate is None, "it serves there"
    held = changed(at(THIRD, Step.SMOKE), stale)
    assert (held.candidate, held.waits) == ("v2", f"failures fires in {THIRD}")


def test_a_version_in_quarantine_is_released_again_when_it_is_cleared() -> None:
    """The model was fine, and the data base that it asks was not."""
    back = releases.roll_back(at(HERE, Step.BATCH), BOTH, "v2", why="bad", now_ms=1)
    assert back is not None
    assert not may_begin(back, BOTH, seen())
    cleared = releases.clear(back, "v2", now_ms=2)
    assert cleared is not None
    assert may_begin(cleared, BOTH, seen())
    assert changed(cleared, seen()).candidate == "v2"
    assert releases.clear(cleared, "v2", now_ms=3) is None


def test_if_every_version_is_bad_jobs_wait() -> None:
    """An answer that nobody wants costs a GPU and a client's patience."""
    release = replace(STABLE, quarantined={"v1": "bad", "v2": "bad"})
    assert shares(release, HERE) == [{}] * 3


# ---- operators and configurations


def test_only_approved_packages_are_released() -> None:
    """Somebody has to answer for what clients get."""
    waits = changed(STABLE, seen(unapproved="v2 is PendingManualApproval"))
    assert (waits.candidate, waits.waits) == (None, "v2 is PendingManualApproval")
    assert changed(waits, seen()).candidate == "v2"
    there = changed(at(NEXT, Step.SMOKE), seen(NEXT, unapproved="v2 is Rejected"))
    assert (there.waits, place(there)) == ("v2 is Rejected", releases.Place(NEXT, Step.SMOKE))


def test_a_paused_release_still_goes_back() -> None:
    """Pausing is for looking closer, not for going on with what is broken."""
    paused = releases.pause(at(HERE, Step.BATCH), now_ms=1)
    assert paused is not None
    assert releases.pause(paused, now_ms=2) is None
    assert decide(paused, BOTH, seen(now_ms=99 * MINUTE_MS)) is None
    assert decide(paused, OLD, seen(now_ms=99 * MINUTE_MS)) is None
    assert changed(paused, seen(firing={"v2": "failures fires"})).candidate is None


@pytest.mark.parametrize("step", [Step.SMOKE, Step.BATCH])
def test_a_resumed_step_begins_anew_by_the_clock_of_its_region(step: Step) -> None:
    """An operator's clock may be days off: the step would end at once, or never."""
    release = at(NEXT, step)
    paused = releases.pause(release, now_ms=1)
    assert paused is not None
    resumed = releases.resume(paused, now_ms=10**15)
    assert resumed is not None
    assert releases.resume(resumed, now_ms=4) is None
    assert (resumed.since_ms, resumed.anew) == (release.since_ms, True)
    late = 60 * MINUTE_MS
    assert decide(resumed, BOTH, seen(HERE, now_ms=late)) is None, "it is not its turn"
    begun = changed(resumed, seen(NEXT, smoke=Smoke.FAILED, now_ms=late))
    assert (begun.since_ms, begun.anew, place(begun)) == (late, False, place(release))
    assert changed(resumed, seen(firing={"v2": "slow fires"})).anew is False, (
        "nothing is left of it"
    )
    promoted = releases.promote(resumed, now_ms=5)
    assert (promoted is None) == (step is Step.SMOKE)
    assert promoted is None or not promoted.anew, "whoever is sure waits for no clock"


def test_a_promoted_step_ends_at_once_if_all_is_well() -> None:
    """Whoever is sure need not wait; what an alarm says still counts."""
    promoted = releases.promote(at(HERE, Step.BATCH), now_ms=1)
    assert promoted is not None
    assert releases.promote(promoted, now_ms=2) is None
    further = changed(promoted, seen(now_ms=3))
    assert (place(further), further.promoted) == (releases.Place(HERE, Step.STANDARD), False)
    assert changed(promoted, seen(firing={"v2": "slow fires"})).candidate is None
    assert releases.promote(at(HERE, Step.SMOKE), now_ms=1) is None, "smoke jobs are not waited for"
    assert releases.promote(STABLE, now_ms=1) is None


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.FULL])
def test_no_step_ends_while_most_attempts_fail(step: Step) -> None:
    """Nobody knows which version fails; an operator who releases a mended one goes on."""
    release, late_ms = at(NEXT, step), 1000 * 86_400
    sight = seen(NEXT, open_ms=5, smoke=Smoke.NONE, now_ms=late_ms)

    waits = changed(release, sight)
    assert (waits.step, waits.waits) == (release.step, f"most attempts fail in {NEXT}")
    assert changed(replace(release, promoted=True), sight).step == release.step + 1


def test_a_mended_version_that_answers_its_smoke_jobs_gets_past_them() -> None:
    """Every other version fails, so the breaker stays open until it has some of the jobs."""
    sight = seen(NEXT, open_ms=5, now_ms=10)
    release = at(NEXT, Step.SMOKE)

    assert changed(release, replace(sight, smoke=Smoke.RUNNING)).step == release.step
    assert changed(release, replace(sight, smoke=Smoke.PASSED)).step == release.step + 1


def test_a_candidate_that_everything_runs_on_goes_back_when_most_attempts_fail() -> None:
    """What failed before was not only its own."""
    release = replace(at(NEXT, Step.FULL), since_ms=10)

    back = changed(release, seen(NEXT, open_ms=11, now_ms=12))
    assert (back.candidate, dict(back.quarantined)) == (
        None,
        {"v2": f"most attempts fail in {NEXT}"},
    )
    before = changed(release, seen(NEXT, open_ms=9, now_ms=12))
    assert (before.candidate, before.waits) == ("v2", f"most attempts fail in {NEXT}")


def test_the_release_follows_what_is_wanted() -> None:
    """An operator changes the configuration in the middle of a release."""
    back = configured("v1", "v2", wanted="v1")
    dropped = changed(at(HERE, Step.ALL), seen(), back)
    assert (dropped.live, dropped.candidate, dict(dropped.quarantined)) == ("v1", None, {})
    assert decide(dropped, back, seen()) is None
    third = configured("v1", "v2", "v3")
    dropped = changed(at(HERE, Step.ALL), seen(), third)
    assert changed(dropped, seen(), third).candidate == "v3"


def test_a_live_version_that_was_taken_out_is_replaced_at_once() -> None:
    """Its endpoint is gone: there is nothing to share with."""
    new = configured("v2")
    assert shares(STABLE, HERE, new) == [{"v2": 1.0}] * 3, "without waiting for anybody"
    replaced = changed(STABLE, seen(), new)
    assert (replaced.live, replaced.previous, replaced.candidate) == ("v2", None, None)
    during = changed(at(HERE, Step.BATCH), seen(), new)
    assert (during.live, during.candidate) == ("v2", None)


def test_jobs_wait_for_the_approval_of_what_replaces_a_live_version() -> None:
    """A deployment that takes the live version out must not go round the registry."""
    package = Package(arn="arn", image="image", artifact=None)
    new = configured("v2", packages={"v2": package})
    assert shares(STABLE, HERE, new) == [{}] * 3
    assert urgent(STABLE, new, seen()) is None, "nobody has asked the registry yet"
    pending = seen(unapproved="the package is PendingManualApproval")
    waits = changed(STABLE, pending, new)
    said = "v1 is not configured any more, and the package is PendingManualApproval"
    assert (waits.live, waits.candidate, waits.waits) == ("v1", None, said)
    assert decide(waits, new, pending) is None, "it is known"
    approved = changed(waits, seen(), new)
    assert (approved.live, approved.waits) == ("v2", "")
    assert shares(approved, HERE, new) == [{"v2": 1.0}] * 3

    older = configured("v1", packages={"v1": package})
    assert shares(approved, NEXT, older) == [{"v1": 1.0}] * 3, "it was live, and is all there is"
    before = replace(STABLE, previous="v0")
    kept = configured("v0", "v2", packages={"v2": package})
    assert shares(before, HERE, kept) == [{"v0": 1.0}] * 3
    tried = changed(at(HERE, Step.BATCH), pending, new)
    assert tried.live == "v2", "its approval was seen before its smoke jobs"


@pytest.mark.parametrize("away", [frozenset(), frozenset({HERE})])
def test_regions_with_an_older_configuration_undo_nothing(away: frozenset[str]) -> None:
    """A deployment goes from region to region, and the first one may be lost meanwhile."""
    release = at(THIRD, Step.ALL)
    assert decide(release, OLD, seen(NEXT, away=away)) is None
    live = replace(STABLE, live="v2", previous="v1")
    assert decide(live, OLD, seen(NEXT, away=away)) is None


def test_one_region_begins() -> None:
    """Who reads an older configuration, and who reads a newer one, must not argue."""
    assert decide(STABLE, BOTH, seen(NEXT)) is None
    stands_in = changed(STABLE, seen(NEXT, away=frozenset({HERE})))
    assert stands_in.candidate == "v2"
    assert decide(STABLE, configured("v1", "v2", state="draining"), seen()) is None


# ---- lost regions


def test_a_lost_region_is_put_off() -> None:
    """A release must not stand still for as long as a region is away."""
    away = frozenset({HERE})
    put_off = changed(at(HERE, Step.ALL), seen(THIRD, away=away))
    assert put_off.order == (NEXT, THIRD, HERE)
    assert place(put_off) == releases.Place(NEXT, Step.SMOKE)
    assert shares(put_off, HERE) == [{"v1": 1.0}] * 3
    last = replace(put_off, step=2 * len(STEPS))
    assert place(changed(last, seen(HERE))) == releases.Place(HERE, Step.BATCH), "it came back"


def test_a_release_that_only_lost_regions_are_left_of_ends_without_them() -> None:
    """It was judged where clients are; who comes back takes what is live."""
    release = changed(at(THIRD, Step.BATCH), seen(HERE, away=frozenset({THIRD})))
    assert (release.live, release.candidate) == ("v2", None)
    assert release.events[-1].why == f"without {THIRD}"
    everywhere = frozenset(REGIONS)
    assert releases.skip(at(HERE, Step.BATCH), everywhere, now_ms=0) is None, "nobody judged it"


# ---- whatever happens


REGION = st.sampled_from(REGIONS)
MODELS = st.sampled_from(
    [
        OLD,
        BOTH,
        configured("v2"),
        configured("v1", "v2", wanted="v1"),
        configured("v1", "v2", "v3"),
        configured("v1", "v2", "v3", state="draining"),
    ]
)
SIGHTS = st.builds(
    seen,
    REGION,
    away=st.frozensets(REGION, max_size=3),
    firing=st.dictionaries(st.sampled_from(["v1", "v2", "v3"]), st.just("fires"), max_size=1),
    instances=st.integers(0, 1),
    smoke=st.sampled_from(Smoke),
    unapproved=st.sampled_from(["", "", "pending"]),
    now_ms=st.integers(0, 10**8),
)
COMMANDS = st.sampled_from([releases.pause, releases.resume, releases.promote])


def check(before: Release, after: Release, model: Model) -> None:
    """What holds of any record, and of any change."""
    assert after.revision > before.revision
    assert len(after.events) <= EVENTS_MAX
    assert after.live not in after.quarantined or after.live not in model.versions
    assert after.candidate not in after.quarantined
    assert after.candidate != after.live
    assert (place(after) is None) == (after.candidate is None) == (not after.order)
    for region in REGIONS:
        for tier in LEAST_URGENT_FIRST:
            given = planned_shares(after, model, region, tier)
            assert not given.keys() & after.quarantined.keys()
            assert given.keys() <= model.versions.keys()
            assert sum(given.values()) == pytest.approx(1) or not given
            assert given or model.versions.keys() <= {*after.quarantined, "v1", "v2", "v3"}


@settings(max_examples=60)
@given(st.lists(st.tuples(MODELS, SIGHTS | COMMANDS), max_size=40))
def test_no_sequence_of_events_breaks_a_record(
    happenings: list[tuple[Model, Sight | object]],
) -> None:
    """Regions see different things, run late and with different configurations."""
    release = STABLE
    for known, happening in happenings:
        decided = (
            decide(release, known, happening)
            if isinstance(happening, Sight)
            else happening(release, now_ms=1)  # type: ignore[operator]
        )
        if decided is not None:
            check(release, decided, known)
            release = decided


@settings(max_examples=60)
@given(st.lists(SIGHTS, max_size=20), MODELS.filter(lambda model: model.state == "live"))
def test_every_release_ends(before: list[Sight], model: Model) -> None:
    """Whatever came before, once all is well the wanted version is live, or in quarantine."""
    release = STABLE
    for sight in before:
        release = decide(release, model, sight) or release
    quiet_ms, decisions = 2 * 10**8, 0
    for _ in range(2 * len(STEPS) * len(REGIONS)):
        quiet_ms += 1000 * BAKING.final_bake_s
        for region in REGIONS:
            decided = decide(release, model, seen(region, now_ms=quiet_ms))
            decisions += decided is not None
            release = decided or release
    assert release.candidate is None
    assert model.wanted in {release.live, *release.quarantined}
    assert decisions <= len(STEPS) * len(REGIONS) + 5
