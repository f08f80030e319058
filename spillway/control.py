"""The control port of a local deployment: its regions' faults, as HTTP on loopback.

`GET /regions` tells what is wrong with each region. `POST /regions/REGION/kill`, `isolate`
(`{"from": "global"}` or `"clients"`), `slow` (`{"factor": 10}`) and `restore` do what the methods
of `spillway.twin.regions.Regions` do, and answer like the former.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from spillway.twin.regions import SIDES, Regions, UnknownRegionError
from spillway.twin.twin import Twin

BODY_BYTES_MAX: Final = 10_000
STOP_S_MAX: Final = 10.0
JSON: Final = "application/json"


class ControlError(ValueError):
    """A request that asks for what does not exist."""

    def __init__(self, message: str, *, code: str, status: HTTPStatus) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def _isolate(regions: Regions, region: str, wanted: Mapping[str, Any]) -> None:
    if wanted.get("from") not in SIDES:
        raise ValueError(f"`from` must be one of {', '.join(SIDES)}")
    regions.isolate(region, wanted["from"])


def _slow(regions: Regions, region: str, wanted: Mapping[str, Any]) -> None:
    factor = wanted.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, int | float):
        raise ValueError("`factor` must be a number")  # noqa: TRY004 all of these are answered 400
    regions.slow(region, float(factor))


ACTIONS: Final[Mapping[str, Callable[[Regions, str, Mapping[str, Any]], None]]] = {
    "isolate": _isolate,
    "kill": lambda regions, region, _: regions.kill(region),
    "restore": lambda regions, region, _: regions.restore(region),
    "slow": _slow,
}


class ControlServer:
    """The control port.

    Args:
        twin: Whose regions; its loop runs in another thread.
        port: Where to listen; 0 takes a free one.
    """

    def __init__(self, twin: Twin, *, port: int = 0) -> None:
        self._twin = twin

        class Handler(_Handler):
            control = self

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="control", daemon=True
        )

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(STOP_S_MAX)
        self._server.server_close()

    def look(self) -> dict[str, Any]:
        """What is wrong with each region."""
        return {"regions": self._twin.scheduler.call(self._conditions)}

    def act(self, region: str, action: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Do something to a region.

        Raises:
            ControlError: There is no such region or action, or it cannot be done so.
        """
        if action not in ACTIONS:
            raise _not_found(f"there is no {action}; there is {', '.join(ACTIONS)}", "no_action")
        try:
            self._twin.scheduler.call(ACTIONS[action], self._twin.regions, region, wanted)
        except UnknownRegionError as error:
            raise _not_found(str(error), "no_region") from error
        except ValueError as error:
            raise _bad(str(error)) from error
        return self.look()

    def _conditions(self) -> dict[str, Any]:
        regions = self._twin.regions
        return {
            name: {
                "killed": condition.killed,
                "isolated_from": sorted(condition.isolated_from),
                "slow_factor": condition.slow_factor,
            }
            for name in regions.known
            for condition in [regions.condition(name)]
        }


class _Handler(BaseHTTPRequestHandler):
    """One request of the control port."""

    control: ControlServer

    def do_GET(self) -> None:
        self._answer(self._look)

    def do_POST(self) -> None:
        self._answer(self._act)

    def _look(self) -> dict[str, Any]:
        if self.path != "/regions":
            raise _not_found("there is GET /regions and POST /regions/REGION/ACTION", "no_path")
        return self.control.look()

    def _act(self) -> dict[str, Any]:
        found = re.fullmatch(r"/regions/([\w-]+)/([\w-]+)", self.path)
        if found is None:
            raise _not_found("there is GET /regions and POST /regions/REGION/ACTION", "no_path")
        return self.control.act(found[1], found[2], self._body())

    def _body(self) -> Mapping[str, Any]:
        # A page in a browser of this machine can send neither this type nor no Origin: nobody's
        # advertisement kills a region.
        if self.headers.get_content_type() != JSON or "Origin" in self.headers:
            raise _bad(f"the body must be {JSON}, and not be sent by a page of a browser")
        length = self.headers.get("Content-Length") or ""
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            raise _bad("the body must have a length, and be a small one")
        try:
            body = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise _bad("the body must be a JSON object")
        return body

    def _answer(self, handle: Callable[[], dict[str, Any]]) -> None:
        status = HTTPStatus.OK
        try:
            document = handle()
        except ControlError as error:
            status = error.status
            document = {"error": {"message": str(error), "code": error.code}}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 its parent's name
        """Log nothing: the terminal belongs to the service."""


def _not_found(message: str, code: str) -> ControlError:
    return ControlError(message, code=code, status=HTTPStatus.NOT_FOUND)


def _bad(message: str) -> ControlError:
    return ControlError(message, code="bad_request", status=HTTPStatus.BAD_REQUEST)
