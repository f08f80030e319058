"""A service of several regions with one ledger, in memory, and the two clients that ask it.

It keeps what the API promises: the same key gives the same job in every region, a wait ends with
the job or with 303. Faults are scripted by region. Time is a number that passes when told to.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from spillway import AsyncClient, Client

KEY = "sk-spillway-secret-of-the-tests"
EAST, WEST = "https://east.example.com/api", "https://west.example.com/api"
BUCKET = "bucket.example.com"
ITERATORS = {"as_completed", "jobs", "results", "run_many"}
WAIT_S_MAX = 25


@dataclass(frozen=True)
class Before:
    """The request does not arrive: nothing happens, and this is heard."""

    heard: httpx.Response | type[httpx.TransportError]
    takes_s: float = 0.0


@dataclass(frozen=True)
class After:
    """The request arrives and has its effect, but this is heard instead of the answer."""

    heard: httpx.Response | type[httpx.TransportError]
    takes_s: float = 0.0


Fault = Before | After


def refusal(status: int, code: str = "busy", **headers: str) -> httpx.Response:
    """An error in the API's shape."""
    error = {"message": f"no: {code}", "type": "t", "code": code, "param": "model"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"error": error}, headers=named)


@dataclass
class FakeService:
    """Takes the place of the network.

    Attributes:
        faults: What goes wrong next, by host.
        down: Hosts that nobody can connect to.
        ends_in_s: How long a job takes, unless its input says so as `takes_s`; its `end` says how
            it ends.
        large: Whether results lie behind links.
        takes_s: How long a request takes.
        may_wait: Whether there is room to wait.
        base: What paths begin with in front of `/v1`.
        paused: How long the client paused, each time.
    """

    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    down: set[str] = field(default_factory=set)
    ends_in_s: float = 0.0
    takes_s: float = 0.0
    large: bool = False
    may_wait: bool = True
    base: str = "/api"
    now_s: float = 1000.0
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)
    paused: list[float] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, or fail as scripted."""
        request.read()
        self.asked.append(request)
        self.now_s += self.takes_s
        host = request.url.host
        if host in self.down:
            raise httpx.ConnectError("refused", request=request)
        fault = self.faults[host].pop(0) if self.faults[host] else None
        if isinstance(fault, Before):
            return self._hear(fault, request)
        answer = self._answer(request)
        return self._hear(fault, request) if fault else answer

    def _hear(self, fault: Fault, request: httpx.Request) -> httpx.Response:
        self.now_s += fault.takes_s
        heard = fault.heard
        if isinstance(heard, httpx.Response):
            # A fresh one: a response can be read by one client only.
            return httpx.Response(heard.status_code, headers=heard.headers, content=heard.content)
        raise heard("scripted", request=request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(self.base)
        if request.url.host == BUCKET:
            return httpx.Response(200, json=self.jobs[path.strip("/")]["body"]["input"])
        if path == "/v1/jobs":
            return self._create(request) if request.method == "POST" else self._list(request)
        job = self.jobs.get(path.split("/")[3]) if path.startswith("/v1/jobs/") else None
        if job is None:
            return refusal(404, "job_not_found")
        if path.endswith("/cancel"):
            job["ends_s"], job["end"] = self.now_s, "cancelled"
            return httpx.Response(200, json=self.view(job))
        if request.method == "DELETE":
            return httpx.Response(200, json={"id": job["id"], "object": "job", "deleted": True})
        return self._waited(job, int(request.url.params.get("wait", 0)), path, status=200)

    def _create(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["Idempotency-Key"]
        body = json.loads(request.content)
        fate = body["input"] if isinstance(body.get("input"), dict) else {}
        job = self.jobs.setdefault(
            f"job_{key}",
            {
                "id": f"job_{key}",
                "body": body,
                "ends_s": self.now_s + fate.get("takes_s", self.ends_in_s),
                "end": fate.get("end", "completed"),
            },
        )
        if job["body"] != body:
            return refusal(409, "idempotency_key_reused")
        wait_s = int(request.headers.get("Prefer", "wait=0").removeprefix("wait="))
        return self._waited(job, wait_s, f"/v1/jobs/{job['id']}", status=202)

    def _list(self, request: httpx.Request) -> httpx.Response:
        """Newest first, and without results."""
        begin, limit = int(request.url.params.get("after", 0)), int(request.url.params["limit"])
        known = list(reversed(self.jobs.values()))
        data = [{**self.view(job), "output": None, "output_url": None} for job in known]
        more = begin + limit < len(data)
        page = {"data": data[begin : begin + limit], "has_more": more}
        return httpx.Response(
            200, json={**page, "next_cursor": str(begin + limit) if more else None}
        )

    def _waited(
        self, job: dict[str, Any], wait_s: int, path: str, *, status: int
    ) -> httpx.Response:
        left_s = job["ends_s"] - self.now_s
        if not wait_s or left_s <= 0:
            return httpx.Response(status, json=self.view(job))
        if not self.may_wait:
            return httpx.Response(202, json=self.view(job), headers={"Retry-After": "1"})
        wait_s = min(wait_s, WAIT_S_MAX)
        self.now_s += min(left_s, wait_s)
        if left_s <= wait_s:
            return httpx.Response(200, json=self.view(job))
        little = {"id": job["id"], "object": "job", "status": "in_progress"}
        place = f"{self.base}{path}?wait={wait_s}"
        return httpx.Response(303, json=little, headers={"Location": place, "Retry-After": "0"})

    def view(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job as the API shows it, with a field from the future."""
        status = job["end"] if job["ends_s"] <= self.now_s else "in_progress"
        output = job["body"].get("input") if status == "completed" else None
        link = f"https://{BUCKET}/{job['id']}?signed=1" if status == "completed" else None
        return {
            "id": job["id"],
            "object": "job",
            "status": status,
            "model": job["body"]["model"],
            "tier": job["body"].get("tier", "standard"),
            "attempt": 1,
            "output": None if self.large else output,
            "output_url": link if self.large else None,
            "created_at": "2026-11-21T07:00:00.000Z",
            "timings": {"queue_s": 0.5, "handoff_s": None, "model_s": 1.5, "new_s": 1},
            "metadata": job["body"].get("metadata", {}),
            "error": {"code": "model_error", "message": "boom"} if status == "failed" else None,
            "from_the_future": {"a": 1},
        }

    @property
    def hosts(self) -> list[str]:
        """Which region was asked, request by request: `east`, `west`."""
        return [request.url.host.partition(".")[0] for request in self.asked]

    def sleep(self, seconds: float) -> None:
        """Let time pass without waiting."""
        self.paused.append(seconds)
        self.now_s += seconds


