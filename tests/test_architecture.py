"""The import arrows, and what a committed file must not contain."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("config", "lambdas", "spillway", "stacks")
LOCKS = ("dev", "layer", "locker", "models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """Where an area of the code may look, among our own packages and among all others."""

    area: str
    """A module or package; the longest matching area decides."""
    ours: tuple[str, ...]
    """The only packages of ours that it may import."""
    never: tuple[str, ...] = ()
    """Modules of anybody that it may not import."""
    why: str


ARROWS = (
    Arrow(
        area="config",
        ours=("config", "lambdas.domain"),
        never=("aws_cdk", "boto3", "botocore"),
        why="a configuration is read alike by synth, commands and tests, with no AWS near",
    ),
    Arrow(
        area="lambdas",
        ours=("lambdas",),
        why="the asset holds lambdas/ alone: anything else fails on its first event in AWS",
    ),
    Arrow(
        area="lambdas.domain",
        ours=("lambdas.domain",),
        never=("aws_lambda_powertools", "boto3", "botocore", "os", "socket", "time"),
        why="decisions are pure, so that the twin, the planner and AWS decide the same",
    ),
    Arrow(
        area="lambdas.adapters",
        ours=("lambdas.adapters", "lambdas.domain"),
        why="an adapter speaks to one service and decides nothing",
    ),
    Arrow(
        area="lambdas.handlers",
        ours=(
            "lambdas.handlers",
            "lambdas.adapters",
            "lambdas.domain",
            "lambdas.settings",
            "lambdas.wiring",
        ),
        never=("boto3",),
        why="wiring makes a handler's clients, once per execution environment",
    ),
    Arrow(
        area="spillway",
        ours=("spillway", "lambdas.domain", "config"),
        why="commands read cloud assemblies, never the code that writes them",
    ),
    Arrow(
        area="spillway.cli.looking",
        ours=(
            "spillway.cli",
            "spillway.directory",
            "spillway.leases",
            "spillway.releases",
            "lambdas.domain",
            "config",
        ),
        why="what shows a deployment sees what operators see, on AWS as on the twin",
    ),
    Arrow(
        area="spillway.console",
        ours=(
            "spillway.console",
            "spillway.assembly",
            "spillway.cli",
            "spillway.client",
            "lambdas.domain",
            "config",
        ),
        never=("boto3", "botocore"),
        why="the console is one more operator: it looks and acts as commands do, past no twin",
    ),
    Arrow(
        area="spillway.twin",
        ours=("spillway.twin", "lambdas.domain", "config"),
        never=("aws_cdk",),
        why="a twin that knew the stacks could not show that the templates are enough",
    ),
    Arrow(
        area="stacks",
        ours=("stacks", "config"),
        never=("boto3", "botocore"),
        why="synth is a function of the files",
    ),
)


def inside(module: str, package: str) -> bool:
    """Whether a dotted name is a package or lies in it."""
    return module == package or module.startswith(f"{package}.")


def module_of(path: Path, root: Path) -> str:
    """Give a file its dotted name: lambdas/domain/job.py is lambdas.domain.job."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """
    Every import of a file, wherever in it, as line and absolute dotted name.

    `from a import b` counts as `a.b`, which is the module when b is one. Relative
    imports are resolved; imports by a name computed at run time are not seen.
    """
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def violations(root: Path) -> list[str]:
    """List every import under root that goes against its arrow."""
    found = []
    paths = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    for path in paths:
        module = module_of(path, root)
        arrow = max(
            (arrow for arrow in ARROWS if inside(module, arrow.area)), key=lambda a: len(a.area)
        )
        for line, imported in imports_of(path, root):
            ours = any(inside(imported, package) for package in PACKAGES)
            stray = ours and not any(inside(imported, package) for package in arrow.ours)
            banned = any(inside(imported, package) for package in arrow.never)
            if stray or banned:
                where = path.relative_to(root).as_posix()
                found.append(f"{where}:{line} imports {imported}: {arrow.why}")
    return found


def test_every_import_follows_an_arrow() -> None:
    """An import against the arrows ships a function that cannot start, or a decision with a clock.

    `lambdas` imports neither `stacks` nor `spillway`, its domain neither AWS nor the machine;
    `spillway/twin` never imports `stacks`; `stacks` imports `config` alone.
    """
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("lambdas/handlers/submit.py", "from stacks.region import RegionStack"),
        ("lambdas/handlers/submit.py", "import spillway.client"),
        ("lambdas/handlers/submit.py", "import boto3"),
        ("lambdas/handlers/submit.py", "from config import schema"),
        ("lambdas/adapters/sqs.py", "from ..handlers import submit"),
        ("lambdas/adapters/sqs.py", "from lambdas import wiring"),
        ("lambdas/domain/job.py", "import boto3"),
        ("lambdas/domain/job.py", "from botocore.config import Config"),
        ("lambdas/domain/job.py", "def now():\n    from time import time\n"),
        ("lambdas/domain/job.py", "import os.path"),
        ("lambdas/domain/job.py", "from aws_lambda_powertools import Logger"),
        ("lambdas/domain/job.py", "from ..adapters import sqs"),
        ("spillway/twin/sqs.py", "from stacks import names"),
        ("spillway/twin/sqs.py", "from spillway.cli import main"),
        ("spillway/cli/main.py", "from lambdas.handlers import submit"),
        ("stacks/region.py", "from lambdas.domain.names import Names"),
        ("stacks/region.py", "import boto3"),
        ("config/schema.py", "import stacks"),
    ],
)
def test_an_import_against_the_arrows_is_caught(tmp_path: Path, path: str, line: str) -> None:
    """A checker that lets a violation through protects nobody."""
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(line)

    assert len(violations(tmp_path)) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("lambdas/handlers/submit.py", "from lambdas import wiring"),
        ("lambdas/adapters/sqs.py", "from ..domain.job import Job"),
        ("lambdas/adapters/sqs.py", "import boto3, os, time"),
        ("spillway/testing.py", "from spillway.twin import run"),
        ("spillway/cli/main.py", "from config.schema import load"),
        ("stacks/region.py", "from config import schema"),
    ],
)
def test_an_import_along_the_arrows_passes(tmp_path: Path, path: str, line: str) -> None:
    """A checker that refuses what the design allows gets switched off."""
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(line)

    assert violations(tmp_path) == []


def test_an_empty_tree_passes(tmp_path: Path) -> None:
    """Nothing to check is nothing wrong."""
    assert violations(tmp_path) == []


# Written so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.$~}/-])/(?:work|root|home|Users)/(?=[\w.])")
REGISTRY_HOST = re.compile(
    r"pypi\.(?:org|python\.org)|pythonhosted\.org|registry\.(?:npmjs|yarnpkg)\.|npmmirror\.",
    re.IGNORECASE,
)


def misplaced(text: str) -> list[str]:
    """Machine paths and registry hosts in a text."""
    return MACHINE_PATH.findall(text) + REGISTRY_HOST.findall(text)


def committed_files() -> list[Path]:
    """What git tracks; in an unpacked archive, which has no git, the answer is unknown."""
    done = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - whichever git the developer uses
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_committed_file_names_a_machine_or_a_registry() -> None:
    """A path or host of the author's machine breaks everybody else's set-up."""
    found = {}
    for path in committed_files():
        content = path.read_bytes()
        # Compressed traces and images hold any bytes by chance.
        if b"\0" not in content and (hits := misplaced(content.decode(errors="replace"))):
            found[path.relative_to(ROOT).as_posix()] = hits
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "log = '" + "/" + "work/out.log'",
        "cd " + "/" + "root/x",
        "https://" + "pypi" + ".org/simple",
        '"resolved": "https://registry' + '.npmjs.org/x.tgz"',
    ],
)
def test_a_machine_path_or_a_registry_host_is_caught(text: str) -> None:
    """The check above must be able to fail."""
    assert misplaced(text)


@pytest.mark.parametrize(
    "text", ["https://example.com/work/x", "requirements/work/x", "{prefix}/work/x", "artwork/x"]
)
def test_an_ordinary_path_is_no_machine_path(text: str) -> None:
    """A route or a relative path is nobody's machine."""
    assert not misplaced(text)


