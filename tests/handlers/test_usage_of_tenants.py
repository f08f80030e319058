"""What tenants use is counted by whoever ends their jobs, and can be asked for anywhere."""

import json
from typing import Any

import pytest

from lambdas.adapters.usage import UsageCounters
from lambdas.domain.job import inference_id
from lambdas.domain.release import RELEASE_TENANT
from lambdas.handlers import complete
from tests.handlers.region import HERE, MODEL, NEXT, DiedError, Region, aws, error

DAY = "2023-11-14"
ANSWER = {"usage": {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}}


def notify(region: Region, *jobs: str, answer: Any = ANSWER, **said: Any) -> Any:
    """Let complete hear of attempts' ends, in one batch."""
    records = [
        {
            "messageId": job,
            "body": json.dumps(
                {
                    "invocationStatus": "Completed",
                    "inferenceId": inference_id(job, 1),
                    "responseBody": {"content": json.dumps(answer)},
                    **said,
                }
            ),
        }
        for job in jobs
    ]
    return region.handler(complete)({"Records": records}, None)


def running(region: Region, **fields: Any) -> str:
    """A job at work."""
    job = region.submitted(**fields)
    region.start(job)
    return job


def counters(region: Region, tenant: str = "acme", *, where: str = HERE) -> dict[str, int]:
    """What was counted of today."""
    gate = UsageCounters(aws("dynamodb"), region.names.gate, where)
    return dict(gate.read(tenant, [DAY])).get(DAY, {})


def writes(region: Region) -> int:
    """How often usage was written."""
    return sum(
        operation == "UpdateItem" and params["Key"]["pk"]["S"].startswith("usage#")
        for operation, params in region.calls
    )


def test_a_batch_of_answers_is_counted_in_one_write(region: Region) -> None:
    """A write for each job would cost as much as its start."""
    jobs = [running(region) for _ in range(5)]
    region.sleep(2)

    notify(region, *jobs)

    usage = region.ask("GET /v1/usage").json
    (row,) = usage["data"]
    model = region.policy.models[MODEL]
    assert writes(region) == 1
    assert (row["day"], row["model"], row["version"]) == (DAY, MODEL, "v1")
    assert row["jobs"] == {"completed": 5, "failed": 0, "refused": 0, "cancelled": 0, "expired": 0}
    assert row["tokens"] == {"input": 150, "output": 60}
    assert row["gpu_s"] == pytest.approx(5 * 2 / model.concurrency, abs=0.01)
    price = model.usd_per_hour["v1"]
    assert row["cost_usd"] == pytest.approx(row["gpu_s"] * price / 3600, rel=0.01)
    assert usage["total"]["jobs"]["completed"] == 5
    assert usage["missing_regions"] == []


def test_a_notification_that_comes_again_is_not_counted_again(region: Region) -> None:
    """SNS and SQS deliver at least once; a tenant pays once."""
    job = running(region)
    region.sleep(1)
    for _ in range(3):
        notify(region, job)

    assert counters(region)[f"{MODEL}/v1/completed"] == 1
    assert counters(region)["tokens"] == 42
    assert writes(region) == 1


@pytest.mark.parametrize("done", ["", " done"])
def test_dying_before_the_count_loses_it_and_doubles_nothing(region: Region, done: str) -> None:
    """What a crash may cost is one batch's count, and never a second bill."""
    job = running(region)
    region.sleep(1)
    number = sum(operation == "UpdateItem" for operation in region.operations())

    def die() -> None:
        raise DiedError

    # The finish, the slot, then the count.
    region.faults[f"UpdateItem{done}#{number + 3}"] = die
    with pytest.raises(DiedError):
        notify(region, job)
    region.faults.clear()
    region.forget_environments()
    notify(region, job)

    assert region.job(job).status == "completed"
    assert counters(region).get(f"{MODEL}/v1/completed", 0) == int(bool(done))


def test_a_gate_that_does_not_count_stops_no_job(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """A statistic is not worth a result that is delivered twice."""
    job = running(region)
    number = sum(operation == "UpdateItem" for operation in region.operations())

    def throttle() -> None:
        raise error("ThrottlingException", "UpdateItem")

    region.faults[f"UpdateItem#{number + 3}"] = throttle
    region.sleep(1)

    assert notify(region, job) == {"batchItemFailures": []}
    assert counters(region) == {}
    lost = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "lost" in line]
    assert lost[0]["lost"][f"{MODEL}/v1/completed"] == 1


