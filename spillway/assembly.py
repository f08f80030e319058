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
ERROR_SHOWN_MAX = 4000


class LocalError(RuntimeError):
    """A deployment that does not come up on this machine, in words for its user."""


def synthesize(config: Path | str, *, output: Path | None = None) -> Path:
    """Write the cloud assembly of a configuration, or find the one written before.

    Assemblies are kept under `build/assemblies`, named after the content of everything that synth
    reads, so an unchanged project is synthesized once.

    Args:
        config: The deployment.
        output: Where to write instead; always written anew.

    Returns:
        The assembly's folder.

    Raises:
        LocalError: Synth failed; the message is what it said.
    """
    config = Path(config).resolve()
    if output is not None:
        _synthesize(config, output)
        return output
    kept = ROOT / "build" / "assemblies" / _fingerprint(config)
    kept.parent.mkdir(parents=True, exist_ok=True)
    # One process synthesizes, the others wait for it: tests run side by side.
    with (kept.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "manifest.json").exists():
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix="new-") as folder:
                fresh = Path(folder) / "cdk.out"
                _synthesize(config, fresh)
                fresh.rename(kept)
            _forget(kept.parent)
    return kept


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
    for path in [config, *_sources()]:
        digest.update(f"\0{path.name}\0".encode())
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
