"""What the team promises of its triage, whatever the model and AWS do."""

from typing import Any

from triage import triage

from spillway.testing import Stacks

TICKETS = ["My bill is wrong.", "Where is my parcel?", "???"]


def desk(request: Any) -> Any:
    """What the model answers in these tests."""
    words = {"bill": "billing", "parcel": "delivery"}
    found = [name for word, name in words.items() if word in request["ticket"]]
    return {"desk": found[0] if found else "kitchen"}


def test_every_ticket_gets_a_desk_in_its_order(stacks: Stacks) -> None:
    """Customers are answered by whoever can help; an answer of the model is not believed blindly.

    On the way a function dies after it took a ticket, and the model fails once: nobody notices.
    """
    failures = iter([MemoryError("out of memory")])

    def model(request: Any) -> Any:
        for failure in failures:
            raise failure
        return desk(request)

    stacks.model("triage").answers(model)
    death = stacks.fail("die_after", function="submit", service="dynamodb", operation="PutItem")

    desks = triage(stacks.client(), TICKETS)

    assert desks == ["billing", "delivery", "other"]
    assert death.hits == 1
    jobs = list(stacks.client().jobs())
    assert sorted(job.attempt or 0 for job in jobs) == [1, 1, 2]
