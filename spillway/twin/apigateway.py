"""API Gateway REST APIs: from an HTTP request to a Lambda function's answer and back.

Each stage serves what its deployment saw when it was created, as on AWS: a method or gateway
response that a template adds after its deployment is not served. Nothing here logs a request.
"""

import base64
import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import translate
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote

from jsonschema import Draft4Validator

from spillway.twin.clock import Scheduler
from spillway.twin.functions import (
    Functions,
    RegionDownError,
    RequestTooLargeError,
    ThrottledError,
    UnknownFunctionError,
)
from spillway.twin.resources import Resource, UnsupportedError

# Quotas of REST APIs (developer guide, "Quotas for configuring and running a REST API").
BODY_BYTES_MAX: Final = 10 * 1024 * 1024
TIMEOUT_SECONDS_MAX: Final = 29.0
THROTTLE_RATE_PER_S: Final = 10_000.0
THROTTLE_BURST: Final = 5_000.0
AUTHORIZER_TTL_SECONDS_DEFAULT: Final = 300
CACHED_POLICIES_MAX: Final = 10_000
LOG_LINES_MAX: Final = 100_000

# Gateway responses: type -> status and message ("Gateway response types for API Gateway").
RESPONSES: Final[Mapping[str, tuple[int, str]]] = {
    "ACCESS_DENIED": (403, "User is not authorized to access this resource"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, "Internal server error"),
    "AUTHORIZER_FAILURE": (500, "Internal server error"),
    "BAD_REQUEST_BODY": (400, "Invalid request body"),
    "BAD_REQUEST_PARAMETERS": (400, "Missing required request parameters"),
    "INTEGRATION_FAILURE": (504, "Network error communicating with endpoint"),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "Missing Authentication Token"),
    "REQUEST_TOO_LARGE": (413, "Request Too Long"),
    "THROTTLED": (429, "Too Many Requests"),
    "UNAUTHORIZED": (401, "Unauthorized"),
    # Failures that AWS documents without a type of their own.
    "LAMBDA_ERROR": (502, "Internal server error"),
    "LAMBDA_REFUSED": (500, "Internal server error"),
}
UNTYPED: Final = ("LAMBDA_ERROR", "LAMBDA_REFUSED")
# Response headers of a function that a REST API renames ("Amazon API Gateway important notes").
REMAPPED: Final = frozenset(
    {"authorization", "connection", "content-length", "date", "host", "server", "www-authenticate"}
)
_FUNCTION: Final = re.compile(r"/functions/arn:aws[^:]*:lambda:([^:]+):\d+:function:([^:/]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request as it reaches a stage.

    Args:
        method: Upper case.
        path: Below the stage, still percent-encoded: `/v1/jobs`.
        query: Everything after the question mark.
        headers: In order, names in any case.
        body: As sent.
        source_ip: The client's address.
        base: What the client's URL has in front of `path`.
    """

    method: str
    path: str
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    source_ip: str = "127.0.0.1"
    base: str = ""

    def header(self, name: str) -> str | None:
        """Read the last header of a name, as the event's `headers` does."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[-1] if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """What the client gets."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


class UnreachableError(Exception):
    """No answer gets to the client.

    Args:
        region: Whose API.
        connected: Whether the request got there, and only its answer is lost.
    """

    def __init__(self, region: str, *, connected: bool) -> None:
        super().__init__(f"the API of {region} cannot be reached")
        self.connected = connected


class UnknownDomainError(Exception):
    """A region has no custom domain of a request's host, and so no certificate for it."""


class _RefusalError(Exception):
    """API Gateway answers by itself."""

    def __init__(self, kind: str, *, message: str = "", detail: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = RESPONSES[kind][0]
        self.message = message or RESPONSES[kind][1]
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    resource_id: str
    template: str
    verb: str
    function: tuple[str, str]
    timeout_s: float
    properties: Mapping[str, Any]

    def match(self, path: str) -> dict[str, str] | None:
        """Give the path's parameters, or None if this is another resource's path."""
        ours, theirs = self.template.strip("/").split("/"), path.strip("/").split("/")
        found: dict[str, str] = {}
        for index, part in enumerate(ours):
            if part.endswith("+}"):
                rest = "/".join(theirs[index:])
                return {**found, part[1:-2]: unquote(rest)} if rest else None
            if index >= len(theirs):
                return None
            if part.startswith("{"):
                found[part[1:-1]] = unquote(theirs[index])
            elif part != unquote(theirs[index]):
                return None
        return found if len(ours) == len(theirs) else None

    @property
    def precedence(self) -> tuple[int, ...]:
        """Sort fixed parts before parameters before the greedy rest."""
        parts = self.template.strip("/").split("/")
        return tuple(2 if p.endswith("+}") else int(p.startswith("{")) for p in parts)


@dataclass(slots=True, kw_only=True)
class _Api:
    id: str
    region: str
    account: str
    properties: Mapping[str, Any]
    paths: dict[str, str] = field(default_factory=dict)
    methods: list[_Method] = field(default_factory=list)
    responses: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    authorizers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    validators: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    models: dict[str, Draft4Validator] = field(default_factory=dict)
    deployments: dict[str, "_Api"] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Stage:
    name: str
    api: _Api
    variables: Mapping[str, str] | None
    log_format: str
    rate_per_s: float
    burst: float
    tokens: float
    filled_s: float
    policies: dict[tuple[str, str], tuple[float, Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Domain:
    """A custom domain: the name that it serves, where records lead for it, and the API behind."""

    name: str
    region: str
    target: str
    api: str = ""


class ApiGateway:
    """The REST APIs of every region.

    Args:
        scheduler: Clock, and the tasks in which functions run.
        functions: Runs integrations and authorizers.

    Attributes:
        requests: Requests by region, as they are billed.
        logs: The latest lines of the stages' access logs, in their format.
        log_bytes: Bytes of access logs by region.
        connection: Tells by region whether clients reach the API: the same value while they do,
            None while they do not.
    """

    def __init__(self, scheduler: Scheduler, functions: Functions) -> None:
        self._scheduler = scheduler
        self._functions = functions
        self.requests: Counter[str] = Counter()
        self.logs: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self.log_bytes: Counter[str] = Counter()
        self.connection: Callable[[str], int | None] = lambda _: 0
        self._apis: dict[str, _Api] = {}
        self._stages: dict[tuple[str, str], _Stage] = {}
        self._domains: dict[tuple[str, str], _Domain] = {}

    # ---- deployment

    def create(self, resource: Resource) -> Resource | None:
        """Create one resource of a template.

        Raises:
            ValueError: It refers to what is not there.
            UnsupportedError: The twin cannot run it.
        """
        kind = resource.type.rpartition(":")[2]
        make: Callable[[Resource, str], Resource | None] = getattr(self, f"_make_{kind.lower()}")
        digest = hashlib.sha256(
            f"{resource.region}/{resource.stack}/{resource.logical_id}".encode()
        )
        return make(resource, digest.hexdigest()[:10])

    def _api(self, resource: Resource) -> _Api:
        wanted = resource.properties["RestApiId"]
        if wanted not in self._apis:
            raise ValueError(f"there is no REST API {wanted!r}")
        return self._apis[wanted]

    def _make_account(self, resource: Resource, identity: str) -> None:
        """Accept the role with which API Gateway writes logs; there are none here."""

    def _make_restapi(self, resource: Resource, identity: str) -> Resource:
        if "Policy" in resource.properties:
            raise UnsupportedError("Policy: resource policies of REST APIs do not run")
        root = identity[::-1]
        api = _Api(
            id=identity,
            region=resource.region,
            account=resource.account,
            properties=resource.properties,
            paths={root: "/"},
        )
        self._apis[identity] = api
        return replace(
            resource,
            physical_id=identity,
            attributes={"RootResourceId": root, "RestApiId": identity},
        )

    def _make_resource(self, resource: Resource, identity: str) -> Resource:
        api = self._api(resource)
        parent = api.paths[resource.properties["ParentId"]]
        api.paths[identity] = f"{parent.rstrip('/')}/{resource.properties['PathPart']}"
        return replace(resource, physical_id=identity, attributes={"ResourceId": identity})

    def _make_method(self, resource: Resource, identity: str) -> None:
        api, properties = self._api(resource), resource.properties
        integration = properties.get("Integration") or {}
        target = _FUNCTION.search(str(integration.get("Uri", "")))
        if integration.get("Type") != "AWS_PROXY" or target is None:
            raise UnsupportedError("Integration: only AWS_PROXY to a Lambda function runs")
        if properties.get("AuthorizationType", "NONE") not in ("NONE", "CUSTOM"):
            raise UnsupportedError("AuthorizationType: only NONE and CUSTOM run")
        if properties.get("ApiKeyRequired"):
            raise UnsupportedError("ApiKeyRequired: usage plans do not run")
        timeout_ms = integration.get("TimeoutInMillis")
        api.methods.append(
            _Method(
                resource_id=properties["ResourceId"],
                template=api.paths[properties["ResourceId"]],
                verb=properties["HttpMethod"],
                function=(target[1], target[2]),
                timeout_s=timeout_ms / 1000 if timeout_ms else TIMEOUT_SECONDS_MAX,
                properties=properties,
            )
        )

    def _make_authorizer(self, resource: Resource, identity: str) -> Resource:
        if resource.properties["Type"] != "TOKEN":
            raise UnsupportedError("Type: only TOKEN authorizers run")
        self._api(resource).authorizers[identity] = resource.properties
        return replace(resource, physical_id=identity, attributes={"AuthorizerId": identity})

    def _make_requestvalidator(self, resource: Resource, identity: str) -> Resource:
        self._api(resource).validators[identity] = resource.properties
        return replace(resource, physical_id=identity, attributes={"RequestValidatorId": identity})

    def _make_model(self, resource: Resource, identity: str) -> Resource:
        name = resource.properties.get("Name", identity)
        schema = resource.properties.get("Schema") or {}
        self._api(resource).models[name] = Draft4Validator(
            json.loads(schema) if isinstance(schema, str) else schema
        )
        return replace(resource, physical_id=name)

    def _make_gatewayresponse(self, resource: Resource, identity: str) -> None:
        for value in (resource.properties.get("ResponseParameters") or {}).values():
            if not value.startswith("'"):
                raise UnsupportedError("ResponseParameters: only fixed values in '...' run")
        self._api(resource).responses[resource.properties["ResponseType"]] = resource.properties

    def _make_deployment(self, resource: Resource, identity: str) -> Resource:
        api = self._api(resource)
        api.deployments[identity] = replace(
            api,
            methods=sorted(api.methods, key=lambda method: method.precedence),
            responses=dict(api.responses),
            authorizers=dict(api.authorizers),
            validators=dict(api.validators),
            models=dict(api.models),
        )
        return replace(resource, physical_id=identity, attributes={"DeploymentId": identity})

    def _make_stage(self, resource: Resource, identity: str) -> Resource:
        api, name = self._api(resource), resource.properties["StageName"]
        rate_per_s, burst = THROTTLE_RATE_PER_S, THROTTLE_BURST
        for settings in resource.properties.get("MethodSettings") or ():
            if (settings.get("ResourcePath"), settings.get("HttpMethod")) != ("/*", "*"):
                raise UnsupportedError("MethodSettings: only those of every method (/*, *) run")
            rate_per_s = float(settings.get("ThrottlingRateLimit", rate_per_s))
            burst = float(settings.get("ThrottlingBurstLimit", burst))
        self._stages[api.region, api.id] = _Stage(
            name=name,
            api=api.deployments[resource.properties["DeploymentId"]],
            variables=resource.properties.get("Variables"),
            log_format=(resource.properties.get("AccessLogSetting") or {}).get("Format", ""),
            rate_per_s=rate_per_s,
            burst=burst,
            tokens=burst,
            filled_s=self._scheduler.now(),
        )
        return replace(resource, physical_id=name)

    def _make_domainname(self, resource: Resource, identity: str) -> Resource:
        name, region = str(resource.properties["DomainName"]), resource.region
        if resource.properties.get("EndpointConfiguration", {}).get("Types") != ["REGIONAL"]:
            raise UnsupportedError("EndpointConfiguration: only REGIONAL domains run")
        if not resource.properties.get("RegionalCertificateArn"):
            raise ValueError("A certificate of this region must be provided")
        if (region, name) in self._domains:
            raise ValueError("The domain name you provided already exists.")
        domain = _Domain(
            name=name, region=region, target=f"d-{identity}.execute-api.{region}.amazonaws.com"
        )
        self._domains[region, name] = domain
        attributes = {
            "RegionalDomainName": domain.target,
            "RegionalHostedZoneId": f"ZAPI{region.upper().replace('-', '')}",
        }
        return replace(resource, physical_id=name, attributes=attributes)

    def _make_basepathmapping(self, resource: Resource, identity: str) -> Resource:
        domain = self._domains.get((resource.region, resource.properties["DomainName"]))
        if domain is None:
            raise ValueError(f"there is no domain {resource.properties['DomainName']!r}")
        stage = self._stages.get((resource.region, self._api(resource).id))
        if stage is None or stage.name != resource.properties["Stage"]:
            raise ValueError("Invalid stage identifier specified")
        if domain.api:
            raise ValueError("Base path already exists for this domain name")
        domain.api = stage.api.id
        return replace(resource, physical_id=identity)

    # ---- requests

    def region_of(self, target: str) -> str | None:
        """Tell where the address of a custom domain is; None if it is none."""
        regions = (d.region for d in self._domains.values() if d.target == target)
        return next(regions, None)

    def serve(self, target: str, request: HttpRequest) -> HttpResponse:
        """Serve a request at the address of a custom domain; runs in a task.

        The address only leads to a region: there the request's host decides.

        Raises:
            UnknownDomainError: The host is no domain of that region.
            UnreachableError: The client gets no answer.
        """
        region = self.region_of(target)
        host = (request.header("Host") or "").partition(":")[0].lower()
        if region is None:
            raise UnknownDomainError(f"there is nothing at {target}")
        if self.connection(region) is None:
            raise UnreachableError(region, connected=False)
        domain = self._domains.get((region, host))
        if domain is None:
            raise UnknownDomainError(f"{region} has no certificate for {host!r}")
        if not domain.api:
            return HttpResponse(
                status=403,
                headers=[("Content-Type", "application/json")],
                body=b'{"message":"Forbidden"}',
            )
        return self.handle(region, request, api=domain.api)

    def regions(self) -> list[str]:
        """List the regions that have a stage, in the order in which they were deployed."""
        return list(dict.fromkeys(region for region, _ in self._stages))

    def handle(self, region: str, request: HttpRequest, *, api: str | None = None) -> HttpResponse:
        """Serve one request; runs in a task, because functions take time.

        Args:
            region: Where.
            request: The request.
            api: Id of the REST API, needed where a region has several.

        Raises:
            LookupError: The region has no such stage, or has several.
            UnreachableError: The client gets no answer.
        """
        connection = self.connection(region)
        if connection is None:
            raise UnreachableError(region, connected=False)
        response = self._handle(region, request, api)
        if self.connection(region) != connection:
            raise UnreachableError(region, connected=True)
        return response

    def _handle(self, region: str, request: HttpRequest, api: str | None) -> HttpResponse:
        stages = [s for (at, id_), s in self._stages.items() if at == region and api in (None, id_)]
        if len(stages) != 1:
            raise LookupError(f"{region} has {len(stages)} API stages; name one of its APIs")
        stage, began_s = stages[0], self._scheduler.now()
        known = _context(stage, request, _uuid(self._scheduler), began_s)
        self.requests[region] += 1
        try:
            response = self._serve(stage, request, known)
        except _RefusalError as refusal:
            response = _refused(stage.api, refusal, known)
        known["status"] = str(response.status)
        known["responseLength"] = str(len(response.body))
        known["responseLatency"] = str(round((self._scheduler.now() - began_s) * 1000))
        if stage.log_format:
            line = _filled(stage.log_format, known, missing="-")
            self.logs.append(line)
            self.log_bytes[region] += len(line)
        return response

    def _serve(self, stage: _Stage, request: HttpRequest, known: dict[str, str]) -> HttpResponse:
        if len(request.body) > BODY_BYTES_MAX:
            raise _RefusalError("REQUEST_TOO_LARGE")
        method, parameters = _route(stage.api, request)
        known["resourcePath"] = method.template
        self._throttle(stage)
        identity = self._authorize(stage, method, request)
        known.update({f"authorizer.{name}": str(value) for name, value in (identity or {}).items()})
        _validate(stage.api, method, request)
        event = _event(stage, method, request, known, parameters, identity)
        began_s = self._scheduler.now()
        answer = self._invoke(method.function, event, timeout_s=method.timeout_s)
        known["integrationLatency"] = str(round((self._scheduler.now() - began_s) * 1000))
        return _mapped(stage.api, request, known["requestId"], answer)

    def _throttle(self, stage: _Stage) -> None:
        """Take a token from the stage's bucket."""
        now_s = self._scheduler.now()
        refilled = stage.tokens + (now_s - stage.filled_s) * stage.rate_per_s
        stage.tokens, stage.filled_s = min(stage.burst, refilled), now_s
        if stage.tokens < 1:
            raise _RefusalError("THROTTLED")
        stage.tokens -= 1

    def _authorize(
        self, stage: _Stage, method: _Method, request: HttpRequest
    ) -> Mapping[str, Any] | None:
        """Ask the method's authorizer, or its cached policy, and evaluate what it says."""
        if method.properties.get("AuthorizationType", "NONE") == "NONE":
            return None
        authorizer_id = method.properties["AuthorizerId"]
        authorizer = stage.api.authorizers[authorizer_id]
        header = str(authorizer["IdentitySource"]).rpartition(".")[2]
        token = request.header(header)
        pattern = authorizer.get("IdentityValidationExpression")
        if not token or (pattern and not re.fullmatch(pattern, token)):
            raise _RefusalError("UNAUTHORIZED")
        arn = (
            f"arn:aws:execute-api:{stage.api.region}:{stage.api.account}:{stage.api.id}/"
            f"{stage.name}/{request.method}{request.path}"
        )
        key = (authorizer_id, token)
        until_s, policy = stage.policies.get(key, (0.0, {}))
        if until_s <= self._scheduler.now():
            policy = self._ask_authorizer(authorizer, token, arn)
            ttl_s = authorizer.get("AuthorizerResultTtlInSeconds", AUTHORIZER_TTL_SECONDS_DEFAULT)
            stage.policies[key] = (self._scheduler.now() + ttl_s, policy)
            if len(stage.policies) > CACHED_POLICIES_MAX:
                del stage.policies[next(iter(stage.policies))]
        if not _allows(policy["policyDocument"], arn):
            raise _RefusalError("ACCESS_DENIED")
        context = {name: _text(value) for name, value in (policy.get("context") or {}).items()}
        return {**context, "principalId": policy["principalId"], "integrationLatency": 0}

    def _ask_authorizer(
        self, authorizer: Mapping[str, Any], token: str, arn: str
    ) -> Mapping[str, Any]:
        target = _FUNCTION.search(str(authorizer["AuthorizerUri"]))
        if target is None:
            raise _RefusalError("AUTHORIZER_CONFIGURATION_ERROR")
        event = {"type": "TOKEN", "authorizationToken": token, "methodArn": arn}
        try:
            policy = self._invoke((target[1], target[2]), event, timeout_s=TIMEOUT_SECONDS_MAX)
        except _FunctionError as error:
            kind = "UNAUTHORIZED" if error.error == "Unauthorized" else "AUTHORIZER_FAILURE"
            raise _RefusalError(kind) from None
        except _RefusalError:
            raise _RefusalError("AUTHORIZER_FAILURE") from None
        if not _is_policy(policy):
            raise _RefusalError("AUTHORIZER_CONFIGURATION_ERROR")
        return cast("Mapping[str, Any]", policy)

    def _invoke(self, function: tuple[str, str], event: Any, *, timeout_s: float) -> Any:
        """Invoke a function synchronously and wait, no longer than the integration may take."""
        try:
            # Like API Gateway, and unlike json's default, without escapes that grow the event.
            task = self._functions.invoke(*function, json.dumps(event, ensure_ascii=False))
            answer = self._scheduler.wait(task, timeout_s)
        except TimeoutError:
            raise _RefusalError("INTEGRATION_TIMEOUT") from None
        except RequestTooLargeError:
            raise _RefusalError("REQUEST_TOO_LARGE") from None
        except (RegionDownError, ThrottledError, UnknownFunctionError):
            raise _RefusalError("LAMBDA_REFUSED") from None
        if answer.error:
            raise _FunctionError(str(answer.json().get("errorMessage")))
        return answer.json()


class _FunctionError(_RefusalError):
    """A function ended with an error."""

    def __init__(self, error: str) -> None:
        super().__init__("LAMBDA_ERROR")
        self.error = error


def _route(api: _Api, request: HttpRequest) -> tuple[_Method, dict[str, str]]:
    """Find the method: first the resource of the path, and only then the verb."""
    for first in api.methods:
        parameters = first.match(request.path)
        if parameters is not None:
            here = [method for method in api.methods if method.template == first.template]
            for verb in (request.method, "ANY"):
                for method in here:
                    if method.verb == verb:
                        return method, parameters
            break
    # A REST API answers 403 where a reader expects 404 or 405 (developer guide, "Gateway response
    # types": MISSING_AUTHENTICATION_TOKEN covers "an unsupported API method or resource").
    raise _RefusalError("MISSING_AUTHENTICATION_TOKEN")


def _validate(api: _Api, method: _Method, request: HttpRequest) -> None:
    validator = api.validators.get(method.properties.get("RequestValidatorId", ""), {})
    if validator.get("ValidateRequestParameters"):
        missing = [
            place.rpartition(".")[2]
            for place, required in (method.properties.get("RequestParameters") or {}).items()
            if required and not _present(place, request)
        ]
        if missing:
            names = f"[{', '.join(missing)}]"
            raise _RefusalError(
                "BAD_REQUEST_PARAMETERS",
                message=f"Missing required request parameters: {names}",
                detail=names,
            )
    models = method.properties.get("RequestModels") or {}
    content_type = (request.header("Content-Type") or "application/json").partition(";")[0].strip()
    name = models.get(content_type, models.get("$default"))
    if not validator.get("ValidateRequestBody") or name is None:
        return
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError):
        raise _RefusalError("BAD_REQUEST_BODY", detail="[the body is not JSON]") from None
    problems = [_problem(error) for error in api.models[name].iter_errors(document)]
    if problems:
        raise _RefusalError("BAD_REQUEST_BODY", detail=f"[{', '.join(problems)}]")


def _present(place: str, request: HttpRequest) -> bool:
    _, _, kind, name = place.split(".", 3)
    if kind == "header":
        return bool(request.header(name))
    if kind == "querystring":
        return any(key == name and value for key, value in parse_qsl(request.query))
    return True


def _problem(error: Any) -> str:
    """Word a schema error as API Gateway's validator does, quotation marks included."""
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"object has missing required properties ({json.dumps(missing)})"
    if error.validator == "type":
        allowed = json.dumps([error.validator_value])
        return f"instance type does not match any allowed primitive type (allowed: {allowed})"
    return f"{error.validator} does not match"


def _allows(document: Mapping[str, Any], arn: str) -> bool:
    """Evaluate an IAM policy: a deny wins, and nothing said is a deny."""
    statements = document["Statement"]
    allowed = False
    for statement in [statements] if isinstance(statements, dict) else statements:
        if "Condition" in statement:
            raise _RefusalError("AUTHORIZER_CONFIGURATION_ERROR")
        if not _any_matches(statement.get("Action"), "execute-api:Invoke"):
            continue
        if _any_matches(statement.get("Resource"), arn):
            if statement["Effect"] == "Deny":
                raise _RefusalError(
                    "ACCESS_DENIED",
                    message=f"{RESPONSES['ACCESS_DENIED'][1]} with an explicit deny",
                )
            allowed = True
    return allowed


def _any_matches(patterns: Any, value: str) -> bool:
    listed: Iterable[str] = [patterns] if isinstance(patterns, str) else patterns or ()
    # A bracket means itself in IAM, and a set of characters in fnmatch.
    return any(re.match(translate(p.replace("[", "[[]")), value) for p in listed)


def _is_policy(answer: Any) -> bool:
    if not isinstance(answer, dict) or not isinstance(answer.get("principalId"), str):
        return False
    document, context = answer.get("policyDocument"), answer.get("context") or {}
    return (
        isinstance(document, dict)
        and isinstance(document.get("Statement"), list | dict)
        and isinstance(context, dict)
        and all(isinstance(value, str | int | float) for value in context.values())
    )


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _multi(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    gathered: dict[str, list[str]] = {}
    for name, value in pairs:
        gathered.setdefault(name, []).append(value)
    return gathered


def _is_binary(api: _Api, content_type: str | None) -> bool:
    types = api.properties.get("BinaryMediaTypes") or ()
    return "*/*" in types or (content_type or "").partition(";")[0].strip() in types


def _context(stage: _Stage, request: HttpRequest, request_id: str, now_s: float) -> dict[str, str]:
    """Name what every request has, as `$context` variables of templates and access logs."""
    host = request.header("Host") or f"{stage.api.id}.execute-api.{stage.api.region}.amazonaws.com"
    return {
        "accountId": stage.api.account,
        "apiId": stage.api.id,
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "extendedRequestId": request_id,
        "httpMethod": request.method,
        "identity.sourceIp": request.source_ip,
        # With a base in front, the path is what the client asked for, as with a custom domain.
        "path": f"{request.base}{request.path}",
        "protocol": "HTTP/1.1",
        "requestId": request_id,
        "requestTime": datetime.fromtimestamp(now_s, tz=UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "requestTimeEpoch": str(int(now_s * 1000)),
        "stage": stage.name,
    }


def _filled(template: str, known: Mapping[str, str], *, missing: str) -> str:
    return re.sub(
        r"\$context\.(\w+(?:\.\w+)*)", lambda found: known.get(found[1], missing), template
    )


def _event(
    stage: _Stage,
    method: _Method,
    request: HttpRequest,
    known: Mapping[str, str],
    parameters: Mapping[str, str],
    identity: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Write the event of a Lambda proxy integration (payload format 1.0)."""
    headers = _multi(
        (*request.headers, ("X-Forwarded-For", request.source_ip), ("X-Forwarded-Proto", "https"))
    )
    query = _multi(parse_qsl(request.query, keep_blank_values=True))
    encoded = _is_binary(stage.api, request.header("Content-Type"))
    body = base64.b64encode(request.body) if encoded else request.body
    context: dict[str, Any] = {
        **{name: value for name, value in known.items() if "." not in name},
        "identity": {"sourceIp": request.source_ip, "userAgent": request.header("User-Agent")},
        "requestTimeEpoch": int(known["requestTimeEpoch"]),
        "resourceId": method.resource_id,
    }
    if identity is not None:
        context["authorizer"] = dict(identity)
    return {
        "resource": method.template,
        "path": request.path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {k: v[-1] for k, v in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": dict(parameters) or None,
        "stageVariables": dict(stage.variables) if stage.variables else None,
        "requestContext": context,
        "body": body.decode(errors="replace") or None,
        "isBase64Encoded": encoded and bool(request.body),
    }


def _mapped(api: _Api, request: HttpRequest, request_id: str, answer: Any) -> HttpResponse:
    """Turn a function's answer into the response.

    Raises:
        _RefusalError: It is not an answer of a proxy integration.
    """
    try:
        status = int(answer["statusCode"])
        body = "" if answer.get("body") is None else answer["body"]
        headers = [
            (str(name), _text(value))
            for name, value in (answer.get("headers") or {}).items()
            if name not in (answer.get("multiValueHeaders") or {})
        ]
        for name, values in (answer.get("multiValueHeaders") or {}).items():
            headers += [(str(name), _text(value)) for value in values]
        # Decoded only for a client that accepts a binary type of the API.
        decoded = answer.get("isBase64Encoded") and _is_binary(api, request.header("Accept"))
        content = base64.b64decode(body) if decoded else body.encode()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _RefusalError("LAMBDA_ERROR") from None
    headers = [(f"x-amzn-Remapped-{n}" if n.lower() in REMAPPED else n, v) for n, v in headers]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return HttpResponse(
        status=status, headers=[*headers, ("x-amzn-RequestId", request_id)], body=content
    )


def _refused(api: _Api, refusal: _RefusalError, known: dict[str, str]) -> HttpResponse:
    """Write API Gateway's own answer, by the API's gateway response where it has one."""
    default = "DEFAULT_4XX" if refusal.status < 500 else "DEFAULT_5XX"  # noqa: PLR2004 HTTP's own
    custom = api.responses.get(refusal.kind) or api.responses.get(default) or {}
    known["error.message"] = refusal.message
    known["error.messageString"] = json.dumps(refusal.message)
    known["error.responseType"] = default if refusal.kind in UNTYPED else refusal.kind
    known["error.validationErrorString"] = refusal.detail
    templates = custom.get("ResponseTemplates") or {
        "application/json": '{"message":$context.error.messageString}'
    }
    content_type, template = next(iter(templates.items()))
    headers = [("Content-Type", content_type), ("x-amzn-RequestId", known["requestId"])]
    for place, value in (custom.get("ResponseParameters") or {}).items():
        headers.append((place.removeprefix("gatewayresponse.header."), value.strip("'")))
    return HttpResponse(
        status=int(custom.get("StatusCode") or refusal.status),
        headers=headers,
        body=_filled(template, known, missing="").encode(),
    )


def _uuid(scheduler: Scheduler) -> str:
    bits = f"{scheduler.random.getrandbits(128):032x}"
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"
