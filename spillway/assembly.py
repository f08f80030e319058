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
from contextlib import suppress
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
"""The project's root: where `app.py` is and where models' local commands start."""

ASSEMBLIES_KEPT = 16
SYNTH_SECONDS_MAX = 300
ATTEMPTS_MAX = 3
ERROR_SHOWN_MAX = 4000

_held: Final[dict[Path, int]] = {}
"""Open descriptors of the assemblies that this process uses, each with a shared lock."""


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
    for _ in range(ATTEMPTS_MAX + 1):  # what the last attempt wrote is found by one more look
        name = _fingerprint(config)
        if _hold(folder / name):
            return folder / name
        # Others that want the same wait for it: tests run side by side.
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _hold(folder / name):
                _synthesize_into(folder / name, config)
    raise LocalError(f"the files that make {config} an assembly are changing all the time")


def _synthesize_into(assembly: Path, config: Path) -> None:
    """Write an assembly, unless a file that was saved meanwhile may be in it or not."""
    with tempfile.TemporaryDirectory(dir=assembly.parent, prefix="new-") as fresh:
        _synthesize(config, Path(fresh) / "cdk.out")
        # What is there already is the same: its writer held a lock that was forgotten meanwhile.
        if _fingerprint(config) == assembly.name and not assembly.exists():
            (Path(fresh) / "cdk.out").rename(assembly)
    _forget(assembly.parent)


def _hold(assembly: Path) -> bool:
    """Whether an assembly is there; if so, it stays there for as long as this process lives.

    Functions read what travels with their code at every cold start: an assembly that another
    process forgot, because it made many others, would break a twin in the middle of its work.
    """
    manifest = assembly / "manifest.json"
    try:
        descriptor = os.open(manifest, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # it is being forgotten at this moment
        os.close(descriptor)
        return False
    if not manifest.exists():
        os.close(descriptor)
        return False
    before = _held.pop(assembly, None)
    if before is not None:
        os.close(before)
    _held[assembly] = descriptor
    os.utime(assembly)
    return True


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
    """Keep what was used last, and what is in use: a day of work would leave gigabytes."""
    used_s: dict[Path, float] = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process forgets, too
            if path.is_dir():
                used_s[path] = path.stat().st_mtime
    newest_first = sorted(used_s, key=lambda path: used_s[path], reverse=True)
    whole = [path for path in newest_first if not path.name.startswith(("new-", "old-"))]
    for path in whole[ASSEMBLIES_KEPT:]:
        with suppress(OSError), (path / "manifest.json").open() as manifest:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A death here leaves no half of an assembly under its name.
            shutil.rmtree(path.rename(folder / f"old-{path.name}"), ignore_errors=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
    for path in set(used_s) - set(whole):
        # The newest was made just now, by files' time: ours may be a twin's.
        if used_s[path] < used_s[newest_first[0]] - SYNTH_SECONDS_MAX:  # of a process that died
            shutil.rmtree(path, ignore_errors=True)
