"""`GET /v1/openapi.json`: what the API looks like, for programs that make clients of it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lambdas.handlers.api import Request, Route

KEPT_S = 3600
"""How long a client need not ask again: the document changes with a deployment."""


@dataclass(frozen=True)
class Description:
    """Tells the document that travels with the code, without looking into it.

    Attributes:
        read: Reads it; most execution environments are never asked for it.
    """

    read: Callable[[], str]

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {"GET /v1/openapi.json": self.get}

    def get(self, request: Request) -> dict[str, Any]:
        """The document, unless the client has it."""
        known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
        unchanged = self._tag in {tag.removeprefix("W/") for tag in known} or known == ["*"]
        headers = {
            "Content-Type": "application/json",
            "Cache-Control": f"public, max-age={KEPT_S}",
            "ETag": self._tag,
            # Pages that show such documents are on other hosts, and it is no secret.
            "Access-Control-Allow-Origin": "*",
        }
        return {
            "statusCode": 304 if unchanged else 200,
            "headers": headers,
            "body": "" if unchanged else self._text,
            "isBase64Encoded": False,
        }

    @cached_property
    def _text(self) -> str:
        return self.read()

    @cached_property
    def _tag(self) -> str:
        return f'"{hashlib.sha256(self._text.encode()).hexdigest()[:16]}"'
