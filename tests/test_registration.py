"""A version lies in every region under one number, however often its registration broke off."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from config.schema import load
from spillway.packaging import Archive, described, pack
from spillway.registration import (
    Package,
    RegistrationError,
    Wanted,
    address,
    register,
    upload,
    wanted,
)

CONFIG = Path(__file__).resolve().parent.parent / "config" / "dev.yaml"
REGIONS = ("us-east-1", "us-east-2", "us-west-2")
GROUP = "spillway-dev-embedder"


@dataclass
class Registry:
    """One region's registry, in memory; `breaks` lets the next registration fail."""

    region: str
    made: list[Package] = field(default_factory=list)
    deleted: int = 0
    breaks: bool = False

    def packages(self, group: str) -> Sequence[Package]:
        """Those of the only group."""
        assert group == GROUP
        return list(self.made)

    def register(self, group: str, wanted: Wanted) -> Package:
        """Make one."""
        if self.breaks:
            raise ConnectionError(self.region)
        number = max([each.number for each in self.made], default=0) + 1 + self.deleted
        self.deleted = 0
        arn = f"arn:aws:sagemaker:{self.region}:123456789012:model-package/{group}/{number}"
        self.made.append(Package(arn=arn, description=wanted.description))
        return self.made[-1]


def of(version: str) -> dict[str, Wanted]:
    """What a version's packages are made of."""
    return {
        region: Wanted(
            image=f"{region}/image:{version}",
            data_url=None,
            environment={},
            instance_type="ml.g5.xlarge",
            description=f"embedder {version}: {region}/image:{version}",
            approved=False,
        )
        for region in REGIONS
    }


@pytest.fixture
def registries() -> dict[str, Registry]:
    """Three empty ones."""
    return {region: Registry(region) for region in REGIONS}


def numbers(packages: dict[str, Package]) -> set[int]:
    """The numbers that regions gave."""
    return {package.number for package in packages.values()}


def test_a_version_has_one_number_everywhere_and_is_registered_once(
    registries: dict[str, Registry],
) -> None:
    """The configuration names one package for all regions."""
    first = register(registries, GROUP, of("v1"))
    again = register(registries, GROUP, of("v1"))
    second = register(registries, GROUP, of("v2"))

    assert numbers(first) == {1}
    assert again == first
    assert numbers(second) == {2}
    assert [len(registry.made) for registry in registries.values()] == [2, 2, 2]
    deployment = load(CONFIG)
    told = address(second, deployment)
    assert told == f"arn:aws:sagemaker:{{region}}:123456789012:model-package/{GROUP}/2"


def test_a_registration_that_broke_off_is_finished_under_one_number(
    registries: dict[str, Registry],
) -> None:
    """A region that fell behind would serve another version under the same number."""
    registries["us-west-2"].breaks = True
    with pytest.raises(ConnectionError):
        register(registries, GROUP, of("v1"))
    registries["us-west-2"].breaks = False

    other = register(registries, GROUP, of("v2"))
    mended = register(registries, GROUP, of("v1"))

    assert numbers(other) == {2}
    assert len(numbers(mended)) == 1
    assert {package.description for package in mended.values()} == {
        made.description for made in of("v1").values()
    }


def test_numbers_of_deleted_packages_are_passed_over(registries: dict[str, Registry]) -> None:
    """SageMaker gives no number twice: the others catch up."""
    registries["us-east-2"].deleted = 3

    assert numbers(register(registries, GROUP, of("v1"))) == {4}


def test_regions_too_far_apart_are_left_to_people(registries: dict[str, Registry]) -> None:
    """A loop over hundreds of packages would hide that somebody uses the group for something."""
    registries["us-east-1"].deleted = 500

    with pytest.raises(RegistrationError, match="too far apart"):
        register(registries, GROUP, of("v1"))


def test_a_package_tells_what_it_was_made_of(tmp_path: Path) -> None:
    """The release compares image and weights with the configuration's; so does who approves."""
    models = load(CONFIG).models
    archive = Archive(path=tmp_path, sha256="ab" * 32, size_bytes=1, content_bytes=1, files=1)
    embedder = wanted(
        models["embedder"].versions["v1"],
        region="us-west-2",
        name="embedder v1",
        archive=archive,
        approved=True,
    )
    chat = wanted(
        models["chat"].versions["v1"],
        region="us-west-2",
        name="chat v1",
        archive=None,
        approved=False,
    )

    assert embedder.data_url == "s3://spillway-dev-models-us-west-2/embedder/v1/model.tar.gz"
    assert ".us-west-2." in embedder.image
    assert "ab" * 32 in embedder.description
    assert chat.data_url is None
    assert chat.environment["HF_MODEL_ID"] == "Qwen/Qwen2.5-7B-Instruct"
    assert chat.environment["HF_REVISION"] in chat.description


def test_the_same_bytes_are_sent_once_and_others_never_in_their_place(tmp_path: Path) -> None:
    """What an endpoint loads at its next start is what was tested."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w" * 9_000_000)
    archive = pack(tmp_path / "model", tmp_path / "model.tar.gz")
    url = "s3://models/embedder/v1/model.tar.gz"
    with mock_aws():
        make: Any = boto3.Session().client
        s3 = make("s3", "us-east-1", aws_access_key_id="t", aws_secret_access_key="t")
        s3.create_bucket(Bucket="models")

        assert upload(s3, archive, url)
        assert not upload(s3, archive, url)

        stored = s3.get_object(Bucket="models", Key="embedder/v1/model.tar.gz")
        # It went in parts: large archives do not fit into one request.
        assert stored["ETag"].strip('"').endswith("-2")
        (tmp_path / "copy.tar.gz").write_bytes(stored["Body"].read())
        assert described(tmp_path / "copy.tar.gz").sha256 == archive.sha256
        (tmp_path / "model" / "weights").write_bytes(b"other")
        changed = pack(tmp_path / "model", tmp_path / "model.tar.gz")
        with pytest.raises(RegistrationError, match="a version never changes"):
            upload(s3, changed, url)
