"""Messages and notifications as AWS delivers them: twice, late, never, and foreign ones."""

import json
from collections import Counter
from typing import Any

import pytest

from spillway.twin.containers import Answer
from tests.end_to_end.world import RECOVERY_S, Script, Tenant, World, noise

LEASE_S = 130.0
"""Request TTL 60 s, invocation 10 s, margin 60 s."""

SWEEP_S = 60
"""Between two looks at leases that ran out."""


@pytest.fixture(scope="module")
def client(module_world: World) -> Tenant:
    """One tenant for all."""
    return module_world.tenant()


def committed(world: World, job: str) -> int:
    """How often the ledger took a result of this job."""
    return sum(
        call.params["Key"]["pk"]["S"] == f"job#{job}"
        and call.params["ExpressionAttributeValues"][":target"]["S"] == "completed"
        and call.status == 200
        for call in world.calls.of(service="dynamodb", operation="UpdateItem")
        if ":target" in call.params.get("ExpressionAttributeValues", {})
    )


def invocations(world: World, job: str) -> list[str]:
    """Attempts that were handed to the endpoint, in order."""
    return [
        call.params["InferenceId"].partition(".")[2]
        for call in world.calls.of(operation="InvokeEndpointAsync")
        if call.params["InferenceId"].startswith(job)
    ]


def notification(job: str, attempt: int, body: Any = None, **changes: Any) -> dict[str, Any]:
    """What SageMaker says of an invocation."""
    said: dict[str, Any] = {
        "invocationStatus": "Completed",
        "inferenceId": f"{job}.{attempt}",
        "responseBody": {"content": json.dumps(body)},
    }
    return said | changes


def notify(world: World, *notifications: Any) -> None:
    """Put notifications into the results queue."""
    url = world.names.queue_url(world.region, world.names.results)
    for said in notifications:
        body = said if isinstance(said, str) else json.dumps(said)
        world.aws("sqs").send_message(QueueUrl=url, MessageBody=body)


def mute(world: World) -> None:
    """Let every notification be lost."""
    world.fail("die_before", function="complete", number=1, times=None)


# ---- delivered twice, late, never


def test_everything_delivered_twice_is_still_one_result(world: World, client: Tenant) -> None:
    """A second result would be a second bill, and another answer than the one already read."""
    world.twin.sqs.duplicates = 0.7
    world.model("small").answers(Script())
    jobs = {f"twice-{n}": client.submit(input={"name": f"twice-{n}"}) for n in range(8)}

    world.run_for(30)
    world.twin.sqs.duplicates = 0.0
    world.assert_rest()

    for name, job in jobs.items():
        view = client.view(job)
        assert (view["status"], view["output"], view["attempt"]) == (
            "completed",
            {"answer": name},
            1,
        )
        assert committed(world, job) == 1


def test_a_notification_that_comes_after_the_retry_changes_nothing(
    world: World, client: Tenant
) -> None:
    """The answer of an attempt that was given up must not overwrite its successor's."""
    script = Script({"late": [RuntimeError("passing"), {"answer": 2}]})
    world.model("small").answers(script)
    job = client.submit(input={"name": "late"})
    world.until(lambda: client.view(job)["status"] == "completed")

    notify(world, notification(job, 1, {"answer": "late"}))
    notify(world, notification(job, 1, invocationStatus="Failed", failureReason="late"))
    notify(world, notification(job, 2, {"answer": "again"}))
    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["attempt"], view["output"]) == ("completed", 2, {"answer": 2})
    assert committed(world, job) == 1


def test_a_late_answer_of_an_earlier_attempt_is_not_taken_for_the_running_one(
    world: World, client: Tenant
) -> None:
    """Only the attempt that the ledger waits for may end the job, or fencing means nothing."""
    world.model("small").answers(
        Script({"fenced": [RuntimeError("passing"), {"answer": 2}]}),
        service_s=5,
    )
    job = client.submit(input={"name": "fenced"})
    world.until(
        lambda: (client.view(job)["status"], client.view(job)["attempt"]) == ("in_progress", 2)
    )

    notify(world, notification(job, 1, {"answer": "of attempt 1"}))
    world.run_for(2)

    assert client.view(job)["status"] == "in_progress"
    world.assert_rest()
    assert client.view(job)["output"] == {"answer": 2}


