"""What API Gateway promises about REST APIs with Lambda, with the page that says so.

"Developer Guide" is the Amazon API Gateway Developer Guide.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spillway.twin.apigateway import ApiGateway, HttpRequest, HttpResponse
from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.functions import FunctionDefinition, Functions
from spillway.twin.resources import Resource, UnsupportedError

REGION, ACCOUNT = "us-east-1", "123456789012"
KEY = {"Authorization": "Bearer key-1"}


class Lambda:
    """Functions whose code is plain Python, of whose events the test keeps a record."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.handlers: dict[str, Callable[[Any], Any]] = {}
        self.events: list[tuple[str, Any]] = []
        self.hook = Hook(scheduler)
        self.functions = Functions(scheduler, self.hook, cold_start_s=0.0)
        for name in ("submit", "authorize", "other"):
            self.functions.deploy(
                FunctionDefinition(
                    name=name, region=REGION, timeout_s=300, reserved_concurrency=1, code=self
                )
            )

    def environment(self, *, environ: Any, **_: Any) -> Callable[[Any, Any], Any]:
        """Start an execution environment."""
        name = environ["AWS_LAMBDA_FUNCTION_NAME"]

        def handle(event: Any, _: Any) -> Any:
            self.events.append((name, event))
            return self.handlers[name](event)

        return handle

    def close(self) -> None:
        """Give botocore and moto their own back."""
        self.functions.close()
        self.hook.close()


