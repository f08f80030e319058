"""Jobs of another region become jobs of this one, whenever the mover dies."""

from types import SimpleNamespace

import pytest

from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import Attempt
from lambdas.domain import payloads
from lambdas.domain.job import Status
from lambdas.domain.moves import MOVES_MAX, Order
from lambdas.domain.regions import DRAINED, LOST, SERVING, Part
from lambdas.handlers import moving, sweep
from tests.handlers.region import HERE, MODEL, NEXT, DiedError, Region, aws

WHOLE = Part(number=0, of=1)


@pytest.fixture
def there(region: Region) -> Region:
    """The region that takes the jobs of the one in which they are submitted."""
    leases = Leases(aws("dynamodb"), region.names.ledger)
    for each in (HERE, NEXT):
        leases.begin(each, now_ms=0)
    return region.elsewhere(NEXT)


def lose(region: Region) -> None:
    """Declare the first region lost."""
    leases = Leases(aws("dynamodb"), region.names.ledger)
    assert leases.lose(leases.read([HERE])[HERE])


def drain(region: Region) -> None:
    """Do what `spillway region drain` does."""
    aws("dynamodb").update_item(
        TableName=region.names.ledger,
        Key={"pk": {"S": f"region#{HERE}"}},
        UpdateExpression="SET #state = :drained",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":drained": {"S": DRAINED}},
    )


def move(there: Region, state: str = LOST, *, jobs: int | None = None, skip: int = 0) -> int:
    """Follow an order once; how many jobs were taken."""
    order = Order(source=HERE, state=state, part=WHOLE, model=MODEL, jobs=jobs, skip=skip)
    event = {"move": order.document()}
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    return int(there.environment(sweep.handle)(event, context)["moved"])


def attempts_waiting(there: Region) -> set[tuple[str, int]]:
    """Job and attempt of the messages in the region that takes them."""
    return {(message["job"], message["attempt"]) for message in there.messages()}


def test_a_lost_regions_jobs_wait_elsewhere_the_running_ones_too(there: Region) -> None:
    """Its GPUs are gone: nobody there will end what they began."""
    here = there.elsewhere(HERE)
    waiting, running = here.submitted(), here.submitted()
    here.start(running)
    lose(there)

    assert move(there) == 2
    for job in (here.job(waiting), here.job(running)):
        assert (job.status, job.owner, job.home) == (Status.QUEUED, NEXT, HERE)
        assert (job.attempt, job.moves, job.slot) == (2, 1, None)
    assert attempts_waiting(there) == {(waiting, 2), (running, 2)}
    assert {bell["model"] for bell in there.lambda_.bells} == {MODEL}


def test_a_result_of_the_former_owner_is_never_committed(there: Region) -> None:
    """A region that was only cut off goes on answering what is no longer its own."""
    here = there.elsewhere(HERE)
    job = here.submitted()
    here.start(job)
    lose(there)
    move(there)
    late = here.ledger.apply(
        Attempt(job, HERE, 1),
        "complete",
        now_ms=0,
        finished_ms=0,
        output=payloads.pack(b'"late"'),
        output_key=None,
    )
    assert not late.won
    assert here.job(job).status is Status.QUEUED


@pytest.mark.parametrize("moment", ["", " done"], ids=["before", "after"])
@pytest.mark.parametrize(
    "call",
    ["Query", "GetItem", "BatchGetItem", "SendMessageBatch", "UpdateItem", "UpdateItem#2"],
)
def test_who_dies_while_moving_leaves_every_job_with_a_message(
    there: Region, call: str, moment: str
) -> None:
    """The next order goes on where this one ended, also in the middle of a batch."""
    here = there.elsewhere(HERE)
    jobs = {here.submitted() for _ in range(3)}
    lose(there)

    def die() -> None:
        raise DiedError

    operation, _, number = call.partition("#")
    there.faults[f"{operation}{moment}" + (f"#{number}" if number else "")] = die
    with pytest.raises(DiedError):
        move(there)
    there.faults.clear()
    move(there)

    moved = [here.job(job) for job in jobs]
    assert {(job.owner, job.status, job.attempt, job.moves) for job in moved} == {
        (NEXT, Status.QUEUED, 2, 1)
    }
    assert attempts_waiting(there) == {(job, 2) for job in jobs}


