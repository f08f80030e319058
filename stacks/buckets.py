"""Buckets for payloads: private, encrypted, versioned, and swept by age."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from config.schema import Deployment
from stacks.acknowledgement import acknowledge
from stacks.encryption import REPLICATE, alias_arn, use_by_alias
from stacks.lifetime import payload_rules, removal
from stacks.roles import Grant, role_of


def private_bucket(
    scope: Construct,
    construct_id: str,
    *,
    deployment: Deployment,
    name: str,
    key: kms.IKey | None,
) -> s3.Bucket:
    """A bucket that only this account's roles reach, and only over TLS."""
    bucket = s3.Bucket(
        scope,
        construct_id,
        bucket_name=name,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        # Without bucket keys every object costs a call of KMS.
        bucket_key_enabled=True if key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        versioned=True,
        lifecycle_rules=payload_rules(deployment),
        removal_policy=removal(retain=deployment.retain),
    )
    acknowledge(
        bucket,
        {
            "AwsSolutions-S1": "Payloads are reached only by functions that log job ids; server "
            "access logs would keep object keys of every tenant in one more bucket per region.",
        },
    )
    return bucket


def replicate(
    bucket: s3.Bucket, *, deployment: Deployment, region: str, targets: Mapping[str, Sequence[str]]
) -> None:
    """Copy what arrives under prefixes to the replica buckets of other regions.

    Args:
        bucket: Of the region.
        deployment: Names the buckets, and their keys.
        region: Whose bucket it is.
        targets: Regions by prefix.
    """
    rules = [(prefix, after) for prefix, regions in targets.items() for after in regions]
    if not rules:
        return
    role = role_of(
        bucket,
        "Replication",
        service="s3.amazonaws.com",
        grants=_replication_grants(
            deployment, region=region, targets=list(dict.fromkeys(after for _, after in rules))
        ),
    )
    encrypted: dict[str, Any] = {}
    if deployment.encryption == "customer-managed":
        encrypted["source_selection_criteria"] = s3.CfnBucket.SourceSelectionCriteriaProperty(
            sse_kms_encrypted_objects=s3.CfnBucket.SseKmsEncryptedObjectsProperty(status="Enabled")
        )
    level1 = bucket.node.default_child
    assert isinstance(level1, s3.CfnBucket)  # noqa: S101 every Bucket is made of one
    level1.replication_configuration = s3.CfnBucket.ReplicationConfigurationProperty(
        role=role.role_arn,
        rules=[
            s3.CfnBucket.ReplicationRuleProperty(
                id=f"{prefix.strip('/')}-{after}",
                priority=number,
                status="Enabled",
                filter=s3.CfnBucket.ReplicationRuleFilterProperty(prefix=prefix),
                # Erasing a job must erase its other copies too.
                delete_marker_replication=s3.CfnBucket.DeleteMarkerReplicationProperty(
                    status="Enabled"
                ),
                destination=_destination(deployment, after),
                **encrypted,
            )
            for number, (prefix, after) in enumerate(rules, start=1)
        ],
    )


def _destination(deployment: Deployment, after: str) -> s3.CfnBucket.ReplicationDestinationProperty:
    target = f"arn:aws:s3:::{deployment.names.replica_bucket(after)}"
    if deployment.encryption != "customer-managed":
        return s3.CfnBucket.ReplicationDestinationProperty(bucket=target)
    alias = alias_arn(deployment, region=after, alias=deployment.names.replica_key_alias)
    return s3.CfnBucket.ReplicationDestinationProperty(
        bucket=target,
        encryption_configuration=s3.CfnBucket.EncryptionConfigurationProperty(
            replica_kms_key_id=alias
        ),
    )


def _replication_grants(
    deployment: Deployment, *, region: str, targets: Sequence[str]
) -> list[Grant]:
    source = f"arn:aws:s3:::{deployment.names.bucket(region)}"
    replicas = [f"arn:aws:s3:::{deployment.names.replica_bucket(after)}/*" for after in targets]
    why = "Replication copies every object under its prefixes."
    return [
        Grant(actions=("s3:GetReplicationConfiguration", "s3:ListBucket"), resources=(source,)),
        Grant(
            actions=(
                "s3:GetObjectVersionAcl",
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionTagging",
            ),
            resources=(f"{source}/*",),
            why=why,
        ),
        Grant(
            actions=("s3:ReplicateDelete", "s3:ReplicateObject", "s3:ReplicateTags"),
            resources=tuple(replicas),
            why=why,
        ),
        *use_by_alias(deployment, region=region, alias=deployment.names.key_alias),
        *(
            grant
            for after in targets
            for grant in use_by_alias(
                deployment,
                region=after,
                alias=deployment.names.replica_key_alias,
                actions=REPLICATE,
            )
        ),
    ]
