"""A packed version goes to every region, as an object and as a model package of the registry.

Both are done again without harm: bytes that are there are not sent, and a package that was made of
the same version is found by its description.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from config.schema import Deployment, Version
from spillway.packaging import Archive

MARK: Final = "spillway-sha256"
"""Metadata of an uploaded archive: what S3 itself tells of large objects depends on their parts."""
NUMBERS_MAX: Final = 20
"""How far the numbers of regions may have drifted apart."""
ROUNDS_MAX: Final = 3
"""SageMaker gives no number twice: one of a package that was deleted is passed over."""


class RegistrationError(RuntimeError):
    """A version that cannot be uploaded or registered, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A model package version of one region.

    Attributes:
        arn: Ends with its number.
        description: What it was made of.
    """

    arn: str
    description: str

    @property
    def number(self) -> int:
        """Its number in its group."""
        return int(self.arn.rpartition("/")[2])


class Registry(Protocol):
    """The model registry of one region."""

    def packages(self, group: str) -> Sequence[Package]:
        """Those of a group, none if there is no group."""

    def register(self, group: str, wanted: "Wanted") -> Package:
        """Make one more, and its group before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a model package is made of.

    Attributes:
        image: The container, in the region's registry.
        data_url: The archive in the region's bucket; None if the container fetches its weights.
        environment: Of the container.
        instance_type: What it is served on.
        description: Says all of that, and the archive's digest.
        approved: Whether it may be released at once.
    """

    image: str
    data_url: str | None
    environment: Mapping[str, str]
    instance_type: str
    description: str
    approved: bool


def upload(s3: Any, archive: Archive, url: str) -> bool:
    """Upload an archive unless the same bytes are there.

    Args:
        s3: A client of the bucket's region.
        archive: What is uploaded, in parts if it is large.
        url: `s3://BUCKET/KEY`.

    Returns:
        Whether it was sent.

    Raises:
        RegistrationError: Another archive is there: a version never changes. Or there is no bucket.
    """
    bucket, _, key = url.removeprefix("s3://").partition("/")
    there = _found(s3, s3.head_object, Bucket=bucket, Key=key)
    if there is None and _found(s3, s3.head_bucket, Bucket=bucket) is None:
        raise RegistrationError(f"there is no bucket {bucket}: make it, or correct artifact.s3")
    if there is not None:
        same = there["Metadata"].get(MARK) == archive.sha256
        if same and there["ContentLength"] == archive.size_bytes:
            return False
        raise RegistrationError(
            f"{url} holds another archive: a version never changes. Make a new version, or delete "
            "the object if nothing serves it yet"
        )
    s3.upload_file(str(archive.path), bucket, key, ExtraArgs={"Metadata": {MARK: archive.sha256}})
    return True


def _found(s3: Any, look: Any, **at: str) -> Any:
    """What S3 tells of something; None if it is not there."""
    try:
        return look(**at)
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket", "NoSuchKey", "NotFound"}:
            raise
        return None


def wanted(
    version: Version, *, region: str, name: str, archive: Archive | None, approved: bool
) -> Wanted:
    """What the package of a version is made of in a region."""
    image, url = version.image_in(region), version.artifact.s3_in(region)
    weights = f"sha256 {archive.sha256}" if archive else f"{version.artifact.hub}"
    if version.artifact.revision:
        weights += f" at {version.artifact.revision}"
    return Wanted(
        image=image,
        data_url=url,
        environment={**hub_environment(version), **version.environment},
        instance_type=version.instance_type,
        description=f"{name}: {image}, {weights}",
        approved=approved,
    )


def hub_environment(version: Version) -> dict[str, str]:
    """How a container is told which weights to fetch, as the model's stack does."""
    hub, revision = version.artifact.hub, version.artifact.revision
    return {"HF_MODEL_ID": hub, "HF_REVISION": revision} if hub and revision else {}


def register(
    registries: Mapping[str, Registry], group: str, of: Mapping[str, Wanted]
) -> dict[str, Package]:
    """Register a version in every region, under the same number.

    The configuration names one number for all regions. Where one has fallen behind, because a
    registration broke off there, it catches up with packages of this version.

    Args:
        registries: By region.
        group: The group's name, the same in all of them.
        of: What is registered, by region.

    Returns:
        The package by region.

    Raises:
        RegistrationError: The numbers are too far apart.
    """
    found = {region: list(registry.packages(group)) for region, registry in registries.items()}
    for _ in range(ROUNDS_MAX):
        target = _number(found, of)
        for region, registry in registries.items():
            while (number := _highest(found[region])) < target:
                if target - number > NUMBERS_MAX:
                    raise RegistrationError(
                        f"the packages of {group} in {region} end at {number}, and elsewhere at "
                        f"{target - 1}: too far apart to catch up; delete the group everywhere, or "
                        "register by hand"
                    )
                found[region].append(registry.register(group, of[region]))
        same = {region: _same(found[region], of[region]).get(target) for region in of}
        packages = {region: package for region, package in same.items() if package is not None}
        if len(packages) == len(of):
            return packages
    raise RegistrationError(f"somebody else registers packages of {group}: try again")


def _number(found: Mapping[str, Sequence[Package]], of: Mapping[str, Wanted]) -> int:
    """The first number that every region has given to the same version, or can still give."""
    last = max(map(_highest, found.values())) + 1
    return next(
        number
        for number in range(1, last + 1)
        if all(
            number > _highest(found[region]) or number in _same(found[region], of[region])
            for region in of
        )
    )


def _highest(packages: Sequence[Package]) -> int:
    return max((package.number for package in packages), default=0)


def _same(packages: Sequence[Package], made: Wanted) -> dict[int, Package]:
    return {each.number: each for each in packages if each.description == made.description}


def address(packages: Mapping[str, Package], deployment: Deployment) -> str:
    """What stands in the configuration: one address for all regions."""
    region = deployment.primary_region
    return packages[region].arn.replace(f":{region}:", ":{region}:", 1)
