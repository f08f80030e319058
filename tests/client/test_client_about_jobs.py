"""What was told of jobs, what users said of them, and what they cost."""

import json
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from spillway.client import ConflictError
from tests.client.fake_service import Before, FakeService, Kind, refusal

EASTERN = "east.example.com"


def heard(service: FakeService, *documents: dict[str, Any]) -> None:
    """Let the service answer with these next."""
    service.faults[EASTERN] = [Before(httpx.Response(200, json=each)) for each in documents]


def test_the_tries_of_a_webhook_are_typed(service: FakeService, kind: Kind) -> None:
    """Whoever hears nothing looks why."""
    first = {"at": "2026-11-21T07:00:00.000Z", "try": 1, "status": None, "failure": "timeout"}
    first |= {"elapsed_ms": 10_000, "verdict": "retry", "next_at": "2026-11-21T07:00:05.000Z"}
    second = {"at": "2026-11-21T07:00:05.000Z", "try": 2, "status": 204, "verdict": "delivered"}
    list_of = {"object": "list", "event": "job.completed", "webhook_id": "msg_1"}
    heard(service, {**list_of, "data": [first, second]}, {"object": "redelivery"})
    client = kind(service)

    told = client("deliveries", "job_a")
    client("redeliver", "job_a")

    assert (told.event, told.webhook_id) == ("job.completed", "msg_1")
    assert [(each.number, each.failure, each.status) for each in told.data] == [
        (1, "timeout", None),
        (2, None, 204),
    ]
    assert told.data[0].next_at == datetime(2026, 11, 21, 7, 0, 5, tzinfo=UTC)
    assert [(each.method, each.url.path) for each in service.asked] == [
        ("GET", "/api/v1/jobs/job_a/deliveries"),
        ("POST", "/api/v1/jobs/job_a/deliveries"),
    ]
    service.faults[EASTERN] = [Before(refusal(409, "no_webhook"))]
    with pytest.raises(ConflictError):
        client("redeliver", "job_a")


def test_feedback_says_what_was_said_and_no_more(service: FakeService, kind: Kind) -> None:
    """A rating of 0 is one; what was left out replaces nothing by null."""
    kept = {"at": "2026-11-21T07:00:00.000Z", "rating": 0, "correction": None, "comment": "ok"}
    heard(service, {"id": "job_a", "status": "completed", "feedback": kept})

    job = kind(service)("feedback", "job_a", rating=0, comment="ok")

    assert json.loads(service.asked[0].content) == {"rating": 0, "comment": "ok"}
    assert service.asked[0].headers["Content-Type"] == "application/json"
    assert (job.feedback.rating, job.feedback.comment) == (0, "ok")


def test_usage_is_typed(service: FakeService, kind: Kind) -> None:
    """Bills are divided by it."""
    used = {"jobs": {"completed": 12}, "tokens": {"input": 3}, "gpu_s": 41.2, "cost_usd": None}
    row = {"day": "2026-01-31", "model": "chat", "version": None, **used}
    row["feedback"] = {"ratings": 3, "rating_sum": 1, "corrections": 1}
    heard(service, {"data": [row], "total": used, "missing_regions": ["us-east-2"]})

    usage = kind(service)("usage", since=date(2026, 1, 1), until=date(2026, 1, 31), model="chat")

    (day,) = usage.data
    assert (day.day, day.model, day.jobs) == (date(2026, 1, 31), "chat", {"completed": 12})
    assert (day.gpu_s, day.cost_usd, day.feedback.ratings) == (41.2, None, 3)
    assert (usage.total.tokens, usage.missing_regions) == ({"input": 3}, ("us-east-2",))
    asked = dict(service.asked[0].url.params)
    assert asked == {"from": "2026-01-01", "to": "2026-01-31", "model": "chat"}
