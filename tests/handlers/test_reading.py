"""submit: reading, listing, cancelling and erasing jobs."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from lambdas.adapters.endpoints import output_key
from lambdas.domain.cursors import Cursor, write_cursor
from lambdas.domain.job import Status, job_id
from tests.handlers.region import HERE, MODEL, NEXT, THIRD, DiedError, Region, aws

LARGE = secrets.token_hex(8_000)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
UNKNOWN = job_id("nobody", "nothing", b"")
DAY_S = 86_400


def outcome(region: Region, route: str, job: str, **options: Any) -> tuple[int, str]:
    """Status and body of an answer about a job."""
    reply = region.ask(route, job=job, **options)
    return reply.status, reply.text


def private(text: str) -> bool:
    """Whether an answer tells anything of the payload."""
    return "text" in text or "output" in text


def may_sign(region: Region) -> None:
    """Give the tenant a secret for its webhooks."""
    aws("dynamodb").put_item(
        TableName=region.names.directory,
        Item={"pk": {"S": "webhook#acme"}, "secret": {"S": SECRET}},
    )


# ---- reading


@pytest.mark.parametrize(
    "route", ["GET /v1/jobs/{id}", "DELETE /v1/jobs/{id}", "POST /v1/jobs/{id}/cancel"]
)
def test_another_tenants_job_looks_like_none(region: Region, route: str) -> None:
    """Whoever can tell the two apart can count another tenant's jobs, or end them."""
    job = region.submitted()

    strange = outcome(region, route, job, tenant="rival")

    assert strange == outcome(region, route, UNKNOWN)
    assert strange[0] == 404
    assert region.job(job).status is Status.QUEUED


@pytest.mark.parametrize(
    "job", ["x", "job_", "job_" + "A" * 26, "j" * 3000, "../etc", "job#1", "\u0000", "ü"]
)
def test_an_id_that_is_none_is_a_404_that_costs_no_read(region: Region, job: str) -> None:
    """Ids come from outside: DynamoDB refuses long keys, which is no fault of the service."""
    assert region.ask("GET /v1/jobs/{id}", job=job).status == 404
    assert region.calls == []


def test_a_job_can_be_read_in_every_region(region: Region) -> None:
    """A client that is routed elsewhere after a failover finds its jobs."""
    job = region.submitted()
    region.complete(job, [1])

    reply = region.elsewhere(THIRD).ask("GET /v1/jobs/{id}", job=job)

    assert (reply.status, reply.json["output"], reply.json["region"]) == (200, [1], HERE)


