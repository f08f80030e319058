"""`spillway model`: from a directory to a package that the configuration names."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from typer.testing import CliRunner, Result

from spillway import sagemaker_sdk
from spillway.cli.main import app
from spillway.registration import Wanted

CONFIG = str(Path(__file__).resolve().parents[2] / "config" / "dev.yaml")
REGIONS = ("us-east-1", "us-east-2", "us-west-2")


def run(*words: str) -> Result:
    """Run `spillway model …`."""
    return CliRunner().invoke(app, ["model", *words])


def document(*words: str) -> dict[str, Any]:
    """What `spillway model … --json` prints."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account that is not anybody's, with a bucket for the artifacts of each region."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "SPILLWAY_CONTROL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        for region in REGIONS:
            where: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}}
            boto3.client("s3", region_name=region).create_bucket(
                Bucket=f"spillway-dev-models-{region}", **(where if region != REGIONS[0] else {})
            )
        yield


class Sdk:
    """The few functions of the SDK that are used, in memory."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.images = {"djl-lmi": "djl-inference:1", "sglang": "sglang:1", "vllm": "vllm:2"}

    def load(self, module: str) -> Any:
        """Take the place of an import."""
        return {
            "image_uris": SimpleNamespace(retrieve=self.retrieve),
            "model_registry": SimpleNamespace(create_model_package_from_containers=self.create),
            "resources": SimpleNamespace(ModelPackage=SimpleNamespace(get_all=self.listed)),
            "helper.session_helper": SimpleNamespace(Session=lambda boto_session: boto_session),
        }[module]

    def retrieve(self, framework: str, region: str, **_: Any) -> str:
        """The newest image."""
        return f"763104351884.dkr.ecr.{region}.amazonaws.com/{self.images[framework]}"

    def create(self, session: Any, **request: Any) -> dict[str, str]:
        """Make a package."""
        here = session.region_name
        number = sum(each["region"] == here for each in self.requests) + 1
        group = request["model_package_group_name"]
        arn = f"arn:aws:sagemaker:{here}:123456789012:model-package/{group}/{number}"
        self.requests.append({**request, "region": here, "arn": arn})
        return {"ModelPackageArn": arn}

    def listed(self, *, model_package_group_name: str, session: Any, region: str) -> Any:
        """The packages of a group."""
        assert session.region_name == region
        found = [each for each in self.requests if each["region"] == region]
        if not found:
            raise LookupError(f"Model Package Group {model_package_group_name} does not exist")
        return [
            SimpleNamespace(
                model_package_arn=each["arn"], model_package_description=each["description"]
            )
            for each in found
        ]


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Sdk:
    """The SDK, which tests need not have."""
    fake = Sdk()
    monkeypatch.setattr(sagemaker_sdk, "load", fake.load)
    return fake


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A packed model."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"weights")
    path = tmp_path / "model.tar.gz"
    told = document("package", str(tmp_path / "model"), "--output", str(path))
    assert told["files"] == 1
    assert told["size_bytes"] == path.stat().st_size
    return path


def test_a_version_is_uploaded_and_registered_in_every_region_once(sdk: Sdk, weights: Path) -> None:
    """What belongs into the configuration is printed; a second run sends nothing."""
    command = ("register", "embedder", "v1", "--archive", str(weights), "--config", CONFIG)

    first, again = document(*command), document(*command)

    assert first["uploaded"] == dict.fromkeys(REGIONS, True)
    assert again["uploaded"] == dict.fromkeys(REGIONS, False)
    group = "spillway-dev-embedder"
    told = f"arn:aws:sagemaker:{{region}}:123456789012:model-package/{group}/1"
    assert first["package"] == again["package"] == told
    assert again["packages"] == first["packages"]
    assert [each["region"] for each in sdk.requests] == list(REGIONS)
    (container,) = sdk.requests[2]["containers"]
    assert container == {
        "Image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/embedder:1.0.0",
        "ModelDataUrl": "s3://spillway-dev-models-us-west-2/embedder/v1/model.tar.gz",
    }
    assert sdk.requests[0]["approval_status"] == "PendingManualApproval"
    assert told in run(*command).stdout


def test_weights_of_a_hub_are_registered_without_an_archive(sdk: Sdk) -> None:
    """The container fetches them; approval is as good for it as for others."""
    told = document("register", "chat", "v1", "--approve", "--config", CONFIG)

    assert told["archive"] is None
    assert sdk.requests[0]["approval_status"] == "Approved"
    assert sdk.requests[0]["containers"][0]["Environment"]["HF_MODEL_ID"].startswith("Qwen/")


def test_what_cannot_be_registered_is_told_before_anything_is_sent(
    sdk: Sdk, weights: Path, tmp_path: Path
) -> None:
    """Gigabytes are not sent for a version that does not exist."""
    config = ("--config", CONFIG)
    for words, told in (
        (("register", "nobody", "v1"), "there is no model nobody"),
        (("register", "embedder", "v9"), "embedder has no version v9; it has v1"),
        (("register", "chat", "v1", "--archive", str(weights)), "no artifact.s3"),
        (("register", "embedder", "v1", "--archive", str(tmp_path / "x")), "cannot be read"),
    ):
        result = run(*words, *config)
        assert result.exit_code == 2, result.output
        assert told in result.stderr
    assert sdk.requests == []
    bucket = f"spillway-dev-models-{REGIONS[1]}"
    boto3.client("s3", region_name=REGIONS[1]).delete_bucket(Bucket=bucket)
    missing = run("register", "embedder", "v1", "--archive", str(weights), *config)
    assert missing.exit_code == 1
    assert f"there is no bucket {bucket}" in missing.stderr


def test_without_the_sdk_its_installation_is_told(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is heavy, and most people never need it."""
    monkeypatch.setitem(sys.modules, "sagemaker", None)
    monkeypatch.setitem(sys.modules, "sagemaker.core", None)
    for words in (
        ("register", "embedder", "v1", "--archive", str(weights), "--config", CONFIG),
        ("images", "--config", CONFIG),
    ):
        result = run(*words)
        assert result.exit_code == 1
        assert sagemaker_sdk.INSTALL in result.stderr
    s3 = boto3.client("s3", region_name=REGIONS[0])
    assert not s3.list_objects_v2(Bucket=f"spillway-dev-models-{REGIONS[0]}").get("Contents")


