"""What a version's files become before it is released: an archive, an object, a model package."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from config.schema import Deployment, Model, Version, load
from spillway import images as pinned_images
from spillway import registration, sagemaker_sdk
from spillway.assembly import ROOT
from spillway.cli.aws import EndpointUrl, aws_errors, only_where_meant
from spillway.cli.deployment import CONFIG, Config, WrittenConfig, named, to_write
from spillway.cli.terminal import CommandError, Json, answer, table, usage
from spillway.packaging import Archive, described, pack

ARCHIVE = Path("model.tar.gz")
PACKED = ROOT / "build" / "models"

app = typer.Typer(
    no_args_is_help=True, help="Package, upload and register versions of models (operators)."
)


@app.command("package")
def package(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)],
    *,
    output: Annotated[Path, typer.Option(help="The archive.")] = ARCHIVE,
    as_json: Json = False,
) -> None:
    """Pack a directory into a model.tar.gz: the same files always give the same bytes."""
    archive = pack(directory, output)
    document = _shown(archive)
    text = (
        f"{archive.path}: {archive.size_bytes:,} bytes, {archive.files} files of "
        f"{archive.content_bytes:,} bytes\nsha256 {archive.sha256}"
    )
    _tell(document, text, as_json=as_json)


@app.command("register")
def register(
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False)],
    version: Annotated[str, typer.Argument(metavar="VERSION", show_default=False)],
    *,
    archive: Annotated[
        Path | None,
        typer.Option(help="The packed files; packed from artifact.directory without it."),
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve it, so that it may be released at once.")
    ] = False,
    config: WrittenConfig = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Upload a version of the configuration to every region and register it there.

    What is there already is not sent or registered again. Prints what belongs into the
    configuration as the version's `package`.
    """
    only_where_meant(endpoint_url)
    deployment = to_write(config, endpoint_url)
    of = _version(deployment, model, version)
    # Before gigabytes are sent, it is clear that they can be registered.
    sagemaker_sdk.load("model_registry")
    packed = _packed(model, version, of, archive)
    sessions = {region: _session(region, endpoint_url) for region in deployment.regions}
    sent = {region: _upload(sessions[region], packed, of, region) for region in sessions}
    group = deployment.names.package_group(model)
    with aws_errors(deployment.primary_region, group, code="no_group"):
        packages = registration.register(
            {region: sagemaker_sdk.SdkRegistry(each) for region, each in sessions.items()},
            group,
            {
                region: registration.wanted(
                    of,
                    region=region,
                    name=f"{model} {version}",
                    archive=packed,
                    approved=approve,
                )
                for region in sessions
            },
        )
    document = {
        "model": model,
        "version": version,
        "archive": None if packed is None else _shown(packed),
        "uploaded": sent,
        "packages": {region: each.arn for region, each in packages.items()},
        "package": registration.address(packages, deployment),
    } | named(deployment)
    answer(document, as_json=as_json, render=lambda console: _show(document, console))


@app.command("images")
def images(
    *,
    write: Annotated[bool, typer.Option("--write", help="Pin the newest ones in --file.")] = False,
    file: Annotated[Path, typer.Option(help="Where they are pinned.")] = pinned_images.PINNED,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Compare the pinned container images of AWS with what the SageMaker SDK knows."""
    deployment = load(config)
    found = pinned_images.refreshed(pinned_images.read(file), deployment, sagemaker_sdk.image)
    if write:
        pinned_images.write(found, file)
    document = {
        "images": [
            {
                "framework": each.framework,
                "pinned": each.newest if write else each.pinned,
                "newest": each.newest,
                "changed": each.changed,
                "older": list(each.older),
            }
            for each in found
        ],
        "written": write,
    }
    rows = [
        (
            each.framework,
            (each.newest or "").rpartition("/")[2],
            (each.pinned.rpartition("/")[2] if each.changed else "the same"),
            ", ".join(each.older) or "-",
        )
        for each in found
    ]
    columns = ("framework", "newest", "pinned before" if write else "pinned", "others in use")
    answer(
        document, as_json=as_json, render=lambda console: console.print(table(None, columns, rows))
    )


def _version(deployment: Deployment, name: str, version: str) -> Version:
    """A version of the configuration."""
    model: Model | None = deployment.models.get(name)
    if model is None:
        raise usage(f"there is no model {name}; there is {', '.join(deployment.models)}")
    if version not in model.versions:
        raise usage(f"{name} has no version {version}; it has {', '.join(model.versions)}")
    return model.versions[version]


def _packed(model: str, version: str, of: Version, archive: Path | None) -> Archive | None:
    """The archive of a version; none if its container fetches the weights from a hub."""
    if of.artifact.s3 is None:
        if archive is not None:
            raise usage(f"{model} {version} has no artifact.s3 to upload {archive} to")
        return None
    if archive is not None:
        return described(archive)
    if of.artifact.directory is None:
        raise usage(f"{model} {version} has no artifact.directory; give --archive")
    return pack(ROOT / of.artifact.directory, PACKED / model / version / "model.tar.gz")


def _session(region: str, endpoint_url: str | None) -> Any:
    """A session whose every client goes where it is meant to, the SDK's own ones too."""
    import boto3  # noqa: PLC0415 as in spillway.cli.aws

    class Session(boto3.Session):
        def client(self, *args: Any, **options: Any) -> Any:
            return super().client(*args, **{"endpoint_url": endpoint_url or None, **options})

    return Session(region_name=region)


def _upload(session: Any, archive: Archive | None, of: Version, region: str) -> bool:
    url = of.artifact.s3_in(region)
    if archive is None or url is None:
        return False
    bucket = url.removeprefix("s3://").partition("/")[0]
    from boto3.exceptions import S3UploadFailedError  # noqa: PLC0415 as above

    with aws_errors(region, bucket, code="no_bucket"):
        try:
            return registration.upload(session.client("s3"), archive, url)
        except S3UploadFailedError as error:
            raise CommandError(str(error), code="not_uploaded") from error


def _shown(archive: Archive) -> dict[str, Any]:
    return {
        "path": str(archive.path),
        "sha256": archive.sha256,
        "size_bytes": archive.size_bytes,
        "content_bytes": archive.content_bytes,
        "files": archive.files,
    }


def _show(document: dict[str, Any], console: Console) -> None:
    """Addresses are long, and wanted whole."""
    for region, arn in document["packages"].items():
        archive = ""
        if document["archive"]:
            archive = (
                ", archive uploaded" if document["uploaded"][region] else ", archive was there"
            )
        _print(console, f"{arn}{archive}")
    _print(console, "in the configuration, beside the version's image:")
    _print(console, f'  package: "{document["package"]}"')


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _tell(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    answer(
        document,
        as_json=as_json,
        render=lambda console: _print(console, text),
    )
