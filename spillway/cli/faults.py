"""Faults of a twin's regions, through the control port of a running `spillway local`."""

from typing import Any, Final

import httpx

from spillway.cli.terminal import Code, CommandError, usage

CONTROL_TIMEOUT_S: Final = 10.0


def act(
    control_url: str | None, region: str, action: str, wanted: dict[str, Any]
) -> dict[str, Any]:
    """Do something to a region of the twin.

    Returns:
        What is wrong with it afterwards, and whether that `changed`.

    Raises:
        CommandError: There is no control port, or it refuses.
    """
    if not control_url:
        raise usage(
            f"{action} exists on the twin only: start `spillway local`, and set "
            "SPILLWAY_CONTROL_URL or give --control-url as it prints them"
        )
    before = faults_of(control_url).get(region)
    after = _ask(control_url, "POST", f"/{region}/{action}", json=wanted)["regions"][region]
    return {"region": region, **after, "changed": after != before}


def faults_of(control_url: str) -> dict[str, dict[str, Any]]:
    """What the twin's control port knows to be wrong, by region.

    Raises:
        CommandError: Nobody answers there.
    """
    faults: dict[str, dict[str, Any]] = _ask(control_url, "GET", "")["regions"]
    return faults


def _ask(control_url: str, method: str, path: str, **options: Any) -> dict[str, Any]:
    try:
        reply = httpx.request(
            method,
            f"{control_url.rstrip('/')}/regions{path}",
            timeout=CONTROL_TIMEOUT_S,
            trust_env=False,
            **options,
        )
        document: dict[str, Any] = reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise CommandError(
            f"no `spillway local` answers at {control_url}: {error}",
            exit_code=Code.UNREACHABLE,
            code="unreachable",
        ) from error
    if reply.status_code != httpx.codes.OK:
        problem = document.get("error", {})
        raise usage(str(problem.get("message", f"{control_url} answers {reply.status_code}")))
    return document
