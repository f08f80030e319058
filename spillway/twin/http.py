"""HTTP to the twin: real sockets on loopback, or clients in this process without any.

On the wall clock `ApiServer` serves every region's API below one address and `AwsServer` every
AWS operation, so that curl, browsers and other people's boto3 reach the deployment. On either
clock `Transport` and `AsyncTransport` put an `httpx` client straight onto the API: no port, no
thread, and on the virtual clock no time but the one that the stacks take.
"""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import anyio.to_thread
import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from spillway.twin.apigateway import (
    BODY_BYTES_MAX,
    ApiGateway,
    HttpRequest,
    HttpResponse,
    UnknownDomainError,
    UnreachableError,
)
from spillway.twin.clock import Scheduler
from spillway.twin.links import Links
from spillway.twin.route53 import NoSuchNameError, Resolver
from spillway.twin.serving import Serving

# API Gateway answers within its integration timeout of 29 s; the rest is for a loop under load.
ANSWER_SECONDS_MAX: Final = 120.0
STOP_SECONDS_MAX: Final = 10.0


def regional(gateway: ApiGateway, request: HttpRequest) -> HttpResponse:
    """Serve a request whose path begins with the region: `/us-east-1/v1/jobs`.

    Runs in a task. The region counts as the base of the path, like the base path mapping of a
    custom domain, so that links which a function derives from its event lead back here.
    """
    region, _, rest = request.path.removeprefix("/").partition("/")
    if region not in gateway.regions():
        known = ", ".join(f"/{name}/" for name in gateway.regions()) or "none yet"
        message = f"the path must begin with a region of the deployment: {known}"
        body = {"error": {"message": message, "type": "invalid_request_error", "code": "no_region"}}
        return HttpResponse(
            status=404,
            headers=[("Content-Type", "application/json")],
            body=json.dumps({"error": {**body["error"], "param": None}}).encode(),
        )
    moved = HttpRequest(
        method=request.method,
        path=f"/{rest}",
        query=request.query,
        headers=request.headers,
        body=request.body,
        source_ip=request.source_ip,
        base=f"/{region}",
    )
    return gateway.handle(region, moved)


class ApiServer:
    """Every region's API on one loopback port, on the wall clock.

    Args:
        scheduler: Runs each request as a task; its loop runs in another thread.
        gateway: The APIs.
        port: Where to listen; 0 takes a free one.
    """

    def __init__(self, scheduler: Scheduler, gateway: ApiGateway, *, port: int = 0) -> None:
        self._scheduler = scheduler
        self._gateway = gateway
        self._serving = Serving(self._app, port=port, name="API")
        self.url = self._serving.url

    def start(self) -> None:
        """Listen; return once connections are accepted.

        Raises:
            RuntimeError: The server did not start.
        """
        self._serving.start()

    def close(self) -> None:
        """Stop listening, and give requests under way a second."""
        self._serving.close()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve every path and method: which there are is the gateway's business."""
        response = await self._serve(Request(scope, receive))
        await response(scope, receive, send)

    async def _serve(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > BODY_BYTES_MAX:
                break
        asked = HttpRequest(
            method=request.method,
            path=request.scope["raw_path"].decode("ascii"),
            query=request.url.query,
            headers=[(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers.raw],
            body=body,
            source_ip=request.client.host if request.client else "127.0.0.1",
        )
        try:
            answer = await asyncio.wait_for(self._answer(asked), ANSWER_SECONDS_MAX)
        except UnreachableError:
            request.scope["state"]["abort"]()
            await asyncio.sleep(0)  # The server notices, and sends nothing.
            return Response()
        response = Response(answer.body, answer.status)
        response.raw_headers += [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in answer.headers
        ]
        return response

    def _answer(self, request: HttpRequest) -> "asyncio.Future[HttpResponse]":
        """Run a request in the twin's loop, and hear of its end in this thread's."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[HttpResponse] = loop.create_future()

        def settle(error: BaseException | None, response: HttpResponse | None) -> None:
            if future.done():
                return
            if isinstance(error, UnreachableError):
                future.set_exception(error)
            elif error is not None or response is None:
                future.set_exception(RuntimeError(f"the twin failed: {type(error).__name__}"))
            else:
                future.set_result(response)

        def begin() -> None:
            task = self._scheduler.spawn(regional, self._gateway, request, name="http")
            task.on_done(
                lambda task: loop.call_soon_threadsafe(
                    settle, task.error, None if task.error else task.result()
                )
            )

        self._scheduler.post(begin)
        return future


class AwsServer:
    """Every AWS operation of the twin on one loopback port, as moto's own server offers them.

    Each request runs in the twin's loop, so operators and functions never see each other's
    changes half done.

    Args:
        scheduler: Runs each request as a task; its loop runs in another thread.
        port: Where to listen; 0 takes a free one.
        away: Whether a region's services answer nothing: connections to them break off.
        links: Serves presigned links, whose host is the first part of the path here.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        port: int = 0,
        away: Callable[[str], bool] = lambda _: False,
        links: Links | None = None,
    ) -> None:
        backends = DomainDispatcherApplication(create_backend_app)

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if links is not None and _LINK.match(environ["RAW_URI"]):
                return _linked(scheduler, links, environ, start_response)
            if away(_region(environ)):
                raise ConnectionAbortedError
            # Read here, in the connection's thread: the loop must not wait for a socket.
            length = int(environ.get("CONTENT_LENGTH") or 0)
            whole = {**environ, "wsgi.input": BytesIO(environ["wsgi.input"].read(length))}
            parts: list[bytes] = scheduler.call(
                lambda: list(backends(whole, start_response)),
                timeout_s=ANSWER_SECONDS_MAX,
                name="aws",
            )
            return parts

        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", port, app, threaded=True, request_handler=_Quiet
        )
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="aws", daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(STOP_SECONDS_MAX)
        self._server.server_close()


