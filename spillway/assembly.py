"""From a configuration file to its cloud assembly, synthesized at most once."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The project's root: where `app.py` is and where models' local commands start."""

ASSEMBLIES_KEPT = 8
SYNTH_SECONDS_MAX = 300
ATTEMPTS_MAX = 3
ERROR_SHOWN_MAX = 4000


class LocalError(RuntimeError):
    """A deployment that does not come up on this machine, in words for its user."""


def synthesize(config: Path | str) -> Path:
    """Write the cloud assembly of a configuration, or find the one written before.

    Assemblies are kept under `build/assemblies`, named after the content of everything that synth
    reads, so an unchanged project is synthesized once.

    Args:
        config: The deployment.

    Returns:
        The assembly's folder.

    Raises:
        LocalError: Synth failed; the message is what it said.
    """
    config = Path(config).resolve()
    folder = ROOT / "build" / "assemblies"
    folder.mkdir(parents=True, exist_ok=True)
    # One process synthesizes, the others wait for it: tests run side by side.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(ATTEMPTS_MAX):
            name = _fingerprint(config)
            if not (folder / name / "manifest.json").exists():
                _synthesize_into(folder, name, config)
            # A file that was saved meanwhile may be in the assembly or not.
            if _fingerprint(config) == name:
                return folder / name
            shutil.rmtree(folder / name, ignore_errors=True)
    raise LocalError(f"the files that make {config} an assembly are changing all the time")


def _synthesize_into(folder: Path, name: str, config: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as fresh:
        _synthesize(config, Path(fresh) / "cdk.out")
        (Path(fresh) / "cdk.out").rename(folder / name)
    _forget(folder)


def _synthesize(config: Path, output: Path) -> None:
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, str(ROOT / "app.py")],
        cwd=ROOT,
        env={
            **os.environ,  # noqa: TID251 the program needs PATH and its kin
            "CDK_CONTEXT_JSON": json.dumps({"config": str(config)}),
            "CDK_OUTDIR": str(output),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=SYNTH_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0 or not (output / "manifest.json").exists():
        # What our own program and CDK say comes before what jsii says about itself.
        said = re.split(
            r"^(?:jsii\.errors|Traceback)", done.stderr, maxsplit=1, flags=re.MULTILINE
        )[0]
        said = said.strip() or done.stderr.strip()
        raise LocalError(f"synth of {config} failed:\n{said[-ERROR_SHOWN_MAX:]}")


def _fingerprint(config: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    digest.update(config.read_bytes())
    for path in _sources():
        digest.update(f"\0{os.path.relpath(path, ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _sources() -> Iterator[Path]:
    for name in ("app.py", "cdk.json", "requirements/layer.lock"):
        if (ROOT / name).exists():
            yield ROOT / name
    for package in ("config", "lambdas", "stacks"):
        yield from sorted((ROOT / package).rglob("*.py"))


def _forget(folder: Path) -> None:
    """Keep the newest assemblies only: a day of work would leave gigabytes."""
    kept = sorted(
        (path for path in folder.iterdir() if path.is_dir()),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for path in kept[ASSEMBLIES_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
