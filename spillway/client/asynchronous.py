"""The client for programs with an event loop."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import anyio
import httpx

from spillway.client.blocking import LIMITS
from spillway.client.calls import WAIT_TIMEOUT_S, Calls, Flow, Options
from spillway.client.retries import Retries
from spillway.client.views import Job, Model, ModelCapacity
from spillway.client.wire import Answer, Heard, Pause, Send, silence
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
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._calls = Calls(url, key, zones=zones, retries=retries, clock=clock)
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

    async def jobs(self, *, zone: str | None = None) -> AsyncIterator[Job]:
        """As `Client.jobs`."""
        after: str | None = None
        while True:
            page = await self._drive(self._calls.page(after, zone=zone))
            for job in page.jobs:
                yield job
            after = page.next_cursor
            if after is None:
                return

    async def cancel(self, job: Job | str, *, zone: str | None = None) -> Job:
        """As `Client.cancel`."""
        return await self._drive(self._calls.cancel(job, zone=zone))

    async def delete(self, job: Job | str, *, zone: str | None = None) -> None:
        """As `Client.delete`."""
        await self._drive(self._calls.delete(job, zone=zone))

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
            if isinstance(step, Pause):
                await self._sleep(step.seconds)
                heard = None
            else:
                heard = await self._exchange(step)

    async def _exchange(self, step: Send) -> Heard:
        try:
            answer = await self._http.request(
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
