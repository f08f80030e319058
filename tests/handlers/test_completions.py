"""OpenAI's routes: whatever goes wrong, a client that repeats by itself makes no second job."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lambdas.domain.openai_requests import HOPS_MAX
from lambdas.handlers.repeating import PAUSES_S
from tests.handlers.region import MODEL, DiedError, Region, Reply, aws, error

ROUTE = "POST /v1/embeddings"
WAIT_ON = "GET /v1/embeddings/{id}"
BODY = {"model": MODEL, "input": "text"}
ANSWER = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
REPEATED = {"X-Stainless-Retry-Count": "1"}


def ask(region: Region, body: Any = None, **headers: str) -> Reply:
    """Ask for embeddings as OpenAI's client does."""
    sent = {"X-Stainless-Retry-Count": "0"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return region.ask(ROUTE, body=BODY | (body or {}), headers=sent)


def newest(region: Region) -> str:
    """The job that was submitted last."""
    return str(region.ask("GET /v1/jobs", query={"limit": "1"}).json["data"][0]["id"])


def ends(region: Region, how: str, **values: Any) -> Callable[[], None]:
    """End the newest job."""

    def end() -> None:
        job = newest(region)
        region.start(job)
        at_ms = int(region.now_s * 1000)
        outcome = region.ledger.apply(
            region.job(job), how, now_ms=at_ms, finished_ms=at_ms, **values
        )
        assert outcome.won

    return end


def test_an_answer_names_the_tier_that_served_and_the_job(region: Region) -> None:
    """Who asked for `priority` wants to know that it was; who asks us for help names the job."""
    region.after(1, lambda: region.complete(newest(region), ANSWER))

    reply = ask(region, {"service_tier": "priority"})

    assert (reply.status, reply.json["service_tier"]) == (200, "priority")
    assert reply.headers["X-Request-Id"] == reply.headers["X-Job-Id"] == newest(region)
    assert region.job(newest(region)).tier == "interactive"


@pytest.mark.parametrize(
    ("named", "tier"),
    [(None, "standard"), ("auto", "standard"), ("default", "standard"), ("flex", "batch")],
)
def test_every_service_tier_is_one_of_ours(region: Region, named: str | None, tier: str) -> None:
    """Their names for how urgent it is."""
    ask(region, {"service_tier": named})

    assert region.job(newest(region)).tier == tier


def test_who_waits_is_sent_on_and_at_the_end_told_where_to_look(region: Region) -> None:
    """Nothing on the way makes its library send the request again."""
    region.after(1, lambda: region.start(newest(region)))
    reply = ask(region)
    hops = 0
    while reply.status == 303:
        hops += 1
        path, _, query = reply.headers["Location"].partition("?hop=")
        assert path.startswith("/api/v1/embeddings/embd-")
        assert query == str(hops)
        reply = region.ask(WAIT_ON, job=path.rpartition("/")[2], query={"hop": query})

    assert hops == HOPS_MAX < 20, "httpx follows 20 redirects, and then repeats the request"
    assert (reply.status, reply.error["code"]) == (504, "not_finished")
    assert reply.headers["x-should-retry"] == "false"
    assert newest(region) in reply.error["message"]
    assert len(region.messages()) == 1


def test_its_deadline_is_as_long_as_anybody_waits(region: Region) -> None:
    """An answer that nobody waits for any more would use a GPU for nothing."""
    ask(region)
    job = region.job(newest(region))

    assert job.deadline_ms - job.created_ms == 1000 * (HOPS_MAX + 1) * region.policy.wait_s_max


def test_a_wait_ends_before_the_clients_own_patience(region: Region) -> None:
    """A client that gives up sooner than we answer would send its request again."""
    started_s = region.now_s
    ask(region, X_Stainless_Read_Timeout="7.0")

    assert region.now_s - started_s == 5


def test_what_a_repetition_looked_for_is_taken_off_the_clients_patience(region: Region) -> None:
    """Else it gives up just before it is answered, and repeats itself in vain."""
    started_s = region.now_s
    headers = REPEATED | {"X-Stainless-Read-Timeout": "10"}

    assert region.ask(ROUTE, body=BODY, headers=headers).status == 303
    assert region.now_s - started_s == 8


@pytest.mark.parametrize(
    ("how", "values", "status", "code"),
    [
        ("fail", {"error": {"code": "model_error", "message": "unwell"}}, 502, "model_error"),
        ("refuse", {"error": {"code": "refused", "message": "no"}}, 400, "refused"),
        ("abandon", {}, 409, "job_cancelled"),
    ],
)
def test_an_end_without_an_answer_is_an_error_that_is_not_repeated(
    region: Region, how: str, values: dict[str, Any], status: int, code: str
) -> None:
    """OpenAI's clients repeat 409 and 5xx by themselves: the model would work twice for nothing."""
    region.after(1, ends(region, how, **values))

    reply = ask(region)

    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["X-Job-Id"] == newest(region)


def test_a_cancelled_job_is_told_as_that_whatever_failed_before(region: Region) -> None:
    """The fault of an earlier attempt did not end it."""

    def end() -> None:
        job, at_ms = newest(region), int(region.now_s * 1000)
        region.start(job)
        error = {"code": "model_error", "message": "unwell"}
        region.ledger.apply(region.job(job), "retry", now_ms=at_ms, attempt=2, error=error)
        region.ledger.apply(region.job(job), "cancel", now_ms=at_ms, finished_ms=at_ms)

    region.after(1, end)

    assert ask(region).error["code"] == "job_cancelled"


def test_an_answer_of_another_form_is_no_answer(region: Region) -> None:
    """A program that reads `data` must not find something else."""
    region.after(1, lambda: region.complete(newest(region), {"text": "hm"}))

    reply = ask(region)

    assert (reply.status, reply.error["code"]) == (502, "invalid_output")
    assert reply.headers["x-should-retry"] == "false"


def test_an_answer_in_the_bucket_is_read_wherever_it_is(region: Region) -> None:
    """Embeddings of a few texts are larger than what the ledger holds."""

    def kept(size: int) -> Callable[[], None]:
        def end() -> None:
            body = b'{"data":[' + b"1," * (size // 2) + b"1]}"
            aws("s3").put_object(Bucket=region.names.bucket(region.region), Key="k", Body=body)
            region.complete(newest(region), key="k")

        return end

    region.after(1, kept(1000))
    assert len(ask(region).json["data"]) == 501

    # More than a function may answer: the client is sent to the object itself.
    region.after(1, kept(5 << 20))
    reply = ask(region, {"input": "long"})
    assert reply.status == 303
    assert "X-Amz-Signature" in reply.headers["Location"]
    # A body of JSON's type is JSON also where hardly anybody reads it.
    assert reply.json == {"id": newest(region), "object": "job", "status": "completed"}


def test_an_answer_that_grows_on_its_way_is_fetched_by_a_link(region: Region) -> None:
    """Four bytes of an emoji are twelve as JSON in ASCII: Lambda would throw the answer away."""

    def end() -> None:
        body = json.dumps({"data": ["\U0001f600" * 500_000]}, ensure_ascii=False).encode()
        aws("s3").put_object(Bucket=region.names.bucket(region.region), Key="k", Body=body)
        region.complete(newest(region), key="k")

    region.after(1, end)

    assert ask(region).status == 303


def test_a_job_that_nobody_can_wait_for_is_taken_back_while_it_costs_nothing(
    region: Region,
) -> None:
    """The client comes again after `Retry-After`, and makes another one."""
    region.lambda_.full = True

    reply = ask(region)

    assert (reply.status, reply.error["code"]) == (429, "no_room_to_wait")
    assert int(reply.headers["Retry-After"]) > 0
    assert region.job(newest(region)).status == "cancelled"
    (counted,) = region.ask("GET /v1/usage").json["data"]
    assert (counted["jobs"]["cancelled"], counted["version"]) == (1, None)


def test_a_repetition_never_takes_back_a_job_that_another_client_waits_for(
    region: Region,
) -> None:
    """Of equal requests nobody knows whose repetition it is; the first one may be waited for."""
    ask(region)
    region.lambda_.full = True

    reply = region.ask(ROUTE, body=BODY, headers=REPEATED)

    assert (reply.status, reply.error["code"]) == (503, "no_room_to_wait")
    assert "x-should-retry" not in reply.headers, "the same repetition finds the same job"
    assert region.job(newest(region)).status == "queued"


@pytest.mark.parametrize("who", [{"Idempotency-Key": "k"}, REPEATED])
def test_who_is_sent_on_takes_back_no_job_that_others_may_wait_for(
    region: Region, who: dict[str, str]
) -> None:
    """A client with a key comes again with it, and would be told that its job was cancelled."""
    region.ask(ROUTE, body=BODY, headers={} if who is REPEATED else who)
    first = region.ask(ROUTE, body=BODY, headers=who)
    path, _, query = first.headers["Location"].partition("?")
    public = path.rpartition("/")[2]
    assert query == "hop=1&kept=true"
    onward = region.ask(WAIT_ON, job=public, query={"hop": "1", "kept": "true"})
    assert onward.headers["Location"] == f"{path}?hop=2&kept=true"
    region.lambda_.full = True

    reply = region.ask(WAIT_ON, job=public, query={"hop": "2", "kept": "true"})

    assert (reply.status, reply.error["code"]) == (503, "no_room_to_wait")
    assert reply.headers["X-Job-Id"] == newest(region)
    assert region.job(newest(region)).status == "queued"
    region.lambda_.full = False
    region.after(1, lambda: region.complete(newest(region), ANSWER))
    assert region.ask(ROUTE, body=BODY, headers=who).status == 200


def test_a_job_that_is_found_is_told_of_though_its_end_cannot_be_written(region: Region) -> None:
    """Past its deadline it has to be ended first: a fault then must name it all the same."""
    ask(region)
    job = newest(region)
    region.sleep(HOPS_MAX * 26)

    def refuse() -> None:
        raise error("InternalServerError", "UpdateItem")

    region.faults = {"UpdateItem": refuse}
    reply = region.ask(ROUTE, body=BODY, headers=REPEATED)

    assert (reply.status, reply.headers["x-should-retry"]) == (503, "false")
    assert reply.headers["X-Job-Id"] == job


def test_who_waits_past_the_deadline_is_told_that_it_has_passed(region: Region) -> None:
    """`not_finished` would have a client look for an answer that never comes."""
    reply = ask(region)
    for _ in range(HOPS_MAX):
        assert reply.status == 303
        path, _, query = reply.headers["Location"].partition("?hop=")
        reply = region.ask(WAIT_ON, job=path.rpartition("/")[2], query={"hop": query})

    assert (reply.status, reply.error["code"]) == (504, "deadline_exceeded")
    assert region.job(newest(region)).status == "expired"


def test_with_a_key_the_job_goes_on_and_the_client_comes_again(region: Region) -> None:
    """The same key gives the same job."""
    region.lambda_.full = True

    reply = ask(region, Idempotency_Key="k")

    assert (reply.status, "x-should-retry" in reply.headers) == (503, False)
    assert region.job(newest(region)).status == "queued"


def test_when_nobody_knows_whether_it_was_taken_the_client_does_not_repeat(
    region: Region,
) -> None:
    """Its first request may have become a job: only with a key may it be sent again."""

    def refuse() -> None:
        raise error("InternalServerError", "PutItem")

    region.faults = {"PutItem": refuse}

    assert ask(region).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in ask(region, Idempotency_Key="k").headers


def test_a_ledger_that_is_away_while_a_client_waits_makes_no_second_job(region: Region) -> None:
    """The redirect's error counts as the request's, which the client would send again."""
    first = ask(region)
    public = first.headers["Location"].partition("?")[0].rpartition("/")[2]

    def refuse() -> None:
        raise error("InternalServerError", "GetItem")

    region.faults = {"GetItem": refuse}
    reply = region.ask(WAIT_ON, job=public, query={"hop": "2"})

    assert (reply.status, reply.headers["x-should-retry"]) == (503, "false")


def test_a_request_that_its_library_repeats_finds_its_job(region: Region) -> None:
    """The first answer was lost on its way: what was sent once works once."""
    ask(region)
    region.after(1, lambda: region.complete(newest(region), ANSWER))

    assert region.ask(ROUTE, body=BODY, headers=REPEATED).status == 200
    assert len(region.messages()) == 1


def test_a_request_that_is_repeated_after_midnight_finds_its_job(region: Region) -> None:
    """Jobs are listed by day; a client does not look at the clock before it repeats."""
    region.sleep(86_400 - region.now_s % 86_400 - 30)
    ask(region)
    region.sleep(30)
    region.after(1, lambda: region.complete(newest(region), ANSWER))

    assert region.ask(ROUTE, body=BODY, headers=REPEATED).status == 200
    assert len(region.messages()) == 1


def test_a_repetition_finds_its_job_behind_many_others(region: Region) -> None:
    """Whoever is busy repeats most, and would pay for most of it twice."""
    ask(region)
    first, at_ms = region.job(newest(region)), int(1000 * region.now_s)
    for number in range(60):
        other = replace(first, id=f"job_{number:026}", request_hash=b"x", created_ms=at_ms + 1)
        assert region.ledger.create(other) is None
    region.sleep(1)
    region.after(1, lambda: region.complete(first.id, ANSWER))

    assert region.ask(ROUTE, body=BODY, headers=REPEATED).headers["X-Job-Id"] == first.id


def test_a_failure_that_was_told_is_not_told_again_to_who_tries_anew(region: Region) -> None:
    """An application that calls again after a 502 wants the model to try again."""
    error = {"code": "model_error", "message": "unwell"}
    region.after(1, ends(region, "fail", error=error))
    ask(region)

    assert region.ask(ROUTE, body=BODY, headers=REPEATED).status == 502, "its answer was lost"
    region.sleep(60)
    assert region.ask(ROUTE, body=BODY, headers=REPEATED).status == 303


@pytest.mark.parametrize("lag_s", [0.9, 2.5])
def test_a_repetition_that_overtakes_the_index_finds_its_job(region: Region, lag_s: float) -> None:
    """A client repeats after 0.4 s, and jobs are listed about a second after they were taken."""

    def die() -> None:
        raise DiedError

    region.index_lag_s, region.faults = lag_s, {"Invoke": die}
    with pytest.raises(DiedError):
        ask(region)
    region.faults = {}
    first = region.messages()
    region.sleep(0.4)
    region.after(4, lambda: region.complete(first[0]["job"], ANSWER))

    reply = region.ask(ROUTE, body=BODY, headers=REPEATED)

    assert (reply.status, reply.headers["X-Job-Id"]) == (200, first[0]["job"])
    assert not region.messages()


def test_looking_again_is_for_repetitions_that_would_make_a_job(region: Region) -> None:
    """Everybody else would pay for it, and refused requests would keep functions busy."""
    region.see(tenants={"acme": 100})
    began_s = region.now_s
    assert region.ask(ROUTE, body=BODY, headers=REPEATED).error["code"] == "in_flight_limit"
    assert region.now_s == began_s
    assert region.operations().count("Query") == 1

    region.see()
    region.calls.clear()
    region.after(5, lambda: region.complete(newest(region), ANSWER))
    assert region.ask(ROUTE, body=BODY, headers=REPEATED).status == 200
    taken_s = region.job(newest(region)).created_ms / 1000 - began_s
    assert taken_s == sum(PAUSES_S) <= 3, "API Gateway waits for 29 s"
    assert len(region.messages()) == 1

    region.calls.clear()
    ask(region, {"input": "new"})
    assert "Query" not in region.operations()


def test_who_asks_the_same_twice_gets_two_answers(region: Region) -> None:
    """Two samples are two jobs; a repetition of either is nobody's for certain."""
    ask(region)
    ask(region)
    assert len(region.messages()) == 2

    region.ask(ROUTE, body=BODY, headers=REPEATED)
    assert len(region.messages()) == 1, "the messages before were received above"


def test_a_repetition_is_never_another_tenants_job(region: Region) -> None:
    """Equal requests of two tenants are two jobs."""
    ask(region)
    region.ask(ROUTE, body=BODY, headers=REPEATED, tenant="other")

    assert len(region.messages()) == 2


@pytest.mark.parametrize("hop", ["0", "19", "-1", "1.5", "x" * 1000])
def test_a_hop_that_nobody_was_sent_is_refused(region: Region, hop: str) -> None:
    """An endless chain would keep a function busy for as long as somebody likes."""
    reply = region.ask(WAIT_ON, job="embd-" + "a" * 26, query={"hop": hop})

    assert (reply.status, reply.error["param"]) == (400, "hop")


@pytest.mark.parametrize("kept", ["", "1", "True", "true\r\nX-Forged: 1", "x" * 1000])
def test_nobody_is_sent_on_to_keep_a_job_in_other_words(region: Region, kept: str) -> None:
    """Whoever writes the address needs to hear of it; it is never copied into the next one."""
    for route, prefix in ((WAIT_ON, "embd-"), ("GET /v1/responses/{id}", "resp_")):
        reply = region.ask(route, job=prefix + "a" * 26, query={"kept": kept})
        assert (reply.status, reply.error["param"]) == (400, "kept")


def test_ids_of_others_and_of_other_routes_are_unknown(region: Region) -> None:
    """The same answer for all: nobody learns whose job there is."""
    ask(region)
    tail = newest(region).removeprefix("job_")
    ours = region.submitted("own route").removeprefix("job_")

    found = [
        region.ask(WAIT_ON, job=f"embd-{tail}", tenant="other"),
        region.ask(WAIT_ON, job=f"job_{tail}"),
        region.ask(WAIT_ON, job=f"embd-{ours}"),
        region.ask(WAIT_ON, job="embd-" + "a" * 26),
        region.ask("GET /v1/chat/completions/{id}", job=f"chatcmpl-{tail}"),
        region.ask("GET /v1/responses/{id}", job=f"resp_{tail}"),
        region.ask("DELETE /v1/responses/{id}", job=f"resp_{tail}"),
        region.ask("POST /v1/responses/{id}/cancel", job=f"resp_{tail}"),
    ]

    assert {(reply.status, reply.text) for reply in found} == {(404, found[0].text)}


def test_a_conflict_names_the_job(region: Region) -> None:
    """And keeps clients from repeating what cannot help."""
    ask(region, Idempotency_Key="k")
    reply = ask(region, {"input": "other"}, Idempotency_Key="k")

    assert (reply.status, reply.headers["x-should-retry"]) == (409, "false")
    assert reply.headers["X-Job-Id"] == newest(region)
