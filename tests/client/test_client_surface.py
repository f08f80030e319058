"""What a program sees: typed documents, pages, secrets that stay secret, and a light import."""

import inspect
import logging
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any, get_args

import httpx
import pytest

import spillway
from spillway import AsyncClient, Client, ServiceError, Zone
from spillway.client import JobUnfinishedError, RateLimitError, RegionalApi, Retries, Tier
from spillway.client.calls import Options
from tests.client.fake_service import EAST, KEY, Before, FakeService, Kind, refusal

EASTERN = "east.example.com"
PRIVATE = "private-input"


def test_a_job_is_typed_and_what_is_new_is_ignored(service: FakeService, kind: Kind) -> None:
    """A program that is a year old must still read what the service answers."""
    job = kind(service)("submit", "embedder", {"n": 1}, tier="batch", metadata={"run": "7"})

    assert (job.id in service.jobs, job.status, job.attempt) == (True, "completed", 1)
    assert (job.tier, job.metadata) == ("batch", {"run": "7"})
    assert job.created_at == datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    assert (job.timings.queue_s, job.timings.model_s) == (0.5, 1.5)
    assert job.error is job.queue is job.output_url is None


def test_every_page_is_read_and_none_twice(service: FakeService, kind: Kind) -> None:
    """A list that ends at the first page, or at an empty one, hides jobs."""
    pages: list[dict[str, Any]] = [
        {"data": [{"id": "job_a", "status": "queued"}], "has_more": True, "next_cursor": "c 1"},
        {"data": [], "has_more": True, "next_cursor": "c2"},
        {"data": [{"id": "job_b", "status": "failed"}], "has_more": False, "next_cursor": None},
    ]
    service.faults[EASTERN] = [Before(httpx.Response(200, json=page)) for page in pages]

    jobs = kind(service)("jobs")

    assert [job.id for job in jobs] == ["job_a", "job_b"]
    assert {job.zone for job in jobs} == {"default"}
    asked = [dict(request.url.params) for request in service.asked]
    assert asked == [
        {"limit": "100"},
        {"limit": "100", "after": "c 1"},
        {"limit": "100", "after": "c2"},
    ]


def test_models_and_capacity_are_typed(service: FakeService, kind: Kind) -> None:
    """Whoever plans a batch looks at the waits first."""
    model = {
        "id": "embedder",
        "object": "model",
        "state": "live",
        "versions": {"v1": 1.0},
        "tiers": ["batch"],
        "input_bytes_max": 100,
    }
    tiers = {"batch": {"target_wait_s": 3600.0, "predicted_wait_s": 12.5, "waiting": 7}}
    service.faults[EASTERN] = [
        Before(httpx.Response(200, json={"object": "list", "data": [model]})),
        Before(
            httpx.Response(200, json={"data": [{"model": "m", "instances": 2, "tiers": tiers}]})
        ),
    ]
    client = kind(service)

    (listed,) = client("models")
    (busy,) = client("capacity")

    assert (listed.id, listed.tiers, listed.versions) == ("embedder", ("batch",), {"v1": 1.0})
    assert (busy.instances, busy.tiers["batch"].predicted_wait_s) == (2, 12.5)


def test_an_id_cannot_lead_to_another_route(service: FakeService, kind: Kind) -> None:
    """Ids come from users: `../models` must be a job that does not exist."""
    with pytest.raises(ServiceError):
        kind(service)("delete", "../models?x=")
    assert service.asked[0].url.raw_path == b"/api/v1/jobs/..%2Fmodels%3Fx%3D"


