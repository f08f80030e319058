"""batches: files of requests become jobs, and their answers files."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.signing import PREFIX
from lambdas.adapters.usage import UsageCounters
from lambdas.domain.batches import (
    GRACE_MS,
    PATIENCE_MS,
    REFUSED_GRACE_MS,
    RESTARTED,
    Batch,
    BatchStatus,
)
from lambdas.domain.job import Status
from lambdas.handlers import batches, lines
from lambdas.handlers.counting import QUOTA_KEPT_S
from lambdas.handlers.cutting import Cutting
from lambdas.wiring import SDK_DEFAULTS
from tests.handlers.region import (
    HERE,
    LEASE,
    MODEL,
    NEXT,
    START_S,
    DiedError,
    Region,
    Reply,
    aws,
    error,
)

ENDPOINT = "/v1/embeddings"
DAY_S = 86_400


def line(number: int, **changes: Any) -> dict[str, Any]:
    """One request of a batch."""
    body = {"model": MODEL, "input": f"text {number}"}
    request = {"custom_id": f"line-{number}", "method": "POST", "url": ENDPOINT, "body": body}
    return request | changes


def upload(region: Region, lines: list[Any], *, tenant: str = "acme") -> str:
    """Bring a batch's file."""
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    form = httpx.Request(
        "POST", "http://x", data={"purpose": "batch"}, files={"file": ("in.jsonl", text)}
    )
    reply = region.ask(
        "POST /v1/files",
        raw=form.read(),
        headers={"Content-Type": form.headers["content-type"]},
        tenant=tenant,
    )
    assert reply.status == 200, reply.text
    return str(reply.json["id"])


def ask_for(region: Region, file: str, *, headers: Any = None, **changes: Any) -> Reply:
    """Ask for a batch of a file."""
    known = ("tenant", "in_flight", "found")
    caller = {name: changes.pop(name) for name in known if name in changes}
    body = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"} | changes
    return region.ask("POST /v1/batches", body=body, headers=headers, **caller)


def begun(region: Region, requests: list[Any], **options: Any) -> str:
    """A batch that must be taken; its id."""
    reply = ask_for(
        region, upload(region, requests, tenant=options.get("tenant", "acme")), **options
    )
    assert reply.status == 200, reply.text
    return str(reply.json["id"])


def work(region: Region, *, runs: int = 1, seconds: float = 80) -> None:
    """Let the function run, with so much time each until it begins nothing more."""
    for _ in range(runs):
        until_s = region.now_s + seconds + batches.TIME_LEFT_MS_MIN / 1000
        context = Mock()
        context.get_remaining_time_in_millis = lambda until_s=until_s: int(
            1000 * (until_s - region.now_s)
        )
        region.handler(batches)({"format": 1}, context)


def view(region: Region, batch: str, *, tenant: str = "acme") -> dict[str, Any]:
    """A batch as the API shows it."""
    reply = region.ask("GET /v1/batches/{id}", job=batch, tenant=tenant)
    assert reply.status == 200, reply.text
    return dict(reply.json)


def counts(region: Region, batch: str) -> tuple[int, int, int]:
    """Total, completed and failed lines."""
    found = view(region, batch)["request_counts"]
    return found["total"], found["completed"], found["failed"]


def content(region: Region, file: str, *, tenant: str = "acme") -> list[dict[str, Any]]:
    """The lines of a file."""
    reply = region.ask(
        "GET /v1/files/{id}/content",
        job=file,
        content_type="application/octet-stream",
        tenant=tenant,
    )
    assert reply.status == 200, reply.text
    return [json.loads(each) for each in reply.text.splitlines()]


def jobs(region: Region, tenant: str = "acme") -> dict[str, str]:
    """The tenant's jobs of the last two days, with their states."""
    found: dict[str, str] = {}
    for days in (0, 1):
        day = datetime.fromtimestamp(region.now_s - days * DAY_S, UTC).date().isoformat()
        listed = region.ledger.jobs_of(tenant, day, limit=500)
        many = region.ledger.get_many(each for each, _ in listed)
        found |= {each: job.status.value for each, job in many.items()}
    return found


