"""A directory becomes the same archive wherever and whenever it is packed."""

import gzip
import hashlib
import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from spillway.packaging import BLOCK, PackagingError, described, pack


def write(directory: Path, files: dict[str, bytes]) -> Path:
    """A directory with files, made in that order."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


FILES = {
    "code/serve.py": b"print('serves')\n",
    "weights.bin": random.Random(1).randbytes(3 * BLOCK + 17),  # noqa: S311 no secret
    "a" * 120: b"a name that needs an extended header",
    "größe.txt": b"",
}


EXPECTED = "d9f31cfa5f72a23763e2371c9a46b3d489ef5f122bd9be22379839836f2eda2c"


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Two people who pack one model would upload, register and release two."""
    one = write(tmp_path / "one", FILES)
    other = write(tmp_path / "other", dict(reversed(FILES.items())))
    (other / "weights.bin").chmod(0o600)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    write(other, {"__pycache__/serve.pyc": b"x", "code/.DS_Store": b"x", ".git/HEAD": b"x"})

    first, second = pack(one, tmp_path / "1.tar.gz"), pack(other, tmp_path / "deep" / "2.tar.gz")

    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    # On every machine, with every version of Python and zlib.
    assert first.sha256 == EXPECTED
    assert described(first.path).sha256 == first.sha256
    assert (first.files, first.size_bytes) == (4, first.path.stat().st_size)
    assert first.content_bytes == sum(map(len, FILES.values()))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1536, 5 * BLOCK])
def test_what_was_packed_comes_out_again(tmp_path: Path, size: int) -> None:
    """SageMaker unpacks with ordinary tools, and a broken end would show at an endpoint's start."""
    directory = write(tmp_path / "model", {**FILES, "sized": b"\1" * size})
    (directory / "code" / "serve.py").chmod(0o755)

    archive = pack(directory, tmp_path / "model.tar.gz")

    plain = gzip.decompress(archive.path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as unpacked:
        found = {each.name: each for each in unpacked.getmembers()}
        assert list(found) == sorted([*FILES, "sized"], key=str.encode)
        for name, content in {**FILES, "sized": b"\1" * size}.items():
            extracted = unpacked.extractfile(name)
            assert extracted is not None
            assert extracted.read() == content
    assert {each.mtime for each in found.values()} == {0}
    assert {each.uname for each in found.values()} == {""}
    assert found["code/serve.py"].mode == 0o755
    assert found["weights.bin"].mode == 0o644


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    """A link that leads nowhere on the instance is found when the endpoint does not start."""
    linked = write(tmp_path / "linked", FILES)
    (linked / "code" / "shared.py").symlink_to("/etc/hostname")
    piped = write(tmp_path / "piped", FILES)
    os.mkfifo(piped / "pipe")
    (tmp_path / "empty" / "__pycache__").mkdir(parents=True)
    target = tmp_path / "out" / "model.tar.gz"

    for directory, told in (
        (linked, "code/shared.py is a symbolic link"),
        (piped, "pipe is neither a file nor a directory"),
        (tmp_path / "empty", "holds no files"),
        (tmp_path / "nowhere", "is no directory"),
    ):
        with pytest.raises(PackagingError, match=told):
            pack(directory, target)
    with pytest.raises(PackagingError, match="into itself"):
        pack(linked, linked / "model.tar.gz")
    assert not target.exists()


def test_an_archive_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    """Half an archive that looks whole is uploaded to three regions."""
    directory = write(tmp_path / "model", {"a": b"a", "b": b"b"})
    target = tmp_path / "out" / "model.tar.gz"
    before = pack(directory, target)
    (directory / "b").unlink()
    (directory / "b").symlink_to("a")

    with pytest.raises(PackagingError):
        pack(directory, target)

    assert described(target).sha256 == before.sha256
    assert [path.name for path in target.parent.iterdir()] == ["model.tar.gz"]


def test_something_else_is_no_archive(tmp_path: Path) -> None:
    """A checkpoint that was given in place of its archive is not sent to every region."""
    (tmp_path / "weights.bin").write_bytes(b"weights")

    with pytest.raises(PackagingError, match=r"is no \.tar\.gz"):
        described(tmp_path / "weights.bin")
