"""Which clients a handler makes and what it calls: so that a floor makes exactly the same."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.config import Config


@dataclass(slots=True)
class Recorded:
    """Clients in the order of making, and calls in the order of sending.

    Attributes:
        clients: Service, region and options of the configuration.
        calls: Number of the client, operation as the API names it, parameters.
    """

    clients: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    calls: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)


class RecordingSession:
    """A boto3 session that notes what is made and called through it."""

    def __init__(self, session: Any, recorded: Recorded) -> None:
        self._session, self._recorded = session, recorded

    def client(self, service: str, *, region_name: str, config: Config) -> Any:
        """Make a client, and note its calls too."""
        number = len(self._recorded.clients)
        options: dict[str, Any] = config._user_provided_options  # type: ignore[attr-defined] # noqa: SLF001
        self._recorded.clients.append((service, region_name, options))
        client = self._session.client(service, region_name=region_name, config=config)
        send: Callable[[str, dict[str, Any]], Any] = client._make_api_call  # noqa: SLF001

        def noted(operation: str, params: dict[str, Any]) -> Any:
            self._recorded.calls.append((number, operation, params))
            return send(operation, params)

        client._make_api_call = noted  # noqa: SLF001
        return client


class Canned:
    """Answers of AWS, kept by operation and given again: they cost no time to compute."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, dict[str, str], bytes]] = {}

    def listen(self, client: Any) -> None:
        """Keep what this client is answered."""
        for event in ("response-received",):
            client.meta.events.register(event, self._keep)

    def _keep(self, response_dict: dict[str, Any], event_name: str, **_: Any) -> None:
        operation = event_name.rpartition(".")[2]
        headers = {str(name): str(value) for name, value in response_dict["headers"].items()}
        self._kept[operation] = (response_dict["status_code"], headers, response_dict["body"])

    def serve(self, client: Any) -> None:
        """Answer this client without anybody else."""
        client.meta.events.register_first("before-send", self._answer)

    def _answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        status, headers, body = self._kept[event_name.rpartition(".")[2]]
        return AWSResponse(request.url, status, headers, _Raw(body))  # type: ignore[arg-type]


class _Raw:
    """A body that is read once, as from the network."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Any:
        """Give it in one piece."""
        yield self._body
