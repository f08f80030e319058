"""Signals and errors, as every command meets them."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from config.schema import load
from spillway.cli import local
from spillway.cli.main import app
from spillway.cli.story import of_bad_version, of_outage, of_scale_outs, teller
from spillway.cli.terminal import Commands, explain, held_signals, typed_command
from spillway.replay.bad_version import TakenBack
from spillway.replay.outage import Seen
from spillway.replay.scaled_out import ScaleOut

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_signals_are_held_back_until_somebody_looks(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    """An interrupt inside the twin would count as a function's death, and be survived."""
    before = signal.getsignal(number)
    with held_signals() as check:
        check()
        os.kill(os.getpid(), number)
        with pytest.raises(raised):
            check()
    assert signal.getsignal(number) is before


def test_a_defect_of_ours_is_not_dressed_up_as_the_users_mistake() -> None:
    """A sentence instead of a stack trace would hide the bug from whoever could fix it."""
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def broken() -> None:
        raise ZeroDivisionError

    @app.command()
    def other() -> None:
        """Make it a group."""

    assert explain(ZeroDivisionError()) is None
    assert isinstance(CliRunner().invoke(app, ["broken"]).exception, ZeroDivisionError)


def test_ctrl_c_exits_with_130() -> None:
    """Shells and pipelines tell an interrupted command from a failed one."""
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    @app.command()
    def other() -> None:
        """Make it a group."""

    assert CliRunner().invoke(app, ["interrupted"]).exit_code == 130


def test_the_version_is_told() -> None:
    """The first question of whoever reads a report of a fault."""
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"spillway {version('spillway')}\n"


@pytest.mark.parametrize("words", [[], ["region"], ["tenant"]])
def test_a_group_without_a_command_shows_its_help_and_no_more(words: list[str]) -> None:
    """An error without words makes people look for what they did wrong."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "Usage:" in result.stdout
    assert result.stderr == ""


def test_commands_for_a_running_service_do_not_load_the_twin() -> None:
    """Five seconds of imports before every `status` in a script are five seconds too many."""
    commands = [
        ["--version"],
        ["status", "job_a", "--url", "http://127.0.0.1:9"],
        ["submit", "embedder", "{}", "--url", "http://127.0.0.1:9"],
        ["tenant", "list", "--endpoint-url", "http://127.0.0.1:9"],
        ["region", "list", "--endpoint-url", "http://127.0.0.1:9"],
    ]
    program = f"""
import json, sys
from typer.testing import CliRunner
from spillway.cli.main import app

codes = [CliRunner().invoke(app, words).exit_code for words in {commands!r}]
print(json.dumps([codes, [name for name in ("moto", "aws_cdk") if name in sys.modules]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "SPILLWAY_CONTROL_URL": "",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [[0, 3, 3, 3, 3], []]


@pytest.mark.parametrize(
    ("started", "on_path", "typed"),
    [
        ("bin/spillway", False, "bin/spillway"),
        ("{here}/bin/spillway", False, "bin/spillway"),
        ("{here}/bin/spillway", True, "spillway"),
        ("{here}/spillway/cli/main.py", False, "-m spillway.cli.main"),
    ],
)
def test_what_is_printed_to_be_typed_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str, on_path: bool, typed: str
) -> None:
    """The first thing that a newcomer pastes must not be `command not found`."""
    program = tmp_path / "bin" / "spillway"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(program.parent) if on_path else "/nowhere")
    monkeypatch.setattr(sys, "argv", [started.format(here=tmp_path)])

    assert typed_command().endswith(typed)
    config = ROOT / "config" / "dev.yaml"
    commands = local._commands(load(config), config)
    assert all(each.startswith(f"{typed_command()} ") for each in commands)
    for each in commands:
        words = each.removeprefix(typed_command()).split()
        assert CliRunner().invoke(app, [*words[:2], "--help"]).exit_code == 0


def test_an_outage_is_told_step_by_step_and_each_step_once() -> None:
    """A region that dies in silence is a demonstration of nothing."""
    text = StringIO()
    seen = Seen("us-east-2")
    tell = teller(lambda: of_outage(seen), Console(file=text), lambda: 61.4)
    tell()
    assert text.getvalue() == ""
    seen.died, seen.held = True, 14
    for lost_s, moved_s in ((None, None), (34.0, None), (34.0, 39.0)):
        seen.lost_s, seen.moved_s = lost_s, moved_s
        tell()
        tell()
    died, lost, moved = text.getvalue().splitlines()
    assert died.startswith("   61 s  ")
    assert "us-east-2 dies, holding 14 unfinished jobs" in died
    assert "declared lost by its peers, 34 s after" in lost
    assert "no unfinished job any more, 39 s after" in moved


def test_a_fleet_that_grows_is_told_with_its_times() -> None:
    """Who watches wants to know how long new instances take to come."""
    asked = ScaleOut("us-east-1", "chat", "v1", "burst", 1, 4, asked_s=64.7, served_s=None)
    told = dict(of_scale_outs([asked, replace(asked, served_s=324.7)]))

    assert set(told) == {"asked 0", "asked 1", "served 1"}
    assert "the burst alarm asks for 4 instances instead of 1" in told["asked 0"]
    assert "4 instances serve, 260 s after they were asked for" in told["served 1"]


def test_a_bad_version_is_told_with_what_took_it_back() -> None:
    """Nobody believes in a rollback without its reason."""
    seen = TakenBack("chat", "v2")
    assert list(of_bad_version(seen, before="v1")) == []
    seen.tried_s, seen.region, seen.share, seen.failed = 3.0, "us-east-1", 0.5, 7
    seen.back_s, seen.why = 65.0, "guard failures in us-east-1"

    told = dict(of_bad_version(seen, before="v1"))

    assert "gets 50% of the batch jobs in us-east-1" in told["tried"]
    assert "taken back everywhere, 62 s after that, for guard failures" in told["back"]
    assert "v1 answers the 7 jobs that it failed" in told["back"]
