"""Deployments and their regional URLs: where a request may go, and where it should go first."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx

ONLY_ZONE: Final = "default"
"""The name of the zone of a client that has one deployment."""
_KEY: Final = re.compile(r"[!-~]+")


def checked_key(key: str) -> str:
    """The key, if it can be sent.

    Raises:
        ValueError: It cannot; the message does not repeat it, as an HTTP library's would.
    """
    if not _KEY.fullmatch(key):
        raise ValueError("the key must be printable ASCII characters, without spaces or line ends")
    return key


@dataclass(frozen=True, slots=True)
class Zone:
    """One deployment, of which nothing leaves: its regional URLs, or its one domain, and a key.

    Args:
        urls: Base URLs, everything before `/v1`, in the order in which they are preferred.
        key: The API key.

    Raises:
        ValueError: There is no URL, one is not a base URL, or the key cannot be sent.
    """

    urls: str | Sequence[str]
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        checked_key(self.key)
        if not self.bases:
            raise ValueError("a deployment needs at least one URL")
        for url in self.bases:
            _check_url(url)

    @property
    def bases(self) -> tuple[str, ...]:
        """The URLs without repetitions and slashes at the end."""
        urls = (self.urls,) if isinstance(self.urls, str) else self.urls
        return tuple(dict.fromkeys(url.rstrip("/") for url in urls))


def _check_url(url: str) -> None:
    try:
        httpx.URL(url)
        parts = urlsplit(url)
    except (httpx.InvalidURL, ValueError):
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a base URL looks like https://api.example.com: everything before /v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            f"the base URL of {parts.hostname} must hold no user, password, query or fragment"
        )


@dataclass(slots=True)
class Region:
    """What a client knows about one regional URL.

    Attributes:
        url: Its base URL.
        resting_until_s: It failed: until then others are asked first, by the client's clock.
        not_before_s: When it failed, or when it said that it wants to be asked again.
    """

    url: str
    resting_until_s: float = -math.inf
    not_before_s: float = -math.inf

    def rests(self, now_s: float) -> bool:
        """Whether it failed a short while ago."""
        return now_s < self.resting_until_s

    def ready_in_s(self, now_s: float) -> float:
        """Seconds until it wants to be asked again."""
        return max(0.0, self.not_before_s - now_s)


class Regions:
    """The regions of a zone, and which of them failed lately.

    Args:
        urls: Base URLs, the preferred one first.
        cool_down_s: How long a region that failed is left alone while another one works.
    """

    def __init__(self, urls: Sequence[str], *, cool_down_s: float) -> None:
        self._regions = [Region(url) for url in urls]
        self._cool_down_s = cool_down_s

    def choose(self, now_s: float) -> Region:
        """The preferred region that works; if none does, the one that may be asked the soonest."""
        for region in self._regions:
            if not region.rests(now_s):
                return region
        return min(self._regions, key=lambda region: region.not_before_s)

    def failed(self, region: Region, now_s: float, retry_after_s: float | None) -> None:
        """Leave a region alone for a while."""
        after_s = retry_after_s or 0.0
        region.not_before_s = now_s + after_s
        region.resting_until_s = now_s + max(self._cool_down_s, after_s)

    def answered(self, region: Region) -> None:
        """A region that answers is well, whatever it says."""
        region.resting_until_s = region.not_before_s = -math.inf