def test_a_lost_notification_costs_a_lease_and_no_second_run(world: World, client: Tenant) -> None:
    """The GPU's work is done and paid: its answer is taken from the bucket."""
    script = Script()
    world.model("small").answers(script)
    mute(world)
    job = client.submit(input={"name": "unheard"})
    world.run_for(LEASE_S - 10)
    world.twin.hook.rules.clear()
    # The notification itself is gone as well.
    world.aws("sqs").purge_queue(QueueUrl=world.names.queue_url(world.region, world.names.results))
    assert client.view(job)["status"] == "in_progress"

    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["attempt"]) == ("completed", 1)
    assert view["output"] == {"answer": "unheard"}
    assert script.runs["unheard"] == 1


def test_an_attempt_that_left_nothing_is_tried_again_after_its_lease(
    world: World, client: Tenant
) -> None:
    """An instance that vanishes says nothing and leaves nothing."""
    world.model("small").answers(Script())
    # SageMaker takes the request and forgets it.
    world.fail("empty", function="dispatch", operation="InvokeEndpointAsync")
    job = client.submit(input={"name": "forgotten"})

    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["attempt"]) == ("completed", 2)
    assert view["timings"]["queue_s"] < LEASE_S + 90


def test_notifications_of_nobodys_attempt_are_dropped_with_one_line(
    world: World, client: Tenant
) -> None:
    """Anything else on the topic would be tried a hundred times and hide the real trouble."""
    bad: list[Any] = [
        "not json",
        "[]",
        "{}",
        {"invocationStatus": "Completed", "inferenceId": "somebody-elses"},
        {"invocationStatus": "Completed", "inferenceId": "job_x.1"},
        {"invocationStatus": "Completed", "inferenceId": f"job_{'a' * 26}.0"},
        notification(f"job_{'b' * 26}", 1, {"of": "nobody"}),
        notification(f"job_{'b' * 26}", 1, invocationStatus="Failed", failureReason="of nobody"),
    ]
    mark = world.log_mark()

    notify(world, *bad)
    world.assert_rest()

    lines = [
        line
        for line in world.log_lines(mark)
        if line["function"] == world.names.function("complete") and "message" in line
    ]
    assert len(lines) == len(bad)
    assert not [line for line in lines if line.get("level") == "ERROR"]


# ---- tier queues

JOB = f"job_{'c' * 26}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("not json", id="not-json"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="empty"),
        pytest.param({"job": 5, "attempt": 1}, id="job-is-a-number"),
        pytest.param({"job": "", "attempt": 1}, id="job-is-empty"),
        pytest.param({"job": "x" * 3000, "attempt": 1}, id="job-is-long"),
        pytest.param({"job": "job_#", "attempt": 1}, id="job-is-no-id"),
        pytest.param({"job": JOB, "attempt": "1"}, id="attempt-is-a-text"),
        pytest.param({"job": JOB, "attempt": True}, id="attempt-is-a-boolean"),
        pytest.param({"job": JOB, "attempt": 0}, id="attempt-is-zero"),
        pytest.param({"job": JOB, "attempt": 10**60}, id="attempt-is-huge"),
        pytest.param({"job": JOB, "attempt": 1}, id="unknown-job"),
    ],
)
def test_a_poisonous_message_is_dropped_with_one_line_and_stops_nobody(
    world: World, client: Tenant, body: Any
) -> None:
    """One bad message must neither stop the jobs behind it nor come back for days."""
    world.model("small").answers(Script())
    mark = world.log_mark()
    world.put_message(body)
    started_s = world.twin.scheduler.now()

    job = client.submit(input={"name": "behind"})
    world.until(lambda: client.view(job)["status"] == "completed", every_s=0.5)

    assert world.twin.scheduler.now() - started_s < 20
    world.assert_rest()
    dropped = [line for line in world.log_lines(mark) if "message dropped" in str(line)]
    assert len(dropped) == 1


