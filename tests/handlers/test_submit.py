"""submit: accepting jobs, and refusing them."""

import json
import secrets
from typing import Any

import pytest

from lambdas.domain import payloads
from lambdas.domain.job import Status
from tests.handlers.region import HERE, MODEL, NEXT, START_S, DiedError, Region, aws, error

LARGE = secrets.token_hex(8_000)
"""Text that no compression makes small enough for the ledger."""


def die() -> None:
    """End the function's process."""
    raise DiedError


def bad(region: Region, **changes: Any) -> Any:
    """Ask with a body that is wrong; the error of a 400."""
    body = {"model": MODEL, "input": "x", **changes}
    reply = region.ask("POST /v1/jobs", body={k: v for k, v in body.items() if v is not ...})
    assert reply.status == 400
    assert reply.error["type"] == "invalid_request_error"
    assert not region.messages()
    return reply.error


# ---- accepting


def test_an_accepted_job_has_a_message_and_a_ledger_item(region: Region) -> None:
    """A 202 without both is a job that nobody ever runs."""
    reply = region.submit({"text": "hello"}, metadata={"run": "7"}, deadline_s=60)

    assert reply.status == 202
    job = region.job(reply.json["id"])
    assert reply.headers["Location"] == f"/api/v1/jobs/{job.id}"
    assert region.messages() == [{"format": 1, "job": job.id, "attempt": 1}]
    assert (job.status, job.attempt, job.owner, job.home) == (Status.QUEUED, 1, HERE, HERE)
    assert job.deadline_ms - job.created_ms == 60_000
    assert payloads.unpack(job.input or b"") == b'{"text":"hello"}'
    assert reply.json["metadata"] == {"run": "7"}


def test_clients_see_every_field_of_the_job(region: Region) -> None:
    """A field that is sometimes missing breaks typed clients."""
    fields = (
        "id object model version tier status attempt region created_at started_at finished_at "
        "deadline_at queue timings output output_url usage answered_by error metadata feedback "
        "trace_id links"
    )
    job = region.submitted()
    waiting = region.ask("GET /v1/jobs/{id}", job=job).json
    region.complete(job, {"data": [1], "usage": {"prompt_tokens": 3}})
    done = region.ask("GET /v1/jobs/{id}", job=job).json

    assert set(waiting) == set(done) == set(fields.split())
    assert waiting["queue"] == {"position": 1, "predicted_start": "2023-11-14T22:13:20.000Z"}
    assert done["queue"] is None
    assert done["status"] == "completed"
    assert done["output"] == {"data": [1], "usage": {"prompt_tokens": 3}}
    assert done["usage"] == {"prompt_tokens": 3}


def test_the_message_goes_before_the_ledger_and_the_bell_after(region: Region) -> None:
    """In another order a crash leaves an accepted job that no queue knows."""
    region.submitted(LARGE)

    writes = [
        operation
        for operation in region.operations()
        if operation in {"UpdateItem", "PutObject", "SendMessage", "PutItem", "Invoke"}
    ]
    assert writes == ["UpdateItem", "PutObject", "PutObject", "SendMessage", "PutItem", "Invoke"]


def test_messages_and_bells_carry_no_payload(region: Region) -> None:
    """A payload in a queue is one more place to protect, and to erase."""
    region.submitted("secret words")

    for operation, params in region.calls:
        if operation in {"SendMessage", "Invoke"}:
            assert "secret words" not in str(params)


def test_a_large_input_is_in_two_regions_before_the_job_is_accepted(region: Region) -> None:
    """A job that is accepted survives the loss of its region, input and all."""
    job = region.job(region.submitted(LARGE))

    assert job.input is None
    assert job.input_key == f"inputs/{job.id}/{job.request_hash.hex()}.json"
    assert region.objects() == [
        (region.names.bucket(HERE), job.input_key),
        (region.names.replica_bucket(NEXT), job.input_key),
    ]
    stored = aws("s3").get_object(Bucket=region.names.bucket(HERE), Key=job.input_key)
    assert json.loads(stored["Body"].read()) == LARGE


