"""
Compile requirements/*.in and package.json into locks: versions and hashes, no addresses.

A lock that named the index or the mirror it was made with would send everyone
else there. So the resolver reads this machine's pip configuration when it runs,
and nothing of it is written down.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
LOCKER = ROOT / "build" / "locker"
UV = LOCKER / "bin" / "uv"
COMPILE = (
    "pip",
    "compile",
    "--quiet",
    "--generate-hashes",
    "--no-annotate",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
)
# The oldest Python we promise; --universal adds markers for the newer ones.
UNIVERSAL = ("--universal", "--python-version", "3.11")
# What Lambda runs: see tools/build_layer.py.
LAMBDA = ("--python-version", "3.14", "--python-platform", "aarch64-manylinux_2_28")
# What pip is told on this machine -> what the resolver calls it.
PIP_SETTINGS = {"global.index-url": "UV_DEFAULT_INDEX", "global.cert": "SSL_CERT_FILE"}
LOCK_NOTE = "# Made by `make lock`; edit the .in file instead.\n"


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run one command in the project's root; its failure is ours."""
    subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=True)


def resolver_environment() -> dict[str, str]:
    """Hand this machine's pip settings to the resolver, for this run only."""
    env = dict(os.environ)
    for setting, name in PIP_SETTINGS.items():
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", setting],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and done.stdout.strip():
            env.setdefault(name, done.stdout.strip())
    return env


def compile_lock(name: str, *options: str) -> None:
    """Resolve requirements/NAME.in into requirements/NAME.lock."""
    source, lock = REQUIREMENTS / f"{name}.in", REQUIREMENTS / f"{name}.lock"
    print(f"lock: {lock.relative_to(ROOT)}")
    if lock.exists():
        # The resolver keeps the versions that it finds in its output file.
        lock.write_text(lock.read_text().removeprefix(LOCK_NOTE))
    env = resolver_environment()
    run(UV, *COMPILE, *options, source, "--output-file", lock, env=env)
    lock.write_text(LOCK_NOTE + lock.read_text())


def install_locker() -> None:
    """Install the pinned resolver in a virtual environment of its own."""
    if not UV.exists():
        run(sys.executable, "-m", "venv", LOCKER)
    lock = REQUIREMENTS / "locker.lock"
    pinned = ("--require-hashes", "-r", lock) if lock.exists() else ("-r", lock.with_suffix(".in"))
    run(LOCKER / "bin" / "python", "-m", "pip", "install", "--quiet", *pinned)


def lock_node() -> None:
    """Resolve package.json with the wheel's npm, leaving download addresses out."""
    print("lock: package-lock.json")
    sys.path.insert(0, str(ROOT))
    from stacks.node import node_binary  # noqa: PLC0415 - a script, not a package

    node = node_binary()
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    env = dict(os.environ, PATH=f"{node.parent}{os.pathsep}{os.environ['PATH']}")
    run(
        node,
        npm,
        "install",
        "--package-lock-only",
        "--omit-lockfile-registry-resolved",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        env=env,
    )


def main() -> int:
    """Compile every lock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take newer versions where allowed")
    options = parser.parse_args()
    upgrade = ("--upgrade",) if options.upgrade else ()
    try:
        install_locker()
        compile_lock("locker", *UNIVERSAL, *upgrade)
        compile_lock("dev", *UNIVERSAL, *upgrade)
        # What runs on AWS is what the tests ran with.
        compile_lock("layer", *LAMBDA, "--constraints", str(REQUIREMENTS / "dev.lock"), *upgrade)
        compile_lock("models", *UNIVERSAL, "--no-deps", *upgrade)
        lock_node()
    except subprocess.CalledProcessError as error:
        print(f"lock: {' '.join(map(str, error.cmd[:4]))} ... failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
