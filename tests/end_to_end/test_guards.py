"""Bad versions are taken back: while they are tried, and long after.

One story of some virtual minutes, in which three models go wrong at once; each test looks at one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from lambdas.adapters.releases import Releases
from lambdas.domain.release import Event, Release
from tests.end_to_end.world import Tenant, World

MODELS = ("broken", "slow", "late")
HOUR_S = 3600
EVERY_S = 4
"""Between two jobs of a model."""
BEAT_S = 5
WARM_UP_S = 60
STORY_S_MAX = 400


@pytest.fixture(scope="module")
def deployed() -> str:
    """The configuration of this module."""
    return "guards"


@dataclass
class Story:
    """What happened.

    Attributes:
        world: Where.
        jobs: Of each model, in the order of their submission.
        bad_s: When a version first did what it should not, by model.
        gone_s: When no region planned anything on it any more, by model.
        seen: Jobs at the end, by model.
    """

    world: World
    client: Tenant
    jobs: dict[str, list[str]] = field(default_factory=dict)
    bad_s: dict[str, float] = field(default_factory=dict)
    gone_s: dict[str, float] = field(default_factory=dict)
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def now_s(self) -> float:
        """The virtual time."""
        return float(self.world.twin.scheduler.now())

    def record(self, model: str) -> Release:
        """A model's record."""
        release = _releases(self.world).read(model)
        assert release is not None
        return release

    def planned(self, model: str, version: str) -> set[str]:
        """Regions in which a version may get jobs."""
        return {
            region
            for region in self.world.deployment.regions
            if version in json.loads(self.world.gate(model, region)["plan"]["S"])["shares"]["batch"]
        }

    def invoked(self, model: str, version: str) -> list[tuple[float, str]]:
        """When and where a version was asked."""
        endpoint = self.world.names.endpoint(model, version)
        return [
            (call.at_s, call.region)
            for call in self.world.calls
            if call.operation == "InvokeEndpointAsync" and call.params["EndpointName"] == endpoint
        ]

    def submit(self) -> None:
        """One more job of each model, and two of that whose failures are to be a fifth of some."""
        for model in ("broken", *MODELS):
            number = len(self.jobs.setdefault(model, []))
            value = {"name": f"{model}-{number}"}
            self.jobs[model].append(self.client.submit(model=model, tier="batch", input=value))

    def views(self, model: str) -> list[dict[str, Any]]:
        """A model's jobs as their client sees them at the end."""
        if model not in self.seen:
            self.seen[model] = [self.client.view(job) for job in self.jobs[model]]
        return self.seen[model]

    def took_s(self, model: str) -> float:
        """Seconds from a version's first misdeed until no region planned anything on it."""
        return self.gone_s[model] - self.bad_s[model]


def _releases(world: World) -> Releases:
    return Releases(world.aws("dynamodb"), world.names.ledger)


def _fails(story: Story, model: str, one_in: int) -> Callable[[Any], Any]:
    """Every so many-th job fails."""
    numbers = count(1)

    def answer(request: Any) -> Any:
        if request["name"] != "smoke" and next(numbers) % one_in == 0:
            story.bad_s.setdefault(model, story.now_s())
            raise RuntimeError("bad version")
        return {"echo": request}

    return answer


def _stand(story: Story, model: str, **changes: Any) -> None:
    """Let a model's record say where its versions stand."""
    release = story.record(model)
    values = {"live": "v1", "previous": None, "candidate": None, "order": (), "step": 0} | changes
    changed = replace(release, revision=release.revision + 1, events=(), **values)
    assert _releases(story.world).write(changed)


def decide(world: World) -> None:
    """Let the first region decide now, and not with its next minute."""
    function = world.names.function("release")
    world.twin.functions.invoke_async(world.region, function, {})
    world.run_for(BEAT_S)