class Asking:
    """A client of either kind, with the same way to call it."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    def __call__(self, name: str, *args: Any, **options: Any) -> Any:
        """Call a method, and give what it returns; an iterator as a list."""
        if name not in ITERATORS:
            return self._run(getattr(self.client, name), *args, **options)
        items, error = self.taken(name, *args, **options)
        if error is not None:
            raise error
        return items

    def taken(
        self, name: str, *args: Any, each: Callable[[Any], object] = id, **options: Any
    ) -> tuple[list[Any], Exception | None]:
        """Go through an iterator, calling `each` with what it gives: that, and how it ended."""
        items: list[Any] = []
        made = getattr(self.client, name)(*args, **options)

        async def go_through() -> None:
            async for item in made:
                each(item)
                items.append(item)

        try:
            if isinstance(self.client, Client):
                for item in made:
                    each(item)
                    items.append(item)
            else:
                asyncio.run(go_through())
        except Exception as error:  # noqa: BLE001 the test's to judge
            return items, error
        return items, None

    def _run(self, method: Any, *args: Any, **options: Any) -> Any:
        if isinstance(self.client, Client):
            return method(*args, **options)

        async def ask() -> Any:
            return await method(*args, **options)

        return asyncio.run(ask())


def _place(place: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Both regions, unless the test says otherwise."""
    return place or (() if "zones" in options else ([EAST, WEST], KEY))


def blocking(service: FakeService, *place: Any, **options: Any) -> Asking:
    """The blocking client of a service."""
    options = {"transport": httpx.MockTransport(service), **options}
    clock = partial(getattr, service, "now_s")
    return Asking(Client(*_place(place, options), clock=clock, sleep=service.sleep, **options))


def asynchronous(service: FakeService, *place: Any, **options: Any) -> Asking:
    """The asynchronous client of a service."""

    async def sleep(seconds: float) -> None:
        service.sleep(seconds)

    options = {"transport": httpx.MockTransport(service), **options}
    clock = partial(getattr, service, "now_s")
    return Asking(AsyncClient(*_place(place, options), clock=clock, sleep=sleep, **options))


Kind = Callable[..., Asking]
