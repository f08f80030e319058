"""An index that is kept must show what moto finds by looking at every item."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from moto.dynamodb.models.table import Table

from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.dynamodb import DynamoDb
from spillway.twin.resources import Resource

HERE, THERE, THIRD = "us-east-1", "us-east-2", "us-west-2"
KINDS = {"pk": "S", "place": "S", "at": "N"}
STRONG = {"MultiRegionConsistency": "STRONG"}
MOTO_QUERY = Table.query

KEY: dict[str, Any] = {"KeyConditionExpression": "place = :place"}
SINCE: dict[str, Any] = {"KeyConditionExpression": "place = :place AND #at >= :at"}
ODD: dict[str, Any] = KEY | {"FilterExpression": "attribute_exists(v)"}
QUERIES: list[dict[str, Any]] = [
    KEY,
    KEY | {"PaginationConfig": {"PageSize": 3}},
    KEY | {"PaginationConfig": {"PageSize": 2}, "ScanIndexForward": False},
    KEY | {"PaginationConfig": {"PageSize": 4}, "Select": "COUNT"},
    SINCE | {"PaginationConfig": {"PageSize": 2}},
    SINCE | {"PaginationConfig": {"PageSize": 1}, "ScanIndexForward": False},
    ODD | {"PaginationConfig": {"PageSize": 2}},
]
"""How an index is asked: whole, in pages, backwards, only counted, from an age on, filtered."""


@contextmanager
def tables(**properties: Any) -> Iterator[tuple[Scheduler, dict[str, Any]]]:
    """A table of three replicas with an index, and a client in each region."""
    regions = (HERE, THERE, THIRD)
    index = {
        "IndexName": "by_place",
        "KeySchema": [
            {"AttributeName": "place", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }
    with mock_aws():
        scheduler = Scheduler(virtual=True)
        hook = Hook(scheduler)
        dynamodb = DynamoDb(scheduler, lag_s=1.0)
        hook.consistency = dynamodb
        table: dict[str, Any] = {
            "TableName": "things",
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": kind} for name, kind in KINDS.items()
            ],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
            "GlobalSecondaryIndexes": [index],
            "Replicas": [{"Region": region} for region in regions],
        }
        resource = Resource(
            type="AWS::DynamoDB::GlobalTable",
            logical_id="Things",
            physical_id="things",
            region=HERE,
            account="123456789012",
            stack="stack",
            properties=table | properties,
        )
        try:
            dynamodb.create(resource)
            sessions = {name: hook.session(region=name) for name in regions}
            yield scheduler, {name: each.client("dynamodb") for name, each in sessions.items()}
        finally:
            dynamodb.close()
            hook.close()
            scheduler.close()


def write(client: Any, what: str, name: str, place: str, at: int) -> None:
    """Change an item: all of it, where it is, that it is anywhere; or delete it."""
    key = {"pk": {"S": name}}
    if what == "put":
        item = key | {"place": {"S": place}, "at": {"N": str(at)}}
        client.put_item(TableName="things", Item=item)
    elif what == "delete":
        client.delete_item(TableName="things", Key=key)
    elif what == "leave":
        client.update_item(TableName="things", Key=key, UpdateExpression="REMOVE place")
    else:
        client.update_item(
            TableName="things",
            Key=key,
            UpdateExpression="SET place = :place, v = :v",
            ExpressionAttributeValues={":place": {"S": place}, ":v": {"N": str(at)}},
        )


def found(client: Any) -> list[Any]:
    """The pages that every kind of query brings, of every part of the index."""
    pages = []
    for query in QUERIES:
        for place in ("x", "y"):
            values: dict[str, Any] = {":place": {"S": place}}
            names = {}
            if ":at" in query["KeyConditionExpression"]:
                values[":at"], names = {"N": "0"}, {"ExpressionAttributeNames": {"#at": "at"}}
            for page in client.get_paginator("query").paginate(
                TableName="things",
                IndexName="by_place",
                ExpressionAttributeValues=values,
                **names,
                **query,
            ):
                page.pop("ResponseMetadata")
                pages.append(page)
    return pages


@pytest.mark.parametrize("properties", [STRONG, {}])
@settings(max_examples=8, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from([HERE, THERE]),
            st.sampled_from(["put", "put", "move", "leave", "delete"]),
            st.sampled_from("abcdefgh"),
            st.sampled_from("xy"),
            st.integers(-2, 2),
        ),
        max_size=25,
    )
)
def test_an_index_shows_what_a_look_at_every_item_shows(
    properties: dict[str, Any], changes: list[tuple[str, str, str, str, int]]
) -> None:
    """A job that its index hides would never be moved, swept or listed."""
    with tables(**properties) as (scheduler, clients):
        for region, what, name, place, at in changes:
            write(clients[region], what, name, place, at)
        for _ in range(2):
            kept = found(clients[THERE])
            with patch.object(Table, "query", MOTO_QUERY):
                assert kept == found(clients[THERE])
            scheduler.run_for(5)


def test_only_a_page_is_looked_at() -> None:
    """A backlog of ten thousand jobs must not cost ten thousand looks for each of its pages."""
    with tables(**STRONG) as (_, clients):
        for number in range(40):
            write(clients[HERE], "put", f"k{number}", "x", number)
        looked: list[int] = []

        def query(table: Table, *asked: Any, **conditions: Any) -> Any:
            looked.append(len(table.all_items()))
            return MOTO_QUERY(table, *asked, **conditions)

        with patch("spillway.twin.indexes._moto_query", query):
            clients[THERE].query(
                TableName="things",
                IndexName="by_place",
                Limit=5,
                ExpressionAttributeValues={":place": {"S": "x"}},
                **KEY,
            )
        assert looked == [6]
