"""The API before the functions: routes, keys, validation, errors, log, firewall."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from config.schema import load
from lambdas.domain import errors
from lambdas.handlers import submit
from lambdas.wiring import Execution
from tests.stacks.assemblies import Assembly, Resource

HERE = "Region-us-east-1"
ROOT = Path(__file__).resolve().parents[2]
OPEN = {"GET /health/live", "GET /health/ready", "GET /v1/openapi.json"}


def routes(assembly: Assembly) -> dict[str, Resource]:
    """The methods of the API by verb and path."""
    parts = {r.logical_id: r.properties for r in assembly.resources(stack=HERE)}

    def path(resource: Any) -> str:
        if "Ref" not in resource:
            return ""
        place = parts[resource["Ref"]]
        return f"{path(place['ParentId'])}/{place['PathPart']}"

    return {
        f"{method.properties['HttpMethod']} {path(method.properties['ResourceId'])}": method
        for method in assembly.resources("AWS::ApiGateway::Method", stack=HERE)
    }


def test_every_route_is_answered_and_no_other_one_is_open(dev: Assembly, tmp_path: Path) -> None:
    """A route without a function answers nobody; a function without a route is never asked."""
    folder = tmp_path / "lambdas"
    folder.mkdir()
    policy = load(ROOT / "config" / "dev.yaml").policy()
    (folder / "policy.json").write_text(json.dumps(policy.to_json()))
    execution = Execution(
        environ={"AWS_REGION": "us-east-1", "LAMBDA_TASK_ROOT": str(tmp_path)},
        session=boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing"),
        sleep=lambda _: None,
    )

    methods = routes(dev)

    assert set(methods) == set(submit.routes_of(execution))
    for method in methods.values():
        integration = method.properties["Integration"]
        assert integration["Type"] == "AWS_PROXY"
        assert "FunctionsSubmitFunction" in json.dumps(integration["Uri"])


def test_forms_alone_are_binary(dev: Assembly) -> None:
    """A form's bytes would be mangled as text, and JSON as base64 would look like none."""
    (api,) = dev.resources("AWS::ApiGateway::RestApi", stack=HERE)

    assert api.properties["BinaryMediaTypes"] == ["multipart/form-data"]


def test_only_health_and_the_description_are_told_without_a_key(dev: Assembly) -> None:
    """A forgotten authorizer would open every tenant's jobs to the internet."""
    for route, method in routes(dev).items():
        expected = "NONE" if route in OPEN else "CUSTOM"
        assert method.properties["AuthorizationType"] == expected, route
        assert ("AuthorizerId" in method.properties) is (route not in OPEN)


def test_a_revoked_key_works_for_a_minute_at_most(dev: Assembly) -> None:
    """The authorizer's answer is kept; a leaked key must not outlive its revocation by more."""
    authorizer = dev.one("AWS::ApiGateway::Authorizer", stack=HERE).properties

    assert authorizer["Type"] == "TOKEN"
    assert authorizer["AuthorizerResultTtlInSeconds"] <= 60
    assert authorizer["IdentitySource"] == "method.request.header.Authorization"


def test_a_body_that_is_no_object_never_reaches_a_function(dev: Assembly) -> None:
    """Junk costs us no function call; a wrong field does, because only submit can name it."""
    submission = routes(dev)["POST /v1/jobs"].properties
    validator = dev.one("AWS::ApiGateway::RequestValidator", stack=HERE)
    model = dev.one("AWS::ApiGateway::Model", stack=HERE)

    assert submission["RequestValidatorId"] == {"Ref": validator.logical_id}
    assert submission["RequestModels"] == {"application/json": {"Ref": model.logical_id}}
    assert validator.properties["ValidateRequestBody"]
    assert model.properties["Schema"]["type"] == "object"
    assert not {"required", "properties"} & set(model.properties["Schema"])


