"""What a model answered, wherever it lies."""

from typing import Any

import httpx
import pytest

from spillway.client import JobFailedError, JobUnfinishedError, Retries, UnavailableError
from tests.client.fake_service import BUCKET, EAST, KEY, Before, FakeService, Kind, refusal


def links(service: FakeService) -> list[httpx.Request]:
    """What was asked of where large results lie."""
    return [request for request in service.asked if request.url.host == BUCKET]


def test_a_small_result_is_in_the_job(service: FakeService, kind: Kind) -> None:
    """Nothing more is asked for what is there."""
    client = kind(service)
    job = client("submit", "embedder", {"n": 1})

    assert client("output", job) == {"n": 1}
    assert len(service.asked) == 1
    assert client("output", job.id) == {"n": 1}
    (listed,) = client("jobs")
    assert (listed.output, client("output", listed)) == (None, {"n": 1})


def test_a_large_result_is_fetched_without_the_key(service: FakeService, kind: Kind) -> None:
    """The link's host is somebody else: it must not learn the key."""
    service.large = True
    client = kind(service)
    job = client("submit", "embedder", {"n": 1})

    assert client("output", job) == {"n": 1}
    (fetched,) = links(service)
    assert fetched.url.params["signed"] == "1"
    assert KEY not in repr(fetched.headers.raw)
    assert list(client("results", [job, job.id])) == [{"n": 1}]


def test_a_link_that_has_run_out_is_asked_for_again(service: FakeService, kind: Kind) -> None:
    """A handle may be older than the hour that its link works."""
    service.large = True
    client = kind(service)
    job = client("submit", "embedder", {"n": 1})
    service.faults[BUCKET] = [Before(refusal(403))]

    assert client("output", job) == {"n": 1}
    service.faults[BUCKET] = [Before(refusal(403))] * 5
    with pytest.raises(UnavailableError) as caught:
        client("output", job)
    assert caught.value.code == "no_result"
    assert len(links(service)) == 4


@pytest.mark.parametrize("heard", [httpx.ConnectError, httpx.ReadError, refusal(503)], ids=str)
def test_a_link_that_fails_for_now_is_tried_again(
    service: FakeService, kind: Kind, heard: Any
) -> None:
    """A result that took an hour is worth a second try."""
    service.large = True
    client = kind(service, retries=Retries(attempts_max=4))
    job = client("submit", "embedder", {"n": 1})
    service.faults[BUCKET] = [Before(heard)] * 2

    assert client("output", job) == {"n": 1}
    service.faults[BUCKET] = [Before(heard)] * 9
    with pytest.raises(UnavailableError, match="did not give the result"):
        client("output", job)
    assert len(links(service)) == 3 + 4


def test_a_result_of_any_size_is_not_read_into_memory(service: FakeService, kind: Kind) -> None:
    """Nor an answer of somebody who is not Spillway."""
    service.large = True
    client = kind(service, EAST, KEY)
    job = client("submit", "embedder", "x" * 100)

    assert client("output", job, bytes_max=102) == "x" * 100
    with pytest.raises(UnavailableError) as caught:
        client("output", job, bytes_max=101)
    assert caught.value.code == "too_large"
    service.faults["east.example.com"] = [Before(httpx.Response(200, content=b"x" * 2**25))]
    with pytest.raises(UnavailableError) as caught:
        client("models")
    assert caught.value.code == "not_spillway"


def test_a_result_that_is_no_json_is_told(service: FakeService, kind: Kind) -> None:
    """A large one is as the model wrote it."""
    service.large = True
    client = kind(service)
    job = client("submit", "embedder", 1)
    service.faults[BUCKET] = [Before(httpx.Response(200, content=b"\xff private"))]

    with pytest.raises(UnavailableError) as caught:
        client("output", job)
    assert (caught.value.code, "private" in str(caught.value)) == ("not_json", False)


def test_a_job_without_a_result_is_an_error(service: FakeService, kind: Kind) -> None:
    """None is something that a model may answer."""
    client = kind(service)
    failed = client("submit", "embedder", {"end": "failed"})
    with pytest.raises(JobFailedError, match=r"is failed: boom") as caught:
        client("output", failed)
    assert caught.value.job == failed
    expired = client("submit", "embedder", {"end": "expired"})
    with pytest.raises(JobFailedError) as caught:
        client("output", expired)
    assert caught.value.code == "expired"

    with pytest.raises(JobUnfinishedError):
        client("output", client("submit", "embedder", {"takes_s": 9}))
    assert client("output", client("submit", "embedder", None)) is None
