"""Large inputs: written by links, in parts side by side, and handed in when they are ready."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from spillway.client import BadRequestError, Retries, UnavailableError
from tests.client.fake_service import BUCKET, KEY, After, Before, FakeService, Fault, Kind, refusal

UPLOAD = "upload_us-east-1_a"
EASTERN = "east.example.com"
PART = 5


@dataclass
class Bucket(FakeService):
    """A service that takes one upload.

    Attributes:
        copied_in_s: How long after its completion it is ready.
        written: Its pieces by their place; the only one of an upload in one piece is 0.
        turn: Of the links, which are new each time.
        worn: Links up to this turn do not work any more.
    """

    copied_in_s: float = 0.0
    written: dict[int, bytes] = field(default_factory=dict)
    wanted: dict[str, Any] = field(default_factory=dict)
    turn: int = 0
    worn: int = 0
    complete_s: float = math.inf

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(self.base)
        if request.url.host == BUCKET:
            return self._write(request)
        if not path.startswith("/v1/uploads"):
            return super()._answer(request)
        if path == "/v1/uploads":
            self.wanted = json.loads(request.content)
        elif path.endswith("/complete"):
            size = sum(map(len, self.written.values()))
            if size != self.wanted["bytes"]:
                return refusal(409, "upload_incomplete")
            self.complete_s = self.now_s
        return httpx.Response(201, json=self._upload())

    def _write(self, request: httpx.Request) -> httpx.Response:
        piece = int(request.url.path.strip("/"))
        if int(request.url.params["turn"]) <= self.worn:
            return refusal(403)
        if request.headers.get("If-None-Match") == "*" and piece in self.written:
            return httpx.Response(412)
        self.written[piece] = request.content
        return httpx.Response(200)

    def _upload(self) -> dict[str, Any]:
        self.turn += 1
        size, part = self.wanted["bytes"], self.wanted.get("part_bytes")
        links: dict[str, Any] = {"url": self._link(0), "headers": {"If-None-Match": "*"}}
        if part:
            pieces = [
                {"number": n + 1, "bytes": min(part, size - n * part), "url": self._link(n)}
                for n in range(-(-size // part))
            ]
            links = {"headers": {}, "parts": pieces}
        status = "waiting" if self.complete_s == math.inf else "uploaded"
        status = "ready" if self.now_s >= self.complete_s + self.copied_in_s else status
        return {"id": UPLOAD, "status": status, "bytes": size, "region": "us-east-1", **links}

    def _link(self, piece: int) -> str:
        return f"https://{BUCKET}/{piece}?turn={self.turn}"


@pytest.fixture
def service() -> Bucket:
    """A service that takes an upload."""
    return Bucket()


def puts(service: FakeService) -> list[httpx.Request]:
    """Requests that wrote."""
    return [request for request in service.asked if request.method == "PUT"]


@pytest.mark.parametrize("source", ["bytes", "path", "text"])
def test_a_small_input_goes_in_one_piece_and_becomes_a_job(
    service: Bucket, kind: Kind, tmp_path: Path, source: str
) -> None:
    """A file, or what a program has in its hands."""
    file = tmp_path / "input.json"
    file.write_bytes(b"[1, 2, 3]")
    given = {"bytes": file.read_bytes(), "path": file, "text": str(file)}[source]
    client = kind(service)

    upload = client("upload", given)
    job = client("submit", "embedder", upload, tier="batch")

    assert (upload.id, upload.ready, upload.bytes) == (UPLOAD, True, 9)
    assert service.written == {0: b"[1, 2, 3]"}
    assert service.wanted == {"bytes": 9, "content_type": "application/json"}
    body = service.jobs[job.id]["body"]
    assert body == {"model": "embedder", "input_upload": UPLOAD, "tier": "batch"}
    (written,) = puts(service)
    assert KEY not in repr(written.headers.raw)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_large_input_goes_in_parts(
    service: Bucket, kind: Kind, tmp_path: Path, in_memory: bool
) -> None:
    """A gigabyte at once fails at its last byte, and begins again."""
    file = tmp_path / "input.bin"
    file.write_bytes(bytes(range(23)))

    upload = kind(service)(
        "upload",
        file.read_bytes() if in_memory else file,
        part_bytes=PART,
        content_type="application/octet-stream",
    )

    assert upload.ready
    assert b"".join(service.written[n] for n in range(5)) == bytes(range(23))
    assert service.wanted["part_bytes"] == PART
    assert len(puts(service)) == 5


@pytest.mark.parametrize(
    "fault",
    [
        Before(httpx.ConnectError),
        After(httpx.ReadTimeout),
        Before(refusal(503)),
        After(refusal(500)),
    ],
    ids=str,
)
@pytest.mark.parametrize("part_bytes", [PART, 100])
def test_a_piece_that_fails_is_written_again_and_no_other(
    service: Bucket, kind: Kind, fault: Fault, part_bytes: int
) -> None:
    """One lost packet in an hour must not cost the hour; what is there already is no failure."""
    service.faults[BUCKET] = [fault]

    assert kind(service)("upload", bytes(23), part_bytes=part_bytes).ready

    assert len(puts(service)) == (6 if part_bytes == PART else 2)


def test_links_that_have_run_out_are_asked_for_again_once(service: Bucket, kind: Kind) -> None:
    """A slow line needs more than the hour that links work."""
    service.worn = 1
    assert kind(service, concurrency=3)("upload", bytes(15), part_bytes=PART).ready

    assert len(service.written) == 3
    gets = [request for request in service.asked if request.method == "GET"]
    assert 1 <= len(gets) <= 3, "parts side by side share the new ones"
    service.worn = 1000
    with pytest.raises(UnavailableError, match="could not be written: status 403"):
        kind(service, concurrency=1)("upload", bytes(15), part_bytes=PART)


def test_an_upload_is_waited_for_until_every_region_has_it(service: Bucket, kind: Kind) -> None:
    """A job that is refused for want of a copy would surprise."""
    service.copied_in_s = 40
    assert kind(service)("upload", b"1").ready
    assert service.now_s >= 1040
    assert len(service.asked) < 20

    service.written.clear()
    service.complete_s = math.inf
    service.copied_in_s = 4000
    with pytest.raises(UnavailableError, match="is uploaded after 60 s") as caught:
        kind(service)("upload", b"1", timeout_s=60)
    assert caught.value.code == "upload_not_ready"


def test_an_upload_that_nobody_takes_ends(service: Bucket, kind: Kind) -> None:
    """Nobody tries for ever; and a file that is not there is told before anything is asked."""
    service.down = {BUCKET}
    with pytest.raises(UnavailableError, match="could not be written: no answer"):
        kind(service, retries=Retries(attempts_max=3))("upload", bytes(2))
    assert len(puts(service)) == 3
    service.asked.clear()
    with pytest.raises(FileNotFoundError):
        kind(service)("upload", "no-such-file")
    assert service.asked == []
    service.faults[EASTERN] = [Before(refusal(413, "too_large"))]
    with pytest.raises(BadRequestError):
        kind(service)("upload", bytes(2))


def test_a_bulk_of_uploads_makes_nothing_twice(service: Bucket, kind: Kind) -> None:
    """An upload is an input like any other."""
    client = kind(service)
    upload = client("upload", b"1")

    (first,) = client("submit_many", "embedder", [upload], key_prefix="k")
    (again,) = client("submit_many", "embedder", [upload], key_prefix="k")

    assert first.id == again.id
