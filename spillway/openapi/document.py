"""The whole document: operations, answers and errors in OpenAPI's words.

Source:
    OpenAPI Specification 3.1.1.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from lambdas.domain.access import SCOPES, scope_needed
from spillway.openapi import about_jobs, batches, jobs, openai, overview, uploads
from spillway.openapi.answers import Error
from spillway.openapi.refusals import (
    EVERYWHERE,
    JOB_ID,
    REFUSALS,
    REQUEST_ID,
    RETRY_AFTER,
    SHOULD_RETRY,
    Refusal,
)
from spillway.openapi.shape import JSON, Answer, Operation

OPERATIONS: Final = (
    *jobs.OPERATIONS,
    *about_jobs.OPERATIONS,
    *uploads.OPERATIONS,
    *openai.OPERATIONS,
    *batches.OPERATIONS,
    *overview.OPERATIONS,
)
"""Every route of the API."""
Gateway = Mapping[str, tuple[int | None, str, str, str]]
"""What API Gateway answers itself, by its name for it: status, type, code, message."""
RANGES: Final = {"DEFAULT_4XX": "4XX", "DEFAULT_5XX": "5XX"}
WITH_A_KEY: Final = frozenset({"ACCESS_DENIED", "UNAUTHORIZED", "AUTHORIZER_FAILURE"})
"""Answers of API Gateway that only routes with a key give."""
WITH_A_BODY: Final = frozenset({"BAD_REQUEST_BODY", "UNSUPPORTED_MEDIA_TYPE"})
SAYS: Final = {
    "DEFAULT_4XX": "API Gateway refused the request for another reason.",
    "DEFAULT_5XX": "API Gateway failed, or the function did.",
}
ERROR_HEADERS: Final = (RETRY_AFTER, SHOULD_RETRY, JOB_ID, REQUEST_ID)
LATER: Final = frozenset({"429", "503"})
"""Statuses that tell when to come again."""
INFO: Final = {
    "title": "Spillway",
    "version": "1",
    "summary": "One HTTP API for a team's own GPU models in several AWS regions.",
    "description": (
        "Work waits in priority queues; a burst spills into a region that has room; losing a "
        "region loses no accepted work. Every region has the same API under its own URL. A job "
        "can be read, cancelled and erased in every region of its deployment, whichever "
        "accepted it. Times are RFC 3339 in UTC."
    ),
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
GROUPS: Final = {
    "Jobs": "Work for a model, with a place in a queue.",
    "OpenAI": "The same jobs, in the words of OpenAI's clients.",
    "Batches": "Files of requests, answered within a day, for OpenAI's clients.",
    "Uploads": "Inputs that do not fit into a request.",
    "Usage": "What the tenant used.",
    "Models": "What can be asked, and how long that would take.",
    "Service": "Health, and this document. They need no key.",
}


class _Schemas(GenerateJsonSchema):
    """Without titles: they repeat the names of the fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


def document(gateway: Gateway) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        gateway: API Gateway's own answers, as the stacks set them.
    """
    refs, schemas = _schemas()
    common = _common(gateway, refs[Error, "serialization"])
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        written = _operation(operation, gateway, refs, common)
        paths.setdefault(operation.path, {})[operation.verb] = written
    return {
        "openapi": "3.1.1",
        "info": INFO,
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        # Relative to where the document is served: every region has its own address.
        "servers": [{"url": "..", "description": "The region that serves this document."}],
        "security": [{"key": []}],
        "tags": [{"name": name, "description": says} for name, says in GROUPS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "sk-spillway-...",
                    "description": "A tenant's API key; operators make them. A key may have "
                    f"scopes: {'; '.join(f'`{name}`: {what}' for name, what in SCOPES.items())}. "
                    "One without any has all.",
                }
            },
            "headers": {header.name: header.document() for header in ERROR_HEADERS},
            "responses": dict(sorted(common.items())),
            "schemas": schemas,
        },
    }


_Ref = Mapping[Any, dict[str, Any]]
"""Where a model's schema is, by the model and whether it is of requests or answers."""


def _schemas() -> tuple[_Ref, dict[str, Any]]:
    """Where each model's schema is, and all of them."""
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Error, "serialization"): None}
    for operation in OPERATIONS:
        for body in (operation.body, operation.other_body):
            if body is not None:
                wanted[body, "validation"] = None
        for answer in operation.answers:
            if answer.body is not None:
                wanted[answer.body, "serialization"] = None
    refs, found = models_json_schema(
        list(wanted), ref_template="#/components/schemas/{model}", schema_generator=_Schemas
    )
    schemas = found["$defs"]
    for schema in schemas.values():
        schema.pop("title", None)
    return dict(refs), dict(sorted(schemas.items()))


