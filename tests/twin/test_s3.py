"""S3 on the twin replicates and expires as AWS documents it where moto alone would not.

The pages, in docs.aws.amazon.com/AmazonS3/latest/userguide: "Requirements and considerations for
replication" (replication-requirements.html), "What does Amazon S3 replicate?"
(replication-what-is-isnot-replicated.html) and "Expiring objects" (lifecycle-expire-general-
considerations.html).
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.resources import Resource
from spillway.twin.s3 import S3

VERSIONED: dict[str, Any] = {"VersioningConfiguration": {"Status": "Enabled"}}
DAY_S = 86_400


class World:
    """A scheduler, S3 and a client."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(virtual=True)
        self.hook = Hook(self.scheduler)
        self.s3 = S3(self.scheduler, lag_s=5.0)
        self.client = self.hook.session(region="us-east-1").client("s3")

    def create(self, name: str, region: str = "us-east-1", **properties: Any) -> Resource:
        """Create a bucket."""
        return self.s3.create(
            Resource(
                type="AWS::S3::Bucket",
                logical_id=name,
                physical_id=name,
                region=region,
                account="123456789012",
                stack="stack",
                properties={"BucketName": name, **properties},
            )
        )

    def ring(self, **rule: Any) -> None:
        """Create a bucket that replicates what is under `uploads/` to another region."""
        self.create("copies", "us-west-2", **VERSIONED)
        self.create("payloads", **VERSIONED, **replicating(**rule))

    def put(self, key: str, body: bytes = b"body", **options: Any) -> None:
        """Write an object to the replicated bucket."""
        self.client.put_object(Bucket="payloads", Key=key, Body=body, **options)

    def keys(self, bucket: str) -> list[str]:
        """List the objects that a reader sees."""
        found = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return [entry["Key"] for entry in found]


def replicating(target: str = "copies", **rule: Any) -> dict[str, Any]:
    """Make a replication configuration of one rule."""
    wanted = {
        "Status": "Enabled",
        "Filter": {"Prefix": "uploads/"},
        "Destination": {"Bucket": f"arn:aws:s3:::{target}"},
    }
    return {"ReplicationConfiguration": {"Role": "arn:aws:iam::1:role/r", "Rules": [wanted | rule]}}


@pytest.fixture
def world() -> Iterator[World]:
    """Build and tear down a world on the virtual clock."""
    with mock_aws():
        world = World()
        yield world
        world.s3.close()
        world.hook.close()
        world.scheduler.close()


def test_an_object_is_copied_after_a_while_and_under_its_prefix_only(world: World) -> None:
    """Whoever accepts an upload before its copy exists loses it with the region.

    What does Amazon S3 replicate: objects created after the configuration was added, that match
    its rule, with their metadata; asynchronously.
    """
    world.ring()
    world.put("uploads/one", Metadata={"job": "7"}, ContentType="application/json")
    world.put("results/one")
    world.scheduler.run_for(4.9)
    assert world.keys("copies") == []
    world.scheduler.run_for(0.2)
    assert world.keys("copies") == ["uploads/one"]
    copy = world.client.get_object(Bucket="copies", Key="uploads/one")
    assert copy["Body"].read() == b"body"
    assert (copy["Metadata"], copy["ContentType"]) == ({"job": "7"}, "application/json")


def test_a_copy_has_the_version_of_its_original(world: World) -> None:
    """Readers compare versions across regions; same page: replicas keep the version id."""
    world.ring()
    world.put("uploads/one", b"first")
    world.put("uploads/one", b"second")
    world.scheduler.run_for(6)
    versions = [
        [v["VersionId"] for v in world.client.list_object_versions(Bucket=bucket)["Versions"]]
        for bucket in ("payloads", "copies")
    ]
    assert sorted(versions[0]) == sorted(versions[1])
    assert world.client.get_object(Bucket="copies", Key="uploads/one")["Body"].read() == b"second"


