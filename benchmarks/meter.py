"""Reads a twin's call log as AWS would bill it: every call becomes amounts by meter."""

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType

from benchmarks.units import (
    LOG_EVENT_BYTES,
    Index,
    Item,
    gb_seconds,
    item_bytes,
    read_units,
    requests,
    write_units,
)
from config.schema import Deployment
from lambdas import wiring
from lambdas.domain.names import FUNCTIONS
from spillway.twin.calls import Call, Hook
from spillway.twin.functions import Report
from spillway.twin.twin import Twin

BACKGROUND = ("beat", "sweep", "batches", "release")
"""Functions that run without jobs too."""

SOCKET_CPU_S = 0.0005
"""Assumed: processor time of sending one request over TLS; in the twin there is no network."""

INDEXES = (
    Index(
        keys=("live", "created_ms"),
        attributes=("pk", "live", "created_ms", "tenant", "tier", "deadline_ms"),
    ),
    Index(keys=("tenant_day", "created_ms"), attributes=("pk", "tenant_day", "created_ms")),
)
"""The ledger's indexes, as stacks/data_stack.py defines them."""

_OUTSIDE_S: ContextVar[list[float]] = ContextVar("outside_s")


def signing_cpu_s(times: int = 200) -> float:
    """Processor seconds of signing one request, which the twin leaves out: measured here."""
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "dynamodb", "us-east-1")
    url, body = "https://dynamodb.us-east-1.amazonaws.com/", b"x" * 800
    began = time.thread_time()
    for _ in range(times):
        signer.add_auth(AWSRequest("POST", url, {"X-Amz-Target": "DynamoDB"}, body))
    return (time.thread_time() - began) / times


@contextmanager
def processor_time() -> Iterator[dict[str, list[float]]]:
    """Time every execution of a function without what AWS, here moto, takes.

    Yields:
        Processor seconds of the executions so far, by function.
    """
    taken: defaultdict[str, list[float]] = defaultdict(list)
    environment, send = wiring.Function.environment, Hook.send

    def timed_environment(
        self: Any, *, environ: Mapping[str, str], sleep: Callable[[float], None], **others: Any
    ) -> Any:
        def timed_sleep(seconds: float) -> None:
            with _elsewhere():
                sleep(seconds)

        handler = environment(self, environ=environ, sleep=timed_sleep, **others)
        function = environ["AWS_LAMBDA_FUNCTION_NAME"]

        def timed(event: Any, context: Any) -> Any:
            outside: list[float] = []
            token, began = _OUTSIDE_S.set(outside), time.thread_time()
            try:
                return handler(event, context)
            finally:
                taken[function].append(time.thread_time() - began - sum(outside))
                _OUTSIDE_S.reset(token)

        return timed

    def timed_send(self: Hook, *args: Any) -> Any:
        with _elsewhere():
            return send(self, *args)

    with ExitStack() as stack:
        stack.enter_context(patch.object(wiring.Function, "environment", timed_environment))
        stack.enter_context(patch.object(Hook, "send", timed_send))
        gc.callbacks.append(_collected)
        stack.callback(gc.callbacks.remove, _collected)
        yield taken


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Time what is not an execution's own work: AWS, here moto, and other tasks meanwhile."""
    outside = _OUTSIDE_S.get(None)
    if outside is None:
        yield
        return
    token, began = _OUTSIDE_S.set([]), time.thread_time()
    try:
        yield
    finally:
        outside.append(time.thread_time() - began)
        _OUTSIDE_S.reset(token)


def _collected(phase: str, _info: Mapping[str, int]) -> None:
    """Take out what collecting garbage costs: the heap is moto's, and its size."""
    outside = _OUTSIDE_S.get(None)
    if outside is not None:
        # A start is taken out, and its end put in again: what remains is the time between.
        outside.append(time.thread_time() * (-1 if phase == "start" else 1))


