"""What an operation is made of, before it is put into OpenAPI's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a client says beside the body.

    Attributes:
        name: As it is sent.
        place: Where.
        schema: JSON Schema of its value.
        says: What it is for.
    """

    name: str
    place: Literal["path", "query", "header"]
    schema: Mapping[str, Any]
    says: str

    def document(self) -> dict[str, Any]:
        """The Parameter Object."""
        return {
            "name": self.name,
            "in": self.place,
            "required": self.place == "path",
            "description": self.says,
            "schema": dict(self.schema),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header of an answer.

    Attributes:
        name: As it is sent.
        schema: JSON Schema of its value.
        says: What it tells.
        always: Whether every such answer has it.
    """

    name: str
    schema: Mapping[str, Any]
    says: str
    always: bool = False

    def document(self) -> dict[str, Any]:
        """The Header Object."""
        return {"description": self.says, "required": self.always, "schema": dict(self.schema)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that does what was asked.

    Attributes:
        status: HTTP status.
        says: When it is given.
        body: What it holds; None for an answer without a body, or one that is no JSON.
        headers: What is told beside the body.
        example: Of a body.
        media_type: Of the body.
    """

    status: int
    says: str
    body: type[BaseModel] | None = None
    headers: tuple[Header, ...] = ()
    example: Any = None
    media_type: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route does.

    Attributes:
        route: Verb and path, like `GET /v1/jobs/{id}`.
        name: By which programs call it.
        group: Under which people find it.
        summary: In a few words.
        says: What else there is to know.
        parameters: What a client says beside the body.
        body: What its body holds.
        example: Of a body.
        answers: That do what was asked.
        refusals: Codes of the errors of its own; those that every operation has are added.
        open: Whether it needs no key.
        media_type: Of the body.
        optional: Whether it may be called without a body.
        other_body: What its body holds as JSON, where `media_type` is another one.
        other_example: Of such a body.
    """

    route: str
    name: str
    group: str
    summary: str
    answers: tuple[Answer, ...]
    says: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    example: Any = None
    refusals: tuple[str, ...] = ()
    open: bool = False
    media_type: str = JSON
    optional: bool = False
    other_body: type[BaseModel] | None = None
    other_example: Any = None

    @property
    def verb(self) -> str:
        """As OpenAPI writes it."""
        return self.route.partition(" ")[0].lower()

    @property
    def path(self) -> str:
        """Relative to the base URL."""
        return self.route.partition(" ")[2]
