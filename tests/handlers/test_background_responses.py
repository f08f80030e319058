"""OpenAI's Responses in the background: what is asked for again, and what is cut short."""

import pytest

from tests.handlers.region import MODEL, DiedError, Region, Reply

ROUTE = "POST /v1/responses"
READ, DELETE = "GET /v1/responses/{id}", "DELETE /v1/responses/{id}"
BODY = {"model": MODEL, "input": "slow thoughts", "background": True}
ANSWER = {"object": "response", "status": "completed", "output": [{"type": "message"}]}


@pytest.fixture(autouse=True)
def _speaks_responses(region: Region) -> None:
    region.configure(apis=["responses"])


def job_of(reply: Reply) -> str:
    """The job of a response."""
    return "job_" + str(reply.json["id"]).removeprefix("resp_")


def test_a_repeated_request_is_told_the_answer_that_is_there(region: Region) -> None:
    """A response that is completed and empty looks like a model that had nothing to say."""
    first = region.ask(ROUTE, body=BODY, headers={"Idempotency-Key": "k"})
    region.complete(job_of(first), ANSWER)

    again = region.ask(ROUTE, body=BODY, headers={"Idempotency-Key": "k"})

    assert (again.json["id"], again.json["status"]) == (first.json["id"], "completed")
    assert again.json["output"] == ANSWER["output"]


def test_a_deletion_that_was_cut_short_is_finished_by_the_next(region: Region) -> None:
    """OpenAI's client repeats it by itself: told 404, it would believe that all is gone."""
    first = region.ask(ROUTE, body=BODY)
    job = job_of(first)
    region.complete(job, ANSWER)
    before = region.operations().count("DeleteObjects")

    def die() -> None:
        raise DiedError

    region.faults = {"DeleteObjects": die}
    with pytest.raises(DiedError):
        region.ask(DELETE, job=first.json["id"])
    region.faults = {}
    again = region.ask(DELETE, job=first.json["id"])

    assert (again.status, again.json["deleted"]) == (200, True)
    assert region.operations().count("DeleteObjects") == before + 2
    assert region.ask(READ, job=first.json["id"]).status == 404


def test_only_a_responses_id_of_ones_own_deletes(region: Region) -> None:
    """The same answer for another tenant's, and for a job of another route."""
    mine = region.ask(ROUTE, body=BODY).json["id"]
    other = region.submitted().removeprefix("job_")

    refused = [
        region.ask(DELETE, job=mine, tenant="other"),
        region.ask(DELETE, job=f"resp_{other}"),
        region.ask(DELETE, job="resp_"),
    ]

    assert {(reply.status, reply.error["code"]) for reply in refused} == {(404, "job_not_found")}
    assert region.ask(READ, job=mine).json["status"] == "queued"


@pytest.mark.parametrize("wished", ["true", "True", "1"])
def test_a_stream_of_a_response_is_refused(region: Region, wished: str) -> None:
    """A client that reads events would find none, and no fault either."""
    made = region.ask(ROUTE, body=BODY).json["id"]

    reply = region.ask(READ, job=made, query={"stream": wished})

    assert (reply.status, reply.error["param"]) == (400, "stream")
    assert region.ask(READ, job=made, query={"stream": "false"}).status == 200
