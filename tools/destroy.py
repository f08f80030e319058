"""What has to be so before `cdk destroy --all` can succeed; `make destroy` runs it first.

CloudFormation refuses protected stacks and buckets that hold anything, and by then the endpoints
are gone. So everything is looked at first, and nothing is touched if something stands in the way.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import boto3  # noqa: E402 the project's root first
from botocore.exceptions import BotoCoreError, ClientError  # noqa: E402

from config.schema import ConfigError, Deployment, load  # noqa: E402

REFUSED = 1
USAGE = 2
VERSIONS_PER_CALL = 1000
"""S3 deletes so many at once, and lists no more on a page."""
CALLS_MAX = 100_000
"""A hundred million versions; whoever has more runs it again."""
GONE = frozenset({"NoSuchBucket", "404"})


class RefusedError(Exception):
    """Why a deployment is not destroyed; nothing was deleted."""


def stacks(session: boto3.Session, deployment: Deployment) -> Iterator[tuple[str, dict[str, Any]]]:
    """The deployment's stacks that exist, each with its region.

    They are found by the deployment's name, which begins no other's: also those whose model the
    configuration has no more, and which `cdk destroy` would therefore leave running.
    """
    for region in deployment.regions:
        client = session.client("cloudformation", region_name=region)
        for page in client.get_paginator("describe_stacks").paginate():
            for stack in page["Stacks"]:
                if stack["StackName"].startswith(f"{deployment.name}-"):
                    yield region, dict(stack)


def refuse_protected(found: list[tuple[str, dict[str, Any]]], deployment: Deployment) -> None:
    """Refuse while a stack is protected.

    Raises:
        RefusedError: The message has the commands that lift the protection.
    """
    protected = [(r, s["StackName"]) for r, s in found if s.get("EnableTerminationProtection")]
    if not protected:
        return
    commands = "\n".join(
        "  aws cloudformation update-termination-protection --no-enable-termination-protection"
        f" --region {region} --stack-name {name}"
        for region, name in protected
    )
    kept = (
        "Tables, payloads and logs stay when these stacks go, and their names stay taken: a new "
        f"deployment of the name {deployment.name} fails until you delete them by hand."
        if deployment.retain
        else "They were deployed with `retain: true`: run `make deploy` first, or what they store "
        "stays behind."
    )
    raise RefusedError(
        f"{len(protected)} stacks of {deployment.name} are protected from deletion; nothing was "
        f"deleted. {kept} To go on, lift the protection and run `make destroy` again:\n{commands}"
    )


def refuse_forgotten(found: list[tuple[str, dict[str, Any]]], deployment: Deployment) -> None:
    """Refuse while there are stacks of models that the configuration does not have.

    Raises:
        RefusedError: The message has the commands that delete them.
    """
    known = {
        f"{deployment.name}-Model-{model}-{region}"
        for model in deployment.models
        for region in deployment.regions
    }
    forgotten = [
        (region, stack["StackName"])
        for region, stack in found
        if stack["StackName"].startswith(f"{deployment.name}-Model-")
        and stack["StackName"] not in known
    ]
    if not forgotten:
        return
    commands = "\n".join(
        f"  aws cloudformation delete-stack --region {region} --stack-name {name}"
        for region, name in forgotten
    )
    raise RefusedError(
        "stacks of models that are not in the configuration would stay, with their GPUs; nothing "
        f"was deleted. Delete them and run `make destroy` again:\n{commands}"
    )


def buckets(deployment: Deployment) -> list[tuple[str, str]]:
    """The deployment's buckets, each with its region."""
    names, regions = deployment.names, deployment.regions
    found = [(region, names.bucket(region)) for region in regions]
    found += [(r, names.replica_bucket(r)) for r in regions if deployment.region_after(r)]
    return found


def empty(client: Any, bucket: str, *, account: str) -> int:
    """Delete every version and delete marker in a bucket of the account.

    Returns:
        How many there were; 0 for a bucket that is not there.

    Raises:
        RefusedError: S3 keeps one of them.
    """
    deleted = 0
    try:
        for _ in range(CALLS_MAX):
            # Always the first page: what was deleted is on none.
            page = client.list_object_versions(
                Bucket=bucket, ExpectedBucketOwner=account, MaxKeys=VERSIONS_PER_CALL
            )
            versions = [
                {"Key": each["Key"], "VersionId": each["VersionId"]}
                for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            ]
            if not versions:
                break
            reply = client.delete_objects(
                Bucket=bucket,
                Delete={"Objects": versions, "Quiet": True},
                ExpectedBucketOwner=account,
            )
            if errors := reply.get("Errors"):
                raise RefusedError(f"{bucket} keeps {len(errors)} objects: {errors[0]['Code']}")
            deleted += len(versions)
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise
    return deleted


def confirm(deployment: Deployment) -> None:
    """Ask once, before anything is deleted; `cdk destroy` is then told not to ask again.

    Raises:
        RefusedError: The answer is no, or there is nobody to ask.
    """
    what = "all of its stacks" if deployment.retain else "all of its stacks and all that it stores"
    print(f"This deletes {deployment.name} in {', '.join(deployment.regions)}: {what}.")
    try:
        given = input(f"Type {deployment.name} to go on: ")
    except EOFError:
        given = ""
    if given.strip() != deployment.name:
        raise RefusedError("not confirmed (--force does not ask); nothing was deleted")


def prepare(deployment: Deployment, *, ask: bool) -> None:
    """Look at everything, then empty the buckets of a deployment that keeps nothing.

    Raises:
        RefusedError: Something stands in the way; the message says what to do.
    """
    session = boto3.Session()
    found = list(stacks(session, deployment))
    refuse_protected(found, deployment)
    refuse_forgotten(found, deployment)
    if ask:
        confirm(deployment)
    if deployment.retain:
        return
    for region, bucket in buckets(deployment):
        client = session.client("s3", region_name=region)
        if count := empty(client, bucket, account=deployment.account):
            print(f"{bucket}: {count} versions deleted")


def main(words: list[str]) -> int:
    """Prepare the deployment of a configuration to be destroyed; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="do not ask")
    given = parser.parse_args(words)
    try:
        prepare(load(given.config), ask=not given.force)
    except ConfigError as error:
        print(f"destroy: {error}", file=sys.stderr)
        return USAGE
    except (RefusedError, BotoCoreError, ClientError) as error:
        print(f"destroy: {error}", file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
