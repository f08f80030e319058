"""Many jobs: each made once, all watched by a few requests."""

import time
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from spillway import Client, ServiceError
from spillway.client import (
    ConflictError,
    JobFailedError,
    JobUnfinishedError,
    NotFoundError,
    RateLimitError,
    Retries,
    UnavailableError,
)
from spillway.client.bulk import FEW, LOOKED_AT_ONCE
from tests.client.fake_service import EAST, KEY, After, Before, FakeService, Fault, Kind, refusal

EASTERN = "east.example.com"


def inputs_of(jobs: list[Any]) -> list[Any]:
    """What the jobs were asked, by what the service echoes."""
    return [job.output["n"] for job in jobs]


def taking(*seconds: float) -> list[dict[str, Any]]:
    """Inputs of jobs that take so long."""
    return [{"n": n, "takes_s": takes_s} for n, takes_s in enumerate(seconds)]


def asked(service: FakeService, method: str, path: str = "/api/v1/jobs") -> int:
    """How many requests went there."""
    return sum(
        request.method == method and request.url.path.startswith(path) for request in service.asked
    )


def test_a_repeated_bulk_makes_only_what_is_missing(service: FakeService, kind: Kind) -> None:
    """Whoever starts a night's work again must not pay for half of it twice."""
    client = kind(service)
    first = client("submit_many", "embedder", [1, 2, 3, 2], key_prefix="night-7", tier="batch")

    again = client("submit_many", "embedder", [3, 2, 0, 2, 1], key_prefix="night-7", tier="batch")

    ids = [job.id for job in first]
    assert len(set(ids)) == 4, "equal inputs are jobs of their own"
    assert [again[n].id for n in (4, 1, 0, 3)] == ids
    assert len(service.jobs) == 5
    assert {job.tier for job in again} == {"batch"}
    client("submit_many", "embedder", [1], key_prefix="night-8")
    client("submit_many", "embedder", [1])
    assert len(service.jobs) == 7


def test_a_bulk_that_is_repeated_otherwise_is_a_conflict(service: FakeService, kind: Kind) -> None:
    """Another tier is another job: nobody should get it unasked, nor pay twice."""
    client = kind(service)
    client("submit_many", "embedder", [1], key_prefix="k")

    with pytest.raises(ConflictError):
        client("submit_many", "embedder", [1], key_prefix="k", tier="interactive")


def test_answers_lost_on_the_way_make_no_second_job(service: FakeService, kind: Kind) -> None:
    """With a thousand submissions, something gets lost."""
    service.faults[EASTERN] = [After(httpx.ReadTimeout), After(refusal(503))] * 5

    jobs = kind(service)("submit_many", "embedder", range(20))

    assert [job.output for job in jobs] == list(range(20)), "in the order of the inputs"
    assert len(service.jobs) == 20


@pytest.mark.parametrize("name", ["submit_many", "run_many"])
def test_room_is_waited_for_while_there_is_time(
    service: FakeService, kind: Kind, name: str
) -> None:
    """A tenant's limit of unfinished jobs is met by every bulk; those before make room."""
    busy: list[Fault] = [Before(refusal(429, "in_flight_limit", Retry_After="10"))]
    service.faults[EASTERN] = busy * 30
    client = kind(service, EAST, KEY)

    assert len(client(name, "embedder", [1, 2], timeout_s=900)) == 2
    assert service.now_s > 1200, "longer than a single submission is tried"

    service.faults[EASTERN] = busy * 300
    _, error = client.taken("run_many", "embedder", [1, 2], timeout_s=200)
    assert isinstance(error, RateLimitError)
    service.asked.clear()
    service.faults[EASTERN] = [Before(refusal(429, "token_quota", Retry_After="40000"))] * 9
    with pytest.raises(RateLimitError):
        client(name, "embedder", [3, 4])
    assert len(service.asked) <= 2, "a quota of tomorrow is told today"


