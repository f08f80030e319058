"""What DynamoDB publishes of its tables, with the page that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from spillway.twin.calls import Fault
from spillway.twin.clock import START_S
from spillway.twin.dynamodb_metrics import DynamoDbMetrics
from spillway.twin.metrics import Metric

if TYPE_CHECKING:
    from tests.twin.conftest import World

REGION = "us-east-1"


def test_throttled_requests_are_counted_and_their_alarm_ends(world: World) -> None:
    """An alarm on throttles that never ends hides the next ones.

    DynamoDB developer guide, "DynamoDB metrics and dimensions": WriteThrottleEvents by TableName,
    ThrottledRequests by TableName and Operation. CloudWatch user guide: alarms on AWS/DynamoDB
    "always ignore missing data", and metric math takes a missing value for 0 beside one that is
    there.
    """
    DynamoDbMetrics(world.scheduler, world.hook, world.metrics)
    client = world.client("dynamodb")
    client.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    queries = [
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/DynamoDB",
                    "MetricName": metric,
                    "Dimensions": [{"Name": "TableName", "Value": "t"}],
                },
                "Period": 60,
                "Stat": "Sum",
            },
        }
        for name, metric in (
            ("throttled", "WriteThrottleEvents"),
            ("used", "ConsumedWriteCapacityUnits"),
        )
    ]
    common = {"EvaluationPeriods": 1, "Threshold": 0, "ComparisonOperator": "GreaterThanThreshold"}
    sum_of = {"Metrics": [*queries, {"Id": "all", "Expression": "throttled + 0 * used"}]}
    world.alarms.put("123456789012", REGION, {"AlarmName": "math", **common, **sum_of})
    plain = {"Namespace": "AWS/DynamoDB", "MetricName": "WriteThrottleEvents"}
    world.alarm("plain", **plain, Dimensions=[{"Name": "TableName", "Value": "t"}], **common)
    world.hook.fail(Fault("throttle", service="dynamodb", operation="PutItem", times=4))

    def write(minutes: int) -> None:
        for _ in range(minutes):
            client.put_item(TableName="t", Item={"pk": {"S": "x"}})
            world.scheduler.run_for(60)

    with pytest.raises(ClientError):  # The fourth throttle is more than the SDK tries.
        client.put_item(TableName="t", Item={"pk": {"S": "x"}})
    write(1)
    world.scheduler.run_for(10)
    assert world.state("math") == world.state("plain") == "ALARM"
    write(4)
    assert world.state("math") == "OK"
    assert world.state("plain") == "ALARM"

    of = frozenset({("TableName", "t"), ("Operation", "PutItem")})
    told = world.metrics.series(
        REGION, Metric("AWS/DynamoDB", "ThrottledRequests", of), "Sum", 60, START_S, START_S + 60
    )
    assert told == [4]
