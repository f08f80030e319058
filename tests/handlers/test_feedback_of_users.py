"""`POST /v1/jobs/{id}/feedback`."""

import json
from typing import Any

import pytest

from lambdas.adapters.gate import RATE_WINDOW_S
from tests.handlers.region import MODEL, Region, Reply, error
from tests.handlers.test_usage_of_tenants import counters, notify, running


def say(region: Region, job: str, **fields: Any) -> Reply:
    """Give feedback."""
    return region.ask("POST /v1/jobs/{id}/feedback", job=job, body=fields)


def done(region: Region) -> str:
    """A job with an answer."""
    job = running(region)
    notify(region, job)
    return job


def test_feedback_is_kept_with_the_job_and_counted_for_the_version(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version is judged by its users, too."""
    job = done(region)

    reply = say(region, job, rating=-1, correction={"label": "private cat"}, comment="private no")

    kept = {
        "rating": -1,
        "correction": {"label": "private cat"},
        "comment": "private no",
        "at": "2023-11-14T22:13:20.000Z",
    }
    assert (reply.status, reply.json["feedback"]) == (200, kept)
    assert region.ask("GET /v1/jobs/{id}", job=job).json["feedback"] == kept
    assert region.ask("GET /v1/jobs").json["data"][0]["feedback"] is None
    (row,) = region.ask("GET /v1/usage").json["data"]
    assert row["feedback"] == {"ratings": 1, "rating_sum": -1, "corrections": 1}
    logged = capsys.readouterr().out
    lines = [json.loads(line) for line in logged.splitlines() if '"Rating"' in line]
    assert (lines[0]["Rating"], lines[0]["Corrections"]) == ([-1.0], [1.0])
    assert (lines[0]["Model"], lines[0]["Version"]) == (MODEL, "v1")
    assert "private" not in logged


def test_the_last_feedback_wins(region: Region) -> None:
    """A user who taps twice has one opinion."""
    job = done(region)
    say(region, job, rating=1, correction="a")
    say(region, job, rating=-1)

    found = counters(region)
    assert region.ask("GET /v1/jobs/{id}", job=job).json["feedback"]["correction"] is None
    assert found[f"{MODEL}/v1/ratings"] == 1
    assert found[f"{MODEL}/v1/rating_sum"] == -1
    assert found[f"{MODEL}/v1/corrections"] == 0


def test_feedback_is_counted_on_the_day_of_its_job(region: Region) -> None:
    """A version's ratings stand beside its jobs, whenever users wake up."""
    job = done(region)
    region.sleep(86_400)
    say(region, job, rating=1)

    assert counters(region)[f"{MODEL}/v1/ratings"] == 1


def test_there_is_no_feedback_on_what_has_not_ended_or_is_not_ones_own(region: Region) -> None:
    """Nobody judges an answer that is not there, or another tenant's."""
    job, over = running(region), done(region)

    unfinished = say(region, job, rating=1)
    others = region.ask("POST /v1/jobs/{id}/feedback", job=over, body={"rating": 1}, tenant="other")

    assert (unfinished.status, unfinished.error["code"]) == (409, "job_unfinished")
    assert unfinished.headers["x-should-retry"] == "false"
    assert others.status == 404
    assert say(region, "job_x", rating=1).status == 404
    assert region.job(over).feedback is None


def test_erasing_a_job_erases_what_was_said_of_it(region: Region) -> None:
    """A correction holds as much of a person as the input did."""
    job = done(region)
    say(region, job, rating=1, correction="private")
    region.ask("DELETE /v1/jobs/{id}", job=job)

    assert region.job(job).feedback is None
    assert say(region, job, rating=1).status == 404


def test_feedback_never_comes_back_to_a_job_that_is_erased_meanwhile(region: Region) -> None:
    """The look and the write are two steps, between which the job may go."""
    job = done(region)
    erased: list[bool] = []

    def erase() -> None:
        if not erased:
            erased.append(region.ledger.erase(job))

    region.faults["GetItem done"] = erase

    assert say(region, job, rating=1, correction="private").status == 404
    assert erased == [True]
    assert region.job(job).feedback is None


def test_feedback_counts_against_the_rate(region: Region) -> None:
    """Each is two writes: a loop of one tenant must not be what the others wait for."""
    job = done(region)
    region.sleep(RATE_WINDOW_S)
    ask = "POST /v1/jobs/{id}/feedback"

    replies = [region.ask(ask, job=job, body={"rating": n}, rate=0.2) for n in (0, 1, -1)]

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[-1].error["code"] == "rate_limit"
    assert 0 < int(replies[-1].headers["Retry-After"]) <= RATE_WINDOW_S
    # What is refused changed nothing, and the other requests of the tenant count alike.
    assert json.loads(region.job(job).feedback or "")["rating"] == 1
    assert region.ask("POST /v1/uploads", body={"bytes": 1}, rate=0.2).status == 429


def test_wrong_feedback_leaves_nothing(region: Region) -> None:
    """What is refused is not half kept."""
    job = done(region)

    assert say(region, job, rating=5).error["param"] == "rating"
    assert region.job(job).feedback is None


def test_a_count_that_is_lost_keeps_the_feedback(region: Region) -> None:
    """The words are the user's, the number is ours."""
    job = done(region)
    number = len([each for each in region.operations() if each == "UpdateItem"])

    def throttle() -> None:
        raise error("ThrottlingException", "UpdateItem")

    # The first counts the request, the second keeps the words.
    region.faults[f"UpdateItem#{number + 3}"] = throttle

    assert say(region, job, rating=1).status == 200
    assert region.job(job).feedback is not None
    assert f"{MODEL}/v1/ratings" not in counters(region)