def test_images_are_compared_and_pinned(sdk: Sdk, tmp_path: Path) -> None:
    """A new version begins with the newest image, and an old one keeps its own."""
    file = tmp_path / "images.yaml"
    start = "763104351884.dkr.ecr.{region}.amazonaws.com"
    before = {"djl-lmi": f"{start}/djl-inference:0", "vllm": f"{start}/vllm:2"}
    file.write_text(yaml.safe_dump({"images": before}))
    words = ("images", "--file", str(file), "--config", CONFIG)

    told = {each["framework"]: each for each in document(*words)["images"]}

    assert told["vllm"]["changed"] is False
    assert told["djl-lmi"]["changed"] is True
    assert told["djl-lmi"]["older"] == ["chat v1"]
    assert yaml.safe_load(file.read_text())["images"] == before
    run(*words, "--write")
    after = yaml.safe_load(file.read_text())["images"]
    assert after == before | {"djl-lmi": f"{start}/djl-inference:1"}
    assert not [each for each in document(*words)["images"] if each["changed"]]
    file.write_text("images: 7")
    assert "is no list of images" in run(*words).stderr


@pytest.mark.filterwarnings("default")  # what the SDK and its dependencies warn of is theirs
def test_the_real_sdk_registers_and_lists(tmp_path: Path) -> None:
    """Its functions are called as they are; moto stands in for the registry."""
    pytest.importorskip(
        "sagemaker.core", reason=f"the SageMaker SDK is not installed: {sagemaker_sdk.INSTALL}"
    )
    registry = sagemaker_sdk.SdkRegistry(boto3.Session(region_name="us-east-1"))
    made = Wanted(
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/embedder:1",
        data_url="s3://models/model.tar.gz",
        environment={"WORKERS": "2"},
        instance_type="ml.g5.xlarge",
        description="embedder v1",
        approved=True,
    )

    assert list(registry.packages("spillway-dev-embedder")) == []
    first, second = (registry.register("spillway-dev-embedder", made) for _ in range(2))

    assert [first.number, second.number] == [1, 2]
    listed = registry.packages("spillway-dev-embedder")
    assert {each.arn for each in listed} == {first.arn, second.arn}
    described = boto3.client("sagemaker", region_name="us-east-1").describe_model_package(
        ModelPackageName=first.arn
    )
    assert described["ModelApprovalStatus"] == "Approved"
    (container,) = described["InferenceSpecification"]["Containers"]
    assert container["Image"] == made.image
    assert sagemaker_sdk.image("djl-lmi", "us-east-1").endswith("cu130")
