"""`spillway simulate`: runs under random faults, and whether everything held in them."""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spillway.cli.terminal import Code, Json, answer, progress_console, table

if TYPE_CHECKING:
    from spillway.simulation.process import Order, Pool, Result

SHRINK_RUNS = 24
FAILURES_SHOWN = 3
"""Runs whose history is made smaller and shown: one fault of the code fails many."""


def simulate(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many runs.")] = 100,
    first_seed: Annotated[int, typer.Option(min=0, help="The first one's seed.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs side by side; a core each without it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Play random outages against the real functions, and check what clients were promised.

    Each run has its own seed: clients, models, faults and the order of everything come from it,
    and it plays the same again. A run that fails is made smaller and told step by step.
    """
    from spillway.simulation.process import Order, Pool  # noqa: PLC0415 seconds for the others

    orders = [Order(seed=seed) for seed in range(first_seed, first_seed + seeds)]
    with Pool(min(seeds, processes or os.cpu_count() or 1)) as pool:
        results = _played(pool, orders, shown=not as_json)
        failed = [result for result in results if not result.clean]
        explained = [_smaller(pool, result) for result in failed[:FAILURES_SHOWN]]
    document = summary(results, explained)
    answer(document, as_json=as_json, render=lambda console: _render(console, document))
    if failed:
        raise typer.Exit(Code.FAILED)


def _played(pool: "Pool", orders: "Sequence[Order]", *, shown: bool) -> "list[Result]":
    progress = Progress(
        TextColumn("runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
        console=progress_console(),
        transient=True,
    )
    results: list[Result] = []
    with progress if shown else nullcontext():
        task = progress.add_task("runs", total=len(orders), failed=0)
        for result in pool.play(orders):
            results.append(result)
            failed = sum(not each.clean for each in results)
            progress.update(task, completed=len(results), failed=failed)
    return results


def _smaller(pool: "Pool", result: "Result") -> "Result":
    from spillway.simulation.shrink import smaller  # noqa: PLC0415

    return result if result.error else smaller(pool, result, runs_max=SHRINK_RUNS)


def summary(results: "Sequence[Result]", explained: "Sequence[Result]") -> dict[str, Any]:
    """Counts over all runs, and the histories of those that failed first."""
    strikes: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    for result in results:
        strikes.update(result.strikes)
        checks.update(result.checks)
    failed = [result for result in results if not result.clean]
    return {
        "runs": len(results),
        "violations": sum(len(result.violations) or 1 for result in failed),
        "failed_seeds": [result.order.seed for result in failed],
        "faults": dict(sorted(strikes.items())),
        "checks": dict(sorted(checks.items())),
        "simulated_s": round(sum(result.simulated_s for result in results)),
        "calls": sum(result.calls for result in results),
        "failures": [
            {
                "seed": result.order.seed,
                "error": result.error,
                "violations": result.violations,
                "history": result.history,
            }
            for result in explained
        ],
    }


def _render(console: Console, document: dict[str, Any]) -> None:
    for failure in document["failures"]:
        console.print(f"\nseed {failure['seed']}", style="bold red")
        for line in [failure["error"], *failure["history"]]:
            if line:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(
        table("Faults", ["kind", "struck"], sorted(document["faults"].items()), numbers=1)
    )
    console.print(table("Checks", ["invariant", "checked"], list(document["checks"].items()), 1))
    failed = document["failed_seeds"]
    console.print(
        f"{document['runs']} runs, {document['simulated_s']} simulated seconds, "
        f"{document['calls']} AWS calls: "
        + (f"{len(failed)} runs failed" if failed else "everything held")
    )
    if failed:
        console.print(f"again: spillway simulate --seeds 1 --first-seed {failed[0]}")
