"""Policies compared: what the command shows of the same requests with each of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from config.schema import load
from spillway import local
from spillway.cli.main import app
from spillway.replay import sagemaker_default
from spillway.twin.metrics import Metric
from spillway.twin.twin import Twin

BENCH = Path(__file__).resolve().parents[2] / "config" / "bench.yaml"
BURST = 24


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A burst that one instance cannot take within the targets: each job runs for 21 s."""
    rows = [f"{number / 10:.3f},0,500,," for number in range(BURST)]
    path = tmp_path / "burst.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,model,session\n" + "\n".join(rows))
    return path


def test_two_policies_are_compared_in_one_run(trace: Path, tmp_path: Path) -> None:
    """Figures of two runs that were not asked the same say nothing."""
    pytest.importorskip("matplotlib", reason="an extra: pip install 'spillway[plot]'")
    picture = tmp_path / "both.png"
    words = ["replay", str(trace), "--virtual", "--config", str(BENCH), "--json"]
    words += ["--scaling", "alarms", "--scaling", "sagemaker-default", "--plot", str(picture)]

    done = CliRunner().invoke(app, words)

    assert done.exit_code == 0, done.output
    runs: dict[str, dict[str, Any]] = json.loads(done.stdout)["runs"]
    assert list(runs) == ["alarms", "sagemaker-default"]
    for name, run in runs.items():
        assert (run["scaling"], run["completed"], run["lost"]) == (name, BURST, 0)
        assert run["gpu_hours"] > 0
        # The first 16 start at once, and the others wait for a place.
        assert 0 < run["attainment"]["interactive"] < 1
    # The same for both, and no more than either spent: one instance could do it in time.
    (bound,) = {run["gpu_hours_bound"] for run in runs.values()}
    assert 0 < bound <= min(run["gpu_hours"] for run in runs.values())
    assert picture.stat().st_size > 10_000


def test_the_default_sees_what_would_wait_in_its_own_queue() -> None:
    """Spillway keeps SageMaker's queue shallow: without that the default would never scale."""
    deployment = load(BENCH)
    name = deployment.names.endpoint("chat", "v1")
    with local.start(BENCH, virtual=True) as twin:
        sagemaker_default.install(twin, deployment)
        queue = deployment.names.queue_url(
            "us-east-1", deployment.names.tier_queue("chat", "batch")
        )
        # Messages of no job are dropped after a minute, so they are sent just before the look.
        twin.scheduler.run_for(59 - twin.scheduler.now() % 60)
        sqs = twin.operator("us-east-1").client("sqs")
        for number in range(6):
            sqs.send_message(QueueUrl=queue, MessageBody=str(number), MessageGroupId="a")
        twin.scheduler.run_for(2)

        assert _latest(twin, name, "ApproximateBacklogSizePerInstance") == 6
        assert _policies(twin, name) == ["BacklogPerInstance", "HasBacklogWithoutCapacity"]


def _latest(twin: Twin, endpoint: str, name: str) -> float | None:
    metric = Metric("AWS/SageMaker", name, frozenset({("EndpointName", endpoint)}))
    now_s = twin.scheduler.now()
    return twin.metrics.series("us-east-1", metric, "Average", 60, now_s, now_s + 1)[0]


def _policies(twin: Twin, endpoint: str) -> list[str]:
    scaling = twin.operator("us-east-1").client("application-autoscaling")
    found = scaling.describe_scaling_policies(
        ServiceNamespace="sagemaker", ResourceId=f"endpoint/{endpoint}/variant/live"
    )
    return sorted(policy["PolicyName"] for policy in found["ScalingPolicies"])
