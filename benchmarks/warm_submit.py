"""Processor time of submit in a warm environment, against the bare calls that it makes.

One process, real boto3 clients, requests in turn by the hundred. Once moto answers both; once
both get canned answers, so that moto's own time, the same on both sides, hides nothing.
"""

import io
import itertools
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.sqs.models import sqs_backends

from benchmarks.options import Options
from benchmarks.recording import Canned, Recorded, RecordingSession
from benchmarks.report import Figure, Report, Rows, compared, spread
from benchmarks.requests_made import deployment, environment, post
from lambdas.handlers.submit import handle

REQUESTS = 100


def run(options: Options) -> Report:
    """Measure both, with moto and without."""
    report = Report("warm_submit", "Warm submit: processor time per request")
    canned, rows = Canned(), []
    with tempfile.TemporaryDirectory() as folder:
        environ = environment(Path(folder))
        with mock_aws(config={"lambda": {"use_docker": False}}):
            create_resources()
            recorded = record(environ)
            ours, bare = handler(environ, None), calls(recorded, None)
            for client in ours[1] + bare[1]:
                canned.listen(client)
            rows.append(measure("moto answers", ours[0], bare[0], options.runs, empty_queue))
        ours, bare = handler(environ, canned), calls(recorded, canned)
        rows.append(measure("canned answers", ours[0], bare[0], options.runs, lambda: None))
    columns = ("milliseconds a request", "submit", "least", "most", "bare", "least", "most")
    title = f"{options.runs} alternating blocks of {REQUESTS} requests"
    report.tables.append(Rows(title, (*columns, "ratio"), rows))
    floor = f"its {len(recorded.calls)} calls: {', '.join(each[1] for each in recorded.calls)}"
    for row in rows:
        ratio = float(row[-1])
        report.figures.append(
            Figure(what=f"warm submit, {row[0]}", value=ratio, unit="x", target=1.3, floor=floor)
        )
    return report


def record(environ: dict[str, str]) -> Recorded:
    """What one request makes and calls."""
    recorded = Recorded()
    session: Any = RecordingSession(boto3.Session(), recorded)
    with redirect_stdout(io.StringIO()):
        answer = handle.environment(environ=environ, session=session, sleep=time.sleep)(
            post(), None
        )
    assert answer["statusCode"] == 202, answer
    return recorded


def handler(
    environ: dict[str, str], canned: Canned | None
) -> tuple[Callable[[], object], list[Any]]:
    """Submit, and its clients."""
    clients: list[Any] = []

    class Session:
        def client(self, *args: Any, **settings: Any) -> Any:
            client = _session(environ).client(*args, **settings)
            if canned is not None:
                canned.serve(client)
            clients.append(client)
            return client

    ready: Any = handle.environment(environ=environ, session=Session(), sleep=time.sleep)
    event = post()
    return lambda: ready(event, None), clients


def calls(recorded: Recorded, canned: Canned | None) -> tuple[Callable[[], object], list[Any]]:
    """The bare calls, each time of another job, and their clients."""
    clients = []
    for service, region, settings in recorded.clients:
        client = _session({}).client(service, region_name=region, config=Config(**settings))
        if canned is not None:
            canned.serve(client)
        clients.append(client)
    numbers = itertools.count()

    def send() -> None:
        for number, operation, params in recorded.calls:
            if operation == "PutItem":
                item = {**params["Item"], "pk": {"S": f"job#bare{next(numbers)}"}}
                params = {**params, "Item": item}  # noqa: PLW2901
            clients[number]._make_api_call(operation, params)  # noqa: SLF001

    return send, clients


def measure(
    name: str,
    ours: Callable[[], object],
    bare: Callable[[], object],
    runs: int,
    clear: Callable[[], object],
) -> tuple[str, ...]:
    """Blocks of requests in turn, each on a clear table."""
    taken: tuple[list[float], list[float]] = ([], [])
    with redirect_stdout(io.StringIO()):
        for number in range(runs + 1):
            for side, send in enumerate((ours, bare)):
                clear()
                began = time.process_time()
                for _ in range(REQUESTS):
                    send()
                if number:  # The first block fills caches.
                    taken[side].append((time.process_time() - began) / REQUESTS)
    ratio = f"{compared(*taken):.2f}"
    return (name, *spread(taken[0], 1000, 2), *spread(taken[1], 1000, 2), ratio)


def empty_queue() -> None:
    """Clear the queue: moto looks through all messages at every send."""
    sqs_backends[ACCOUNT_ID][deployment().primary_region].reset()
    _session({}).client("sqs", region_name=deployment().primary_region).create_queue(
        QueueName=deployment().names.tier_queue("embedder", "standard")
    )


def _session(environ: dict[str, str]) -> Any:
    return boto3.Session("AKIDEXAMPLE", "example", region_name=deployment().primary_region)


def create_resources() -> None:
    """What submit needs to be there, in moto."""
    names, region = deployment().names, deployment().primary_region
    session = _session({})
    dynamodb = session.client("dynamodb", region_name=region)
    for table in (names.ledger, names.gate, names.directory):
        dynamodb.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    session.client("sqs", region_name=region).create_queue(
        QueueName=names.tier_queue("embedder", "standard")
    )
    role = session.client("iam", region_name=region).create_role(
        RoleName="bench", AssumeRolePolicyDocument="{}"
    )["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("main.py", "def handle(event, context): ...")
    session.client("lambda", region_name=region).create_function(
        FunctionName=names.function("dispatch"),
        Runtime="python3.14",
        Role=role,
        Handler="main.handle",
        Code={"ZipFile": code.getvalue()},
    )