def test_a_lost_bell_does_not_lose_the_job(region: Region) -> None:
    """A bell is a hint; a client must not see that one was lost."""
    region.lambda_.silent = True

    assert region.submit().status == 202


def test_a_bell_is_rung_only_where_it_can_help(region: Region) -> None:
    """Behind a backlog every further bell is a function call for nothing."""
    region.see(waiting={"batch": 10_000}, oldest_s={"batch": 60.0})
    region.submitted()
    assert region.lambda_.bells == []

    region.see(waiting={"batch": 1})
    region.submitted()
    assert region.lambda_.bells == [
        {
            "function": "spillway-dev-dispatch",
            "format": 1,
            "model": MODEL,
            "tier": "standard",
            "jobs": 1,
        }
    ]


CALLS = "GetItem#1 UpdateItem GetItem#2 PutObject#1 PutObject#2 SendMessage PutItem"


@pytest.mark.parametrize("after", ["", " done"])
@pytest.mark.parametrize("call", CALLS.split())
def test_dying_at_any_call_loses_nothing(region: Region, call: str, after: str) -> None:
    """A client that repeats its request must find exactly one job, and that one must run."""
    operation, _, number = call.partition("#")
    region.faults = {f"{operation}{after}" + (f"#{number}" if number else ""): die}
    with pytest.raises(DiedError):
        region.submit(LARGE, key="k1")
    region.faults = {}
    region.forget_environments()

    again = region.submit(LARGE, key="k1")

    accepted_before = (operation, after) == ("PutItem", " done")
    assert again.status == 202
    assert ("Idempotent-Replayed" in again.headers) == accepted_before
    assert region.job(again.json["id"]).status is Status.QUEUED
    assert {message["job"] for message in region.messages()} == {again.json["id"]}


def test_dying_at_the_bell_loses_nothing(region: Region) -> None:
    """The job was accepted, though nobody was told so."""
    region.faults = {"Invoke": die}
    with pytest.raises(DiedError):
        region.submit(key="k1")
    region.faults = {}

    assert region.submit(key="k1").headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "lease", [{}, {"epoch": 1, "state": "serving", "until_ms": 1000 * START_S}]
)
def test_a_region_without_a_lease_takes_no_job(region: Region, lease: dict[str, Any]) -> None:
    """Its peers may be taking its jobs over: what it accepted now might be seen by nobody."""
    region.see(lease=lease)
    reply = region.submit()

    assert (reply.status, reply.error["code"]) == (503, "region_unavailable")
    assert int(reply.headers["Retry-After"]) > 0
    assert {"SendMessage", "PutItem"}.isdisjoint(region.operations())


def test_what_was_accepted_before_is_replayed_without_a_lease(region: Region) -> None:
    """Its client must learn that it is accepted, wherever it asks."""
    region.submit(key="k1")
    region.see(lease={})

    assert region.submit(key="k1").headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("operation", ["UpdateItem", "PutObject", "SendMessage", "PutItem"])
def test_a_service_that_fails_is_a_503_that_may_be_repeated(
    region: Region, operation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A client must know that repeating is right, and AWS's own words stay out of the log."""

    def refuse() -> None:
        raise error("InternalServerError", operation)

    region.faults = {operation: refuse}
    reply = region.submit(LARGE)

    assert reply.status == 503
    assert reply.error["code"] == "temporarily_unavailable"
    assert reply.headers["Retry-After"] == "5"
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["operation"], line["reason"]) == (operation, "InternalServerError")
    assert "private message" not in json.dumps(line)


# ---- bad input


