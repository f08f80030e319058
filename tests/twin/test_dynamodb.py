"""DynamoDB on the twin behaves as AWS documents it where moto alone would not.

The pages, in docs.aws.amazon.com/amazondynamodb/latest/developerguide: "How DynamoDB global tables
work" (V2globaltables_HowItWorks.html; MREC eventual, MRSC strong) and "Using time to live"
(TTL.html).
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from lambdas.wiring import SDK_DEFAULTS
from spillway.twin.calls import Fault, Hook
from spillway.twin.clock import Scheduler
from spillway.twin.dynamodb import Contention, DynamoDb
from spillway.twin.resources import Resource, UnsupportedError

HERE, THERE, THIRD = "us-east-1", "us-east-2", "us-west-2"
KEY = {
    "TableName": "things",
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
ONE = {"pk": {"S": "one"}}
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1})
CONFLICT: Contention = "ReplicatedWriteConflictException"
REFUSED: Contention = "ConditionalCheckFailedException"


class World:
    """A scheduler, DynamoDB and a client in each region."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(virtual=True)
        self.hook = Hook(self.scheduler)
        self.dynamodb = DynamoDb(self.scheduler, lag_s=1.0, ttl_every_s=3600.0)
        self.hook.consistency = self.dynamodb

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

    def race(self, *writers: tuple[float, str, str], config: Any = ONCE, **call: Any) -> list[str]:
        """Let functions update the one item; how each ended.

        Args:
            writers: When each sends, in seconds, from which region, and which value.
            config: Of their clients.
            call: More parameters of the update.
        """
        ended: list[str] = [""] * len(writers)

        def write(number: int, region: str, value: str) -> None:
            session = self.hook.session(region=region, function=f"f{number}")
            try:
                session.client("dynamodb", config=config).update_item(
                    TableName="things",
                    Key=ONE,
                    UpdateExpression="SET v = :v",
                    ExpressionAttributeValues={":v": {"S": value}} | call.get("values", {}),
                    **({"ConditionExpression": call["when"]} if "when" in call else {}),
                )
            except ClientError as error:
                ended[number] = error.response["Error"]["Code"]

        for number, (after_s, region, value) in enumerate(writers):
            self.scheduler.after(after_s, self.scheduler.spawn, write, number, region, value)
        self.scheduler.run_for(120)
        return ended


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


def test_a_write_meets_another_regions_write_to_the_item(world: World) -> None:
    """A ledger that was never contended in a test loses jobs on the first busy day.

    "A write operation fails with a ReplicatedWriteConflictException when it attempts to modify an
    item that is already being modified in another Region. Writes that fail with the
    ReplicatedWriteConflictException can be retried and will succeed if the item is no longer
    being modified in another Region" (How global tables work, MRSC).
    """
    world.strong()
    assert world.race((0, HERE, "first"), (0.003, THERE, "second")) == ["", CONFLICT]
    assert world.value(HERE) == "first"
    # One after the other, from one region, or about different items, there is no conflict.
    assert world.race((0, HERE, "a"), (1, THERE, "b")) == ["", ""]
    assert world.race((0, HERE, "a"), (0.003, HERE, "b")) == ["", ""]


def test_whoever_was_refused_is_nobodys_conflict(world: World) -> None:
    """Of three writers one must win, and the fourth finds the item free."""
    world.hook.latency_spread = 0.0
    world.strong()
    writers = [(0.0, HERE, "a"), (0.01, THERE, "b"), (0.021, HERE, "c")]
    assert world.race(*writers) == ["", CONFLICT, ""]


def test_the_sdk_repeats_a_conflict(world: World) -> None:
    """Our clients' settings are what makes a conflict a delay and no failure.

    The exception is marked retryable in the service's model (DynamoDB API reference, UpdateItem),
    and standard mode sends three times.
    """
    world.strong()
    writers = ((0, HERE, "first"), (0.003, THERE, "second"))
    assert world.race(*writers, config=SDK_DEFAULTS) == ["", ""]
    assert world.value(HERE) == "second"
    world.hook.fail(Fault(CONFLICT, times=None))
    sent = len(world.hook.log)
    assert world.race((0, HERE, "third"), config=SDK_DEFAULTS) == [CONFLICT]
    assert len(world.hook.log) - sent == 3
    assert world.hook.log[-1].status == 400


