"""Many jobs at a time: handed in side by side, and watched together."""

import hashlib
import json
import re
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import partial
from itertools import islice
from typing import Any, Final, Unpack

from spillway.client.calls import PAGE_MAX, PROMPT_S, Calls, OptionsOfMany, input_of
from spillway.client.errors import (
    JobUnfinishedError,
    NotFoundError,
    RateLimitError,
    ServiceError,
)
from spillway.client.flows import Flow, Give, Stream, all_of
from spillway.client.outputs import OUTPUT_BYTES_MAX, output, tells_all
from spillway.client.progress import shown
from spillway.client.views import Job

IN_FLIGHT: Final = 100
FEW: Final = 10
"""So many are read one by one; of more, the list of all jobs tells which have ended."""
LOOKED_AT_ONCE: Final = 100
"""Jobs that are read before those that have ended are handed on."""
UNLISTED_MAX: Final = 100
"""Jobs that were not in the list and are read all the same, each time others."""
PAGES_TOO_MANY: Final = 5
"""Pages of the list beyond those that the jobs would fill: others may stand between them."""
_KEY_PREFIX: Final = re.compile(r"[!-~]{1,200}")


def submit_many(
    calls: Calls,
    model: str,
    inputs: Iterable[Any],
    options: OptionsOfMany,
    *,
    timeout_s: float,
    key_prefix: str | None,
    progress: bool,
) -> Flow[list[Job]]:
    """Create a job for each input; the jobs, in the order of their inputs."""
    until_s = calls.clock() + timeout_s
    flows = _submissions(calls, model, inputs, key_prefix, until_s, **options)
    with shown("submitted", _number(inputs), wanted=progress) as told:
        return (yield from all_of(flows, at_once=calls.concurrency, told=told))


def run_many(
    calls: Calls,
    model: str,
    inputs: Iterable[Any],
    options: OptionsOfMany,
    *,
    in_flight: int,
    timeout_s: float,
    key_prefix: str | None,
    progress: bool,
) -> Stream[Job]:
    """Create a job for each input, and give them, ended, in the order of their inputs."""
    if in_flight < 1:
        raise ValueError("in_flight must be above 0")
    until_s = calls.clock() + timeout_s
    flows = _submissions(calls, model, inputs, key_prefix, until_s, **options)
    watch, turns = Watch(calls, timeout_s), _Turns()
    more = True
    with shown("ended", _number(inputs), wanted=progress) as told:
        while more or turns:
            if more and (room := in_flight - len(turns)):
                fresh = list(islice(flows, room))
                more = len(fresh) == room
                turns.add(watch.add((yield from all_of(fresh, at_once=calls.concurrency))))
            turns.keep((yield from watch.ended(told)))
            yield Give(tuple(turns.ready(watch)))


def as_completed(
    calls: Calls,
    jobs: Iterable[Job | str],
    *,
    timeout_s: float,
    zone: str | None,
    progress: bool,
) -> Stream[Job]:
    """Give jobs as they end."""
    watch = Watch(calls, timeout_s)
    watch.add(calls.handle(job, zone) for job in jobs)
    with shown("ended", len(watch.waiting), wanted=progress) as told:
        while watch.waiting:
            yield Give((yield from watch.ended(told)))
    for error in watch.gone.values():
        raise error


def results(
    calls: Calls,
    jobs: Iterable[Job | str],
    *,
    timeout_s: float,
    zone: str | None,
    progress: bool,
) -> Stream[Any]:
    """Give what the models answered, in the order of the jobs."""
    watch, turns = Watch(calls, timeout_s), _Turns()
    turns.add(watch.add(calls.handle(job, zone) for job in jobs))
    with shown("ended", len(turns), wanted=progress) as told:
        while turns:
            turns.keep((yield from watch.ended(told)))
            flows = [_output(calls, job) for job in turns.ready(watch)]
            for found in (yield from all_of(flows, at_once=calls.concurrency)):
                if isinstance(found, ServiceError):
                    raise found
                yield Give((found,))