def test_a_message_of_an_ended_job_starts_nothing(world: World, client: Tenant) -> None:
    """A repeated message must not run a finished job again on the GPU."""
    script = Script()
    world.model("small").answers(script)
    job = client.submit(input={"name": "ended"})
    world.assert_rest()
    mark = world.log_mark()

    world.put_message({"format": 1, "job": job, "attempt": 1})
    world.put_message({"format": 1, "job": job, "attempt": 2})
    world.assert_rest()

    assert client.view(job)["output"] == {"answer": "ended"}
    assert (script.runs["ended"], invocations(world, job)) == (1, ["1"])
    dropped = [line for line in world.log_lines(mark) if "message dropped" in str(line)]
    assert len(dropped) == 2


def test_a_second_message_of_a_running_attempt_starts_nothing(world: World, client: Tenant) -> None:
    """Two messages of one attempt, such as a re-sent dead letter, are one run."""
    script = Script()
    world.model("small").answers(script, service_s=9)
    job = client.submit(input={"name": "running"})
    world.until(lambda: client.view(job)["status"] == "in_progress")

    world.put_message({"format": 1, "job": job, "attempt": 1})
    world.assert_rest()

    assert (script.runs["running"], invocations(world, job)) == (1, ["1"])
    assert client.view(job)["attempt"] == 1


def test_a_message_for_another_regions_job_starts_nothing(world: World, client: Tenant) -> None:
    """A job that was moved away must not run in the region that lost it."""
    script = Script()
    world.model("small").answers(script, service_s=9)
    hold = [client.submit(input={"name": "hold"}) for _ in range(4)]
    job = client.submit(input={"name": "moved"})
    world.run_for(1)
    assert client.view(job)["status"] == "queued"
    client_db = world.aws("dynamodb")
    for owner in ("us-west-2", "us-east-1"):
        client_db.update_item(
            TableName=world.names.ledger,
            Key={"pk": {"S": f"job#{job}"}},
            UpdateExpression="SET #owner = :owner, live = :live",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={
                ":owner": {"S": owner},
                ":live": {"S": f"{owner}#small"},
            },
        )
        if owner == "us-west-2":
            world.run_for(60)
            assert script.runs["moved"] == 0
    # It came back, and its message with it.
    world.put_message({"format": 1, "job": job, "attempt": 1})
    world.assert_rest()
    assert script.runs["moved"] == 1
    assert all(client.view(each)["status"] == "completed" for each in [*hold, job])


def test_messages_of_a_later_format_are_read(world: World, client: Tenant) -> None:
    """During a deployment old functions meet messages of new ones."""
    world.model("small").answers(Script())
    job = client.submit(input={"name": "later"})
    world.assert_rest()
    mark = world.log_mark()

    world.put_message({"format": 2, "job": job, "attempt": 1, "colour": "blue"})
    world.assert_rest()

    (line,) = [line for line in world.log_lines(mark) if "message dropped" in str(line)]
    assert "stale" in str(line)


def test_a_dead_letter_of_a_live_job_is_sent_again(world: World, client: Tenant) -> None:
    """A job whose message was received too often would otherwise wait for its deadline."""
    script = Script()
    world.model("small").answers(script)
    world.fail("empty", function="dispatch", operation="ReceiveMessage", times=None)
    job = client.submit(input={"name": "dead"})
    ended = client.submit(input={"name": "cancelled"})
    client.client().post(f"/v1/jobs/{ended}/cancel")
    world.aws("sqs").purge_queue(QueueUrl=world.queue_url())
    for each in (job, ended, f"job_{'d' * 26}"):
        world.put_message({"format": 1, "job": each, "attempt": 1}, dead=True)
    world.put_message("not json", dead=True)
    world.twin.hook.rules.clear()
    assert client.view(job)["status"] == "queued"

    world.assert_rest()

    assert client.view(job)["status"] == "completed"
    assert script.runs == Counter({"dead": 1})


# ---- what clients take back


def test_a_cancelled_job_in_the_queue_never_reaches_the_model(world: World, client: Tenant) -> None:
    """Whoever cancels in time is not billed for a run."""
    script = Script()
    world.model("small").answers(script, service_s=9)
    for _ in range(4):
        client.submit(input={"name": "hold"})
    job = client.submit(input={"name": "unwanted"})
    world.run_for(1)

    answer = client.client().post(f"/v1/jobs/{job}/cancel")
    world.assert_rest()

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert script.runs["unwanted"] == 0
    assert client.view(job)["status"] == "cancelled"


