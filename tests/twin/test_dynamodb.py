"""DynamoDB on the twin behaves as AWS documents it where moto alone would not.

The pages, in docs.aws.amazon.com/amazondynamodb/latest/developerguide: "How DynamoDB global tables
work" (V2globaltables_HowItWorks.html; MREC eventual, MRSC strong) and "Using time to live"
(TTL.html).
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from spillway.twin.calls import Fault, Hook
from spillway.twin.clock import Scheduler
from spillway.twin.dynamodb import DynamoDb
from spillway.twin.resources import Resource, UnsupportedError

HERE, THERE, THIRD = "us-east-1", "us-east-2", "us-west-2"
KEY = {
    "TableName": "things",
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
ONE = {"pk": {"S": "one"}}


class World:
    """A scheduler, DynamoDB and a client in each region."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(virtual=True)
        self.hook = Hook(self.scheduler)
        self.dynamodb = DynamoDb(self.scheduler, lag_s=1.0, ttl_every_s=3600.0)

    def client(self, region: str) -> Any:
        """Call DynamoDB in a region."""
        return self.hook.session(region=region).client("dynamodb")

    def create(self, kind: str = "GlobalTable", **properties: Any) -> Resource:
        """Create a table with these properties besides its key."""
        return self.dynamodb.create(
            Resource(
                type=f"AWS::DynamoDB::{kind}",
                logical_id="Things",
                physical_id="things",
                region=HERE,
                account="123456789012",
                stack="stack",
                properties=KEY | properties,
            )
        )

    def strong(self, **properties: Any) -> Resource:
        """Create a strong table of two replicas and a witness."""
        return self.create(
            MultiRegionConsistency="STRONG",
            Replicas=[{"Region": HERE}, {"Region": THERE}],
            GlobalTableWitnesses=[{"Region": THIRD}],
            **properties,
        )

    def eventual(self, **properties: Any) -> Resource:
        """Create an eventual table of three replicas."""
        return self.create(
            Replicas=[{"Region": HERE}, {"Region": THERE}, {"Region": THIRD}], **properties
        )

    def value(self, region: str) -> str | None:
        """Read the one item there, consistently."""
        item = self.client(region).get_item(TableName="things", Key=ONE, ConsistentRead=True)
        value: str | None = item.get("Item", {}).get("v", {}).get("S")
        return value

    def put(self, region: str, value: str, **options: Any) -> None:
        """Write the one item there."""
        item = ONE | {"v": {"S": value}}
        self.client(region).put_item(TableName="things", Item=item, **options)


@pytest.fixture
def world() -> Iterator[World]:
    """Build and tear down a world on the virtual clock."""
    with mock_aws():
        world = World()
        yield world
        world.dynamodb.close()
        world.hook.close()
        world.scheduler.close()


def test_a_strong_table_is_one_truth_in_every_region(world: World) -> None:
    """A job accepted here must be seen there at once, or two regions run it.

    How global tables work, MRSC: strongly consistent reads on any replica return the latest
    version, and conditions are evaluated against it.
    """
    world.strong()
    world.put(HERE, "first")
    assert world.value(THERE) == "first"
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        world.put(THERE, "second", ConditionExpression="attribute_not_exists(pk)")
    world.client(THERE).delete_item(TableName="things", Key=ONE)
    assert world.value(HERE) is None


def test_each_replica_of_a_strong_table_is_a_table_of_its_region(world: World) -> None:
    """Policies and operators name a replica by its own region's address.

    How global tables work: "A replica table (or replica) is a DynamoDB table that functions as
    part of a global table", one per region.
    """
    world.strong()
    arn = world.client(THERE).describe_table(TableName="things")["Table"]["TableArn"]
    assert arn == f"arn:aws:dynamodb:{THERE}:123456789012:table/things"


def test_a_conflict_between_regions_can_be_injected(world: World) -> None:
    """Code that never met such a conflict gives up at the first one.

    How global tables work, MRSC: a write to an item that another region is writing fails with
    ReplicatedWriteConflictException, and may be retried.
    """
    world.strong()
    conflict = "ReplicatedWriteConflictException"
    fault = world.hook.fail(Fault(conflict, operation="PutItem", region=THERE, times=None))
    with pytest.raises(ClientError, match=conflict):
        world.put(THERE, "value")
    assert fault.hits
    world.put(HERE, "value")


def test_a_witness_holds_no_table(world: World) -> None:
    """Code that reads in the witness's region would pass here and fail in production.

    How global tables work, MRSC: nobody reads or writes at a witness.
    """
    world.strong()
    with pytest.raises(ClientError, match="ResourceNotFound"):
        world.value(THIRD)


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"TimeToLiveSpecification": {"AttributeName": "t", "Enabled": True}}, "TimeToLive"),
        ({"LocalSecondaryIndexes": [{"IndexName": "i"}]}, "LocalSecondaryIndexes"),
        ({"GlobalTableWitnesses": []}, "three replicas"),
    ],
)
def test_a_strong_table_refuses_what_aws_refuses(
    world: World, properties: dict[str, Any], reason: str
) -> None:
    """A template that only fails on AWS wastes a deployment.

    How global tables work, MRSC: exactly three regions, one of which may be a witness; no time
    to live, no local secondary indexes.
    """
    replicas = [{"Region": HERE}, {"Region": THERE}]
    wanted = {"Replicas": replicas, "GlobalTableWitnesses": [{"Region": THIRD}]} | properties
    with pytest.raises(ValueError, match=reason):
        world.create(MultiRegionConsistency="STRONG", **wanted)


