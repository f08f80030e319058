"""Regions of a deployment without their twin: the real handlers and adapters against moto.

Only Lambda is stood in for, because moto runs functions in Docker: a bell is written down, and a
wait is answered by the real wait function. Time moves when a function sleeps.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import boto3
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.sqs.models import sqs_backends
from time_machine import Traveller

from config.schema import Deployment, load
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger
from lambdas.domain import payloads
from lambdas.domain.job import Job
from lambdas.domain.policy import Policy
from lambdas.handlers import authorize, submit, wait
from lambdas.wiring import Execution, Handler

CONFIG = Path(__file__).resolve().parents[2] / "config" / "dev.yaml"
START_S = 1_700_000_000
"""2023-11-14 22:13:20 UTC."""
LEASE = {"epoch": 1, "state": "serving", "until_ms": 10**15}
HERE, NEXT, THIRD = "us-east-1", "us-east-2", "us-west-2"
MODEL = "embedder"


@cache
def _deployment() -> Deployment:
    return load(CONFIG)


@cache
def _client(service: str, region: str, config: Any) -> Any:
    make: Any = boto3.Session().client  # by names that are known when it runs
    return make(
        service,
        region_name=region,
        config=config,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def aws(service: str, region: str = HERE, config: Any = None) -> Any:
    """A client of moto; making them takes longer than most tests."""
    return _client(service, region, config)


@dataclass(frozen=True)
class Reply:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)

    @property
    def error(self) -> Any:
        """What the body says is wrong; its shape is the same everywhere."""
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"message", "type", "code", "param"}
        return self.json["error"]


@dataclass
class Lambda:
    """Stands in for the Lambda service: `full` of clients that wait, or in the open places only."""

    region: "Region"
    bells: list[dict[str, Any]] = field(default_factory=list)
    waits: int = 0
    full: bool = False
    crowded: bool = False
    silent: bool = False
    broken: bool = False
    meta: Any = field(default_factory=lambda: Mock(spec_set=["events"]), repr=False)

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> Any:  # noqa: N803
        """Take an invocation."""
        event = json.loads(Payload)
        self.region.happens("Invoke", event)
        if self.silent:
            raise error("ServiceException", "Invoke")
        if InvocationType == "Event":
            self.bells.append({"function": FunctionName, **event})
            return {"StatusCode": 202}
        self.waits += 1
        if self.full or (self.crowded and FunctionName.endswith("-wait")):
            raise error("TooManyRequestsException", "Invoke")
        if self.broken:
            return {"StatusCode": 200, "FunctionError": "Unhandled"}
        self.region.environment(wait.handle)(event, None)
        return {"StatusCode": 200}


def error(code: str, operation: str) -> ClientError:
    """What a service answers when it refuses."""
    return ClientError({"Error": {"Code": code, "Message": "private message"}}, operation)


class DiedError(BaseException):
    """The function's process ended."""


