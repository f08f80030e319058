"""Jobs that another model takes over, whoever dies meanwhile."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.adapters.endpoints import output_key
from lambdas.adapters.gate import Gate
from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import Attempt
from lambdas.domain.job import Job, Status, inference_id
from lambdas.domain.moves import Order
from lambdas.domain.regions import LOST, Part
from lambdas.domain.retries import tries
from lambdas.handlers import complete, sweep
from tests.handlers.region import HERE, MODEL, NEXT, DiedError, Region, aws

OTHER = "chat"
SLOT = "1.s.1"
"""A slot that was reserved long ago."""
LEASE_S = 60
MOMENTS = (
    # The job is read, its message sent, the ledger and the gate written; then it is rung for.
    *("GetItem#1", "SendMessage#1", "UpdateItem#1", "UpdateItem#2", "Invoke#1"),
    *("GetItem done#1", "SendMessage done#1", "UpdateItem done#1", "UpdateItem done#2"),
)


@pytest.fixture(autouse=True)
def two_models(region: Region) -> None:
    """The embedder, whose single attempt fails, and the model that takes over from it."""
    region.create_dead_letters()
    for place in (HERE, NEXT):
        for tier in region.policy.tiers:
            aws("sqs", place).create_queue(QueueName=region.names.tier_queue(OTHER, tier.name))
    for tier in region.policy.tiers:
        name = region.names.tier_dead_letters(OTHER, tier.name)
        aws("sqs").create_queue(QueueName=name)
    region.configure(fallback=OTHER, attempts_max=1)


def start(region: Region, job: str, *, model: str, attempt: int, slot: str = SLOT) -> bool:
    """Start an attempt as the dispatcher of a model does."""
    assert Gate(aws("dynamodb"), region.names.gate).reserve(model, {slot}, capacity=4)
    now_ms = int(1000 * region.now_s)
    started = region.ledger.apply(
        Attempt(job, HERE, attempt, model),
        "start",
        now_ms=now_ms,
        started_ms=now_ms,
        lease_ms=now_ms + 1000 * LEASE_S,
        version="v1",
        slot=slot,
        message=f"m-{model}",
    )
    return started.won


def hear(region: Region, job: str, *, attempt: int = 1, **said: Any) -> None:
    """Let complete hear of an attempt's end: of its failure, unless told otherwise."""
    failed = {"invocationStatus": "Failed", "failureReason": "out of memory"}
    record = {
        "messageId": "n-1",
        "body": json.dumps(failed | said | {"inferenceId": inference_id(job, attempt)}),
    }
    assert region.handler(complete)({"Records": [record]}, None) == {"batchItemFailures": []}


def answer(region: Region, job: str, *, attempt: int, content: str = '"small"') -> None:
    """Let complete hear of an answer."""
    body = {"invocationStatus": "Completed", "responseBody": {"content": content}}
    hear(region, job, attempt=attempt, **body)


def repair(region: Region) -> None:
    """Let sweep run once."""
    region.handler(sweep)({}, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))


def view(region: Region, job: str) -> Any:
    """The job as its client reads it."""
    return region.ask("GET /v1/jobs/{id}", job=job).json


def used(region: Region, model: str) -> set[str]:
    """Slots in use."""
    return set(Gate(aws("dynamodb"), region.names.gate).state(model).used)


def live(region: Region, model: str) -> list[str]:
    """Jobs that the live index shows of a model."""
    return [job.id for page in region.ledger.live(HERE, model) for job in page]


def running(region: Region, **fields: Any) -> str:
    """A job that the embedder works on."""
    job = region.submitted(**fields)
    assert start(region, job, model=MODEL, attempt=1)
    return job


def assert_fell_back(region: Region, job: str) -> Job:
    """It waits for the other model, with a message, and holds nothing of the first one."""
    now = region.job(job)
    assert (now.status, now.model, now.asked) == (Status.QUEUED, OTHER, MODEL)
    assert (now.attempt, now.earlier, now.slot, now.version) == (2, 1, None, None)
    assert {(m["job"], m["attempt"]) for m in region.messages(OTHER)} == {(job, 2)}
    assert (live(region, MODEL), live(region, OTHER)) == ([], [job])
    assert used(region, MODEL) == set()
    return now


