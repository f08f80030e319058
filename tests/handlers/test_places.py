"""Places to wait: one tenant's clients leave room for the others', whoever dies meanwhile."""

from collections.abc import Mapping

import pytest

from config.schema import Concurrency
from lambdas.domain.places import free_place
from lambdas.domain.policy import Policy
from lambdas.handlers.waiting import PLACE_MARGIN_S
from tests.handlers.region import MODEL, DiedError, Region, Reply, error

ROUTE = "POST /v1/embeddings"
BODY = {"model": MODEL, "input": "text"}
WAIT = {"X-Stainless-Read-Timeout": "7"}


@pytest.fixture
def crowded(region: Region) -> Region:
    """A region whose open places to wait are all taken."""
    region.lambda_.crowded = True
    return region


def ask(region: Region, tenant: str = "acme", headers: Mapping[str, str] = WAIT) -> Reply:
    """Ask for embeddings, and wait for them for five seconds."""
    return region.ask(ROUTE, body=BODY, headers=headers, tenant=tenant)


def dies_waiting(region: Region, tenant: str = "acme") -> None:
    """A request whose function's process ends while it waits in a kept place."""

    def die() -> None:
        if "UpdateItem" in used(region):
            raise DiedError

    region.calls.clear()
    region.faults = {"Invoke": die}
    with pytest.raises(DiedError):
        ask(region, tenant)
    region.faults = {}


def used(region: Region) -> list[str]:
    """Operations on places."""
    return [
        operation
        for operation, params in region.calls
        if " " not in operation
        and str(params.get("Key", {}).get("pk", {}).get("S", "")).startswith("waits#")
    ]


def share(region: Region) -> int:
    """Kept places of one tenant."""
    return region.policy.places_kept


def test_with_an_open_place_a_wait_costs_nothing_more(region: Region) -> None:
    """Nearly every wait is one: places are counted by Lambda, which is not paid for it."""
    assert ask(region).status == 303
    assert region.lambda_.waits == 1
    assert not used(region)


def test_who_finds_the_open_places_taken_waits_in_a_kept_one(crowded: Region) -> None:
    """Somebody else's crowd is not this client's fault."""
    began_s = crowded.now_s

    assert ask(crowded).status == 303
    assert crowded.now_s - began_s == 5
    assert crowded.operations().count("Invoke") == 3, "the bell, and two places"
    assert used(crowded) == ["UpdateItem", "UpdateItem"], "taken and left"


def test_a_tenant_beyond_its_share_is_told_so_and_others_wait(crowded: Region) -> None:
    """One tenant's clients must never be all who wait."""
    for _ in range(share(crowded)):
        dies_waiting(crowded)
    waits = crowded.lambda_.waits

    over = ask(crowded)
    assert (over.status, over.error["code"]) == (429, "waiting_limit")
    assert "your own" in over.error["message"]
    assert int(over.headers["Retry-After"]) > 0
    assert crowded.lambda_.waits == waits + 1, "no kept place was asked for"
    keyed = ask(crowded, headers=WAIT | {"Idempotency-Key": "k"})
    assert (keyed.status, keyed.error["code"]) == (503, "waiting_limit")
    assert ask(crowded, "other").status == 303


def test_a_get_that_waits_on_is_no_way_around(crowded: Region) -> None:
    """Every way to wait takes a place: the chain of redirects, and our own routes."""
    crowded.lambda_.crowded = False
    public = ask(crowded).headers["Location"].partition("?")[0].rpartition("/")[2]
    job = f"job_{public[-26:]}"
    crowded.lambda_.crowded = True
    for _ in range(share(crowded)):
        dies_waiting(crowded)
    began_s = crowded.now_s

    read = crowded.ask("GET /v1/jobs/{id}", job=job, query={"wait": "5"})
    posted = crowded.ask("POST /v1/jobs", body=BODY, query={"wait": "5"})
    chained = crowded.ask("GET /v1/embeddings/{id}", job=public, query={"hop": "2"})

    assert (read.status, posted.status) == (202, 202)
    assert read.headers["Retry-After"] == posted.headers["Retry-After"] == "1"
    assert (chained.status, chained.error["code"]) == (429, "waiting_limit")
    assert crowded.now_s == began_s