@pytest.mark.parametrize("heard", [httpx.ConnectError, refusal(401), refusal(503)], ids=str)
def test_a_key_is_in_no_text_that_ends_in_a_log(
    service: FakeService, kind: Kind, heard: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs are read by more people than may use the key."""
    caplog.set_level(logging.DEBUG)
    service.faults[EASTERN] = [Before(heard)] * 3
    zone = Zone(EAST, KEY)
    asking = kind(service, zones={"only": zone}, retries=Retries(attempts_max=3))
    texts = [repr(zone), repr(asking.client), repr(vars(asking.client))]
    texts += [repr(each) for each in vars(asking.client).values()]
    texts.append(repr(vars(asking.client._calls)))

    with pytest.raises(ServiceError) as caught:
        asking("submit", "embedder", {"word": PRIVATE})

    error = caught.value
    texts += [str(error), repr(error), repr(vars(error)), caplog.text]
    assert [text for text in texts if KEY in text or PRIVATE in text] == []
    # Error trackers send the local variables of every frame along.
    frames = [entry for entry in caught.traceback if "/spillway/client/" in str(entry.path)]
    assert frames
    assert [frame for frame in frames if KEY in repr(frame.locals)] == []


def test_a_key_that_somebody_repeats_is_blotted_out(service: FakeService, kind: Kind) -> None:
    """A proxy's error page may show the request's headers."""
    page = f"<pre>Authorization: Bearer {KEY}</pre>"
    service.faults[EASTERN] = [Before(httpx.Response(403, text=page))] * 2

    with pytest.raises(ServiceError) as caught:
        kind(service)("models")
    with pytest.raises(ServiceError) as caught_regional:
        RegionalApi(EAST, KEY, transport=httpx.MockTransport(service)).models()

    for error in (caught.value, caught_regional.value):
        assert "Bearer [key]" in str(error)
        assert KEY not in repr(error) + error.message


@pytest.mark.parametrize("key", ["sk-secret\n", "sk secret", "sk-sécret"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(kind: Kind, key: str) -> None:
    """A file's last line end is the commonest of mistakes; HTTP libraries show the whole key."""
    with pytest.raises(ValueError, match="the key must be") as caught:
        kind(FakeService(), EAST, key)
    with pytest.raises(ValueError, match="the key must be"):
        RegionalApi(EAST, key)
    assert "cret" not in str(caught.value)


def test_a_result_and_its_link_are_not_in_a_jobs_repr(service: FakeService, kind: Kind) -> None:
    """`print(job)` ends in a log; the link works for an hour without any key."""
    answer = {
        "id": "job_a",
        "status": "completed",
        "output": "private-output",
        "output_url": "https://s3.example.com/private-link",
        "metadata": {"a": "private-metadata"},
    }
    service.faults[EASTERN] = [Before(httpx.Response(200, json=answer))]

    job = kind(service)("job", "job_a")

    assert "private" not in repr(job) + str(job)
    assert job.output == "private-output"


def test_errors_survive_a_process_pool() -> None:
    """Bulk jobs run in other processes; an error that cannot come back hangs the pool."""
    error = RateLimitError("no", status=429, code="rate_limit", retry_after_s=3.0)
    error.idempotency_key = "k"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 our own

    assert type(copy) is RateLimitError
    assert (copy.code, copy.retry_after_s, copy.idempotency_key) == ("rate_limit", 3.0, "k")


def test_both_clients_have_the_same_calls() -> None:
    """Whoever moves to an event loop should have to learn one word: await."""

    def calls(client: type) -> dict[str, Any]:
        return {
            name: [
                (each.name, each.kind, each.default)
                for each in inspect.signature(method).parameters.values()
            ]
            for name, method in vars(client).items()
            if not name.startswith("_")
        }

    assert calls(Client) == calls(AsyncClient)


def test_every_field_of_a_submission_has_an_option() -> None:
    """The API's own words, and the two that are the client's."""
    fields = {"tier", "deadline_s", "metadata", "webhook"}
    assert set(Options.__annotations__) == fields | {"idempotency_key", "zone"}
    assert set(get_args(Tier)) == {"interactive", "standard", "batch"}
    assert issubclass(JobUnfinishedError, ServiceError)


def test_connections_are_let_go(service: FakeService) -> None:
    """A worker that makes a client for every task runs out of sockets."""
    with Client(EAST, KEY, transport=httpx.MockTransport(service)) as client:
        client.submit("embedder", 1)

    with pytest.raises(RuntimeError, match="closed"):
        client.submit("embedder", 1)


def test_the_package_is_light_until_the_client_is_needed() -> None:
    """Every command imports `spillway`; few of them speak HTTP, and none of them CDK."""
    program = (
        "import sys, spillway\n"
        "assert not {'httpx', 'pydantic'} & set(sys.modules)\n"
        "from spillway import Client, AsyncClient\n"
        "heavy = {'boto3', 'moto', 'aws_cdk', 'typer', 'config.schema'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = spillway.Clint
