"""wait, and what submit does with it."""

from typing import Any

import pytest

from lambdas.handlers import wait
from tests.handlers.region import MODEL, Region, error

BODY = {"model": MODEL, "input": "text"}


def event(region: Region, job: str, seconds: float) -> dict[str, Any]:
    """What submit asks for."""
    return {"format": 1, "job": job, "until_ms": int(1000 * (region.now_s + seconds))}


def test_a_result_in_time_is_the_answer(region: Region) -> None:
    """A client that waits should not have to ask a second time."""
    region.after(2, lambda: region.complete(newest(region), [1, 2]))

    reply = region.ask("POST /v1/jobs", body=BODY, headers={"Prefer": "wait=5"})

    assert (reply.status, reply.json["output"]) == (200, [1, 2])
    assert reply.headers["Location"].endswith(reply.json["id"])


def newest(region: Region) -> str:
    """The job that was submitted last."""
    return str(region.ask("GET /v1/jobs", query={"limit": "1"}).json["data"][0]["id"])


def test_a_wait_that_ends_first_goes_on_elsewhere(region: Region) -> None:
    """Ordinary clients follow the redirect with their key, and make no second job."""
    first = region.ask("POST /v1/jobs", body=BODY, query={"wait": "5"})

    assert first.status == 303
    job = first.json["id"]
    # Relative, and with the stage in front: a client keeps its key only on the same host.
    assert first.headers["Location"] == f"/api/v1/jobs/{job}?wait=5"
    assert first.headers["Retry-After"] == "0"
    second = region.ask("GET /v1/jobs/{id}", job=job, query={"wait": "5"})
    assert (second.status, second.headers["Location"]) == (303, first.headers["Location"])
    region.after(1, lambda: region.complete(job, 7))
    third = region.ask("GET /v1/jobs/{id}", job=job, query={"wait": "5"})
    assert (third.status, third.json["output"]) == (200, 7)
    assert len(region.messages()) == 1


def test_with_no_room_to_wait_the_answer_comes_at_once(region: Region) -> None:
    """Waiting clients must never use up the room of submitting ones."""
    region.lambda_.full = True

    posted = region.ask("POST /v1/jobs", body=BODY, headers={"Prefer": "wait=5"})
    read = region.ask("GET /v1/jobs/{id}", job=posted.json["id"], query={"wait": "5"})

    assert (posted.status, read.status) == (202, 202)
    assert posted.headers["Retry-After"] == read.headers["Retry-After"] == "1"
    assert region.lambda_.waits == 4, "each looked for an open place, and for a kept one"


@pytest.mark.parametrize(("took_s", "until_s"), [(1, 26), (9, 27), (28, 29)])
def test_a_wait_ends_before_api_gateway_gives_up(region: Region, took_s: int, until_s: int) -> None:
    """Its own error after 29 s names no job: a client without a key would make another one."""
    began_s = region.now_s
    region.faults = {"SendMessage": lambda: region.sleep(took_s)}

    reply = region.ask("POST /v1/jobs", body=BODY, query={"wait": "25"})

    assert (reply.status, region.now_s - began_s) == (303, until_s)


def test_a_function_that_starts_cold_waits_no_longer_for_it(region: Region) -> None:
    """Then a wait began later than it was asked for: API Gateway would not know."""
    began_s = region.now_s
    bell_then_wait = {"Invoke#2": lambda: region.sleep(2.5)}
    region.faults = {"SendMessage": lambda: region.sleep(3), **bell_then_wait}

    reply = region.ask("POST /v1/jobs", body=BODY, query={"wait": "25"})

    assert (reply.status, region.now_s - began_s) == (303, 27)


def test_a_job_that_was_taken_is_told_of_whatever_goes_wrong_then(region: Region) -> None:
    """A client without a key that hears of a fault makes a second job."""

    def refuse() -> None:
        if region.lambda_.waits and region.calls[-1][1].get("ConsistentRead"):
            raise error("InternalServerError", "GetItem")

    region.faults = {"GetItem": refuse}
    reply = region.ask("POST /v1/jobs", body=BODY, query={"wait": "1"})

    assert (reply.status, reply.json["status"]) == (202, "queued")
    assert reply.headers["Location"] == f"/api/v1/jobs/{reply.json['id']}"


