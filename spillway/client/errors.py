"""What can go wrong between a client and the service.

ServiceError
├── BadRequestError        400, 413, 415 and every other 4xx: the request itself is wrong
├── AuthenticationError    401: no key, or a wrong or revoked one
├── PermissionDeniedError  403: the key is good, but not for this
├── NotFoundError          404: unknown, erased, or another tenant's
├── ConflictError          409: the request contradicts what is there
├── RateLimitError         429: not now
├── UnavailableError       5xx, no answer, or an answer that is not Spillway's
├── JobUnfinishedError     the wait is over before the job; a TimeoutError too
└── JobFailedError         the job ended without a result, which somebody asked for
"""

from typing import Final

from spillway.client.views import Job

SERVER_ERROR: Final = 500


class ServiceError(Exception):
    """The service answered that it will not, or did not answer at all.

    Attributes:
        status: The HTTP status, or None without an answer.
        code: The machine-readable code of the answer's error.
        message: What the service says, or what kept it from saying anything.
        param: The field that is wrong, if one is.
        retry_after_s: Seconds to wait before asking again, if the service said so.
        request_id: Of the answer; operators find the request by it.
        idempotency_key: What a submission was sent with: repeating it with this key is safe.
        job: The job that was accepted before things went wrong, if there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "unreachable",
        param: str | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.idempotency_key: str | None = None
        self.job: Job | None = None

    def __str__(self) -> str:
        named = {"status": self.status, "code": self.code, "param": self.param}
        named["request"] = self.request_id
        facts = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
        return f"{self.message} ({facts})"


class BadRequestError(ServiceError):
    """The request itself is wrong; `param` names the field."""


class AuthenticationError(ServiceError):
    """No key, or a wrong or revoked one."""


class PermissionDeniedError(ServiceError):
    """The key is good, but not for this."""


class NotFoundError(ServiceError):
    """Unknown, erased, or another tenant's: nobody can tell which."""


class ConflictError(ServiceError):
    """The request contradicts what is there."""


class RateLimitError(ServiceError):
    """Not now; `retry_after_s` says when."""


class UnavailableError(ServiceError):
    """The service failed or did not answer, as often as it was asked."""


class JobUnfinishedError(ServiceError, TimeoutError):
    """The wait is over before the job, which goes on; `job` is how it stood."""


class JobFailedError(ServiceError):
    """The job ended without a result; `job` tells how, `code` and `message` why."""


_BY_STATUS: Final = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
}


def kind_of(status: int) -> type[ServiceError]:
    """The exception that stands for an HTTP status of 400 or more."""
    if status >= SERVER_ERROR:
        return UnavailableError
    return _BY_STATUS.get(status, BadRequestError)
