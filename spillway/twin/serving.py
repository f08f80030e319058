"""An ASGI application on a loopback port, in a thread of its own."""

import asyncio
import socket
import threading
import time
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

# Connections held at once; each costs a task, and wait functions hold up to some hundred.
CONNECTIONS_MAX: Final = 2000
START_SECONDS_MAX: Final = 10.0
START_POLL_SECONDS: Final = 0.01


class Serving:
    """A server that nobody but this machine reaches.

    Args:
        app: What answers.
        port: Where to listen; 0 takes a free one.
        name: Of its thread.

    Raises:
        OSError: Somebody else listens there.
    """

    def __init__(self, app: Any, *, port: int, name: str) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._name = name
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                # Not guessed: of a method it would be guessed wrong.
                interface="asgi3",
                http=_Connection,
                log_config=None,
                access_log=False,
                lifespan="off",
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=1,
                server_header=False,
                ws="none",
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=name, daemon=True
        )

    def start(self) -> None:
        """Listen; return once connections are accepted.

        Raises:
            RuntimeError: The server did not start.
        """
        self._thread.start()
        for _ in range(int(START_SECONDS_MAX / START_POLL_SECONDS)):
            if self._server.started:
                return
            time.sleep(START_POLL_SECONDS)
        raise RuntimeError(f"the {self._name} server did not start")

    def close(self) -> None:
        """Stop listening, and give requests under way a second."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(START_SECONDS_MAX)
        self._socket.close()


class _Connection(H11Protocol):
    """A connection that an application can break off, as one to a region that is away."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}
