"""`make destroy` looks before it deletes, against moto's CloudFormation and S3."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from config.schema import load
from tools import destroy

ROOT = Path(__file__).parents[2]
DEV, PROD = (ROOT / "config" / f"{name}.yaml" for name in ("dev", "prod"))
TEMPLATE = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
HERE = "us-east-1"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account that is not anybody's."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("MOTO_ACCOUNT_ID", "123456789012")
    with mock_aws():
        yield


@pytest.fixture
def payloads() -> Any:
    """The payload bucket of dev's first region: an old version, a newer one, a delete marker."""
    bucket = load(DEV).names.bucket(HERE)
    client = boto3.client("s3", region_name=HERE)
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"old", b"new"):
        client.put_object(Bucket=bucket, Key="inputs/one", Body=body)
    client.put_object(Bucket=bucket, Key="inputs/two", Body=b"erased")
    client.delete_object(Bucket=bucket, Key="inputs/two")
    return boto3.resource("s3", region_name=HERE).Bucket(bucket)


def stack(name: str, *, protected: bool = False) -> None:
    """A stack in the first region."""
    boto3.client("cloudformation", region_name=HERE).create_stack(
        StackName=name, TemplateBody=TEMPLATE, EnableTerminationProtection=protected
    )


def run(config: Path = DEV, *words: str) -> int:
    """What `make destroy` runs before `cdk destroy`; its exit status."""
    return destroy.main(["--config", str(config), *words])


def held(bucket: Any) -> int:
    """Versions and delete markers in a bucket."""
    return len(list(bucket.object_versions.all()))


def test_buckets_are_emptied_of_every_version(
    payloads: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """CloudFormation deletes no bucket that holds as much as a delete marker."""
    stack("spillway-dev-Region-us-east-1")
    before = held(payloads)

    assert run(DEV, "--force") == 0

    assert before == 4
    assert held(payloads) == 0
    payloads.delete()
    assert f"{payloads.name}: 4 versions deleted" in capsys.readouterr().out


def test_it_can_be_run_again(payloads: Any) -> None:
    """A destruction that stopped half-way finds buckets empty or gone."""
    assert run(DEV, "--force") == 0
    assert run(DEV, "--force") == 0
    payloads.delete()
    assert run(DEV, "--force") == 0


def test_many_objects_are_more_than_one_page(
    payloads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second thousand would stop the stack's deletion."""
    monkeypatch.setattr(destroy, "VERSIONS_PER_CALL", 3)

    assert run(DEV, "--force") == 0
    assert held(payloads) == 0


def test_every_bucket_of_the_deployment_is_emptied(assembly: Callable[[str], Any]) -> None:
    """One that is forgotten keeps its stack."""
    dev = assembly("dev")
    made = {bucket.properties["BucketName"] for bucket in dev.resources("AWS::S3::Bucket")}

    assert {bucket for _, bucket in destroy.buckets(dev.deployment)} == made


def test_every_stack_is_found_by_the_deployments_name(assembly: Callable[[str], Any]) -> None:
    """What this does not find, it cannot warn of."""
    dev = assembly("dev")
    names = [
        artifact["properties"].get("stackName", stack_id)
        for stack_id, artifact in dev.manifest["artifacts"].items()
        if artifact["type"] == "aws:cloudformation:stack"
    ]

    assert names
    assert all(name.startswith("spillway-dev-") for name in names)
    assert "spillway-dev-Model-chat-us-east-1" in names


@pytest.mark.parametrize("config", [DEV, PROD], ids=["dev", "prod"])
def test_protected_stacks_are_refused_before_anything_goes(
    payloads: Any, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    """The endpoints would be gone by the time that CloudFormation refuses the rest."""
    name = f"{load(config).name}-Region-us-east-1"
    stack(name, protected=True)

    assert run(config, "--force") == 1

    told = capsys.readouterr().err
    assert held(payloads) == 4
    assert "nothing was deleted" in told
    assert "update-termination-protection --no-enable-termination-protection" in told
    assert f"--region us-east-1 --stack-name {name}" in told


def test_a_deployment_that_retains_keeps_its_payloads() -> None:
    """Whoever lifted the protection still wants the data."""
    client = boto3.client("s3", region_name=HERE)
    bucket = load(PROD).names.bucket(HERE)
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="inputs/one", Body=b"kept")
    stack("spillway-prod-Region-us-east-1")

    assert run(PROD, "--force") == 0
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_the_stack_of_a_forgotten_model_is_told(
    payloads: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cdk destroy` knows only what the configuration has; the GPUs would be paid for ever."""
    stack("spillway-dev-Model-chat-us-east-1")
    stack("spillway-dev-Model-old-us-east-1")
    stack("spillway-devil-Model-old-us-east-1")

    assert run(DEV, "--force") == 1

    commands = [line for line in capsys.readouterr().err.splitlines() if "delete-stack" in line]
    assert [line.rpartition(" ")[2] for line in commands] == ["spillway-dev-Model-old-us-east-1"]
    assert held(payloads) == 4


@pytest.mark.parametrize(("given", "status"), [("spillway-dev", 0), ("y", 1), ("", 1)])
def test_it_asks_for_the_name(
    payloads: Any, monkeypatch: pytest.MonkeyPatch, given: str, status: int
) -> None:
    """Everything that a deployment stores must not go by a wrong CONFIG or a stray key."""
    monkeypatch.setattr("builtins.input", lambda _: given)

    assert run() == status
    assert held(payloads) == (0 if status == 0 else 4)


def test_with_nobody_to_ask_the_answer_is_no(
    payloads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline says --force, or it does not mean it."""

    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)

    assert run() == 1
    assert held(payloads) == 4