@pytest.mark.parametrize("end", ["answers", "fails", "is not heard of"])
def test_a_job_cancelled_while_it_runs_stays_cancelled(
    world: World, client: Tenant, end: str
) -> None:
    """A client that was told `cancelled` has moved on; its slot must come free all the same."""
    outcome = RuntimeError("too late") if end == "fails" else {"answer": "too late"}
    world.model("small").answers(Script({"running": [outcome]}), service_s=9)
    job = client.submit(input={"name": "running"})
    world.until(lambda: client.view(job)["status"] == "in_progress")

    assert client.client().post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    if end == "is not heard of":
        mute(world)
        world.run_for(15)
        world.twin.hook.rules.clear()
        url = world.names.queue_url(world.region, world.names.results)
        world.aws("sqs").purge_queue(QueueUrl=url)
    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["output"], view["output_url"]) == ("cancelled", None, None)
    assert committed(world, job) == 0


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_an_erased_job_never_shows_its_result(world: World, client: Tenant, large: bool) -> None:
    """Whoever erases a prompt has a right to it, also when the model is at work on it."""
    answer = {"secret": noise(200_000 if large else 10)}
    world.model("small").answers(Script({"private": [answer]}), service_s=9)
    text = noise(50_000 if large else 10)
    running = client.submit(key=f"erased-{large}", input={"name": "private", "noise": text})
    world.until(lambda: client.view(running)["status"] == "in_progress")

    erased = client.client().delete(f"/v1/jobs/{running}")
    world.assert_rest()

    assert erased.json() == {"id": running, "object": "job", "deleted": True}
    assert client.client().get(f"/v1/jobs/{running}").status_code == 404
    assert running not in client.client().get("/v1/jobs").text
    item = world.ledger_item(running)
    assert not {"input", "output", "input_key", "output_key", "metadata", "error"} & set(item)
    left = world.aws("s3").list_objects_v2(Bucket=world.names.bucket(world.region))
    assert not [each["Key"] for each in left.get("Contents", ()) if running in each["Key"]]


# ---- models that do not answer


def test_a_model_that_keeps_failing_fails_the_job_with_its_own_words(
    world: World, client: Tenant
) -> None:
    """Without the model's message its user cannot know what to change."""
    words = "CUDA out of memory: 17 tokens too many. " + "x" * 5000
    script = Script({"bad": [RuntimeError(words)]})
    world.model("small").answers(script)
    job = client.submit(input={"name": "bad"})

    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["attempt"], script.runs["bad"]) == ("failed", 3, 3)
    assert view["output"] is None
    assert view["error"]["code"] == "model_error"
    assert view["error"]["message"].startswith("CUDA out of memory: 17 tokens too many.")
    assert len(view["error"]["message"]) <= 500


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b'{"error": "bad prompt"}', "bad prompt"),
        (b'{"error": {"message": "bad prompt", "code": 7}}', "bad prompt"),
        (b'{"message": "bad prompt"}', "bad prompt"),
        (b'{"detail": "bad prompt"}', "bad prompt"),
        (b"bad prompt", "bad prompt"),
        (b"\xff\xfe\x00", "model"),
        (b"", "model"),
    ],
)
def test_whatever_shape_the_models_error_has_its_message_is_found(
    world: World, client: Tenant, said: bytes, shown: str
) -> None:
    """Every model server has its own idea of an error."""
    world.model("small").answers(lambda request: Answer(status=500, body=said))
    job = client.submit()

    world.assert_rest()

    assert shown in client.view(job)["error"]["message"]


def test_a_models_error_is_told_also_when_it_is_too_long_for_its_notification(
    world: World, client: Tenant
) -> None:
    """A server that answers with its whole trace has said what is wrong, too."""
    said = json.dumps({"error": "bad prompt", "trace": noise(200_000)}).encode()
    world.model("small").answers(lambda request: Answer(status=500, body=said))
    job = client.submit()

    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["error"]["message"]) == ("failed", "bad prompt")
    assert client.client().delete(f"/v1/jobs/{job}").status_code == 200
    left = world.aws("s3").list_objects_v2(Bucket=world.names.bucket(world.region))
    assert not [each["Key"] for each in left.get("Contents", ()) if job in each["Key"]]