def test_a_refused_input_stops_the_rest(service: FakeService, kind: Kind) -> None:
    """A mistake in every document is told after a few of them, not after all."""
    service.faults[EASTERN] = [Before(refusal(400, "invalid_value"))] * 1000
    client = kind(service, EAST, KEY)

    with pytest.raises(ServiceError) as caught:
        client("submit_many", "embedder", range(1000), key_prefix="k")

    assert caught.value.code == "invalid_value"
    assert str(caught.value.idempotency_key).startswith("k-")
    assert len(service.asked) <= 16


def test_an_input_that_cannot_be_read_is_told_as_it_is(service: FakeService, kind: Kind) -> None:
    """The caller's own exception says which file it was."""

    def documents() -> Iterator[int]:
        yield 1
        raise OSError("no such file")

    for name in ("submit_many", "run_many"):
        with pytest.raises(OSError, match="no such file"):
            kind(service)(name, "embedder", documents())


@pytest.mark.parametrize("key_prefix", ["", "two words", "x" * 201])
def test_a_prefix_that_no_key_can_begin_with_is_refused(
    service: FakeService, kind: Kind, key_prefix: str
) -> None:
    """It would be found out in the middle."""
    with pytest.raises(ValueError, match="key prefix"):
        kind(service)("submit_many", "embedder", [1], key_prefix=key_prefix)
    assert service.asked == []


def test_no_more_requests_run_at_once_than_were_allowed(service: FakeService, kind: Kind) -> None:
    """A program that hands in a million documents must not open a million connections."""
    now = most = 0

    def begin(change: int) -> None:
        nonlocal now, most
        now += change
        most = max(most, now)

    def slowly(request: httpx.Request) -> httpx.Response:
        begin(1)
        time.sleep(0.01)
        begin(-1)
        return service(request)

    async def slowly_too(request: httpx.Request) -> httpx.Response:
        begin(1)
        await anyio.sleep(0.01)
        begin(-1)
        return service(request)

    client = kind(service)
    handler = slowly if isinstance(client.client, Client) else slowly_too
    client = kind(service, transport=httpx.MockTransport(handler), concurrency=3)

    client("submit_many", "embedder", range(12))

    assert most == 3
    with pytest.raises(ValueError, match="concurrency"):
        kind(service, concurrency=0)


def test_jobs_are_given_as_they_end(service: FakeService, kind: Kind) -> None:
    """The first result should be worked on while the last one is still computed."""
    client = kind(service)
    jobs = client("submit_many", "embedder", taking(300, 0, 60))
    at_s: list[float] = []

    ended, error = client.taken("as_completed", jobs, each=lambda _: at_s.append(service.now_s))

    assert error is None
    assert inputs_of(ended) == [1, 2, 0]
    assert at_s == sorted(at_s)
    assert at_s[1] - 1000 < 60 + 16, "within a pause of its end"
    assert client("as_completed", []) == []


def test_ends_of_every_kind_are_given(service: FakeService, kind: Kind) -> None:
    """Which ones failed is what the caller has to know."""
    ends = ["completed", "failed", "refused", "cancelled", "expired"]
    client = kind(service)
    jobs = client("submit_many", "embedder", [{"n": n, "end": end} for n, end in enumerate(ends)])

    ended = client("as_completed", [job.id for job in jobs])

    assert sorted(job.status for job in ended) == sorted(ends)


