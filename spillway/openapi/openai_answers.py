"""Answers on OpenAI's routes: what we say ourselves is described, the rest is the model's.

Source:
    OpenAI API reference, "Chat completions", "Embeddings" and "Responses".
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from spillway.openapi.answers import Told

ServiceTier = Annotated[
    Literal["priority", "default", "flex"], Field(description="which tier served")
]


class OfModel(Told):
    """An answer that holds fields of the model's own."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ChatCompletion(OfModel):
    """A model's answer to a chat."""

    id: str = Field(pattern=r"^chatcmpl-[a-z2-7]{26}$")
    object: Literal["chat.completion"]
    created: int
    model: str
    service_tier: ServiceTier
    choices: list[Any]


class EmbeddingList(OfModel):
    """A model's embeddings."""

    object: Literal["list"]
    model: str
    service_tier: ServiceTier
    data: list[Any]


class ResponseError(OfModel):
    """Why there is no answer."""

    code: str
    message: str


class Response(OfModel):
    """A response as it stands."""

    id: str = Field(pattern=r"^resp_[a-z2-7]{26}$")
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
    error: ResponseError | None
    model: str
    output: list[Any]
    service_tier: ServiceTier
    metadata: dict[str, str]
    background: bool


class ResponseErased(Told):
    """Input and answer are gone everywhere, and for good."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]