@pytest.mark.parametrize(
    "raw",
    ["", "no json", "[1]", '"text"', "{", "null", '{"model": NaN}', "[" * 100_000, "\u0000"],
)
def test_a_body_that_is_no_json_object_is_a_400(region: Region, raw: str) -> None:
    """A 500 would tell the client to try the same again."""
    reply = region.ask("POST /v1/jobs", raw=raw)

    assert reply.status == 400
    assert reply.error["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"model": ...}, "model", "required"),
        ({"input": ...}, "input", "required"),
        ({"model": 7}, "model", "name of a model"),
        ({"model": "gpt"}, "model", "chat, embedder"),
        ({"tier": "urgent"}, "tier", "interactive, standard or batch"),
        ({"tier": None}, "tier", "interactive, standard or batch"),
        ({"deadline_s": 0}, "deadline_s", "seconds"),
        ({"deadline_s": "60"}, "deadline_s", "seconds"),
        ({"deadline_s": 1.5}, "deadline_s", "seconds"),
        ({"deadline_s": True}, "deadline_s", "seconds"),
        ({"deadline_s": 518_401}, "deadline_s", "518400"),
        ({"metadata": []}, "metadata", "at most 16"),
        ({"metadata": {"run": 7}}, "metadata", "at most 16"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "at most 16"),
        ({"metadata": {"a": "b" * 513}}, "metadata", "512"),
        ({"metadata": {"a" * 65: "b"}}, "metadata", "64"),
        ({"webhook": "http://example.com"}, "webhook", "https"),
        ({"priority": 1}, "priority", "the fields are model, input, tier"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    region: Region, changes: dict[str, Any], param: str, says: str
) -> None:
    """Whoever gets `invalid request` alone has to guess."""
    refused = bad(region, **changes)

    assert refused["param"] == param
    assert says in refused["message"]


@pytest.mark.parametrize("value", ['"\\ud800"', "1e999", '{"a": [-1e999]}'])
def test_input_that_nobody_can_send_on_is_refused(region: Region, value: str) -> None:
    """The model would get bytes that are no JSON, and every attempt would fail on them."""
    reply = region.ask("POST /v1/jobs", raw=f'{{"model": "{MODEL}", "input": {value}}}')

    assert (reply.status, reply.error["param"]) == (400, "input")


def test_deep_nesting_is_refused(region: Region) -> None:
    """A model's parser that overflows takes its instance with it."""
    value: Any = "x"
    for _ in range(65):
        value = [value]

    assert bad(region, input=value)["param"] == "input"


def test_the_model_gets_the_input_in_the_clients_order(region: Region) -> None:
    """Models that write by a schema follow the order of its names."""
    job = region.job(region.submitted({"z": 1, "a": {"y": 1, "b": "ü"}}))

    assert payloads.unpack(job.input or b"").decode() == '{"z":1,"a":{"y":1,"b":"ü"}}'


def test_a_body_over_four_megabytes_is_a_413(region: Region) -> None:
    """Larger events never reach a function; the client must hear the limit from us."""
    reply = region.ask("POST /v1/jobs", raw='{"input": "' + "x" * 4_000_000 + '"}')

    assert reply.status == 413
    assert "4000000" in reply.error["message"]


def test_an_input_over_the_models_limit_is_a_413(region: Region) -> None:
    """A model that cannot take it would fail it, attempt after attempt."""
    region.configure(input_bytes_max=100)

    reply = region.submit("x" * 99)

    assert reply.status == 413
    assert reply.error["param"] == "input"
    assert "100 bytes" in reply.error["message"]
    assert region.submit("x" * 98).status == 202


def test_a_model_that_is_leaving_takes_no_new_jobs(region: Region) -> None:
    """Its last jobs could never be drained."""
    region.configure(state="draining")

    assert bad(region)["code"] == "model_not_live"


@pytest.mark.parametrize(
    ("limits", "param"), [({"models": "chat"}, "model"), ({"tiers": "batch"}, "tier")]
)
def test_a_key_without_the_model_or_tier_is_a_403(
    region: Region, limits: dict[str, str], param: str
) -> None:
    """A key for the batch tier must not buy its way to the front."""
    reply = region.ask("POST /v1/jobs", body={"model": MODEL, "input": 1}, **limits)  # type: ignore[arg-type]

    assert reply.status == 403
    assert (reply.error["type"], reply.error["param"]) == ("permission_error", param)
    assert not region.messages()


def test_a_key_learns_only_the_models_that_it_may_use(region: Region) -> None:
    """Names of other teams' models may tell of their plans."""
    reply = region.ask("POST /v1/jobs", body={"model": "gpt", "input": 1}, models="chat")

    assert "chat" in reply.error["message"]
    assert MODEL not in reply.error["message"]


def test_a_webhook_needs_a_secret_to_sign_it(region: Region) -> None:
    """A receiver that cannot verify a webhook must not trust it."""
    refused = bad(region, webhook="https://example.com/done")

    assert refused["param"] == "webhook"
    assert "secret" in refused["message"]


def test_nobody_gets_in_without_a_caller(region: Region) -> None:
    """A route that loses its authorizer must not become everybody's."""
    for route in ("POST /v1/jobs", "GET /v1/jobs", "GET /v1/models", "GET /v1/capacity"):
        assert region.ask(route, tenant=None).status == 401


# ---- idempotency


def test_the_same_key_and_body_give_the_same_job_in_every_region(region: Region) -> None:
    """A client that times out and asks elsewhere must not pay for a second run."""
    first = region.submit({"a": 1, "b": 2}, key="k1")
    region.messages()
    elsewhere = region.elsewhere(NEXT)
    again = elsewhere.submit({"b": 2, "a": 1}, key="k1", tier="standard")

    assert "Idempotent-Replayed" not in first.headers
    assert again.status == 202
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert again.json == first.json
    assert not region.messages()
    assert not elsewhere.messages()


def test_a_replay_of_a_finished_job_has_its_result(region: Region) -> None:
    """The answer to a repeated request must not be less than to the first one."""
    job = region.submit(key="k1").json["id"]
    region.complete(job, [1])

    again = region.submit(key="k1")

    assert (again.status, again.json["output"]) == (200, [1])


def test_two_requests_at_once_make_one_job(region: Region) -> None:
    """The one that loses the race must get the winner's job, not an error."""
    rival: list[str] = []

    def overtake() -> None:
        region.faults = {}
        rival.append(region.submit(key="k1").json["id"])

    region.faults = {"SendMessage": overtake}
    loser = region.submit(key="k1")

    assert loser.headers["Idempotent-Replayed"] == "true"
    assert [loser.json["id"]] == rival


def test_the_same_key_with_another_body_is_a_409(region: Region) -> None:
    """Answering with the first job would give the client a result for what it did not ask."""
    region.submitted("one", key="k1")

    for changes in ({"value": "two"}, {"tier": "batch"}, {"metadata": {"a": "b"}}):
        reply = region.submit(**{"value": "one", "key": "k1", **changes})  # type: ignore[arg-type]
        assert reply.status == 409
        assert reply.error["code"] == "idempotency_key_reused"
        # OpenAI's clients repeat a 409 by themselves unless told not to.
        assert reply.headers["x-should-retry"] == "false"


def test_tenants_may_use_the_same_key(region: Region) -> None:
    """One tenant's choice of keys must not tell it of another's jobs."""
    body, headers = {"model": MODEL, "input": 1}, {"Idempotency-Key": "k1"}
    one = region.ask("POST /v1/jobs", body=body, headers=headers)
    other = region.ask("POST /v1/jobs", body=body, headers=headers, tenant="rival")

    assert one.json["id"] != other.json["id"]
    assert "Idempotent-Replayed" not in other.headers


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü", "a\tb"])
def test_a_key_that_could_be_mangled_on_the_way_is_a_400(region: Region, key: str) -> None:
    """Two requests whose keys only look alike must not become one job."""
    reply = region.ask(
        "POST /v1/jobs", body={"model": MODEL, "input": 1}, headers={"Idempotency-Key": key}
    )

    assert (reply.status, reply.error["param"]) == (400, "Idempotency-Key")


# ---- limits


def test_over_the_rate_is_a_429_that_tells_when_to_come_back(region: Region) -> None:
    """One tenant's loop must not fill everybody's queue."""
    region.sleep(4)
    body = {"model": MODEL, "input": 1}
    replies = [region.ask("POST /v1/jobs", body=body, rate=0.3) for _ in range(4)]

    assert [reply.status for reply in replies] == [202, 202, 202, 429]
    assert replies[3].error["type"] == "rate_limit_error"
    assert replies[3].headers["Retry-After"] == "6"
    other = region.ask("POST /v1/jobs", body=body, rate=0.3, tenant="other")
    assert other.status == 202
    region.sleep(6)
    assert region.ask("POST /v1/jobs", body=body, rate=0.3).status == 202


def test_over_the_in_flight_cap_is_a_429_with_a_computed_time(region: Region) -> None:
    """A tenant at its cap should return when some of its jobs can be done, not at once."""
    region.see(tenants={"acme": 299}, instances=2)

    reply = region.ask("POST /v1/jobs", body={"model": MODEL, "input": 1}, in_flight=100)

    assert (reply.status, reply.error["code"]) == (429, "in_flight_limit")
    model = region.policy.models[MODEL]
    rate = 2 * model.concurrency / model.service_s
    assert int(reply.headers["Retry-After"]) == max(5, -int(-200 / rate // 1))
    region.see(tenants={"acme": 99})
    assert region.submit().status == 202


def test_a_deadline_that_cannot_be_met_is_a_429_with_a_computed_time(region: Region) -> None:
    """Taking the job would make it wait for nothing."""
    region.configure(service_s=1.0)
    region.see(waiting={"standard": 400}, in_use=4, oldest_s={"standard": 100.0})

    reply = region.submit(deadline_s=30)

    assert (reply.status, reply.error["code"]) == (429, "deadline_unreachable")
    # About 400 jobs at 4 a second, less the 30 s that the client gives.
    assert 65 <= int(reply.headers["Retry-After"]) <= 75
    assert region.submit(deadline_s=200).status == 202
    assert region.submit(deadline_s=30, tier="interactive").status == 202


def test_a_refused_job_leaves_nothing(region: Region) -> None:
    """What was refused must not run after all."""
    region.see(tenants={"acme": 100})
    region.submit(LARGE)

    assert not region.messages()
    assert not region.objects()


# ---- the log


def test_nothing_private_is_ever_logged(region: Region, capsys: pytest.CaptureFixture[str]) -> None:
    """Logs are read by people who may not read prompts, keys or results."""
    private = "private-4711"
    headers = {"Idempotency-Key": f"{private}-key", "User-Agent": private}
    body = {"model": MODEL, "input": [private], "metadata": {private: private}}
    job = region.ask("POST /v1/jobs", body=body, headers=headers).json["id"]
    region.ask("POST /v1/jobs", body={**body, "input": "other"}, headers=headers)
    region.ask("POST /v1/jobs", body={**body, private: 1})
    region.ask("POST /v1/jobs", raw=private)
    region.complete(job, [private])
    region.ask("GET /v1/jobs/{id}", job=job, headers=headers)
    region.ask("GET /v1/jobs", query={"after": private})
    region.ask("GET /v1/jobs/{id}", job=private)
    region.ask("POST /v1/jobs/{id}/cancel", job=job)
    region.ask("DELETE /v1/jobs/{id}", job=job)

    logged = capsys.readouterr().out
    assert private not in logged
    assert [json.loads(line)["message"] for line in logged.splitlines()] == ["accepted", "erased"]


def test_the_log_tells_what_was_decided(region: Region, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks why a job was refused finds the numbers that it was refused by."""
    region.configure(service_s=1.0)
    region.see(waiting={"standard": 400}, in_use=4)
    region.submit(deadline_s=30)

    line = json.loads(capsys.readouterr().out)
    assert line["message"] == "refused"
    assert {"tenant": "acme", "model": MODEL, "tier": "standard"}.items() <= line.items()
    assert line["code"] == "deadline_unreachable"
    assert line["wait_s"] > 90
