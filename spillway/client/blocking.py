"""The client for programs that wait."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

import httpx

from spillway.client import bulk
from spillway.client.calls import WAIT_TIMEOUT_S, Calls, Options, OptionsOfMany
from spillway.client.flows import Flow, Give, Stream, Together
from spillway.client.outputs import OUTPUT_BYTES_MAX, output
from spillway.client.retries import Retries
from spillway.client.uploads import PART_BYTES, upload
from spillway.client.views import Deliveries, Job, Model, ModelCapacity, Upload, Usage
from spillway.client.wire import Heard, Pause, Received, Send, silence
from spillway.client.zones import Zone

LIMITS: Final = httpx.Limits(max_connections=500, max_keepalive_connections=50)
"""As many calls as may wait at once: each holds a connection for up to 25 s."""
CONCURRENCY: Final = 8
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
        concurrency: Requests at once of one call about many jobs.
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
        concurrency: int = CONCURRENCY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,  # noqa: TID251 callers wait in real time
    ) -> None:
        self._calls = Calls(
            url, key, zones=zones, retries=retries, concurrency=concurrency, clock=clock
        )
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
        return self._through(self._calls.jobs(zone=zone))

    def submit_many(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        key_prefix: str | None = None,
        progress: bool = False,
        **options: Unpack[OptionsOfMany],
    ) -> list[Job]:
        """Create a job for each input.

        Args:
            model: A name from `models()`.
            inputs: Taken one by one, as they can be sent.
            timeout_s: Seconds for which room is waited for while the service has none (429).
            key_prefix: Of the jobs' idempotency keys, whose rest is made of model and input: a
                repetition with the same one finds the jobs that there are, and makes those that
                are missing. Equal inputs are jobs of their own, in every repetition the same.
            progress: Whether to show how far it is, on standard error.
            options: See `OptionsOfMany`.

        Returns:
            The jobs, in the order of their inputs.

        Raises:
            ServiceError: One could not be handed in; none is after it.
        """
        return self._drive(
            bulk.submit_many(
                self._calls,
                model,
                inputs,
                options,
                timeout_s=timeout_s,
                key_prefix=key_prefix,
                progress=progress,
            )
        )

    def run_many(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        in_flight: int = bulk.IN_FLIGHT,
        timeout_s: float = WAIT_TIMEOUT_S,
        key_prefix: str | None = None,
        progress: bool = False,
        **options: Unpack[OptionsOfMany],
    ) -> Iterator[Job]:
        """Create a job for each input, and go through them, ended, in the order of their inputs.

        Args:
            model: A name from `models()`.
            inputs: Taken as there is room, so that they may be more than memory holds.
            in_flight: Jobs that are handed in and not yet gone through, at the most.
            timeout_s: Seconds for all of it.
            key_prefix: As in `submit_many`.
            progress: Whether to show how far it is, on standard error.
            options: See `OptionsOfMany`.

        Raises:
            JobUnfinishedError: The time is over before the jobs.
            ServiceError: As `submit_many`; or nobody could be asked.
        """
        return self._through(
            bulk.run_many(
                self._calls,
                model,
                inputs,
                options,
                in_flight=in_flight,
                timeout_s=timeout_s,
                key_prefix=key_prefix,
                progress=progress,
            )
        )

    def as_completed(
        self,
        jobs: Iterable[Job | str],
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        zone: str | None = None,
        progress: bool = False,
    ) -> Iterator[Job]:
        """Go through jobs as they end, well or not.

        However many they are, a few requests ask for all of them, ever more seldom while none
        ends.

        Raises:
            JobUnfinishedError: The time is over before the jobs; the error holds one of them.
            NotFoundError: After all others: a job is not there; the error holds it.
            ServiceError: Nobody could be asked.
        """
        return self._through(
            bulk.as_completed(self._calls, jobs, timeout_s=timeout_s, zone=zone, progress=progress)
        )

    def results(
        self,
        jobs: Iterable[Job | str],
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        zone: str | None = None,
        progress: bool = False,
    ) -> Iterator[Any]:
        """Go through what the models answered, in the order of the jobs; see `output`.

        Raises:
            JobFailedError: It is the turn of a job that ended without a result.
            ServiceError: As `as_completed`.
        """
        return self._through(
            bulk.results(self._calls, jobs, timeout_s=timeout_s, zone=zone, progress=progress)
        )

    def output(
        self, job: Job | str, *, zone: str | None = None, bytes_max: int = OUTPUT_BYTES_MAX
    ) -> Any:
        """What the model answered, fetched from where it lies if it is large.

        Raises:
            JobFailedError: The job ended without a result.
            JobUnfinishedError: It has not ended.
            ServiceError: The result is larger than `bytes_max`, is not JSON, or nobody gives it.
        """
        return self._drive(output(self._calls, job, zone=zone, bytes_max=bytes_max))

    def cancel(self, job: Job | str, *, zone: str | None = None) -> Job:
        """Cancel a job that has not ended.

        Raises:
            ConflictError: It has ended.
        """
        return self._drive(self._calls.cancel(job, zone=zone))

    def delete(self, job: Job | str, *, zone: str | None = None) -> None:
        """Cancel a job if needed, and erase its payload and result for good."""
        self._drive(self._calls.delete(job, zone=zone))

    def upload(
        self,
        source: Path | str | bytes,
        *,
        content_type: str = "application/json",
        part_bytes: int = PART_BYTES,
        timeout_s: float = WAIT_TIMEOUT_S,
        zone: str | None = None,
    ) -> Upload:
        """Bring an input of up to 1 GB to where a job can be made of it: `submit(model, upload)`.

        Args:
            source: Where the file is, or what is in it.
            content_type: What the model is told that it is.
            part_bytes: Of what is larger, parts of this size are written side by side; at least
                5 MiB. `concurrency` of them are in memory at once.
            timeout_s: Seconds for all of it, until every region that may run the job has it.
            zone: The deployment; needed where the client has several.

        Raises:
            OSError: The file cannot be read.
            ServiceError: It is refused, or could not be written in time.
        """
        return self._drive(
            upload(
                self._calls,
                source,
                content_type=content_type,
                part_bytes=part_bytes,
                timeout_s=timeout_s,
                zone=zone,
            )
        )

    def deliveries(self, job: Job | str, *, zone: str | None = None) -> Deliveries:
        """Read how a job's webhook was told: every try that is kept."""
        return self._drive(self._calls.deliveries(job, zone=zone))

    def redeliver(self, job: Job | str, *, zone: str | None = None) -> None:
        """Have a job's webhook told once more, under the same `webhook-id`.

        Raises:
            ConflictError: The job has no webhook, or has not ended.
        """
        self._drive(self._calls.redeliver(job, zone=zone))

    def feedback(
        self,
        job: Job | str,
        *,
        rating: int | None = None,
        correction: Any = None,
        comment: str | None = None,
        zone: str | None = None,
    ) -> Job:
        """Keep what a user says of the answer of a job, in the place of what was said before.

        Args:
            job: It has ended.
            rating: -1, 0 or 1.
            correction: What would have been right, as JSON of at most 16,384 bytes.
            comment: A text of at most 2,000 characters.
            zone: The deployment; needed where the client has several.

        Raises:
            ConflictError: The job has not ended.
        """
        return self._drive(
            self._calls.feedback(
                job, rating=rating, correction=correction, comment=comment, zone=zone
            )
        )

    def usage(
        self,
        *,
        since: date | None = None,
        until: date | None = None,
        model: str | None = None,
        zone: str | None = None,
    ) -> Usage:
        """Read what the key's tenant used, by day, model and version.

        Args:
            since: The first day, in UTC.
            until: The last day, too; without both, the last 30 days are told.
            model: Only this one.
            zone: The deployment; needed where the client has several.
        """
        return self._drive(self._calls.usage(since=since, until=until, model=model, zone=zone))

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
            heard = self._do(step)

    def _through(self, stream: Stream[T]) -> Iterator[T]:
        with closing(stream):
            heard: Heard | None = None
            while True:
                try:
                    step = stream.send(heard)
                except StopIteration:
                    return
                if isinstance(step, Give):
                    yield from step.items
                    heard = None
                else:
                    heard = self._do(step)

    def _do(self, step: Send | Pause | Together) -> Heard | None:
        if isinstance(step, Send):
            return exchange(self._http, step)
        if isinstance(step, Pause):
            self._sleep(step.seconds)
        elif len(step.flows) == 1:
            self._drive(step.flows[0])
        else:
            with ThreadPoolExecutor(len(step.flows)) as threads:
                try:
                    list(threads.map(self._drive, step.flows))
                finally:
                    step.stop()
        return None


def exchange(http: httpx.Client, step: Send) -> Heard:
    """Send, and hear what comes of it."""
    try:
        with http.stream(**step.request) as answer:
            received = Received(answer, step.bytes_max)
            all(map(received.more, answer.iter_bytes()))
    except httpx.RequestError as error:
        return silence(error)
    return received.answer
