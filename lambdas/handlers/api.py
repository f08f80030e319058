"""HTTP as API Gateway's proxy integration speaks it: events in, answers out."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.clock import now_ms
from lambdas.domain.admission import Caller
from lambdas.domain.errors import ApiError, invalid, unauthorized


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request.

    Attributes:
        route: Method and resource, like `GET /v1/jobs/{id}`.
        path: As the client sees it, the stage's name included.
        parameters: Of the path.
        query: Of the query string.
        headers: By lower-case name.
        body: As sent.
        caller: As the authorizer found; None on open routes.
        trace_id: Of API Gateway's trace header, or the request's id.
        received_ms: When API Gateway got it.
    """

    route: str
    path: str
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    caller: Caller | None
    trace_id: str
    received_ms: int

    @property
    def known_caller(self) -> Caller:
        """The caller of a route that the authorizer guards.

        Raises:
            ApiError: API Gateway let somebody through without one.
        """
        if self.caller is None:
            raise unauthorized()
        return self.caller


ANSWER_BYTES_MAX = 6_000_000
"""Of an answer as JSON, in which the body is escaped once more (Lambda quotas: 6 MB)."""

Route = Callable[[Request], dict[str, Any]]
"""What answers the requests of a route."""


def read_request(event: Mapping[str, Any]) -> Request:
    """Read a proxy event.

    Raises:
        ApiError: The body is said to be base64 and is not.
    """
    context = event.get("requestContext") or {}
    headers = _headers(event)
    body = (event.get("body") or "").encode("utf-8", errors="surrogatepass")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True)
        except binascii.Error:
            raise invalid("The body cannot be read.", param=None) from None
    return Request(
        route=f"{event['httpMethod']} {event['resource']}",
        path=str(context.get("path") or event["path"]),
        parameters=event.get("pathParameters") or {},
        query=event.get("queryStringParameters") or {},
        headers=headers,
        body=body,
        caller=_caller(context.get("authorizer") or {}),
        trace_id=str(headers.get("x-amzn-trace-id") or context.get("requestId") or ""),
        received_ms=int(context.get("requestTimeEpoch") or now_ms()),
    )


def answer(
    status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A proxy answer."""
    return {
        "statusCode": status,
        "headers": {
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            **(headers or {}),
        },
        "body": json.dumps(document, separators=(",", ":")),
        "isBase64Encoded": False,
    }


def written_bytes(document: Mapping[str, Any]) -> int:
    """What a part of a body takes of `ANSWER_BYTES_MAX`."""
    return len(json.dumps(json.dumps(document)))


def fits(reply: Mapping[str, Any]) -> bool:
    """Whether Lambda lets an answer through."""
    return len(json.dumps(reply)) <= ANSWER_BYTES_MAX


def told_of(job: str) -> dict[str, str]:
    """Headers that name the job of an answer whose body has no place for it.

    OpenAI's clients keep the second one with every answer and every error, as `request_id`.
    """
    return {"X-Job-Id": job, "X-Request-Id": job}


def refusal(error: ApiError) -> dict[str, Any]:
    """The answer to a request that is refused."""
    headers = {}
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if error.job is not None:
        headers |= told_of(error.job)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return answer(error.status, error.body(), headers)


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Headers by lower-case name; those sent more than once are joined (RFC 9110, 5.3)."""
    lines = event.get("multiValueHeaders")
    if lines:
        return {name.lower(): ", ".join(values) for name, values in lines.items()}
    return {name.lower(): value for name, value in (event.get("headers") or {}).items()}


def _caller(authorizer: Mapping[str, str]) -> Caller | None:
    if "tenant" not in authorizer:
        return None
    return Caller(
        tenant=authorizer["tenant"],
        models=_names(authorizer.get("models", "*")),
        tiers=_names(authorizer.get("tiers", "*")),
        rate_per_s=float(authorizer["rate"]),
        in_flight_max=int(authorizer["in_flight"]),
        scopes=_names(authorizer.get("scopes", "*")),
        expires_ms=_number(authorizer.get("expires_ms", "")),
        tokens_per_day=_number(authorizer.get("tokens_per_day", "")),
        metadata_mask=json.loads(authorizer.get("metadata_mask") or "{}"),
    )


def _number(text: str) -> int | None:
    return int(text) if text else None


def _names(text: str) -> frozenset[str] | None:
    return None if text == "*" else frozenset(filter(None, text.split(",")))