class Api:
    """A REST API as CDK's `RestApi` deploys it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.functions = Lambda(scheduler)
        self.functions.handlers["submit"] = lambda event: {
            "statusCode": 200,
            "body": json.dumps({"path": event["path"]}),
        }
        self.functions.handlers["authorize"] = lambda event: policy(event["methodArn"])
        self.gateway = ApiGateway(scheduler, self.functions.functions)
        self.ids: dict[str, str] = {}
        self.create("RestApi", "api", Name="app")
        self.create(
            "Authorizer",
            "authorizer",
            Type="TOKEN",
            IdentitySource="method.request.header.Authorization",
            AuthorizerResultTtlInSeconds=60,
            AuthorizerUri=uri("authorize"),
        )

    def create(self, kind: str, name: str, **properties: Any) -> Resource | None:
        """Create a resource; others refer to its id by its name."""
        if kind != "RestApi":
            properties["RestApiId"] = self.ids["api"]
        resource = Resource(
            type=f"AWS::ApiGateway::{kind}",
            logical_id=name,
            physical_id=name,
            region=REGION,
            account=ACCOUNT,
            stack="stack",
            properties=properties,
        )
        created = self.gateway.create(resource)
        if created is not None:
            self.ids[name] = created.physical_id
            if kind == "RestApi":
                self.ids["/"] = created.attributes["RootResourceId"]
        return created

    def method(
        self,
        verb: str,
        path: str,
        *,
        authorized: bool = False,
        function: str = "submit",
        **more: Any,
    ) -> None:
        """Add a method and the resources of its path."""
        parent = "/"
        for part in path.strip("/").split("/"):
            here = f"{parent.rstrip('/')}/{part}"
            if here not in self.ids:
                self.create("Resource", here, ParentId=self.ids[parent], PathPart=part)
            parent = here
        properties = {
            "HttpMethod": verb,
            "ResourceId": self.ids[parent],
            "AuthorizationType": "CUSTOM" if authorized else "NONE",
            "Integration": {"Type": "AWS_PROXY", "Uri": uri(function)},
            **({"AuthorizerId": self.ids["authorizer"]} if authorized else {}),
            **more,
        }
        self.create("Method", f"{verb} {path}", **properties)

    def deploy(self, **stage: Any) -> None:
        """Deploy what is there."""
        self.create("Deployment", f"deployment-{len(self.ids)}")
        deployment = list(self.ids.values())[-1]
        self.create("Stage", "stage", StageName="api", DeploymentId=deployment, **stage)

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        base: str = "",
    ) -> HttpResponse:
        """Send a request and let time pass until it is answered."""
        path, _, query = url.partition("?")
        request = HttpRequest(
            method=method,
            path=path,
            query=query,
            headers=list((headers or {}).items()),
            body=body,
            base=base,
        )
        response: HttpResponse = self.scheduler.call(self.gateway.handle, REGION, request)
        return response

    @property
    def event(self) -> Any:
        """The last event of the function behind the API."""
        return [event for name, event in self.functions.events if name == "submit"][-1]

    def asked(self) -> int:
        """Count the calls of the authorizer."""
        return sum(name == "authorize" for name, _ in self.functions.events)


def uri(function: str) -> str:
    """Address a function as CDK does."""
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"
    return f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{arn}/invocations"


def policy(resource: Any, effect: str = "Allow", **context: Any) -> dict[str, Any]:
    """Answer as an authorizer."""
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    return {
        "principalId": "tenant",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }


def raising(error: BaseException) -> Callable[[Any], Any]:
    """Make a function that ends with an error."""

    def handler(_: Any) -> Any:
        raise error

    return handler


@pytest.fixture
def api() -> Iterator[Api]:
    """Give an API on the virtual clock."""
    scheduler = Scheduler(virtual=True, seed=1)
    api = Api(scheduler)
    yield api
    api.functions.close()
    scheduler.close()


def said(response: HttpResponse) -> Any:
    """Read a JSON answer."""
    return json.loads(response.body)


# ---- routes


def test_the_most_specific_resource_serves(api: Api) -> None:
    """`/jobs/stats` must never be read as a job's id.

    Developer Guide, "Set up a proxy integration with a proxy resource": specific resources take
    precedence over path parameters and greedy ones.
    """
    for path in ("/{proxy+}", "/v1/jobs/{id}", "/v1/jobs/stats"):
        api.method("GET", path)
    api.deploy()
    for path, resource, parameters in (
        ("/v1/jobs/stats", "/v1/jobs/stats", None),
        ("/v1/jobs/a%2Fb", "/v1/jobs/{id}", {"id": "a/b"}),
        ("/v2/x/y", "/{proxy+}", {"proxy": "v2/x/y"}),
    ):
        assert api.ask("GET", path).status == 200
        assert (api.event["resource"], api.event["pathParameters"]) == (resource, parameters)


def test_any_serves_the_verbs_without_a_method(api: Api) -> None:
    """Developer Guide, "Set up an HTTP method": ANY stands for every verb not defined."""
    api.method("ANY", "/v1", function="submit")
    api.functions.handlers["other"] = lambda _: {"statusCode": 204}
    api.method("GET", "/v1", function="other")
    api.deploy()
    assert api.ask("GET", "/v1").status == 204
    assert api.ask("PUT", "/v1").status == 200


def test_an_unknown_path_or_verb_is_a_missing_token(api: Api) -> None:
    """Clients of a REST API see 403 where they would expect 404, and ours must cope.

    Developer Guide, "Gateway response types": MISSING_AUTHENTICATION_TOKEN, "including when the
    client attempts to invoke an unsupported API method or resource".
    """
    api.method("GET", "/v1")
    api.deploy()
    for response in (api.ask("GET", "/v2"), api.ask("POST", "/v1")):
        assert response.status == 403
        assert said(response) == {"message": "Missing Authentication Token"}


def test_a_stage_serves_what_its_deployment_saw(api: Api) -> None:
    """A route added without a new deployment is a classic of production.

    Developer Guide, "Deploy REST APIs": a deployment is a snapshot; changes need a new one.
    """
    api.method("GET", "/v1")
    api.deploy()
    api.method("GET", "/v2")
    assert api.ask("GET", "/v2").status == 403
    api.deploy()
    assert api.ask("GET", "/v2").status == 200


# ---- events and answers


def test_the_event_is_a_lambda_proxy_event(api: Api) -> None:
    """Functions read the event; a field that only exists here breaks them on AWS.

    Developer Guide, "Input format of a Lambda function for proxy integration".
    """
    api.method("POST", "/v1/jobs/{id}")
    api.deploy()
    api.ask(
        "POST",
        "/v1/jobs/7?wait=5&tag=a&tag=b%20c",
        headers={"Content-Type": "application/json", "X-Two": "2", "User-Agent": "me"},
        body='{"a": "ü"}'.encode(),
        base="/us-east-1",
    )
    event = api.event
    assert event["resource"] == "/v1/jobs/{id}"
    assert event["path"] == "/v1/jobs/7"
    assert event["httpMethod"] == "POST"
    assert event["queryStringParameters"] == {"wait": "5", "tag": "b c"}
    assert event["multiValueQueryStringParameters"] == {"wait": ["5"], "tag": ["a", "b c"]}
    assert event["headers"]["X-Two"] == "2"
    assert event["multiValueHeaders"]["X-Two"] == ["2"]
    assert event["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": "ü"}', False)
    context = event["requestContext"]
    assert context["path"] == "/us-east-1/v1/jobs/7"
    assert (context["stage"], context["accountId"]) == ("api", ACCOUNT)
    assert context["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "me"}
    assert context["requestTimeEpoch"] == 1_767_571_200_000
    assert context["requestTime"] == "05/Jan/2026:00:00:00 +0000"
    api.deploy(Variables={"color": "blue"})
    api.ask("POST", "/v1/jobs/7")
    assert api.event["stageVariables"] == {"color": "blue"}
    for name in ("queryStringParameters", "multiValueQueryStringParameters", "body"):
        assert api.event[name] is None


def test_the_answer_is_mapped(api: Api) -> None:
    """Headers and cookies that get lost here would be found lost in the cloud.

    Developer Guide, "Output format of a Lambda function for proxy integration": headers and
    multiValueHeaders are merged, the latter winning; "API Gateway important notes": remapped ones.
    """
    api.functions.handlers["submit"] = lambda _: {
        "statusCode": "201",
        "headers": {"Location": "/x", "Set-Cookie": "no", "Date": "today", "X-N": 5},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": "ü",
    }
    api.method("GET", "/v1")
    api.deploy()
    response = api.ask("GET", "/v1")
    assert (response.status, response.body.decode()) == (201, "ü")
    headers = list(response.headers)
    assert [value for name, value in headers if name == "Set-Cookie"] == ["a=1", "b=2"]
    for header in (
        ("Location", "/x"),
        ("x-amzn-Remapped-Date", "today"),
        ("X-N", "5"),
        ("Content-Type", "application/json"),
    ):
        assert header in headers


def test_binary_bodies_need_binary_media_types(api: Api) -> None:
    """A function must not see bytes that AWS would have mangled.

    Developer Guide, "Content type conversions in API Gateway": BinaryMediaTypes, base64 both ways.
    """
    api.create("RestApi", "api", Name="app", BinaryMediaTypes=["application/octet-stream"])
    api.functions.handlers["submit"] = lambda event: {
        "statusCode": 200,
        "body": event["body"],
        "isBase64Encoded": event["isBase64Encoded"],
    }
    api.method("POST", "/v1")
    api.deploy()
    octets = {"Content-Type": "application/octet-stream"}
    encoded = base64.b64encode(b"\xff\x00").decode()
    asked = api.ask("POST", "/v1", headers=octets, body=b"\xff\x00")
    assert (api.event["body"], api.event["isBase64Encoded"]) == (encoded, True)
    assert asked.body.decode() == encoded
    accepting = {**octets, "Accept": "application/octet-stream"}
    assert api.ask("POST", "/v1", headers=accepting, body=b"\xff\x00").body == b"\xff\x00"
    api.ask("POST", "/v1", headers={"Content-Type": "text/plain"}, body=b"\xff\x00")
    assert (api.event["body"], api.event["isBase64Encoded"]) == ("\ufffd\x00", False)


@pytest.mark.parametrize(
    "answer",
    ["text", None, {"body": "no status"}, {"statusCode": "x"}, {"statusCode": 200, "body": {}}],
)
def test_a_malformed_answer_is_a_bad_gateway(api: Api, answer: Any) -> None:
    """A function that forgets its format must not look like a success.

    Developer Guide, "Output format of a Lambda function for proxy integration": otherwise "API
    Gateway returns a 502 Bad Gateway error response".
    """
    api.functions.handlers["submit"] = lambda _: answer
    api.method("GET", "/v1")
    api.deploy()
    response = api.ask("GET", "/v1")
    assert (response.status, said(response)) == (502, {"message": "Internal server error"})


def test_a_failing_function_is_a_bad_gateway(api: Api) -> None:
    """The error's text stays inside.

    Lambda Developer Guide, "Handling errors with an API Gateway API": function errors are 502.
    """
    api.functions.handlers["submit"] = raising(ValueError("secret"))
    api.method("GET", "/v1")
    api.deploy()
    response = api.ask("GET", "/v1")
    assert response.status == 502
    assert b"secret" not in response.body


def test_a_throttled_function_is_a_server_error(api: Api) -> None:
    """Callers are not told to slow down by a 429, so the function must have room.

    re:Post knowledge center, "Internal server error for API Gateway endpoints that integrate with
    Lambda": throttling shows as 500.
    """
    api.functions.handlers["submit"] = lambda _: api.scheduler.sleep(20)
    api.method("GET", "/v1")
    api.deploy()
    api.functions.functions.invoke(REGION, "submit")  # Takes the one place that is reserved.
    response = api.ask("GET", "/v1")
    assert (response.status, said(response)) == (500, {"message": "Internal server error"})


@pytest.mark.parametrize(("integration", "limit_s"), [({}, 29.0), ({"TimeoutInMillis": 5000}, 5.0)])
def test_an_integration_times_out(api: Api, integration: dict[str, Any], limit_s: float) -> None:
    """Waiting for a result must end before API Gateway ends it.

    Developer Guide, "Quotas for configuring and running a REST API": 50 ms to 29 s; "Gateway
    response types": INTEGRATION_TIMEOUT, 504.
    """
    api.functions.handlers["submit"] = lambda _: api.scheduler.sleep(100)
    proxy = {"Type": "AWS_PROXY", "Uri": uri("submit"), **integration}
    api.method("GET", "/v1", Integration=proxy)
    api.deploy()
    start_s = api.scheduler.now()
    response = api.ask("GET", "/v1")
    assert (response.status, said(response)) == (504, {"message": "Endpoint request timed out"})
    assert api.scheduler.now() == start_s + limit_s


@pytest.mark.parametrize("body", [b"x" * (10 * 1024 * 1024 + 1), b"\n" * 4_000_000])
def test_a_request_that_is_too_large_is_refused(api: Api, body: bytes) -> None:
    """Escaping doubles a body of newlines, and then Lambda takes no more of it.

    Developer Guide, "Quotas": payload 10 MB; Lambda Developer Guide, "Lambda quotas": 6 MB.
    """
    api.method("POST", "/v1")
    api.deploy()
    assert api.ask("POST", "/v1", body=body).status == 413
    assert api.functions.events == []


def test_a_stage_throttles(api: Api) -> None:
    """A runaway client is stopped before it costs a function call.

    Developer Guide, "Throttle requests to your REST APIs": token bucket of rate and burst; 429.
    """
    api.method("GET", "/v1")
    settings = {"HttpMethod": "*", "ResourcePath": "/*"}
    api.deploy(MethodSettings=[{**settings, "ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 2}])
    assert [api.ask("GET", "/v1").status for _ in range(3)] == [200, 200, 429]
    api.scheduler.run_for(1)
    assert [api.ask("GET", "/v1").status for _ in range(2)] == [200, 429]


# ---- the authorizer


@pytest.fixture
def guarded(api: Api) -> Api:
    """Give an API whose one route needs a key."""
    api.method("GET", "/v1", authorized=True)
    api.method("GET", "/v2", authorized=True)
    api.deploy()
    return api


def test_an_authorizer_lets_in_and_tells_the_function_who(guarded: Api) -> None:
    """The tenant that a function trusts comes from here alone.

    Developer Guide, "Input to an API Gateway Lambda authorizer" and "Output from an API Gateway
    Lambda authorizer": TOKEN event; context values arrive as strings.
    """
    guarded.functions.handlers["authorize"] = lambda event: policy(
        "arn:aws:execute-api:us-east-1:123456789012:*/api/*", tenant="acme", rate=5, on=True
    )
    assert guarded.ask("GET", "/v1", headers=KEY).status == 200
    (_, event), *_ = guarded.functions.events
    assert event == {
        "type": "TOKEN",
        "authorizationToken": "Bearer key-1",
        "methodArn": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{guarded.ids['api']}/api/GET/v1",
    }
    identity = guarded.event["requestContext"]["authorizer"]
    assert identity == {
        "principalId": "tenant",
        "integrationLatency": 0,
        "tenant": "acme",
        "rate": "5",
        "on": "true",
    }


def test_an_authorizer_without_a_place_lets_nobody_in(guarded: Api) -> None:
    """Developer Guide, "Gateway response types": AUTHORIZER_FAILURE, 500."""
    guarded.functions.handlers["authorize"] = lambda _: guarded.scheduler.sleep(20)
    guarded.functions.functions.invoke(REGION, "authorize")
    assert guarded.ask("GET", "/v1", headers=KEY).status == 500


def test_no_token_is_refused_without_asking(guarded: Api) -> None:
    """Developer Guide, "Use API Gateway Lambda authorizers": a missing token is 401 at once."""
    response = guarded.ask("GET", "/v1")
    assert (response.status, said(response)) == (401, {"message": "Unauthorized"})
    assert guarded.asked() == 0


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Exception("Unauthorized"), 401),
        (ValueError("no such key"), 500),
        ("not a policy", 500),
        ({"principalId": "x", "policyDocument": {}}, 500),
        (policy("*", context={"nested": 1}), 500),
        (policy("*", "Deny"), 403),
        (policy("arn:aws:execute-api:*:*:*/api/POST/*"), 403),
        (policy(["arn:aws:execute-api:*:*:*/api/GET/v?"]), 200),
    ],
)
def test_what_an_authorizer_answers_decides(guarded: Api, answer: Any, status: int) -> None:
    """Wrong keys are 401, disabled tenants 403, and our own failures never let anybody in.

    Developer Guide, "Gateway response types": UNAUTHORIZED, ACCESS_DENIED, AUTHORIZER_FAILURE,
    AUTHORIZER_CONFIGURATION_ERROR; "Output from an API Gateway Lambda authorizer".
    """
    failing = isinstance(answer, Exception)
    guarded.functions.handlers["authorize"] = raising(answer) if failing else lambda _: answer
    assert guarded.ask("GET", "/v1", headers=KEY).status == status


def test_a_policy_is_cached_by_token(guarded: Api) -> None:
    """A revoked key works for a minute at most, and every request does not cost two calls.

    Developer Guide, "Use API Gateway Lambda authorizers": the cached policy of a token is
    evaluated for every method of the API until its time to live ends.
    """
    guarded.ask("GET", "/v1", headers=KEY)
    assert guarded.asked() == 1
    # This policy allows nothing but /v1, and it is what the cache holds for /v2 as well.
    assert guarded.ask("GET", "/v2", headers=KEY).status == 403
    assert guarded.ask("GET", "/v2", headers={"Authorization": "Bearer key-2"}).status == 200
    assert guarded.asked() == 2
    guarded.scheduler.run_for(61)
    assert guarded.ask("GET", "/v2", headers=KEY).status == 200
    assert guarded.asked() == 3


def test_a_refused_token_is_not_cached(guarded: Api) -> None:
    """A key that was just added works at once.

    Developer Guide, "Use API Gateway Lambda authorizers": policies are cached; errors are none.
    """
    guarded.functions.handlers["authorize"] = raising(Exception("Unauthorized"))
    assert guarded.ask("GET", "/v1", headers=KEY).status == 401
    guarded.functions.handlers["authorize"] = lambda event: policy(event["methodArn"])
    assert guarded.ask("GET", "/v1", headers=KEY).status == 200


# ---- validation and gateway responses


@pytest.fixture
def validated(api: Api) -> Api:
    """Give an API that validates bodies and a header, and words its errors itself."""
    api.create(
        "Model",
        "model",
        ContentType="application/json",
        Schema={"type": "object", "required": ["model"], "properties": {"n": {"type": "integer"}}},
    )
    api.create(
        "RequestValidator", "validator", ValidateRequestBody=True, ValidateRequestParameters=True
    )
    api.create(
        "GatewayResponse",
        "worded",
        ResponseType="BAD_REQUEST_BODY",
        StatusCode="422",
        ResponseTemplates={
            "application/json": '{"error": $context.error.messageString, '
            '"why": "$context.error.validationErrorString", "type": "$context.error.responseType"}'
        },
        ResponseParameters={"gatewayresponse.header.X-Should-Retry": "'false'"},
    )
    api.create(
        "GatewayResponse",
        "rest",
        ResponseType="DEFAULT_4XX",
        ResponseTemplates={"text/plain": "$context.error.message for $context.path"},
    )
    api.method(
        "POST",
        "/v1",
        RequestValidatorId=api.ids["validator"],
        RequestModels={"application/json": api.ids["model"]},
        RequestParameters={"method.request.header.X-Id": True},
    )
    api.deploy()
    return api


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "[the body is not JSON]"),
        (b'["model"]', "[instance type does not match any allowed primitive type (allowed: "),
        (b"{}", "[object has missing required properties ("),
        (b'{"model": "m", "n": "x"}', "[instance type"),
    ],
)
def test_a_body_is_validated_against_its_model(validated: Api, body: bytes, why: str) -> None:
    """Nonsense costs no function call, and is answered in the API's own words.

    Developer Guide, "Request validation for REST APIs" and "Set up gateway responses": status,
    headers and $context variables of the template. The validator's text has quotation marks, so
    a template that puts it between quotation marks writes no JSON, as on AWS.
    """
    response = validated.ask("POST", "/v1", headers={"X-Id": "1"}, body=body)
    assert response.status == 422
    text = response.body.decode()
    assert text.startswith('{"error": "Invalid request body", "why": "' + why)
    assert text.endswith('"type": "BAD_REQUEST_BODY"}')
    assert ("X-Should-Retry", "false") in response.headers
    assert validated.functions.events == []


def test_a_valid_body_and_another_content_type_pass(validated: Api) -> None:
    """Developer Guide, "Request validation": without a model of its content type, a body passes."""
    good = {"X-Id": "1", "Content-Type": "application/json; charset=utf-8"}
    assert validated.ask("POST", "/v1", headers=good, body=b'{"model": "m"}').status == 200
    other = {"X-Id": "1", "Content-Type": "text/plain"}
    assert validated.ask("POST", "/v1", headers=other, body=b"nonsense").status == 200


def test_required_parameters_are_looked_for(validated: Api) -> None:
    """Developer Guide, "Request validation": present and not blank; DEFAULT_4XX words the rest."""
    response = validated.ask("POST", "/v1", body=b'{"model": "m"}')
    assert response.status == 400
    assert response.body == b"Missing required request parameters: [X-Id] for /v1"
    assert ("Content-Type", "text/plain") in response.headers


def test_access_logs_have_the_stages_format(guarded: Api) -> None:
    """Log bytes are a part of the price of a job, and a test reads them for payloads.

    Developer Guide, "Variables for access logging": a variable without a value is a dash.
    """
    guarded.functions.handlers["authorize"] = lambda event: policy("*", tenant="acme")
    guarded.deploy(
        AccessLogSetting={
            "Format": "$context.httpMethod $context.resourcePath $context.status "
            "$context.authorizer.tenant $context.error.responseType $context.responseLength"
        }
    )
    length = len(guarded.ask("GET", "/v1", headers=KEY).body)
    guarded.ask("GET", "/v1")
    lines = list(guarded.gateway.logs)
    assert lines == [
        f"GET /v1 200 acme - {length}",
        "GET /v1 401 - UNAUTHORIZED 26",
    ]
    assert guarded.gateway.log_bytes[REGION] == sum(map(len, lines))
    assert guarded.gateway.requests[REGION] == 2


def test_what_cannot_run_is_named(api: Api) -> None:
    """A template that would do something else here than on AWS must not deploy quietly."""
    with pytest.raises(UnsupportedError, match="AWS_PROXY"):
        api.method("GET", "/v1", Integration={"Type": "MOCK"})
    with pytest.raises(UnsupportedError, match="AuthorizationType"):
        api.method("GET", "/v2", AuthorizationType="AWS_IAM")
    with pytest.raises(UnsupportedError, match="TOKEN"):
        api.create("Authorizer", "other", Type="REQUEST")
    with pytest.raises(UnsupportedError, match="ApiKeyRequired"):
        api.method("GET", "/v3", ApiKeyRequired=True)
    with pytest.raises(UnsupportedError, match="Policy"):
        api.create("RestApi", "api", Policy={})
    with pytest.raises(LookupError, match="0 API stages"):
        api.ask("GET", "/v1")