def _region(environ: Mapping[str, Any]) -> str:
    """The region that a request is signed for; empty if it is not signed."""
    signature = environ.get("HTTP_AUTHORIZATION", "") or unquote(environ.get("QUERY_STRING", ""))
    found = re.search(r"Credential=[^/]*/\d{8}/([a-z0-9-]+)/", signature)
    return found[1] if found else ""


_LINK: Final = re.compile(r"/[^/]+\.s3[.-][a-z0-9.-]*amazonaws\.com/")
"""A host of S3 as the first part of a path: no bucket's name looks like it."""


def _linked(
    scheduler: Scheduler,
    links: Links,
    environ: dict[str, Any],
    start_response: Callable[..., Any],
) -> Iterable[bytes]:
    """Serve a presigned link in the twin's loop."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in {"CONTENT_LENGTH", "CONTENT_TYPE"} and value)
    }
    url = f"https://{environ['RAW_URI'].removeprefix('/')}"
    method = environ["REQUEST_METHOD"]
    try:
        answer: HttpResponse = scheduler.call(
            lambda: links.serve(method, url, headers, body),
            timeout_s=ANSWER_SECONDS_MAX,
            name="link",
        )
    except UnreachableError:
        raise ConnectionAbortedError from None
    status = f"{answer.status} {httpx.codes.get_reason_phrase(answer.status)}"
    found = {name.lower(): value for name, value in answer.headers}
    if method != "HEAD":
        found["content-length"] = str(len(answer.body))
    start_response(status, list(found.items()))
    return [b"" if method == "HEAD" else answer.body]


class LinkTransport(httpx.BaseTransport):
    """Puts an `httpx.Client` onto S3's presigned links, in this process.

    Args:
        scheduler: The twin's clock.
        links: S3.
    """

    def __init__(self, scheduler: Scheduler, links: Links) -> None:
        self._scheduler = scheduler
        self._links = links

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Serve one request.

        Raises:
            httpx.ConnectTimeout: The bucket's region cannot be reached.
        """
        body = request.read()
        try:
            answer = cast(
                "HttpResponse",
                self._scheduler.call(
                    self._links.serve,
                    request.method,
                    str(request.url),
                    dict(request.headers),
                    body,
                    timeout_s=ANSWER_SECONDS_MAX,
                    name="link",
                ),
            )
        except UnreachableError as error:
            raise httpx.ConnectTimeout(str(error), request=request) from None
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)


