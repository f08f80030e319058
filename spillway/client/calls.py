"""What every call does, step by step, for the blocking and the asynchronous client alike."""

import json
import random
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from math import inf
from typing import Any, Final, TypedDict, TypeVar, Unpack, cast
from urllib.parse import SplitResult, parse_qsl, quote, urljoin, urlsplit

from pydantic import TypeAdapter, ValidationError

from spillway.client.errors import JobUnfinishedError, ServiceError, UnavailableError
from spillway.client.flows import Flow, Give, Stream
from spillway.client.retries import Retries
from spillway.client.views import (
    Deliveries,
    Items,
    Job,
    Listing,
    Model,
    ModelCapacity,
    Tier,
    Upload,
    Usage,
)
from spillway.client.wire import (
    SEE_OTHER,
    Heard,
    Pause,
    Reply,
    Request,
    Send,
    judge,
    retry_after_s,
)
from spillway.client.zones import ONLY_ZONE, Region, Regions, Zone

WAIT_S_MAX: Final = 25
"""The longest single wait that any deployment may allow; longer ones are asked for again."""
WAIT_TIMEOUT_S: Final = 600.0
LATE_S: Final = 2.0
"""An answer to a wait that ends with the caller's time may be on its way that long."""
PROMPT_S: Final = 1.0
"""A wait that is answered sooner, with the job unfinished, was none: everybody waits already."""
PAGE_MAX: Final = 100
_NO_FIELDS: Final = ("zone", "idempotency_key")
_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")

T = TypeVar("T")


class OptionsOfMany(TypedDict, total=False):
    """What the submissions of many jobs may say besides their model and inputs.

    Attributes:
        tier: `interactive`, `standard` or `batch`; the service's default without it.
        deadline_s: Whole seconds from now by which the job must have started.
        metadata: At most 16 texts, kept with the job.
        webhook: An https address that is told of the end.
        zone: The deployment; needed where the client has several.
    """

    tier: Tier
    deadline_s: int
    metadata: Mapping[str, str]
    webhook: str
    zone: str


class Options(OptionsOfMany, total=False):
    """What a submission may say besides its model and input: that of many, and its own key.

    Attributes:
        idempotency_key: Makes a repetition in another process safe, too; made up without it.
    """

    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of jobs, and where the next one begins."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Deployment:
    """A zone at work."""

    name: str
    key: str = field(repr=False)
    regions: Regions


_JOB: Final = TypeAdapter(Job)
_LISTING: Final = TypeAdapter(Listing)
_MODELS: Final = TypeAdapter(Items[Model])
_CAPACITY: Final = TypeAdapter(Items[ModelCapacity])
_DELIVERIES: Final = TypeAdapter(Deliveries)
_USAGE: Final = TypeAdapter(Usage)
_JSON: Final = {"Content-Type": "application/json"}