def test_a_wait_that_fails_sends_nobody_in_circles(region: Region) -> None:
    """A redirect without a wait is a client that asks as fast as it can."""
    region.lambda_.broken = True

    assert region.ask("POST /v1/jobs", body=BODY, query={"wait": "5"}).status == 202


def test_a_finished_job_waits_for_nothing(region: Region) -> None:
    """Asking to wait is safe even when the client does not know the state."""
    job = region.submitted()
    region.complete(job, 1)

    assert region.ask("GET /v1/jobs/{id}", job=job, query={"wait": "25"}).status == 200
    assert region.lambda_.waits == 0


def test_another_tenants_job_is_not_waited_for(region: Region) -> None:
    """The time of a wait would tell whether there is such a job."""
    job = region.submitted()

    reply = region.ask("GET /v1/jobs/{id}", job=job, query={"wait": "5"}, tenant="rival")

    assert reply.status == 404
    assert region.lambda_.waits == 0


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "", "٣", "5 5"])
def test_a_wait_that_is_no_number_is_a_400_and_makes_no_job(region: Region, value: str) -> None:
    """A job that runs though its request was refused is paid for twice."""
    reply = region.ask("POST /v1/jobs", body=BODY, query={"wait": value})

    assert (reply.status, reply.error["param"]) == (400, "wait")
    assert not region.messages()


@pytest.mark.parametrize(
    ("prefer", "waited_s"),
    [
        ("wait=3", 3),
        ("respond-async, wait=3", 3),
        ("respond-async;x=y, Wait = 3", 3),
        ('wait="3"', 3),
        ("wait=600", 25),
        ("wait=0", 0),
        ("respond-async", 0),
        ("return=minimal", 0),
        ("nowait=7", 0),
    ],
)
def test_preferences_are_read_as_their_standard_says(
    region: Region, prefer: str, waited_s: int
) -> None:
    """RFC 7240: preferences come in lists, in any case, and unknown ones are ignored."""
    began_s = region.now_s

    reply = region.ask("POST /v1/jobs", body=BODY, headers={"Prefer": prefer})

    assert reply.status == (303 if waited_s else 202)
    assert region.now_s - began_s == pytest.approx(waited_s, abs=0.01)


def test_waiting_reads_little(region: Region) -> None:
    """A wait is paid per read: eventually consistent ones, growing apart, one strong at the end."""
    job = region.submitted()
    region.calls.clear()

    region.ask("GET /v1/jobs/{id}", job=job, query={"wait": "25"})

    strong = [
        params["ConsistentRead"]
        for operation, params in region.calls
        if operation == "GetItem" and "ConsistentRead" in params
    ]
    assert strong[0]
    assert strong[-1]
    assert not any(strong[1:-1])
    assert len(strong) - 2 <= 18


@pytest.mark.parametrize(("done_after_s", "late_s_max"), [(0.1, 0.2), (3.0, 1.5), (20.0, 2.0)])
def test_a_wait_ends_soon_after_the_job(
    region: Region, done_after_s: float, late_s_max: float
) -> None:
    """Interactive clients feel every second that is waited too long."""
    began_s, job = region.now_s, region.submitted()
    region.after(done_after_s, lambda: region.complete(job, 1))

    answer = region.environment(wait.handle)(event(region, job, 25), None)

    assert answer == {"finished": True}
    assert region.now_s - began_s <= done_after_s + late_s_max


def test_a_wait_for_nothing_ends_in_time(region: Region) -> None:
    """API Gateway gives up at 29 s."""
    began_s = region.now_s

    answer = region.environment(wait.handle)(event(region, "job_x", 25), None)

    assert answer == {"finished": False}
    assert region.now_s - began_s == pytest.approx(25, abs=0.01)
