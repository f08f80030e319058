"""What AWS does not document is answered both ways: jobs end once under every answer."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.schema import load
from spillway import local
from spillway.testing import Stacks
from spillway.twin.containers import Python
from spillway.twin.sagemaker import Assumptions

OTHER_ANSWERS: list[dict[str, Any]] = [
    {"in_flight": "failed"},
    {"in_flight": "silent"},
    {"same_inference_id": "second_dropped"},
    {"failure_notice": "input_location"},
    {"notifications": "at_least_once", "notifications_odd_share": 0.5},
    {"notifications": "sometimes_never", "notifications_odd_share": 0.5},
    {"output": "notification_first"},
    {"queue": "any_order"},
    {"included_response": "text"},
    {"expired": "silent"},
]


@pytest.fixture
def stacks(request: pytest.FixtureRequest, spillway_config: Path) -> Iterator[Stacks]:
    """A deployment on an AWS that gives these answers."""
    deployment = load(spillway_config)
    model = partial(Python, answers=lambda body: {"echo": body, "long": "x" * 6000})
    with local.start(
        spillway_config,
        virtual=True,
        replaced={deployment.names.endpoint("small", "v1"): model},
        assumptions=Assumptions(**request.param),
    ) as twin:
        yield Stacks(twin, deployment)


@pytest.mark.parametrize(
    "stacks", OTHER_ANSWERS, indirect=True, ids=lambda answers: "-".join(map(str, answers.values()))
)
def test_jobs_end_once_whatever_aws_does(stacks: Stacks) -> None:
    """The first real deployment must not be the first time that we see the other answer."""
    stacks.run_for(20)
    client = stacks.http_client()
    flaky = {"left": 2}

    def answers(body: Any) -> Any:
        if body.get("fails") and flaky["left"]:
            flaky["left"] -= 1
            raise RuntimeError("a passing fault")
        return {"echo": body, "noise": [hash(str(body) + str(n)) for n in range(400)]}

    stacks.model("small").answers(answers)
    jobs = [
        client.post("/v1/jobs", json={"model": "small", "input": {"n": n, "fails": n == 0}}).json()
        for n in range(8)
    ]
    stacks.fail("die_after", function="dispatch", operation="InvokeEndpointAsync", times=1)
    stacks.run_until_idle(3000)

    for number, job in enumerate(jobs):
        view = client.get(f"/v1/jobs/{job['id']}").json()
        assert view["status"] == "completed", view
        assert view["output_url"], "an answer of this size lies in the bucket"
        stored = (
            stacks.twin.operator("us-east-1")
            .client("s3")
            .list_objects_v2(Bucket=stacks.deployment.names.bucket("us-east-1"), Prefix="results/")[
                "Contents"
            ]
        )
        last = f"{job['id']}/{view['attempt']}.json"
        assert [item for item in stored if item["Key"].endswith(last)], number
