"""Signals and errors, as every command meets them."""

import os
import signal
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from spillway.cli.main import app
from spillway.cli.terminal import Commands, explain, held_signals


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
