"""The request that cold start and warm submit are measured with, as API Gateway hands it over."""

import json
from pathlib import Path
from typing import Any

from benchmarks import prose
from benchmarks.options import ROOT
from config.schema import Deployment, load

ACCOUNT_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def deployment() -> Deployment:
    """The deployment whose submit is measured."""
    return load(ROOT / "config" / "dev.yaml")


def environment(task_root: Path) -> dict[str, str]:
    """The function's environment variables; its policy is written where they say."""
    policy = task_root / "lambdas" / "policy.json"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(json.dumps(deployment().policy().to_json()), encoding="utf-8")
    return {
        "AWS_REGION": deployment().primary_region,
        "AWS_DEFAULT_REGION": deployment().primary_region,
        "AWS_LAMBDA_FUNCTION_NAME": deployment().names.function("submit"),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": str(task_root),
        "SPILLWAY_FUNCTION": "submit",
        "POWERTOOLS_SERVICE_NAME": "spillway",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        **ACCOUNT_VARIABLES,
    }


def post() -> dict[str, Any]:
    """`POST /v1/jobs` with 1 KB of prose."""
    body = {"model": "embedder", "tier": "standard", "input": prose.job()}
    return {
        "httpMethod": "POST",
        "resource": "/v1/jobs",
        "path": "/v1/jobs",
        "headers": {"Content-Type": "application/json", "X-Amzn-Trace-Id": "Root=1-67f5-bench"},
        "queryStringParameters": None,
        "pathParameters": None,
        "body": json.dumps(body),
        "isBase64Encoded": False,
        "requestContext": {
            "path": "/api/v1/jobs",
            "requestId": "bench",
            "authorizer": {
                "tenant": "bench",
                "key": "0123456789ab",
                "models": "*",
                "tiers": "*",
                "rate": "10000",
                "in_flight": "1000000",
            },
        },
    }
