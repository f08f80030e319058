"""What is tried again, when, where, and for how long."""

from itertools import pairwise

import httpx
import pytest

from spillway import ServiceError
from spillway.client import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    Retries,
    UnavailableError,
)
from tests.client.fake_service import EAST, KEY, After, Before, FakeService, Kind, refusal

EASTERN, WESTERN = "east.example.com", "west.example.com"


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, BadRequestError),
        (415, BadRequestError),
        (501, UnavailableError),
    ],
)
def test_a_refusal_for_good_is_raised_at_once(
    service: FakeService, kind: Kind, status: int, raised: type[ServiceError]
) -> None:
    """Whoever repeats a wrong request learns of the mistake two minutes later."""
    service.faults[EASTERN] = [Before(refusal(status, "why", x_amzn_requestid="r-1"))]

    with pytest.raises(raised) as caught:
        kind(service)("submit", "embedder", 1)

    error = caught.value
    assert type(error) is raised
    assert (error.status, error.code, error.param) == (status, "why", "model")
    assert (error.request_id, error.message) == ("r-1", "no: why")
    assert "request r-1" in str(error)
    assert len(service.asked) == 1
    assert service.paused == []


@pytest.mark.parametrize("status", [429, 503])
def test_the_service_may_forbid_to_try_again(service: FakeService, kind: Kind, status: int) -> None:
    """It says so where a repetition cannot help, and only costs."""
    service.faults[EASTERN] = [Before(refusal(status, x_should_retry="false"))]

    with pytest.raises(ServiceError):
        kind(service)("submit", "embedder", 1)
    assert len(service.asked) == 1


def test_a_gateway_that_forbids_to_repeat_means_clients_without_a_key(
    service: FakeService, kind: Kind
) -> None:
    """Its time-out says nothing of the job; our submissions carry a key and find it again."""
    service.faults[EASTERN] = [Before(refusal(504, x_should_retry="false"))]

    assert kind(service)("submit", "embedder", 1).id
    assert len(service.asked) == 2


@pytest.mark.parametrize(
    "heard",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadTimeout,
        httpx.RemoteProtocolError,
        *(refusal(status) for status in (500, 502, 503, 504)),
        httpx.Response(502, text="<html>Bad Gateway</html>"),
    ],
    ids=str,
)
def test_another_region_is_asked_without_a_pause(
    service: FakeService, kind: Kind, heard: httpx.Response | type[httpx.TransportError]
) -> None:
    """A region that has failed is no reason to wait while another one works."""
    service.faults[EASTERN] = [Before(heard)]

    kind(service)("submit", "embedder", 1)

    assert service.hosts == ["east", "west"]
    assert service.paused == []


def test_a_region_that_failed_is_left_alone_for_a_while_and_then_preferred_again(
    service: FakeService, kind: Kind
) -> None:
    """Every call would wait for the dead region first; and none would ever come home."""
    service.down = {EASTERN}
    client = kind(service, retries=Retries(cool_down_s=30))
    for _ in range(3):
        client("submit", "embedder", 1)
    service.down.clear()
    client("submit", "embedder", 1)
    assert service.hosts == ["east", "west", "west", "west", "west"]

    service.now_s += 31
    client("submit", "embedder", 1)
    assert service.hosts[-1] == "east"


def test_a_region_that_is_still_down_is_left_alone_again(service: FakeService, kind: Kind) -> None:
    """One request pays for the look, not every one from then on."""
    service.down = {EASTERN}
    client = kind(service, retries=Retries(cool_down_s=30))
    client("submit", "embedder", 1)
    service.now_s += 31
    client("submit", "embedder", 1)
    client("submit", "embedder", 1)

    assert service.hosts == ["east", "west", "east", "west", "west"]


def test_where_no_region_works_pauses_grow_and_the_regions_take_turns(
    service: FakeService, kind: Kind
) -> None:
    """Clients that hammer a service keep it down; clients that give up early lose work."""
    service.down = {EASTERN, WESTERN}
    retries = Retries(attempts_max=8, backoff_first_s=1, backoff_max_s=16)
    began_s = service.now_s

    with pytest.raises(UnavailableError) as caught:
        kind(service, retries=retries)("submit", "embedder", 1)

    assert service.hosts == ["east", "west"] * 4
    assert len(service.paused) == 6
    for pause_s, most_s in zip(service.paused, [1, 2, 4, 8, 16, 16], strict=True):
        assert most_s / 2 <= pause_s <= most_s
    assert service.now_s - began_s < 60
    assert caught.value.status is None
    assert "no answer from https://" in caught.value.message


def test_clients_that_failed_together_do_not_come_back_together(kind: Kind) -> None:
    """A thousand clients in step are a burst every few seconds."""
    pauses = []
    for _ in range(12):
        service = FakeService(down={EASTERN, WESTERN})
        with pytest.raises(UnavailableError):
            kind(service, retries=Retries(attempts_max=3))("models")
        pauses += service.paused

    assert len(set(pauses)) == len(pauses)


def test_it_comes_back_when_the_service_says_and_not_before(
    service: FakeService, kind: Kind
) -> None:
    """The service computes when there is room; asking earlier is refused again."""
    busy = Before(refusal(429, "rate_limit", Retry_After="7"))
    service.faults[EASTERN] = [busy, busy]

    kind(service)("submit", "embedder", 1)

    assert all(7 <= pause_s <= 9 for pause_s in service.paused)
    assert service.hosts == ["east", "east", "east"]


