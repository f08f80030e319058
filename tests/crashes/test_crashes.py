"""A function may die before or after any AWS call: nothing is lost and nothing is done twice.

Each case kills one execution at one call, lets the client repeat its request with its
Idempotency-Key, lets time pass, and then looks from outside: the API's answers, the ledger, the
gate and the queues.
"""

from collections import Counter
from typing import Any

import httpx
import pytest

from spillway.testing import Stacks

CALLS = {
    # What each function calls for one job, in order. A test holds the lists against a real run.
    "submit": [
        "dynamodb GetItem",
        "dynamodb UpdateItem",
        "dynamodb GetItem",
        "sqs SendMessage",
        "dynamodb PutItem",
        "lambda Invoke",
    ],
    "dispatch": [
        "dynamodb GetItem",
        "dynamodb UpdateItem",
        "sqs ReceiveMessage",
        "dynamodb UpdateItem",
        "sagemaker-runtime InvokeEndpointAsync",
        "sqs DeleteMessageBatch",
    ],
    "complete": [
        "dynamodb UpdateItem",
        "dynamodb UpdateItem",
        "dynamodb UpdateItem",  # what the job used
    ],
}
MOMENTS = [
    # Each call of the others is one of a job with everything, too: end_to_end/test_survival.py.
    ("complete", 1, "before"),
    *(("complete", number, "after") for number in range(1, len(CALLS["complete"]) + 1)),
]
UNANSWERED = {("complete", 1, "after")}
"""Where the one write that commits the result takes effect and nobody lives to hear of it."""
READY_S = 20
"""The instance has warmed up, and a beat has seen it."""
RECOVERY_S = 600
"""Redelivery, then a lease, then a sweep: the longest way back."""


def submit(stacks: Stacks, key: str, **changes: Any) -> httpx.Response:
    """Submit a job as a careful client does: again with the same key while the answer is 5xx."""
    client = stacks.http_client()
    body = {"model": "small", "tier": "interactive", "input": {"input": f"text of {key}"}}
    body |= changes
    for _ in range(4):
        answer = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        if answer.status_code < 500:
            return answer
    raise AssertionError("four times 5xx")


def gate_slots(stacks: Stacks) -> list[str]:
    """Tokens of the slots in use."""
    client = stacks.twin.operator("us-east-1").client("dynamodb")
    item = client.get_item(
        TableName=stacks.deployment.names.gate, Key={"pk": {"S": "model#small"}}
    ).get("Item", {})
    return list(item.get("used", {}).get("SS", []))


def queued_messages(stacks: Stacks) -> int:
    """Messages in the tier queues and their dead letters, visible or not."""
    names, total = stacks.deployment.names, 0
    for tier in ("interactive", "standard", "batch"):
        for name in (names.tier_queue("small", tier), names.tier_dead_letters("small", tier)):
            queue = stacks.twin.sqs.queue(f"arn:aws:sqs:us-east-1:{names.account}:{name}")
            total += queue.approximate_number_of_messages
            total += queue.approximate_number_of_messages_delayed
            total += queue.approximate_number_of_messages_not_visible
    return total


def results_committed(stacks: Stacks, job: str) -> int:
    """How often complete was told that the ledger has this job's result from it."""
    updates = stacks.calls.of(
        function=stacks.deployment.names.function("complete"),
        service="dynamodb",
        operation="UpdateItem",
    )
    return sum(
        call.params["Key"]["pk"]["S"] == f"job#{job}" and call.status == 200 for call in updates
    )


def assert_done_once(stacks: Stacks, job: str, key: str) -> dict[str, Any]:
    """The job is completed with its own result, once, and leaves nothing behind."""
    client = stacks.http_client()
    view = client.get(f"/v1/jobs/{job}").json()
    assert view["status"] == "completed", view
    assert view["output"] == {"echo": {"input": f"text of {key}"}}
    scheduler = stacks.twin.scheduler
    assert scheduler.run_until_true(lambda: not gate_slots(stacks), RECOVERY_S, every_s=10), (
        "a slot is held by nobody"
    )
    assert scheduler.run_until_true(lambda: queued_messages(stacks) == 0, RECOVERY_S, every_s=10)
    again = submit(stacks, key)
    assert again.json()["id"] == job
    assert again.headers["Idempotent-Replayed"] == "true"
    return dict(view)


