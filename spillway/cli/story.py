"""What happens during a replay, told step by step, each with its time."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from spillway.replay.bad_version import TakenBack
from spillway.replay.outage import Seen
from spillway.replay.scaled_out import ScaleOut

Steps = Iterator[tuple[str, str]]
"""Pairs of a step's name and a line; what has happened so far, in any order."""


def teller(
    steps: Callable[[], Steps], console: Console, clock_s: Callable[[], float]
) -> Callable[[], None]:
    """What tells each step once, when it is called next.

    Args:
        steps: What has happened so far.
        console: Where to.
        clock_s: Seconds since the first request.
    """
    told: set[str] = set()

    def tell() -> None:
        for step, line in steps():
            if step not in told:
                told.add(step)
                console.print(f"{clock_s():5.0f} s  {line}", highlight=False, soft_wrap=True)

    return tell


def of_outage(seen: Seen) -> Steps:
    """A region that dies."""
    if seen.died:
        held = f"holding {seen.held} unfinished jobs; requests to it go to the next region"
        yield "died", f"{seen.region} dies, {held}"
    if seen.lost_s is not None:
        after = f"{seen.lost_s:.0f} s after its death"
        yield "lost", f"{seen.region} is declared lost by its peers, {after}"
    if seen.moved_s is not None:
        after = f"{seen.moved_s:.0f} s after its death: they wait and run elsewhere"
        yield "moved", f"{seen.region} holds no unfinished job any more, {after}"


def of_scale_outs(found: Sequence[ScaleOut]) -> Steps:
    """Fleets that grow."""
    for number, each in enumerate(found):
        fleet = f"{each.model} {each.version} in {each.region}"
        asked = f"asks for {each.after} instances instead of {each.before}"
        yield f"asked {number}", f"{fleet}: the {each.why} alarm {asked}"
        if each.served_s is not None:
            after = f"{each.served_s - each.asked_s:.0f} s after they were asked for"
            yield f"served {number}", f"{fleet}: {each.after} instances serve, {after}"


def of_bad_version(seen: TakenBack, *, before: str) -> Steps:
    """A version that is tried, and taken back."""
    what = f"{seen.model} {seen.version}"
    if seen.tried_s is not None:
        part = f"{seen.share:.0%} of the batch jobs in {seen.region}"
        yield "tried", f"{what} answered its smoke job, and gets {part}"
    if seen.back_s is not None:
        tried = "" if seen.tried_s is None else f", {seen.back_s - seen.tried_s:.0f} s after that"
        failed = f"{before} answers the {seen.failed} jobs that it failed"
        yield "back", f"{what} is taken back everywhere{tried}, for {seen.why}: {failed}"
