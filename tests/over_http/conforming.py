"""The API held against its own description: requests made of it, answers compared with it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import CheckContext
from schemathesis.core.failures import Failure
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.generation.modes import GenerationMode
from schemathesis.openapi import from_dict
from schemathesis.schemas import APIOperation

from spillway import local
from spillway.directory import add_tenant
from spillway.openapi.refusals import ENDED, REFUSALS
from spillway.service import LocalService

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
Operation = APIOperation[Any, Any, Any, Any]
Sent = Case[Any]
ANSWER_S_MAX = 30.0
RATE_PER_S = Decimal(1000)
MODELS = {
    # Which of the deployment's models answer the requests of a schema.
    "JobRequest": ["chat", "embedder"],
    "ChatRequest": ["chat"],
    "EmbeddingsRequest": ["embedder"],
    "ResponsesRequest": ["thinker"],
}
CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "described_code",
    "expected_server_error",
)
"""What is compared. Not compared, and why:

- `not_a_server_error`: a job that its model failed is a 502, as the document says;
  `expected_server_error` knows which may come.
- `positive_data_acceptance`: a model's input, the address of a webhook, and what is where, have
  rules that no schema can say. Requests as the document shows them are taken.
- `unsupported_method`: REST APIs of API Gateway know no 405; who asks for a method that is not
  there gets the 404 of a missing route.
- `missing_required_header` and `ignored_auth` take the key away; tests/security does.
- `ensure_resource_availability`, `use_after_free`, `object_level_authorization`: jobs can be read
  at once and are gone once erased, which tests/end_to_end and tests/security show.
"""
LINE = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "embedder", "input": "hello"},
}
"""Of a file for a batch."""
_ENDED = {(REFUSALS[name].status, REFUSALS[name].code) for name in (*ENDED, "not_finished")}


def description() -> dict[str, Any]:
    """The document, made so narrow that a deviation shows.

    Requests name models that are there, and answers may hold nothing that is not described.
    """
    document: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    schemas = document["components"]["schemas"]
    for name, models in MODELS.items():
        schemas[name]["properties"]["model"] = {"type": "string", "enum": models}
    for schema in schemas.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    # Every status must be described by itself: the ranges are for what API Gateway may add.
    for operation in _operations(document):
        for range_ in ("4XX", "5XX"):
            operation["responses"].pop(range_)
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for verbs in document["paths"].values():
        yield from verbs.values()


def described(document: dict[str, Any]) -> dict[str, Operation]:
    """What schemathesis makes requests of, by verb and path."""
    schema = from_dict(document)
    # The key comes with the session; query parameters that nobody knows are nobody's business.
    schema.config.generation.update(with_security_parameters=False, allow_extra_parameters=False)
    schema.config.checks.update(included_check_names=list(CHECKS))
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return {operation.label: operation for operation in found}


@dataclass(frozen=True)
class Api:
    """The API of one region, as one client sees it."""

    url: str
    session: requests.Session

    @classmethod
    @contextmanager
    def of(cls, service: LocalService) -> Iterator[Self]:
        """A client of a tenant of its own, which may do everything, as often as it likes."""
        directory = local.directory(service.twin, service.deployment)

        def add() -> str:
            return add_tenant(directory, "described", rate_per_s=RATE_PER_S)

        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {service.twin.scheduler.call(add)}"
            yield cls(service.urls[service.deployment.primary_region], session)

    def hold(self, case: Sent) -> None:
        """Send one request, and compare its answer with the description.

        Raises:
            FailureGroup: It contradicts it.
        """
        case.call_and_validate(
            base_url=self.url, session=self.session, allow_redirects=False, timeout=ANSWER_S_MAX
        )

    def made(self, operation: Operation) -> str:
        """Send a request as the description shows it; the id of what that made.

        Raises:
            AssertionError: It is refused.
        """
        _, _, path = operation.label.partition(" ")
        url = f"{self.url}{path}"
        if path == "/v1/files":
            form = {"file": ("lines.jsonl", json.dumps(LINE)), "purpose": (None, "batch")}
            answer = self.session.post(url, files=form, timeout=ANSWER_S_MAX)
        else:
            (content,) = operation.definition.raw["requestBody"]["content"].values()
            body = dict(content["example"])
            if "input_file_id" in body:
                body["input_file_id"] = self.made(operation.schema["/v1/files"]["POST"])
            answer = self.session.post(url, json=body, timeout=ANSWER_S_MAX)
        assert answer.ok, answer.text
        # A list of embeddings has no id.
        own = answer.headers.get("X-Job-Id", "").replace("job_", "embd-")
        return str(answer.json().get("id") or own)

    def known(self, operation: Operation) -> str | None:
        """The id of something that is there, of the kind that the operation's path names."""
        base, with_id, _ = operation.path.partition("/{id}")
        if not with_id:
            return None
        return "chat" if base == "/v1/models" else self.made(operation.schema[base]["POST"])


def explore(operation: Operation, api: Api, *, examples: int, deterministic: bool) -> None:
    """Send requests that a description allows, and some that it does not; compare the answers.

    Args:
        operation: What to ask for.
        api: Whom.
        examples: Requests of each kind.
        deterministic: Whether they are the same ones every time.

    Raises:
        FailureGroup: An answer contradicts the description.
    """
    known = api.known(operation)
    paths: list[dict[str, Any] | None] = [None] if known is None else [None, {"id": known}]
    for mode in GenerationMode:
        for path in paths:
            if mode.is_positive or _deniable(operation, known=path is not None):
                cases = operation.as_strategy(mode, path_parameters=path)
                _ask(cases, api, examples=examples, deterministic=deterministic)


def _deniable(operation: Operation, *, known: bool) -> bool:
    """Whether there is anything that a request could have wrong."""
    return bool(operation.body or operation.query or (operation.path_parameters and not known))


def _ask(cases: SearchStrategy[Sent], api: Api, *, examples: int, deterministic: bool) -> None:
    @settings(
        max_examples=examples,
        derandomize=deterministic,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate] if deterministic else [Phase.generate, Phase.shrink],
        # What is made is slow to make, and sent one after the other: nothing to be warned of.
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Sent) -> None:
        api.hold(case)

    ask()


@schemathesis.check
def described_code(ctx: CheckContext, response: Response, case: Sent) -> None:
    """An error has a code that the document names for this route and status."""
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    error = response.json().get("error")
    if error is None:
        return  # the health of a region
    found = case.operation.responses.find_by_status_code(response.status_code)
    content = found.definition["content"]["application/json"] if found else {}
    if error["code"] not in content.get("examples", {}):
        raise Failure(
            operation=case.operation.label,
            title="A code that is not described",
            message=f"{response.status_code} {error['code']}: {error['message']}",
        )


@schemathesis.check
def expected_server_error(ctx: CheckContext, response: Response, case: Sent) -> None:
    """A 5xx tells how a job ended, and nothing else."""
    if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    error = response.json().get("error", {})
    if (response.status_code, error.get("code")) not in _ENDED:
        raise Failure(
            operation=case.operation.label,
            title="The service failed",
            message=f"{response.status_code}: {response.text}",
        )
