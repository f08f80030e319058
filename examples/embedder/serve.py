"""The container's entry: `python -m examples.embedder.serve serve`, from the project's root.

It keeps SageMaker's contract (`GET /ping`, `POST /invocations`) for one instance, and speaks the
bodies of OpenAI's embeddings route. The port is bound only once the model is loaded and has
answered once, so whoever connects finds a warm model.

Environment:
    SAGEMAKER_BIND_TO_PORT: Port to listen on, 8080 if unset.
    SPILLWAY_BIND_HOST: Address to listen on, every one if unset, as a container needs; the twin
        sets 127.0.0.1.
    SPILLWAY_MODEL_DIR: Directory of the model's files, if not one of the usual places.
    OPENBLAS_NUM_THREADS: Cores for one pass, 1 if unset, so that instances do not fight over them.

Payloads are never logged: standard error gets a line at start, at stop, and for a failure of ours.
"""

import base64
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from examples.embedder import DIMENSIONS, MODEL

if TYPE_CHECKING:
    from types import FrameType

    from examples.embedder.model import Embeddings

PORT_DEFAULT: Final = 8080
# As much as Spillway accepts of a client, so that nothing accepted there is refused here.
BODY_BYTES_MAX: Final = 4 << 20
# Read and thrown away of a body that is too large, so that its sender reads the 413 and not a
# broken connection.
DISCARDED_BYTES_MAX: Final = 4 * BODY_BYTES_MAX
# 256 texts of 256 tokens take about 40 seconds on one core: under SageMaker's 60 seconds.
TEXTS_MAX: Final = 256
# Requests held at once, the one being computed included; each may hold a body in memory.
REQUESTS_MAX: Final = 32
# A silent client is dropped before SageMaker kills a stopping container, after 30 seconds.
SILENCE_SECONDS_MAX: Final = 20
FIELDS: Final = ("dimensions", "encoding_format", "input", "model", "user")
ROUTES: Final = {"/ping": "GET", "/invocations": "POST"}


class Encoder(Protocol):
    """What turns texts into vectors: `model.Encoder`, or a double of it."""

    def encode(self, texts: Sequence[str]) -> "Embeddings":
        """Embed each text."""


class RequestError(Exception):
    """The client asked for something that it cannot have."""

    def __init__(
        self, message: str, *, code: str, param: str | None = None, status: int = 400
    ) -> None:
        """Say what is wrong and what is allowed, without quoting the payload."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request that can be answered."""

    texts: tuple[str, ...]
    as_base64: bool


def question_in(body: bytes) -> Question:
    """Read the body of `POST /invocations`.

    Args:
        body: OpenAI's embeddings request, as JSON.

    Returns:
        The texts and how the client wants their vectors.

    Raises:
        RequestError: The body is not such a request; `param` names the field.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("the body is not valid JSON", code="invalid_json") from None
    if not isinstance(request, dict):
        raise RequestError(
            'the body must be a JSON object like {"input": "text"}', code="invalid_type"
        )
    for field in request:
        if field not in FIELDS:
            raise RequestError(
                f"unknown field; allowed are {', '.join(FIELDS)}",
                code="unknown_field",
                param=field[:64],
            )
    for field in ("model", "user"):
        # The caller's names for the model and for its user: a container serves one model.
        if not isinstance(request.get(field, ""), str):
            raise RequestError(f"{field} must be a string", code="invalid_type", param=field)
    dimensions = request.get("dimensions", DIMENSIONS)
    if isinstance(dimensions, bool) or dimensions != DIMENSIONS:
        raise RequestError(
            f"{MODEL} has {DIMENSIONS} dimensions and no others",
            code="invalid_value",
            param="dimensions",
        )
    encoding_format = request.get("encoding_format", "float")
    if encoding_format not in ("float", "base64"):
        raise RequestError(
            'encoding_format must be "float" or "base64"',
            code="invalid_value",
            param="encoding_format",
        )
    return Question(texts=texts_in(request.get("input")), as_base64=encoding_format == "base64")


def texts_in(given: object) -> tuple[str, ...]:
    """Check `input`: one text or several, none of them empty.

    Args:
        given: Whatever the client sent.

    Returns:
        At least one and at most `TEXTS_MAX` texts.

    Raises:
        RequestError: It is something else, token numbers included.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RequestError(
            "input must be a string or an array of strings", code="invalid_type", param="input"
        )
    if not 1 <= len(texts) <= TEXTS_MAX:
        raise RequestError(
            f"input must hold 1 to {TEXTS_MAX} texts, not {len(texts)}",
            code="invalid_value",
            param="input",
        )
    for index, text in enumerate(texts):
        # Half a surrogate pair is legal in JSON, and no text.
        if not text or any("\ud800" <= character <= "\udfff" for character in text):
            raise RequestError(
                f"text {index} of input is empty or not valid Unicode",
                code="invalid_value",
                param="input",
            )
    return tuple(texts)


