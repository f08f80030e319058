"""A small client of the HTTP API, for the commands, the replay and the demo."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

REQUEST_TIMEOUT_S = 30.0
"""A second more than API Gateway's own limit, so that its answer arrives before we give up."""
ANSWER_SHOWN_MAX = 200


class ServiceError(Exception):
    """The service answered that it will not, or did not answer at all.

    Attributes:
        status: The HTTP status, or None without an answer.
        code: The machine-readable code of the answer's error.
        message: What the service says, or what kept it from saying anything.
        param: The field that is wrong, if one is.
        retry_after_s: Seconds to wait before asking again, if the service said so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "unreachable",
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: its JSON and its headers."""

    document: dict[str, Any]
    headers: httpx.Headers


class Client:
    """One key's view of one base URL.

    Args:
        base_url: Everything before `/v1`, such as `http://127.0.0.1:8080/us-east-1`.
        key: The API key, or None for the health routes.
        transport: Stands in for the network in tests and in-process.
    """

    def __init__(
        self, base_url: str, key: str | None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._base_url = base_url.rstrip("/")
        self._http = httpx.Client(headers=headers, timeout=REQUEST_TIMEOUT_S, transport=transport)

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
        headers: dict[str, str] | None = None,
        params: dict[str, str | int] | None = None,
    ) -> Reply:
        """Send one request.

        A wait that ends before its job is answered with 303 and what little is known: whoever
        wants to wait on asks again. Following it would wait longer than anybody asked for.

        Raises:
            ServiceError: The answer is an error, or there is none.
        """
        try:
            answer = self._http.request(
                method,
                self._base_url + path,
                json=body,
                headers=headers,
                params=params,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceError(f"no answer from {self._base_url}: {error}") from error
        document = _json_in(answer)
        if answer.is_success or answer.status_code == httpx.codes.SEE_OTHER:
            return Reply(document, answer.headers)
        raise _refusal(answer, document)

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
        params: dict[str, str | int] = {} if wait_s is None else {"wait": wait_s}
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


def _json_in(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    shown = answer.text[:ANSWER_SHOWN_MAX]
    if answer.is_success:
        raise ServiceError(
            f"{answer.url} is not a Spillway API: it answered {answer.status_code} with {shown!r}"
        )
    return {"error": {"message": shown or answer.reason_phrase, "code": "not_json"}}


def _refusal(answer: httpx.Response, document: dict[str, Any]) -> ServiceError:
    error = document.get("error")
    if not isinstance(error, dict):
        error = {"message": str(document.get("message", answer.reason_phrase))}
    after = answer.headers.get("Retry-After", "")
    return ServiceError(
        str(error.get("message", answer.reason_phrase)),
        status=answer.status_code,
        code=str(error.get("code") or "refused"),
        param=error.get("param"),
        retry_after_s=float(after) if after.isdigit() else None,
    )
