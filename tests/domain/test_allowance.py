"""How submissions are counted against a tenant's rate."""

from lambdas.domain.allowance import AT_ONCE, COARSE_FROM, UNCOUNTED, Allowance


class Gate:
    """Counts for all environments."""

    def __init__(self, limit: int) -> None:
        self.limit, self.counted, self.writes = limit, 0, 0

    def count(self, number: int) -> bool:
        """Count so many, if the limit leaves them."""
        self.writes += 1
        if self.counted + number > self.limit:
            return False
        self.counted += number
        return True


def passed(environments: int, limit: int, submissions: int) -> tuple[int, Gate]:
    """How many of a window's submissions pass, spread over environments."""
    gate, kept = Gate(limit), [Allowance() for _ in range(environments)]
    number = sum(
        kept[each % environments].take("acme", window=7, limit=limit, count=gate.count)
        for each in range(submissions)
    )
    return number, gate


def test_a_low_rate_is_counted_exactly() -> None:
    """A tenant that may submit three jobs in ten seconds notices a fourth."""
    assert passed(environments=5, limit=3, submissions=10)[0] == 3
    assert passed(environments=5, limit=COARSE_FROM - 1, submissions=500)[0] == COARSE_FROM - 1


def test_a_lone_submission_of_an_ordinary_tenant_costs_no_write() -> None:
    """Most submissions are far below any limit: who pays for them should not pay for counting."""
    number, gate = passed(environments=1, limit=500, submissions=UNCOUNTED)
    assert (number, gate.writes) == (UNCOUNTED, 0)


def test_a_high_rate_is_held_within_a_few_percent() -> None:
    """One tenant's loop must not fill everybody's queue, however it is counted."""
    number, gate = passed(environments=5, limit=500, submissions=2000)
    assert 0.95 * 500 <= number <= 500 + 5 * UNCOUNTED
    assert gate.writes < 2000


def test_counting_takes_a_fraction_of_the_writes() -> None:
    """Under load the count is a write for every few submissions."""
    _, gate = passed(environments=1, limit=5000, submissions=1000)
    assert gate.writes <= 1000 / AT_ONCE


def test_a_new_window_starts_anew() -> None:
    """A refused tenant is let in again as soon as its window is over."""
    gate, kept = Gate(1), Allowance()
    answers = [kept.take("acme", window=window, limit=1, count=gate.count) for window in (1, 1)]
    gate.counted = 0
    answers.append(kept.take("acme", window=2, limit=1, count=gate.count))
    assert answers == [True, False, True]


def test_tenants_are_counted_apart() -> None:
    """A neighbour's burst must not use up one's own rate."""
    kept = Allowance()
    assert kept.take("acme", window=1, limit=1, count=Gate(1).count)
    assert kept.take("other", window=1, limit=1, count=Gate(1).count)