@pytest.mark.parametrize("count", [FEW, 110])
def test_however_many_jobs_are_watched_by_a_few_requests(
    service: FakeService, kind: Kind, count: int
) -> None:
    """A thousand jobs for an hour must not be a thousand open requests, or a million small ones."""
    service.ends_in_s = 600
    client = kind(service)
    jobs = client("submit_many", "embedder", range(count))
    service.asked.clear()

    ended = client("as_completed", jobs, timeout_s=900)

    assert sorted(job.output for job in ended) == list(range(count))
    rounds = len(service.paused) + 1
    assert rounds <= 600 / 7.5 + 10, "pauses have grown to 15 s, with jitter"
    pages = -(-count // 100) if count > FEW else 0
    assert asked(service, "GET", "/api/v1/jobs/") == count * (1 if pages else rounds)
    assert sum("wait" in str(request.url) for request in service.asked) == 0
    assert len(service.asked) <= count * (1 if pages else rounds) + pages * rounds


def test_a_list_that_does_not_show_a_job_does_not_hide_its_end(
    service: FakeService, kind: Kind
) -> None:
    """Others may stand before it, or the list may be a moment behind."""
    client = kind(service)
    jobs = client("submit_many", "embedder", range(FEW + 3))
    service.faults[EASTERN] = [Before(httpx.Response(200, json={"data": []}))]

    assert len(client("as_completed", jobs)) == FEW + 3


def test_jobs_that_others_crowd_out_of_the_list_are_read_in_turn(
    service: FakeService, kind: Kind
) -> None:
    """A tenant's other programs make jobs, too; pages are bounded."""
    client = kind(service)
    mine = client("submit_many", "embedder", range(LOOKED_AT_ONCE + 50), key_prefix="mine")
    client("submit_many", "embedder", range(700), key_prefix="theirs")
    service.asked.clear()

    ended = client("as_completed", [job.id for job in mine])

    assert {job.id for job in ended} == {job.id for job in mine}
    assert len(service.asked) <= len(mine) + 2 * 7


def test_time_that_is_up_names_a_job_and_leaves_what_has_ended(
    service: FakeService, kind: Kind
) -> None:
    """A caller who stops waiting has what there is, and can come back for the rest."""
    client = kind(service)
    jobs = client("submit_many", "embedder", taking(1000, 0, 2000))

    ended, error = client.taken("as_completed", jobs, timeout_s=40)

    assert inputs_of(ended) == [1]
    assert isinstance(error, JobUnfinishedError)
    assert error.job is not None
    assert error.job.id in {jobs[0].id, jobs[2].id}
    assert service.now_s == pytest.approx(1040)
    assert inputs_of(client("as_completed", jobs, timeout_s=3000)) == [1, 0, 2]


def test_no_time_at_all_is_one_round(service: FakeService, kind: Kind) -> None:
    """`timeout_s=0` is how a program asks which jobs are done."""
    client = kind(service)
    jobs = client("submit_many", "embedder", taking(0, 50))

    ended, error = client.taken("as_completed", jobs, timeout_s=0)

    assert (len(ended), type(error), service.paused) == (1, JobUnfinishedError, [])


def test_a_job_that_is_gone_is_told_after_all_others(service: FakeService, kind: Kind) -> None:
    """One erased job must not cost the results of a thousand others."""
    client = kind(service)
    jobs = client("submit_many", "embedder", taking(60, 0))

    ended, error = client.taken("as_completed", ["job_gone", *jobs])

    assert inputs_of(ended) == [1, 0]
    assert isinstance(error, NotFoundError)
    assert error.job is not None
    assert error.job.id == "job_gone"


def test_an_outage_ends_the_watch_and_not_the_jobs(service: FakeService, kind: Kind) -> None:
    """Nobody waits for ever for a service that is not there."""
    client = kind(service, retries=Retries(attempts_max=3))
    jobs = client("submit_many", "embedder", taking(60))
    service.down = {EASTERN, "west.example.com"}

    _, error = client.taken("as_completed", jobs)
    assert isinstance(error, UnavailableError)
    service.down.clear()

    assert len(client("as_completed", jobs)) == 1


def test_results_come_in_the_order_of_their_jobs(service: FakeService, kind: Kind) -> None:
    """They are zipped with what was asked."""
    client = kind(service)
    jobs = client("submit_many", "embedder", taking(90, 0, 60))

    results = client("results", jobs)

    assert [result["n"] for result in results] == [0, 1, 2]


def test_a_job_without_a_result_is_raised_in_its_turn(service: FakeService, kind: Kind) -> None:
    """A missing result must not shift the others by one."""
    client = kind(service)
    asked_for = [{"n": 0, "takes_s": 9}, {"n": 1, "end": "failed"}, {"n": 2}]
    jobs = client("submit_many", "embedder", asked_for)

    results, error = client.taken("results", jobs)

    assert [result["n"] for result in results] == [0]
    assert isinstance(error, JobFailedError)
    assert (error.code, error.job and error.job.id) == ("model_error", jobs[1].id)
    _, error = client.taken("results", [jobs[0], "job_gone"])
    assert isinstance(error, NotFoundError)


def test_run_many_gives_ended_jobs_in_order_and_reads_inputs_as_there_is_room(
    service: FakeService, kind: Kind
) -> None:
    """A folder larger than memory, and a tenant's limit of unfinished jobs."""
    read: list[int] = []
    given: list[int] = []
    ahead: list[int] = []

    def documents() -> Iterator[dict[str, Any]]:
        for n in range(40):
            read.append(n)
            ahead.append(len(read) - len(given))
            yield {"n": n, "takes_s": 0 if n % 2 else 30}

    client = kind(service)

    jobs, error = client.taken(
        "run_many", "embedder", documents(), in_flight=5, each=lambda _: given.append(1)
    )

    assert error is None
    assert inputs_of(jobs) == list(range(40))
    assert max(ahead) <= 5
    assert len(service.jobs) == 40
    with pytest.raises(ValueError, match="in_flight"):
        client("run_many", "embedder", [1], in_flight=0)


def test_run_many_again_makes_nothing_twice(service: FakeService, kind: Kind) -> None:
    """A program that was interrupted is started again with the same words."""
    client = kind(service)
    _, error = client.taken("run_many", "m", taking(0, 900, 0), timeout_s=60, key_prefix="k")
    assert isinstance(error, JobUnfinishedError)

    jobs = client("run_many", "m", taking(0, 900, 0), timeout_s=3600, key_prefix="k")

    assert inputs_of(jobs) == [0, 1, 2]
    assert len(service.jobs) == 3


def test_a_client_that_is_closed_says_so_of_many_jobs_as_of_one(kind: Kind) -> None:
    """An error of our own must not come in a group, where nobody looks for it."""

    def closed(request: httpx.Request) -> httpx.Response:
        raise RuntimeError("closed")

    client = kind(FakeService(), transport=httpx.MockTransport(closed))
    with pytest.raises(RuntimeError, match="closed"):
        client("submit_many", "embedder", range(20))


def test_whoever_stops_halfway_asks_for_nothing_more(service: FakeService) -> None:
    """`break` must not leave threads, requests or a bar behind."""
    service.ends_in_s = 5
    with Client(EAST, KEY, transport=httpx.MockTransport(service), sleep=service.sleep) as client:
        client._calls.clock = lambda: service.now_s
        for _ in client.run_many("embedder", range(100), in_flight=10):
            break

    assert len(service.jobs) == 10


def test_progress_is_a_few_plain_lines_where_nobody_looks(
    service: FakeService, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log of a night's work is read in the morning."""
    client = kind(service)
    jobs = client("submit_many", "embedder", [{"end": "failed"}, *range(24)], progress=True)
    assert capsys.readouterr().err.splitlines()[::4] == [
        "submitted: 3 of 25, 1 without a result",
        "submitted: 15 of 25, 1 without a result",
        "submitted: 25 of 25, 1 without a result",
    ]
    client("as_completed", jobs, progress=True)
    client("run_many", "embedder", (n for n in range(100)), progress=True)
    client("results", jobs[1:])

    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 10
    assert lines[-2:] == ["ended: 25 of 25, 1 without a result", "ended: 100"]


def test_progress_is_a_bar_on_a_terminal(
    service: FakeService,
    kind: Kind,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever waits wants to know how long."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")

    kind(service)("run_many", "embedder", [1, {"end": "failed"}, 3], progress=True)

    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "1 without a result" in shown