@pytest.mark.parametrize(
    ("contention", "loser"), [(CONFLICT, CONFLICT), (REFUSED, REFUSED)], ids=["conflict", "turn"]
)
def test_of_two_conditional_writes_one_is_refused(
    world: World, contention: Contention, loser: str
) -> None:
    """Two regions that both win a lease run every job twice.

    "Conditional writes evaluate the condition expression against the latest version of an item"
    (How global tables work, MRSC); which error the loser gets is not documented.
    """
    world.dynamodb.contention = contention
    world.strong()
    writers = ((0, THERE, "mine"), (0.004, HERE, "no, mine"))
    assert world.race(*writers, when="attribute_not_exists(pk)") == ["", loser]
    assert world.value(HERE) == "mine"


def test_a_write_that_waited_its_turn_is_carried_out(world: World) -> None:
    """Without a broken condition nothing is refused where writes take turns."""
    world.dynamodb.contention = REFUSED
    world.hook.latency_s["dynamodb", "UpdateItem"] = 0.05
    world.strong()
    assert world.race((0, HERE, "first"), (0.003, THERE, "second")) == ["", ""]
    assert world.value(HERE) == "second"


def test_batches_conflict_too(world: World) -> None:
    """BatchWriteItem lists the exception as well (DynamoDB API reference)."""
    world.strong()
    ended: list[str] = []

    def write(region: str) -> None:
        client = world.hook.session(region=region, function="f").client("dynamodb", config=ONCE)
        try:
            client.batch_write_item(RequestItems={"things": [{"PutRequest": {"Item": ONE}}]})
        except ClientError as error:
            ended.append(error.response["Error"]["Code"])

    for region in (HERE, THERE):
        world.scheduler.spawn(write, region)
    world.scheduler.run_for(5)
    assert ended == [CONFLICT]


def test_agreement_between_regions_takes_its_time(world: World) -> None:
    """A lease that is renewed in no time is renewed more often than on AWS.

    "Item changes in an MRSC global table replica are synchronously replicated to at least one
    other Region before the write operation returns a successful response"; strongly consistent
    reads and writes take longer than with MREC (How global tables work).
    """
    world.hook.latency_spread = 0.0
    world.strong()

    def seconds(**options: Any) -> float:
        client = world.hook.session(region=HERE, function="f").client("dynamodb")
        began_s = world.scheduler.now()
        client.get_item(TableName="things", Key=ONE, **options)
        return world.scheduler.now() - began_s

    assert seconds() == pytest.approx(0.005, abs=1e-5)
    assert seconds(ConsistentRead=True) == pytest.approx(0.020, abs=1e-5)
    began_s = world.scheduler.now()
    client = world.hook.session(region=HERE, function="f").client("dynamodb")
    client.delete_item(TableName="things", Key=ONE)
    assert world.scheduler.now() - began_s == pytest.approx(0.020, abs=1e-5)


def test_a_replica_without_the_others_neither_writes_nor_reads_strongly(world: World) -> None:
    """Two lost regions stop the third: it must say so, and not invent a truth of its own.

    A write succeeds once it is in one more region (How global tables work, MRSC); "eventually
    consistent reads are allowed" while replication is stopped (Global tables core concepts, fault
    injection testing).
    """
    world.strong()
    world.put(HERE, "before")
    world.dynamodb.replication.leave(THERE)
    assert world.race((0, HERE, "two of three")) == [""]
    world.dynamodb.replication.leave(THIRD)
    assert world.race((0, HERE, "alone")) == ["InternalServerError"]
    client = world.hook.session(region=HERE, function="f").client("dynamodb", config=ONCE)
    with pytest.raises(ClientError, match="InternalServerError"):
        client.get_item(TableName="things", Key=ONE, ConsistentRead=True)
    assert client.get_item(TableName="things", Key=ONE)["Item"]["v"]["S"] == "two of three"
    world.dynamodb.replication.rejoin(THIRD, 1.0)
    assert world.race((0, HERE, "again")) == [""]


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
