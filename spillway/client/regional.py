"""One region's API as it is, for the commands, the replay and the demo."""

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from spillway.client.blocking import exchange
from spillway.client.wire import Heard, Reply, Request, Send, Silence, Trouble, judge
from spillway.client.zones import checked_key

REQUEST_TIMEOUT_S: Final = 30.0
"""A second more than API Gateway's own limit, so that its answer arrives before we give up."""


class RegionalApi:
    """One key's view of one base URL: every call is one request, never repeated.

    Args:
        base_url: Everything before `/v1`, such as `http://127.0.0.1:8080/us-east-1`.
        key: The API key, or None for the health routes.
        transport: Stands in for the network in tests and in-process.

    Raises:
        ValueError: The key cannot be sent.
    """

    def __init__(
        self, base_url: str, key: str | None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._key = checked_key(key) if key else None
        self._base_url = base_url.rstrip("/")
        self._http = httpx.Client(transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Reply:
        """Send one request.

        A wait that ends before its job is answered with 303 and what little is known: whoever
        wants to wait on asks again. Following it would wait longer than anybody asked for.

        Raises:
            ServiceError: The answer is an error, or there is none.
        """
        request = Request(
            method=method,
            path=path,
            params={name: str(value) for name, value in (params or {}).items()},
            headers=dict(headers or {}),
            content=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
        )
        outcome = judge(self._exchange(request), self._base_url, self._key)
        if isinstance(outcome, Trouble):
            raise outcome.error
        return outcome

    def submit(
        self,
        body: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        wait_s: int | None = None,
    ) -> Reply:
        """Create a job; a repeated idempotency key gives the first one again."""
        headers = {}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        if wait_s is not None:
            headers["Prefer"] = f"wait={wait_s}"
        return self.ask("POST", "/v1/jobs", body=body, headers=headers)

    def job(self, job_id: str, *, wait_s: int | None = None) -> dict[str, Any]:
        """Read a job, waiting up to `wait_s` seconds for its end."""
        params = {} if wait_s is None else {"wait": wait_s}
        return self.ask("GET", f"/v1/jobs/{job_id}", params=params).document

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job that has not ended."""
        return self.ask("POST", f"/v1/jobs/{job_id}/cancel").document

    def models(self) -> dict[str, Any]:
        """The models that the key may use."""
        return self.ask("GET", "/v1/models").document

    def capacity(self) -> dict[str, Any]:
        """Predicted waits by model and tier."""
        return self.ask("GET", "/v1/capacity").document

    def _exchange(self, request: Request) -> Heard:
        headers = dict(request.headers)
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        if request.content is not None:
            headers["Content-Type"] = "application/json"
        step = Send(
            method=request.method,
            url=request.below(self._base_url),
            headers=headers,
            content=request.content,
            timeout_s=REQUEST_TIMEOUT_S,
            connect_timeout_s=REQUEST_TIMEOUT_S,
        )
        try:
            return exchange(self._http, step)
        except httpx.InvalidURL as error:
            return Silence(str(error))
