"""Waiting for a job: as long as the caller says, in whichever region answers."""

import httpx
import pytest

from spillway import ServiceError
from spillway.client import JobUnfinishedError, NotFoundError, UnavailableError
from tests.client.fake_service import EAST, KEY, Before, FakeService, Kind, refusal

EASTERN, WESTERN = "east.example.com", "west.example.com"


def waits(service: FakeService) -> list[str | None]:
    """What each request asked to wait, in seconds."""
    return [
        request.headers.get("Prefer", "").removeprefix("wait=") or request.url.params.get("wait")
        for request in service.asked
    ]


def test_a_result_in_time_takes_one_request(service: FakeService, kind: Kind) -> None:
    """Most answers are quick: asking twice would double what they cost."""
    service.ends_in_s = 3

    job = kind(service)("run", "embedder", {"n": 1}, timeout_s=60)

    assert (job.completed, job.output) == (True, {"n": 1})
    assert waits(service) == ["25"]


def test_a_long_job_is_waited_for_in_pieces(service: FakeService, kind: Kind) -> None:
    """The service lets nobody wait longer than 25 s at once; a batch takes an hour."""
    service.ends_in_s = 3600

    job = kind(service)("run", "embedder", 1, timeout_s=4000)

    assert job.completed
    assert len(service.asked) == 144
    assert service.paused == []


def test_a_wait_ends_when_it_was_told_to_and_keeps_the_job(
    service: FakeService, kind: Kind
) -> None:
    """A caller who stops waiting must be able to come back for the result."""
    service.ends_in_s = 100
    client = kind(service)
    began_s = service.now_s

    with pytest.raises(JobUnfinishedError) as caught:
        client("run", "embedder", 1, timeout_s=40)

    assert service.now_s - began_s == pytest.approx(40)
    assert isinstance(caught.value, TimeoutError)
    job = caught.value.job
    assert job is not None
    assert (job.status, job.model) == ("in_progress", "embedder")
    assert waits(service) == ["25", "15", None]
    assert client("wait", job, timeout_s=100).completed


def test_submit_stays_as_long_as_it_was_asked_to(service: FakeService, kind: Kind) -> None:
    """An unfinished job is no error for somebody who only wanted to look."""
    service.ends_in_s = 100

    job = kind(service)("submit", "embedder", 1, wait_s=30)

    assert (job.status, job.done, job.model) == ("in_progress", False, "embedder")
    assert waits(service) == ["25", "5", None]


def test_a_wait_goes_on_in_another_region(service: FakeService, kind: Kind) -> None:
    """A region that dies under a waiting client takes neither the job nor the wait with it."""
    service.ends_in_s = 70

    def east_dies(request: httpx.Request) -> httpx.Response:
        if len(service.asked) == 2:
            service.down = {EASTERN}
        return service(request)

    client = kind(service, transport=httpx.MockTransport(east_dies))

    assert client("run", "embedder", 1, timeout_s=100).completed
    assert service.hosts == ["east", "east", "east", "west"]
    assert waits(service) == ["25", "25", "25", "25"]
    assert len(service.jobs) == 1


def test_a_redirect_is_followed_below_the_base_url_of_whichever_region(
    service: FakeService, kind: Kind
) -> None:
    """The service may say how to wait on; regions differ in what stands in front of /v1."""
    service.ends_in_s = 40
    onward = {"Location": "/api/v1/jobs/job_k?wait=25&turn=2"}
    service.faults[EASTERN] = [
        Before(httpx.Response(303, json={"id": "job_k", "status": "queued"}, headers=onward)),
        Before(httpx.ConnectError),
    ]
    client = kind(service)
    service.jobs["job_k"] = {
        "id": "job_k",
        "body": {"model": "embedder", "input": 1},
        "ends_s": service.now_s + 5,
        "end": "completed",
    }

    assert client("wait", "job_k", timeout_s=60).completed
    assert [str(request.url) for request in service.asked[1:]] == [
        "https://east.example.com/api/v1/jobs/job_k?wait=25&turn=2",
        "https://west.example.com/api/v1/jobs/job_k?wait=25&turn=2",
    ]


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example.com/api/v1/jobs/job_k?wait=5",
        "//evil.example.com/api/v1/jobs/job_k",
        "http://east.example.com/api/v1/jobs/job_k",
        "/elsewhere/v1/jobs/job_k",
        "/api/../v1/jobs/job_k",
        "http://[broken",
        "",
    ],
)
def test_a_redirect_to_elsewhere_is_not_followed(
    service: FakeService, kind: Kind, location: str
) -> None:
    """It would carry the key to whoever wrote it."""
    service.ends_in_s = 30
    client = kind(service, EAST, KEY)
    job = client("submit", "embedder", 1)
    service.faults[EASTERN] = [
        Before(
            httpx.Response(
                303, json={"id": job.id, "status": "queued"}, headers={"Location": location}
            )
        )
    ]

    assert client("wait", job, timeout_s=60).completed
    assert {request.url.copy_with(query=None) for request in service.asked[1:]} == {
        httpx.URL(f"{EAST}/v1/jobs/{job.id}")
    }


