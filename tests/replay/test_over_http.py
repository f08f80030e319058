"""Replays against a service that only HTTP can reach."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.schema import load
from spillway.client import RegionalApi
from spillway.replay.over_http import HttpReplay
from spillway.replay.plan import Assignment, Request
from spillway.traces import Row

CONFIG = Path(__file__).resolve().parents[2] / "config" / "dev.yaml"
TARGETS_S = {"interactive": 5.0, "standard": 60.0, "batch": 3600.0}


class Api:
    """An API that has finished a job by the second time it is asked."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.keys: list[str] = []
        self.forgets: set[str] = set()
        self.refuses: set[str] = set()
        self.never_ends = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Take the place of the network."""
        if request.method == "POST":
            body = json.loads(request.content)
            if body["tier"] in self.refuses:
                return httpx.Response(429, json={"error": {"message": "m", "code": "rate"}})
            job_id = f"job_{len(self.jobs)}"
            self.keys.append(request.headers["Idempotency-Key"])
            self.jobs[job_id] = {"id": job_id, "asked": 0, "tier": body["tier"], **body}
            return httpx.Response(202, json={"id": job_id, "status": "queued"})
        job = self.jobs[request.url.path.rpartition("/")[2]]
        job["asked"] += 1
        if job["tier"] in self.forgets:
            return httpx.Response(404, json={"error": {"message": "m", "code": "not_found"}})
        if self.never_ends:
            return httpx.Response(200, json={**job, "status": "in_progress", "attempt": 1})
        ended = {
            "status": "completed",
            "attempt": 2,
            "timings": {"queue_s": 7.0},
            "output": {"row": job["input"]["row"]},
        }
        return httpx.Response(200, json={**job, **ended})


def requests(number: int, **options: Any) -> list[Request]:
    """Requests that all happen at once."""
    plan = Assignment.of(load(CONFIG), **options)
    return list(plan.requests([Row(0.0, 10, 1, "", "")] * number))


def replayed(api: Api, asked: list[Request], drain_s_max: float = 60.0) -> dict[str, Any]:
    """Replay against the API and give the report."""
    regions = load(CONFIG).regions
    transport = httpx.MockTransport(api)
    clients = {
        region: RegionalApi("http://api.test", "k", transport=transport) for region in regions
    }
    return HttpReplay(clients, TARGETS_S, drain_s_max=drain_s_max).run(asked).document()


def test_what_a_client_sees_is_reported() -> None:
    """A replay against AWS has no twin to look into."""
    api = Api()
    document = replayed(api, requests(30))

    assert (document["accepted"], document["completed"], document["lost"]) == (30, 30, 0)
    assert document["retried"] == 30
    assert document["wait_s"]["interactive"]["p99"] == 7.0
    assert document["attainment"] == {"interactive": 0.0, "standard": 1.0, "batch": 1.0}
    assert document["gpu_hours"] is None
    assert document["calls_per_job"] is None
    assert len(set(api.keys)) == 30


def test_a_job_that_the_service_has_forgotten_is_lost() -> None:
    """An accepted job that answers 404 is exactly what must not happen."""
    api = Api()
    api.forgets = {"batch"}
    document = replayed(api, requests(10, tiers="batch=1,interactive=1"))

    assert document["lost"] > 0
    assert document["lost"] + document["completed"] == 10


def test_a_job_that_never_ends_is_lost_when_time_is_up() -> None:
    """A replay has to end, and to say so."""
    api = Api()
    api.never_ends = True
    document = replayed(api, requests(3), drain_s_max=0.0)

    assert (document["accepted"], document["lost"]) == (3, 3)


def test_requests_that_are_turned_away_are_counted_by_reason() -> None:
    """A service that refuses half the load has not served it quickly."""
    api = Api()
    api.refuses = {"interactive"}
    document = replayed(api, requests(10, tiers="interactive=1"))

    assert document["turned_away"] == {"rate": 10}
    assert document["accepted"] == 0


@pytest.mark.parametrize("code", ["unreachable"])
def test_a_service_that_is_not_there_turns_everything_away(code: str) -> None:
    """An outage in the middle of a replay must not end it with a stack trace."""

    def nowhere(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    transport = httpx.MockTransport(nowhere)
    clients = dict.fromkeys(
        load(CONFIG).regions, RegionalApi("http://api.test", "k", transport=transport)
    )
    document = HttpReplay(clients, TARGETS_S).run(requests(3)).document()

    assert document["turned_away"] == {code: 3}
