"""The reader of traces: any length, and a clear word about damaged files."""

import gzip
import itertools
from pathlib import Path

import pytest

from spillway import traces
from spillway.traces import Row, TraceError, read

HEADER = "arrival_s,input_tokens,output_tokens,model,session\n"


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    """A trace with these lines after the header."""
    path = folder / name
    content = (HEADER + text).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_rows_are_read_with_blanks_where_the_source_knows_nothing(
    tmp_path: Path, name: str
) -> None:
    """A blank token count read as 0 makes a service look faster than it is."""
    path = written(tmp_path, "0.000,12,34,chat,alice\n1.500,,,,\n", name)

    assert list(read(path)) == [Row(0.0, 12, 34, "chat", "alice"), Row(1.5, None, None, "", "")]


def test_the_shipped_slice_is_readable_and_carries_its_licence() -> None:
    """The demo needs nothing beside the project, and the data's authors are named."""
    rows = list(read(traces.SLICE))
    notice = traces.SLICE.with_name("README.md").read_text(encoding="utf-8")

    assert len(rows) == 911
    assert f"{len(rows)} requests" in notice
    assert "Patel et al." in notice
    assert "Attribution 4.0" in traces.SLICE.with_name("CC-BY-4.0.txt").read_text(encoding="utf-8")


def test_a_trace_is_never_held_as_a_whole(tmp_path: Path) -> None:
    """A day of traffic must not need a day of memory: the first rows come before the last."""
    path = written(tmp_path, "0.0,1,1,m,\n0.5,1,1,m,\nnot a row\n")

    assert len(list(itertools.islice(read(path), 2))) == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1.0,1,1,m", "line 3: needs 5 fields, has 4"),
        ("soon,1,1,m,", "line 3: arrival_s 'soon' is not a number"),
        ("nan,1,1,m,", "line 3: arrival_s nan"),
        ("-1,1,1,m,", "line 3: arrival_s -1"),
        ("0.1,1,1,m,", "line 3: arrival_s must ascend"),
        ("1.0,many,1,m,", "line 3: 'many' is not a whole number"),
        ("1.0,-5,1,m,", "line 3: -5 tokens"),
        ("1.0,99999999999,1,m,", "line 3: 99999999999 tokens"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    """Somebody with a million rows must learn which one is wrong."""
    path = written(tmp_path, f"0.5,1,1,m,\n{line}\n")

    with pytest.raises(TraceError, match=problem):
        list(read(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("trace.txt", b""),
        ("trace.csv", b""),
        ("trace.csv", b"time,tokens\n"),
        ("trace.csv", b"\xff\xfe\x00"),
        ("trace.csv.gz", b"not gzip"),
        ("trace.csv.gz", gzip.compress(HEADER.encode() * 50, mtime=0)[:-9]),
    ],
)
def test_a_file_that_is_no_trace_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    """A wrong path must not look like a quiet day."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TraceError, match=name):
        list(read(path))
