"""authorize: who owns an API key, and what it may do. API Gateway keeps the answer for 60 s."""

import json
from typing import Any

from lambdas.adapters.clock import now_ms
from lambdas.adapters.directory import Directory, Key, Tenant
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.domain import metrics
from lambdas.domain.access import narrowed
from lambdas.domain.keys import PREFIX, key_hash, key_id
from lambdas.domain.policy import Policy
from lambdas.wiring import Execution, Function, Handler

TOKEN_CHARACTERS_MAX = 200


class UnauthorizedError(Exception):
    """API Gateway turns exactly this message into 401 (developer guide, Lambda authorizers)."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


def create(execution: Execution) -> Handler:
    """Wire the authorizer of an execution environment."""
    directory = Directory(execution.client("dynamodb"), execution.names.directory)
    policy = execution.policy
    told = Metrics(execution.names.metrics)

    def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        try:
            return decide(event)
        except UnauthorizedError:
            at = {"Region": execution.region}
            told.publish(at, [(metrics.KEYS_REFUSED, 1.0)], at_ms=now_ms())
            raise

    def decide(event: dict[str, Any]) -> dict[str, Any]:
        scheme, _, key = str(event.get("authorizationToken", "")).strip().partition(" ")
        key = key.strip()
        # An unknown, a revoked and an expired key get the same answer: nothing can be learned.
        if scheme.lower() != "bearer" or not key.startswith(PREFIX):
            raise UnauthorizedError
        if len(key) > TOKEN_CHARACTERS_MAX:
            raise UnauthorizedError
        hashed = key_hash(key)
        found = directory.key(hashed)
        tenant = directory.tenant(found.tenant) if found and _holds(found) else None
        if found is None or tenant is None:
            logger.info("key refused", key_id=key_id(hashed))
            raise UnauthorizedError
        logger.info("key accepted", key_id=key_id(hashed), tenant=tenant.id)
        return _answer(event["methodArn"], tenant, found, policy, key_id(hashed))

    return handle


def _holds(key: Key) -> bool:
    return not key.revoked and (key.expires_ms is None or key.expires_ms > now_ms())


def _answer(
    method_arn: str, tenant: Tenant, key: Key, policy: Policy, shown: str
) -> dict[str, Any]:
    # The answer is kept for the key, not for the route, so it must cover every route.
    api, stage, *_ = method_arn.split("/")
    rate = tenant.rate_per_s if tenant.rate_per_s is not None else policy.tenant_rate_per_s
    in_flight = (
        tenant.in_flight_max if tenant.in_flight_max is not None else policy.tenant_in_flight_max
    )
    return {
        "principalId": tenant.id,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Deny" if tenant.disabled else "Allow",
                    "Resource": f"{api}/{stage}/*",
                }
            ],
        },
        "context": {
            "tenant": tenant.id,
            "key": shown,
            "models": _listed(narrowed(tenant.models, key.models)),
            "tiers": _listed(narrowed(tenant.tiers, key.tiers)),
            "scopes": _listed(key.scopes),
            "expires_ms": "" if key.expires_ms is None else str(key.expires_ms),
            "rate": str(rate),
            "in_flight": str(in_flight),
            "tokens_per_day": "" if tenant.tokens_per_day is None else str(tenant.tokens_per_day),
            # A context holds plain values only.
            "metadata_mask": json.dumps(dict(tenant.metadata_mask)) if tenant.metadata_mask else "",
        },
    }


def _listed(names: frozenset[str] | None) -> str:
    return "*" if names is None else ",".join(sorted(names))


handle = Function(create)
