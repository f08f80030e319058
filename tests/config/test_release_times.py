"""A release is watched for as long as its guards need, by guards that can conclude something."""

from pathlib import Path
from typing import Any

import pytest

from config.schema import Deployment, load
from tests.config.test_schema import DEV, PROD, ROOT, changed, refusal

TRIAL = "models.embedder"


def two_versions(**fields: Any) -> dict[str, Any]:
    """The dev configuration, whose embedder has two versions and takes 0.045 s for a job."""
    document = changed("models/embedder/instances_max", 2)
    embedder = document["models"]["embedder"]
    embedder["versions"]["v2"] = embedder["versions"]["v1"]
    embedder |= fields
    return document


@pytest.mark.parametrize(
    ("window_s", "timeout_s", "least_s"), [(300, 60, 360), (300, 3600, 3660), (60, 60, 120)]
)
@pytest.mark.parametrize("field", ["bake_s", "final_bake_s"])
def test_no_step_ends_before_its_guards_have_seen_it(
    tmp_path: Path, field: str, window_s: int, timeout_s: int, least_s: int
) -> None:
    """It would be judged by what happened before it, or before an attempt that hangs has failed."""

    def of(release: dict[str, Any]) -> dict[str, Any]:
        guards = {"window_s": window_s, "attempts_min": 1}
        return two_versions(invocation_timeout_s=timeout_s, guards=guards, release=release)

    message = refusal(tmp_path, of({field: least_s - 1}))
    assert message.startswith(f"{TRIAL}.release.{field}: must be at least {least_s}")
    assert f"guards.window_s, {window_s}" in message

    told = Deployment.model_validate(of({field: least_s})).policy().models["embedder"].release
    assert getattr(told, field) == least_s
    left_out = Deployment.model_validate(of({})).policy().models["embedder"].release
    assert (left_out.bake_s, left_out.final_bake_s) == (least_s, max(900, least_s))


def test_guards_that_no_load_makes_look_are_refused(tmp_path: Path) -> None:
    """Every release would go through, whatever its version does, and nobody would know."""
    # One instance, one job of 3 s at a time: 100 attempts in 300 s, and a ninth of them beside it.
    slow = two_versions(concurrency=1, instances_max=1)
    for version in slow["models"]["embedder"]["versions"].values():
        version["service"] = {"overhead_s": 3, "input_tokens_typical": 0, "output_token_s": 0}
    message = refusal(tmp_path, slow)
    assert message.startswith(f"{TRIAL}.guards.attempts_min: must be at most 11")
    assert message.endswith("given 20")

    slow["models"]["embedder"]["guards"] = {"attempts_min": 11}
    assert Deployment.model_validate(slow).models
    slow["models"]["embedder"] |= {"guards": {}, "release": {"canary_share": 0.5}}
    assert Deployment.model_validate(slow).models


def test_a_model_of_one_version_needs_no_canary() -> None:
    """Whoever releases nothing need not lengthen a window for it."""
    document = changed("models/embedder/instances_max", 1)
    document["models"]["embedder"]["guards"] = {"attempts_min": 100_000}
    assert Deployment.model_validate(document).models


@pytest.mark.parametrize("path", [DEV, PROD, ROOT / "config" / "demo.yaml"])
def test_configurations_that_people_copy_have_smoke_jobs(path: Path) -> None:
    """Without them an idle fleet is judged by alarms that have nothing to say."""
    for name, model in load(path).models.items():
        assert model.release.smoke or (path.stem == "demo" and len(model.versions) == 1), name
