"""When submit calls a dispatcher: each call costs as much as a start."""

from lambdas.adapters.gate import Gate
from tests.handlers.region import MODEL, Region, aws


def leave_word(region: Region) -> Gate:
    """Let the gate be full, and a dispatcher have found it so."""
    gate = Gate(aws("dynamodb"), region.names.gate)
    assert gate.reserve(MODEL, ["1.a.0"], capacity=1)
    assert gate.want(MODEL, capacity=1, now_ms=7)
    return gate


def test_no_bell_while_the_next_free_slot_rings_anyway(region: Region) -> None:
    """Under load most bells would only find a full gate: money for nothing."""
    gate = leave_word(region)
    region.see(waiting={"standard": 5})
    region.submitted()
    assert region.lambda_.bells == []

    assert gate.unwant(MODEL, seen_ms=7)
    region.submitted()
    assert len(region.lambda_.bells) == 1


def test_a_burst_between_two_beats_asks_the_gate_too(region: Region) -> None:
    """The snapshot is up to five seconds old: a burst must not ring a thousand times meanwhile."""
    region.see()
    region.submitted()
    leave_word(region)
    region.submitted()
    assert len(region.lambda_.bells) == 1


def test_a_lone_job_does_not_pay_for_asking(region: Region) -> None:
    """An idle service rings at once; nothing waits that could make the bell needless."""
    leave_word(region)
    region.see()
    region.submitted()
    assert len(region.lambda_.bells) == 1


def test_behind_many_jobs_the_bell_is_for_as_many_as_there_are(region: Region) -> None:
    """A dispatcher that starts one job of a hundred is called a hundred times."""
    region.see(waiting={"batch": 3, "standard": 7}, instances=50)
    region.submitted()
    assert [(bell["tier"], bell["jobs"]) for bell in region.lambda_.bells] == [(None, None)]


def test_without_beat_every_job_rings(region: Region) -> None:
    """Only beat rings bells that were lost: without it no word may keep a job waiting."""
    leave_word(region)
    region.see(waiting={"standard": 5})
    region.sleep(120)
    region.submitted()
    assert len(region.lambda_.bells) == 1
