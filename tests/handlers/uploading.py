"""Clients that upload, and the replication that moto lacks."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import requests

from lambdas.adapters.gate import Gate
from lambdas.domain import uploads
from lambdas.domain.breaker import Breaker
from lambdas.handlers import dispatch as dispatching
from tests.handlers.region import HERE, MODEL, Region, Reply, aws

TENANT = "acme"
CONTENT = b'{"large": true}'


def begin(region: Region, size: int = len(CONTENT), **fields: Any) -> Any:
    """Begin an upload that must be taken."""
    reply = region.ask("POST /v1/uploads", body={"bytes": size, **fields})
    assert reply.status == 201, reply.text
    return reply.json


def put(url: str, content: bytes = CONTENT, headers: Mapping[str, str] | None = None) -> int:
    """Write to a link; the status."""
    return requests.put(url, data=content, headers=dict(headers or {}), timeout=5).status_code


def replicate(region: Region, upload: str, *targets: str) -> None:
    """Copy all that is kept of an upload to other regions; all of them without any named."""
    home = uploads.region_of(upload)
    assert home is not None
    for key in (uploads.object_key(TENANT, upload), uploads.about_key(TENANT, upload)):
        source = {"Bucket": region.names.bucket(home), "Key": key}
        for target in targets or [each for each in region.policy.regions if each != home]:
            aws("s3", target).copy_object(
                Bucket=region.names.replica_bucket(target), Key=key, CopySource=source
            )


def ready(region: Region, content: bytes = CONTENT, **fields: Any) -> str:
    """An upload that is where it must be; its id."""
    upload = begin(region, len(content), **fields)
    assert put(upload["url"], content, upload["headers"]) == 200
    replicate(region, upload["id"])
    return str(upload["id"])


def submit(region: Region, upload: str, *, tenant: str = TENANT, **fields: Any) -> Reply:
    """Submit a job of an upload."""
    body = {"model": MODEL, "input_upload": upload, **fields}
    return region.ask("POST /v1/jobs", body=body, tenant=tenant)


def kept(region: Region, upload: str) -> set[str]:
    """Every bucket that holds something of an upload."""
    return {bucket for bucket, key in region.objects() if upload in key}


def dispatch(region: Region, *, left_s: float = 60) -> Mapping[str, int]:
    """Run a dispatcher of a region that has two instances; the jobs that it started, by tier."""
    at_ms, gate = int(1000 * region.now_s), Gate(aws("dynamodb"), region.names.gate)
    gate.observe(
        MODEL,
        capacity=4,
        serving={"v1": 2},
        now_ms=at_ms,
        breaker=Breaker(),
        may_start_ms=at_ms + 60_000,
    )
    until_s = region.now_s + left_s
    context = SimpleNamespace(
        get_remaining_time_in_millis=lambda: int(1000 * (until_s - region.now_s))
    )
    started: Mapping[str, int] = region.handler(dispatching)({"model": MODEL}, context)
    return started


def slots(region: Region) -> int:
    """How many of the slots are in use."""
    return len(Gate(aws("dynamodb"), region.names.gate).state(MODEL).used)


def forget(region: Region, upload: str, *targets: str) -> None:
    """Take the copies of other regions away."""
    for target in targets:
        aws("s3", target).delete_object(
            Bucket=region.names.replica_bucket(target), Key=uploads.object_key(TENANT, upload)
        )


__all__ = [
    "CONTENT",
    "HERE",
    "TENANT",
    "begin",
    "dispatch",
    "forget",
    "kept",
    "put",
    "ready",
    "replicate",
    "slots",
    "submit",
]