def answer(
    region: Region, *, fail: Callable[[int], bool] = lambda _: False, tenant: str = "acme"
) -> int:
    """Have the model work off all jobs that wait; how many there were."""
    waiting = [job for job, status in jobs(region, tenant).items() if status == Status.QUEUED]
    for number, job in enumerate(sorted(waiting)):
        if fail(number):
            region.start(job)
            outcome = region.ledger.apply(
                region.job(job),
                "fail",
                now_ms=int(region.now_s * 1000),
                finished_ms=int(region.now_s * 1000),
                error={"code": "model_error", "message": "no"},
            )
            assert outcome.won
        else:
            output = {
                "data": [{"embedding": [1.0], "index": 0}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
            region.complete(job, output)
    return len(waiting)


def test_a_batch_is_taken_and_its_function_called(region: Region) -> None:
    """What OpenAI's client reads of a new batch is all there."""
    file = upload(region, [line(0)])

    reply = ask_for(region, file, metadata={"purpose": "test"})

    told = reply.json
    assert reply.status == 200
    assert told["id"].startswith("batch_")
    assert (told["object"], told["status"], told["endpoint"]) == ("batch", "validating", ENDPOINT)
    assert (told["input_file_id"], told["completion_window"]) == (file, "24h")
    assert (told["created_at"], told["expires_at"]) == (START_S, START_S + DAY_S)
    assert told["metadata"] == {"purpose": "test"}
    assert told["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert [b["function"] for b in region.lambda_.bells] == [region.names.function("batches")]
    assert view(region, told["id"]) == told


def test_a_batch_is_answered_line_by_line(region: Region) -> None:
    """Every line is in one of the two files, under the name that its client gave it."""
    batch = begun(region, [line(number) for number in range(4)])
    work(region)
    assert view(region, batch)["status"] == "in_progress"
    assert counts(region, batch) == (4, 0, 0)
    assert {region.job(job).tier for job in jobs(region)} == {"batch"}
    assert {region.job(job).deadline_ms for job in jobs(region)} == {1000 * (START_S + DAY_S)}
    assert len(region.messages(tier="batch")) == 4

    failing = sorted(jobs(region))[1]
    assert answer(region, fail=lambda number: number == 1) == 4
    work(region)

    told = view(region, batch)
    assert told["status"] == "completed"
    assert counts(region, batch) == (4, 3, 1)
    assert told["usage"]["total_tokens"] == 9
    assert told["model"] == MODEL
    good, bad = content(region, told["output_file_id"]), content(region, told["error_file_id"])
    assert {each["custom_id"] for each in good + bad} == {f"line-{n}" for n in range(4)}
    for each in good:
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        assert each["response"]["body"]["object"] == "list"
        assert each["id"].startswith("batch_req_")
    (lost,) = bad
    assert lost["response"]["request_id"] == failing
    assert lost["response"]["status_code"] == 502
    assert lost["response"]["body"]["error"]["code"] == "model_error"
    for name in ("output_file_id", "error_file_id"):
        record = region.ask("GET /v1/files/{id}", job=told[name]).json
        assert (record["purpose"], record["expires_at"] > START_S) == ("batch_output", True)
    # Nothing else is left that holds what the files do.
    assert not [key for _, key in region.objects() if key.startswith("batches/")]


def test_a_batch_with_a_bad_line_fails_as_a_whole(region: Region) -> None:
    """Each fault is told with its line, before any GPU has worked."""
    lines = [
        line(0),
        "",
        "{broken",
        line(0),
        line(1, method="GET"),
        line(2, url="/v1/chat/completions"),
        line(3, body={"model": "unknown", "input": "x"}),
        line(4, body={"model": MODEL}),
        line(5, body=[]),
        line(6, custom_id=""),
        {"custom_id": "x"},
        line(7, body={"model": MODEL, "input": "x" * 1_100_000}),
    ]
    batch = begun(region, lines)
    work(region)

    told = view(region, batch)
    assert (told["status"], told["failed_at"]) == ("failed", START_S)
    assert [(e["line"], e["code"], e["param"]) for e in told["errors"]["data"]] == [
        (3, "invalid_json_line", None),
        (4, "duplicate_custom_id", "custom_id"),
        (5, "invalid_method", "method"),
        (6, "mismatched_url", "url"),
        (7, "model_not_found", "model"),
        (8, "missing_field", "input"),
        (9, "invalid_value", "body"),
        (10, "invalid_value", "custom_id"),
        (11, "missing_required_parameter", "method"),
        (12, "too_large", None),
    ]
    assert "x" * 20 not in json.dumps(told)
    assert jobs(region) == {}
    assert not [key for _, key in region.objects() if key.startswith("batches/")]


@pytest.mark.parametrize("lines", [["\n\n", ""], [line(n) for n in range(70)]])
def test_few_errors_are_told_and_an_empty_file_is_one(region: Region, lines: list[Any]) -> None:
    """The ledger holds no list of fifty thousand faults."""
    wrong = [each if isinstance(each, str) else each | {"method": "PUT"} for each in lines]
    batch = begun(region, wrong)
    work(region)

    told = view(region, batch)["errors"]["data"]
    assert len(told) == (1 if isinstance(lines[0], str) else 50)


def test_a_batch_takes_half_of_what_its_tenant_may_have_unfinished(region: Region) -> None:
    """The tenant's interactive requests find room beside its batches."""
    first = begun(region, [line(n) for n in range(4)], in_flight=4)
    second = begun(region, [line(n) for n in range(4)], in_flight=4)

    done = 0
    for _ in range(5):
        work(region, seconds=5)
        waiting = [status for status in jobs(region).values() if status == Status.QUEUED]
        assert len(waiting) <= 2
        done += answer(region)
    work(region)

    assert done == 8
    assert {view(region, batch)["status"] for batch in (first, second)} == {"completed"}


def use_tokens(region: Region, tokens: int) -> None:
    """Count tokens of the tenant's day, as the ends of its jobs do."""
    day = datetime.fromtimestamp(region.now_s, UTC).date().isoformat()
    UsageCounters(aws("dynamodb"), region.names.gate, HERE).add("acme", day, {"tokens": tokens})
    region.sleep(QUOTA_KEPT_S)


def test_lines_wait_for_the_next_day_when_the_tokens_of_this_one_are_used_up(
    region: Region,
) -> None:
    """A quota that any file gets around is none; and nobody pays for a function that only waits."""
    quota = {"tokens_per_day": str(10 * len(region.policy.regions))}
    batch = begun(region, [line(n) for n in range(3)], in_flight=4, found=quota)
    work(region)
    assert len(jobs(region)) == 2
    use_tokens(region, 10)
    assert answer(region) == 2
    from_s = region.now_s
    work(region)

    assert len(jobs(region)) == 2
    assert (view(region, batch)["status"], counts(region, batch)) == ("in_progress", (3, 2, 0))
    assert region.now_s - from_s < batches.POLL_S
    region.sleep(DAY_S - region.now_s % DAY_S)
    work(region)
    answer(region)
    work(region)
    assert (view(region, batch)["status"], counts(region, batch)) == ("completed", (3, 3, 0))


def test_held_lines_expire_with_their_window(region: Region) -> None:
    """Tokens that are used up every day must not keep a batch for ever."""
    quota = {"tokens_per_day": str(10 * len(region.policy.regions))}
    batch = begun(region, [line(n) for n in range(3)], in_flight=4, found=quota)
    work(region)
    use_tokens(region, 10)
    answer(region)
    work(region)
    region.sleep(DAY_S - region.now_s % DAY_S)
    use_tokens(region, 10)
    work(region)
    region.sleep(START_S + DAY_S - region.now_s)
    work(region)

    told = view(region, batch)
    assert (told["status"], counts(region, batch)) == ("expired", (3, 2, 1))
    assert codes(region, batch) == ["batch_expired"]


def test_a_cancelled_batch_keeps_what_was_answered(region: Region) -> None:
    """What was paid for is not thrown away, and nothing more is begun."""
    batch = begun(region, [line(n) for n in range(6)], in_flight=8)
    work(region)
    done, running, *waiting = sorted(jobs(region))
    region.complete(done, {"data": []})
    region.start(running)

    reply = region.ask("POST /v1/batches/{id}/cancel", job=batch)
    assert (reply.status, reply.json["status"]) == (200, "cancelling")
    work(region)
    assert view(region, batch)["status"] == "cancelling"
    assert {region.job(job).status for job in waiting} == {Status.CANCELLED}
    assert len(jobs(region)) == 4
    region.ledger.apply(
        region.job(running),
        "complete",
        now_ms=int(region.now_s * 1000),
        finished_ms=int(region.now_s * 1000),
        output=region.job(done).output,
    )
    work(region)

    told = view(region, batch)
    assert (told["status"], counts(region, batch)) == ("cancelled", (6, 2, 4))
    assert told["cancelled_at"] >= told["cancelling_at"]
    assert len(content(region, told["output_file_id"])) == 2
    bad = content(region, told["error_file_id"])
    assert {each["error"]["code"] for each in bad} == {"batch_cancelled"}
    assert region.ask("POST /v1/batches/{id}/cancel", job=batch).json["status"] == "cancelled"
    (counted,) = region.ask("GET /v1/usage").json["data"]
    assert (counted["jobs"]["cancelled"], counted["version"]) == (2, None)


def test_a_batch_that_nobody_looked_into_is_cancelled_at_once(region: Region) -> None:
    """Its file is not even read."""
    batch = begun(region, [line(0)])
    region.ask("POST /v1/batches/{id}/cancel", job=batch)
    work(region)

    assert (view(region, batch)["status"], jobs(region)) == ("cancelled", {})


def test_a_batch_expires_with_what_did_not_start(region: Region) -> None:
    """24 hours are what its client waits for."""
    batch = begun(region, [line(n) for n in range(6)], in_flight=8)
    work(region)
    done, *late = sorted(jobs(region))
    region.complete(done, {"data": []})
    region.sleep(DAY_S)
    for job in late:
        assert region.ask("GET /v1/jobs/{id}", job=job).json["status"] == "expired"
    work(region)

    told = view(region, batch)
    assert (told["status"], counts(region, batch)) == ("expired", (6, 1, 5))
    assert told["expired_at"] >= told["expires_at"]
    bad = content(region, told["error_file_id"])
    assert {each["error"]["code"] for each in bad} == {"batch_expired"}
    assert {each["response"] is None for each in bad} == {True}


def test_a_batch_ends_whatever_becomes_of_its_jobs(region: Region) -> None:
    """A model that was taken out of the configuration ends none of its jobs."""
    batch = begun(region, [line(0)])
    work(region)
    region.start(next(iter(jobs(region))))
    region.sleep(DAY_S + 3 * 3600)
    work(region)

    assert view(region, batch)["status"] == "expired"


def test_large_inputs_and_answers_travel_through_buckets(region: Region) -> None:
    """Most answers of language models do not fit into the ledger."""
    noise = "".join(chr(33 + n * 7919 % 9000) for n in range(20_000))
    batch = begun(region, [line(0, body={"model": MODEL, "input": noise})])
    work(region)
    (job,) = jobs(region)
    assert region.job(job).input_key is not None
    key = "results/large"
    aws("s3", HERE).put_object(
        Bucket=region.names.bucket(HERE), Key=key, Body=json.dumps({"data": [noise]}).encode()
    )
    region.complete(job, key=key)
    work(region)

    (told,) = content(region, view(region, batch)["output_file_id"])
    assert told["response"]["body"]["data"] == [noise]


def test_an_answer_that_is_gone_or_of_another_form_is_an_error(region: Region) -> None:
    """One line without an answer holds up nobody."""
    batch = begun(region, [line(n) for n in range(3)])
    work(region)
    gone, strange, erased = sorted(jobs(region))
    region.complete(gone, key="results/gone")
    region.complete(strange, ["no embeddings"])
    region.complete(erased, {"data": []})
    region.ask("DELETE /v1/jobs/{id}", job=erased)
    work(region)

    told = {
        each["id"].removeprefix("batch_req_"): each
        for each in content(region, view(region, batch)["error_file_id"])
    }
    assert told[gone[4:]]["error"]["code"] == "output_unavailable"
    assert told[strange[4:]]["response"]["body"]["error"]["code"] == "invalid_output"
    assert told[erased[4:]]["error"]["code"] == "job_erased"
    assert counts(region, batch) == (3, 0, 3)


def test_a_repeated_request_is_the_same_batch(region: Region) -> None:
    """OpenAI's client repeats by itself what it got no answer to: no GPU works twice."""
    file = upload(region, [line(0)])
    keyed = [ask_for(region, file, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert keyed[0].json["id"] == keyed[1].json["id"]
    assert keyed[1].headers["Idempotent-Replayed"] == "true"
    reused = ask_for(region, file, headers={"Idempotency-Key": "k"}, metadata={"a": "b"})
    assert (reused.status, reused.error["code"]) == (409, "idempotency_key_reused")

    first = ask_for(region, file, metadata={"a": "c"})
    again = ask_for(region, file, metadata={"a": "c"}, headers={"x-stainless-retry-count": "1"})
    another = ask_for(region, file, metadata={"a": "c"}, headers={"x-stainless-retry-count": "0"})
    assert first.json["id"] == again.json["id"] != another.json["id"]


def test_a_repetition_that_overtakes_the_index_is_the_same_batch(region: Region) -> None:
    """It comes 0.4 s after a batch that is listed within about a second: 50,000 jobs, twice."""
    file = upload(region, [line(0)])
    region.index_lag_s = 1
    first = ask_for(region, file)
    region.sleep(0.4)
    again = ask_for(region, file, headers={"x-stainless-retry-count": "1"})

    assert first.json["id"] == again.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"endpoint": "/v1/images"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file-" + "a" * 26}, 400, "input_file_id"),
        ({"input_file_id": "nonsense"}, 400, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        ({"metadata": {"a": "x" * 513}}, 400, "metadata"),
        ({"output_expires_after": {"seconds": 3600}}, 400, "output_expires_after"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, 400, None),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_a_wrong_request_is_refused(
    region: Region, changes: dict[str, Any], status: int, param: str | None
) -> None:
    """Nothing is begun of what was not understood."""
    reply = ask_for(region, upload(region, [line(0)]), **changes)

    assert reply.status == status
    assert reply.error["param"] == param or param is None
    assert region.ask("GET /v1/batches").json["data"] == []


def test_another_tenants_batch_looks_like_none(region: Region) -> None:
    """Whoever can tell the two apart can count another tenant's batches."""
    batch = begun(region, [line(0)])
    for route in ("GET /v1/batches/{id}", "POST /v1/batches/{id}/cancel"):
        strange = region.ask(route, job=batch, tenant="rival")
        assert strange.text == region.ask(route, job="batch_" + "a" * 26).text
        assert strange.error["code"] == "batch_not_found"
    foreign = ask_for(region, view(region, batch)["input_file_id"], tenant="rival")
    assert (foreign.status, foreign.error["code"]) == (400, "file_not_found")


def test_batches_are_listed_page_by_page(region: Region) -> None:
    """OpenAI's client goes on with the last one's id."""
    made = []
    for number in range(3):
        made.append(begun(region, [line(number)]))
        region.sleep(1)
    begun(region, [line(9)], tenant="rival")

    page = region.ask("GET /v1/batches", query={"limit": "2"}).json
    rest = region.ask("GET /v1/batches", query={"limit": "2", "after": page["last_id"]}).json

    assert [each["id"] for each in page["data"] + rest["data"]] == made[::-1]
    assert (page["has_more"], rest["has_more"]) == (True, False)
    for wrong in ({"limit": "0"}, {"limit": "101"}, {"after": "x"}):
        assert region.ask("GET /v1/batches", query=wrong).status == 400


def test_a_list_goes_on_behind_a_batch_that_is_forgotten(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list follows in a second: until then it has one too many."""
    made = []
    for number in range(3):
        made.append(begun(region, [line(number)]))
        region.sleep(1)
    read = BatchRecords.get
    monkeypatch.setattr(
        BatchRecords, "get", lambda records, each: None if each == made[2] else read(records, each)
    )

    page = region.ask("GET /v1/batches", query={"limit": "2"}).json
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([made[1]], True)


def lose(region: Region) -> None:
    """Let the others see that the first region is lost."""
    aws("dynamodb").put_item(
        TableName=region.names.ledger,
        Item={
            "pk": {"S": f"region#{HERE}"},
            "epoch": {"N": "2"},
            "sequence": {"N": "9"},
            "state": {"S": "lost"},
        },
    )
    region.see(peers={HERE: {"state": "lost"}}, lease=LEASE)


def test_a_lost_regions_batch_goes_on_in_another(region: Region) -> None:
    """Its pieces went with its region; its file and its jobs did not."""
    batch = begun(region, [line(n) for n in range(3)])
    work(region)
    made = set(jobs(region))
    for _, key in region.objects():
        if key.startswith("batches/"):
            aws("s3", HERE).delete_object(Bucket=region.names.bucket(HERE), Key=key)
    lose(region)
    there = region.elsewhere(NEXT)
    work(there)
    assert view(region, batch)["status"] == "in_progress"
    assert counts(region, batch)[0] == 3
    assert answer(region) == 3
    work(there)

    assert view(region, batch)["status"] == "completed"
    assert set(jobs(region)) == made
    output = view(region, batch)["output_file_id"]
    assert (region.names.bucket(NEXT), f"outputs/{output}") in region.objects()
    assert len(content(there, output)) == 3


def test_thousands_of_a_lost_regions_batches_do_not_hold_up_all_others(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is over before the last one is taken over would not have brought one on."""
    monkeypatch.setattr(batches, "TAKEN_OVER_MAX", 1)
    both = [begun(region, [line(number)], tenant=f"tenant-{number}") for number in range(2)]
    lose(region)
    there = region.elsewhere(NEXT)
    work(there)

    steps = [
        "take" if operation == "UpdateItem" and "#owner" in params["UpdateExpression"] else "cut"
        for operation, params in there.calls
        if operation in {"UpdateItem", "PutObject"}
    ]
    assert steps.index("cut") == 1
    assert steps.count("take") == len(both)


@pytest.mark.parametrize("lease", [{"state": "drained", "until_ms": 10**15}, {"until_ms": 1}])
def test_a_region_that_may_not_work_leaves_its_batches_alone(
    region: Region, lease: dict[str, Any]
) -> None:
    """Another region may have them already."""
    begun(region, [line(0)])
    region.see(lease={"epoch": 1, "state": "serving"} | lease)
    work(region)

    assert jobs(region) == {}


def test_what_was_kept_is_forgotten(region: Region) -> None:
    """Files and batches go when nobody may read them any more."""
    batch = begun(region, [line(0)])
    work(region)
    answer(region)
    work(region)
    region.sleep(region.policy.retention_s + 3600 - region.now_s % 1800)
    work(region)

    assert region.ask("GET /v1/batches/{id}", job=batch).status == 404
    assert region.ask("GET /v1/batches").json["data"] == []
    assert not [key for _, key in region.objects() if key.startswith(("files/", "outputs/"))]


def test_a_batchs_end_is_told_to_its_tenants_own_address(region: Region) -> None:
    """OpenAI's clients cannot name an address; their operator can."""
    address = "https://hooks.example.com/batches"
    aws("dynamodb").put_item(
        TableName=region.names.directory,
        Item={
            "pk": {"S": f"{PREFIX}acme"},
            "secret": {"S": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
            "address": {"S": address},
        },
    )
    batch = begun(region, [line(0)])
    work(region)
    assert region.notices() == []
    answer(region)
    work(region)

    (notice,) = region.notices()
    assert (notice["event"], notice["address"]) == ("batch.completed", address)
    assert json.loads(notice["body"])["data"] == {"id": batch}


WRITES = (
    "PutItem",
    "UpdateItem",
    "PutObject",
    "DeleteObjects",
    "SendMessageBatch",
    "Invoke",
)
"""What leaves a trace: of a read that was the last call nothing is left."""


def test_a_death_after_any_write_changes_nothing(region: Region) -> None:
    """Whichever write was the function's last, the next run does the rest, and nothing twice."""
    deaths = 0
    for fatal in range(1, 40):
        tenant = f"tenant-{fatal}"
        batch = begun(region, [line(0), line(1)], tenant=tenant)
        if not died_at(region, fatal, tenant):
            break
        deaths += 1
        for _ in range(3):
            work(region, seconds=1)
            answer(region, tenant=tenant)
        told = view(region, batch, tenant=tenant)
        assert (told["status"], told["request_counts"]) == (
            "completed",
            {"total": 2, "completed": 2, "failed": 0},
        ), (fatal, told)
        good = content(region, told["output_file_id"], tenant=tenant)
        assert [each["custom_id"] for each in good] == ["line-0", "line-1"]
        assert len(jobs(region, tenant)) == 2
    assert deaths > 10


def died_at(region: Region, fatal: int, tenant: str) -> bool:
    """Let the function work until the write of that number is its last; whether there was one."""
    left = [fatal]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise DiedError

    region.forget_environments()
    for _ in range(3):
        region.faults = {f"{name} done": count for name in WRITES}
        try:
            work(region, seconds=1)
        except DiedError:
            return True
        finally:
            region.faults = {}
            region.forget_environments()
        answer(region, tenant=tenant)
    return False


def put_by(region: Region, key: str, body: bytes) -> str:
    """Leave a result in the bucket, as a model does; its key."""
    aws("s3", HERE).put_object(Bucket=region.names.bucket(HERE), Key=key, Body=body)
    return key


def codes(region: Region, batch: str) -> list[str]:
    """What the error file says."""
    return [each["error"]["code"] for each in content(region, view(region, batch)["error_file_id"])]


def test_an_answer_that_no_file_can_hold_ends_no_other_batch(region: Region) -> None:
    """One model's nonsense would stop all batches of the region, every minute anew."""
    batch = begun(region, [line(0), line(1)])
    work(region)
    first, second = sorted(jobs(region))
    region.complete(first, key=put_by(region, "results/broken", b"{no json"))
    region.complete(second, key=put_by(region, "results/deep", b"[" * 5000 + b"]" * 5000))
    work(region)

    assert view(region, batch)["status"] == "completed"
    assert codes(region, batch) == ["output_unavailable"] * 2


def test_a_fault_in_one_batch_is_told_after_the_others_turns(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds our next mistake finds it for himself alone."""
    lost = begun(region, [line(0)], tenant="unlucky")
    region.sleep(1)
    batch = begun(region, [line(0)])
    cut = Cutting.cut

    def faulty(cutting: Cutting, batch: Batch) -> bool:
        if batch.tenant == "unlucky":
            raise KeyError("a mistake of ours")
        return cut(cutting, batch)

    monkeypatch.setattr(Cutting, "cut", faulty)
    with pytest.raises(KeyError):
        work(region)
    assert view(region, batch)["status"] == "in_progress"

    region.sleep(DAY_S + GRACE_MS / 1000)
    record = BatchRecords(aws("dynamodb"), region.names.ledger).get(lost)
    assert record is not None
    # As if it had been cut once: one that was not would just end.
    BatchRecords(aws("dynamodb"), region.names.ledger).change(record, total=1)
    with pytest.raises(KeyError):
        work(region)
    assert view(region, lost, tenant="unlucky")["status"] == "expired"


def test_a_batch_that_aws_refuses_to_bring_on_ends_at_last(region: Region) -> None:
    """An alarm rings for as long as it does not, and its client polls for as long."""
    batch = begun(region, [line(0)])
    work(region)
    answer(region)
    pieces = [key for _, key in region.objects() if key.startswith(f"batches/{batch}/")]
    for key in pieces:
        aws("s3").delete_object(Bucket=region.names.bucket(HERE), Key=key)
    region.sleep(DAY_S + GRACE_MS / 1000)
    work(region)
    assert view(region, batch)["status"] == "in_progress", "an outage is waited for"

    region.sleep((REFUSED_GRACE_MS - GRACE_MS) / 1000)
    work(region)

    assert pieces
    assert view(region, batch)["status"] == "expired"


def test_batches_that_come_to_nothing_are_told_and_waiting_is_no_standstill(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody looks at a function that runs every minute and is refused every time."""

    def said() -> list[float]:
        lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
        return [value for each in lines for value in each.get("BatchesGoOn", [])]

    said()
    work(region)
    assert said() == [1], "without batches"
    refused = begun(region, [line(0)], tenant="unlucky")
    begun(region, [line(0)])
    region.sleep(60)

    def refuse() -> None:
        if region.calls[-1][1]["Key"].startswith(("files/", f"batches/{refused}")):
            raise error("AccessDenied", "GetObject")

    region.faults = {"GetObject": refuse}
    work(region, seconds=1)
    assert said() == [1], "one turn that came to nothing"
    region.sleep(60)
    work(region, seconds=1)
    assert said() == [0]
    region.faults = {}
    region.sleep(60)
    work(region)
    assert set(said()) == {1}, "their jobs wait"
    region.faults = {"Query": refuse_all}
    with pytest.raises(ClientError):
        work(region)
    assert said() == []


def test_a_queue_that_takes_only_some_messages_is_told_and_makes_no_job_twice(
    region: Region, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQS answers such a request with 200: nothing else would tell of a batch that it stops."""
    batch = begun(region, [line(number) for number in range(3)])
    sqs = aws("sqs", HERE, SDK_DEFAULTS)
    send = sqs.send_message_batch

    def one(**params: Any) -> Any:
        *others, last = params["Entries"]
        failed = [
            {"Id": each["Id"], "SenderFault": False, "Code": "InternalError"} for each in others
        ]
        return {**send(**{**params, "Entries": [last]}), "Failed": failed}

    def none(**params: Any) -> Any:
        return {
            "Failed": [
                {"Id": each["Id"], "SenderFault": False, "Code": "InternalError"}
                for each in params["Entries"]
            ]
        }

    monkeypatch.setattr(sqs, "send_message_batch", one)
    work(region)
    assert len(jobs(region)) == 1
    monkeypatch.setattr(sqs, "send_message_batch", none)
    region.sleep(60)
    work(region)
    assert '"BatchesGoOn":[0.0]' in capsys.readouterr().out.replace(" ", "")
    monkeypatch.setattr(sqs, "send_message_batch", send)
    region.sleep(60)
    work(region)

    assert len(jobs(region)) == answer(region) == 3
    work(region)
    assert counts(region, batch) == (3, 3, 0)


def refuse_all() -> None:
    """What a region meets whose rights were taken away."""
    raise error("AccessDenied", "Query")


def test_batches_that_no_time_was_left_for_come_first_the_next_time(region: Region) -> None:
    """Else three busy batches would hold up all that were made after them."""
    tenants = [f"tenant-{number}" for number in range(4)]
    made = {tenant: begun(region, [line(0)], tenant=tenant) for tenant in tenants}
    region.faults = {"Invoke": lambda: region.sleep(30), "GetObject": lambda: region.sleep(30)}
    work(region, seconds=50)
    work(region, seconds=50)
    region.faults = {}

    states = [view(region, batch, tenant=tenant)["status"] for tenant, batch in made.items()]
    assert states == ["in_progress"] * 4


def test_what_cannot_be_read_just_now_is_waited_for_even_when_cancelled(region: Region) -> None:
    """A busy bucket must cost no answer that was paid for."""
    batch = begun(region, [line(0), line(1)])
    work(region)
    for job in sorted(jobs(region)):
        region.complete(job, key=put_by(region, f"results/{job}", b'{"data": []}'))
    region.ask("POST /v1/batches/{id}/cancel", job=batch)

    def refuse(params: Any) -> None:
        if params["Key"].startswith("results/"):
            raise error("SlowDown", "GetObject")

    region.faults = {"GetObject": lambda: refuse(region.calls[-1][1])}
    work(region)
    assert view(region, batch)["status"] == "cancelling"
    region.faults = {}
    work(region)

    assert (view(region, batch)["status"], counts(region, batch)) == ("cancelled", (2, 2, 0))


def test_a_region_that_gives_no_answer_is_asked_once_for_a_block(region: Region) -> None:
    """250 time-outs take longer than the function may run, and no batch would go on."""
    batch = begun(region, [line(n) for n in range(5)])
    work(region)
    for job in sorted(jobs(region)):
        region.complete(job, key=f"results/{job}")
    asked = []

    def refuse(params: Any) -> None:
        if params["Key"].startswith("results/"):
            asked.append(params["Key"])
            raise ConnectTimeoutError(endpoint_url="https://example.com")

    region.faults = {"GetObject": lambda: refuse(region.calls[-1][1])}
    region.sleep(DAY_S + PATIENCE_MS / 1000)
    work(region)

    assert view(region, batch)["status"] == "completed"
    assert codes(region, batch) == ["output_unavailable"] * 5
    assert len(asked) == 1


def test_a_forgotten_job_is_not_called_late(region: Region) -> None:
    """Where jobs are kept for an hour, some go before their block is collected."""
    batch = begun(region, [line(0), line(1)])
    work(region)
    first, second = sorted(jobs(region))
    region.complete(first, {"data": []})
    region.ledger.forget(first)
    region.complete(second, {"data": []})
    work(region)

    assert (view(region, batch)["status"], counts(region, batch)) == ("completed", (2, 1, 1))
    assert codes(region, batch) == ["job_forgotten"]


def test_a_new_environment_takes_no_count_back(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that draws a progress bar would see it shrink."""
    monkeypatch.setattr(lines, "LOOK_MAX", 2)
    batch = begun(region, [line(n) for n in range(4)])
    work(region)
    record = BatchRecords(aws("dynamodb"), region.names.ledger).get(batch)
    assert record is not None
    for number in (1, 2, 3):
        region.complete(record.job(number), {"data": []})
    work(region)
    region.forget_environments()
    work(region)
    region.complete(record.job(0), {"data": []})
    work(region)

    told = [
        int(params["ExpressionAttributeValues"][":completed"]["N"])
        for operation, params in region.calls
        if operation == "UpdateItem" and ":completed" in params["ExpressionAttributeValues"]
    ]
    assert told == sorted(told)
    assert counts(region, batch) == (4, 4, 0)


def test_who_takes_a_batch_over_at_its_end_names_the_files_that_it_needs(region: Region) -> None:
    """The first region had no answer to put into one; this one has."""
    batch = begun(region, [line(0)])
    work(region)
    (job,) = jobs(region)
    region.complete(job, {"data": []})
    records = BatchRecords(aws("dynamodb"), region.names.ledger)
    record = records.get(batch)
    assert record is not None
    error_file = "file-" + "a" * 26
    left = records.change(
        record,
        status=BatchStatus.FINALIZING,
        finalizing_ms=1,
        error_file=error_file,
        **RESTARTED,
    )
    assert left.won
    work(region)

    told = view(region, batch)
    assert (told["status"], told["error_file_id"]) == ("completed", error_file)
    assert len(content(region, told["output_file_id"])) == 1
