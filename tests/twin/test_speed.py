"""moto must say the same as without our replacements, only sooner."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from spillway.twin.speed import faster

KEY = {"pk": {"S": "a"}}
UPDATES: list[dict[str, Any]] = [
    {
        "UpdateExpression": "SET #n = :m, b = if_not_exists(b, :b) ADD c :m REMOVE gone",
        "ConditionExpression": "attribute_exists(pk) AND (#n = :m OR attribute_not_exists(x))",
        "ExpressionAttributeNames": {"#n": "n"},
        "ExpressionAttributeValues": {":m": {"N": "1"}, ":b": {"S": "q"}},
        "ReturnValues": "ALL_NEW",
    },
    {
        "UpdateExpression": "ADD used :tokens",
        "ConditionExpression": "size(used) < :n OR contains(used, :t)",
        "ExpressionAttributeValues": {":tokens": {"SS": ["t"]}, ":n": {"N": "2"}, ":t": {"S": "t"}},
    },
    {
        "UpdateExpression": "SET m.x[0] = :v",
        "ExpressionAttributeValues": {":v": {"N": "2"}},
        "ReturnValues": "UPDATED_OLD",
    },
    {
        "UpdateExpression": "DELETE used :tokens SET n = n + :one",
        "ExpressionAttributeValues": {":tokens": {"SS": ["t"]}, ":one": {"N": "1"}},
        "ReturnValues": "ALL_OLD",
    },
    {
        "UpdateExpression": "SET n = :x",
        "ConditionExpression": "n = :x",
        "ExpressionAttributeValues": {":x": {"N": "99"}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    },
    {
        "UpdateExpression": "SET a = :one SET b = :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    },
    {"UpdateExpression": "SET a = :missing"},
    {"UpdateExpression": "SET pk = :x", "ExpressionAttributeValues": {":x": {"S": "b"}}},
    {"UpdateExpression": "SET a = :x, a = :x", "ExpressionAttributeValues": {":x": {"S": "b"}}},
]


def answers() -> list[Any]:
    """What moto answers to a series of calls, errors included."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="t",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        item: dict[str, Any] = {
            "n": {"N": "1"},
            "m": {"M": {"x": {"L": [{"N": "1"}]}}},
            "gone": {"BOOL": True},
            "used": {"SS": ["z"]},
            "octets": {"B": b"bytes"},
            "nothing": {"NULL": True},
        }
        client.put_item(TableName="t", Item=KEY | item)
        found: list[Any] = []
        for _ in range(2):
            for update in UPDATES:
                try:
                    answer: Any = client.update_item(TableName="t", Key=KEY, **update)
                except ClientError as error:
                    answer = error.response
                found.append(answer)
                found.append(client.get_item(TableName="t", Key=KEY))
        found.append(client.scan(TableName="t", FilterExpression="contains(used, b) OR n <> c"))
        for paths in ("m, used, lacking, n", "#n, m.x[0]", "m.x, used", "octets, nothing"):
            names: Any = {"ExpressionAttributeNames": {"#n": "n"}} if "#n" in paths else {}
            found.append(
                client.get_item(TableName="t", Key=KEY, ProjectionExpression=paths, **names)
            )
        found.append(client.describe_table(TableName="t")["Table"]["KeySchema"])
        sqs = boto3.client("sqs", region_name="us-east-1")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        found.append(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"]))
        found.append(sqs.receive_message(QueueUrl=url))
    for each in found:
        if isinstance(each, dict):
            each.pop("ResponseMetadata", None)
    return found


def test_answers_are_the_same_with_and_without() -> None:
    """A faster wrong answer would make every test in the project worthless."""
    plain = answers()
    with faster():
        fast = answers()
        again = answers()
    assert fast == plain
    assert again == plain
    assert sum("Error" in each for each in plain) >= 10


def pages(keys: list[Any], projection: dict[str, Any]) -> list[Any]:
    """What scans and index queries of a table find, page by page, in their order."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        index: Any = {
            "IndexName": "by_place",
            "KeySchema": [
                {"AttributeName": "place", "KeyType": "HASH"},
                {"AttributeName": "at", "KeyType": "RANGE"},
            ],
            "Projection": projection,
        }
        kinds: dict[str, Any] = {"pk": "S", "at": "N", "place": "S"}
        client.create_table(
            TableName="t",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()
            ],
            KeySchema=keys,
            GlobalSecondaryIndexes=[index],
            BillingMode="PAY_PER_REQUEST",
        )
        for number in range(40):
            item: dict[str, Any] = {"pk": {"S": f"k{number * 17 % 40}"}, "at": {"N": str(-number)}}
            item["more"] = {"M": {"a": {"L": [{"N": "1.50"}]}}}
            if number % 3:
                item["place"] = {"S": f"p{number % 2}"}
            client.put_item(TableName="t", Item=item)
        query: Any = {
            "TableName": "t",
            "IndexName": "by_place",
            "KeyConditionExpression": "#place = :place",
            "ExpressionAttributeNames": {"#place": "place"},
            "ExpressionAttributeValues": {":place": {"S": "p1"}},
            "PaginationConfig": {"PageSize": 4},
        }
        back = {**query, "ScanIndexForward": False}
        queries = client.get_paginator("query")
        scans = client.get_paginator("scan").paginate(
            TableName="t", PaginationConfig={"PageSize": 7}
        )
        found = (*scans, *queries.paginate(**query), *queries.paginate(**back))
        return [page["Items"] for page in found]


@pytest.mark.parametrize("keys", [["pk"], ["pk", "at"]])
@pytest.mark.parametrize("also", [None, [], ["more"]])
def test_items_come_in_the_same_order_with_and_without(
    keys: list[str], also: list[str] | None
) -> None:
    """Pages follow from the order: another one would skip jobs or show them twice."""
    schema = [
        {"AttributeName": name, "KeyType": kind}
        for name, kind in zip(keys, ("HASH", "RANGE"), strict=False)
    ]
    projection: dict[str, Any] = {"ProjectionType": "ALL" if also is None else "KEYS_ONLY"}
    if also:
        projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": also}
    plain = pages(schema, projection)
    with faster():
        fast = pages(schema, projection)
    assert fast == plain
    assert sum(map(len, plain)) == 40 + 2 * 13