def test_the_cases_are_all_the_calls(stacks: Stacks) -> None:
    """A call that is added later gets its crash tests, or this fails."""
    stacks.run_for(READY_S)
    before = len(stacks.calls)
    submit(stacks, "normal")
    stacks.run_until_idle()

    made: dict[str, list[str]] = {function: [] for function in CALLS}
    for call in list(stacks.calls)[before:]:
        for function, calls in made.items():
            if call.function == stacks.deployment.names.function(function):
                calls.append(f"{call.service} {call.operation}")
    assert {function: calls[: len(CALLS[function])] for function, calls in made.items()} == CALLS
    assert made["dispatch"] == CALLS["dispatch"]
    assert made["complete"] == CALLS["complete"]


@pytest.mark.parametrize(("function", "number", "moment"), MOMENTS)
def test_a_death_at_any_call_loses_nothing_and_doubles_nothing(
    stacks: Stacks, function: str, number: int, moment: str
) -> None:
    """Whoever saw 202 gets exactly one result, whichever call was a function's last."""
    stacks.run_for(READY_S)
    fault = stacks.fail(f"die_{moment}", function=function, number=number)

    job = submit(stacks, "first").json()["id"]
    stacks.run_until_idle(RECOVERY_S)

    assert fault.hits == 1
    assert_done_once(stacks, job, "first")
    assert results_committed(stacks, job) == int((function, number, moment) not in UNANSWERED)


@pytest.mark.parametrize(("function", "number"), [("submit", 5), ("dispatch", 4), ("complete", 1)])
def test_a_ledger_write_that_timed_out_after_its_effect_is_known_as_ours(
    stacks: Stacks, function: str, number: int
) -> None:
    """A client would get 409 for its own first request, or a job would run twice."""
    stacks.run_for(READY_S)
    fault = stacks.fail("timeout_after", function=function, number=number)

    answer = submit(stacks, "timed-out")
    stacks.run_until_idle(RECOVERY_S)

    assert fault.hits == 1
    assert answer.status_code in {200, 202}
    view = assert_done_once(stacks, answer.json()["id"], "timed-out")
    assert view["attempt"] == 1


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "GetItem"])
def test_throttling_and_conflicts_between_regions_are_waited_out(
    stacks: Stacks, operation: str
) -> None:
    """A short throttling of the ledger must not surface as failed jobs."""
    stacks.run_for(READY_S)
    stacks.fail("throttle", service="dynamodb", operation=operation, times=4)
    stacks.fail("ReplicatedWriteConflictException", operation=operation, times=2)

    job = submit(stacks, "throttled").json()["id"]
    stacks.run_until_idle(RECOVERY_S)

    assert_done_once(stacks, job, "throttled")


def test_repeated_messages_and_notifications_commit_one_result(stacks: Stacks) -> None:
    """SQS and SNS deliver at least once; a second result would be a second bill."""
    stacks.twin.sqs.duplicates = 1.0
    stacks.run_for(READY_S)
    jobs = {
        f"twice-{number}": submit(stacks, f"twice-{number}").json()["id"] for number in range(6)
    }
    stacks.run_until_idle(RECOVERY_S)

    stacks.twin.sqs.duplicates = 0.0
    for key, job in jobs.items():
        assert_done_once(stacks, job, key)
        assert results_committed(stacks, job) == 1


def test_lost_bells_cost_a_beat_and_no_job(stacks: Stacks) -> None:
    """Bells are hints: without a single one, beat finds the work."""
    stacks.run_for(READY_S)
    stacks.fail("die_before", function="submit", service="lambda", operation="Invoke", times=3)
    stacks.fail("throttle", service="lambda", operation="Invoke", function="submit", times=None)

    job = submit(stacks, "unheard").json()["id"]
    stacks.run_until_idle(60)

    view = assert_done_once(stacks, job, "unheard")
    assert view["timings"]["queue_s"] < 15


def test_a_lost_notification_is_repaired_by_the_answer_that_is_there(stacks: Stacks) -> None:
    """The GPU's work is done: it is taken from the bucket instead of being done again."""
    stacks.run_for(READY_S)
    runs: Counter[str] = Counter()

    def answer(request: Any) -> Any:
        runs["all"] += 1
        return {"echo": request}

    stacks.model("small").answers(answer)
    stacks.fail("die_before", function="complete", number=1, times=None)
    job = submit(stacks, "silent").json()["id"]
    stacks.run_for(170)
    stacks.twin.hook.rules.clear()
    stacks.run_until_idle(RECOVERY_S)

    view = assert_done_once(stacks, job, "silent")
    assert (view["attempt"], runs["all"]) == (1, 1)


