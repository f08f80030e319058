"""The client for programs that wait."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

import httpx

from spillway.client.calls import WAIT_TIMEOUT_S, Calls, Flow, Options
from spillway.client.retries import Retries
from spillway.client.views import Job, Model, ModelCapacity
from spillway.client.wire import Answer, Heard, Pause, Send, silence
from spillway.client.zones import Zone

LIMITS: Final = httpx.Limits(max_connections=500, max_keepalive_connections=50)
"""As many calls as may wait at once: each holds a connection for up to 25 s."""
T = TypeVar("T")


class Client:
    """The API of one deployment behind a domain or several regional URLs; or of several.

    A call that fails for now is repeated, in another region if there is one, and a submission
    always with its idempotency key: it never makes a second job. Use it from any thread.

    Args:
        url: Base URL, everything before `/v1`; or regional ones, the preferred one first.
        key: The API key.
        zones: Instead of both, several deployments by name. A job belongs to one, and nothing
            about it is ever sent to another.
        retries: How long and how often to try.
        transport: Stands in for the network in tests and in-process.
        clock: Seconds that only go forward.
        sleep: Lets seconds pass.

    Raises:
        ValueError: There is no usable URL or key; or both of `url` and `zones`, or neither.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        key: str | None = None,
        *,
        zones: Mapping[str, Zone] | None = None,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,  # noqa: TID251 callers wait in real time
    ) -> None:
        self._calls = Calls(url, key, zones=zones, retries=retries, clock=clock)
        self._sleep = sleep
        self._http = httpx.Client(transport=transport, limits=LIMITS)

    def submit(
        self,
        model: str,
        input: Any,  # noqa: A002 the API's word
        *,
        wait_s: float = 0.0,
        **options: Unpack[Options],
    ) -> Job:
        """Create a job.

        Args:
            model: A name from `models()`.
            input: What the model gets: anything that JSON can say.
            wait_s: Seconds to stay for the result; the job may be unfinished after them.
            options: See `Options`.

        Raises:
            ServiceError: It is refused, or could not be handed in; with the error's
                `idempotency_key` it can safely be tried again.
        """
        return self._drive(self._calls.submit(model, input, wait_s=wait_s, **options))

    def run(
        self,
        model: str,
        input: Any,  # noqa: A002 the API's word
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        **options: Unpack[Options],
    ) -> Job:
        """Create a job and wait for its end, well or not; see `submit`.

        Raises:
            JobUnfinishedError: The time is over before the job; the error holds it.
            ServiceError: As `submit`.
        """
        return self._drive(self._calls.run(model, input, timeout_s=timeout_s, **options))

    def wait(
        self, job: Job | str, *, timeout_s: float = WAIT_TIMEOUT_S, zone: str | None = None
    ) -> Job:
        """Wait for the end of a job, well or not.

        Raises:
            JobUnfinishedError: The time is over before the job; the error holds it.
            ServiceError: Nobody could be asked.
        """
        return self._drive(self._calls.wait(job, timeout_s=timeout_s, zone=zone))

    def job(self, job: Job | str, *, zone: str | None = None) -> Job:
        """Read a job as it is now."""
        return self._drive(self._calls.job(job, zone=zone))

    def jobs(self, *, zone: str | None = None) -> Iterator[Job]:
        """Go through the key's jobs, newest first, without results; pages are read as needed."""
        after: str | None = None
        while True:
            page = self._drive(self._calls.page(after, zone=zone))
            yield from page.jobs
            after = page.next_cursor
            if after is None:
                return

    def cancel(self, job: Job | str, *, zone: str | None = None) -> Job:
        """Cancel a job that has not ended.

        Raises:
            ConflictError: It has ended.
        """
        return self._drive(self._calls.cancel(job, zone=zone))

    def delete(self, job: Job | str, *, zone: str | None = None) -> None:
        """Cancel a job if needed, and erase its payload and result for good."""
        self._drive(self._calls.delete(job, zone=zone))

    def models(self, *, zone: str | None = None) -> tuple[Model, ...]:
        """List the models that the key may use."""
        return self._drive(self._calls.models(zone=zone))

    def capacity(self, *, zone: str | None = None) -> tuple[ModelCapacity, ...]:
        """Tell how long work would wait now, in the region that answers."""
        return self._drive(self._calls.capacity(zone=zone))

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client(zones={self._calls.zones})"

    def _drive(self, flow: Flow[T]) -> T:
        heard: Heard | None = None
        while True:
            try:
                step = flow.send(heard)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                self._sleep(step.seconds)
                heard = None
            else:
                heard = exchange(self._http, step)


def exchange(http: httpx.Client, step: Send) -> Heard:
    """Send, and hear what comes of it."""
    try:
        answer = http.request(
            step.method,
            step.url,
            headers=step.headers,
            content=step.content,
            timeout=step.timeout,
            follow_redirects=False,
        )
    except httpx.RequestError as error:
        return silence(error)
    return Answer(answer.status_code, answer.headers, answer.content)