def test_a_large_result_is_a_link_that_works_without_a_key(region: Region) -> None:
    """A browser cannot send an API key, and S3 refuses old signatures for objects under KMS."""
    job = region.submitted()
    key = output_key(MODEL, "v1", job, 1)
    region.put_object(HERE, key)
    region.complete(job, key=key)

    seen = region.elsewhere(NEXT).ask("GET /v1/jobs/{id}", job=job).json

    assert seen["output"] is None
    address = urlsplit(seen["output_url"])
    # The region's own name: the global one redirects while a bucket is new.
    assert address.hostname == f"{region.names.bucket(HERE)}.s3.{HERE}.amazonaws.com"
    query = parse_qs(address.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["3600"]
    assert requests.get(seen["output_url"], timeout=5).json() == "large"


def test_a_failed_job_tells_why(region: Region) -> None:
    """A client that only learns `failed` opens a ticket."""
    job = region.submitted()
    region.start(job)
    error = {"code": "model_error", "message": "no such word"}
    region.ledger.apply(region.job(job), "fail", now_ms=1, finished_ms=1, error=error)

    seen = region.ask("GET /v1/jobs/{id}", job=job).json

    assert (seen["status"], seen["error"], seen["output"]) == ("failed", error, None)


def test_a_waiting_job_expires_when_it_is_read_after_its_deadline(region: Region) -> None:
    """A client must not wait for a job that will never start."""
    may_sign(region)
    job = region.submitted(deadline_s=60, webhook="https://example.com/done")
    region.sleep(60)

    seen = region.ask("GET /v1/jobs/{id}", job=job).json

    assert (seen["status"], seen["error"]["code"]) == ("expired", "deadline_exceeded")
    assert region.job(job).status is Status.EXPIRED
    assert [(told["job"], told["event"]) for told in region.notices()] == [(job, "job.expired")]


def test_a_replay_shows_a_job_past_its_deadline_as_expired(region: Region) -> None:
    """Whoever repeats a request must not be told to go on waiting."""
    region.submitted(key="k1", deadline_s=60)
    region.sleep(61)

    reply = region.submit(key="k1", deadline_s=60)

    assert (reply.status, reply.json["status"]) == (200, "expired")


def test_a_running_job_does_not_expire(region: Region) -> None:
    """The GPU is paid already; the model's own time limit ends it."""
    job = region.submitted(deadline_s=60)
    region.start(job)
    region.sleep(61)

    assert region.ask("GET /v1/jobs/{id}", job=job).json["status"] == "in_progress"


def test_the_place_in_the_queue_shrinks_as_the_job_ages(region: Region) -> None:
    """A position that never moves looks like a queue that is stuck."""
    region.configure(service_s=1.0)
    region.sleep(10)
    job = region.submitted()
    places = []
    for oldest_s in (10.0, 15.0, 20.0):
        region.sleep(5)
        region.see(in_use=4, waiting={"standard": 40}, oldest_s={"standard": oldest_s})
        places.append(region.ask("GET /v1/jobs/{id}", job=job).json["queue"])

    assert [place["position"] for place in places] == [21, 15, 11]
    # 21 jobs at four a second, from 22:13:35 on.
    assert places[0]["predicted_start"] == "2023-11-14T22:13:40.250Z"


def test_the_place_in_the_queue_is_the_owning_regions(region: Region) -> None:
    """A read in a quiet region must not promise a start there for a job that waits elsewhere."""
    region.configure(service_s=1.0)
    job = region.submitted()
    region.see()
    region.see(region=HERE, in_use=4, waiting={"standard": 80}, oldest_s={"standard": 0.1})

    seen = region.elsewhere(NEXT).ask("GET /v1/jobs/{id}", job=job).json

    assert seen["queue"]["position"] == 81


def test_a_job_of_a_model_that_is_gone_can_still_be_read_and_erased(region: Region) -> None:
    """A configuration that drops a model must not take its results away."""
    job = region.submitted()
    gone = {name: m for name, m in region.policy.models.items() if name != MODEL}
    region.write(replace(region.policy, models=gone))

    assert region.ask("GET /v1/jobs/{id}", job=job).status == 200
    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200


# ---- listing


def pages(region: Region, **options: Any) -> Iterator[list[str]]:
    """Every page of the list, as ids."""
    query = {"limit": "2"}
    for _ in range(20):
        listed = region.ask("GET /v1/jobs", query=query, **options).json
        yield [job["id"] for job in listed["data"]]
        if not listed["has_more"]:
            assert listed["next_cursor"] is None
            return
        query = {**query, "after": listed["next_cursor"]}
    raise AssertionError("the list does not end")


def test_a_list_shows_every_job_of_the_tenant_once_and_newest_first(region: Region) -> None:
    """A job that falls between two pages is never collected."""
    jobs = [region.submitted()]
    for pause_s in (0.0, 0.0, 0.0, DAY_S, 3 * DAY_S, 1.0):
        region.sleep(pause_s)
        jobs.append(region.submitted())
    region.ask("POST /v1/jobs", body={"model": MODEL, "input": 1}, tenant="rival")

    found = [job for page in pages(region) for job in page]

    assert sorted(found) == sorted(jobs)
    assert found[:3] == jobs[:-4:-1]


def test_jobs_of_one_millisecond_are_not_skipped_between_pages(region: Region) -> None:
    """Bulk clients submit many in a millisecond."""
    jobs = {region.submitted() for _ in range(5)}

    assert {job for page in pages(region) for job in page} == jobs


def test_a_list_shows_no_payloads_and_no_erased_jobs(region: Region) -> None:
    """A list of a hundred results would exceed what a function may answer."""
    done, erased = region.submitted(), region.submitted()
    region.complete(done, "output")
    region.ask("DELETE /v1/jobs/{id}", job=erased)

    (listed,) = region.ask("GET /v1/jobs").json["data"]

    assert (listed["id"], listed["status"], listed["output"]) == (done, "completed", None)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1e1", "٣", "9" * 5000])
def test_a_limit_outside_its_range_is_a_400(region: Region, limit: str) -> None:
    """An unbounded list is an unbounded bill."""
    reply = region.ask("GET /v1/jobs", query={"limit": limit})

    assert (reply.status, reply.error["param"]) == (400, "limit")


def test_a_cursor_of_another_tenant_is_a_400(region: Region) -> None:
    """A cursor that leaked must open nothing."""
    cursor = write_cursor(Cursor("2023-11-14", 1, UNKNOWN), "rival")

    reply = region.ask("GET /v1/jobs", query={"after": cursor})

    assert (reply.status, reply.error["param"]) == (400, "after")


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "1970-01-01"])
def test_a_forged_cursor_costs_little_and_shows_nothing(region: Region, day: str) -> None:
    """Its seal is no secret, so whatever it says must be harmless."""
    cursor = write_cursor(Cursor(day, 2**53 - 1, UNKNOWN), "acme")
    region.submitted()

    reply = region.ask("GET /v1/jobs", query={"after": cursor})

    assert (reply.status, reply.json["data"]) == (200, [])
    assert region.operations().count("Query") <= 31


