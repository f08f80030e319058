"""Simulated models answer in the form of the route that a request belongs to."""

import json
from typing import Any

import pytest

from config.schema import Service
from spillway.simulated import counted, service_s


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        ({"messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 7}, "choices"),
        ({"input": ["x" * 20, "x" * 20], "max_tokens": 7}, "data"),
    ],
)
def test_clients_of_openais_routes_can_be_tried_without_a_model(asked: Any, form: str) -> None:
    """They read these fields, and count these tokens."""
    answer = json.loads(counted(Service(), json.dumps(asked).encode()).body)

    assert len(answer[form]) == len(asked.get("input", [1]))
    assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}


def test_a_body_that_is_no_json_takes_its_time_too() -> None:
    """An upload may be anything."""
    assert service_s(Service(overhead_s=1, output_token_s=0), b"x" * 16_000) == 2
    assert json.loads(counted(Service(), b"x").body)["object"] == "simulated"
