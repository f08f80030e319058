"""What happens in one run, drawn from a seed before it begins: clients, models, faults.

A scenario is data. The same seed draws the same one, and leaving a part of it out changes no
other part, so that a failing run can be made smaller.
"""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

CLIENTS_S: Final = (15.0, 15.0, 60.0)
"""Seconds in which clients begin, one of these in each run."""
FAULTS_S: Final = 25.0
"""Seconds after which no fault begins; every one ends before `FAULTS_END_S`."""
FAULTS_END_S: Final = 90.0
JOBS_MIN: Final = 3
JOBS_MAX: Final = 10
BURST_JOBS: Final = 22
FAULTS_MIN: Final = 2
FAULTS_MAX: Final = 9
BEATS_S: Final = {5: 0.25, 10: 0.2, 15: 0.55}
"""Seconds between the beats of a run that are not lost, and the share of the runs: enough for a
lease of 20 s, and most of what is computed is beats."""
HEAVY_SHARE: Final = 0.35
"""Share of the runs whose jobs take so long that a region can be lost with them."""
LOSS_SHARE: Final = 0.15
"""Share of the runs in which a region is lost early, and comes back while clients go on."""
LOSS_CLIENTS_S: Final = 110.0
LOSSES: Final[tuple[str, ...]] = ("region_silent", "region_killed", "region_isolated")
CALM_SHARE: Final = 0.08
"""Share of the runs without any fault: in those the bounds on waits are tight."""
PATIENT_SHARE: Final = 0.05
"""Share of the runs that go on to the end of their faults although every job is done: regions are
lost and come back then, and nothing should happen."""
BURST_SHARE: Final = 0.4
"""Share of the calm runs in which one region gets all jobs at once, of every tier."""
TIERS: Final = ("interactive", "standard", "batch")
TENANTS: Final = ("one", "two")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a client does with its job after it was accepted.

    Attributes:
        after_s: Seconds since the step before.
        what: `read`, `wait`, `cancel`, `erase`, `repeat` or `list`.
        region: Whose API it asks.
    """

    after_s: float
    what: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: who asks for it, and what the model makes of it.

    Attributes:
        number: From 0; the model finds the job by it.
        at_s: When its client begins, in seconds since the start of the run.
        tenant: One of `TENANTS`.
        regions: Whose API the client asks, in this order while it gets no answer.
        tier: One of `TIERS`.
        key: Whether the client sends an idempotency key.
        letters: Length of the input's text.
        deadline_s: As sent; None for the default.
        behaviour: What the model does each time that it is asked: `answer`, `error`, `text`
            (which is not JSON), `hang` or `break` off; the last one for every further time. So
            an attempt that is handed over twice may fail and succeed.
        service_s: Seconds that an answer takes.
        answer_letters: Length of the answer's text.
        steps: What follows.
    """

    number: int
    at_s: float
    tenant: str
    regions: tuple[str, ...]
    tier: str
    key: bool
    letters: int
    deadline_s: int | None
    behaviour: tuple[str, ...]
    service_s: float
    answer_letters: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One fault.

    Attributes:
        kind: A name in `spillway.simulation.faults`.
        at_s: When it begins, in seconds since the start of the run.
        until_s: When it ends.
        details: What the kind makes of it.
    """

    kind: str
    at_s: float
    until_s: float
    details: dict[str, Any]

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.details.items())
        return f"{self.kind} from {self.at_s:.1f} s to {self.until_s:.1f} s: {told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that is drawn before a run.

    Attributes:
        seed: Of this, and of everything that is drawn during the run.
        calm: Whether nothing goes wrong.
        beat_s: Seconds between the beats that are not lost.
        patient: Whether faults last as planned also when nothing is left to do.
        jobs: In the order of their numbers.
        troubles: In no order.
    """

    seed: int
    calm: bool
    beat_s: int = min(BEATS_S)
    patient: bool = True
    jobs: tuple[Job, ...]
    troubles: tuple[Trouble, ...]

    def without(self, troubles: Collection[int], jobs: Collection[int]) -> "Scenario":
        """The same without some faults, by their place, and without some jobs, by their number."""
        return replace(
            self,
            jobs=tuple(job for job in self.jobs if job.number not in jobs),
            troubles=tuple(
                trouble for place, trouble in enumerate(self.troubles) if place not in troubles
            ),
        )