def test_a_service_too_busy_to_let_us_wait_is_asked_ever_more_seldom(
    service: FakeService, kind: Kind
) -> None:
    """When every waiting place is taken it answers at once, again and again."""
    service.ends_in_s, service.may_wait = 300, False

    assert kind(service)("run", "embedder", 1, timeout_s=400).completed
    assert service.paused[0] >= 1
    assert len(service.asked) < 50
    assert max(service.paused) <= 15


def test_an_answer_at_once_is_no_wait(service: FakeService, kind: Kind) -> None:
    """A redirect that leads in a circle would be followed a thousand times a second."""
    service.ends_in_s = 60
    client = kind(service)
    job = client("submit", "embedder", 1)
    service.faults[EASTERN] = [
        Before(httpx.Response(303, json={"id": job.id, "status": "queued"}))
    ] * 500

    with pytest.raises(JobUnfinishedError):
        client("wait", job, timeout_s=50)
    assert len(service.asked) < 25


def test_an_outage_during_a_wait_leaves_the_handle(service: FakeService, kind: Kind) -> None:
    """The job goes on without us; whoever loses its id has lost the result."""
    service.ends_in_s = 1000
    client = kind(service)
    job = client("submit", "embedder", 1)
    service.down = {EASTERN, WESTERN}

    with pytest.raises(UnavailableError) as caught:
        client("wait", job.id, timeout_s=3600)

    assert caught.value.job is not None
    assert caught.value.job.id == job.id


def test_an_outage_shorter_than_the_patience_goes_unnoticed(
    service: FakeService, kind: Kind
) -> None:
    """A deployment that is restarted must not fail every waiting program."""
    service.ends_in_s = 30
    client = kind(service)
    job = client("submit", "embedder", 1)
    for host in (EASTERN, WESTERN):
        service.faults[host] = [
            Before(refusal(503, "temporarily_unavailable", Retry_After="5"))
        ] * 4

    assert client("wait", job, timeout_s=120).completed


def test_a_job_that_is_gone_ends_the_wait(service: FakeService, kind: Kind) -> None:
    """Nobody should wait for a job that was erased."""
    with pytest.raises(NotFoundError):
        kind(service)("wait", "job_none", timeout_s=60)
    assert len(service.asked) == 1


@pytest.mark.parametrize("status", ["failed", "refused", "cancelled", "expired"])
def test_a_job_that_ends_without_a_result_ends_the_wait(
    service: FakeService, kind: Kind, status: str
) -> None:
    """Waiting on would be for ever."""
    ended = {
        "id": "job_a",
        "status": status,
        "error": {"code": "model_error", "message": "boom", "new": 1},
    }
    service.faults[EASTERN] = [Before(httpx.Response(200, json=ended))]

    job = kind(service)("run", "embedder", 1, timeout_s=60)

    assert (job.done, job.completed) == (True, False)
    assert job.error is not None
    assert job.error.message == "boom"


def test_no_time_at_all_is_one_look(service: FakeService, kind: Kind) -> None:
    """`timeout_s=0` is how a program asks whether a job is done."""
    client = kind(service)
    job = client("submit", "embedder", 1)

    assert client("wait", job, timeout_s=0).completed
    assert waits(service) == [None, None]


def test_a_status_from_the_future_is_not_an_end(service: FakeService, kind: Kind) -> None:
    """A service may learn new states before its clients do."""
    service.faults[EASTERN] = [
        Before(httpx.Response(200, json={"id": "job_a", "status": "pondering"}))
    ]

    job = kind(service)("job", "job_a")

    assert (job.status, job.done) == ("pondering", False)


def test_a_refusal_of_the_submission_is_no_unfinished_job(service: FakeService, kind: Kind) -> None:
    """A program that handles time-outs must not come back for a job that never was."""
    service.faults[EASTERN] = [Before(refusal(400, "unknown_field"))]

    with pytest.raises(ServiceError) as caught:
        kind(service)("run", "embedder", 1, timeout_s=5)

    assert not isinstance(caught.value, TimeoutError)
    assert caught.value.job is None
