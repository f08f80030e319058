"""A policy and callers for the tests of the API's decisions."""

from typing import Any

from lambdas.domain.admission import Caller
from lambdas.domain.policy import Model, Policy, Tier

TIERS = (
    Tier(name="interactive", target_wait_s=5, share_min=0.5),
    Tier(name="standard", target_wait_s=60, share_min=0.2),
    Tier(name="batch", target_wait_s=3600, share_min=0.1),
)
ANYBODY = Caller(tenant="acme", models=None, tiers=None, rate_per_s=50, in_flight_max=100)


def model(name: str = "embedder", **changes: Any) -> Model:
    """Four jobs a second and instance."""
    values: dict[str, Any] = {
        "name": name,
        "state": "live",
        "versions": {"v1": 1.0},
        "concurrency": 4,
        "service_s": 1.0,
        "warm_up_s": 240.0,
        "handoff_s": 0.5,
        "instances_min": 1,
        "instances_max": 4,
        "invocation_timeout_s": 60,
        "request_ttl_s": 300,
        "attempts_max": 3,
        "retry_delay_s": 5.0,
        "input_bytes_max": 100_000,
    }
    return Model(**values | changes)


def policy(**models: Model) -> Policy:
    """A deployment of two regions."""
    return Policy(
        deployment="t",
        account="123456789012",
        regions=("us-east-1", "us-east-2"),
        primary_region="us-east-1",
        tiers=TIERS,
        models=models or {"embedder": model()},
        deadline_s_default=86_400,
        deadline_s_max=518_400,
        retention_s=604_800,
        wait_s_max=25,
        tenant_rate_per_s=50,
        tenant_in_flight_max=100,
    )


def snapshot(**seen: Any) -> dict[str, Any]:
    """What beat saw of the embedder: one instance, nothing to do."""
    idle: dict[str, Any] = {"instances": 1, "in_use": 0, "waiting": {}, "oldest_s": {}}
    tenants = seen.pop("tenants", {})
    at_ms = seen.pop("at_ms", 1_700_000_000_000)
    return {"at_ms": at_ms, "models": {"embedder": idle | seen}, "tenants": tenants}
