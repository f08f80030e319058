"""Presigned links to S3: whoever has one can do what was signed, until it expires, and no more.

moto serves any link, whatever its signature and age. Here each is checked as the S3 user guide
documents it ("Authenticating requests: using query parameters", sigv4-query-string-auth.html),
on the twin's clock.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from botocore.awsrequest import AWSPreparedRequest
from moto.core.models import botocore_stubber

from spillway.twin.apigateway import HttpResponse, UnreachableError
from spillway.twin.calls import ACCESS_KEY, SECRET_KEY
from spillway.twin.clock import Scheduler

SERVICE: Final = "s3"
_SIGNING: Final = "X-Amz-Signature"
_NEEDED: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    _SIGNING,
)
EXPIRES_S_MAX: Final = 604_800


class LinkError(Exception):
    """S3 refuses a link.

    Args:
        status: HTTP status.
        code: S3's error code.
        message: Why.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Links:
    """S3 as somebody without credentials reaches it.

    Args:
        scheduler: Tells the time.
        account: Whose buckets.
        region_of: The region of a bucket, None if there is no such bucket.
        away: Whether a region answers nothing.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        account: str,
        region_of: Callable[[str], str | None],
        away: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._scheduler = scheduler
        self._account = account
        self._region_of = region_of
        self._away = away

    def serve(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Serve one request.

        Raises:
            UnreachableError: The bucket's region cannot be reached.
        """
        host = urlsplit(url).netloc
        region = self._region_of(host.partition(".")[0])
        if region is not None and self._away(region):
            raise UnreachableError(region, connected=False)
        given = {name.lower(): value for name, value in headers.items()} | {"host": host}
        try:
            self._check(method, url, given)
        except LinkError as error:
            text = f"<Error><Code>{error.code}</Code><Message>{error}</Message></Error>"
            kind = [("Content-Type", "application/xml")]
            return HttpResponse(status=error.status, headers=kind, body=text.encode())
        return self._answer(method, url, given, body)

    def _check(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        if _SIGNING not in query:
            raise LinkError(403, "AccessDenied", "Access Denied")
        if "authorization" in headers:
            raise LinkError(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
                "Signature query string parameter or the Authorization header should be specified",
            )
        missing = [name for name in _NEEDED if name not in query]
        if missing or not query["X-Amz-Expires"].isdigit():
            raise LinkError(
                400,
                "AuthorizationQueryParametersError",
                f"Query-string authentication needs {', '.join(_NEEDED)}",
            )
        began = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expires_s = min(int(query["X-Amz-Expires"]), EXPIRES_S_MAX)
        if self._scheduler.now() >= began.timestamp() + expires_s:
            raise LinkError(403, "AccessDenied", "Request has expired")
        signed = query["X-Amz-SignedHeaders"].split(";")
        unsigned = [n for n in headers if n.startswith("x-amz-") and n not in signed]
        if unsigned:
            raise LinkError(
                403,
                "AccessDenied",
                "There were headers present in the request which were not signed",
            )
        # It covers no body, but its length where that is signed.
        values = {name: headers.get(name, "") for name in signed}
        if not hmac.compare_digest(_signature(method, url, query, values), query[_SIGNING]):
            raise LinkError(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )

    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        """Let moto do what was signed, as if its caller had credentials."""
        parts = urlsplit(url)
        asked = [
            (name, value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
            if not name.lower().startswith("x-amz-")
        ]
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in asked)
        region = self._region_of(parts.netloc.partition(".")[0]) or "us-east-1"
        scope = f"Credential={ACCESS_KEY}/20260105/{region}/{SERVICE}/aws4_request"
        sent: Any = dict(headers) | {
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
            "x-moto-account-id": self._account,
        }
        address = f"https://{parts.netloc}{parts.path}{'?' + text if text else ''}"
        request = AWSPreparedRequest(method, address, sent, body, stream_output=False)
        answer = botocore_stubber.process_request(request)
        if answer is None:
            raise RuntimeError("moto does not serve S3")
        status, found, content = answer
        return HttpResponse(
            status=status,
            headers=[(str(name), str(value)) for name, value in found.items()],
            body=content if isinstance(content, bytes) else str(content).encode(),
        )


def _signature(method: str, url: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """What the link's signature must be, of a request with these headers (Signature Version 4)."""
    parts = urlsplit(url)
    named = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in query.items()
        if name != _SIGNING
    )
    canonical = "\n".join(
        (
            method,
            parts.path,
            "&".join(f"{name}={value}" for name, value in named),
            *(f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)),
            "",
            query["X-Amz-SignedHeaders"],
            "UNSIGNED-PAYLOAD",
        )
    )
    _, *scope = query["X-Amz-Credential"].split("/")
    to_sign = "\n".join(
        (
            query["X-Amz-Algorithm"],
            query["X-Amz-Date"],
            "/".join(scope),
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = f"AWS4{SECRET_KEY}".encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