def test_a_job_whose_attempts_are_used_up_is_answered_by_the_other_model(region: Region) -> None:
    """Its client reads what it asked for, and who answered."""
    job = running(region)

    hear(region, job)

    assert_fell_back(region, job)
    assert {bell["model"] for bell in region.lambda_.bells[1:]} == {OTHER}
    waiting = view(region, job)
    assert (waiting["model"], waiting["version"], waiting["answered_by"]) == (MODEL, None, None)
    assert waiting["error"] == {"code": "model_error", "message": "out of memory"}
    assert start(region, job, model=OTHER, attempt=2)
    answer(region, job, attempt=2)
    done = view(region, job)
    assert (done["status"], done["output"], done["error"]) == ("completed", "small", None)
    assert (done["model"], done["version"]) == (MODEL, None)
    assert done["answered_by"] == {"model": OTHER, "version": "v1"}
    assert (used(region, OTHER), live(region, OTHER)) == (set(), [])


def test_a_job_that_did_not_fall_back_says_so_too(region: Region) -> None:
    """A client that looks in one place only must find the answer there."""
    job = running(region)
    answer(region, job, attempt=1)

    seen = view(region, job)
    assert (seen["model"], seen["version"]) == (MODEL, "v1")
    assert seen["answered_by"] == {"model": MODEL, "version": "v1"}


def test_a_job_falls_back_once(region: Region) -> None:
    """Two models that fail would else send it to and fro until its deadline."""
    document = region.policy.to_json()
    document["models"][OTHER] |= {"attempts_max": 1}
    region.write(type(region.policy).from_json(document))
    job = running(region)
    hear(region, job)
    assert start(region, job, model=OTHER, attempt=2)

    hear(region, job, attempt=2)

    assert view(region, job)["status"] == "failed"
    assert (used(region, MODEL), used(region, OTHER), live(region, OTHER)) == (set(), set(), [])


@pytest.mark.parametrize("waits", [True, False])
def test_the_other_models_first_attempt_is_its_first_whatever_was_spared_before(
    region: Region, capsys: pytest.CaptureFixture[str], *, waits: bool
) -> None:
    """While a model's versions are all bad, its fallback gets its jobs, and has guards of its own.

    They would see none of these fail, and a bad version of the fallback model would stay.
    """
    region.see(models={OTHER: IDLE})
    job = running(region, deadline_s=DEADLINE_S)
    now_ms = int(1000 * region.now_s)
    assert region.ledger.apply(
        region.job(job), "retry", now_ms=now_ms, attempt=2, error={"code": "x"}, spared=1
    ).won
    if waits:
        busy(region)
        repair(region)
    else:
        assert start(region, job, model=MODEL, attempt=2, slot="1.s.2")
        hear(region, job, attempt=2)
    fallen = region.job(job)
    assert (fallen.model, fallen.attempt, fallen.spared, tries(fallen)) == (OTHER, 3, None, 1)
    assert start(region, job, model=OTHER, attempt=3)
    capsys.readouterr()

    hear(region, job, attempt=3)

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["Failed"] for each in told if each.get("Failed")] == [[1.0]]


def test_a_lease_that_ran_out_ends_like_a_failure(region: Region) -> None:
    """A model that answers nothing is one that its fallback is for."""
    job = running(region)
    region.sleep(LEASE_S)

    repair(region)

    assert assert_fell_back(region, job).error == {
        "code": "model_timeout",
        "message": "The model gave no answer within its time.",
    }


@pytest.mark.parametrize("moment", MOMENTS)
def test_who_dies_while_a_job_falls_back_leaves_it_with_a_message_and_no_slot(
    region: Region, moment: str
) -> None:
    """The notification comes again, or its lease runs out; sweep finds the slot."""
    job = running(region)

    def die() -> None:
        raise DiedError

    region.calls.clear()
    region.faults = {moment: die}
    with pytest.raises(DiedError):
        hear(region, job)
    region.faults = {}
    region.forget_environments()
    hear(region, job)
    for _ in range(3):  # the slot is judged every other minute
        region.sleep(60)
        repair(region)

    assert_fell_back(region, job)


