"""What the API answers when it does not do what was asked, in the shape OpenAI's clients read."""

from typing import Any

CONFLICT = 409


class ApiError(Exception):
    """A refusal with a status and a body that says what is allowed.

    Args:
        status: HTTP status.
        kind: `type` of the error, as OpenAI's clients know it.
        code: Machine-readable reason.
        message: What was wrong, where, and what is allowed; never a secret or a payload.
        param: The field that it is about.
        retry_after_s: When to try again, computed; only with 429 and 503.
        should_retry: Whether clients that repeat requests by themselves should; None leaves it
            to what the status says.
        job: The job that is there, if one is.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        should_retry: bool | None = None,
        job: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        # OpenAI's clients repeat a POST on 409 by themselves, which cannot help.
        self.should_retry = False if status == CONFLICT else should_retry
        self.job = job

    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "code": self.code,
                "param": self.param,
            }
        }


def invalid(message: str, *, param: str | None, code: str = "invalid_value") -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "invalid_request_error", code, message, param=param)


def too_large(message: str, *, param: str | None = None) -> ApiError:
    """413: over a limit, which the message names."""
    return ApiError(413, "invalid_request_error", "too_large", message, param=param)


def unauthorized() -> ApiError:
    """401: no key that holds; the same for an unknown, a revoked and an expired one.

    Worded like API Gateway's own answer, so that nobody can tell who gave it.
    """
    return ApiError(
        401,
        "authentication_error",
        "invalid_api_key",
        "Send a valid API key as: Authorization: Bearer sk-spillway-...",
    )


def forbidden(message: str, *, param: str, code: str = "not_allowed") -> ApiError:
    """403: the key is good, but not for this."""
    return ApiError(403, "permission_error", code, message, param=param)


def not_found(what: str = "job") -> ApiError:
    """404: there is no such job, or it is another tenant's; nobody can tell which."""
    return ApiError(
        404, "not_found_error", f"{what}_not_found", f"There is no such {what}.", param="id"
    )


def conflict(
    message: str, *, code: str, param: str | None = None, job: str | None = None
) -> ApiError:
    """409: the request contradicts what is there, of a job if it is about one."""
    return ApiError(CONFLICT, "conflict_error", code, message, param=param, job=job)


def unavailable(
    message: str,
    *,
    code: str,
    retry_after_s: int,
    should_retry: bool | None = None,
    job: str | None = None,
) -> ApiError:
    """503: not here and not now; another region may."""
    return ApiError(
        503,
        "server_error",
        code,
        message,
        retry_after_s=retry_after_s,
        should_retry=should_retry,
        job=job,
    )


def busy(message: str, *, code: str, retry_after_s: float) -> ApiError:
    """429: not now; tells when."""
    seconds = max(1, -int(-retry_after_s // 1))
    return ApiError(429, "rate_limit_error", code, message, retry_after_s=seconds)