def draw(
    seed: int,
    regions: Sequence[str],
    kinds: Sequence[tuple[str, float, Callable[[random.Random, Sequence[str]], dict[str, Any]]]],
) -> Scenario:
    """Draw a scenario.

    Args:
        seed: Of everything.
        regions: Of the deployment.
        kinds: Kinds of faults: name, weight, and what draws their details.
    """
    chance = random.Random(f"scenario {seed}")  # noqa: S311 replayable on purpose
    calm = chance.random() < CALM_SHARE
    if calm and chance.random() < BURST_SHARE:
        return Scenario(seed=seed, calm=True, jobs=_burst(chance, regions), troubles=())
    number = chance.randint(JOBS_MIN, JOBS_MAX)
    loss = not calm and chance.random() < LOSS_SHARE
    within_s = LOSS_CLIENTS_S if loss else chance.choice(CLIENTS_S)
    heavy = not calm and chance.random() < HEAVY_SHARE
    jobs = tuple(
        _job(chance, n, regions, within_s=within_s, calm=calm, heavy=heavy) for n in range(number)
    )
    troubles: list[Trouble] = []
    if not calm:
        names, weights = [kind for kind, _, _ in kinds], [weight for _, weight, _ in kinds]
        drawers = {kind: details for kind, _, details in kinds}
        if loss:
            kind = chance.choice([each for each in LOSSES if each in drawers])
            troubles.append(
                Trouble(
                    kind=kind,
                    at_s=chance.uniform(0, 5),
                    until_s=chance.uniform(50, 75),
                    details=drawers[kind](chance, regions),
                )
            )
        for kind in chance.choices(names, weights, k=chance.randint(FAULTS_MIN, FAULTS_MAX)):
            at_s = chance.choice((0.0, chance.uniform(0, FAULTS_S)))
            length_s = chance.choice((chance.uniform(1, 10), chance.uniform(10, FAULTS_END_S)))
            troubles.append(
                Trouble(
                    kind=kind,
                    at_s=at_s,
                    until_s=min(FAULTS_END_S, at_s + length_s),
                    details=drawers[kind](chance, regions),
                )
            )
    return Scenario(
        seed=seed,
        calm=calm,
        beat_s=min(BEATS_S) if calm or loss else chance.choices([*BEATS_S], [*BEATS_S.values()])[0],
        patient=chance.random() < PATIENT_SHARE,
        jobs=jobs,
        troubles=tuple(troubles),
    )


def _job(
    chance: random.Random,
    number: int,
    regions: Sequence[str],
    *,
    within_s: float,
    calm: bool,
    heavy: bool,
) -> Job:
    asked = chance.sample(list(regions), k=len(regions))
    if chance.random() < 0.6:  # noqa: PLR2004 most clients ask their own region first
        asked = [regions[0], *(region for region in asked if region != regions[0])]
    behaviour = ["answer"]
    if not calm and chance.random() < 0.45:  # noqa: PLR2004
        behaviour = chance.choices(
            ["answer", "error", "text", "hang", "break"], [2, 5, 1, 2, 1], k=chance.randint(1, 2)
        )
        if chance.random() < 0.8:  # noqa: PLR2004
            behaviour.append("answer")
    return Job(
        number=number,
        at_s=round(chance.uniform(0, within_s), 3),
        tenant=chance.choice(TENANTS),
        regions=tuple(asked),
        tier=chance.choice(TIERS),
        key=chance.random() < 0.7,  # noqa: PLR2004
        letters=chance.choice((10, 10, 10, 8000)),
        deadline_s=None if calm or chance.random() < 0.8 else chance.randint(1, 40),  # noqa: PLR2004
        behaviour=tuple(behaviour),
        service_s=round(
            chance.uniform(8, 28) if heavy else chance.choice((0.1, chance.uniform(0.5, 3.0))), 2
        ),
        answer_letters=chance.choice((10, 10, 10, 9000)),
        steps=_steps(chance, regions),
    )


def _steps(chance: random.Random, regions: Sequence[str]) -> tuple[Step, ...]:
    return tuple(
        Step(
            after_s=round(chance.choice((0.05, chance.uniform(0, 3), chance.uniform(0, 20))), 3),
            what=chance.choices(
                ["read", "wait", "cancel", "erase", "repeat", "list"], [4, 2, 2, 1, 3, 1]
            )[0],
            region=chance.choice(list(regions)),
        )
        for _ in range(chance.randint(0, 3))
    )


def _burst(chance: random.Random, regions: Sequence[str]) -> tuple[Job, ...]:
    """Work of every tier for one region at once: who is served first shows."""
    region = chance.choice(list(regions))
    others = tuple(each for each in regions if each != region)
    return tuple(
        Job(
            number=number,
            at_s=round(chance.uniform(0, 0.5), 3),
            tenant=chance.choice(TENANTS),
            regions=(region, *others),
            tier=TIERS[number % 3 if number % 4 else 0],
            key=True,
            letters=10,
            deadline_s=None,
            behaviour=("answer",),
            service_s=2.0,
            answer_letters=10,
            steps=(),
        )
        for number in range(BURST_JOBS)
    )
