"""A submission makes one job, whatever happens on the way."""

import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway import ServiceError
from spillway.client import ConflictError, Retries, UnavailableError
from tests.client.fake_service import After, Before, FakeService, Fault, Kind, blocking, refusal

HOSTS = ("east.example.com", "west.example.com")
HEARD = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.RemoteProtocolError,
    *(refusal(status) for status in (429, 500, 502, 503, 504)),
)
FAULTS = st.builds(
    lambda kind, heard, takes_s: kind(heard, takes_s),
    st.sampled_from([Before, After]),
    st.sampled_from(HEARD),
    st.sampled_from([0.0, 5.0, 29.0]),
)


@pytest.mark.parametrize("heard", HEARD, ids=str)
def test_an_answer_that_is_lost_after_the_effect_makes_no_second_job(
    service: FakeService, kind: Kind, heard: httpx.Response | type[httpx.TransportError]
) -> None:
    """A GPU that works twice for one request costs twice, and the user sees one of two results."""
    service.faults["east.example.com"] = [After(heard)]

    job = kind(service)("submit", "embedder", {"n": 1})

    assert len(service.asked) == 2
    assert list(service.jobs) == [job.id]
    assert len({request.headers["Idempotency-Key"] for request in service.asked}) == 1
    assert len({request.content for request in service.asked}) == 1


# A machine that is busy with other tests is no fault of the client.
@settings(deadline=None)
@given(east=st.lists(FAULTS, max_size=8), west=st.lists(FAULTS, max_size=8))
def test_no_sequence_of_faults_makes_a_second_job(east: list[Fault], west: list[Fault]) -> None:
    """Somebody's network does every one of these; none may cost a job or make one too many."""
    service = FakeService(ends_in_s=40.0)
    service.faults.update({HOSTS[0]: list(east), HOSTS[1]: list(west)})
    client = blocking(service)
    try:
        job = client("run", "embedder", {"n": 1}, timeout_s=3600.0)
    except ServiceError as error:
        service.faults.clear()
        key = error.idempotency_key
        job = client("run", "embedder", {"n": 1}, timeout_s=3600.0, idempotency_key=key)

    assert job.completed
    assert list(service.jobs) == [job.id]


def test_a_key_of_ones_own_is_sent_as_it_is(service: FakeService, kind: Kind) -> None:
    """A program that is started again finds the job of its first run."""
    client = kind(service)
    first = client("submit", "embedder", {"n": 1}, idempotency_key="order-17")
    again = client("submit", "embedder", {"n": 1}, idempotency_key="order-17")

    assert first.id == again.id
    assert {each.headers["Idempotency-Key"] for each in service.asked} == {"order-17"}


def test_two_submissions_are_two_jobs(service: FakeService, kind: Kind) -> None:
    """A key that stayed the same would swallow the second of two equal requests."""
    client = kind(service)

    assert client("submit", "embedder", 1).id != client("submit", "embedder", 1).id
    assert len(service.jobs) == 2


def test_an_error_tells_the_key_with_which_to_try_again(service: FakeService, kind: Kind) -> None:
    """Nobody knows then whether the job exists; its key makes that harmless."""
    service.faults["east.example.com"] = [After(httpx.ReadTimeout), Before(httpx.ConnectError)]
    service.down = {"west.example.com"}
    client = kind(service, retries=Retries(attempts_max=3))

    with pytest.raises(UnavailableError) as caught:
        client("submit", "embedder", 1)
    service.down.clear()
    job = client("submit", "embedder", 1, idempotency_key=caught.value.idempotency_key)

    assert list(service.jobs) == [job.id]


def test_what_is_sent_is_what_was_said(service: FakeService, kind: Kind) -> None:
    """A field that gets lost on the way gives a job that nobody asked for."""
    kind(service)(
        "submit",
        "embedder",
        None,
        tier="batch",
        deadline_s=600,
        metadata={"run": "7"},
        webhook="https://example.com/done",
    )

    assert json.loads(service.asked[0].content) == {
        "model": "embedder",
        "input": None,
        "tier": "batch",
        "deadline_s": 600,
        "metadata": {"run": "7"},
        "webhook": "https://example.com/done",
    }
    assert str(service.asked[0].url) == "https://east.example.com/api/v1/jobs"
    assert "Prefer" not in service.asked[0].headers


@pytest.mark.parametrize("key", ["", "two words", "line\nend", "ü", "x" * 256])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(
    service: FakeService, kind: Kind, key: str
) -> None:
    """A request that cannot be repeated must not be sent once."""
    with pytest.raises(ValueError, match="idempotency key"):
        kind(service)("submit", "embedder", 1, idempotency_key=key)
    assert service.asked == []


def test_an_unknown_option_and_an_input_that_is_no_json_are_refused(
    service: FakeService, kind: Kind
) -> None:
    """A typing error must not be a job of another tier."""
    with pytest.raises(TypeError, match="teir"):
        kind(service)("submit", "embedder", 1, teir="batch")
    with pytest.raises(ValueError, match="JSON"):
        kind(service)("submit", "embedder", float("nan"))
    assert service.asked == []


def test_a_key_that_was_used_for_something_else_is_a_conflict(
    service: FakeService, kind: Kind
) -> None:
    """Whoever gets another request's result without noticing works on with it."""
    client = kind(service)
    client("submit", "embedder", 1, idempotency_key="k")
    with pytest.raises(ConflictError) as caught:
        client("submit", "embedder", 2, idempotency_key="k")

    assert caught.value.code == "idempotency_key_reused"
    assert len(service.asked) == 2
