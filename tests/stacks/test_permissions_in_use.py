"""Every call that the functions make is one that their roles allow.

moto refuses nobody, so a missing right would show on AWS first. Here the deployed functions work
through every kind of job, and each call of the log is held against the role of its caller. A right
that nothing used is on a list with its reason, or is one too many.
"""

import base64
import fnmatch
import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

import lambdas.adapters.webhooks as courier
from lambdas.domain.uploads import PART_BYTES_MIN
from lambdas.domain.webhooks import Answer as Delivered
from spillway.directory import Directory
from spillway.local import directory
from spillway.twin.calls import Call
from spillway.twin.containers import Answer, Simulated
from spillway.twin.twin import Twin
from tests.stacks.assemblies import Assembly, listed, statements

ACTIONS = {
    # Operations that are allowed by an action of another name.
    ("lambda", "Invoke"): "lambda:InvokeFunction",
    ("s3", "CompleteMultipartUpload"): "s3:PutObject",
    ("s3", "CreateMultipartUpload"): "s3:PutObject",
    ("s3", "DeleteObjects"): "s3:DeleteObject",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "ListParts"): "s3:ListMultipartUploadParts",
    ("sagemaker-runtime", "InvokeEndpointAsync"): "sagemaker:InvokeEndpointAsync",
    ("sqs", "DeleteMessageBatch"): "sqs:DeleteMessage",
    ("sqs", "SendMessageBatch"): "sqs:SendMessage",
}
FUNCTIONS = {
    "authorize",
    "submit",
    "wait",
    "linger",
    "dispatch",
    "complete",
    "notify",
    "record",
    "beat",
    "sweep",
    "release",
    "batches",
}
START_S = 1_700_002_800.0 - 240
"""Four minutes before a full hour, at which sweep looks for jobs whose retention is over."""


def addresses(call: Call, account: str) -> list[str]:
    """What a call touches, as a policy would name it."""
    params, here = call.params, f"{call.region}:{account}"
    match call.service:
        case "dynamodb":
            index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
            tables = params.get("RequestItems") or [params["TableName"]]
            return [f"arn:aws:dynamodb:{here}:table/{table}{index}" for table in tables]
        case "sqs":
            return [f"arn:aws:sqs:{here}:{params['QueueUrl'].rpartition('/')[2]}"]
        case "lambda":
            return [f"arn:aws:lambda:{here}:function:{params['FunctionName']}"]
        case "s3":
            deleted = params.get("Delete", {}).get("Objects", [params])
            return [f"arn:aws:s3:::{params['Bucket']}/{item['Key']}" for item in deleted]
        case "sagemaker" | "sagemaker-runtime":
            return [f"arn:aws:sagemaker:{here}:endpoint/{params['EndpointName']}"]
    alarms = params.get("AlarmNames", ())
    return [f"arn:aws:cloudwatch:{here}:alarm:{name}" for name in alarms] or ["*"]


def meets(statement: dict[str, Any], call: Call) -> bool:
    """Whether a call meets a statement's condition on partition keys, if it has one."""
    condition = statement.get("Condition", {})
    allowed = {
        **condition.get("ForAllValues:StringEquals", {}),
        **condition.get("ForAllValues:StringLike", {}),
    }
    keys = allowed.get("dynamodb:LeadingKeys")
    if keys is None:
        return True
    items = [call.params.get("Item") or call.params.get("Key")]
    if requests := call.params.get("RequestItems"):
        items = [key for request in requests.values() for key in request["Keys"]]
    return all(
        item is not None and any(fnmatch.fnmatchcase(item["pk"]["S"], key) for key in listed(keys))
        for item in items
    )


def allows(granted: list[dict[str, Any]], action: str, address: str, call: Call) -> bool:
    """Whether a role's statements allow a call's action on one address."""
    return any(
        action in listed(statement["Action"])
        and meets(statement, call)
        and any(
            isinstance(resource, str) and fnmatch.fnmatchcase(address, resource)
            for resource in listed(statement["Resource"])
        )
        for statement in granted
    )