@dataclass
class Region:
    """One region's functions, and everything of AWS that they touch.

    Attributes:
        clock: Time, which stands still unless somebody sleeps.
        tmp_path: Where the asset lies.
        region: Which one.
        calls: Every AWS call: its operation and its parameters.
        faults: Operation by the number of its call, or operation alone, to what it does instead.
        index_lag_s: So long an index of the ledger does not tell of an item that is new.
    """

    clock: Traveller
    tmp_path: Path
    region: str = HERE
    calls: list[tuple[str, Any]] = field(default_factory=list)
    faults: dict[str, Callable[[], None]] = field(default_factory=dict)
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    index_lag_s: float = 0
    now_s: float = START_S

    def __post_init__(self) -> None:
        deployment = _deployment()
        self.policy: Policy = deployment.policy()
        self.names = deployment.names
        self.lambda_ = Lambda(self)
        self.configure()
        self._handlers: dict[str, Handler] = {}

    def configure(self, **changes: Any) -> None:
        """Write the policy that new environments read; changes are of the embedder."""
        document = self.policy.to_json()
        document["models"][MODEL] |= changes
        self.write(Policy.from_json(document))

    def write(self, policy: Policy) -> None:
        """Write the policy that new environments read."""
        folder = self.tmp_path / "lambdas"
        folder.mkdir(exist_ok=True)
        (folder / "policy.json").write_text(json.dumps(policy.to_json()))
        self.policy = policy
        self._handlers = {}

    # ---- the deployment

    def create(self) -> None:
        """Create what the stacks would."""
        dynamodb = aws("dynamodb")
        for table in (self.names.directory, self.names.gate):
            _table(dynamodb, table)
        _table(dynamodb, self.names.ledger, live="live", listing="tenant_day")
        for region in self.policy.regions:
            for bucket in (self.names.bucket(region), self.names.replica_bucket(region)):
                # Not by calls: they would take longer than most of the tests.
                s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(bucket, region)
            sqs = sqs_backends[DEFAULT_ACCOUNT_ID][region]
            for tier in self.policy.tiers:
                sqs.create_queue(self.names.tier_queue(MODEL, tier.name))
            sqs.create_queue(self.names.webhooks)
            sqs.create_queue(self.names.deliveries)

        # Its beat took a lease that outlasts any test, and has seen nothing else yet.
        self._write_snapshot(self.names.gate, "snapshot", {"lease": LEASE})

    def create_dead_letters(self) -> None:
        """Create what sweep looks into first."""
        for tier in self.policy.tiers:
            aws("sqs", self.region).create_queue(
                QueueName=self.names.tier_dead_letters(MODEL, tier.name)
            )

    def elsewhere(self, region: str) -> "Region":
        """The same deployment, seen from another region."""
        return Region(self.clock, self.tmp_path, region=region, now_s=self.now_s)

    # ---- execution environments

    def environment(self, function: Any) -> Handler:
        """A fresh execution environment of a function."""
        handler: Handler = function.environment(
            environ=self._environ(), session=self, sleep=self.sleep
        )
        return handler

    def execution(self) -> Execution:
        """What a fresh environment is wired from."""
        return Execution(environ=self._environ(), session=self, sleep=self.sleep)

    def _environ(self) -> dict[str, str]:
        return {"AWS_REGION": self.region, "LAMBDA_TASK_ROOT": str(self.tmp_path)}

    def client(self, service: str, *, region_name: str, config: Any) -> Any:
        """What a function gets for `boto3.Session.client`."""
        if service == "lambda":
            return self.lambda_
        # A global table is one table here; the gate's regions are told apart nowhere.
        region = HERE if service == "dynamodb" else region_name
        return _Watched(aws(service, region, config), self)

    def happens(self, operation: str, params: Any) -> None:
        """Note a call, and let its fault strike."""
        self.calls.append((operation, params))
        number = sum(1 for called, _ in self.calls if called == operation)
        for name in (f"{operation}#{number}", operation):
            if name in self.faults:
                self.faults[name]()

    def operations(self) -> list[str]:
        """The calls so far, by operation."""
        return [operation for operation, _ in self.calls]

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what was to happen meanwhile happen."""
        until_s = self.now_s + seconds
        for at_s, happening in sorted(self.later, key=lambda each: each[0]):
            if at_s <= until_s:
                self._move_to(at_s)
                happening()
        self.later = [each for each in self.later if each[0] > until_s]
        self._move_to(until_s)

    def _move_to(self, when_s: float) -> None:
        self.now_s = when_s
        self.clock.move_to(when_s)

    def after(self, seconds: float, happening: Callable[[], Any]) -> None:
        """Have something happen while a function sleeps."""
        self.later.append((self.now_s + seconds, happening))

    # ---- the API

    def ask(
        self,
        route: str,
        *,
        job: str = "",
        body: Any = None,
        raw: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        tenant: str | None = "acme",
        models: str = "*",
        tiers: str = "*",
        rate: float = 9,
        in_flight: int = 100,
        found: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask the API; `route` is method and resource, like `GET /v1/jobs/{id}`.

        `found` is what else the authorizer found of the key.
        """
        method, _, resource = route.partition(" ")
        path = resource.replace("{id}", job)
        caller = {
            "tenant": tenant,
            "key": "0123456789ab",
            "models": models,
            "tiers": tiers,
            "rate": str(rate),
            "in_flight": str(in_flight),
            **(found or {}),
        }
        lines = {"X-Amzn-Trace-Id": "Root=1-a-b", **(headers or {})}
        event = {
            "httpMethod": method,
            "resource": resource,
            "path": path,
            "headers": lines,
            "multiValueHeaders": {name: [value] for name, value in lines.items()},
            "queryStringParameters": dict(query) if query else None,
            "pathParameters": {"id": job} if job else None,
            "requestContext": {
                "path": f"/api{path}",
                "requestId": "r-1",
                "requestTimeEpoch": int(1000 * self.now_s),
                **({"authorizer": caller} if tenant else {}),
            },
            "body": raw if raw is not None else body and json.dumps(body),
            "isBase64Encoded": False,
        }
        if isinstance(raw, bytes):  # as API Gateway does for binary types
            event |= {"body": base64.b64encode(raw).decode(), "isBase64Encoded": True}
        answer = self.handler(submit)(event, None)
        assert answer["headers"]["Content-Type"] == content_type
        return Reply(answer["statusCode"], answer["headers"], answer["body"])

    def handler(self, module: Any) -> Handler:
        """A warm environment of a function."""
        name = module.__name__
        if name not in self._handlers:
            self._handlers[name] = self.environment(module.handle)
        return self._handlers[name]

    def forget_environments(self) -> None:
        """Let the next events start cold."""
        self._handlers = {}

    def authorize(self, header: str) -> Any:
        """Ask the authorizer."""
        arn = f"arn:aws:execute-api:{self.region}:123456789012:abc/api/GET/v1/jobs"
        return self.handler(authorize)({"authorizationToken": header, "methodArn": arn}, None)

    def submit(self, value: Any = "text", *, key: str | None = None, **fields: Any) -> Reply:
        """Submit a job."""
        body = {"model": MODEL, "input": value, **fields}
        return self.ask(
            "POST /v1/jobs", body=body, headers={"Idempotency-Key": key} if key else None
        )

    def submitted(self, value: Any = "text", **fields: Any) -> str:
        """Submit a job that must be accepted; its id."""
        reply = self.submit(value, **fields)
        assert reply.status == 202, reply.text
        return str(reply.json["id"])

    # ---- what the other functions would do, and what they would find

    @property
    def ledger(self) -> Ledger:
        """The ledger, unwatched."""
        return Ledger(aws("dynamodb"), self.names.ledger)

    @property
    def gate(self) -> Gate:
        """The gate, unwatched."""
        return Gate(aws("dynamodb"), self.names.gate)

    def gate_item(self, pk: str) -> Mapping[str, Any]:
        """An item of the gate, as it is stored."""
        key = {"pk": {"S": pk}}
        found: Mapping[str, Any] = aws("dynamodb").get_item(TableName=self.names.gate, Key=key)
        return dict(found.get("Item", {}))

    def job(self, job_id: str) -> Job:
        """A job that must be in the ledger."""
        job = self.ledger.get(job_id)
        assert job is not None
        return job

    def start(self, job_id: str) -> None:
        """Start a job, as dispatch does."""
        outcome = self.ledger.apply(
            self.job(job_id),
            "start",
            now_ms=int(self.now_s * 1000),
            started_ms=int(self.now_s * 1000),
            lease_ms=int(self.now_s * 1000) + 60_000,
            version="v1",
            slot="s.1",
            message="m-1",
        )
        assert outcome.won

    def complete(self, job_id: str, output: Any = None, *, key: str | None = None) -> None:
        """Run a job to its end."""
        self.start(job_id)
        packed = None if key else payloads.pack(json.dumps(output).encode())
        outcome = self.ledger.apply(
            self.job(job_id),
            "complete",
            now_ms=int(self.now_s * 1000),
            finished_ms=int(self.now_s * 1000),
            output=packed,
            output_key=key,
        )
        assert outcome.won

    def see(self, *, region: str | None = None, ready: bool = True, **seen: Any) -> None:
        """Write the snapshot that beat would; `seen` is of the embedder, `models` of others."""
        model: dict[str, Any] = {"capacity": 4, "in_use": 0, "instances": 1, "service_s": 1.0}
        model |= {"waiting": {}, "oldest_s": {}}
        tenants, lease = seen.pop("tenants", {}), seen.pop("lease", LEASE)
        peers, others = seen.pop("peers", {}), seen.pop("models", {})
        document = {
            "at_ms": int(self.now_s * 1000),
            "models": {MODEL: model | seen, **others},
            "tenants": tenants,
            "ready": ready,
            "reason": "" if ready else "the ledger cannot be written",
            "lease": lease,
            "peers": peers,
        }
        table = self.names.gate if region is None else self.names.directory
        self._write_snapshot(
            table, "snapshot" if region is None else f"snapshot#{region}", document
        )
        self.forget_environments()

    def _write_snapshot(self, table: str, pk: str, document: Any) -> None:
        aws("dynamodb").put_item(
            TableName=table, Item={"pk": {"S": pk}, "document": {"S": json.dumps(document)}}
        )

    def messages(self, model: str = MODEL, tier: str = "standard") -> list[Any]:
        """Bodies of all messages of a tier queue; they are hidden afterwards."""
        return self._received(self.names.tier_queue(model, tier))

    def notices(self) -> list[Any]:
        """Bodies of all messages of the webhooks queue; they are hidden afterwards."""
        return self._received(self.names.webhooks)

    def _received(self, queue: str) -> list[Any]:
        found: list[Any] = []
        url = self.names.queue_url(self.region, queue)
        while (
            page := aws("sqs", self.region)
            .receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            .get("Messages")
        ):
            found += [json.loads(message["Body"]) for message in page]
        return found

    def objects(self) -> list[tuple[str, str]]:
        """Region and key of every object in payload and replica buckets."""
        found = []
        for region in self.policy.regions:
            for bucket in (self.names.bucket(region), self.names.replica_bucket(region)):
                listed = aws("s3", region).list_objects_v2(Bucket=bucket).get("Contents", [])
                found += [(bucket, item["Key"]) for item in listed]
        return found

    def put_object(self, region: str, key: str) -> None:
        """Write an object into a payload bucket, as SageMaker does."""
        aws("s3", region).put_object(Bucket=self.names.bucket(region), Key=key, Body=b'"large"')


