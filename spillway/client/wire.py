"""What goes over the wire, and what an answer means; nothing here sends anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from spillway.client.errors import ServiceError, UnavailableError, kind_of

SEE_OTHER: Final = 303
GATEWAY_TIMEOUT: Final = 504
"""API Gateway's own forbids to repeat, because most clients send no idempotency key: ours does."""
RETRIED: Final = frozenset({429, 500, 502, 503, GATEWAY_TIMEOUT})
TOO_MANY: Final = 429
ANSWER_SHOWN_MAX: Final = 200
ANSWER_BYTES_MAX: Final = 16 * 2**20
"""More than API Gateway lets through: whoever sends more is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to whichever region takes it."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)

    def below(self, base_url: str) -> str:
        """Its URL in the region of that base URL."""
        query = f"?{urlencode(self.params)}" if self.params else ""
        return f"{base_url}{self.path}{query}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A step: send this, and come back with an `Answer` or with `Silence`.

    Attributes:
        bytes_max: More of an answer is not read.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    timeout_s: float
    connect_timeout_s: float
    bytes_max: int = ANSWER_BYTES_MAX

    @property
    def request(self) -> dict[str, Any]:
        """The request as the HTTP library takes it."""
        return {
            "method": self.method,
            "url": self.url,
            "headers": self.headers,
            "content": self.content,
            "timeout": self.timeout,
            "follow_redirects": False,
        }

    @property
    def timeout(self) -> httpx.Timeout:
        """The limits as the HTTP library takes them."""
        return httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, self.connect_timeout_s))


@dataclass(frozen=True, slots=True)
class Pause:
    """A step: let that many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a region answered; not `whole` if there was more than anybody wanted to read."""

    status: int
    headers: httpx.Headers
    content: bytes = field(repr=False)
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Silence:
    """A region did not answer; whether it is to blame."""

    reason: str
    region_failed: bool = True


Heard = Answer | Silence


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: its JSON, its headers, its status and the base URL it came from."""

    document: dict[str, Any]
    headers: httpx.Headers
    status: int
    base_url: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """An answer that is none, or a refusal; whether to try again, and where."""

    error: ServiceError
    retry: bool
    region_failed: bool


def silence(error: httpx.RequestError) -> Silence:
    """What an exception of the HTTP library says about the region."""
    told = str(error)
    reason = f"{type(error).__name__}: {told}" if told else type(error).__name__
    # Waiting for a free connection of our own says nothing about the region.
    return Silence(reason, region_failed=not isinstance(error, httpx.PoolTimeout))


class Received:
    """An answer as it arrives, part by part."""

    def __init__(self, answer: httpx.Response, bytes_max: int) -> None:
        self._answer = answer
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self._bytes = 0

    def more(self, part: bytes) -> bool:
        """Take a part; whether to go on reading."""
        self._bytes += len(part)
        if self._bytes <= self._bytes_max:
            self._parts.append(part)
        return self._bytes <= self._bytes_max

    @property
    def answer(self) -> Answer:
        """What has arrived."""
        whole = self._bytes <= self._bytes_max
        return Answer(
            self._answer.status_code, self._answer.headers, b"".join(self._parts), whole=whole
        )


def judge(heard: Heard, base_url: str, key: str | None) -> Reply | Trouble:
    """Tell a reply from a refusal, and a refusal for good from one for now.

    A wait that ends before its job is answered with 303, which is a reply like 200 and 202.
    """
    outcome = _judged(heard, base_url)
    if isinstance(outcome, Trouble) and key:
        # A proxy may repeat what it was sent, and an error ends in a log.
        error = outcome.error
        error.message = error.message.replace(key, "[key]")
        error.args = (error.message,)
    return outcome


def _judged(heard: Heard, base_url: str) -> Reply | Trouble:
    if isinstance(heard, Silence):
        error = UnavailableError(f"no answer from {base_url}: {heard.reason}")
        return Trouble(error, retry=True, region_failed=heard.region_failed)
    if not heard.whole:
        return _stranger(heard, base_url)
    document = _json_of(heard.content)
    if heard.status < 300 or heard.status == SEE_OTHER:  # noqa: PLR2004 HTTP
        if document is None:
            return _stranger(heard, base_url)
        return Reply(document, heard.headers, heard.status, base_url)
    if heard.status < 400:  # noqa: PLR2004 HTTP
        # A key must not follow a redirect to wherever.
        return _stranger(heard, base_url)
    return Trouble(
        _refusal(heard, document),
        retry=heard.status in RETRIED
        and (heard.status == GATEWAY_TIMEOUT or heard.headers.get("x-should-retry") != "false"),
        region_failed=heard.status in RETRIED and heard.status != TOO_MANY,
    )


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds to wait, if the service said so."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _json_of(content: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _shown(answer: Answer) -> str:
    return answer.content[:ANSWER_SHOWN_MAX].decode("utf-8", errors="replace")


def _stranger(answer: Answer, base_url: str) -> Trouble:
    said = f"{answer.status} with {_shown(answer)!r}"
    told = f"{base_url} is not a Spillway API: it answered {said}"
    error = UnavailableError(told, code="not_spillway")
    return Trouble(error, retry=False, region_failed=False)


def _refusal(answer: Answer, document: dict[str, Any] | None) -> ServiceError:
    reason = httpx.codes.get_reason_phrase(answer.status) or f"status {answer.status}"
    if document is None:
        error: dict[str, Any] = {"message": _shown(answer) or reason, "code": "not_json"}
    elif isinstance(document.get("error"), dict):
        error = document["error"]
    else:
        error = {"message": document.get("message") or reason}
    param = error.get("param")
    return kind_of(answer.status)(
        str(error.get("message") or reason),
        status=answer.status,
        code=str(error.get("code") or "refused"),
        param=None if param is None else str(param),
        retry_after_s=retry_after_s(answer.headers),
        request_id=answer.headers.get("x-amzn-RequestId"),
    )
