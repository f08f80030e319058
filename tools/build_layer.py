"""
Build the functions' dependencies layer into build/layer, without Docker.

Wheels for Lambda's Python 3.14 on arm64 are unpacked as locked, then everything
a function never reads is removed: clients of services that it does not call,
bytecode, tests, installer metadata. The same lock always gives the same bytes,
so an unchanged layer never makes CloudFormation publish a new one.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "layer.lock"
LAYER = ROOT / "build" / "layer"
STAMP = ROOT / "build" / "layer.stamp"
# Cold start grows with the layer; the limit is the budget, not Lambda's (250 MB).
SIZE_MB_MAX = 25
PYTHON_VERSION = "3.14"
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")
# The services that lambdas/adapters calls, and STS, which resolves roles.
SERVICES = frozenset(
    {
        "cloudwatch",
        "dynamodb",
        "events",
        "lambda",
        "s3",
        "sagemaker",
        "sagemaker-runtime",
        "secretsmanager",
        "sns",
        "sqs",
        "sts",
    }
)
# Newer compilers and timestamps would change them from build to build.
JUNK = ("**/__pycache__", "**/tests", "bin", "**/*.pyi", "*.dist-info/RECORD")
JUNK_METADATA = ("REQUESTED", "INSTALLER", "direct_url.json")


class LayerError(Exception):
    """The layer cannot be built, or is too big."""


def digest() -> str:
    """Fingerprint what decides the layer: its lock and this script."""
    return hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()


def install(target: Path) -> None:
    """Unpack the locked wheels for Lambda's platform."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--target", str(target), "--no-compile", "--no-deps", "--require-hashes"]
    command += ["--python-version", PYTHON_VERSION, "--implementation", "cp"]
    command += ["--only-binary=:all:"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    command += ["-r", str(LOCK)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise LayerError(done.stdout.strip())


def prune(packages: Path) -> None:
    """Remove what no function reads, and what differs between two equal builds."""
    for folder in sorted((packages / "botocore" / "data").iterdir()):
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)
    for pattern in ("botocore/data/*/*/examples-1.json*", "boto3/examples", "boto3/data/*"):
        for path in sorted(packages.glob(pattern)):
            if pattern == "boto3/data/*" and path.name in SERVICES:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for pattern in JUNK:
        for path in sorted(packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in JUNK_METADATA:
        for path in sorted(packages.glob(f"*.dist-info/{name}")):
            path.unlink()


def size_bytes(folder: Path) -> int:
    """Unpacked bytes, as Lambda counts them."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fingerprint(folder: Path) -> str:
    """One hash over every path and byte of the layer."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sha.update(path.relative_to(folder).as_posix().encode() + b"\0")
            sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def report(folder: Path) -> str:
    """Size and hash in one line."""
    megabytes = size_bytes(folder) / 1e6
    return f"layer: {megabytes:.1f} MB of {SIZE_MB_MAX} MB unpacked, sha256 {fingerprint(folder)}"


def build() -> None:
    """Build beside the old layer and swap, so that a failure leaves the old one whole."""
    fresh = LAYER.with_name("layer.new")
    shutil.rmtree(fresh, ignore_errors=True)
    packages = fresh / "python"
    install(packages)
    prune(packages)
    if size_bytes(fresh) > SIZE_MB_MAX * 1e6:
        message = f"{report(fresh)}: too big"
        raise LayerError(message)
    shutil.rmtree(LAYER, ignore_errors=True)
    fresh.rename(LAYER)


def main() -> int:
    """Build the layer unless it is already the one wanted."""
    parser = argparse.ArgumentParser(description="Build the functions' dependencies layer.")
    parser.add_argument("--force", action="store_true", help="build even when up to date")
    parser.add_argument("--quiet", action="store_true", help="say nothing when up to date")
    options = parser.parse_args()
    wanted = digest()
    current = LAYER.is_dir() and STAMP.exists() and STAMP.read_text() == wanted
    if current and not options.force:
        if not options.quiet:
            print(report(LAYER))
        return 0
    try:
        build()
    except LayerError as error:
        print(error, file=sys.stderr)
        return 1
    STAMP.write_text(wanted)
    print(report(LAYER), file=sys.stderr if options.quiet else sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