class _Quiet(WSGIRequestHandler):
    def connection_dropped(
        self, error: BaseException, environ: dict[str, Any] | None = None
    ) -> None:
        """Drop it on this side, too."""
        self.close_connection = True

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 werkzeug's name
        """Log nothing: addresses of requests may carry payloads."""


class Transport(httpx.BaseTransport):
    """Puts an `httpx.Client` onto the API, in this process.

    Args:
        scheduler: The twin's clock.
        gateway: The APIs.
        region: Whose API; without one the path begins with the region, as on `ApiServer`.
        resolver: Finds the API by the URL's host instead. Every request asks it: unlike a client
            on a network, this one keeps no connection open past an answer's time to live.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        gateway: ApiGateway,
        *,
        region: str | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._gateway = gateway
        self._region = region
        self._resolver = resolver

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Serve one request.

        Raises:
            httpx.ReadTimeout: It took longer than the client's read timeout, on the twin's clock.
            httpx.ConnectTimeout: The region cannot be reached.
            httpx.ConnectError: The host has no address, or no certificate where it leads.
        """
        answer = self._answer(_asked(request, request.read()), request)
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)

    def _answer(self, asked: HttpRequest, request: httpx.Request) -> HttpResponse:
        timeouts = cast("Mapping[str, float | None]", request.extensions.get("timeout", {}))
        timeout_s = timeouts.get("read") or ANSWER_SECONDS_MAX
        gives_up_s = self._scheduler.now() + timeout_s

        def serve() -> HttpResponse:
            if self._resolver is not None:
                found = self._resolver.lookup(request.url.host)
                return self._gateway.serve(found.target, asked)
            if self._region is None:
                return regional(self._gateway, asked)
            return self._gateway.handle(self._region, asked)

        try:
            if self._scheduler.current is not None:
                # A client that is a task itself: `call` would know no timeout.
                task = self._scheduler.spawn(serve, name="http")
                return cast("HttpResponse", self._scheduler.wait(task, timeout_s))
            return cast(
                "HttpResponse", self._scheduler.call(serve, timeout_s=timeout_s, name="http")
            )
        except TimeoutError:
            raise httpx.ReadTimeout("the API took too long", request=request) from None
        except (NoSuchNameError, UnknownDomainError) as error:
            raise httpx.ConnectError(str(error), request=request) from None
        except UnreachableError as error:
            if error.connected:
                self._wait(gives_up_s - self._scheduler.now())
                raise httpx.ReadTimeout(str(error), request=request) from None
            self._wait(timeouts.get("connect") or ANSWER_SECONDS_MAX)
            raise httpx.ConnectTimeout(str(error), request=request) from None

    def _wait(self, seconds: float) -> None:
        self._scheduler.call(self._scheduler.sleep, seconds, timeout_s=seconds + 1.0)


class AsyncTransport(httpx.AsyncBaseTransport):
    """Puts an `httpx.AsyncClient` onto the API; see `Transport`."""

    def __init__(
        self,
        scheduler: Scheduler,
        gateway: ApiGateway,
        *,
        region: str | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._transport = Transport(scheduler, gateway, region=region, resolver=resolver)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Serve one request; on the virtual clock, before anything else in this event loop."""
        asked = _asked(request, await request.aread())
        if self._scheduler.virtual:
            answer = self._transport._answer(asked, request)  # noqa: SLF001 its other half
        else:
            answer = await anyio.to_thread.run_sync(self._transport._answer, asked, request)  # noqa: SLF001
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)


def _asked(request: httpx.Request, body: bytes) -> HttpRequest:
    target = urlsplit(request.url.raw_path.decode("ascii"))
    return HttpRequest(
        method=request.method,
        path=target.path,
        query=target.query,
        headers=[(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers.raw],
        body=body,
    )
