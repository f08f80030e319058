"""Large inputs and results over HTTP, with nothing but an HTTP client."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lambdas.domain.uploads import PART_BYTES_MIN
from spillway.service import LocalService

WAIT_S_MAX = 60.0


@pytest.fixture
def client(service: LocalService, key: str) -> Iterator[httpx.Client]:
    """A client of the API."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.urls["us-east-1"], headers=headers, timeout=30) as client:
        yield client


def test_a_large_input_goes_in_parts_and_its_result_comes_by_a_link(client: httpx.Client) -> None:
    """What does not fit into a request is uploaded as it would be to AWS, with no library."""
    text = "a" * (PART_BYTES_MIN + 1000)
    content = json.dumps({"input": text}).encode()
    begun = client.post(
        "/v1/uploads", json={"bytes": len(content), "part_bytes": PART_BYTES_MIN}
    ).json()

    # Without the API's key: the links carry all that is needed, and S3 refuses more.
    with httpx.Client(timeout=30) as plain:
        start = 0
        for part in begun["parts"]:
            piece = content[start : start + part["bytes"]]
            assert plain.put(part["url"][:-1] + "x", content=piece).status_code == 403
            assert plain.put(part["url"], content=piece).status_code == 200
            start += part["bytes"]
        done = client.post(f"/v1/uploads/{begun['id']}/complete")
        assert done.status_code == 200
        asked = {"model": "thinker", "input_upload": begun["id"], "tier": "interactive"}
        job = _submitted(client, asked)
        view = _ended(client, job)

        assert (view["status"], view["output"]) == ("completed", None)
        result = plain.get(view["output_url"])
        (message,) = result.json()["output"]
        assert message["content"][0]["text"] == f"Thought: {text}"
        assert plain.get(view["output_url"].replace(job, "job_" + "a" * 26)).status_code == 403
        assert client.delete(f"/v1/jobs/{job}").status_code == 200
        assert plain.get(view["output_url"]).status_code == 404


def _submitted(client: httpx.Client, asked: dict[str, str]) -> str:
    """Submit as a client does that honours Retry-After: until the copies are made."""
    until_s = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < until_s:
        answer = client.post("/v1/jobs", json=asked)
        if answer.status_code != 429:
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])
        assert answer.json()["error"]["code"] == "upload_not_ready"
        time.sleep(int(answer.headers["Retry-After"]))
    raise AssertionError("the upload was never ready")


def _ended(client: httpx.Client, job: str) -> dict[str, Any]:
    until_s = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < until_s:
        view = dict(client.get(f"/v1/jobs/{job}", follow_redirects=True).json())
        if view["status"] not in {"queued", "in_progress"}:
            return view
        time.sleep(0.2)
    raise AssertionError("the job never ended")