class Calls:
    """The calls of one client.

    Args:
        url: Of a client with one deployment: its domain, or its regional URLs.
        key: Its key.
        zones: Of a client with several deployments: each by its name.
        retries: Bounds of each call.
        concurrency: Requests at once of one call about many jobs.
        clock: Seconds that only go forward.
        jitter: A number from 0 to 1, another one at each call.

    Raises:
        ValueError: Both or neither of `url` and `zones` are given, or one of them is wrong.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None,
        key: str | None,
        *,
        zones: Mapping[str, Zone] | None,
        retries: Retries | None,
        concurrency: int,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be above 0")
        self.concurrency = concurrency
        self.clock = clock
        self.retries = retries or Retries()
        self._jitter = jitter
        self._deployments = {
            name: _Deployment(
                name, zone.key, Regions(zone.bases, cool_down_s=self.retries.cool_down_s)
            )
            for name, zone in _zones(url, key, zones).items()
        }

    @property
    def zones(self) -> tuple[str, ...]:
        """Names of the deployments."""
        return tuple(self._deployments)

    def submit(
        self, model: str, model_input: Any, *, wait_s: float = 0.0, **options: Unpack[Options]
    ) -> Flow[Job]:
        """Create one job, however often that takes, and stay for its end up to `wait_s` seconds."""
        return self._submit(model, model_input, options, wait_s=wait_s, until_s=inf)

    def run(
        self, model: str, model_input: Any, *, timeout_s: float, **options: Unpack[Options]
    ) -> Flow[Job]:
        """Create one job and wait for its end.

        Raises:
            JobUnfinishedError: The time is over before the job.
        """
        until_s = self.clock() + timeout_s + LATE_S
        flow = self._submit(model, model_input, options, wait_s=timeout_s, until_s=until_s)
        return _ended((yield from flow), timeout_s)

    def wait(self, job: Job | str, *, timeout_s: float, zone: str | None = None) -> Flow[Job]:
        """Wait for a job's end.

        Raises:
            JobUnfinishedError: The time is over before the job.
        """
        handle = self.handle(job, zone)
        deployment = self._deployment(handle, zone)
        flow = self._watch(deployment, handle, None, self.clock() + timeout_s)
        return _ended((yield from flow), timeout_s)

    def job(self, job: Job | str, *, zone: str | None = None) -> Flow[Job]:
        """Read a job."""
        deployment = self._deployment(job, zone)
        return _job(deployment, (yield from self._ask(deployment, _about("GET", job))))

    def cancel(self, job: Job | str, *, zone: str | None = None) -> Flow[Job]:
        """Cancel a job that has not ended."""
        deployment = self._deployment(job, zone)
        return _job(deployment, (yield from self._ask(deployment, _about("POST", job, "/cancel"))))

    def delete(self, job: Job | str, *, zone: str | None = None) -> Flow[None]:
        """Cancel a job if needed, and erase its payload and result for good."""
        yield from self._ask(self._deployment(job, zone), _about("DELETE", job))

    def page(self, after: str | None, *, zone: str | None = None) -> Flow[Page]:
        """Read one page of the key's jobs, newest first, without results."""
        deployment = self._deployment(None, zone)
        params = {"limit": str(PAGE_MAX)} | ({"after": after} if after else {})
        request = Request(method="GET", path="/v1/jobs", params=params)
        listing = _read(_LISTING, (yield from self._ask(deployment, request)).document)
        jobs = tuple(_read(_JOB, {**each, "zone": deployment.name}) for each in listing.data)
        return Page(jobs, listing.next_cursor if listing.has_more else None)

    def jobs(self, *, zone: str | None = None) -> Stream[Job]:
        """Go through the key's jobs, newest first, without results."""
        after: str | None = None
        while True:
            page = yield from self.page(after, zone=zone)
            yield Give(page.jobs)
            after = page.next_cursor
            if after is None:
                return

    def models(self, *, zone: str | None = None) -> Flow[tuple[Model, ...]]:
        """Read which models the key may use."""
        return (yield from self.read(_MODELS, "GET", "/v1/models", zone=zone)).data

    def capacity(self, *, zone: str | None = None) -> Flow[tuple[ModelCapacity, ...]]:
        """Read how long work would wait now, in the region that answers."""
        return (yield from self.read(_CAPACITY, "GET", "/v1/capacity", zone=zone)).data

    def deliveries(self, job: Job | str, *, zone: str | None = None) -> Flow[Deliveries]:
        """Read how a job's webhook was told."""
        path = _about("GET", job, "/deliveries").path
        return self.read(_DELIVERIES, "GET", path, zone=zone, job=job)

    def redeliver(self, job: Job | str, *, zone: str | None = None) -> Flow[None]:
        """Have a job's webhook told once more."""
        yield from self._ask(self._deployment(job, zone), _about("POST", job, "/deliveries"))

    def feedback(
        self,
        job: Job | str,
        *,
        rating: int | None,
        correction: Any,
        comment: str | None,
        zone: str | None = None,
    ) -> Flow[Job]:
        """Keep what a user says of an answer."""
        deployment = self._deployment(job, zone)
        said = {"rating": rating, "correction": correction, "comment": comment}
        content = _json({name: value for name, value in said.items() if value is not None})
        request = replace(_about("POST", job, "/feedback"), headers=_JSON, content=content)
        return _job(deployment, (yield from self._ask(deployment, request)))

    def usage(
        self, *, since: date | None, until: date | None, model: str | None, zone: str | None = None
    ) -> Flow[Usage]:
        """Read what the key's tenant used."""
        asked = {"from": since, "to": until, "model": model}
        params = {name: str(value) for name, value in asked.items() if value is not None}
        return self.read(_USAGE, "GET", "/v1/usage", zone=zone, params=params)

    def read(
        self,
        adapter: TypeAdapter[T],
        method: str,
        path: str,
        *,
        zone: str | None,
        job: Job | str | None = None,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Flow[T]:
        """Ask for a document of a kind.

        Args:
            adapter: The kind.
            method: Of the request, as its path, params and body are.
            path: Below the base URL.
            zone: The deployment; needed where the client has several.
            job: What it is about, if that says which deployment.
            params: Of the query.
            body: Sent as JSON.

        Raises:
            ServiceError: It is refused, or cannot be read.
        """
        content = None if body is None else _json(body)
        headers = {} if body is None else _JSON
        request = Request(
            method=method, path=path, params=params or {}, headers=headers, content=content
        )
        reply = yield from self._ask(self._deployment(job, zone), request)
        return _read(adapter, reply.document)

    def handle(self, job: Job | str, zone: str | None = None) -> Job:
        """A handle of a job of which perhaps only the id is known."""
        if isinstance(job, Job):
            return job
        return Job(id=job, zone=self._deployment(job, zone).name, status="unknown")

    def pause(self, pauses: int, *, asked_s: float, until_s: float) -> Pause:
        """The how-manieth pause in a row, from 1, until the time at the latest."""
        pause_s = self.retries.pause_s(pauses, asked_s, self._jitter())
        return Pause(max(0.0, min(pause_s, until_s - self.clock())))

    def _deployment(self, job: Job | str | None, zone: str | None) -> _Deployment:
        """Whose business it is: a job's own deployment, and no other.

        Raises:
            ValueError: Nobody said which, it does not exist, or the job is another's.
        """
        known = ", ".join(self._deployments)
        if isinstance(job, Job):
            if zone not in (None, job.zone):
                raise ValueError(f"the job is of zone {job.zone!r}: nothing is sent across zones")
            zone = job.zone
        if zone is None:
            if len(self._deployments) > 1:
                raise ValueError(f"which zone? This client has {known}")
            (zone,) = self._deployments
        if zone not in self._deployments:
            raise ValueError(f"this client has no zone {zone!r}; it has {known}")
        return self._deployments[zone]

    def _submit(
        self, model: str, model_input: Any, options: Options, *, wait_s: float, until_s: float
    ) -> Flow[Job]:
        deployment = self._deployment(None, options.get("zone"))
        key = options.get("idempotency_key")
        # Made up once for all attempts: it is what makes repeating them safe.
        key = secrets.token_hex(16) if key is None else key
        request = _submission(model, model_input, options, key=key, wait_s=wait_s)
        waited_s = self.clock() + wait_s
        try:
            reply = yield from self._ask(deployment, request, until_s)
            job = _job(deployment, reply)
            if wait_s <= 0 or job.done:
                return job
            return (yield from self._watch(deployment, job, reply, waited_s))
        except ServiceError as error:
            error.idempotency_key = key
            raise

    def _watch(
        self, deployment: _Deployment, job: Job, reply: Reply | None, until_s: float
    ) -> Flow[Job]:
        """Wait on until a job has ended or time is up; the job, then, as it stands.

        Raises:
            ServiceError: Nobody could be asked any more; its `job` is the last one known.
        """
        idle = 0
        try:
            while (left_s := until_s - self.clock()) > 0:
                began_s = self.clock()
                request = _onward(job, reply, _wait_s(left_s))
                reply = yield from self._ask(deployment, request, until_s + LATE_S)
                job = _job(deployment, reply)
                if job.done:
                    return job
                if self.clock() - began_s >= PROMPT_S:
                    idle = 0
                    continue
                idle += 1
                asked_s = max(PROMPT_S, retry_after_s(reply.headers) or 0.0)
                yield self.pause(idle, asked_s=asked_s, until_s=until_s)
            # The answer to a wait that ended too early names the job and no more.
            reply = yield from self._ask(deployment, _about("GET", job), until_s + LATE_S)
            return _job(deployment, reply)
        except ServiceError as error:
            error.job = job
            raise

    def _ask(self, deployment: _Deployment, request: Request, until_s: float = inf) -> Flow[Reply]:
        """Send a request until it is answered, here or in another region of its deployment.

        Raises:
            ServiceError: It is refused, or still not answered after all attempts.
        """
        regions, retries = deployment.regions, self.retries
        until_s = min(until_s, self.clock() + retries.timeout_s)
        region = regions.choose(self.clock())
        attempts = pauses = 0
        while True:
            attempts += 1
            heard = yield self._send(deployment, region, request, until_s)
            outcome = judge(cast("Heard", heard), region.url, deployment.key)
            if isinstance(outcome, Reply):
                regions.answered(region)
                return outcome
            now_s, error = self.clock(), outcome.error
            if outcome.region_failed:
                regions.failed(region, now_s, error.retry_after_s)
            # A tenant's rate is a region's own business: 429 is no reason to go elsewhere.
            upcoming = regions.choose(now_s) if outcome.region_failed else region
            pause_s = 0.0
            if upcoming is region or upcoming.rests(now_s):
                pauses += 1
                asked_s = error.retry_after_s if upcoming is region else upcoming.ready_in_s(now_s)
                pause_s = retries.pause_s(pauses, asked_s or 0.0, self._jitter())
            last = attempts >= retries.attempts_max or now_s + pause_s >= until_s
            if last or not outcome.retry:
                raise error
            if pause_s:
                yield Pause(pause_s)
            region = upcoming

    def _send(
        self, deployment: _Deployment, region: Region, request: Request, until_s: float
    ) -> Send:
        left_s = until_s - self.clock()
        return Send(
            method=request.method,
            url=request.below(region.url),
            headers={**request.headers, "Authorization": f"Bearer {deployment.key}"},
            content=request.content,
            timeout_s=max(1.0, min(left_s, self.retries.request_timeout_s)),
            connect_timeout_s=self.retries.connect_timeout_s,
        )


def _zones(
    url: str | Sequence[str] | None, key: str | None, zones: Mapping[str, Zone] | None
) -> Mapping[str, Zone]:
    if zones is None:
        if not url or not key:
            raise ValueError("give a base URL, or several, and a key; or zones")
        return {ONLY_ZONE: Zone(url, key)}
    if url or key or not zones:
        raise ValueError("give one base URL, or several, and a key; or at least one zone instead")
    everywhere = [base for zone in zones.values() for base in zone.bases]
    if len(set(everywhere)) < len(everywhere):
        raise ValueError("two zones have the same URL: nothing may be sent across zones")
    return dict(zones)


def _submission(
    model: str, model_input: Any, options: Options, *, key: str, wait_s: float
) -> Request:
    """The same bytes at every attempt, or the service would take it for another request."""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise ValueError("an idempotency key is 1 to 255 printable ASCII characters, no spaces")
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
    fields = {name: value for name, value in options.items() if name not in _NO_FIELDS}
    given = {name: value for name, value in fields.items() if value is not None}
    body = {"model": model, **input_of(model_input), **given}
    headers = {**_JSON, "Idempotency-Key": key}
    if wait_s > 0:
        headers["Prefer"] = f"wait={_wait_s(wait_s)}"
    return Request(method="POST", path="/v1/jobs", headers=headers, content=_json(body))


def input_of(model_input: Any) -> dict[str, Any]:
    """How a submission names its input: as it is, or by its upload."""
    if isinstance(model_input, Upload):
        return {"input_upload": model_input.id}
    return {"input": model_input}


def _json(document: Any) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def _wait_s(left_s: float) -> int:
    """What to ask for in one request, in whole seconds."""
    return max(1, int(min(left_s, WAIT_S_MAX)))


def _about(method: str, job: Job | str, action: str = "") -> Request:
    job_id = job.id if isinstance(job, Job) else job
    return Request(method=method, path=f"/v1/jobs/{quote(job_id, safe='')}{action}")


def _onward(job: Job, reply: Reply | None, wait_s: int) -> Request:
    """The GET that waits on: where a 303 points to, for as long as there is time.

    Only what lies below the region's own base URL is followed, and it may be asked of another
    region, too. Anything else would carry the key and the job to wherever an answer says.
    """
    path, params = _about("GET", job).path, {}
    if reply is not None and reply.status == SEE_OTHER:
        base = urlsplit(f"{reply.base_url}/")
        target = _joined(base, reply.headers.get("Location", ""))
        near = (target.scheme, target.netloc) == (base.scheme, base.netloc)
        if near and target.path.startswith(f"{base.path}v1/"):
            path, params = target.path[len(base.path) - 1 :], dict(parse_qsl(target.query))
    return Request(method="GET", path=path, params=params | {"wait": str(wait_s)})


def _joined(base: SplitResult, location: str) -> SplitResult:
    try:
        return urlsplit(urljoin(base.geturl(), location))
    except ValueError:
        return base


def _job(deployment: _Deployment, reply: Reply) -> Job:
    return _read(_JOB, {**reply.document, "zone": deployment.name})


def _read(adapter: TypeAdapter[T], document: Any) -> T:
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        # Not what was in it: that may be anybody's data.
        wrong = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        message = f"the service answered what this client cannot read: {wrong}"
    raise UnavailableError(message, code="unreadable")


def _ended(job: Job, timeout_s: float) -> Job:
    if job.done:
        return job
    error = JobUnfinishedError(
        f"{job.id} is {job.status} after {timeout_s:g} s, and goes on", code="unfinished"
    )
    error.job = job
    raise error
