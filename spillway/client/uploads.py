"""Inputs that do not fit into a request: written to S3 by signed links, in parts side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from spillway.client.calls import PROMPT_S, Calls
from spillway.client.errors import UnavailableError
from spillway.client.flows import Flow, all_of
from spillway.client.views import Upload
from spillway.client.wire import RETRIED, Answer, Send

PART_BYTES: Final = 16 * 2**20
"""Larger inputs go in parts of this size: so many times `concurrency` is in memory at once."""
LINKS_MAX: Final = 2
"""A link that does not work any more is asked for again once."""
OK: Final = 200
THERE_ALREADY: Final = 412
"""A link writes once: the answer to an earlier try was lost."""
CHANGING: Final = 409
"""S3 is still busy with an earlier try."""
_UPLOAD: Final = TypeAdapter(Upload)


def upload(
    calls: Calls,
    source: Path | str | bytes,
    *,
    content_type: str,
    part_bytes: int,
    timeout_s: float,
    zone: str | None,
) -> Flow[Upload]:
    """Bring an input to where jobs are made of it.

    Raises:
        OSError: The file cannot be read.
        UnavailableError: It could not be written, or was not ready in time.
        ServiceError: It is refused.
    """
    until_s = calls.clock() + timeout_s
    content = _Content(source)
    wanted: dict[str, Any] = {"bytes": content.bytes, "content_type": content_type}
    if content.bytes > part_bytes:
        wanted["part_bytes"] = part_bytes
    begun = yield from calls.read(_UPLOAD, "POST", "/v1/uploads", zone=zone, body=wanted)
    place = f"/v1/uploads/{begun.id}"
    writing = _Writing(calls, content, begun, zone, until_s)
    pieces = [writing.piece(number) for number in range(len(begun.parts or ()) or 1)]
    yield from all_of(pieces, at_once=calls.concurrency)
    now = yield from calls.read(_UPLOAD, "POST", f"{place}/complete", zone=zone)
    pauses = 0
    while not now.ready:
        if calls.clock() >= until_s:
            message = f"{now.id} is {now.status} after {timeout_s:g} s"
            raise UnavailableError(message, code="upload_not_ready")
        pauses += 1
        yield calls.pause(pauses, asked_s=PROMPT_S, until_s=until_s)
        now = yield from calls.read(_UPLOAD, "GET", place, zone=zone)
    return now


class _Content:
    """What is uploaded, piece by piece: bytes, or a file that is opened for each."""

    def __init__(self, source: Path | str | bytes) -> None:
        self._source = source if isinstance(source, bytes) else Path(source)
        if isinstance(self._source, bytes):
            self.bytes = len(self._source)
        else:
            self.bytes = self._source.stat().st_size

    def piece(self, begin: int, size: int) -> bytes:
        if isinstance(self._source, bytes):
            return self._source[begin : begin + size]
        with self._source.open("rb") as file:
            file.seek(begin)
            return file.read(size)


@dataclass(slots=True)
class _Writing:
    """Writes the pieces of one upload, each as often as it takes."""

    calls: Calls
    content: _Content
    links: Upload
    """With the newest links that were given."""
    zone: str | None
    until_s: float

    def piece(self, number: int) -> Flow[None]:
        """Write one piece, counted from 0.

        Raises:
            UnavailableError: Nobody takes it.
        """
        retries = self.calls.retries
        parts = self.links.parts
        begin = sum(part.bytes for part in parts[:number]) if parts else 0
        size = parts[number].bytes if parts else self.links.bytes
        said, refused = "no answer", 0
        for attempt in range(1, retries.attempts_max + 1):
            used = self.links
            heard = yield Send(
                method="PUT",
                url=(used.parts[number].url if used.parts else used.url) or "",
                # The link's host is another one than the API's: it gets no key.
                headers=used.headers or {},
                content=self.content.piece(begin, size),
                timeout_s=retries.request_timeout_s,
                connect_timeout_s=retries.connect_timeout_s,
            )
            if isinstance(heard, Answer):
                if heard.status in {OK, THERE_ALREADY}:
                    return
                said = f"status {heard.status}"
                refused += heard.status not in RETRIED | {CHANGING}
            if self.calls.clock() >= self.until_s or refused >= LINKS_MAX:
                break
            yield self.calls.pause(attempt, asked_s=0.0, until_s=self.until_s)
            if refused:
                # Links work for an hour; whoever was first has asked for new ones already.
                yield from self._renew(used)
        message = f"a piece of {self.links.id} could not be written: {said}"
        raise UnavailableError(message, code="upload_failed")

    def _renew(self, used: Upload) -> Flow[None]:
        if self.links is used:
            place = f"/v1/uploads/{used.id}"
            now = yield from self.calls.read(_UPLOAD, "GET", place, zone=self.zone)
            # One that is there already has none: the next try says so.
            self.links = now if now.url or now.parts else used