def test_a_message_of_another_model_starts_nothing(region: Region) -> None:
    """Who died before the ledger knew left it: the job would hold a slot of the wrong model."""
    job = region.submitted()

    assert not start(region, job, model=OTHER, attempt=1)
    assert region.job(job).status is Status.QUEUED
    assert start(region, job, model=MODEL, attempt=1, slot="1.s.2")


def test_a_late_answer_of_the_first_model_is_dropped(region: Region) -> None:
    """Its lease had run out: two answers would be committed, or the wrong one named."""
    job = running(region)
    region.sleep(LEASE_S)
    repair(region)

    answer(region, job, attempt=1, content='"large"')

    assert assert_fell_back(region, job).output is None


def test_a_job_that_fell_back_moves_with_its_new_model(region: Region) -> None:
    """A region that is lost later takes nothing of what its jobs had become."""
    leases = Leases(aws("dynamodb"), region.names.ledger)
    for each in (HERE, NEXT):
        leases.begin(each, now_ms=0)
    job = running(region)
    hear(region, job)
    assert start(region, job, model=OTHER, attempt=2)
    assert leases.lose(leases.read([HERE])[HERE])
    there = region.elsewhere(NEXT)
    there.write(region.policy)

    order = Order(source=HERE, state=LOST, part=Part(number=0, of=1))
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    assert there.handler(sweep)({"move": order.document()}, context) == {"moved": 1}

    moved = region.job(job)
    assert (moved.owner, moved.model, moved.asked, moved.status) == (NEXT, OTHER, MODEL, "queued")
    assert (moved.attempt, moved.moves, moved.earlier) == (3, 1, 1)
    assert {(m["job"], m["attempt"]) for m in there.messages(OTHER)} == {(job, 3)}


def test_an_erased_job_leaves_nothing_of_either_model(region: Region) -> None:
    """Errors of the first model quote the request, too."""
    job = running(region)
    region.put_object(HERE, output_key(MODEL, "v1", job, 1))
    hear(region, job)
    assert start(region, job, model=OTHER, attempt=2)
    answer(region, job, attempt=2)
    region.put_object(HERE, output_key(OTHER, "v1", job, 2))

    assert region.ask("DELETE /v1/jobs/{id}", job=job).status == 200

    assert not region.objects()


def test_a_job_that_fell_back_can_be_cancelled_and_expires(region: Region) -> None:
    """It is a job like any other."""
    one, other = running(region, deadline_s=120), region.submitted(deadline_s=120)
    assert start(region, other, model=MODEL, attempt=1, slot="1.s.2")
    for job in (one, other):
        hear(region, job)

    assert region.ask("POST /v1/jobs/{id}/cancel", job=one).json["status"] == "cancelled"
    region.sleep(120)
    repair(region)

    assert view(region, other)["status"] == "expired"
    assert (live(region, MODEL), live(region, OTHER)) == ([], [])


def test_a_repeated_request_finds_the_job_that_fell_back(region: Region) -> None:
    """What the client asked for is what it repeats."""
    first = region.submit("text", key="order-17").json["id"]
    assert start(region, first, model=MODEL, attempt=1)
    hear(region, first)

    again = region.submit("text", key="order-17")

    assert (again.json["id"], again.json["model"]) == (first, MODEL)
    assert again.headers["Idempotent-Replayed"] == "true"


# ---- a deadline at risk

BUSY: dict[str, Any] = {"in_use": 4, "waiting": {"standard": 50_000}}
"""Some ten minutes of work."""
IDLE: dict[str, Any] = {"instances": 1, "in_use": 0, "waiting": {}, "oldest_s": {}}
DEADLINE_S = 150


def busy(region: Region) -> None:
    """Let beat see that the embedder is busy, and the other model is not."""
    region.see(**BUSY, models={OTHER: IDLE})


def waiting(region: Region, jobs: int = 1, **fields: Any) -> list[str]:
    """Jobs that were accepted while nobody else came."""
    region.see(models={OTHER: IDLE})
    return [region.submitted(f"text {n}", deadline_s=DEADLINE_S, **fields) for n in range(jobs)]


