"""How commands answer: a table for people or one JSON document for programs, and exit codes."""

import json
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup
from typer.exceptions import TyperException

from config.schema import ConfigError
from spillway.assembly import LocalError
from spillway.client import ServiceError
from spillway.cost import CostError
from spillway.images import ImagesError
from spillway.packaging import PackagingError
from spillway.registration import RegistrationError
from spillway.replay.plan import PlanError
from spillway.sagemaker_sdk import SdkMissingError
from spillway.traces import TraceError


class Code(IntEnum):
    """What a command's exit status says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_ALLOWED = 4
    TRY_LATER = 5
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS = {
    Code.OK: "done",
    Code.FAILED: "refused or failed",
    Code.USAGE: "wrong usage or configuration",
    Code.UNREACHABLE: "no answer, or the service is broken (5xx)",
    Code.NOT_ALLOWED: "the key is missing, wrong, or not allowed to do this (401, 403)",
    Code.TRY_LATER: "not now: try again after the time that the message names (429)",
    Code.INTERRUPTED: "interrupted",
    Code.TERMINATED: "terminated",
}
EXIT_CODES = "\n\n".join(
    ["Exit codes:", *(f"{code:d}  {meaning}" for code, meaning in MEANINGS.items())]
)

UNREACHABLE_CODES = frozenset(
    {
        "internal_error",
        "not_json",
        "not_spillway",
        "region_unavailable",
        "temporarily_unavailable",
        "timeout",
        "unreachable",
    }
)
"""Error codes of no answer, or of one that begins with 5."""

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document.")]
"""The option that every command has."""


class CommandError(Exception):
    """A command that cannot do what it was asked; told without a stack trace.

    Args:
        message: What is wrong and what is allowed.
        exit_code: What the exit status says.
        code: The machine-readable code.
        details: Further fields of the JSON answer.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: Code = Code.FAILED,
        code: str = "failed",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.details = details or {}


def usage(message: str) -> CommandError:
    """A command that was asked for something that does not exist."""
    return CommandError(message, exit_code=Code.USAGE, code="usage")


def answer(document: dict[str, Any], *, as_json: bool, render: Callable[[Console], None]) -> None:
    """Print a command's result, once."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        # Whoever starts `spillway local` in a pipe waits for these lines.
        sys.stdout.flush()
    else:
        render(Console())


def table(
    title: str | None, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: int = 0
) -> Table:
    """A table whose last `numbers` columns are aligned as numbers."""
    result = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for index, column in enumerate(columns):
        aligned = index >= len(columns) - numbers
        result.add_column(column, justify="right" if aligned else "left", no_wrap=index == 0)
    for row in rows:
        result.add_row(*("-" if cell is None else str(cell) for cell in row))
    return result


def typed_command() -> str:
    """How the running program is started from this directory: what can be pasted to run it again.

    `spillway` where the shell would find it, else the path of the executable.
    """
    started = Path(sys.argv[0])
    found = shutil.which("spillway")
    if found and started.name == "spillway" and started.exists() and Path(found).samefile(started):
        return "spillway"
    here = Path.cwd()
    if started.suffix == ".py":
        python = Path(sys.executable)
        shown = python.relative_to(here) if python.is_relative_to(here) else python
        return f"{shlex.quote(str(shown))} -m spillway.cli.main"
    path = here / started
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return shlex.quote(str(shown))


def progress_console() -> Console:
    """Where progress is shown: never on standard output, which belongs to the result."""
    return Console(stderr=True)


_EXPECTED: Final[Sequence[tuple[tuple[type[Exception], ...], Code, str]]] = (
    ((LocalError,), Code.FAILED, "local"),
    ((RegistrationError,), Code.FAILED, "registration"),
    ((SdkMissingError,), Code.FAILED, "sdk_missing"),
    (
        (ConfigError, CostError, ImagesError, PackagingError, PlanError, TraceError),
        Code.USAGE,
        "configuration",
    ),
)
"""Errors that tell their user what is wrong, with exit code and machine-readable code."""


def explain(error: Exception) -> CommandError | None:
    """Turn an expected error into what the user is told; None for one that is a defect of ours."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, ServiceError):
        return _explain_service(error)
    for kinds, exit_code, code in _EXPECTED:
        if isinstance(error, kinds):
            return CommandError(str(error), exit_code=exit_code, code=code)
    if isinstance(error, TyperException):
        return usage(error.format_message())
    return None


def _explain_service(error: ServiceError) -> CommandError:
    if error.status is None or error.status >= 500:  # noqa: PLR2004 HTTP
        exit_code = Code.UNREACHABLE
    else:
        exit_code = {
            401: Code.NOT_ALLOWED,
            403: Code.NOT_ALLOWED,
            429: Code.TRY_LATER,
        }.get(error.status, Code.FAILED)
    message = error.message
    if error.retry_after_s is not None:
        message += f" (try again in {error.retry_after_s:g} s)"
    details = {
        "status": error.status,
        "param": error.param,
        "retry_after_s": error.retry_after_s,
    }
    return CommandError(message, exit_code=exit_code, code=error.code, details=details)


def exit_code_of(code: str) -> Code:
    """What the exit status says about the error code of an answer, or of no answer."""
    if code in {"invalid_api_key", "not_allowed"}:
        return Code.NOT_ALLOWED
    if code in {"rate_limit", "in_flight_limit", "deadline_unreachable"}:
        return Code.TRY_LATER
    if code in UNREACHABLE_CODES:
        return Code.UNREACHABLE
    return Code.FAILED


class Commands(TyperGroup):
    """Commands whose errors are sentences, or one JSON document if that was asked for."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 the base class's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002
        **extra: Any,
    ) -> Any:
        """Run the command line, and exit with its code."""
        words = list(sys.argv[1:] if args is None else args)
        # A polite kill ends what was started, too: models' processes must not stay behind.
        before = signal.signal(signal.SIGTERM, _terminated)
        try:
            result = super().main(
                words,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except Exception as error:
            told = explain(error)
            if told is None:
                raise
            # A group without a command has printed its help, and has nothing to add.
            if str(told):
                _tell(told, as_json="--json" in words)
            result = told.exit_code
        finally:
            signal.signal(signal.SIGTERM, before)
        if not standalone_mode:
            return result
        raise SystemExit(result if isinstance(result, int) else Code.OK)


@contextmanager
def held_signals() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C and polite kills back, and give a function that raises what has arrived.

    A twin runs functions as greenlets of this thread: an interrupt that strikes one would count
    as that function's death, which the service survives.
    """
    arrived: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, _: arrived.append(number)) for kind in kinds]

    def check() -> None:
        if signal.SIGTERM in arrived:
            raise SystemExit(Code.TERMINATED)
        if arrived:
            raise KeyboardInterrupt

    try:
        yield check
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(Code.TERMINATED)


def _tell(error: CommandError, *, as_json: bool) -> None:
    if as_json:
        shown = {"error": {"message": str(error), "code": error.code, **error.details}}
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
    else:
        Console(stderr=True, highlight=False).print(
            f"spillway: {error}", style="red", markup=False, soft_wrap=True
        )