class Meter:
    """Counts what a deployment that runs on a twin is billed, from now on.

    Args:
        twin: Deployed.
        deployment: What it runs.
        cpu_s: Processor seconds by function, of `processor_time`.

    Attributes:
        amounts: By (part, meter); the part is `job`, or `region` and `model` for what beat and
            sweep do.
        calls: By (function, service and operation).
    """

    def __init__(
        self, twin: Twin, deployment: Deployment, cpu_s: Mapping[str, list[float]]
    ) -> None:
        self.amounts: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()
        self._twin, self._names = twin, deployment.names
        self._cpu_s = cpu_s
        self._signing_s = signing_cpu_s()
        self._sizes: dict[tuple[str, str, str], Item] = {}
        self._made: Counter[str] = Counter()
        self._reports: list[Report] = []
        self._functions = {self._names.function(name): name for name in FUNCTIONS}
        self._tables = {
            self._names.ledger: "ledger",
            self._names.directory: "directory",
            self._names.gate: "gate",
        }
        self._remember()
        self._began_s = twin.scheduler.now()
        self._requests = Counter(twin.gateway.requests)
        self._access_bytes = twin.gateway.log_bytes.total()
        twin.hook.log.observers.append(self._call)
        twin.functions.observers.append(self._reports.append)

    def stop(self) -> None:
        """Count no more, and add what is known only at the end."""
        self._twin.hook.log.observers.remove(self._call)
        self._twin.functions.observers.remove(self._reports.append)
        for report in self._reports:
            self._execution(report)
        for line in self._twin.functions.logs:
            if line.at_s >= self._began_s and line.function in self._functions:
                part = self._part_of(self._functions[line.function])
                self._add(part, "logs.byte", len(line.text.encode()) + 1 + LOG_EVENT_BYTES)
        http = (Counter(self._twin.gateway.requests) - self._requests).total()
        if http:
            access = self._twin.gateway.log_bytes.total() - self._access_bytes
            self._add("job", "logs.byte", access + http * LOG_EVENT_BYTES)
            self._add("job", "api_gateway.request", http)
            self._add("job", "waf.request", http)

    def of(self, part: str) -> dict[str, float]:
        """The amounts of a part, by meter."""
        return {meter: amount for (p, meter), amount in sorted(self.amounts.items()) if p == part}

    # -- one call ----------------------------------------------------------------------------

    def _call(self, call: Call) -> None:
        function = self._function(call)
        if not function or not call.status:
            return
        self.calls[function, f"{call.service} {call.operation}"] += 1
        self._made[call.execution] += 1
        part = self._part(call, function)
        count: Callable[[Call, str], None] | None = getattr(self, f"_{call.service}", None)
        if count is not None:
            count(call, part)
        elif call.service == "sagemaker-runtime" and not call.error:
            # For each invocation SageMaker writes one answer and publishes one notice, which
            # SNS delivers free of its own charge, and SQS bills as a message that was sent.
            self._add(part, "s3.put", 1)
            self._add(part, "sns.publish", 1)
            self._add(part, "sqs.request", 1)
            self.calls["SageMaker", "s3 PutObject"] += 1
            self.calls["SageMaker", "sns Publish"] += 1
            self.calls["SNS", "sqs SendMessage"] += 1

    def _dynamodb(self, call: Call, part: str) -> None:
        params = call.params
        if call.operation == "BatchGetItem":
            for name, request in params["RequestItems"].items():
                for key in request["Keys"]:
                    size = item_bytes(self._item(call.region, name, key) or {})
                    units = read_units(size, consistent=bool(request.get("ConsistentRead")))
                    self._add(part, f"{self._tables[name]}.read_unit", units)
            return
        table = self._tables[params["TableName"]]
        consistent = bool(params.get("ConsistentRead"))
        if call.operation in ("Query", "Scan"):
            # The answer as text is longer than what is billed: an upper bound, and a small one.
            units = read_units(call.response_bytes, consistent=consistent)
            self._add(part, f"{table}.read_unit", units)
        elif call.operation == "GetItem":
            item = self._item(call.region, params["TableName"], params["Key"]) or {}
            units = read_units(item_bytes(item), consistent=consistent)
            self._add(part, f"{table}.read_unit", units)
        else:
            self._write(call, table, part)

    def _write(self, call: Call, table: str, part: str) -> None:
        """A write costs the larger of the item before and after, also when it is refused."""
        key = call.params.get("Key") or {"pk": call.params["Item"]["pk"]}
        place = ("" if table == "ledger" else call.region, table, key["pk"]["S"])
        before = self._sizes.get(place, {})
        after = self._item(call.region, call.params["TableName"], key) or {}
        self._sizes[place] = after
        larger = max(item_bytes(before), item_bytes(after))
        self._add(part, f"{table}.write_unit", write_units(larger))
        if table == "ledger" and not call.error:
            index_units = sum(index.write_units(before, after) for index in INDEXES)
            self._add(part, "ledger.index_write_unit", index_units)
            self._add(part, "ledger.replicated_byte", item_bytes(after))

    def _sqs(self, call: Call, part: str) -> None:
        billed = requests(max(call.request_bytes, call.response_bytes))
        if call.operation == "GetQueueAttributes":
            billed = 1
        self._add(part, "sqs.request", billed)
        queue = str(call.params.get("QueueUrl", "")).rpartition("/")[2]
        carries = call.operation != "ReceiveMessage" or call.response_bytes > 100
        if self._model_of_queue(queue) and carries and call.operation != "GetQueueAttributes":
            self._add(part, "sqs.fair_request", billed)

    def _s3(self, call: Call, part: str) -> None:
        if call.operation in ("PutObject", "CopyObject", "ListObjectsV2"):
            self._add(part, "s3.put", 1)
        elif call.operation in ("GetObject", "HeadObject"):
            self._add(part, "s3.get", 1)

    def _cloudwatch(self, call: Call, part: str) -> None:
        self._add(part, "cloudwatch.put_metric_data", 1)

    # -- one execution -----------------------------------------------------------------------

    def _execution(self, report: Report) -> None:
        function = self._functions[report.function]
        part = self._part_of(function)
        runs = self._cpu_s.get(report.function) or [0.0]
        cpu_s = sum(runs) / len(runs)
        cpu_s += self._made[report.execution] * (self._signing_s + SOCKET_CPU_S)
        billed = gb_seconds(
            memory_mb=report.memory_mb,
            waiting_s=report.duration_s,
            cpu_s=cpu_s,
        )
        self._add(part, "lambda.request", 1)
        self._add(part, "lambda.gb_s", billed)
        self.calls[function, "lambda execution"] += 1

    # -- what belongs where ------------------------------------------------------------------

    def _add(self, part: str, meter: str, amount: float) -> None:
        self.amounts[part, meter] += amount  # type: ignore[assignment]

    def _function(self, call: Call) -> str:
        return self._functions.get(call.function.removeprefix("event source of "), "")

    def _part_of(self, function: str) -> str:
        return "region" if function in BACKGROUND else "job"

    def _part(self, call: Call, function: str) -> str:
        """Whether a call is a job's, or of the background of a region or of a model in it."""
        if function not in BACKGROUND:
            return "job"
        params = call.params
        of_model = (
            call.service == "sagemaker"
            or str(params.get("Key", {}).get("pk", {}).get("S", "")).startswith("model#")
            or params.get("IndexName") == "live"
            or bool(self._model_of_queue(str(params.get("QueueUrl", "")).rpartition("/")[2]))
        )
        return "model" if of_model else "region"

    def _model_of_queue(self, queue: str) -> bool:
        names = self._names
        ours = (names.results, names.webhooks, names.deliveries, names.beats)
        return queue.startswith(names.deployment) and not queue.startswith(ours)

    def _item(self, region: str, table: str, key: Mapping[str, Any]) -> Item | None:
        found = dynamodb_backends[self._twin.account][region].tables[table]
        item = found.get_item(DynamoType(key["pk"]))
        return None if item is None else plain(item)

    def _remember(self) -> None:
        for region in self._twin.regions:
            for name, table in self._tables.items():
                stored = dynamodb_backends[self._twin.account][region].tables[name]
                for item in stored.all_items():
                    known = plain(item)
                    place = ("" if table == "ledger" else region, table, known["pk"]["S"])
                    self._sizes[place] = known


def plain(item: Any) -> dict[str, Any]:
    """An item of moto's as the API writes it."""
    attributes: dict[str, Any] = item.to_json()["Attributes"]
    return attributes
