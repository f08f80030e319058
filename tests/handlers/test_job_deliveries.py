"""A client sees how its webhook was told, and has it told once more."""

import json
from typing import Any

import pytest

from lambdas.domain.deliveries import Try, write_line
from lambdas.domain.webhooks import Failure, Verdict
from lambdas.handlers import record
from tests.handlers.region import START_S, Region, aws

ROUTE = "/v1/jobs/{id}/deliveries"
ADDRESS = "https://example.com/private-path"


@pytest.fixture(autouse=True)
def signed(region: Region) -> None:
    """A webhook needs its tenant's secret."""
    item: Any = {"pk": {"S": "webhook#acme"}, "secret": {"S": "whsec_" + "A" * 32}}
    aws("dynamodb").put_item(TableName=region.names.directory, Item=item)


def ended(region: Region, **fields: Any) -> str:
    """A job that has ended, whose end was announced."""
    job = region.submitted(**{"webhook": ADDRESS} | fields)
    region.ask("POST /v1/jobs/{id}/cancel", job=job)
    region.notices()
    return job


def log(region: Region, job: str, *tries: Try) -> None:
    """Have record write lines into a job's log."""
    records = [
        {
            "messageId": f"m-{number}",
            "body": json.dumps({"format": 1, "job": job, "line": write_line(tried)}),
        }
        for number, tried in enumerate(tries)
    ]
    assert region.handler(record)({"Records": records}, None) == {"batchItemFailures": []}


FAILED = Try(
    at_ms=1000 * START_S,
    message="0f8a1c2e",
    number=1,
    status=None,
    failure=Failure.TIMEOUT,
    elapsed_ms=10_000,
    verdict=Verdict.RETRY,
    next_ms=1000 * START_S + 15_000,
)
TOLD = Try(
    at_ms=1000 * START_S + 15_000,
    message="0f8a1c2e",
    number=2,
    status=204,
    failure=None,
    elapsed_ms=31,
    verdict=Verdict.DELIVERED,
    next_ms=None,
)


def test_the_log_tells_of_every_try_in_its_order(region: Region) -> None:
    """Who misses a webhook asks first whether we sent it, and what their receiver said."""
    job = ended(region)
    log(region, job, TOLD, FAILED)

    reply = region.ask(f"GET {ROUTE}", job=job)

    assert reply.status == 200
    assert reply.json == {
        "object": "list",
        "job": job,
        "event": "job.cancelled",
        "webhook_id": f"msg_{job}_cancelled",
        "data": [
            {
                "object": "delivery",
                "at": "2023-11-14T22:13:20.000Z",
                "try": 1,
                "status": None,
                "failure": "timeout",
                "elapsed_ms": 10_000,
                "verdict": "retry",
                "next_at": "2023-11-14T22:13:35.000Z",
            },
            {
                "object": "delivery",
                "at": "2023-11-14T22:13:35.000Z",
                "try": 2,
                "status": 204,
                "failure": None,
                "elapsed_ms": 31,
                "verdict": "delivered",
                "next_at": None,
            },
        ],
    }
    assert "private-path" not in reply.text


def test_a_job_that_tells_nobody_has_an_empty_log(region: Region) -> None:
    """Asking must never be an error: programs ask for every job."""
    running, silent = region.submitted(webhook=ADDRESS), region.submitted()

    for job in (running, silent):
        reply = region.ask(f"GET {ROUTE}", job=job)
        assert (reply.status, reply.json["data"], reply.json["event"]) == (200, [], None)


def test_an_end_is_told_again_under_the_same_id(region: Region) -> None:
    """A receiver that was down for two days asks for what it missed, and counts nothing twice."""
    job = region.submitted(webhook=ADDRESS)
    region.ask("POST /v1/jobs/{id}/cancel", job=job)
    (first,) = region.notices()

    reply = region.ask(f"POST {ROUTE}", job=job)

    assert reply.status == 202
    assert reply.headers["Location"] == f"/api/v1/jobs/{job}/deliveries"
    assert reply.json == {
        "object": "redelivery",
        "job": job,
        "event": "job.cancelled",
        "webhook_id": f"msg_{job}_cancelled",
    }
    assert region.notices() == [first]