def test_a_deletion_is_replicated_only_if_the_rule_says_so(world: World) -> None:
    """An erased payload whose copy stays is not erased.

    What does Amazon S3 replicate: with DeleteMarkerReplication enabled, delete markers are
    copied; otherwise the replica stays.
    """
    world.ring(DeleteMarkerReplication={"Status": "Enabled"})
    world.put("uploads/one")
    world.scheduler.run_for(6)
    world.client.delete_object(Bucket="payloads", Key="uploads/one")
    assert world.keys("copies") == ["uploads/one"]
    world.scheduler.run_for(6)
    assert world.keys("copies") == []


def test_without_such_a_rule_a_deletion_stays_here(world: World) -> None:
    """A stack that forgets the setting must see that copies stay; same page."""
    world.ring(DeleteMarkerReplication={"Status": "Disabled"})
    world.put("uploads/one")
    world.scheduler.run_for(6)
    world.client.delete_object(Bucket="payloads", Key="uploads/one")
    world.scheduler.run_for(6)
    assert world.keys("copies") == ["uploads/one"]


def test_objects_under_a_kms_key_are_copied_only_if_the_rule_says_so(world: World) -> None:
    """A deployment with its own keys that forgets the setting has no second copies at all.

    What does Amazon S3 replicate: objects encrypted with KMS keys only when the rule's source
    selection criteria enable it.
    """
    encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/payloads"}
    encrypted: dict[str, Any] = {
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": encryption}]
        }
    }
    world.create("copies", "us-west-2", **VERSIONED)
    criteria = {"SseKmsEncryptedObjects": {"Status": "Enabled"}}
    world.create("others", **VERSIONED, **encrypted, **replicating())
    world.create(
        "payloads", **VERSIONED, **encrypted, **replicating(SourceSelectionCriteria=criteria)
    )
    world.put("uploads/one")
    world.client.put_object(Bucket="others", Key="uploads/two", Body=b"body")
    world.scheduler.run_for(6)
    assert world.keys("copies") == ["uploads/one"]


def test_copies_are_not_copied_on(world: World) -> None:
    """In a ring of regions every object would go round for ever.

    What isn't replicated (same page): replicas that another replication rule made.
    """
    world.create("third", "us-east-2", **VERSIONED)
    world.create("copies", "us-west-2", **VERSIONED, **replicating("third"))
    world.create("payloads", **VERSIONED, **replicating("copies"))
    world.put("uploads/one")
    world.scheduler.run_for(20)
    assert (world.keys("copies"), world.keys("third")) == (["uploads/one"], [])


def test_replication_needs_a_destination_with_versions(world: World) -> None:
    """A stack deployed before its destination fails on AWS, so it must fail here.

    "Both source and destination buckets must have versioning enabled" (Requirements).
    """
    with pytest.raises(ValueError, match="copies must exist"):
        world.create("payloads", **VERSIONED, **replicating())
    world.create("copies")
    with pytest.raises(ValueError, match="copies must have versioning"):
        world.create("others", **VERSIONED, **replicating())
    with pytest.raises(ValueError, match="versioning must be enabled"):
        world.create("plain", **replicating())


def test_objects_expire_at_the_midnight_after_their_age(world: World) -> None:
    """Payloads must not outlive the retention that tenants were promised.

    Expiring objects: Amazon S3 adds the days to the object's creation and rounds up to the next
    midnight UTC; with versions a delete marker hides the object, and noncurrent versions go a
    number of days after their successor came.
    """
    rule = {
        "Status": "Enabled",
        "ExpirationInDays": 2,
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }
    world.create("payloads", **VERSIONED, LifecycleConfiguration={"Rules": [rule]})
    world.scheduler.run_for(3600)
    world.put("uploads/one")
    world.scheduler.run_for(2 * DAY_S)
    assert world.keys("payloads") == ["uploads/one"]
    world.scheduler.run_for(DAY_S)
    assert world.keys("payloads") == []
    with pytest.raises(ClientError, match="NoSuchKey"):
        world.client.get_object(Bucket="payloads", Key="uploads/one")
    assert len(world.client.list_object_versions(Bucket="payloads")["Versions"]) == 1
    world.scheduler.run_for(4 * DAY_S)
    versions = world.client.list_object_versions(Bucket="payloads")
    assert "Versions" not in versions
    assert "DeleteMarkers" not in versions