def answer_to(question: Question, embeddings: "Embeddings") -> dict[str, Any]:
    """Write the vectors as OpenAI's embeddings answer.

    Args:
        question: Decides between base64 and numbers.
        embeddings: One vector per text of the question.

    Returns:
        The body: vectors as little-endian float32 in base64, as OpenAI's client asks for, or as
        numbers of six significant digits, which is half the bytes of all of them.
    """
    vectors: list[object]
    if question.as_base64:
        vectors = [
            base64.b64encode(row.astype("<f4").tobytes()).decode() for row in embeddings.vectors
        ]
    else:
        vectors = [
            [float(f"{number:.6g}") for number in row] for row in embeddings.vectors.tolist()
        ]
    return {
        "object": "list",
        "model": MODEL,
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": embeddings.tokens, "total_tokens": embeddings.tokens},
    }


class EmbeddingServer(ThreadingHTTPServer):
    """One instance: any number of connections, one pass through the model at a time."""

    # Stopping waits for the answers under way.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], encoder: Encoder) -> None:
        """Bind the address; connections are accepted from here on.

        Args:
            address: Host and port; port 0 takes a free one.
            encoder: A loaded model.

        Raises:
            OSError: The address is taken or not ours.
        """
        super().__init__(address, ContainerHandler)
        self.encoder = encoder
        self.places = threading.BoundedSemaphore(REQUESTS_MAX)
        self.turn = threading.Lock()

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away; other failures have been answered."""

    def answer(self, body: bytes) -> dict[str, Any]:
        """Compute one answer, in turn.

        Args:
            body: The request as it came.

        Returns:
            The answer's body.

        Raises:
            RequestError: The request is not valid, or too many are waiting.
        """
        question = question_in(body)
        with self.turn:
            embeddings = self.encoder.encode(question.texts)
        return answer_to(question, embeddings)


class ContainerHandler(BaseHTTPRequestHandler):
    """One connection, one request: a stopping instance then has no idle connections to wait for."""

    protocol_version = "HTTP/1.1"
    timeout = SILENCE_SECONDS_MAX
    # One packet for header and body.
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer the health check: 200, for the port opens only when the model is ready."""
        if self._route("GET"):
            self._send(HTTPStatus.OK, b"")

    def do_POST(self) -> None:
        """Answer an invocation, every failure as JSON."""
        if not self._route("POST"):
            return
        server = cast("EmbeddingServer", self.server)
        if not server.places.acquire(blocking=False):
            self._discard()
            self._send_error(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{REQUESTS_MAX} requests are waiting; try again later",
                code="overloaded",
            )
            return
        try:
            body = self._body()
            answer = json.dumps(server.answer(body), separators=(",", ":")).encode()
        except RequestError as error:
            self._send_error(error.status, error.message, code=error.code, param=error.param)
        except (OSError, EOFError):
            # The client went away, or fell silent: nobody is left to answer.
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets an answer
            # Its text may quote the payload, so only its type is logged.
            log("failed", error=type(error).__name__)
            self._send_error(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the model failed", code="internal_error"
            )
        else:
            self._send(HTTPStatus.OK, answer)
        finally:
            server.places.release()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class refuses (bad HTTP, unknown methods) in our error shape."""
        del explain
        self._send_error(code, message or HTTPStatus(code).phrase, code="invalid_http")

    def version_string(self) -> str:
        """Name the server, and not the interpreter's version with it."""
        return "embedder"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        """Log no requests: they are the ledger's to record, and paths may carry payloads."""

    def _route(self, method: str) -> bool:
        """Refuse unknown paths and methods."""
        path = self.path.partition("?")[0]
        allowed = ROUTES.get(path)
        if allowed == method:
            return True
        self._discard()
        if allowed is None:
            routes = " and ".join(f"{method} {path}" for path, method in ROUTES.items())
            self._send_error(HTTPStatus.NOT_FOUND, f"there is only {routes}", code="not_found")
        else:
            self._send_error(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{path} takes {allowed}",
                code="method_not_allowed",
                headers={"Allow": allowed},
            )
        return False

    def _body_bytes(self) -> int | None:
        """Read the announced length; nothing if there is none that can be believed."""
        announced = self.headers.get("Content-Length", "")
        if not announced.isdecimal() or len(announced) > len(str(sys.maxsize)):
            return None
        return int(announced)

    def _body(self) -> bytes:
        """Read the body.

        Raises:
            RequestError: It is too large, or its length is not given.
            EOFError: The client sent less than it announced.
        """
        size_bytes = self._body_bytes()
        if size_bytes is None:
            raise RequestError(
                "Content-Length must give the body's length in bytes",
                code="length_required",
                status=HTTPStatus.LENGTH_REQUIRED,
            )
        if size_bytes > BODY_BYTES_MAX:
            self._discard()
            raise RequestError(
                f"the body has {size_bytes} bytes; {BODY_BYTES_MAX} are allowed",
                code="body_too_large",
                status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        body = self.rfile.read(size_bytes)
        if len(body) < size_bytes:
            raise EOFError
        return body

    def _discard(self) -> None:
        """Read a refused body to its end, within bounds."""
        left_bytes = min(self._body_bytes() or 0, DISCARDED_BYTES_MAX)
        while left_bytes > 0:
            part = self.rfile.read(min(left_bytes, 1 << 16))
            if not part:
                return
            left_bytes -= len(part)

    def _send_error(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = (
            "server_error"
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR
            else "invalid_request_error"
        )
        error = {"message": message, "type": kind, "code": code, "param": param}
        self._send(status, json.dumps({"error": error}).encode(), headers=headers)

    def _send(self, status: int, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def log(event: str, **facts: object) -> None:
    """Write one JSON line to standard error, whole, however many threads write."""
    sys.stderr.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stderr.flush()


def port_in(environment: Mapping[str, str]) -> int:
    """Read the port to listen on.

    Raises:
        ValueError: `SAGEMAKER_BIND_TO_PORT` is not a port.
    """
    given = environment.get("SAGEMAKER_BIND_TO_PORT", str(PORT_DEFAULT))
    if not given.isdecimal() or len(given) > len("65535") or int(given) > 65535:  # noqa: PLR2004
        raise ValueError(f"SAGEMAKER_BIND_TO_PORT must be 0 to 65535, not {given!r}")
    return int(given)


def main(arguments: Sequence[str]) -> int:
    """Load the model and serve until SIGTERM.

    Args:
        arguments: `serve`, with which SageMaker starts every container, or nothing.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 without weights or port, 2 for arguments
        that mean nothing.
    """
    if list(arguments) not in ([], ["serve"]):
        log("refused", error="usage: python -m examples.embedder.serve [serve]")
        return 2
    started_s = time.perf_counter()
    try:
        port = port_in(os.environ)
    except ValueError as error:
        log("refused", error=str(error))
        return 1
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # numpy reads the variables above when it is imported, and never again.
    from examples.embedder import model  # noqa: PLC0415

    try:
        encoder = model.Encoder(model.weights_directory())
        # The first pass reads the weights from disk; no client should wait for that.
        encoder.encode(["ready"])
        # S104: inside a container every address is the container's own.
        host = os.environ.get("SPILLWAY_BIND_HOST", "0.0.0.0")  # noqa: S104
        server = EmbeddingServer((host, port), encoder)
    except (model.WeightsError, OSError) as error:
        log("refused", error=str(error))
        return 1

    def stop(_signal: int, _frame: "FrameType | None") -> None:
        # shutdown() waits for the loop that this handler interrupted, so another thread calls it.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log(
        "ready",
        host=host,
        port=server.server_port,
        model=MODEL,
        start_ms=round(1000 * (time.perf_counter() - started_s)),
    )
    with server:
        server.serve_forever(poll_interval=0.05)
    log("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