@pytest.mark.parametrize(
    "secret",
    [
        "sk-spillway-" + "Ab1_" * 10 + "xyz",
        "hf_" + "aB3" * 12,
        "AKIA" + "ABCDEFGH23456789",
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
        "https://b.s3.amazonaws.com/k?X-Amz-Signature=0123456789abcdef&X-Amz-Date=1",
    ],
)
def test_secrets_in_a_models_error_are_not_passed_on(
    world: World, client: Tenant, secret: str
) -> None:
    """A server that quotes its environment would hand its owner's keys to every tenant."""
    world.model("small").answers(
        Script({"leak": [RuntimeError(f"cannot load with {secret} today")]})
    )
    job = client.submit(input={"name": "leak"})

    world.assert_rest()

    message = client.view(job)["error"]["message"]
    assert message.startswith("cannot load with")
    for part in secret.replace("=", " ").replace("&", " ").split():
        assert part.startswith(("Bearer", "https://")) or part not in message


@pytest.mark.parametrize(
    "answer", [b"<html>busy</html>", b"", b"{", b'{"a": NaN}', b'{"a": 1e999}', b"\xff"]
)
def test_an_answer_that_is_not_json_is_a_failure(
    world: World, client: Tenant, answer: bytes
) -> None:
    """Half a document must never be called a result."""
    script = Script({"html": [answer]})
    world.model("small").answers(script)
    job = client.submit(input={"name": "html"})

    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["error"]["code"]) == ("failed", "invalid_output")
    assert script.runs["html"] == 3


def test_a_model_that_takes_too_long_is_retried_then_failed(world: World, client: Tenant) -> None:
    """A job that hangs must not hold its slot for ever."""
    script = Script()
    world.model("small").answers(script, service_s=600)
    job = client.submit(input={"name": "slow"})

    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["attempt"]) == ("failed", 3)
    assert "timed out" in view["error"]["message"]


def test_a_failure_that_passed_is_not_shown_with_the_result(world: World, client: Tenant) -> None:
    """Clients that look for `error` first would throw a good result away."""
    world.model("small").answers(Script({"once": [RuntimeError("passing"), {"fine": True}]}))
    job = client.submit(input={"name": "once"})

    world.assert_rest()

    view = client.view(job)
    assert (view["status"], view["output"], view["error"]) == ("completed", {"fine": True}, None)


def test_a_job_past_its_deadline_expires_without_the_gpu(world: World, client: Tenant) -> None:
    """A late answer to an urgent question is wasted GPU time."""
    script = Script()
    world.model("small").answers(script, service_s=9)
    for _ in range(6):
        client.submit(input={"name": "hold"})
    late = client.submit(input={"name": "late"}, deadline_s=5)
    cap_s = world.twin.scheduler.now() + 5

    world.until(lambda: world.twin.scheduler.now() > cap_s)
    seen = client.view(late)
    world.assert_rest(RECOVERY_S)

    assert (seen["status"], seen["error"]["code"]) == ("expired", "deadline_exceeded")
    assert client.view(late)["status"] == "expired"
    assert script.runs["late"] == 0


def test_a_running_job_is_bounded_by_its_models_timeout(world: World, client: Tenant) -> None:
    """A model that hangs must not hold its slot for the six days that its job may wait."""
    model = world.deployment.models["small"]
    world.model("small").answers(Script(), service_s=100_000)
    before = len(world.calls)
    job = client.submit(input={"name": "hangs"}, deadline_s=518_400)
    world.assert_rest(RECOVERY_S)

    view = client.view(job)
    assert (view["status"], view["attempt"]) == ("failed", model.attempts_max)
    asked = [
        call.params
        for call in list(world.calls)[before:]
        if call.operation == "InvokeEndpointAsync" and call.params["InferenceId"].startswith(job)
    ]
    assert len(asked) == model.attempts_max
    assert {each["InvocationTimeoutSeconds"] for each in asked} == {model.invocation_timeout_s}
    assert {each["RequestTTLSeconds"] for each in asked} == {model.request_ttl_s}
    longest_s = model.request_ttl_s + model.invocation_timeout_s + 60 + SWEEP_S
    assert view["timings"]["model_s"] <= longest_s
