"""What a person sees of many jobs: a bar on a terminal, a few plain lines anywhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from spillway.client.views import Job

if TYPE_CHECKING:
    from rich.console import Console

LINES: Final = 10
"""A log gets a line for every tenth of the jobs."""
LINE_EVERY: Final = 100
"""Or, while nobody knows how many there will be, for every so many."""


@contextmanager
def shown(what: str, total: int | None, *, wanted: bool) -> Iterator[Callable[[Job], object]]:
    """Show how many jobs got somewhere, on standard error.

    Args:
        what: Where: `submitted`, `ended`.
        total: How many there are, if anybody knows.
        wanted: Whether to show anything.

    Yields:
        To be called with each job that got there.
    """
    if not wanted:
        yield lambda job: None
        return
    # Programs that show nothing need not load it.
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, what, total) as advance:
            yield advance
    else:
        yield _Lines(console, what, total)


class _Tally:
    """Counts jobs, and those that ended without a result."""

    def __init__(self) -> None:
        self.jobs = self.failed = 0

    def count(self, job: Job) -> None:
        self.jobs += 1
        self.failed += job.done and not job.completed

    @property
    def note(self) -> str:
        return f", {self.failed} without a result" if self.failed else ""


class _Lines:
    def __init__(self, console: "Console", what: str, total: int | None) -> None:
        self._console, self._what, self._total = console, what, total
        self._tally = _Tally()
        self._every = LINE_EVERY if total is None else max(1, -(-total // LINES))

    def __call__(self, job: Job) -> None:
        tally = self._tally
        tally.count(job)
        if tally.jobs % self._every == 0 or tally.jobs == self._total:
            of = "" if self._total is None else f" of {self._total}"
            line = f"{self._what}: {tally.jobs}{of}{tally.note}"
            self._console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def _bar(console: "Console", what: str, total: int | None) -> Iterator[Callable[[Job], object]]:
    from rich.progress import (  # noqa: PLC0415 as above
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task, tally = progress.add_task(what, total=total), _Tally()

        def advance(job: Job) -> None:
            tally.count(job)
            progress.update(task, advance=1, description=what + tally.note)

        yield advance
