"""The client for programs with an event loop."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import anyio
import httpx

from spillway.client import bulk
from spillway.client.blocking import CONCURRENCY, LIMITS
from spillway.client.calls import WAIT_TIMEOUT_S, Calls, Options, OptionsOfMany
from spillway.client.flows import Flow, Give, Stream, Together
from spillway.client.outputs import OUTPUT_BYTES_MAX, output
from spillway.client.retries import Retries
from spillway.client.uploads import PART_BYTES, upload
from spillway.client.views import Deliveries, Job, Model, ModelCapacity, Upload, Usage
from spillway.client.wire import Heard, Pause, Received, Send, silence
from spillway.client.zones import Zone

T = TypeVar("T")


class AsyncClient:
    """`spillway.Client` for asyncio and trio: the same calls, to be awaited.

    Args:
        url: Base URL, everything before `/v1`; or regional ones, the preferred one first.
        key: The API key.
        zones: Instead of both, several deployments by name.
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
        transport: httpx.AsyncBaseTransport | None = None,
        concurrency: int = CONCURRENCY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._calls = Calls(
            url, key, zones=zones, retries=retries, concurrency=concurrency, clock=clock
        )
        self._sleep = sleep
        self._http = httpx.AsyncClient(transport=transport, limits=LIMITS)

    async def submit(
        self,
        model: str,
        input: Any,  # noqa: A002 the API's word
        *,
        wait_s: float = 0.0,
        **options: Unpack[Options],
    ) -> Job:
        """As `Client.submit`."""
        return await self._drive(self._calls.submit(model, input, wait_s=wait_s, **options))

    async def run(
        self,
        model: str,
        input: Any,  # noqa: A002 the API's word
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        **options: Unpack[Options],
    ) -> Job:
        """As `Client.run`."""
        return await self._drive(self._calls.run(model, input, timeout_s=timeout_s, **options))

    async def wait(
        self, job: Job | str, *, timeout_s: float = WAIT_TIMEOUT_S, zone: str | None = None
    ) -> Job:
        """As `Client.wait`."""
        return await self._drive(self._calls.wait(job, timeout_s=timeout_s, zone=zone))

    async def job(self, job: Job | str, *, zone: str | None = None) -> Job:
        """As `Client.job`."""
        return await self._drive(self._calls.job(job, zone=zone))

    def jobs(self, *, zone: str | None = None) -> AsyncIterator[Job]:
        """As `Client.jobs`."""
        return self._through(self._calls.jobs(zone=zone))

    async def submit_many(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        key_prefix: str | None = None,
        progress: bool = False,
        **options: Unpack[OptionsOfMany],
    ) -> list[Job]:
        """As `Client.submit_many`."""
        return await self._drive(
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
    ) -> AsyncIterator[Job]:
        """As `Client.run_many`."""
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
    ) -> AsyncIterator[Job]:
        """As `Client.as_completed`."""
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
    ) -> AsyncIterator[Any]:
        """As `Client.results`."""
        return self._through(
            bulk.results(self._calls, jobs, timeout_s=timeout_s, zone=zone, progress=progress)
        )

    async def output(
        self, job: Job | str, *, zone: str | None = None, bytes_max: int = OUTPUT_BYTES_MAX
    ) -> Any:
        """As `Client.output`."""
        return await self._drive(output(self._calls, job, zone=zone, bytes_max=bytes_max))

    async def cancel(self, job: Job | str, *, zone: str | None = None) -> Job:
        """As `Client.cancel`."""
        return await self._drive(self._calls.cancel(job, zone=zone))

    async def delete(self, job: Job | str, *, zone: str | None = None) -> None:
        """As `Client.delete`."""
        await self._drive(self._calls.delete(job, zone=zone))

    async def upload(
        self,
        source: Path | str | bytes,
        *,
        content_type: str = "application/json",
        part_bytes: int = PART_BYTES,
        timeout_s: float = WAIT_TIMEOUT_S,
        zone: str | None = None,
    ) -> Upload:
        """As `Client.upload`."""
        return await self._drive(
            upload(
                self._calls,
                source,
                content_type=content_type,
                part_bytes=part_bytes,
                timeout_s=timeout_s,
                zone=zone,
            )
        )

    async def deliveries(self, job: Job | str, *, zone: str | None = None) -> Deliveries:
        """As `Client.deliveries`."""
        return await self._drive(self._calls.deliveries(job, zone=zone))

    async def redeliver(self, job: Job | str, *, zone: str | None = None) -> None:
        """As `Client.redeliver`."""
        await self._drive(self._calls.redeliver(job, zone=zone))

    async def feedback(
        self,
        job: Job | str,
        *,
        rating: int | None = None,
        correction: Any = None,
        comment: str | None = None,
        zone: str | None = None,
    ) -> Job:
        """As `Client.feedback`."""
        return await self._drive(
            self._calls.feedback(
                job, rating=rating, correction=correction, comment=comment, zone=zone
            )
        )

    async def usage(
        self,
        *,
        since: date | None = None,
        until: date | None = None,
        model: str | None = None,
        zone: str | None = None,
    ) -> Usage:
        """As `Client.usage`."""
        return await self._drive(
            self._calls.usage(since=since, until=until, model=model, zone=zone)
        )

    async def models(self, *, zone: str | None = None) -> tuple[Model, ...]:
        """As `Client.models`."""
        return await self._drive(self._calls.models(zone=zone))

    async def capacity(self, *, zone: str | None = None) -> tuple[ModelCapacity, ...]:
        """As `Client.capacity`."""
        return await self._drive(self._calls.capacity(zone=zone))

    async def close(self) -> None:
        """As `Client.close`."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient(zones={self._calls.zones})"

    async def _drive(self, flow: Flow[T]) -> T:
        heard: Heard | None = None
        while True:
            try:
                step = flow.send(heard)
            except StopIteration as end:
                result: T = end.value
                return result
            heard = await self._do(step)

    async def _through(self, stream: Stream[T]) -> AsyncIterator[T]:
        with closing(stream):
            heard: Heard | None = None
            while True:
                try:
                    step = stream.send(heard)
                except StopIteration:
                    return
                if isinstance(step, Give):
                    for item in step.items:
                        yield item
                    heard = None
                else:
                    heard = await self._do(step)

    async def _do(self, step: Send | Pause | Together) -> Heard | None:
        if isinstance(step, Send):
            return await self._exchange(step)
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
        else:
            await self._together(step)
        return None

    async def _together(self, step: Together) -> None:
        errors: list[Exception] = []

        async def drive(flow: Flow[None]) -> None:
            try:
                await self._drive(flow)
            except Exception as error:  # noqa: BLE001 raised below, alone and not in a group
                errors.append(error)
                step.stop()

        async with anyio.create_task_group() as tasks:
            for flow in step.flows:
                tasks.start_soon(drive, flow)
        if errors:
            raise errors[0]

    async def _exchange(self, step: Send) -> Heard:
        try:
            async with self._http.stream(**step.request) as answer:
                received = Received(answer, step.bytes_max)
                async for part in answer.aiter_bytes():
                    if not received.more(part):
                        break
        except httpx.RequestError as error:
            return silence(error)
        return received.answer