STATUS = {
    "UNAUTHORIZED": "401",
    "ACCESS_DENIED": "403",
    "WAF_FILTERED": "403",
    "MISSING_AUTHENTICATION_TOKEN": "404",
    "RESOURCE_NOT_FOUND": "404",
    "REQUEST_TOO_LARGE": "413",
    "UNSUPPORTED_MEDIA_TYPE": "415",
    "THROTTLED": "429",
    "BAD_REQUEST_BODY": "400",
    "BAD_REQUEST_PARAMETERS": "400",
    "AUTHORIZER_FAILURE": "503",
    "AUTHORIZER_CONFIGURATION_ERROR": "500",
    "API_CONFIGURATION_ERROR": "500",
    "INTEGRATION_FAILURE": "504",
    "INTEGRATION_TIMEOUT": "504",
}


def test_every_error_has_our_shape(dev: Assembly) -> None:
    """A client parses one error format, whether a function or API Gateway answered."""
    answers = dev.resources("AWS::ApiGateway::GatewayResponse", stack=HERE)

    status = {a.properties["ResponseType"]: a.properties.get("StatusCode") for a in answers}
    assert status == {**STATUS, "DEFAULT_4XX": None, "DEFAULT_5XX": None}
    for answer in answers:
        body = json.loads(answer.properties["ResponseTemplates"]["application/json"])
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "code", "param"}


def test_errors_of_the_api_are_part_of_its_deployment(dev: Assembly) -> None:
    """A deployment is a copy of the API: what is made after it answers nobody."""
    deployment = dev.one("AWS::ApiGateway::Deployment", stack=HERE)
    parts = {
        resource.logical_id
        for kind in ("GatewayResponse", "Method", "Resource", "Authorizer", "Model")
        for resource in dev.resources(f"AWS::ApiGateway::{kind}", stack=HERE)
    }

    assert parts <= set(deployment.body["DependsOn"])


def test_the_access_log_holds_no_content(dev: Assembly) -> None:
    """Prompts, keys, queries and headers must not lie in a log for a month."""
    stage = dev.one("AWS::ApiGateway::Stage", stack=HERE).properties
    logged = json.loads(stage["AccessLogSetting"]["Format"])

    assert stage["StageName"] == "api"
    assert {"tenant", "status", "route", "latency_ms"} <= set(logged)
    forbidden = ("header", "querystring", "body", "message", "$context.path", "apiKey", "Token")
    assert not [value for value in logged.values() for word in forbidden if word in value]
    # Execution logs would hold headers and bodies.
    assert "MethodSettings" not in stage


def test_access_logs_have_their_role_before_the_stage(dev: Assembly) -> None:
    """In an account that never had an API, a stage with an access log fails without it."""
    account = dev.one("AWS::ApiGateway::Account", stack=HERE)
    stage = dev.one("AWS::ApiGateway::Stage", stack=HERE)

    assert account.logical_id in stage.body["DependsOn"]
    # Shared by all APIs of the account and region: it stays for the others.
    assert account.body["DeletionPolicy"] == "Retain"
    role = account.properties["CloudWatchRoleArn"]["Fn::GetAtt"][0]
    assert dev.templates[HERE]["Resources"][role]["DeletionPolicy"] == "Retain"


BODY_RULES = {
    # The rules of AWS's groups that look into bodies, by the groups' documentation.
    "AWSManagedRulesCommonRuleSet": {
        "CrossSiteScripting_BODY",
        "EC2MetaDataSSRF_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "SizeRestrictions_BODY",
    },
    "AWSManagedRulesAmazonIpReputationList": set(),
}


def blocks_on_bodies(rule: dict[str, Any]) -> bool:
    """Whether a firewall rule may refuse a request for what its body holds."""
    managed = rule["Statement"].get("ManagedRuleGroupStatement")
    if managed is None:
        looks = any(word in json.dumps(rule["Statement"]) for word in ('"Body"', '"JsonBody"'))
        return looks and "Count" not in rule.get("Action", {})
    if "Count" in rule["OverrideAction"]:
        return False
    counted = {
        override["Name"]
        for override in managed.get("RuleActionOverrides", [])
        if "Count" in override["ActionToUse"]
    }
    return not BODY_RULES.get(managed["Name"], {"unknown"}) <= counted