def pins(name: str) -> dict[str, list[str]]:
    """Versions of each package in a lock; two when they differ by Python version."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    found: dict[str, list[str]] = {}
    for package, version in re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE):
        found.setdefault(package, []).append(version)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_versions_and_hashes_and_nothing_else(name: str) -> None:
    """An unpinned or unhashed package is whatever its registry says today."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    requirement = re.compile(r"^[a-z0-9._-]+==[^\s;]+( ; [^\\]+)? \\$")
    hashed = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
    assert [line for line in lines if not (requirement.match(line) or hashed.match(line))] == []
    assert all(
        hashed.match(after)
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if requirement.match(line)
    )


def test_the_layer_holds_the_versions_that_the_tests_ran_with() -> None:
    """A function that meets a library for the first time in AWS fails in AWS."""
    tested = pins("dev")
    assert {
        package: versions
        for package, versions in pins("layer").items()
        if not set(versions) <= set(tested.get(package, []))
    } == {}


def test_the_cdk_command_line_is_the_pinned_one() -> None:
    """A wrong aws-cdk (npm's `latest`) cannot read our assemblies; an address binds a mirror."""
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert lock["node_modules/aws-cdk"]["version"] == "2.1148.1"
    installed = [package for name, package in lock.items() if name]
    assert all("integrity" in package and "resolved" not in package for package in installed)


def test_test_files_have_names_of_their_own() -> None:
    """Test directories are no packages: of two files of one name, pytest collects neither."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