def test_there_is_nothing_to_tell_again_before_the_end_or_to_nobody(region: Region) -> None:
    """The receiver would be told of an end that is none."""
    running = region.submitted(webhook=ADDRESS)
    region.complete(silent := region.submitted(), {"answer": 1})

    for job, code in ((running, "job_unfinished"), (silent, "no_webhook")):
        reply = region.ask(f"POST {ROUTE}", job=job)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (409, code, "id")
        assert reply.headers["x-should-retry"] == "false"
    assert region.notices() == []


@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize("whose", ["unknown", "another's", "erased", "no id"])
def test_only_its_owner_sees_or_repeats_deliveries(region: Region, verb: str, whose: str) -> None:
    """When and how somebody's receiver answers is nobody else's business."""
    job = ended(region)
    if whose == "erased":
        region.ask("DELETE /v1/jobs/{id}", job=job)
    asked = {"unknown": f"job_{'a' * 26}", "no id": "../secrets"}.get(whose, job)

    reply = region.ask(
        f"{verb} {ROUTE}", job=asked, tenant="other" if whose == "another's" else "acme"
    )

    assert (reply.status, reply.error["code"]) == (404, "job_not_found")
    assert region.notices() == []


def test_telling_again_is_counted_as_a_submission(region: Region) -> None:
    """A client in a loop would make us ask somebody's host for ever, 20 times each."""
    job = ended(region)

    asked = [region.ask(f"POST {ROUTE}", job=job, rate=0.2) for _ in range(3)]

    assert [reply.status for reply in asked] == [202, 429, 429]
    assert asked[1].error["code"] == "rate_limit"
    assert int(asked[1].headers["Retry-After"]) >= 1
    assert len(region.notices()) == 1


# ---- who is told of jobs whose clients cannot say


RESPONSE = {"model": "embedder", "input": "text", "background": True}


def default_address(region: Region) -> None:
    """An operator named an address for the tenant."""
    aws("dynamodb").update_item(
        TableName=region.names.directory,
        Key={"pk": {"S": "webhook#acme"}},
        UpdateExpression="SET address = :address",
        ExpressionAttributeValues={":address": {"S": ADDRESS}},
    )


def test_a_response_in_the_background_is_told_to_the_tenants_own_address(region: Region) -> None:
    """OpenAI's clients name no address with a request: without one they would have to poll."""
    region.configure(apis=["responses"])
    default_address(region)

    created = region.ask("POST /v1/responses", body=RESPONSE)
    assert created.status in {200, 202}, created.text
    region.ask("POST /v1/responses/{id}/cancel", job=created.json["id"])

    (notice,) = region.notices()
    assert (notice["event"], notice["address"]) == ("response.cancelled", ADDRESS)
    assert json.loads(notice["body"])["data"] == {"id": created.json["id"]}


@pytest.mark.parametrize("fields", [{"background": False}, {}])
def test_who_waits_for_a_response_is_told_nothing_beside(
    region: Region, fields: dict[str, Any]
) -> None:
    """Every chat would call the receiver, which nobody asked for."""
    region.configure(apis=["responses"])
    default_address(region)
    body = {name: value for name, value in RESPONSE.items() if name != "background"} | fields

    region.ask("POST /v1/responses", body=body)

    day = [job for page in region.ledger.live(region.region, "embedder") for job in page]
    assert [region.job(job.id).webhook for job in day] == [None]


def test_a_tenant_without_an_address_of_its_own_is_told_nothing(region: Region) -> None:
    """Its jobs run all the same."""
    region.configure(apis=["responses"])

    created = region.ask("POST /v1/responses", body=RESPONSE)
    region.ask("POST /v1/responses/{id}/cancel", job=created.json["id"])

    assert region.notices() == []