def test_a_strong_table_refuses_transactions(world: World) -> None:
    """Code that relies on transactions would pass here and fail in production.

    How global tables work, MRSC: transactions are not supported and return an error.
    """
    world.strong()
    with pytest.raises(ClientError, match="ValidationException"):
        world.client(HERE).transact_write_items(
            TransactItems=[{"Put": {"TableName": "things", "Item": ONE}}]
        )
    with pytest.raises(ClientError, match="ValidationException"):
        world.client(THERE).transact_get_items(
            TransactItems=[{"Get": {"TableName": "things", "Key": ONE}}]
        )
    with pytest.raises(ClientError, match="ValidationException"):
        world.client(THERE).update_time_to_live(
            TableName="things", TimeToLiveSpecification={"AttributeName": "t", "Enabled": True}
        )


def test_an_eventual_table_catches_up_after_its_lag(world: World) -> None:
    """Code that reads another region's write at once would pass here and fail in production.

    How global tables work, MREC: changes reach the other replicas asynchronously, usually
    within a second or less.
    """
    world.eventual()
    world.put(HERE, "first")
    assert (world.value(HERE), world.value(THERE), world.value(THIRD)) == ("first", None, None)
    world.scheduler.run_for(1.0)
    assert (world.value(THERE), world.value(THIRD)) == ("first", "first")
    update = {
        "TableName": "things",
        "Key": ONE,
        "UpdateExpression": "SET v = :v",
        "ExpressionAttributeValues": {":v": {"S": "second"}},
    }
    world.client(THERE).update_item(**update)
    world.scheduler.run_for(1.0)
    assert world.value(HERE) == "second"
    world.client(THIRD).delete_item(TableName="things", Key=ONE)
    world.scheduler.run_for(1.0)
    assert (world.value(HERE), world.value(THERE)) == (None, None)


def test_the_last_writer_wins_in_every_replica(world: World) -> None:
    """Replicas that end up different would give two answers to one question for ever.

    How global tables work, MREC: of concurrent changes to an item the one with the latest
    internal timestamp wins, and every replica converges to it.
    """
    world.eventual()
    world.put(HERE, "first")
    world.scheduler.run_for(0.5)
    world.put(THERE, "second")
    world.scheduler.run_for(0.6)  # The first write arrives where a later one is already.
    assert world.value(THERE) == "second"
    world.scheduler.run_for(1.0)
    assert {world.value(region) for region in (HERE, THERE, THIRD)} == {"second"}


def test_a_condition_on_an_eventual_table_sees_its_own_region_only(world: World) -> None:
    """A lease kept in such a table can be won twice; the twin must show that.

    How global tables work, MREC: conditions are evaluated against the region's own version.
    """
    world.eventual()
    world.put(HERE, "mine", ConditionExpression="attribute_not_exists(pk)")
    world.put(THERE, "no, mine", ConditionExpression="attribute_not_exists(pk)")


def test_expired_items_go_later_and_everywhere(world: World) -> None:
    """Readers must not trust expiry to be prompt, and storage must not grow for ever.

    "DynamoDB automatically deletes expired items within a few days of their expiration time";
    "DynamoDB replicates TTL deletes to all replica tables" (Using time to live).
    """
    world.eventual(TimeToLiveSpecification={"AttributeName": "expires_s", "Enabled": True})
    now_s = int(world.scheduler.now())
    for name, expires_s in (("one", now_s + 60), ("late", now_s + 9999), ("odd", 7)):
        item = {"pk": {"S": name}, "v": {"S": "v"}, "expires_s": {"N": str(expires_s)}}
        world.client(HERE).put_item(TableName="things", Item=item)
    world.scheduler.run_for(3000)
    assert world.value(THERE) == "v"
    world.scheduler.run_for(602)
    for region in (HERE, THERE, THIRD):
        left = world.client(region).scan(TableName="things")["Items"]
        # "odd" expired more than five years ago, which DynamoDB takes for a mistake.
        assert {item["pk"]["S"] for item in left} == {"late", "odd"}
    described = world.client(THIRD).describe_time_to_live(TableName="things")
    assert described["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"


def test_a_regional_table_expires_items_too(world: World) -> None:
    """A gate's stale rates would pile up (Using time to live)."""
    world.create("Table", TimeToLiveSpecification={"AttributeName": "t", "Enabled": True})
    world.client(HERE).put_item(TableName="things", Item=ONE | {"t": {"N": "1767571201"}})
    world.scheduler.run_for(3601)
    assert world.client(HERE).scan(TableName="things")["Count"] == 0


def test_provisioned_capacity_is_refused_by_name(world: World) -> None:
    """Throttling that the twin does not run must not look as if it never happened."""
    with pytest.raises(UnsupportedError, match="BillingMode"):
        world.create("Table", BillingMode="PROVISIONED")
