"""The tables that a deployment must not lose."""

from pathlib import Path

import pytest

from tests.stacks.assemblies import Assembly, Synthesize, changed_dev

TABLE = "AWS::DynamoDB::GlobalTable"


def test_the_ledger_is_strong_in_every_region(dev: Assembly, prod: Assembly) -> None:
    """Two regions that both win a lease would run a job twice and commit two results."""
    ledger = dev.one(TABLE, TableName="spillway-dev-ledger").properties
    witnessed = prod.one(TABLE, TableName="spillway-prod-ledger").properties

    assert ledger["MultiRegionConsistency"] == "STRONG"
    assert {r["Region"] for r in ledger["Replicas"]} == {"us-east-1", "us-east-2", "us-west-2"}
    assert "GlobalTableWitnesses" not in ledger
    assert witnessed["MultiRegionConsistency"] == "STRONG"
    assert {r["Region"] for r in witnessed["Replicas"]} == {"us-east-1", "us-east-2"}
    assert witnessed["GlobalTableWitnesses"] == [{"Region": "us-west-2"}]


@pytest.mark.parametrize("field", ["TimeToLiveSpecification", "LocalSecondaryIndexes"])
def test_the_ledger_has_nothing_that_a_strong_table_refuses(dev: Assembly, field: str) -> None:
    """CDK lets both pass, and the deployment fails after minutes."""
    assert field not in dev.one(TABLE, TableName="spillway-dev-ledger").properties


def test_jobs_are_found_by_work_and_by_tenant(dev: Assembly) -> None:
    """Sweep looks for live jobs, a client lists its own: oldest first, at the least price."""
    ledger = dev.one(TABLE, TableName="spillway-dev-ledger").properties

    assert ledger["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    indexes = {
        index["IndexName"]: (
            [key["AttributeName"] for key in index["KeySchema"]],
            index["Projection"].get("NonKeyAttributes", []),
        )
        for index in ledger["GlobalSecondaryIndexes"]
    }
    assert indexes == {
        # Attributes that never change: each change of one would be a write more in each region.
        "live": (["live", "created_ms"], ["tenant", "tier", "deadline_ms"]),
        "listing": (["tenant_day", "created_ms"], ["request_hash"]),
    }


def test_the_directory_forgets_what_expired(dev: Assembly) -> None:
    """Snapshots of a region that is gone must not steer admission for ever."""
    directory = dev.one(TABLE, TableName="spillway-dev-directory").properties

    assert directory["TimeToLiveSpecification"] == {"AttributeName": "expires_s", "Enabled": True}
    assert "MultiRegionConsistency" not in directory
    assert len(directory["Replicas"]) == 3


@pytest.mark.parametrize("name", ["ledger", "directory"])
def test_tables_are_billed_by_use_and_restorable_everywhere(prod: Assembly, name: str) -> None:
    """An idle deployment costs nothing here, and yesterday's state can be had back."""
    table = prod.one(TABLE, TableName=f"spillway-prod-{name}").properties

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    for replica in table["Replicas"]:
        recovery = replica["PointInTimeRecoverySpecification"]
        assert recovery == {"PointInTimeRecoveryEnabled": True}
        # AWS-owned keys: a key of ours in one region would be a way to lose all of them.
        assert "SSESpecification" not in replica


@pytest.mark.parametrize(
    "kind", [TABLE, "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key"]
)
def test_what_prod_stores_outlives_its_stacks(prod: Assembly, kind: str) -> None:
    """A wrong `destroy`, rename or failed update must not take a customer's jobs with it."""
    resources = prod.resources(kind)

    assert resources
    for resource in resources:
        # A first deployment that fails must not leave names that block the second.
        assert resource.body["DeletionPolicy"] == "RetainExceptOnCreate", resource
        assert resource.body["UpdateReplacePolicy"] == "Retain", resource


def test_what_dev_stores_goes_with_its_stacks(dev: Assembly) -> None:
    """Whoever tries things out can start again under the same names."""
    for kind in (TABLE, "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::Logs::LogGroup"):
        for resource in dev.resources(kind):
            assert resource.body["DeletionPolicy"] == "Delete", resource


def test_prods_stacks_are_not_destroyed_in_passing(dev: Assembly, prod: Assembly) -> None:
    """A stack that holds jobs or answers clients first has to be unlocked by hand."""
    locked = {
        name
        for name, artifact in prod.stacks()
        if artifact["properties"].get("terminationProtection")
    }

    assert locked == {name for name in prod.templates if not name.startswith("Model-")}
    assert not [n for n, a in dev.stacks() if a["properties"].get("terminationProtection")]


def test_one_region_alone_needs_no_other(synthesize: Synthesize, tmp_path: Path) -> None:
    """A small team starts in one region, without replicas, witnesses or second copies."""
    alone = synthesize(changed_dev(tmp_path, lambda _: None))

    assert set(alone.templates) == {
        "Data",
        "Region-us-east-1",
        "Model-chat-us-east-1",
        "Model-embedder-us-east-1",
    }
    ledger = alone.one(TABLE, TableName="spillway-dev-ledger").properties
    assert "MultiRegionConsistency" not in ledger
    assert [replica["Region"] for replica in ledger["Replicas"]] == ["us-east-1"]
    assert "ReplicationConfiguration" not in alone.one("AWS::S3::Bucket").properties
    assert "replica" not in str(alone.templates)
