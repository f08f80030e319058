"""What Lambda and SQS publish about themselves, with the page that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.twin.clock import START_S
from spillway.twin.metrics import Metric
from spillway.twin.service_metrics import ServiceMetrics

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"
ACCOUNT = "123456789012"


def read(world: World, metric: Metric, statistic: str, minutes: int) -> list[float | None]:
    """Read the first minutes of a series."""
    return world.metrics.series(REGION, metric, statistic, 60, START_S, START_S + 60 * minutes)


def test_executions_are_counted(world: World) -> None:
    """An alarm on a function's errors fires here as it would there.

    Lambda developer guide, "Types of metrics for Lambda functions": Invocations, Errors and
    Duration in milliseconds, by FunctionName; errors without an error are 0, so that an average is
    the error rate.
    """
    ServiceMetrics(world.scheduler, world.metrics, world.functions, account=ACCOUNT)

    def handle(event: Any, context: Any, session: Any, sleep: Any) -> None:
        sleep(1.5)
        if event:
            raise ValueError("no")

    world.deploy("f", handle)
    for event in (False, True, False, False):
        world.invoke("f", event)
    pairs = frozenset({("FunctionName", "f")})
    assert read(world, Metric("AWS/Lambda", "Invocations", pairs), "Sum", 1) == [4]
    assert read(world, Metric("AWS/Lambda", "Errors", pairs), "Average", 1) == [0.25]
    assert read(world, Metric("AWS/Lambda", "Duration", pairs), "Maximum", 1) == [1500]


def test_watched_queues_are_measured_each_minute(world: World) -> None:
    """Dead letters page somebody within two minutes.

    SQS developer guide, "Available CloudWatch metrics for Amazon SQS": one-minute metrics, by
    QueueName.
    """
    ServiceMetrics(world.scheduler, world.metrics, world.functions, account=ACCOUNT)
    url = world.queue("dead")
    world.queue("unwatched")
    pairs = [{"Name": "QueueName", "Value": "dead"}]
    common = {"Namespace": "AWS/SQS", "Dimensions": pairs, "EvaluationPeriods": 1, "Threshold": 0}
    world.alarm("dead", MetricName="ApproximateNumberOfMessagesVisible", **common)
    for name in (
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateAgeOfOldestMessage",
        "NumberOfMessagesSent",
    ):
        world.alarm(name, MetricName=name, **common)
    world.alarm("gone", MetricName="ApproximateNumberOfMessagesVisible", **common | {
        "Dimensions": [{"Name": "QueueName", "Value": "gone"}]
    })  # fmt: skip
    world.scheduler.run_for(70)
    assert world.state("dead") == "OK"
    client = world.client("sqs")
    client.send_message(QueueUrl=url, MessageBody="x")
    client.send_message(QueueUrl=url, MessageBody="y")
    client.send_message(QueueUrl=url, MessageBody="z", DelaySeconds=900)
    client.receive_message(QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=600)
    world.scheduler.run_for(60)
    assert world.state("dead") == "ALARM"

    found = {
        metric.name: read(world, metric, "Maximum", 3)
        for _, metric in world.metrics.watched("AWS/SQS")
        if ("QueueName", "dead") in metric.dimensions
    }
    oldest = found.pop("ApproximateAgeOfOldestMessage")
    assert oldest[0] == 0
    assert 49 < (oldest[1] or 0) <= 50
    assert found == {
        "ApproximateNumberOfMessagesVisible": [0, 1, None],
        "ApproximateNumberOfMessagesNotVisible": [0, 1, None],
        "ApproximateNumberOfMessagesDelayed": [0, 1, None],
        "NumberOfMessagesSent": [None, None, None],
    }
    assert world.state("gone") == "INSUFFICIENT_DATA"