def test_a_write_that_is_sent_twice_counts_once(region: Region) -> None:
    """The SDK repeats a write that timed out, although it may have happened."""
    gate = UsageCounters(aws("dynamodb"), region.names.gate, HERE)
    gate.add("acme", DAY, {"m/v/failed": 1})
    sent = region.client("dynamodb", region_name=HERE, config=None)
    UsageCounters(sent, region.names.gate, HERE).add("acme", DAY, {"m/v/failed": 1})
    _, again = region.calls[-1]

    with pytest.raises(aws("dynamodb").exceptions.ConditionalCheckFailedException):
        aws("dynamodb").update_item(**again)

    assert counters(region) == {"m/v/failed": 2}


def test_every_end_is_counted_and_so_is_work_that_came_to_nothing(region: Region) -> None:
    """GPU time of failed attempts is paid for; whoever looks for it must find it."""
    model = region.policy.models[MODEL]
    region.configure(attempts_max=1)
    failed, cancelled, late = running(region), running(region), region.submitted(deadline_s=1)
    region.sleep(2)
    notify(region, failed, invocationStatus="Failed", failureReason="no", responseBody=None)
    region.ask("POST /v1/jobs/{id}/cancel", job=cancelled)
    assert region.ask("GET /v1/jobs/{id}", job=late).json["status"] == "expired"

    found = counters(region)

    part_ms = 2000 / model.concurrency
    assert found[f"{MODEL}/v1/failed"] == 1
    assert found[f"{MODEL}/v1/cancelled"] == 1
    assert found[f"{MODEL}/-/expired"] == 1
    assert found[f"{MODEL}/v1/gpu_ms"] == pytest.approx(2 * part_ms, abs=2)
    assert f"{MODEL}/v1/completed" not in found


def test_a_failed_attempt_that_is_tried_again_counts_its_work_and_no_job(region: Region) -> None:
    """The job has not ended: counted now, it would be counted twice."""
    job = running(region)
    region.sleep(2)
    notify(region, job, invocationStatus="Failed", failureReason="no", responseBody=None)

    found = counters(region)
    assert region.job(job).status == "queued"
    assert set(found) == {f"{MODEL}/v1/gpu_ms", f"{MODEL}/v1/nano_usd"}


def test_smoke_jobs_are_nobodys(region: Region) -> None:
    """A release is the operator's, and costs no write a job."""
    job = running(region)
    aws("dynamodb").update_item(
        TableName=region.names.ledger,
        Key={"pk": {"S": f"job#{job}"}},
        UpdateExpression="SET tenant = :release",
        ExpressionAttributeValues={":release": {"S": RELEASE_TENANT}},
    )
    notify(region, job)

    assert writes(region) == 0


def test_regions_are_added_up_and_a_lost_one_is_named(region: Region) -> None:
    """Too small a number that looks whole is worse than one that says what is missing."""
    for where, number in ((HERE, 1), (NEXT, 2)):
        gate = UsageCounters(aws("dynamodb"), region.names.gate, where)
        gate.add("acme", DAY, {f"{MODEL}/v1/completed": number})
    whole = region.ask("GET /v1/usage").json

    def away() -> None:
        raise error("InternalServerError", "BatchGetItem")

    number = len([each for each in region.operations() if each == "BatchGetItem"])
    region.faults[f"BatchGetItem#{number + 2}"] = away
    partly = region.ask("GET /v1/usage").json
    region.faults["BatchGetItem"] = away
    nothing = region.ask("GET /v1/usage")

    assert whole["total"]["jobs"]["completed"] == 3
    assert (partly["total"]["jobs"]["completed"], partly["missing_regions"]) == (1, [NEXT])
    assert (nothing.status, nothing.error["code"]) == (503, "temporarily_unavailable")


def test_usage_is_the_tenants_own(region: Region) -> None:
    """Another tenant's numbers are its business."""
    notify(region, running(region))

    assert region.ask("GET /v1/usage", tenant="other").json["data"] == []
    assert len(region.ask("GET /v1/usage").json["data"]) == 1


