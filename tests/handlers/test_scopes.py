"""Keys that may do less than their tenant, at the API's door."""

import pytest

from tests.handlers.region import START_S, Region


def test_a_key_that_only_reads_starts_nothing(region: Region) -> None:
    """A dashboard's key must not be able to spend GPU hours, or to erase what it shows."""
    job = region.submitted()
    only = {"scopes": "jobs:read"}
    read = region.ask("GET /v1/jobs/{id}", job=job, found=only)
    before = len(region.calls)

    refused = [
        region.ask("POST /v1/jobs", body={"model": "embedder", "input": 1}, found=only),
        region.ask("POST /v1/jobs/{id}/cancel", job=job, found=only),
        region.ask("DELETE /v1/jobs/{id}", job=job, found=only),
    ]

    assert read.status == 200
    assert [reply.status for reply in refused] == [403, 403, 403]
    assert {reply.error["code"] for reply in refused} == {"scope_missing"}
    assert all("jobs:write" in reply.error["message"] for reply in refused)
    assert len(region.calls) == before


def test_a_key_that_only_submits_reads_nothing(region: Region) -> None:
    """A key in an application on a phone must not show what others asked."""
    only = {"scopes": "jobs:write"}
    taken = region.ask("POST /v1/jobs", body={"model": "embedder", "input": 1}, found=only)

    refused = region.ask("GET /v1/jobs/{id}", job=taken.json["id"], found=only)

    assert taken.status == 202
    assert refused.status == 403
    assert "jobs:read" in refused.error["message"]
    assert region.ask("GET /v1/models", found=only).status == 200


def test_who_may_only_submit_sees_no_answer_by_judging_it(region: Region) -> None:
    """Feedback is answered with its job, and that holds the answer."""
    job = region.submitted()
    region.complete(job, {"private": "answer"})
    body = {"rating": 1}

    told = [
        region.ask("POST /v1/jobs/{id}/feedback", job=job, body=body, found={"scopes": scopes})
        for scopes in ("jobs:write", "jobs:write,jobs:read")
    ]

    assert [reply.json["output"] for reply in told] == [None, {"private": "answer"}]
    assert [reply.json["feedback"]["rating"] for reply in told] == [1, 1]


@pytest.mark.parametrize(("left_ms", "status"), [(1, 200), (0, 401), (-60_000, 401)])
def test_an_expiry_holds_while_api_gateway_still_remembers_the_key(
    region: Region, left_ms: int, status: int
) -> None:
    """The authorizer's answer is kept for a minute: a minute too long for a contract's end."""
    found = {"expires_ms": str(1000 * START_S + left_ms)}

    assert region.ask("GET /v1/models", found=found).status == status


def test_an_answer_of_the_authorizer_before_an_update_still_counts(region: Region) -> None:
    """API Gateway hands out what an earlier release's authorizer said for a minute more."""
    assert region.submit().status == 202
