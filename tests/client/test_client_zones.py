"""Several deployments in one client: what belongs to one is never sent to another."""

from collections.abc import Iterator

import httpx
import pytest

from spillway import Job, Zone
from spillway.client import UnavailableError
from tests.client.fake_service import Asking, FakeService, Kind

EU_KEY, US_KEY = "sk-spillway-eu", "sk-spillway-us"
ZONES = {
    "eu": Zone(["https://eu-1.example.com", "https://eu-2.example.com"], EU_KEY),
    "us": Zone("https://us-1.example.com/", US_KEY),
}


class World:
    """Two deployments that know nothing of each other."""

    def __init__(self) -> None:
        self.services = {"eu": FakeService(base=""), "us": FakeService(base="")}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Route by name, as the network does."""
        return self.services[request.url.host[:2]](request)


@pytest.fixture
def world() -> World:
    """The two."""
    return World()


@pytest.fixture
def client(world: World, kind: Kind) -> Iterator[Asking]:
    """One client of both; no test may end with anything where it does not belong."""
    clock = world.services["eu"]
    yield kind(clock, zones=ZONES, transport=httpx.MockTransport(world))
    for zone, service in world.services.items():
        keys = {request.headers["Authorization"] for request in service.asked}
        assert keys <= {f"Bearer {ZONES[zone].key}"}


def test_a_job_stays_where_it_was_sent(world: World, client: Asking) -> None:
    """Data that must stay in the EU is in the US for good once it was there for a second."""
    job = client("submit", "embedder", {"patient": 1}, zone="eu")
    client("wait", job)
    client("job", job)
    client("cancel", job)
    client("delete", job)

    assert job.zone == "eu"
    assert len(world.services["eu"].asked) == 5
    assert world.services["us"].asked == []


def test_a_zone_that_is_down_is_not_replaced_by_another(world: World, client: Asking) -> None:
    """Fail-over ends at the border."""
    world.services["eu"].down = {"eu-1.example.com", "eu-2.example.com"}

    with pytest.raises(UnavailableError):
        client("submit", "embedder", 1, zone="eu")

    assert set(world.services["eu"].hosts) == {"eu-1", "eu-2"}
    assert world.services["us"].asked == []


def test_nobody_guesses_where_a_job_belongs(world: World, client: Asking) -> None:
    """A default would send the first forgotten argument across the border."""
    for call, arguments in [
        ("submit", ("embedder", 1)),
        ("run", ("embedder", 1)),
        ("job", ("job_a",)),
        ("wait", ("job_a",)),
        ("cancel", ("job_a",)),
        ("delete", ("job_a",)),
        ("jobs", ()),
        ("models", ()),
        ("capacity", ()),
    ]:
        with pytest.raises(ValueError, match="which zone"):
            client(call, *arguments)
    assert world.services["eu"].asked == world.services["us"].asked == []


def test_a_handle_does_not_cross(world: World, client: Asking, kind: Kind) -> None:
    """A job's id and what is known of it belong to its deployment, too."""
    job = client("submit", "embedder", 1, zone="eu")
    alone = kind(FakeService(base=""), "https://us-1.example.com", US_KEY)

    with pytest.raises(ValueError, match="across zones"):
        client("job", job, zone="us")
    with pytest.raises(ValueError, match="no zone 'eu'"):
        alone("job", job)
    with pytest.raises(ValueError, match="no zone 'apac'"):
        client("submit", "embedder", 1, zone="apac")


def test_each_zone_remembers_its_own_regions(world: World, client: Asking) -> None:
    """A sick region says nothing about another deployment's."""
    world.services["eu"].down = {"eu-1.example.com"}
    client("submit", "embedder", 1, zone="eu")
    client("submit", "embedder", 1, zone="us")
    client("submit", "embedder", 1, zone="eu")

    assert world.services["eu"].hosts == ["eu-1", "eu-2", "eu-2"]
    assert world.services["us"].hosts == ["us-1"]


def test_a_client_of_one_deployment_needs_no_word_of_zones(
    service: FakeService, kind: Kind
) -> None:
    """Most have one."""
    client = kind(service, "https://east.example.com/api/", "k")

    assert client("submit", "embedder", 1).zone == "default"
    assert str(service.asked[0].url) == "https://east.example.com/api/v1/jobs"


@pytest.mark.parametrize(
    ("url", "key", "zones", "why"),
    [
        (None, None, None, "base URL"),
        ("https://a.example.com", None, None, "key"),
        ([], "k", None, "base URL"),
        (None, None, {}, "at least one zone"),
        ("https://a.example.com", "k", ZONES, "instead"),
        ("a.example.com", "k", None, "looks like"),
        ("ftp://a.example.com", "k", None, "looks like"),
        ("https://", "k", None, "looks like"),
        ("https://user:secret@a.example.com", "k", None, "no user"),
        ("https://a.example.com?x=1", "k", None, "query"),
        ("https://[broken", "k", None, "looks like"),
        (["https://a.example.com", ""], "k", None, "looks like"),
    ],
)
def test_a_client_that_could_not_ask_is_not_made(
    service: FakeService, kind: Kind, url: object, key: str | None, zones: object, why: str
) -> None:
    """A mistake in the settings must show at the start, without what is secret in it."""
    with pytest.raises(ValueError, match=why) as caught:
        kind(service, url, key, zones=zones)
    assert "secret" not in str(caught.value)


def test_two_zones_cannot_share_a_url(service: FakeService, kind: Kind) -> None:
    """One of them would be the other: a slip of the pen that sends data across."""
    shared = {"eu": ZONES["eu"], "us": Zone("https://eu-2.example.com", US_KEY)}
    with pytest.raises(ValueError, match="same URL"):
        kind(service, zones=shared)


def test_a_job_of_another_name_for_the_zone_in_the_answer_is_not_believed(
    world: World, client: Asking
) -> None:
    """The zone is the client's knowledge; no answer may move a handle."""
    response = httpx.Response(200, json={"id": "job_a", "status": "queued", "zone": "us"})
    service = world.services["eu"]
    service.jobs["job_a"] = {"id": "job_a", "body": {}, "ends_s": 0.0, "end": "completed"}
    service.view = lambda job: dict(response.json())  # type: ignore[method-assign]

    job: Job = client("job", "job_a", zone="eu")

    assert job.zone == "eu"
