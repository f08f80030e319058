"""The directory as the functions read it."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import pytest
from moto import mock_aws

import spillway.directory as operators
from lambdas.adapters.directory import Directory, Key, Tenant
from lambdas.domain.keys import key_hash


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An empty directory."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="t-directory",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )
        yield Directory(client, "t-directory")


def operator(directory: Directory) -> operators.Directory:
    """The same table as `spillway tenant` sees it."""
    table = boto3.resource("dynamodb", region_name="us-east-1").Table(directory.table)
    return operators.Directory(table, lambda: 1_700_000_000.0)


def test_what_operators_write_is_what_functions_read(directory: Directory) -> None:
    """A limit that is written but not understood is no limit."""
    key = operators.add_tenant(
        operator(directory),
        "acme",
        key_name="prod",
        models=["embedder"],
        tiers=["standard", "batch"],
        rate_per_s=Decimal("2.5"),
        in_flight_max=7,
    )

    assert directory.key(key_hash(key)) == Key(tenant="acme", name="prod", revoked=False)
    assert directory.tenant("acme") == Tenant(
        id="acme",
        models=frozenset({"embedder"}),
        tiers=frozenset({"standard", "batch"}),
        rate_per_s=2.5,
        in_flight_max=7,
    )


def test_a_tenant_without_limits_has_the_deployments(directory: Directory) -> None:
    """None stands for the default, which is not the same as nothing allowed."""
    operators.add_tenant(operator(directory), "acme")

    assert directory.tenant("acme") == Tenant(id="acme")


def test_a_key_of_its_own_limits_is_read_as_it_was_made(directory: Directory) -> None:
    """A key that was made narrow and is read wide gives away the whole tenant."""
    operated = operator(directory)
    operators.add_tenant(operated, "acme")
    key = operated.add_key(
        "acme",
        "ci",
        scopes=["jobs:read"],
        models=["chat"],
        tiers=None,
        expires_ms=1_700_000_000_001,
    )

    assert directory.key(key_hash(key)) == Key(
        tenant="acme",
        name="ci",
        revoked=False,
        expires_ms=1_700_000_000_001,
        scopes=frozenset({"jobs:read"}),
        models=frozenset({"chat"}),
    )


def test_revoking_and_disabling_are_seen(directory: Directory) -> None:
    """A key that leaked must stop working."""
    operated = operator(directory)
    key = operators.add_tenant(operated, "acme")
    operated.revoke(key_hash(key))
    operated.change("acme", {"disabled": True})

    found, tenant = directory.key(key_hash(key)), directory.tenant("acme")

    assert found is not None
    assert found.revoked
    assert tenant is not None
    assert tenant.disabled


def test_sets_and_lists_of_names_are_both_understood(directory: Directory) -> None:
    """Operators' own scripts write either."""
    tables: Any = directory.client
    for tenant, models in (("a", {"SS": ["x", "y"]}), ("b", {"L": [{"S": "x"}, {"S": "y"}]})):
        item = {"pk": {"S": f"tenant#{tenant}"}, "models": models, "later": {"NULL": True}}
        tables.put_item(TableName=directory.table, Item=item)
        found = directory.tenant(tenant)
        assert found is not None
        assert found.models == frozenset({"x", "y"})


def test_nobody_is_nobody(directory: Directory) -> None:
    """An unknown key must not look like a key without a tenant."""
    assert directory.key("0" * 64) is None
    assert directory.tenant("nobody") is None
    assert directory.snapshot("us-east-1") == {}


def test_snapshots_reach_the_other_regions(directory: Directory) -> None:
    """A client may ask in one region for a job that waits in another."""
    directory.write_snapshot("us-east-2", {"at_ms": 1, "models": {}})

    assert directory.snapshot("us-east-2") == {"at_ms": 1, "models": {}}
    assert directory.snapshot("us-east-1") == {}


def test_all_tenants_are_found_beyond_one_page(directory: Directory) -> None:
    """A tenant that sweep does not see keeps its jobs for ever."""
    operated = operator(directory)
    names = {f"tenant-{number}" for number in range(30)}
    for name in names:
        operated.change(name, {"note": "x" * 40_000})
    operated.add_key("tenant-1", "one")

    assert sorted(directory.tenants()) == sorted(names)