def test_too_many_requests_are_not_carried_to_another_region(
    service: FakeService, kind: Kind
) -> None:
    """A limit that is evaded by asking the neighbour is none."""
    service.faults[EASTERN] = [Before(refusal(429))] * 4

    kind(service)("submit", "embedder", 1)

    assert service.hosts == ["east"] * 5


def test_a_region_that_is_busy_is_not_left_for_one_that_failed_before(
    service: FakeService, kind: Kind
) -> None:
    """By then the first one's rest is over; the limit that was met is not."""
    service.faults[EASTERN] = [Before(refusal(503))]
    service.faults[WESTERN] = [
        Before(refusal(429, Retry_After="40")),
        Before(refusal(429, Retry_After="1")),
    ]

    kind(service, retries=Retries(cool_down_s=30))("submit", "embedder", 1)

    assert service.hosts == ["east", "west", "west", "west"]


def test_a_region_that_wants_to_be_left_alone_longer_is(service: FakeService, kind: Kind) -> None:
    """It knows better than a constant how long it needs."""
    service.faults[EASTERN] = [Before(refusal(503, "region_unavailable", Retry_After="90"))]
    client = kind(service, retries=Retries(cool_down_s=30))
    client("submit", "embedder", 1)
    service.now_s += 60
    client("submit", "embedder", 1)
    service.now_s += 31
    client("submit", "embedder", 1)

    assert service.hosts == ["east", "west", "west", "east"]


@pytest.mark.parametrize("status", [429, 503])
def test_nobody_waits_for_a_moment_that_comes_too_late(
    service: FakeService, kind: Kind, status: int
) -> None:
    """A caller with two minutes must not sleep through them to be refused."""
    service.faults[EASTERN] = [Before(refusal(status, Retry_After="3600"))]

    with pytest.raises(ServiceError) as caught:
        kind(service, EAST, KEY)("submit", "embedder", 1)

    assert caught.value.retry_after_s == 3600
    assert service.paused == []
    assert len(service.asked) == 1


def test_a_limit_that_the_caller_sets_bounds_the_attempts(service: FakeService, kind: Kind) -> None:
    """A web request that has five seconds left has no use for an answer after two minutes."""
    service.down = {EASTERN, WESTERN}
    began_s = service.now_s

    with pytest.raises(UnavailableError):
        kind(service)("run", "embedder", 1, timeout_s=5)

    assert service.now_s - began_s <= 7


def test_one_domain_is_tried_until_its_name_leads_elsewhere(
    service: FakeService, kind: Kind
) -> None:
    """Health checks and resolvers need about 90 s to lead clients away from a lost region."""
    service.down = {EASTERN}
    pause = service.sleep

    def sleep(seconds: float) -> None:
        pause(seconds)
        if service.now_s > 1090:
            service.down.clear()

    service.sleep = sleep  # type: ignore[method-assign]

    assert kind(service, EAST, KEY)("submit", "embedder", 1).completed


def test_a_request_gets_no_more_time_than_there_is(service: FakeService, kind: Kind) -> None:
    """A read that hangs for 30 s breaks a limit of five."""
    service.faults[EASTERN] = [Before(httpx.ReadTimeout, takes_s=1)] * 9
    service.faults[WESTERN] = [Before(httpx.ReadTimeout, takes_s=1)] * 9

    with pytest.raises(UnavailableError):
        kind(service, retries=Retries(timeout_s=5))("submit", "embedder", 1)

    reads = [request.extensions["timeout"]["read"] for request in service.asked]
    assert reads[0] == 5
    assert all(later < earlier or later == 1 for earlier, later in pairwise(reads))
    assert max(request.extensions["timeout"]["connect"] for request in service.asked) <= 5


def test_waiting_for_a_connection_of_ones_own_blames_no_region(
    service: FakeService, kind: Kind
) -> None:
    """A busy program would drive itself out of its own region."""
    service.faults[EASTERN] = [Before(httpx.PoolTimeout)]

    kind(service)("submit", "embedder", 1)

    assert service.hosts == ["east", "east"]


def test_cancelling_and_erasing_survive_a_lost_answer(service: FakeService, kind: Kind) -> None:
    """Both may be said twice; a user who wants a job gone must not be told that it failed."""
    client = kind(service)
    job = client("submit", "embedder", 1)
    service.faults[EASTERN] = [After(httpx.ReadTimeout)]
    cancelled = client("cancel", job)
    service.now_s += 31
    service.faults[EASTERN] = [After(httpx.ReadTimeout)]

    assert cancelled.status == "cancelled"
    assert client("delete", job.id) is None
    assert service.hosts == ["east", "east", "west", "east", "west"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, json=["a list"]),
        httpx.Response(302, headers={"Location": "https://login.example.com"}),
        httpx.Response(200, json={"no": "job"}),
        httpx.Response(200, json={"id": "job_a", "status": "queued", "attempt": "sk-private"}),
    ],
)
def test_an_answer_that_is_no_spillways_is_an_error_and_not_followed(
    service: FakeService, kind: Kind, answer: httpx.Response
) -> None:
    """A captive portal must not look like a job, nor get the key."""
    service.faults[EASTERN] = [Before(answer)]

    with pytest.raises(UnavailableError) as caught:
        kind(service)("job", "job_a")

    assert len(service.asked) == 1
    assert "sk-private" not in str(caught.value)


@pytest.mark.parametrize("name", ["attempts_max", "timeout_s", "backoff_first_s", "cool_down_s"])
def test_bounds_that_bound_nothing_are_refused(name: str) -> None:
    """Zero attempts are a client that never asks and says that nobody answered."""
    with pytest.raises(ValueError, match=name):
        Retries(**{name: 0})
