"""docs/openapi.json says what the API does: every route, every error, nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from spillway.openapi.refusals import ENDED, REFUSALS
from stacks.api_construct import ANSWERS, OPEN_ROUTES, ROUTES
from tools import document_openapi

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document as it is checked in."""
    return dict(json.loads(document_openapi.TARGET.read_text(encoding="utf-8")))


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the document says of each route."""
    return {
        f"{verb.upper()} {path}": operation
        for path, verbs in described["paths"].items()
        for verb, operation in verbs.items()
    }


def errors(described: dict[str, Any], operation: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Status, type and code of the errors of an operation."""
    found = set()
    for status, answer in operation["responses"].items():
        place = answer.get("$ref", "").rpartition("/")[2]
        whole = described["components"]["responses"][place] if place else answer
        for content in whole.get("content", {}).values():
            for example in content.get("examples", {}).values():
                error = example["value"]["error"]
                found.add((status, error["type"], error["code"]))
    return found


def test_the_document_is_the_models() -> None:
    """A client of an old one sends what is refused: run `python tools/document_openapi.py`."""
    assert document_openapi.TARGET.read_text(encoding="utf-8") == document_openapi.document()


def test_it_is_openapi(described: dict[str, Any]) -> None:
    """Programs read it."""
    OpenAPIV31SpecValidator(described).validate()


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]) -> None:
    """Generated clients lack a route that is not described; `spillway/openapi` describes them."""
    routes = {f"{verb} {path}" for verb, path in (*ROUTES, *OPEN_ROUTES)}

    assert set(operations(described)) == routes


def test_it_says_which_routes_need_no_key(described: dict[str, Any]) -> None:
    """A client without a key must not be told that it may ask."""
    open_ = {route for route, told in operations(described).items() if told.get("security") == []}

    assert open_ == {f"{verb} {path}" for verb, path in OPEN_ROUTES}
    assert described["security"] == [{"key": []}]


def test_every_operation_has_a_name_of_its_own(described: dict[str, Any]) -> None:
    """Generated clients make functions of them."""
    names = [told["operationId"] for told in operations(described).values()]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z]+", name) for name in names)


def test_api_gateways_own_answers_are_described(described: dict[str, Any]) -> None:
    """A client meets them as well: a missing key never reaches a function."""
    with_body = operations(described)["POST /v1/jobs"]
    told = errors(described, with_body)

    for kind, (status, type_, code, _) in ANSWERS.items():
        place = {"DEFAULT_4XX": "4XX", "DEFAULT_5XX": "5XX"}.get(kind, str(status))
        assert (place, type_, code) in told, kind


def test_the_table_of_errors_in_docs_is_the_documents(described: dict[str, Any]) -> None:
    """People read the one and programs the other."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = text.partition("## Errors")[2].partition("A job's own")[0]
    rows = re.findall(r"^\| ([45][^|]+) \| ([^|]+) \| ([^|]+) \|", table, re.MULTILINE)
    written = {
        (status.strip().upper(), code.strip("` "))
        for statuses, _, code in rows
        for status in statuses.split(",")
    }
    own = re.findall(r"^\| `(\w+)` \|", text.partition("A job's own")[2], re.MULTILINE)
    ended = {(str(REFUSALS[name].status), REFUSALS[name].code) for name in ENDED}
    told = {
        (status, code)
        for operation in operations(described).values()
        for status, _, code in errors(described, operation)
    }

    assert told - ended == {each for each in written if each[1] != "a job's own code"}
    # OpenAI's routes make no jobs of uploads, and tell of no input that was erased.
    assert set(own) - {"input_gone"} <= {code for _, code in ended}