def _common(gateway: Gateway, schema: dict[str, Any]) -> dict[str, Any]:
    """The errors that do not depend on what a route does, by name."""
    found = {}
    for name, open_ in (("Error", False), ("OpenError", True)):
        bare = Operation(route="GET /", name="", group="", summary="", answers=(), open=open_)
        for status, refusals in _refusals(bare, gateway).items():
            found[f"{name}{status}"] = _error(status, refusals, schema)
    return found


def _operation(
    operation: Operation, gateway: Gateway, refs: _Ref, common: Mapping[str, Any]
) -> dict[str, Any]:
    """The Operation Object."""
    told: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.group],
        "summary": operation.summary,
    }
    if operation.says:
        told["description"] = operation.says
    scope = scope_needed(operation.route)
    if operation.open:
        told["security"] = []
    elif scope is not None:
        told["security"] = [{"key": [scope]}]
    if operation.parameters:
        told["parameters"] = [parameter.document() for parameter in operation.parameters]
    if operation.body is not None:
        told["requestBody"] = _bodies(operation, refs)
    answers = {str(each.status): _answer(each, refs) for each in operation.answers}
    for status, refusals in sorted(_refusals(operation, gateway).items()):
        error = _error(status, refusals, refs[Error, "serialization"])
        name = f"{'OpenError' if operation.open else 'Error'}{status}"
        if status in answers:
            answers[status] = _either(answers[status], error)
        elif error == common.get(name):
            answers[status] = {"$ref": f"#/components/responses/{name}"}
        else:
            answers[status] = error
    told["responses"] = answers
    return told


def _bodies(operation: Operation, refs: _Ref) -> dict[str, Any]:
    """The Request Body Object."""
    content: dict[str, Any] = {}
    for media_type, body, example in (
        (operation.media_type, operation.body, operation.example),
        (JSON, operation.other_body, operation.other_example),
    ):
        if body is not None:
            content[media_type] = {"schema": refs[body, "validation"]}
            if example is not None:
                content[media_type]["example"] = example
    return {"required": not operation.optional, "content": content}


def _answer(answer: Answer, refs: _Ref) -> dict[str, Any]:
    """The Response Object of an answer that does what was asked."""
    told: dict[str, Any] = {"description": answer.says}
    if answer.headers:
        told["headers"] = {header.name: header.document() for header in answer.headers}
    if answer.body is not None:
        content: dict[str, Any] = {"schema": refs[answer.body, "serialization"]}
        if answer.example is not None:
            content["example"] = answer.example
        told["content"] = {answer.media_type: content}
    elif answer.media_type != JSON:
        told["content"] = {answer.media_type: {}}
    return told


def _refusals(operation: Operation, gateway: Gateway) -> dict[str, list[Refusal]]:
    """The errors of an operation by status, the functions' and API Gateway's."""
    scope = () if operation.open or scope_needed(operation.route) is None else ("scope_missing",)
    names = dict.fromkeys((*operation.refusals, *scope, *EVERYWHERE))
    found = [(str(REFUSALS[name].status), REFUSALS[name]) for name in names]
    for kind, (status, type_, code, message) in gateway.items():
        if (kind in WITH_A_KEY and operation.open) or (
            kind in WITH_A_BODY and operation.body is None
        ):
            continue
        place = RANGES.get(kind) or str(status)
        when = SAYS.get(kind, message).rstrip(".")
        refusal = Refusal(status=int(place[0]) * 100, type=type_, code=code, when=when)
        found.append((place, refusal))
    told: dict[str, list[Refusal]] = {}
    for place, refusal in found:
        here = told.setdefault(place, [])
        if refusal.code not in {each.code for each in here}:
            here.append(refusal)
    return told


def _error(status: str, refusals: Iterable[Refusal], schema: dict[str, Any]) -> dict[str, Any]:
    """The Response Object of an error: its codes are in words, and each is an example."""
    refusals = list(refusals)
    names = [each.name for each in ERROR_HEADERS if each is not RETRY_AFTER or status in LATER]
    return {
        "description": "; ".join(f"`{each.code}`: {each.when}" for each in refusals) + ".",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {
            JSON: {
                "schema": schema,
                "examples": {each.code: {"value": _example(each)} for each in refusals},
            }
        },
    }


def _example(refusal: Refusal) -> dict[str, Any]:
    message = refusal.when[0].upper() + refusal.when[1:] + "."
    detail = {"message": message, "type": refusal.type, "code": refusal.code, "param": None}
    return {"error": detail}


def _either(answer: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    """A status that is an answer of the route and an error as well."""
    ours, theirs = answer["content"][JSON], error["content"][JSON]
    return {
        "description": f"{answer['description']} Or {error['description']}",
        "headers": error["headers"] | answer.get("headers", {}),
        "content": {
            JSON: {
                "schema": {"anyOf": [ours["schema"], theirs["schema"]]},
                "examples": theirs["examples"],
            }
        },
    }