def test_a_message_that_was_not_taken_keeps_its_job_where_it_is(there: Region) -> None:
    """Moved without a message it would wait for ever."""
    here = there.elsewhere(HERE)
    here.submitted()
    lose(there)
    there.faults["SendMessageBatch"] = lambda: there.sleep(moving.MOVE_S_MAX + 1)

    assert move(there) == 0
    there.faults.clear()
    assert move(there) == 1


def test_a_drained_region_ends_what_it_runs(there: Region) -> None:
    """A model at work for a minute is not asked again elsewhere for politeness."""
    here = there.elsewhere(HERE)
    waiting, running = here.submitted(), here.submitted()
    here.start(running)
    drain(there)

    assert move(there, DRAINED) == 1
    assert here.job(waiting).owner == NEXT
    assert (here.job(running).owner, here.job(running).status) == (HERE, Status.IN_PROGRESS)


def test_relief_leaves_what_is_about_to_start_and_takes_no_more_than_there_is_room_for(
    there: Region,
) -> None:
    """A job that would start in a second here gains nothing from the way."""
    here = there.elsewhere(HERE)
    jobs = []
    for _ in range(5):
        jobs.append(here.submitted())
        here.sleep(0.01)

    assert move(there, SERVING, jobs=2, skip=1) == 2
    assert [here.job(job).owner for job in jobs] == [HERE, NEXT, NEXT, HERE, HERE]


def test_a_job_is_not_sent_around_for_ever(there: Region) -> None:
    """Two regions that are idle in turn would else play with it."""
    here = there.elsewhere(HERE)
    job = here.submitted()
    for number in range(MOVES_MAX):
        moved = here.ledger.apply(
            here.job(job),
            "move",
            now_ms=0,
            attempt=number + 2,
            owner=HERE,
            live=f"{HERE}#{MODEL}",
            moves=number + 1,
        )
        assert moved.won

    assert move(there, SERVING) == 0
    lose(there)
    assert move(there, LOST) == 1


def test_an_order_ends_with_its_reason(there: Region) -> None:
    """A region that is back serves its jobs itself, and one without a lease takes none."""
    here = there.elsewhere(HERE)
    here.submitted()
    assert move(there, LOST) == 0
    lose(there)
    aws("dynamodb").delete_item(TableName=there.names.gate, Key={"pk": {"S": "snapshot"}})
    assert move(there, LOST) == 0


@pytest.mark.parametrize("state", [SERVING, DRAINED])
def test_a_job_that_starts_while_it_is_fetched_stays_where_it_runs(
    there: Region, state: str
) -> None:
    """Its region is there: a second GPU would do the same work, and the first one's slot leak."""
    here = there.elsewhere(HERE)
    job = here.submitted()
    if state == DRAINED:
        drain(here)
    there.faults = {"SendMessageBatch done": lambda: here.start(job)}

    assert move(there, state) == 0

    assert (here.job(job).status, here.job(job).owner) == (Status.IN_PROGRESS, HERE)


def test_urgent_jobs_of_every_model_are_fetched_before_what_can_wait(there: Region) -> None:
    """Ten thousand jobs of one model that can wait must not hold up another's users."""
    here = there.elsewhere(HERE)
    names = there.names
    for tier in there.policy.tiers:
        aws("sqs", NEXT).create_queue(QueueName=names.tier_queue("chat", tier.name))
        aws("sqs", HERE).create_queue(QueueName=names.tier_queue("chat", tier.name))
    late = [here.submitted(tier="batch") for _ in range(3)]
    urgent = here.submitted(model="chat", tier="interactive")
    lose(there)
    order = Order(source=HERE, state=LOST, part=WHOLE, jobs=2)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)

    assert there.environment(sweep.handle)({"move": order.document()}, context) == {"moved": 2}

    assert here.job(urgent).owner == NEXT
    assert [here.job(job).owner for job in late].count(NEXT) == 1
