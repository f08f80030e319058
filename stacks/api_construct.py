"""The HTTP API of a region: routes, authorizer, validation, errors in our shape, access log."""

import json

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from config.schema import Deployment
from stacks.acknowledgement import acknowledge
from stacks.lifetime import LOG_RETENTION, removal

STAGE = "api"
AUTHORIZED_S = 60

SUBMISSION = ("POST", "/v1/jobs")
ROUTES = (
    SUBMISSION,
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{id}"),
    ("DELETE", "/v1/jobs/{id}"),
    ("POST", "/v1/jobs/{id}/cancel"),
    ("POST", "/v1/jobs/{id}/feedback"),
    ("GET", "/v1/jobs/{id}/deliveries"),
    ("POST", "/v1/jobs/{id}/deliveries"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/chat/completions/{id}"),
    ("POST", "/v1/embeddings"),
    ("GET", "/v1/embeddings/{id}"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/responses/{id}"),
    ("DELETE", "/v1/responses/{id}"),
    ("POST", "/v1/responses/{id}/cancel"),
    ("POST", "/v1/uploads"),
    ("GET", "/v1/uploads/{id}"),
    ("DELETE", "/v1/uploads/{id}"),
    ("POST", "/v1/uploads/{id}/complete"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/{id}"),
    ("DELETE", "/v1/files/{id}"),
    ("GET", "/v1/files/{id}/content"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/{id}"),
    ("POST", "/v1/batches/{id}/cancel"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{id}"),
    ("GET", "/v1/capacity"),
    ("GET", "/v1/usage"),
)
OPEN_ROUTES = {
    ("GET", "/health/live"): "Route 53 looks at the region's health without a key.",
    ("GET", "/health/ready"): "Route 53 looks at the region's health without a key.",
    ("GET", "/v1/openapi.json"): "It is the same for every deployment, and public.",
}
"""What is told without a key, and why."""

INVALID = "invalid_request_error"
SERVER = "server_error"
NO_ROUTE = (404, "not_found_error", "route_not_found", "There is no such route.")
ANSWERS: dict[str, tuple[int | None, str, str, str]] = {
    # What API Gateway answers itself: status, type, code, message.
    "ACCESS_DENIED": (403, "permission_error", "not_allowed", "This key may not do that."),
    "API_CONFIGURATION_ERROR": (500, SERVER, "internal_error", "The service failed."),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, SERVER, "internal_error", "The service failed."),
    # The directory does not answer: another region can check the key.
    "AUTHORIZER_FAILURE": (
        503,
        SERVER,
        "temporarily_unavailable",
        "The key could not be checked; try again, or another region.",
    ),
    "BAD_REQUEST_BODY": (400, INVALID, "invalid_json", "The body must be a JSON object."),
    "BAD_REQUEST_PARAMETERS": (400, INVALID, "invalid_parameter", "A parameter is not valid."),
    "DEFAULT_4XX": (None, INVALID, "invalid_request", "The request is not valid."),
    "DEFAULT_5XX": (None, SERVER, "internal_error", "The service failed."),
    "INTEGRATION_FAILURE": (504, SERVER, "temporarily_unavailable", "The service did not answer."),
    "INTEGRATION_TIMEOUT": (504, SERVER, "timeout", "The service did not answer in time."),
    # API Gateway's way of saying that there is no such route; a missing key is UNAUTHORIZED.
    "MISSING_AUTHENTICATION_TOKEN": NO_ROUTE,
    "REQUEST_TOO_LARGE": (413, INVALID, "too_large", "The body may have 4 MB at most."),
    "RESOURCE_NOT_FOUND": NO_ROUTE,
    "THROTTLED": (429, "rate_limit_error", "rate_limit", "Too many requests; try again soon."),
    "UNAUTHORIZED": (
        401,
        "authentication_error",
        "invalid_api_key",
        "Send a valid API key as: Authorization: Bearer sk-spillway-...",
    ),
    "UNSUPPORTED_MEDIA_TYPE": (415, INVALID, "unsupported_media_type", "Send application/json."),
    "WAF_FILTERED": (403, "permission_error", "refused", "The firewall refused the request."),
}

ANSWER_HEADERS = {
    "THROTTLED": {"Retry-After": "'1'"},
    # The function may have taken a job: OpenAI's clients would send it again, without a key.
    "INTEGRATION_FAILURE": {"x-should-retry": "'false'"},
    "INTEGRATION_TIMEOUT": {"x-should-retry": "'false'"},
}

ACCESS_LOG = json.dumps(
    # No path, query, header or body: they may hold job ids, keys and prompts.
    {
        "request_id": "$context.requestId",
        "tenant": "$context.authorizer.tenant",
        "key": "$context.authorizer.key",
        "address": "$context.identity.sourceIp",
        "method": "$context.httpMethod",
        "route": "$context.resourcePath",
        "status": "$context.status",
        "response": "$context.error.responseType",
        "latency_ms": "$context.responseLatency",
        "function_latency_ms": "$context.integrationLatency",
        "response_bytes": "$context.responseLength",
    },
    separators=(",", ":"),
)


def error_body(kind: str, code: str, message: str) -> str:
    """Our error shape, as the clients of OpenAI's API know it."""
    return json.dumps({"error": {"message": message, "type": kind, "code": code, "param": None}})


class Api(Construct):
    """One REST API whose every route ends at submit."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        submit: lambda_.IFunction,
        authorize: lambda_.IFunction,
        key: kms.IKey | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.rest_api = self._rest_api(deployment, key)
        for kind, answer in ANSWERS.items():
            self._answer(kind, *answer)
        self._routes(submit, authorize)

    def _rest_api(self, deployment: Deployment, key: kms.IKey | None) -> apigateway.RestApi:
        log = logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/aws/apigateway/{deployment.names.api}",
            retention=LOG_RETENTION[deployment.log_retention_days],
            encryption_key=key,
            removal_policy=removal(retain=deployment.retain),
        )
        api = apigateway.RestApi(
            self,
            "Rest",
            rest_api_name=deployment.names.api,
            description=f"Spillway {deployment.name}: the API of one region.",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # Forms with files reach the function as they are, in base64; JSON stays text.
            binary_media_types=["multipart/form-data"],
            # Access logs need a role of the account. It is one per region for all APIs, so it
            # stays when a deployment goes: another one may depend on it by then.
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                access_log_destination=apigateway.LogGroupLogDestination(log),
                access_log_format=apigateway.AccessLogFormat.custom(ACCESS_LOG),
            ),
        )
        acknowledge(
            api,
            {
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AmazonAPIGatewayPushToCloudWatchLogs]": "API Gateway accepts a logging role "
                "only with what this policy of its own allows.",
                "AwsSolutions-COG4": "Tenants have API keys, which the authorizer checks; nobody "
                "signs in here.",
                "AwsSolutions-APIG6": "Execution logs hold headers and bodies; every request is "
                "in the access log and in the functions' own structured logs.",
            },
        )
        return api

    def _answer(self, kind: str, status: int | None, type_: str, code: str, message: str) -> None:
        """One answer of API Gateway itself; part of what a deployment of the API takes along."""
        self.rest_api.add_gateway_response(
            kind.title().replace("_", ""),
            type=apigateway.ResponseType.of(kind),
            status_code=None if status is None else str(status),
            templates={"application/json": error_body(type_, code, message)},
            response_headers=ANSWER_HEADERS.get(kind),
        )

    def _routes(self, submit: lambda_.IFunction, authorize: lambda_.IFunction) -> None:
        authorizer = apigateway.TokenAuthorizer(
            self,
            "Authorizer",
            handler=authorize,
            results_cache_ttl=Duration.seconds(AUTHORIZED_S),
        )
        integration = apigateway.LambdaIntegration(submit, scope_permission_to_method=False)
        validator = self.rest_api.add_request_validator(
            "Validator", validate_request_body=True, validate_request_parameters=True
        )
        models = {"application/json": self._json_object()}
        for verb, path in ROUTES:
            with_job = (verb, path) == SUBMISSION
            self.rest_api.root.resource_for_path(path).add_method(
                verb,
                integration,
                authorizer=authorizer,
                request_validator=validator if with_job else None,
                request_models=models if with_job else None,
            )
        for (verb, path), why in OPEN_ROUTES.items():
            method = self.rest_api.root.resource_for_path(path).add_method(verb, integration)
            acknowledge(method, {"AwsSolutions-APIG4": why})

    def _json_object(self) -> apigateway.Model:
        """All that is checked before the function, which can name the field that is wrong."""
        return self.rest_api.add_model(
            "JobRequest",
            content_type="application/json",
            schema=apigateway.JsonSchema(
                schema=apigateway.JsonSchemaVersion.DRAFT4,
                title="JobRequest",
                type=apigateway.JsonSchemaType.OBJECT,
            ),
        )
