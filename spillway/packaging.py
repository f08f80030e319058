"""A directory becomes a `model.tar.gz` whose bytes depend on nothing but its files.

The same weights packed by two people, or twice, are the same object in every bucket, and are
uploaded once. So names are sorted, owners and times left out, modes are one of two, and the gzip
stream has no time and holds its content as it is: how well a library compresses changes with its
version, weights are hardly smaller compressed, and gigabytes are packed as fast as they are read.
"""

import hashlib
import io
import os
import stat
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

LEFT_OUT: Final = frozenset({".DS_Store", ".git", "__pycache__"})
"""What machines leave behind, and no model needs."""
GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952: deflate, no flags, no time, no operating system."""
BLOCK: Final = 0xFFFF
"""Bytes of one stored block at most (RFC 1951)."""
READ_BYTES: Final = 1 << 20


class PackagingError(ValueError):
    """A directory that cannot become an archive, with the file that is in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A packed model.

    Attributes:
        path: Where it is.
        sha256: Of its bytes, as 64 hexadecimal digits.
        size_bytes: Its length.
        content_bytes: Of the files in it.
        files: How many.
    """

    path: Path
    sha256: str
    size_bytes: int
    content_bytes: int
    files: int


def pack(directory: Path, target: Path) -> Archive:
    """Pack a directory's files; the archive appears whole or not at all.

    Args:
        directory: Its files stand at the archive's top, as SageMaker expects them.
        target: The archive; one that is there is replaced.

    Raises:
        PackagingError: It holds a link or a special file, nothing, or the archive itself, or a
            file changed meanwhile.
    """
    if not directory.is_dir():
        raise PackagingError(f"{directory} is no directory")
    if target.resolve().is_relative_to(directory.resolve()):
        raise PackagingError(f"{target} lies in {directory}, and would be packed into itself")
    found = list(_files(directory, ""))
    if not found:
        raise PackagingError(f"{directory} holds no files")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".packing-", delete=False) as fresh:
        try:
            stored = _Stored(fresh)
            content = _write(directory, found, stored)
            stored.close()
            fresh.flush()
            Path(fresh.name).chmod(0o644)
            Path(fresh.name).replace(target)
        except BaseException:
            Path(fresh.name).unlink(missing_ok=True)
            raise
    return Archive(
        path=target,
        sha256=stored.sha256.hexdigest(),
        size_bytes=stored.size_bytes,
        content_bytes=content,
        files=len(found),
    )


def described(path: Path) -> Archive:
    """An archive that is there already; how many files it holds is not looked up.

    Raises:
        PackagingError: It cannot be read, or is no gzip file.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while some := file.read(READ_BYTES):
                if not size and not some.startswith(GZIP_HEAD[:2]):
                    raise PackagingError(f"{path} is no .tar.gz: pack it with `spillway model`")
                digest.update(some)
                size += len(some)
    except OSError as error:
        raise PackagingError(f"{path}: cannot be read: {error.strerror}") from error
    return Archive(path=path, sha256=digest.hexdigest(), size_bytes=size, content_bytes=0, files=0)


def _files(directory: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Names and properties of all files, sorted by their bytes wherever they were made.

    Raises:
        PackagingError: Something there is neither a file nor a directory.
    """
    with os.scandir(directory) as entries:
        listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in listed:
        name = f"{prefix}{entry.name}"
        if entry.name in LEFT_OUT:
            continue
        properties = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(properties.st_mode):
            raise PackagingError(
                f"{name} is a symbolic link: put the file itself there, or leave it out; what a "
                "link leads to is not the same everywhere"
            )
        if stat.S_ISDIR(properties.st_mode):
            yield from _files(Path(entry.path), f"{name}/")
        elif stat.S_ISREG(properties.st_mode):
            yield _told(name), properties
        else:
            raise PackagingError(f"{name} is neither a file nor a directory: leave it out")


def _told(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackagingError(f"{name!r}: a file's name must be UTF-8") from None
    return name


def _write(directory: Path, found: list[tuple[str, os.stat_result]], stored: "_Stored") -> int:
    content = 0
    with tarfile.open(
        fileobj=stored, mode="w|", format=tarfile.PAX_FORMAT, bufsize=READ_BYTES
    ) as archive:
        for name, properties in found:
            entry = tarfile.TarInfo(name)
            entry.size = properties.st_size
            entry.mode = 0o755 if properties.st_mode & stat.S_IXUSR else 0o644
            content += entry.size
            try:
                with (directory / name).open("rb") as file:
                    archive.addfile(entry, file)
                    changed = bool(file.read(1))
            except OSError as error:
                raise PackagingError(f"{name}: cannot be read: {error}") from error
            if changed:
                raise PackagingError(f"{name} grew while it was packed: try again")
    return content


class _Stored(io.RawIOBase):
    """A gzip stream of stored blocks."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._waiting = bytearray()
        self._crc = 0
        self._length = 0
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self._put(GZIP_HEAD)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        """Take some content; blocks are cut where they are full, however it comes."""
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._waiting += data
        while len(self._waiting) > BLOCK:
            self._block(bytes(self._waiting[:BLOCK]), last=False)
            del self._waiting[:BLOCK]
        return len(data)

    def close(self) -> None:
        """Write what is left, and the end."""
        if not self.closed:
            self._block(bytes(self._waiting), last=True)
            self._put(struct.pack("<II", self._crc, self._length & 0xFFFFFFFF))
        super().close()

    def _block(self, data: bytes, *, last: bool) -> None:
        self._put(struct.pack("<BHH", last, len(data), len(data) ^ BLOCK))
        self._put(data)

    def _put(self, data: bytes) -> None:
        self.sha256.update(data)
        self.size_bytes += len(data)
        self._file.write(data)
