"""OpenAI's requests, as jobs of our own: the body of a route is the input of a job.

What OpenAI's service would act on itself is taken off the body; everything else, also fields that
we do not know, goes to the model as it is. What a queue cannot honour is refused by its name.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from lambdas.domain.admission import Caller
from lambdas.domain.errors import ApiError, invalid
from lambdas.domain.job import CHAT, EMBEDDINGS, RESPONSES
from lambdas.domain.policy import Model, Policy
from lambdas.domain.requests import (
    METADATA_NAME_LENGTH_MAX,
    METADATA_VALUE_LENGTH_MAX,
    JobRequest,
    Metadata,
    Submission,
    check_tier,
    find_model,
    read_document,
    submission_of,
)
from lambdas.domain.responses import chat_of

ROUTES = {
    CHAT: "/v1/chat/completions",
    EMBEDDINGS: "/v1/embeddings",
    RESPONSES: "/v1/responses",
}
"""Where OpenAI's clients send what."""
TIERS: dict[str | None, Literal["interactive", "standard", "batch"]] = {
    None: "standard",
    "auto": "standard",
    "default": "standard",
    "priority": "interactive",
    "fast": "interactive",
    "flex": "batch",
}
"""Our tiers by OpenAI's names of them; `fast` is `priority`, in their words too."""
HOPS_MAX = 18
"""How often a waiting client is sent on: httpx and requests follow 20 and 30 redirects."""
_TIER_NAMES = "auto, default, priority or flex"
STREAM = "false: a queued job's answer comes as a whole"
"""What `stream` may be."""
_METADATA = (
    "an object of at most 16 texts, returned with the answer; names have at most "
    f"{METADATA_NAME_LENGTH_MAX} and texts at most {METADATA_VALUE_LENGTH_MAX} characters"
)


def _as_a_whole(stream: bool) -> bool:  # noqa: FBT001 pydantic's validators get it so
    if stream:
        raise ValueError(STREAM)
    return stream


_Stream = Annotated[
    bool,
    # Not a literal: to one, 0 is the same as false, and a model's server may differ.
    AfterValidator(_as_a_whole),
    WithJsonSchema({"const": False, "type": "boolean"}),
]


class OpenAIRequest(BaseModel):
    """What every such body may hold beside the model's own fields."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    model: str = Field(max_length=64, description="the name of a model, see GET /v1/models")
    service_tier: Literal["auto", "default", "priority", "fast", "flex"] | None = Field(
        None, description=_TIER_NAMES
    )
    stream: _Stream | None = Field(None, description=STREAM)
    metadata: Metadata | None = Field(None, max_length=16, description=_METADATA)


class ChatRequest(OpenAIRequest):
    """The body of `POST /v1/chat/completions`."""

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="an array of at least one message"
    )


class EmbeddingsRequest(OpenAIRequest):
    """The body of `POST /v1/embeddings`."""

    input: str | list[Any] = Field(description="a text, or an array of texts or of token numbers")


class ResponsesRequest(OpenAIRequest):
    """The body of `POST /v1/responses`."""

    input: str | list[dict[str, Any]] = Field(description="a text, or an array of input items")
    background: bool | None = Field(None, description="true or false")
    previous_response_id: None = Field(
        None, description="null: nothing is kept of earlier answers; send the whole conversation"
    )
    conversation: None = Field(
        None, description="null: no conversations are kept; send the whole of it as input"
    )
    prompt: None = Field(None, description="null: no prompt templates are kept")


KINDS: dict[str, type[OpenAIRequest]] = {
    CHAT: ChatRequest,
    EMBEDDINGS: EmbeddingsRequest,
    RESPONSES: ResponsesRequest,
}
"""What is read on each route."""
_OURS = frozenset(
    {"model", "service_tier", "stream", "stream_options", "metadata", "store", "background"}
)
"""Taken off the body. A container serves one model, and a fallback model another one."""
_NEVER = ("previous_response_id", "conversation", "prompt")


def read_body(api: str, body: bytes, policy: Policy, caller: Caller) -> Submission:
    """Read the body of one of OpenAI's routes.

    A client that waits for its answer gives up after a while, so that its job has no later
    deadline than that; one in the background has the deployment's.

    Raises:
        ApiError: As `read_request`, or for what is no JSON object.
    """
    document = read_document(body, part=None)
    background = api == RESPONSES and document.get("background") is True
    waits_s = (HOPS_MAX + 1) * policy.wait_s_max
    return read_request(
        api,
        document,
        policy,
        caller,
        deadline_s=None if background else min(waits_s, policy.deadline_s_max),
        background=background,
    )


def read_request(
    api: str,
    document: dict[str, Any],
    policy: Policy,
    caller: Caller,
    *,
    deadline_s: int | None,
    background: bool = False,
) -> Submission:
    """Make the body of one of OpenAI's routes a job's submission.

    Args:
        api: Which route: `chat.completions`, `embeddings` or `responses`.
        document: The body, or that of a line of a batch.
        policy: Knows the models.
        caller: Whose key.
        deadline_s: Seconds by which the job must have started; None for the deployment's default.
        background: Whether nobody waits for the answer.

    Raises:
        ApiError: 400 naming the field and what is allowed, 403 for a model or tier that the key
            may not use, 404 for a model that is not there, or 413 naming the limit.
    """
    kind = KINDS[api]
    try:
        asked = kind.model_validate(document)
    except ValidationError as error:
        raise _refusal(error, kind) from None
    model = find_model(asked.model, policy, caller, missing=404)
    tier = TIERS[asked.service_tier]
    check_tier(tier, caller, param="service_tier")
    taken = {name: value for name, value in document.items() if name not in _OURS}
    request = JobRequest(
        model=model.name,
        input=_input(api, taken, model),
        tier=tier,
        deadline_s=deadline_s,
        metadata=asked.metadata or None,
        webhook=None,
    )
    return submission_of(request, model, api=api, background=background, body=document)


def _input(api: str, taken: dict[str, Any], model: Model) -> dict[str, Any]:
    """What the model gets, if it answers this route.

    Raises:
        ApiError: It does not.
    """
    if api in model.apis:
        return taken
    if api == RESPONSES and CHAT in model.apis:
        return chat_of({name: value for name, value in taken.items() if name not in _NEVER})
    answered = ", ".join(f"POST {ROUTES[each]}" for each in model.apis)
    raise invalid(
        f"Model {model.name} does not answer POST {ROUTES[api]}, but: "
        f"{answered or 'POST /v1/jobs'}.",
        param="model",
        code="model_not_supported",
    )


def _refusal(error: ValidationError, kind: type[BaseModel]) -> ApiError:
    problem = error.errors(include_url=False, include_input=False)[0]
    if not problem["loc"]:
        return invalid(
            "The body has a field whose name is not Unicode.", param=None, code="unknown_field"
        )
    field = str(problem["loc"][0])
    description = kind.model_fields[field].description
    if problem["type"] == "missing":
        return invalid(f"{field} is required: {description}.", param=field, code="missing_field")
    return invalid(f"{field} is {description}.", param=field)
