"""OpenAI's routes, in front of the same jobs."""

from typing import Any

from pydantic import BaseModel

from lambdas.domain.openai_requests import (
    HOPS_MAX,
    ChatRequest,
    EmbeddingsRequest,
    ResponsesRequest,
)
from spillway.openapi.answers import JobReference
from spillway.openapi.jobs import CANCELLING, IDEMPOTENCY_KEY, LOCATION
from spillway.openapi.openai_answers import ChatCompletion, EmbeddingList, Response, ResponseErased
from spillway.openapi.refusals import ENDED, JOB_ID, REQUEST_ID, RETRY_AFTER, SUBMITTING
from spillway.openapi.shape import Answer, Operation, Parameter

TOLD = (JOB_ID, REQUEST_ID)
HOP = Parameter(
    name="hop",
    place="query",
    schema={"type": "integer", "minimum": 1, "maximum": HOPS_MAX},
    says="How often the client was sent on to wait; it follows `Location`, and sets this never.",
)
KEPT = Parameter(
    name="kept",
    place="query",
    schema={"type": "string", "enum": ["true"]},
    says="That the job goes on if nobody can wait for it; like `hop`.",
)
WAITS_ON = Answer(
    status=303,
    says="It takes longer: the GET of `Location` waits on. An answer that is too large is there.",
    body=JobReference,
    headers=(LOCATION, RETRY_AFTER, *TOLD),
)
WAITING = (
    *("no_room", "no_room_goes_on", "share_used", "share_used_goes_on"),
    *("not_finished", *ENDED),
)


def _id(prefix: str) -> Parameter:
    return Parameter(
        name="id",
        place="path",
        schema={"type": "string", "pattern": f"^{prefix}[a-z2-7]{{26}}$"},
        says="As OpenAI's clients know the job.",
    )


def _asking(
    *,
    path: str,
    name: str,
    summary: str,
    prefix: str,
    request: type[BaseModel],
    answer: type[BaseModel],
    example: dict[str, Any],
) -> tuple[Operation, Operation]:
    """A route that takes a job, and the one where its clients wait on."""
    told = Answer(status=200, says="The model's answer.", body=answer, headers=TOLD)
    return (
        Operation(
            route=f"POST {path}",
            name=f"create{name}",
            group="OpenAI",
            summary=summary,
            says="The body is the job's input: fields that are not described reach the model as "
            "they are.",
            parameters=(IDEMPOTENCY_KEY,),
            body=request,
            example=example,
            answers=(told, WAITS_ON),
            refusals=("no_model", "model_not_supported", *SUBMITTING, *WAITING),
        ),
        Operation(
            route=f"GET {path}/{{id}}",
            name=f"get{name}",
            group="OpenAI",
            summary="Wait on, and get the answer",
            parameters=(_id(prefix), HOP, KEPT),
            answers=(told, WAITS_ON),
            refusals=("invalid_value", "job_not_found", *WAITING),
        ),
    )


_STANDS = Answer(status=200, says="The response as it stands.", body=Response, headers=TOLD)
OPERATIONS = (
    *_asking(
        path="/v1/chat/completions",
        name="ChatCompletion",
        summary="Answer a chat",
        prefix="chatcmpl-",
        request=ChatRequest,
        answer=ChatCompletion,
        example={"model": "chat", "messages": [{"role": "user", "content": "hello"}]},
    ),
    *_asking(
        path="/v1/embeddings",
        name="Embeddings",
        summary="Embed texts",
        prefix="embd-",
        request=EmbeddingsRequest,
        answer=EmbeddingList,
        example={"model": "embedder", "input": ["one", "two"]},
    ),
    *_asking(
        path="/v1/responses",
        name="Response",
        summary="Answer, or take the question and answer in the background",
        prefix="resp_",
        request=ResponsesRequest,
        answer=Response,
        example={"model": "chat", "input": "hello", "background": True},
    ),
    Operation(
        route="DELETE /v1/responses/{id}",
        name="eraseResponse",
        group="OpenAI",
        summary="Cancel if needed, then erase input and answer for good",
        parameters=(_id("resp_"),),
        answers=(Answer(status=200, says="It is gone.", body=ResponseErased),),
        refusals=("job_not_found", "job_changing"),
    ),
    Operation(
        route="POST /v1/responses/{id}/cancel",
        name="cancelResponse",
        group="OpenAI",
        summary="Cancel a response that has not ended",
        parameters=(_id("resp_"),),
        answers=(_STANDS,),
        refusals=("job_not_found", *CANCELLING),
    ),
)
