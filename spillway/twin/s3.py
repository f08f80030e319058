"""S3 buckets: replication to another bucket, and expiry by age; moto keeps the objects."""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Final
from unittest import mock

from moto.s3 import notifications
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, S3Backend, s3_backends

from spillway.twin.clock import Scheduler
from spillway.twin.replication import Replication
from spillway.twin.resources import Resource

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a bucket replicates where.

    Args:
        prefix: Keys that start so.
        target: Name of the other bucket.
        deletions: Also delete markers.
        encrypted: Also objects encrypted with a KMS key.
    """

    prefix: str
    target: str
    deletions: bool
    encrypted: bool


class S3:
    """The buckets of every region and account of the twin.

    Args:
        scheduler: Clock of replication and of expiry.
        lag_s: Seconds until an object is in the other bucket; AWS promises 15 minutes with
            replication time control and nothing without.
    """

    def __init__(self, scheduler: Scheduler, *, lag_s: float = 5.0) -> None:
        self.lag_s = lag_s
        self.replication = Replication(scheduler)
        self._scheduler = scheduler
        self._rules: dict[str, list[Rule]] = {}
        self._expiring: list[tuple[FakeBucket, list[Mapping[str, Any]]]] = []
        self._undo = ExitStack()
        for owner, name, ours in (
            (notifications, "send_event", self._on_event(notifications.send_event)),
            # moto announces no delete markers.
            (S3Backend, "_set_delete_marker", self._on_marker(S3Backend._set_delete_marker)),  # noqa: SLF001
        ):
            self._undo.enter_context(mock.patch.object(owner, name, ours))

    def close(self) -> None:
        """Give moto its own functions back."""
        self._undo.close()

    def create(self, resource: Resource) -> Resource:
        """Create a bucket.

        Raises:
            ValueError: S3 would refuse it.
        """
        properties = resource.properties
        # Bucket names hold no capitals, so a generated one differs from other physical ids.
        name = resource.physical_id.lower()
        bucket: FakeBucket = FakeBucket.create_from_cloudformation_json(
            name, {"Properties": dict(properties)}, resource.account, resource.region
        )
        bucket.versioning_status = (properties.get("VersioningConfiguration") or {}).get("Status")
        if configuration := properties.get("ReplicationConfiguration"):
            self._rules[name] = _rules(resource.account, bucket, configuration)
        lifecycle = (properties.get("LifecycleConfiguration") or {}).get("Rules") or ()
        if rules := [rule for rule in lifecycle if rule["Status"] == "Enabled"]:
            if not self._expiring:
                self._scheduler.at(self._midnight(), self._expire)
            self._expiring.append((bucket, rules))
        return replace(
            resource,
            physical_id=name,
            attributes={
                attribute: bucket.get_cfn_attribute(attribute)
                for attribute in ("Arn", "DomainName", "RegionalDomainName", "WebsiteURL")
            },
        )

    def region(self, account: str, bucket: str) -> str | None:
        """Where a bucket is; None if there is no such bucket."""
        found = s3_backends[account]["aws"].buckets.get(bucket)
        return found.region_name if found is not None else None

    # ---- replication

    def _on_event(self, send: Callable[..., None]) -> Callable[..., None]:
        def sent(account_id: str, event_name: str, bucket: FakeBucket, key: FakeKey) -> None:
            send(account_id, event_name, bucket, key)
            if event_name.startswith("s3:ObjectCreated:"):
                for rule in self._matching(bucket.name, key.name):
                    if rule.encrypted or key.encryption != "aws:kms":
                        self._send(bucket, rule.target, self._copy, bucket, key, rule.target)

        return sent

    def _on_marker(
        self, mark: Callable[[S3Backend, str, str], FakeDeleteMarker]
    ) -> Callable[[S3Backend, str, str], FakeDeleteMarker]:
        def remove(backend: S3Backend, bucket_name: str, key_name: str) -> None:
            with suppress(KeyError):  # A copy that never arrived needs no marker.
                mark(backend, bucket_name, key_name)

        def marked(backend: S3Backend, bucket_name: str, key_name: str) -> FakeDeleteMarker:
            marker = mark(backend, bucket_name, key_name)
            for rule in self._matching(bucket_name, key_name):
                if rule.deletions:
                    bucket = backend.buckets[bucket_name]
                    self._send(bucket, rule.target, remove, backend, rule.target, key_name)
            return marker

        return marked

    def _send(
        self, bucket: FakeBucket, target: str, arrive: Callable[..., object], *args: Any
    ) -> None:
        """Bring something to the other bucket, once both buckets' regions are there."""
        other = s3_backends[bucket.account_id]["aws"].buckets[target]
        regions = frozenset({bucket.region_name, other.region_name})
        self.replication.send(self.lag_s, regions, arrive, *args)

    def _matching(self, bucket: str, key: str) -> list[Rule]:
        return [rule for rule in self._rules.get(bucket, ()) if key.startswith(rule.prefix)]

    def _copy(self, bucket: FakeBucket, key: FakeKey, target: str) -> None:
        if key not in bucket.keys.getlist(key.name, []):
            return  # Its version was removed for good before replication came to it.
        # Not through put_object, because S3 does not replicate replicas.
        copy = FakeKey(
            name=key.name,
            bucket_name=target,
            value=key.value,
            account_id=key.account_id,
            region_name=key.region_name,
            storage=key.storage_class,
            etag=key.etag,
            is_versioned=True,
            version_id=key.version_id,
            encryption=key.encryption,
            kms_key_id=key.kms_key_id,
        )
        copy.set_metadata(dict(key.metadata), replace=True)
        copy.last_modified = key.last_modified
        backend = s3_backends[key.account_id]["aws"]
        backend.tagger.copy_tags(key.arn, copy.arn)
        found = backend.buckets[target]
        found.keys.setlist(key.name, [*found.keys.getlist(key.name, []), copy])

    # ---- lifecycle

    def _midnight(self) -> float:
        return (math.floor(self._scheduler.now() / DAY_SECONDS) + 1) * DAY_SECONDS

    def _expire(self) -> None:
        for bucket, rules in self._expiring:
            for key in list(bucket.keys):
                for rule in rules:
                    if key.startswith(rule.get("Prefix") or ""):
                        self._age(bucket, key, rule)
        self._scheduler.at(self._midnight(), self._expire)

    def _age(self, bucket: FakeBucket, key: str, rule: Mapping[str, Any]) -> None:
        versions = bucket.keys.getlist(key, [])
        if not versions:
            return
        now_s = self._scheduler.now()
        days = rule.get("ExpirationInDays")
        if days and _due(versions[-1], days, now_s) and isinstance(versions[-1], FakeKey):
            if not bucket.is_versioned:
                bucket.keys.pop(key)
                return
            # Unlike a client's, this marker is not replicated.
            versions = [*versions, FakeDeleteMarker(key=versions[-1])]
        noncurrent = (rule.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays")
        if noncurrent:
            # A version is noncurrent since its successor was written.
            versions = [
                version
                for version, successor in zip(versions, [*versions[1:], None], strict=True)
                if successor is None or not _due(successor, noncurrent, now_s)
            ]
        bucket.keys.setlist(key, versions)
        alone = len(versions) == 1 and isinstance(versions[0], FakeDeleteMarker)
        if alone and (
            rule.get("ExpiredObjectDeleteMarker") or (days and _due(versions[0], days, now_s))
        ):
            dict.pop(bucket.keys, key)  # moto's own pop disposes of objects, which markers are not.


def _due(version: FakeKey | FakeDeleteMarker, days: int, now_s: float) -> bool:
    """Whether the midnight (UTC) that follows a version's age in days has come."""
    since_s = version.last_modified.replace(tzinfo=UTC).timestamp()
    return math.ceil(since_s / DAY_SECONDS + days) * DAY_SECONDS <= now_s


def _rules(account: str, bucket: FakeBucket, configuration: Mapping[str, Any]) -> list[Rule]:
    if bucket.versioning_status != "Enabled":
        raise ValueError("versioning must be enabled on a bucket that is replicated")
    rules = []
    for rule in configuration["Rules"]:
        target = rule["Destination"]["Bucket"].rpartition(":")[2]
        if target not in s3_backends[account]["aws"].buckets:
            raise ValueError(f"destination bucket {target} must exist")
        if s3_backends[account]["aws"].buckets[target].versioning_status != "Enabled":
            raise ValueError(f"destination bucket {target} must have versioning enabled")
        if rule["Status"] == "Enabled":
            deletions = rule.get("DeleteMarkerReplication") or {}
            criteria = rule.get("SourceSelectionCriteria") or {}
            encrypted = criteria.get("SseKmsEncryptedObjects") or {}
            rules.append(
                Rule(
                    prefix=(rule.get("Filter") or {}).get("Prefix", ""),
                    target=target,
                    deletions=deletions.get("Status") == "Enabled",
                    encrypted=encrypted.get("Status") == "Enabled",
                )
            )
    return rules
