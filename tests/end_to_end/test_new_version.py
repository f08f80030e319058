"""A second version is deployed over the first one, and released: by shares, region by region."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from lambdas.domain.release import STEPS, Place, Step, place
from spillway import local
from spillway.releases import Records, promoted
from spillway.twin.containers import Python
from tests.end_to_end.world import World

SMOKE = {"name": "smoke"}
JOB, JOBS = {"name": "job"}, 3
PLANNED_S = 6
"""A beat, after which dispatch knows of a step."""
STARTED_S = 2
"""In which a job that was submitted is started, by the shares of then."""
OLD, BOTH, NEW = {"v1"}, {"v1", "v2"}, {"v2"}
EXPECTED = {
    **{(step, "batch"): BOTH for step in STEPS},
    **{(step, "interactive"): OLD for step in STEPS},
    (Step.SMOKE, "batch"): OLD,
    (Step.ALL, "interactive"): BOTH,
    **{(Step.FULL, tier): NEW for tier in ("batch", "interactive")},
}


@pytest.fixture(scope="module")
def deployed() -> str:
    """Three regions."""
    return "three_regions"


@pytest.fixture
def served(world: World, tmp_path: Path) -> Iterator[Counter[str]]:
    """What each version answered, after v2 was deployed."""
    served: Counter[str] = Counter()

    def answers(version: str, request: Any) -> Any:
        served[request["name"]] += 1
        return {"version": version, **request}

    world.model("small").answers(partial(answers, "v1"))
    world.twin.scheduler.run_for(60)
    document = yaml.safe_load(Path(__file__).with_name("three_regions.yaml").read_text())
    model = document["models"]["small"]
    model["versions"]["v2"] = model["versions"]["v1"]
    model |= {"wanted": "v2", "release": {"canary_share": 0.5}}
    model["release"]["smoke"] = [SMOKE, SMOKE]
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(document))
    new = partial(Python, answers=partial(answers, "v2"))
    world.deployment = local.update(
        world.twin, changed, replaced={world.names.endpoint("small", "v2"): new}
    )
    yield served
    world.model("small").answers(lambda request: {"echo": request})


def decided(world: World, records: Records, wanted: Place | None) -> None:
    """Let regions decide, as they do every minute, until the release is somewhere; None: over."""

    def there() -> bool:
        for region in world.deployment.regions:
            name = world.names.function("release")
            world.twin.functions.invoke_async(region, name, {})
        return place(records.read("small")) == wanted

    world.until(there, 300, every_s=3)


def test_a_good_version_is_released_everywhere(world: World, served: Counter[str]) -> None:
    """A deployment ends with the new version live in every region, and nobody noticed."""
    regions, tenant = world.deployment.regions, world.tenant()
    records = Records(world.aws("dynamodb", "us-west-2"), world.names.ledger)
    jobs: dict[tuple[str, Step, str], list[str]] = {}
    for region, step in product(regions, STEPS):
        decided(world, records, Place(region, step))
        world.twin.scheduler.run_for(PLANNED_S)
        # What is more than one instance can work on, the old version helps with.
        number_of_each = 1 if step is Step.FULL else JOBS
        for tier, number in product(("batch", "interactive"), range(number_of_each)):
            job = tenant.submit(
                tier=tier, region=region, input=JOB, key=f"{region}{step}{tier}{number}"
            )
            jobs.setdefault((region, step, tier), []).append(job)
        world.twin.scheduler.run_for(STARTED_S)
        if step is not Step.SMOKE:
            records.change("small", promoted(int(1000 * world.twin.scheduler.now())))
    decided(world, records, None)
    world.assert_rest()

    release = records.read("small")
    assert (release.live, release.previous, dict(release.quarantined)) == ("v2", "v1", {})
    answered: dict[tuple[Step, str], set[str]] = {}
    for (region, step, tier), submitted in jobs.items():
        for view in map(tenant.view, submitted):
            assert (view["status"], view["region"]) == ("completed", region)
            answered.setdefault((step, tier), set()).add(view["version"])
    assert answered == EXPECTED
    assert served["smoke"] == 2 * len(regions)