def test_a_job_that_would_start_too_late_is_taken_by_the_other_model_at_once(
    region: Region,
) -> None:
    """It would be refused, beside a model that has nothing to do."""
    busy(region)

    job = region.submitted(deadline_s=60)

    assert (region.job(job).model, region.job(job).asked) == (OTHER, MODEL)
    assert [m["attempt"] for m in region.messages(OTHER)] == [1]
    assert region.messages() == []
    assert (live(region, MODEL), live(region, OTHER)) == ([], [job])
    assert {bell["model"] for bell in region.lambda_.bells} == {OTHER}
    seen = view(region, job)
    assert (seen["model"], seen["queue"]["position"]) == (MODEL, 1)
    assert region.submitted(deadline_s=86_400) in live(region, MODEL)


def test_a_waiting_job_goes_to_the_other_model_before_its_deadline(region: Region) -> None:
    """What was in time when it was accepted is not any more."""
    (job,) = waiting(region)
    busy(region)

    repair(region)

    fallen = region.job(job)
    assert (fallen.model, fallen.asked, fallen.attempt, fallen.earlier) == (OTHER, MODEL, 2, 1)
    assert {(m["job"], m["attempt"]) for m in region.messages(OTHER)} == {(job, 2)}
    assert (live(region, MODEL), live(region, OTHER)) == ([], [job])
    assert region.lambda_.bells[-1]["model"] == OTHER
    assert not start(region, job, model=MODEL, attempt=1, slot="1.s.3")
    assert start(region, job, model=OTHER, attempt=2)


def test_new_jobs_and_old_ones_leave_a_model_that_has_failed_for_long(region: Region) -> None:
    """Their deadline is a day away, and the other model idle."""
    region.see(models={OTHER: IDLE})
    before = [region.submitted(f"before {n}") for n in range(3)]
    long_ago_ms = int(1000 * region.now_s) - 3_600_000
    region.see(open_ms=long_ago_ms, unfinished={"standard": 3}, models={OTHER: IDLE})

    repair(region)
    after = region.submitted("after")

    assert sorted(region.job(job).model for job in before) == sorted([OTHER, OTHER, MODEL]), (
        "one of them tries it"
    )
    assert region.job(after).model == OTHER


def test_a_waiting_job_stays_while_nobody_has_seen_the_region(region: Region) -> None:
    """An hour old, it says nothing of what waits now."""
    (job,) = waiting(region)
    busy(region)
    region.sleep(100)

    repair(region)

    assert region.job(job).model == MODEL


@pytest.mark.parametrize(
    "moment",
    [
        *("SendMessageBatch#1", "SendMessageBatch done#1", "UpdateItem#1", "UpdateItem done#1"),
        *("UpdateItem#2", "UpdateItem done#2", "Invoke#1"),
    ],
)
def test_who_dies_while_jobs_are_given_away_leaves_each_with_a_message(
    region: Region, moment: str
) -> None:
    """The next run goes on where this one ended, also in the middle of a batch."""
    jobs = set(waiting(region, 3))
    busy(region)

    def die() -> None:
        raise DiedError

    region.calls.clear()
    region.faults = {moment: die}
    with pytest.raises(DiedError):
        repair(region)
    region.faults = {}
    region.forget_environments()
    repair(region)

    fallen = [region.job(job) for job in jobs]
    assert {(job.model, job.asked, job.attempt) for job in fallen} == {(OTHER, MODEL, 2)}
    assert {(m["job"], m["attempt"]) for m in region.messages(OTHER)} == {(job, 2) for job in jobs}


def test_a_job_that_starts_while_it_is_given_away_stays_where_it_runs(region: Region) -> None:
    """A second GPU would do the same work, and the first one's slot leak."""
    (job,) = waiting(region)
    busy(region)

    def dispatched() -> None:
        assert start(region, job, model=MODEL, attempt=1)

    region.faults = {"SendMessageBatch done": dispatched}

    repair(region)

    assert (region.job(job).status, region.job(job).model) == (Status.IN_PROGRESS, MODEL)
