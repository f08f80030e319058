"""Random outages: what clients were promised holds in every one of them."""

import json

import pytest
from typer.testing import CliRunner

from spillway.cli.main import app
from spillway.simulation.process import Order, Player, Result
from spillway.simulation.shrink import smaller

SEEDS = range(8)
SEEDS_A_TEST = 4


def wrong(result: Result) -> str:
    """What a failing run tells."""
    again = f"spillway simulate --seeds 1 --first-seed {result.order.seed}"
    return "\n".join([again, result.error, *result.history])


@pytest.mark.parametrize("first", SEEDS[::SEEDS_A_TEST])
def test_everything_holds_whatever_goes_wrong(player: Player, first: int) -> None:
    """A job lost, doubled or shown to the wrong one is what nobody forgives."""
    for seed in range(first, first + SEEDS_A_TEST):
        result = player.play(Order(seed=seed))
        if not result.clean:
            result = result if result.error else smaller(player, result, runs_max=12)
            pytest.fail(wrong(result), pytrace=False)


def test_a_seed_is_one_history_in_any_process_and_after_any_other_seed(player: Player) -> None:
    """A failure that cannot be played again cannot be understood."""
    seeds = [3, 13]
    here = {seed: player.play(Order(seed=seed)) for seed in seeds}
    again = {seed: player.play(Order(seed=seed)) for seed in reversed(seeds)}
    other = Player()
    elsewhere = {seed: other.play(Order(seed=seed)) for seed in seeds[1:]}
    other.close()

    assert {seed: again[seed].digest for seed in seeds} == {
        seed: here[seed].digest for seed in seeds
    }
    assert all(elsewhere[seed].digest == here[seed].digest for seed in elsewhere)
    assert len({result.digest for result in here.values()}) == len(seeds)


def test_a_failing_run_is_told_by_its_seed_in_its_shortest_form(player: Player) -> None:
    """Whoever is woken by a failure reads one job's story, not ten thousand calls."""
    sabotage = "tests.simulation.sabotage:completed_from_any_state"
    failed = next(
        result
        for seed in range(2, 20)  # 2 is the first one that notices it
        if not (result := player.play(Order(seed=seed, sabotage=sabotage))).clean
    )
    told = smaller(player, failed, runs_max=8)

    assert len(told.jobs) < len(failed.jobs)
    assert len(told.troubles) <= len(failed.troubles)
    assert told.violations[0]["job"] in told.history[0]
    assert any("ledger: status=completed" in line for line in told.history)
    assert len(told.history) < 120
    assert player.play(told.order).digest == told.digest


def test_the_command_counts_runs_faults_and_checks() -> None:
    """A night's run is read by a program: its counts must be there."""
    done = CliRunner().invoke(
        app, ["simulate", "--seeds", "1", "--first-seed", "5", "--processes", "1", "--json"]
    )

    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["runs"], document["violations"]) == (1, 0)
    assert sum(document["checks"].values()) > 10
    assert document["checks"].keys() == {
        "ends_once",
        "one_result",
        "no_result_after_end",
        "gate_empty",
        "slot_held",
        "handed_over",
        "bounded_wait",
        "share_of_tier",
        "one_job_per_key",
        "epoch",
    }
    assert document["faults"]