def test_usage_can_be_asked_by_model_and_day(region: Region) -> None:
    """A bill is of a month and a model."""
    notify(region, running(region))

    def asked(**query: str) -> Any:
        return region.ask("GET /v1/usage", query=query)

    assert len(asked(model=MODEL, **{"from": DAY, "to": DAY}).json["data"]) == 1
    assert asked(model="chat").json["data"] == []
    assert asked(to="2023-11-13").json["data"] == []
    assert asked(**{"from": "2023-01-01"}).error["param"] == "from"
    assert asked(to="today").error["param"] == "to"
    assert asked(model="gpt").error["param"] == "model"
    assert region.ask("GET /v1/usage", found={"scopes": "jobs:read"}).status == 403
    assert region.ask("GET /v1/usage", found={"scopes": "usage:read"}).status == 200


# ---- quotas


def quota(tokens: int) -> dict[str, str]:
    """What the authorizer finds of a tenant with a quota."""
    return {"tokens_per_day": str(tokens)}


def submit(region: Region, found: dict[str, str]) -> Any:
    """Submit a job as a tenant with a quota."""
    body = {"model": MODEL, "input": "text"}
    return region.ask("POST /v1/jobs", body=body, found=found)


def test_a_tenant_whose_tokens_are_used_up_waits_for_midnight(region: Region) -> None:
    """A loop that runs wild must not spend a month's tokens in a night."""
    shares = len(region.policy.regions)
    notify(region, running(region))  # 42 tokens
    left = submit(region, quota(43 * shares))
    region.sleep(6)

    refused = submit(region, quota(42 * shares))

    assert left.status == 202
    assert (refused.status, refused.error["code"]) == (429, "token_quota")
    midnight_s = 86_400 - int(region.now_s) % 86_400
    assert int(refused.headers["Retry-After"]) == midnight_s
    assert len(region.messages()) == 2, "a message of a refused job"
    region.sleep(midnight_s)
    region.see()
    assert submit(region, quota(42 * shares)).status == 202


def test_a_quota_costs_one_read_in_five_seconds_and_none_without(region: Region) -> None:
    """Tenants without a quota must not pay for those that have one."""

    def reads() -> int:
        return sum(
            operation == "GetItem" and params["Key"]["pk"]["S"].startswith("usage#")
            for operation, params in region.calls
        )

    for _ in range(3):
        region.submitted()
    without = reads()
    for _ in range(3):
        submit(region, quota(100))
    region.sleep(5)
    submit(region, quota(100))

    assert (without, reads()) == (0, 2)


# ---- masking


def test_masked_metadata_is_kept_nowhere(
    region: Region, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a tenant may not keep must not lie in a table, a log or a copy for a year."""
    rules = json.dumps({"email": "mask", "ssn": "drop"})
    metadata = {"email": "private@example.com", "ssn": "078-05-1120", "run": "7"}
    body = {"model": MODEL, "input": "text", "metadata": metadata}

    reply = region.ask("POST /v1/jobs", body=body, found={"metadata_mask": rules})

    assert reply.json["metadata"] == {"email": "***", "run": "7"}
    stored = repr(aws("dynamodb").scan(TableName=region.names.ledger)["Items"])
    assert "private@example.com" not in stored
    assert "078-05-1120" not in stored
    logged = capsys.readouterr().out
    assert "private@example.com" not in logged
    assert "078-05-1120" not in logged


def test_a_job_whose_whole_metadata_is_dropped_has_none(region: Region) -> None:
    """An empty field is no field."""
    body = {"model": MODEL, "input": 1, "metadata": {"ssn": "1"}}
    found = {"metadata_mask": '{"ssn": "drop"}'}

    job = region.ask("POST /v1/jobs", body=body, found=found).json["id"]

    assert region.job(job).metadata is None


def test_what_a_model_used_can_be_asked_for_when_it_is_gone(region: Region) -> None:
    """The bill of last month comes after the model was taken out."""
    gate = UsageCounters(aws("dynamodb"), region.names.gate, HERE)
    gate.add("acme", DAY, {"retired/v1/completed": 3})

    reply = region.ask("GET /v1/usage", query={"model": "retired"})
    unknown = region.ask("GET /v1/usage", query={"model": "never-there"})

    assert reply.json["total"]["jobs"]["completed"] == 3
    assert (unknown.status, unknown.error["code"]) == (400, "model_not_found")
