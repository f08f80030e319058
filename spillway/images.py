"""The container images of AWS that are pinned for new versions, in a file of their own.

A version's own image is never changed: what stands here is what a new version should begin with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from config.schema import Deployment

PINNED: Final = Path("config/images.yaml")
HEAD: Final = """\
# Images of AWS for serving models, by the SageMaker SDK's names: `spillway model images --write`
# refreshes them. A version's image never changes; a new version takes its image from here.
"""


class ImagesError(ValueError):
    """A file of images that cannot be read, or images that do not fit the deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One framework's image.

    Attributes:
        framework: As the SDK calls it.
        pinned: With `{region}` for the region.
        newest: What the SDK knows, in the same form; None before it was asked.
        older: Versions of the configuration that have another tag of it, as MODEL VERSION.
    """

    framework: str
    pinned: str
    newest: str | None = None
    older: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the SDK knows another one."""
        return self.newest not in (None, self.pinned)


def read(path: Path) -> list[Image]:
    """The pinned images.

    Raises:
        ImagesError: The file cannot be read, or is no list of images.
    """
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        pinned = dict(document["images"])
    except OSError as error:
        raise ImagesError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise ImagesError(f"{path}: is no list of images like config/images.yaml") from error
    return [Image(framework=str(name), pinned=str(image)) for name, image in pinned.items()]


def write(images: Sequence[Image], path: Path) -> None:
    """Pin the newest images."""
    pinned = {image.framework: image.newest or image.pinned for image in images}
    text = yaml.safe_dump({"images": pinned}, sort_keys=True, width=1000)
    path.write_text(HEAD + text, encoding="utf-8")


def refreshed(
    images: Sequence[Image], deployment: Deployment, lookup: Callable[[str, str], str]
) -> list[Image]:
    """Images with what is newest in every region of a deployment.

    Args:
        images: The pinned ones.
        deployment: Whose regions and versions are looked at.
        lookup: The SDK's image, by framework and region.

    Raises:
        ImagesError: Regions have different images, which one address cannot name.
    """
    return [
        replace(
            image,
            newest=_everywhere(
                {region: lookup(image.framework, region) for region in deployment.regions},
                image.framework,
            ),
            older=_older(image, deployment),
        )
        for image in images
    ]


def _everywhere(found: Mapping[str, str], framework: str) -> str:
    addresses = {address.replace(region, "{region}") for region, address in found.items()}
    if len(addresses) != 1:
        raise ImagesError(f"{framework} has no common image: {', '.join(sorted(found.values()))}")
    return addresses.pop()


def _older(image: Image, deployment: Deployment) -> tuple[str, ...]:
    repository = _repository(image.pinned)
    return tuple(
        f"{name} {version}"
        for name, model in deployment.models.items()
        for version, settings in model.versions.items()
        if _repository(settings.image) == repository and settings.image != image.pinned
    )


def _repository(image: str) -> str:
    """An image's address without tag or digest."""
    name = image.partition("@")[0]
    start, slash, last = name.rpartition("/")
    return f"{start}{slash}{last.partition(':')[0]}"
