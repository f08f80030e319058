"""The console's HTTP: one page, one document, and a few actions.

Whoever can make this machine's browser send a request must not be able to press a button: another
site, in the same browser, or a name of its own that it points to this machine (DNS rebinding).
So every request must name this machine as its host; an action must besides be JSON, come from the
page's own origin, and carry the token that only the page knows.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX: Final = 10_000
PROOF_BYTES: Final = 32
PROOF_HEADER: Final = "x-console-token"
PROOF_PLACE: Final = "%PROOF%"
HTTP_PORT: Final = 80
FILES: Final[Mapping[str, str]] = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""What the page loads, all of it ours, with its type."""
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class ConsoleError(ValueError):
    """An action that cannot be done; the message says why, for the page's reader."""


class Console(Protocol):
    """What the page shows and does; every method may take seconds, in a thread of its own."""

    def document(self) -> dict[str, Any]:
        """Everything that the page shows."""
        ...

    def act(self, action: str, wanted: Mapping[str, Any]) -> str:
        """Do something; what was done, in a sentence.

        Raises:
            ConsoleError: It cannot be done.
        """
        ...


def application(console: Console, *, token: str | None = None) -> Starlette:
    """The console as an ASGI application.

    Args:
        console: What it shows and does.
        token: What an action has to carry; made up without it.
    """
    known, start = token or secrets.token_urlsafe(PROOF_BYTES), secrets.token_hex(8)
    page = files("spillway.console").joinpath("page")
    html = page.joinpath("index.html").read_text("utf-8").replace(PROOF_PLACE, known)

    async def state(_request: Request) -> Response:
        # A page that sees another start than its own loads itself again, for the new proof.
        return JSONResponse({**await run_in_threadpool(console.document), "start": start})

    async def act(request: Request) -> Response:
        refused = _no_page_of_ours(request, known)
        if refused:
            return _refusal(403, refused)
        wanted = await _body(request)
        if wanted is None:
            return _refusal(
                400, f"the body must be a JSON object of at most {BODY_BYTES_MAX} bytes"
            )
        try:
            told = await run_in_threadpool(console.act, request.path_params["action"], wanted)
        except ConsoleError as error:
            return _refusal(409, str(error))
        return JSONResponse({"told": told})

    routes = [
        Route("/", _fixed(html.encode(), "text/html; charset=utf-8")),
        Route("/state", state),
        Route("/actions/{action}", act, methods=["POST"]),
    ]
    for name, kind in FILES.items():
        routes.append(Route(f"/{name}", _fixed(page.joinpath(name).read_bytes(), kind)))
    app = Starlette(routes=routes)
    app.add_middleware(_OnlyHere)
    return app


def _fixed(body: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return Response(body, media_type=kind)

    return answer


def _no_page_of_ours(request: Request, token: str) -> str:
    """Why an action does not come from our page; empty if it does."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return "an action must be sent as application/json"
    # The host was checked: it is this machine, and our port.
    if request.headers.get("origin") != f"http://{request.headers['host']}":
        return "an action must come from the console's own page"
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return "an action must come from the console's own page"
    sent = request.headers.get(PROOF_HEADER, "")
    if not secrets.compare_digest(sent.encode(), token.encode()):
        return "the page is of an earlier start of the service: load it again"
    return ""


async def _body(request: Request) -> dict[str, Any] | None:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)


class _OnlyHere:
    """Answers only who names this machine, and tells browsers what the page may do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in _names(scope):
            answer = _refusal(421, "the console is at 127.0.0.1 and localhost only")
            await answer(scope, receive, told)
            return
        await self._app(scope, receive, told)


def _names(scope: Scope) -> set[str]:
    """How this machine may be called; a rebound name is another one."""
    port = scope["server"][1]
    names = {f"127.0.0.1:{port}", f"localhost:{port}"}
    return names | ({"127.0.0.1", "localhost"} if port == HTTP_PORT else set())