class _Watched:
    """A client whose calls are noted, and can go wrong."""

    def __init__(self, client: Any, region: Region) -> None:
        self._client = client
        self._region = region

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name in {"exceptions", "meta", "generate_presigned_url"}:
            return attribute

        def call(**params: Any) -> Any:
            operation = re.sub(r"(?:^|_)([a-z])", lambda found: found[1].upper(), name)
            self._region.happens(operation, params)
            reply = attribute(**params)
            if "IndexName" in params and self._region.index_lag_s:
                told_ms = 1000 * (self._region.now_s - self._region.index_lag_s)
                items = reply["Items"]
                reply["Items"] = [each for each in items if int(each["created_ms"]["N"]) < told_ms]
            self._region.happens(f"{operation} done", params)
            return reply

        return call


def _table(dynamodb: Any, table: str, **indexes: str) -> None:
    attributes = {"pk": "S", **dict.fromkeys(indexes.values(), "S")}
    if indexes:
        attributes["created_ms"] = "N"
    options: dict[str, Any] = {}
    if indexes:
        options["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index,
                "KeySchema": [
                    {"AttributeName": attribute, "KeyType": "HASH"},
                    {"AttributeName": "created_ms", "KeyType": "RANGE"},
                ],
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": ["tenant", "tier", "deadline_ms"]
                    if index == "live"
                    else ["request_hash"],
                },
            }
            for index, attribute in indexes.items()
        ]
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in attributes.items()
        ],
        **options,
    )
