"""From a configuration to its templates, once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spillway import assembly
from spillway.assembly import LocalError, synthesize

APP = """
import json, os, pathlib
config = pathlib.Path(json.loads(os.environ["CDK_CONTEXT_JSON"])["config"])
if "wrong" in config.read_text():
    print("config.yaml: surprise: there is no such field", file=__import__("sys").stderr)
    raise SystemExit("jsii.errors.JavaScriptError: two hundred lines")
out = pathlib.Path(os.environ["CDK_OUTDIR"])
out.mkdir()
(out / "manifest.json").write_text("{}")
with open("runs", "a") as runs:
    runs.write("x")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an app that counts its runs, and a configuration."""
    monkeypatch.setattr(assembly, "ROOT", tmp_path)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "lambdas").mkdir()
    (tmp_path / "lambdas" / "submit.py").write_text("one")
    (tmp_path / "config.yaml").write_text("name: dev")
    return tmp_path


def runs(project: Path) -> int:
    """How often synth ran."""
    return len((project / "runs").read_text())


def test_an_unchanged_project_is_synthesized_once(project: Path) -> None:
    """Sixteen seconds before every local command would send people elsewhere."""
    copy = project / "copy.yaml"
    copy.write_bytes((project / "config.yaml").read_bytes())

    first, again = synthesize(project / "config.yaml"), synthesize(copy)

    assert first == again
    assert (first / "manifest.json").exists()
    assert runs(project) == 1


@pytest.mark.parametrize("changed", ["config.yaml", "lambdas/submit.py", "app.py"])
def test_a_change_is_never_missed(project: Path, changed: str) -> None:
    """Whoever edits a function and sees the old one run stops trusting the twin."""
    first = synthesize(project / "config.yaml")
    with (project / changed).open("a") as file:
        file.write("\n# changed")

    assert synthesize(project / "config.yaml") != first
    assert runs(project) == 2


def synthesized_elsewhere(project: Path, config: Path) -> Path:
    """Another process synthesizes a configuration, and ends."""
    program = (
        "import pathlib, sys; from spillway import assembly; "
        "assembly.ROOT = pathlib.Path(sys.argv[1]); print(assembly.synthesize(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(project), str(config)],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.strip())


def test_old_assemblies_are_forgotten_but_never_one_in_use(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day of work must not fill the disk, nor take from a twin what its functions read."""
    monkeypatch.setattr(assembly, "_held", {})
    used = synthesize(project / "config.yaml")
    left = project / "build" / "assemblies" / "new-left-by-a-death"
    left.mkdir()
    for path in (used, left):
        os.utime(path, (0, 0))
    newest = project
    other = project / "other.yaml"
    # Others keep only so many: as many again would take too long here.
    for number in range(assembly.ASSEMBLIES_KEPT + 2):
        other.write_text(f"name: dev{number}")
        newest = synthesized_elsewhere(project, other)

    kept = [path for path in (project / "build" / "assemblies").iterdir() if path.is_dir()]
    assert used in kept
    assert newest in kept
    assert len(kept) == assembly.ASSEMBLIES_KEPT + 1

    os.close(assembly._held.pop(used))
    other.write_text("name: the last")
    synthesized_elsewhere(project, other)

    assert not used.exists()


def test_an_assembly_that_is_taken_away_is_made_again(project: Path) -> None:
    """`make clean` beside a process that holds it."""
    first = synthesize(project / "config.yaml")
    shutil.rmtree(project / "build")

    assert synthesize(project / "config.yaml") == first
    assert runs(project) == 2


def test_a_synth_that_fails_says_why_and_nothing_of_jsii(project: Path) -> None:
    """The reason must not be at the end of two hundred lines of somebody else's stack."""
    (project / "config.yaml").write_text("wrong")

    with pytest.raises(LocalError, match="surprise: there is no such field") as caught:
        synthesize(project / "config.yaml")

    assert "jsii" not in str(caught.value)
    left = (project / "build" / "assemblies").iterdir()
    assert [path.suffix for path in left] == [".lock"]