@pytest.mark.parametrize("stack", ["Region-us-east-1", "Region-us-east-2"])
def test_the_firewall_never_refuses_a_prompt(dev: Assembly, prod: Assembly, stack: str) -> None:
    """Prompts hold code, markup and 100 KB of text: a body rule that blocks loses real jobs."""
    for assembly in (dev, prod):
        rules = assembly.one("AWS::WAFv2::WebACL", stack=stack).properties["Rules"]
        assert not [rule["Name"] for rule in rules if blocks_on_bodies(rule)]


@pytest.mark.parametrize(
    "rule",
    [
        {
            "Action": {"Block": {}},
            "Statement": {"SizeConstraintStatement": {"FieldToMatch": {"Body": {}}}},
        },
        {
            "OverrideAction": {"None": {}},
            "Statement": {"ManagedRuleGroupStatement": {"Name": "AWSManagedRulesCommonRuleSet"}},
        },
        {
            "OverrideAction": {"None": {}},
            "Statement": {"ManagedRuleGroupStatement": {"Name": "AWSManagedRulesSQLiRuleSet"}},
        },
    ],
)
def test_a_body_rule_that_blocks_is_recognised(rule: dict[str, Any]) -> None:
    """The test above must not pass because it looks in the wrong place."""
    assert blocks_on_bodies(rule)


def test_a_flood_is_slowed_and_bad_addresses_stay_out(dev: Assembly) -> None:
    """One client in a loop must not use up what all tenants share."""
    acl = dev.one("AWS::WAFv2::WebACL", stack=HERE).properties
    rules = {rule["Name"]: rule for rule in acl["Rules"]}

    flood = rules["flood"]["Statement"]["RateBasedStatement"]
    assert flood["AggregateKeyType"] == "IP"
    assert flood["EvaluationWindowSec"] == 300
    assert flood["Limit"] == dev.deployment.requests_per_5_min_per_address
    answer = rules["flood"]["Action"]["Block"]["CustomResponse"]
    assert answer["ResponseCode"] == 429
    assert {"Name": "Retry-After", "Value": "60"} in answer["ResponseHeaders"]
    body = acl["CustomResponseBodies"][answer["CustomResponseBodyKey"]]
    assert json.loads(body["Content"])["error"]["type"] == "rate_limit_error"
    assert "AWSManagedRulesAmazonIpReputationList" in json.dumps(rules["reputation"])


def test_the_firewall_keeps_no_samples(dev: Assembly) -> None:
    """Samples show the Authorization header of real requests in the console."""
    acl = dev.one("AWS::WAFv2::WebACL", stack=HERE).properties

    for part in (acl, *acl["Rules"]):
        assert part["VisibilityConfig"]["SampledRequestsEnabled"] is False


def test_the_firewalls_metrics_are_the_deployments_own(dev: Assembly) -> None:
    """Deployments of one account must not add to each other's counts; WAF keeps some names."""
    acl = dev.one("AWS::WAFv2::WebACL", stack=HERE).properties
    metrics = [part["VisibilityConfig"]["MetricName"] for part in (acl, *acl["Rules"])]

    assert all(metric.startswith("spillway-dev-") for metric in metrics)
    assert len(set(metrics)) == len(metrics)


def test_the_firewall_stands_before_the_stage(dev: Assembly) -> None:
    """A web ACL that guards nothing is a bill without a use."""
    association = dev.one("AWS::WAFv2::WebACLAssociation", stack=HERE).properties
    stage = dev.one("AWS::ApiGateway::Stage", stack=HERE)

    assert stage.logical_id in json.dumps(association["ResourceArn"])


def test_the_api_speaks_the_functions_words(dev: Assembly) -> None:
    """A client that handles a refusal by its code must not meet two codes for the same."""
    answers = {
        answer.properties["ResponseType"]: json.loads(
            answer.properties["ResponseTemplates"]["application/json"]
        )["error"]
        for answer in dev.resources("AWS::ApiGateway::GatewayResponse", stack=HERE)
    }

    for kind, error in {
        "ACCESS_DENIED": errors.forbidden("", param=""),
        "REQUEST_TOO_LARGE": errors.too_large(""),
        "THROTTLED": errors.busy("", code="rate_limit", retry_after_s=1),
        "BAD_REQUEST_BODY": errors.invalid("", param=None, code="invalid_json"),
    }.items():
        assert (answers[kind]["type"], answers[kind]["code"]) == (error.kind, error.code)