def test_a_model_that_fails_is_tried_as_often_as_configured(stacks: Stacks) -> None:
    """A passing fault costs an attempt; a lasting one ends the job with the model's words."""
    stacks.run_for(READY_S)
    answers = iter([RuntimeError("out of memory"), {"fine": True}])

    def sometimes(_request: Any) -> Any:
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    stacks.model("small").answers(sometimes)
    job = submit(stacks, "sometimes").json()["id"]
    stacks.run_until_idle(RECOVERY_S)
    view = stacks.http_client().get(f"/v1/jobs/{job}").json()
    assert (view["status"], view["attempt"], view["output"]) == ("completed", 2, {"fine": True})

    def never(_request: Any) -> Any:
        raise RuntimeError("no such layer " + "x" * 5000)

    stacks.model("small").answers(never)
    job = submit(stacks, "never").json()["id"]
    stacks.run_until_idle(RECOVERY_S)
    view = stacks.http_client().get(f"/v1/jobs/{job}").json()
    assert (view["status"], view["attempt"]) == ("failed", 3)
    assert view["output"] is None
    assert view["error"]["code"] == "model_error"
    assert len(view["error"]["message"]) <= 500
    assert gate_slots(stacks) == []


def test_an_answer_that_is_not_json_is_a_failure(stacks: Stacks) -> None:
    """Clients parse results; half a document must never be called one."""
    stacks.run_for(READY_S)
    stacks.model("small").answers(lambda _request: b"<html>busy</html>")

    job = submit(stacks, "html").json()["id"]
    stacks.run_until_idle(RECOVERY_S)

    view = stacks.http_client().get(f"/v1/jobs/{job}").json()
    assert (view["status"], view["error"]["code"]) == ("failed", "invalid_output")


def test_a_cancelled_or_erased_job_never_shows_a_result(stacks: Stacks) -> None:
    """Whoever takes a question back does not want to read the answer."""
    stacks.run_for(READY_S)
    stacks.model("small").answers(lambda request: {"echo": request}, service_s=20)
    client = stacks.http_client()
    cancelled = submit(stacks, "cancelled").json()["id"]
    erased = submit(stacks, "erased").json()["id"]
    stacks.run_for(5)

    assert client.get(f"/v1/jobs/{cancelled}").json()["status"] == "in_progress"
    assert client.post(f"/v1/jobs/{cancelled}/cancel").status_code == 200
    assert client.delete(f"/v1/jobs/{erased}").status_code == 200
    stacks.run_for(120)

    view = client.get(f"/v1/jobs/{cancelled}").json()
    assert (view["status"], view["output"], view["output_url"]) == ("cancelled", None, None)
    assert client.get(f"/v1/jobs/{erased}").status_code == 404
    objects = stacks.twin.operator("us-east-1").client("s3")
    bucket = stacks.deployment.names.bucket("us-east-1")
    left = objects.list_objects_v2(Bucket=bucket, Prefix="results/").get("Contents", [])
    assert not [item for item in left if erased in item["Key"]]
    assert stacks.twin.scheduler.run_until_true(
        lambda: not gate_slots(stacks), RECOVERY_S, every_s=10
    )


def test_a_job_that_cannot_start_in_time_expires_without_the_gpu(stacks: Stacks) -> None:
    """A late answer to an interactive question is wasted GPU time."""
    stacks.run_for(READY_S)
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        return {}

    stacks.model("small").answers(answer, service_s=40)
    for number in range(4):
        submit(stacks, f"before-{number}")
    job = submit(stacks, "late", deadline_s=20).json()["id"]
    stacks.run_until_idle(RECOVERY_S)

    view = stacks.http_client().get(f"/v1/jobs/{job}").json()
    assert (view["status"], view["error"]["code"]) == ("expired", "deadline_exceeded")
    assert {"input": "text of late"} not in seen


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "{}",
        '{"format": 1, "job": "job_aaaaaaaaaaaaaaaaaaaaaaaaaa", "attempt": 1}',
        '{"format": 1, "job": 5, "attempt": "x"}',
    ],
)
def test_a_message_of_nobodys_job_is_dropped_with_one_line(stacks: Stacks, body: str) -> None:
    """Poison in a queue must not stop the jobs behind it, nor stay for ever."""
    stacks.run_for(READY_S)
    names = stacks.deployment.names
    stacks.twin.operator("us-east-1").client("sqs").send_message(
        QueueUrl=names.queue_url("us-east-1", names.tier_queue("small", "interactive")),
        MessageBody=body,
        MessageGroupId="acme",
    )
    job = submit(stacks, "behind").json()["id"]
    stacks.run_for(180)

    assert queued_messages(stacks) == 0
    assert_done_once(stacks, job, "behind")
    dropped = [line for line in stacks.twin.functions.logs if "message dropped" in line.text]
    assert len(dropped) == 1