@pytest.fixture(scope="module")
def story(module_world: World) -> Story:
    """Three versions go wrong, told once."""
    world = module_world
    story = Story(world, world.tenant(rate_per_s=1000))
    story.world.until(lambda: _releases(world).read("late") is not None)
    began_s = story.now_s()
    for model in ("broken", "slow"):
        _stand(story, model)
    _stand(story, "late", live="v2", previous="v1", since_ms=int(1000 * (began_s - HOUR_S)))
    world.model("broken").answers(_fails(story, "broken", 5), version="v2")
    for version, service_s in (("v1", 1.0), ("v2", 4.0)):
        world.model("slow").answers(lambda request: {}, service_s=service_s, version=version)

    world.model("late").answers(_fails(story, "late", 3), version="v2")
    for region in world.deployment.regions:  # where it has nothing to do, it idles at zero
        old = world.twin.sagemaker.endpoint(region, world.names.endpoint("late", "v1"))
        world.twin.sagemaker.resize(old, 0)
    decide(world)  # they begin
    world.run_for(3 * BEAT_S)
    decide(world)  # smoke jobs were answered

    def over() -> bool:
        story.submit()
        for model in MODELS:
            taken_back = "v2" in story.record(model).quarantined
            if taken_back and model not in story.gone_s and not story.planned(model, "v2"):
                story.gone_s[model] = story.now_s()
        return len(story.gone_s) == len(MODELS)

    assert world.twin.scheduler.run_until_true(over, STORY_S_MAX, every_s=EVERY_S), story.gone_s
    asked = [at_s for at_s, _ in story.invoked("slow", "v2")]
    story.bad_s["slow"] = asked[1]  # after the smoke job
    for _ in range(5):
        story.submit()
        world.run_for(EVERY_S)
    world.assert_rest()
    return story


def rolled_back(story: Story, model: str) -> Event:
    """The event of a version's end."""
    (event,) = (each for each in story.record(model).events if each.what == "rolled back")
    assert event.version == "v2"
    return event


@pytest.mark.parametrize("model", ["broken", "slow"])
def test_a_bad_version_is_taken_back_during_the_canary_in_the_first_region(
    story: Story, model: str
) -> None:
    """The other regions never hear of it, and no client does."""
    record, event = story.record(model), rolled_back(story, model)
    here = story.world.deployment.regions[0]

    assert (record.live, record.candidate) == ("v1", None)
    assert {"broken": "guard failures", "slow": "guard slow"}[model] in event.why
    assert {region for _, region in story.invoked(model, "v2")} == {here}
    steps = [each.what for each in record.events if each.what.startswith("step")]
    assert steps == ["step batch"], "it never got past the first tier"
    assert {view["status"] for view in story.views(model)} == {"completed"}
    print(f"{model}: taken back {story.took_s(model):.0f} s after its first misdeed")  # noqa: T201
    assert story.took_s(model) < 300


def test_what_a_version_on_trial_fails_is_answered_by_the_live_one(story: Story) -> None:
    """These jobs have one attempt only, which was not theirs to lose."""
    retried = [view for view in story.views("broken") if view["attempt"] > 1]

    assert retried
    assert {(view["version"], view["status"]) for view in retried} == {("v1", "completed")}
    spared = [int(story.world.ledger_item(view["id"])["spared"]["N"]) for view in retried]
    assert spared == [view["attempt"] - 1 for view in retried]


def test_a_version_that_turns_bad_after_an_hour_is_taken_back_everywhere(story: Story) -> None:
    """A release that went well says nothing of what comes after it."""
    record, event = story.record("late"), rolled_back(story, "late")

    assert (record.live, record.previous) == ("v1", None)
    assert "guard failures" in event.why
    assert {view["status"] for view in story.views("late")} == {"completed"}
    assert story.views("late")[-1]["version"] == "v1"
    waited = [view["timings"]["queue_s"] for view in story.views("late")]
    assert max(waited) > WARM_UP_S, "they waited in the queue while the old endpoint warmed up"
    print(f"late: taken back {story.took_s('late'):.0f} s after its first misdeed")  # noqa: T201
    assert story.took_s("late") < 300
    elsewhere = story.world.deployment.regions[1]
    job = story.client.submit(model="late", tier="batch", input={"name": "x"}, region=elsewhere)
    story.world.assert_rest()
    view = story.client.view(job, region=elsewhere)
    assert (view["status"], view["version"], view["region"]) == ("completed", "v1", elsewhere)


@pytest.mark.parametrize("model", MODELS)
def test_nothing_runs_on_it_a_beat_after_the_alarm(story: Story, model: str) -> None:
    """The event is acted on at once, and the record is read by every beat."""
    fired_s = next(
        event.at_s
        for event in story.world.twin.alarms.history
        if f"-guard-{model}-v2-" in event.alarm.name and event.state.value == "ALARM"
    )
    decided_s = rolled_back(story, model).at_ms / 1000

    assert 0 <= decided_s - fired_s < 3, "it did not wait for the minute's tick"
    last_s = max(at_s for at_s, _ in story.invoked(model, "v2"))
    assert last_s < decided_s + BEAT_S + 1
    assert story.gone_s[model] < decided_s + BEAT_S + EVERY_S + 1