# ---- cancelling


def test_a_cancelled_job_is_told_and_keeps_no_input(region: Region) -> None:
    """A client that waits for its webhook must hear of this end too."""
    may_sign(region)
    job = region.submitted(webhook="https://example.com/done")

    reply = region.ask("POST /v1/jobs/{id}/cancel", job=job)

    assert (reply.status, reply.json["status"]) == (200, "cancelled")
    assert region.job(job).input is None
    assert [(told["job"], told["event"]) for told in region.notices()] == [(job, "job.cancelled")]
    # Asking again is no error: the client may not have heard the first answer.
    assert region.ask("POST /v1/jobs/{id}/cancel", job=job).status == 200


def test_a_running_job_can_be_cancelled_from_any_region(region: Region) -> None:
    """A client does not know, and must not need to, where its job is."""
    job = region.submitted()
    region.start(job)

    reply = region.elsewhere(THIRD).ask("POST /v1/jobs/{id}/cancel", job=job)

    assert (reply.status, reply.json["status"]) == (200, "cancelled")


@pytest.mark.parametrize("end", ["completed", "expired"])
def test_cancelling_a_finished_job_is_a_409_that_says_its_state(region: Region, end: str) -> None:
    """`Too late` and `never existed` lead a client to different code."""
    job = region.submitted(deadline_s=60)
    if end == "completed":
        region.complete(job, 1)
    region.sleep(60)

    reply = region.ask("POST /v1/jobs/{id}/cancel", job=job)

    assert reply.status == 409
    assert reply.error["code"] == "job_finished"
    assert end in reply.error["message"]


# ---- erasing


