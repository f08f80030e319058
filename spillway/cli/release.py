"""What operators do with releases: watch one, hold it, hurry it, or take it back.

Everything is read from and written into the ledger with boto3, through any region's replica, and
works alike on AWS and on the twin. The functions of each region act on it within a minute.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from config.schema import Deployment, load
from lambdas.domain.policy import Model
from lambdas.domain.release import Release, place
from spillway import releases
from spillway.cli.aws import EndpointUrl, at_a_replica, only_where_meant
from spillway.cli.deployment import CONFIG, Config, WrittenConfig, named, said, to_write
from spillway.cli.terminal import (
    Code,
    CommandError,
    Json,
    answer,
    progress_console,
    table,
    typed_command,
    usage,
)
from spillway.releases import Change, Records, ReleaseError

Done = TypeVar("Done")

LOOK_EVERY_S = 5.0
UNANSWERED_MAX = 24
"""Looks in a row that nobody answers, two minutes' worth, after which `watch` gives up."""
TIMEOUT_S = 21_600.0
"""Six hours: three regions with the times of production take two."""
HISTORY = 20

app = typer.Typer(no_args_is_help=True, help="Watch, hold and take back releases (operators).")

ModelName = Annotated[str, typer.Argument(metavar="MODEL", show_default=False)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command is about."""

    deployment: Deployment
    model: Model
    endpoint_url: str | None

    def at_ledger(self, act: Callable[[Records], Done]) -> Done:
        """Do something through the first replica of the ledger that answers."""
        only_where_meant(self.endpoint_url)
        ledger = self.deployment.names.ledger
        try:
            return at_a_replica(
                ledger,
                self.deployment.regions,
                self.endpoint_url,
                lambda replica: act(Records(replica.client(), ledger, time.sleep)),
                missing_code="no_ledger",
            )
        except ReleaseError as error:
            raise CommandError(str(error), code=error.code) from error

    def read(self) -> Release:
        """The record, which must be there."""
        return self.at_ledger(lambda records: records.read(self.model.name))

    def change(self, change: Change) -> tuple[Release, bool]:
        """Change the record; the record then, and whether it changed."""
        return self.at_ledger(lambda records: records.change(self.model.name, change))

    def status(self, release: Release) -> dict[str, Any]:
        """The record for programs."""
        return releases.status(release, self.model, self.deployment.regions)


def _to_change(config: Path | None, model: str, endpoint_url: str | None) -> Asked:
    only_where_meant(endpoint_url)
    return _of(to_write(config, endpoint_url), model, endpoint_url)


def _asked(config: Path, model: str, endpoint_url: str | None) -> Asked:
    return _of(load(config), model, endpoint_url)


def _of(deployment: Deployment, model: str, endpoint_url: str | None) -> Asked:
    if model not in deployment.models:
        raise usage(f"there is no model {model}; there is {', '.join(deployment.models)}")
    return Asked(deployment, deployment.policy().models[model], endpoint_url)


@app.command("status")
def status(
    model: ModelName,
    *,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Show which version is live, which is on trial and where, and what it waits for."""
    asked = _asked(config, model, endpoint_url)
    document = asked.status(asked.read())
    answer(document, as_json=as_json, render=lambda console: _show(console, document))


@app.command("history")
def history(
    model: ModelName,
    *,
    limit: Annotated[int, typer.Option(min=1, max=50, help="The newest so many.")] = HISTORY,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Show what happened to a model's versions, the newest last."""
    release = _asked(config, model, endpoint_url).read()
    events: list[dict[str, Any]] = release.document()["events"][-limit:]
    rows = [
        (
            _moment(event["at_ms"]),
            event["what"],
            event["version"],
            event["region"] or "",
            "" if event["share"] is None else f"{event['share']:.0%}",
            event["why"],
        )
        for event in events
    ]
    answer(
        {"model": model, "events": events},
        as_json=as_json,
        render=lambda console: console.print(
            table(None, ("when (UTC)", "what", "version", "region", "share", "why"), rows)
        ),
    )


@app.command("watch")
def watch(
    model: ModelName,
    *,
    version: Annotated[
        str | None, typer.Option(help="Which; the one that the configuration wants.")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="Seconds.")] = TIMEOUT_S,
    config: Config = CONFIG,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Wait until a version is live in every region: one watch for all of them, however they fare.

    It reads the one record that all regions write, through any of them. Exits with 0 then; with 1
    if it was taken back or is not wanted any more, with 5 if it takes longer than the timeout.
    """
    asked = _asked(config, model, endpoint_url)
    wanted = version or asked.model.wanted
    if wanted not in asked.model.versions:
        known = ", ".join(asked.model.versions)
        raise usage(f"{model} has no version {wanted}; there is {known}")
    release = _watched(asked, wanted, timeout_s, progress_console())
    document = asked.status(release)
    answer(
        document,
        as_json=as_json,
        render=lambda console: _print(console, f"{wanted} is live in every region"),
    )


@app.command("promote")
def promote(
    model: ModelName,
    *,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Wait no longer in the present step: the next one begins within a minute, if all is well."""
    asked = _to_change(config, model, endpoint_url)
    release, changed = asked.change(releases.promoted(_now_ms()))
    at = place(release)
    where = f" in {at.region}" if at else ""
    text = f"{release.candidate} goes on{where} as soon as all is well there"
    _tell(asked, release, changed, text, f"{release.candidate} is promoted already", as_json)


@app.command("pause")
def pause(
    model: ModelName,
    *,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Hold the release where it is, and begin none; what turns out to be bad still goes back."""
    asked = _to_change(config, model, endpoint_url)
    release, changed = asked.change(releases.paused(_now_ms()))
    again = f"`{typed_command()} release resume {model}` lets them go on"
    text = f"releases of {model} are paused; {again}"
    _tell(asked, release, changed, text, f"releases of {model} were paused already", as_json)


@app.command("resume")
def resume(
    model: ModelName,
    *,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Let a paused release go on; its present step begins anew."""
    asked = _to_change(config, model, endpoint_url)
    release, changed = asked.change(releases.resumed(_now_ms()))
    text = f"releases of {model} go on"
    _tell(asked, release, changed, text, f"releases of {model} were not paused", as_json)


@app.command("rollback")
def rollback(
    model: ModelName,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="Which; the one on trial.", show_default=False),
    ] = None,
    *,
    why: Annotated[str, typer.Option(help="For the history.")] = "an operator took it back",
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Take the version on trial back, or a live one that is named, in every region at once.

    It is in quarantine until `clear`. Given twice, the second one changes nothing.
    """
    asked = _to_change(config, model, endpoint_url)
    back = releases.TakeBack(asked.model, version, why, _now_ms())
    release, changed = asked.change(back)
    text = (
        f"{back.version} gets no further job; {release.live} answers, and jobs wait while it warms "
        f"up. `{typed_command()} release clear {model} {back.version}` lets it be released again"
    )
    _tell(asked, release, changed, text, f"{back.version} is in quarantine already", as_json)


@app.command("clear")
def clear(
    model: ModelName,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="Which; the only one.", show_default=False),
    ] = None,
    *,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Let a version out of quarantine: if it is wanted, its release begins anew."""
    asked = _to_change(config, model, endpoint_url)
    release, changed = asked.change(releases.cleared(version, now_ms=_now_ms()))
    name = release.events[-1].version
    text = f"{name} is out of quarantine"
    if name == asked.model.wanted and name != release.live:
        text += "; its release begins within a minute"
    _tell(asked, release, changed, text, "nothing changed", as_json)


def _watched(asked: Asked, wanted: str, timeout_s: float, console: Console) -> Release:
    """Look until the version is live.

    Raises:
        CommandError: It was taken back or dropped, takes too long, or nobody answers.
    """
    until_s, unanswered, told = time.monotonic() + timeout_s, 0, ""
    begun = False
    while True:
        try:
            release = asked.at_ledger(lambda records: records.find(asked.model.name))
            unanswered = 0
        except CommandError as error:
            unanswered += 1
            if error.exit_code != Code.UNREACHABLE or unanswered >= UNANSWERED_MAX:
                raise
            release = None
        if release is not None:
            if release.live == wanted and wanted not in release.quarantined:
                return release
            _ended(asked, release, wanted, begun=begun)
            begun = begun or release.candidate == wanted
            now = _progress(release, wanted)
            if now != told:
                console.print(f"{_moment(_now_ms())} {now}", highlight=False, soft_wrap=True)
                told = now
        if time.monotonic() >= until_s:
            raise CommandError(
                f"{wanted} is not live after {timeout_s:g} s: {told or 'there is no record yet'}",
                exit_code=Code.TRY_LATER,
                code="timeout",
            )
        time.sleep(min(LOOK_EVERY_S, max(0.0, until_s - time.monotonic())))


def _ended(asked: Asked, release: Release, wanted: str, *, begun: bool) -> None:
    """Say why a release ended without a result, if it did."""
    details = {"release": asked.status(release)}
    if wanted in release.quarantined:
        raise CommandError(
            f"{wanted} was taken back: {release.quarantined[wanted]}; "
            f"`{typed_command()} release clear {release.model} {wanted}` lets it be released again",
            code="rolled_back",
            details=details,
        )
    if begun and release.candidate != wanted:
        why = next((e.why for e in reversed(release.events) if e.what == "dropped"), "")
        raise CommandError(
            f"{wanted} is not released any more: {why or 'its release was dropped'}",
            code="dropped",
            details=details,
        )


def _progress(release: Release, wanted: str) -> str:
    at = place(release)
    held = "paused; " if release.paused else ""
    waits = f": {release.waits}" if release.waits else ""
    if at is None or release.candidate != wanted:
        return f"{held}{release.live} is live, {wanted} has not begun{waits}"
    return f"{held}{wanted} is at step {at.step} in {at.region}{waits}"


def _show(console: Console, document: dict[str, Any]) -> None:
    _print(console, f"live       {document['live']}")
    if document["candidate"]:
        _print(
            console,
            f"on trial   {document['candidate']}, step {document['step']} in {document['region']} "
            f"({document['step_number']} of {document['steps']}) since "
            f"{_moment(document['since_ms'])}",
        )
    if document["judged"]:
        _print(console, f"last step  {document['judged']}")
    if document["until_ms"] is not None:
        _print(console, f"watched    until {_moment(document['until_ms'])}")
    if document["paused"]:
        _print(console, "paused     only rollbacks go on")
    if document["waits"]:
        _print(console, f"waits      {document['waits']}")
    if document["previous"]:
        _print(console, f"before it  {document['previous']}")
    for version, why in document["quarantined"].items():
        _print(console, f"quarantine {version}: {why}")
    rows = [
        (region, *(_shares(tiers[tier]) for tier in ("interactive", "standard", "batch")))
        for region, tiers in document["shares"].items()
    ]
    console.print(table(None, ("region", "interactive", "standard", "batch"), rows))


def _shares(shares: dict[str, float]) -> str:
    parts = [f"{version} {share:.0%}" for version, share in shares.items() if share > 0]
    return ", ".join(parts) or "nothing: no version may answer"


def _tell(
    asked: Asked,
    release: Release,
    changed: bool,  # noqa: FBT001
    text: str,
    unchanged: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    document = asked.status(release) | {"changed": changed} | named(asked.deployment)
    line = said(asked.deployment, text if changed else f"{unchanged}: nothing changed")
    answer(document, as_json=as_json, render=lambda console: _print(console, line))


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _now_ms() -> int:
    return int(time.time() * 1000)