def test_a_place_that_is_left_is_the_next_ones(crowded: Region) -> None:
    """A tenant's share bounds how many wait at a time, not how many wait in a minute."""
    for _ in range(2 * share(crowded)):
        assert ask(crowded).status == 303


def test_whoever_dies_in_a_place_holds_it_little_longer_than_it_would_have_waited(
    crowded: Region,
) -> None:
    """A function may end between any two calls: a bare counter would never go down again."""
    for _ in range(share(crowded)):
        dies_waiting(crowded)
    assert ask(crowded).status == 429

    crowded.sleep(5 + PLACE_MARGIN_S + 0.1)
    assert ask(crowded).status == 303


def test_one_place_is_never_two_clients(crowded: Region) -> None:
    """Some meet at the same one: each is led to another, until there is none."""
    for number in range(share(crowded)):
        dies_waiting(crowded)
        places = crowded.gate_item("waits#acme")
        assert sum(name.startswith("who_") for name in places) == number + 1


def test_clients_who_find_theirs_held_do_not_all_look_to_the_same_one() -> None:
    """Else all but one of them would be told of a limit that their tenant has not reached."""
    held = {0: 9, 3: 9}

    assert [free_place(held, first=first, places=6, now_ms=5) for first in (0, 3, 5)] == [1, 4, 5]
    assert free_place(held, first=3, places=4, now_ms=5) == 1, "round"
    assert free_place(held, first=0, places=1, now_ms=5) is None
    assert free_place(held, first=0, places=1, now_ms=10) == 0, "its time is up"


def test_who_leaves_late_takes_nobodys_place(region: Region) -> None:
    """Whoever comes back after its time is up finds somebody else where it was."""
    gate, at_ms = region.gate, 1000

    def take(who: str, until_ms: int, now_ms: int) -> Mapping[int, int] | None:
        return gate.take_place("acme", 0, who=who, until_ms=until_ms, now_ms=now_ms)

    assert take("a", at_ms + 10, at_ms) is None
    assert take("a", at_ms + 10, at_ms) is None, "the same, sent twice"
    assert take("b", at_ms + 99, at_ms) == {0: at_ms + 10}
    assert take("b", at_ms + 99, at_ms + 11) is None

    gate.leave_place("acme", 0, who="a")
    assert take("c", at_ms + 99, at_ms + 12) == {0: at_ms + 99}
    gate.leave_place("acme", 0, who="b")
    assert take("c", at_ms + 99, at_ms + 12) is None


@pytest.mark.parametrize("which", [1, 2])
def test_a_gate_that_does_not_answer_breaks_no_wait(crowded: Region, which: int) -> None:
    """Taken back and asked to come again, or answered: never told that something broke."""

    def refuse() -> None:
        if crowded.calls[-1][1]["Key"]["pk"]["S"] == "waits#acme" and len(used(crowded)) == which:
            raise error("InternalServerError", "UpdateItem")

    crowded.faults = {"UpdateItem": refuse}
    reply = ask(crowded)

    if which == 1:
        assert (reply.status, reply.error["code"]) == (429, "no_room_to_wait")
    else:
        assert reply.status == 303


@pytest.mark.parametrize("places", [3, 4, 7, 50, 1000])
def test_no_tenant_has_more_than_about_half_of_the_places(places: int) -> None:
    """With all open ones and its share of the kept ones; and there is one for somebody else."""
    sized = Concurrency(wait=places)

    assert sized.wait_open + sized.wait_kept == places
    assert sized.wait_kept_of_tenant >= 1
    assert sized.wait_kept > sized.wait_kept_of_tenant
    assert sized.wait_open + sized.wait_kept_of_tenant <= (places + 1) // 2


def test_the_functions_know_a_tenants_share(region: Region) -> None:
    """What the configuration says travels with the code; an older document says nothing of it."""
    assert region.policy.places_kept == Concurrency().wait_kept_of_tenant
    document = region.policy.to_json()
    del document["places_kept"]
    assert Policy.from_json(document).places_kept > 0