def test_an_erased_job_leaves_nothing_anywhere(region: Region) -> None:
    """Whoever erases a prompt has a right to it, or a leak to close."""
    job = region.submitted(LARGE, key="k1", metadata={"name": "text"})
    result = output_key(MODEL, "v1", job, 1)
    region.put_object(HERE, result)
    region.complete(job, key=result)
    assert len(region.objects()) == 3

    reply = region.ask("DELETE /v1/jobs/{id}", job=job)

    assert (reply.status, reply.json) == (200, {"id": job, "object": "job", "deleted": True})
    assert not region.objects()
    tombstone = region.job(job)
    assert tombstone.erased
    assert not private(str([tombstone.input, tombstone.output_key, tombstone.metadata]))
    assert outcome(region, "GET /v1/jobs/{id}", job) == outcome(
        region, "GET /v1/jobs/{id}", UNKNOWN
    )
    assert region.ask("POST /v1/jobs/{id}/cancel", job=job).status == 404
    replay = region.submit(LARGE, key="k1", metadata={"name": "text"})
    assert (replay.status, replay.error["code"]) == (409, "job_erased")


@pytest.mark.parametrize("started", [False, True])
def test_erasing_a_live_job_cancels_it_first(region: Region, *, started: bool) -> None:
    """Its payload must not run on after its client was told that it is gone."""
    job = region.submitted(LARGE)
    if started:
        region.start(job)

    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200

    assert region.job(job).status is Status.CANCELLED
    assert not region.objects()


def test_erasing_reaches_every_region_that_may_have_worked_on_the_job(region: Region) -> None:
    """A moved job may have left a result where nobody looks for it any more."""
    job = region.submitted()
    region.start(job)
    region.ledger.apply(
        region.job(job), "evacuate", now_ms=1, attempt=2, owner=THIRD, live=f"{THIRD}#{MODEL}"
    )
    for where, attempt in ((HERE, 1), (THIRD, 2)):
        region.put_object(where, output_key(MODEL, "v1", job, attempt))

    assert region.elsewhere(NEXT).ask("DELETE /v1/jobs/{id}", job=job).status == 200

    assert not region.objects()


@pytest.mark.parametrize(
    "operation",
    ["UpdateItem#1", "UpdateItem#2", "DeleteObject#1", "DeleteObject#2", "DeleteObjects"],
)
def test_an_erasure_that_was_cut_short_can_be_repeated(region: Region, operation: str) -> None:
    """A payload that stays because a function died is a payload that was not erased."""

    def die() -> None:
        raise DiedError

    job = region.submitted(LARGE)
    region.start(job)
    region.put_object(HERE, output_key(MODEL, "v1", job, 1))
    region.calls.clear()
    region.faults = {operation: die}
    with pytest.raises(DiedError):
        region.ask("DELETE /v1/jobs/{id}", job=job)
    region.faults = {}

    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200
    assert not region.objects()
    assert region.job(job).erased


def test_days_are_utc(region: Region) -> None:
    """A list near midnight must not lose a day to somebody's time zone."""
    to_midnight = DAY_S - region.now_s % DAY_S
    region.sleep(to_midnight - 0.001)
    late = region.submitted()
    region.sleep(0.001)
    early = region.submitted()

    assert datetime.fromtimestamp(region.now_s, UTC).hour == 0
    assert [job for page in pages(region) for job in page] == [early, late]


def test_a_page_is_never_too_large_to_be_answered(region: Region) -> None:
    """Lambda throws an answer of more than 6 MB away: its tenant could list nothing any more."""
    metadata = {f"field {n}": "\U0001f600" * 512 for n in range(16)}
    first = region.job(region.submitted(metadata=metadata))
    made = {first.id}
    for number in range(60):
        # Some of each day: moto ends a query's page by the size of the jobs, not of the index.
        made_ms = first.created_ms - 1000 * DAY_S * (number // 8)
        other = replace(first, id=job_id("acme", str(number), b""), created_ms=made_ms)
        made.add(other.id)
        assert region.ledger.create(other) is None

    found, query = [], {"limit": "100"}
    for _ in range(3):
        reply = region.ask("GET /v1/jobs", query=query)
        assert len(json.dumps(reply.text)) < 6_000_000
        found += [job["id"] for job in reply.json["data"]]
        if not reply.json["has_more"]:
            break
        query["after"] = reply.json["next_cursor"]

    assert sorted(found) == sorted(made)