def roles(assembly: Assembly) -> Iterator[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """The statements of every function's role, by region and function."""
    for function in assembly.resources("AWS::Lambda::Function"):
        role = function.properties["Role"]["Fn::GetAtt"][0]
        found = [r for r in assembly.resources(stack=function.stack) if r.logical_id == role]
        region = function.stack.removeprefix("Region-")
        yield (region, function.properties["FunctionName"]), list(statements(found[0]))


def right(action: str, address: str) -> str:
    """A right as the list below names it: tables have rights of their own."""
    table = address.partition(":table/spillway-dev-")[2]
    return f"{action} {table}" if table else action


MAPPING = "Lambda's event source mapping asks for it; the twin's mapping is not the function."
UNUSED: dict[str, tuple[str, ...]] = {
    # Rights that the work below does not use: what they are for, and whose they are.
    MAPPING: tuple(
        f"{function} sqs:{operation}"
        for function in ("beat", "complete", "notify", "record")
        for operation in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage")
    ),
    "a bell rings only where other jobs wait": (
        "complete lambda:InvokeFunction",
        "dispatch lambda:InvokeFunction",
        "sweep lambda:InvokeFunction",
    ),
    "a notification is repeated, or of an attempt without a slot": (
        "complete dynamodb:GetItem gate",
    ),
    "a result that came after its job was erased": (
        "complete s3:DeleteObject",
        "sweep s3:DeleteObject",
    ),
    "S3 answers 404 and not 403 for what is not there": (
        "complete s3:ListBucket",
        "dispatch s3:ListBucket",
        "submit s3:ListBucket",
        "sweep s3:ListBucket",
    ),
    "a batch or a file whose retention is over": ("batches dynamodb:DeleteItem ledger",),
    "a write that timed out is looked up": ("dispatch dynamodb:GetItem ledger",),
    "a moved job brings its input": ("dispatch s3:GetObject", "dispatch s3:PutObject"),
    "a job that cannot start goes back, or ends and is told": (
        "dispatch sqs:ChangeMessageVisibility",
        "dispatch sqs:SendMessage",
    ),
    "clients follow links to results, which carry the signer's right": ("submit s3:GetObject",),
    "no version is on trial in this work": (
        "release dynamodb:GetItem gate",
        "release dynamodb:GetItem ledger",
        "release lambda:InvokeFunction",
        "release sqs:SendMessage",
    ),
    "sweep repairs what this work does not break": (
        "sweep dynamodb:BatchGetItem ledger",
        "sweep dynamodb:DeleteItem ledger",
        "sweep dynamodb:GetItem ledger",
        "sweep dynamodb:UpdateItem gate",
        "sweep dynamodb:UpdateItem ledger",
        "sweep s3:GetObject",
        "sweep sqs:DeleteMessage",
        "sweep sqs:GetQueueAttributes",
        "sweep sqs:SendMessage",
    ),
}


def echo(body: bytes) -> Answer:
    """Fail for some, give back the rest."""
    document = json.loads(body) if body != b'"upload"!' else "an upload as it is"
    if document == "fail":
        return Answer(status=500, body=b"no, " * 50_000)  # too long for its notification
    return Answer(body=json.dumps({"echo": document}).encode())


@pytest.fixture(scope="module")
def deployed(assembly: Callable[[str], Assembly]) -> Iterator[tuple[Twin, Assembly]]:
    """Dev as it would be deployed, with models that echo."""
    dev = assembly("dev")
    container = partial(Simulated, service_s=lambda body: 2.0, answers=echo)
    endpoints = {
        str(e.properties["EndpointName"]): container
        for e in dev.resources("AWS::SageMaker::Endpoint")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courier.Courier, "deliver", lambda *_, **__: Delivered(status=500))
        with Twin(dev.path, virtual=True, containers=endpoints, start_s=START_S) as twin:
            yield twin.deploy(), dev


def upload(twin: Twin, client: httpx.Client) -> None:
    """Let a client upload in parts and in one piece, make a job of it, and give one up."""
    operator = twin.operator("us-east-1").client("s3")
    whole = client.post("/v1/uploads", json={"bytes": 9}).json()
    address = urlsplit(whole["url"])
    bucket = address.netloc.partition(".")[0]
    operator.put_object(Bucket=bucket, Key=address.path.removeprefix("/"), Body=b'"upload"!')
    twin.scheduler.run_for(10)
    job = client.post("/v1/jobs", json={"model": "chat", "input_upload": whole["id"]})
    assert job.status_code == 202, job.text
    parts = {"bytes": PART_BYTES_MIN + 1, "part_bytes": PART_BYTES_MIN}
    begun = client.post("/v1/uploads", json=parts).json()
    part = urlsplit(begun["parts"][0]["url"])
    name = parse_qs(part.query)["uploadId"][0]
    for number, size in ((1, PART_BYTES_MIN), (2, 1)):
        operator.upload_part(
            Bucket=bucket,
            Key=part.path.removeprefix("/"),
            UploadId=name,
            PartNumber=number,
            Body=b"a" * size,
        )
    assert client.post(f"/v1/uploads/{begun['id']}/complete").status_code == 200
    given_up = client.post("/v1/uploads", json=parts).json()
    for each in (begun, given_up):
        assert client.delete(f"/v1/uploads/{each['id']}").status_code == 200
    twin.scheduler.run_for(10)
    assert client.get(f"/v1/jobs/{job.json()['id']}").json()["status"] == "completed"
    assert client.delete(f"/v1/jobs/{job.json()['id']}").status_code == 200


def ask_for_batch(client: httpx.Client, *inputs: str) -> httpx.Response:
    """Let a client make a batch."""
    lines = [
        {
            "custom_id": text[:9],
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "embedder", "input": text},
        }
        for text in inputs
    ]
    text = "\n".join(map(json.dumps, lines))
    form = client.post("/v1/files", data={"purpose": "batch"}, files={"file": text.encode()})
    file = form.json()["id"]
    asked = {"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    return client.post("/v1/batches", json=asked)


def batch(twin: Twin, client: httpx.Client, large: str) -> None:
    """Let a client have a batch answered, and cancel another one."""
    begun = ask_for_batch(client, "small one", large)
    assert begun.status_code == 200, begun.text
    twin.scheduler.run_for(150)
    told = client.get(f"/v1/batches/{begun.json()['id']}").json()
    assert (told["status"], told["request_counts"]["total"]) == ("completed", 2)
    assert client.get("/v1/batches").json()["data"] == [told]
    cancelled = ask_for_batch(client, *(f"number {number}" for number in range(30))).json()["id"]
    twin.scheduler.run_for(5)
    client.post(f"/v1/batches/{cancelled}/cancel")
    twin.scheduler.run_for(90)
    assert client.get(f"/v1/batches/{cancelled}").json()["status"] == "cancelled"


def crowd(twin: Twin, name: str) -> None:
    """Take every open place to wait in the first region, for five seconds."""
    event = {"job": "job_x", "until_ms": int(1000 * (twin.scheduler.now() + 5))}
    for _ in range(twin.functions.definition("us-east-1", name).reserved_concurrency or 0):
        twin.functions.invoke("us-east-1", name, event)


def work(twin: Twin, operators: Directory, *, waits: str) -> None:
    """Let a tenant do everything that the API offers, in two regions."""
    secret = base64.b64encode(bytes(range(32))).decode()
    operators.change("acme", {"disabled": False})
    operators.signings.put("acme", f"whsec_{secret}")
    key = operators.add_key("acme", "test")
    twin.scheduler.run_for(70)
    with twin.api("us-east-1") as here, twin.api("us-east-2") as there:
        for client in (here, there):
            client.headers["Authorization"] = f"Bearer {key}"

        def submit(value: str, **fields: Any) -> str:
            reply = here.post("/v1/jobs", json={"model": "chat", "input": value, **fields})
            assert reply.status_code in {200, 202, 303}, reply.text
            return str(reply.json()["id"])

        letters = "".join(sha256(bytes([n])).hexdigest() for n in range(200))
        small = submit("small", webhook="https://receiver.example/hook")
        big = submit(letters)
        failing = submit("fail", webhook="https://receiver.example/hook")
        late = submit("late", deadline_s=1, webhook="https://receiver.example/hook")
        cancelled = submit("not any more", tier="batch")
        here.post(f"/v1/jobs/{cancelled}/cancel")
        here.post("/v1/jobs?wait=5", json={"model": "embedder", "input": "wait"})
        crowd(twin, waits)
        here.post("/v1/jobs?wait=3", json={"model": "embedder", "input": "linger"})
        twin.scheduler.run_for(200)
        upload(twin, here)
        batch(twin, here, letters)
        for client in (here, there):
            for job in (small, big, failing, late):
                assert client.get(f"/v1/jobs/{job}").status_code == 200
            for path in ("jobs", "models", "capacity", "usage"):
                assert client.get(f"/v1/{path}").status_code == 200
        form = here.post("/v1/files", data={"purpose": "batch"}, files={"file": b"{}"})
        file = form.json()["id"]
        for client in (here, there):
            for path in ("files", f"files/{file}", f"files/{file}/content"):
                assert client.get(f"/v1/{path}").status_code == 200
        assert there.delete(f"/v1/files/{file}").status_code == 200
        assert here.delete(f"/v1/jobs/{big}").status_code == 200
        assert there.delete(f"/v1/jobs/{small}").status_code == 200
        assert here.delete(f"/v1/jobs/{failing}").status_code == 200
    twin.scheduler.run_for(10)


def test_functions_call_what_their_roles_allow_and_nothing_else(
    deployed: tuple[Twin, Assembly],
) -> None:
    """A missing right stops jobs on AWS, where customers find it; one too many helps intruders."""
    twin, dev = deployed
    granted = dict(roles(dev))
    waits = dev.deployment.names.function("wait")
    work(twin, directory(twin, dev.deployment), waits=waits)

    called, refused, used = set(), set(), set()
    for call in twin.hook.log:
        if (call.caller_region, call.function) not in granted:
            continue
        action = ACTIONS.get((call.service, call.operation), f"{call.service}:{call.operation}")
        called.add((call.function.removeprefix("spillway-dev-"), action))
        for address in addresses(call, dev.deployment.account):
            used.add(f"{call.function.removeprefix('spillway-dev-')} {right(action, address)}")
            if not allows(granted[call.caller_region, call.function], action, address, call):
                refused.add(f"{call.function}: {action} on {address}")

    assert not refused
    given = {
        f"{function.removeprefix('spillway-dev-')} {right(action, str(address))}"
        for (_, function), granted_to in granted.items()
        for statement in granted_to
        for action in listed(statement["Action"])
        if not action.startswith(("logs:", "kms:"))
        for address in listed(statement["Resource"])
    }
    explained = {each for rights in UNUSED.values() for each in rights}
    # What nothing calls, nobody needs but an intruder: take it away, or say what it is for.
    assert sorted(given - used - explained) == []
    assert sorted(explained - given) == []
    # The work above must have reached every function, or this test looks at nothing.
    assert {function for function, _ in called} == FUNCTIONS
    assert {("submit", "s3:PutObject"), ("submit", "s3:DeleteObject")} <= called
    read = [call.params["Key"] for call in twin.hook.log if call.operation == "GetObject"]
    assert [key for key in read if key.startswith("failures/")]
    assert {("dispatch", "sagemaker:InvokeEndpointAsync"), ("sweep", "dynamodb:Query")} <= called
