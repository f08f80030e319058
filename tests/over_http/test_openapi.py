"""The description that the API serves, held against the API over HTTP."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from schemathesis.core.failures import FailureGroup

from spillway.service import LocalService
from tests.over_http.conforming import DOCUMENT, Api, described, description, explore

EXAMPLES = 6
"""Of each kind; `make fuzz` sends as many as there is time for."""
OPERATIONS = described(description())
SHOWN = [
    label
    for label, operation in OPERATIONS.items()
    if operation.body and operation.method == "post" and not operation.path_parameters
]


@pytest.fixture(scope="module")
def api(service: LocalService) -> Iterator[Api]:
    """The API for a client that may do everything, as often as it likes."""
    with Api.of(service) as api:
        yield api


def test_what_is_served_is_what_is_checked_in(api: Api) -> None:
    """A client that was made of it should meet the release that it was made of."""
    answer = requests.get(f"{api.url}/v1/openapi.json", timeout=10)

    assert answer.status_code == 200
    assert answer.json() == json.loads(DOCUMENT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("route", SHOWN)
def test_a_request_as_the_description_shows_it_is_taken(api: Api, route: str) -> None:
    """It is the first one that anybody sends."""
    assert api.made(OPERATIONS[route])


@pytest.mark.parametrize("route", OPERATIONS)
def test_no_answer_contradicts_the_description(api: Api, route: str) -> None:
    """Clients are made of it: what it does not say, they cannot read."""
    explore(OPERATIONS[route], api, examples=EXAMPLES, deterministic=True)


def _without_a_field(document: dict[str, Any]) -> None:
    model = document["components"]["schemas"]["Model"]
    del model["properties"]["state"]
    model["required"].remove("state")


def _without_a_status(document: dict[str, Any]) -> None:
    del document["paths"]["/v1/models/{id}"]["get"]["responses"]["404"]


def _without_a_code(document: dict[str, Any]) -> None:
    told = document["paths"]["/v1/models/{id}"]["get"]["responses"]["404"]
    del told["content"]["application/json"]["examples"]["model_not_found"]


def _of_another_type(document: dict[str, Any]) -> None:
    answers = document["paths"]["/v1/models/{id}"]["get"]["responses"]
    answers["200"]["content"] = {"text/plain": {}}


@pytest.mark.parametrize(
    "changed", [_without_a_field, _without_a_status, _without_a_code, _of_another_type]
)
def test_a_contradiction_is_noticed(api: Api, changed: Callable[[dict[str, Any]], None]) -> None:
    """A comparison that passes whatever is answered compares nothing."""
    document = description()
    changed(document)

    with pytest.raises(FailureGroup):
        explore(described(document)["GET /v1/models/{id}"], api, examples=1, deterministic=True)