def _submissions(
    calls: Calls,
    model: str,
    inputs: Iterable[Any],
    key_prefix: str | None,
    until_s: float,
    **options: Unpack[OptionsOfMany],
) -> Iterator[Flow[Job]]:
    """How each input is handed in, with a key that a repetition finds again.

    It is made of what is asked and not of its place: a folder may have more files the next time.
    """
    prefix = secrets.token_hex(8) if key_prefix is None else key_prefix
    if not _KEY_PREFIX.fullmatch(prefix):
        raise ValueError("a key prefix is 1 to 200 printable ASCII characters, no spaces")
    seen: Counter[str] = Counter()
    for each in inputs:
        asked = json.dumps([model, input_of(each)], sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(asked.encode()).hexdigest()[:32]
        seen[digest] += 1
        key = f"{prefix}-{digest}-{seen[digest]}"
        submit = partial(calls.submit, model, each, idempotency_key=key, **options)
        yield _patiently(calls, submit, until_s)


def _patiently(calls: Calls, submit: Callable[[], Flow[Job]], until_s: float) -> Flow[Job]:
    """Hand in, and wait as long as it takes for room: those before us are on their way out."""
    while True:
        try:
            return (yield from submit())
        except RateLimitError as error:
            asked_s = error.retry_after_s or 0.0
            if calls.clock() + asked_s >= until_s:
                raise
            yield calls.pause(1, asked_s=asked_s, until_s=until_s)


def _number(inputs: Iterable[Any]) -> int | None:
    return len(inputs) if isinstance(inputs, Sized) else None


def _output(calls: Calls, job: Job) -> Flow[Any]:
    """What a model answered, or the error to be raised when it is the job's turn."""
    try:
        return (yield from output(calls, job, zone=None, bytes_max=OUTPUT_BYTES_MAX))
    except ServiceError as error:
        return error


class Watch:
    """Jobs whose ends somebody waits for.

    They are looked at round by round: of a few each, of many those that the list tells of. A
    round in which none ended is followed by a longer pause.

    Args:
        calls: Of the client.
        timeout_s: After that many seconds there is one last round.

    Attributes:
        waiting: Those that have not ended as far as anybody knows, by their keys.
        gone: Those that are not there, each with what the service said.
    """

    def __init__(self, calls: Calls, timeout_s: float) -> None:
        self._calls = calls
        self._timeout_s = timeout_s
        self._until_s = calls.clock() + timeout_s
        self._due: deque[_Key] = deque()
        self._rounds = self._idle = 0
        self._round_s = 0.0
        self.waiting: dict[_Key, Job] = {}
        self.gone: dict[_Key, NotFoundError] = {}

    def add(self, jobs: Iterable[Job]) -> list["_Key"]:
        """Watch some more; their keys."""
        added = {_key(job): job for job in jobs}
        self.waiting |= added
        return list(added)

    def ended(self, told: Callable[[Job], object]) -> Flow[tuple[Job, ...]]:
        """Read a number of jobs that may have ended; those that have.

        Raises:
            JobUnfinishedError: The time is over, and the last round as well.
        """
        if not self.waiting:
            return ()
        if not self._due:
            yield from self._begin_round()
        keys = [self._due.popleft() for _ in range(min(LOOKED_AT_ONCE, len(self._due)))]
        flows = [self._read(self.waiting[key]) for key in keys]
        found = yield from all_of(flows, at_once=self._calls.concurrency)
        ended = []
        for key, job in zip(keys, found, strict=True):
            if isinstance(job, NotFoundError):
                self.gone[key] = job
                del self.waiting[key]
            elif job.done:
                ended.append(job)
                del self.waiting[key]
                told(job)
        self._idle = 0 if ended else self._idle
        return tuple(ended)

    def _begin_round(self) -> Flow[None]:
        if self._rounds:
            if self._calls.clock() >= self._until_s:
                raise self._unfinished()
            self._idle += 1
            # Whoever answers slowly is not asked for half of the time.
            asked_s = max(PROMPT_S, self._round_s)
            yield self._calls.pause(self._idle, asked_s=asked_s, until_s=self._until_s)
        self._rounds += 1
        began_s = self._calls.clock()
        if len(self.waiting) <= FEW:
            self._due.extend(self.waiting)
        else:
            self._due.extend((yield from self._listed()))
        self._round_s = self._calls.clock() - began_s

    def _listed(self) -> Flow[list["_Key"]]:
        """Those that have ended by the list, and some of those that it does not show."""
        unlisted = dict(self.waiting)
        ended = []
        for zone in {job.zone for job in self.waiting.values()}:
            theirs = [job for job in self.waiting.values() if job.zone == zone]
            oldest = min((job.created_at for job in theirs if job.created_at), default=None)
            after: str | None = None
            for _ in range(len(theirs) // PAGE_MAX + PAGES_TOO_MANY):
                page = yield from self._calls.page(after, zone=zone)
                known = [job for job in page.jobs if unlisted.pop(_key(job), None)]
                ended += [_key(job) for job in known if job.done]
                last = page.jobs[-1].created_at if page.jobs else None
                after = page.next_cursor
                if after is None or (oldest and last and last < oldest):
                    break
        some = list(islice(unlisted, UNLISTED_MAX))
        for key in some:
            # To the end: the next round looks at others.
            self.waiting[key] = self.waiting.pop(key)
        return ended + some

    def _read(self, handle: Job) -> Flow[Job | NotFoundError]:
        if handle.done and tells_all(handle):
            return handle
        try:
            return (yield from self._calls.job(handle))
        except NotFoundError as error:
            error.job = handle
            return error

    def _unfinished(self) -> JobUnfinishedError:
        job = next(iter(self.waiting.values()))
        others = len(self.waiting) - 1
        error = JobUnfinishedError(
            f"after {self._timeout_s:g} s, {job.id} and {others} others have not ended, and go on",
            code="unfinished",
        )
        error.job = job
        return error


class _Turns:
    """Keeps jobs that have ended until it is their turn."""

    def __init__(self) -> None:
        self._order: deque[_Key] = deque()
        self._ended: dict[_Key, Job] = {}

    def __len__(self) -> int:
        return len(self._order)

    def add(self, keys: Iterable["_Key"]) -> None:
        self._order.extend(keys)

    def keep(self, jobs: Iterable[Job]) -> None:
        self._ended.update((_key(job), job) for job in jobs)

    def ready(self, watch: Watch) -> Iterator[Job]:
        """Those whose turn it is.

        Raises:
            NotFoundError: It is the turn of one that is not there.
        """
        while self._order:
            if self._order[0] in watch.gone:
                raise watch.gone[self._order[0]]
            if self._order[0] not in self._ended:
                return
            yield self._ended.pop(self._order.popleft())


_Key = tuple[str, str]
"""A job's zone and id."""


def _key(job: Job) -> _Key:
    return job.zone, job.id
