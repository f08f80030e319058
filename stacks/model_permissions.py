"""What the containers of a model may do: read their weights and inputs, write their results."""

from collections.abc import Iterable

from config.schema import Deployment, Version
from stacks.encryption import use_by_alias
from stacks.roles import Grant


def model_grants(deployment: Deployment, *, region: str, model: str) -> list[Grant]:
    """The grants of a model's role in a region, for all of its versions."""
    names = deployment.names
    versions = deployment.models[model].versions.values()
    bucket = f"arn:aws:s3:::{names.bucket(region)}"
    topics = f"arn:aws:sns:{region}:{deployment.account}"
    return [
        Grant(
            actions=("s3:GetObject",),
            resources=(
                f"{bucket}/inputs/*",
                f"{bucket}/uploads/*",
                *_other_copies(deployment, region),
            ),
            why="Every job has an object of its own.",
        ),
        Grant(
            actions=("s3:AbortMultipartUpload", "s3:PutObject"),
            resources=(f"{bucket}/results/{model}/*", f"{bucket}/failures/{model}/*"),
            why="Every attempt has an object of its own.",
        ),
        # SageMaker's documentation of asynchronous inference asks for it on the bucket.
        Grant(actions=("s3:ListBucket",), resources=(bucket,)),
        Grant(
            actions=("sns:Publish",),
            resources=(f"{topics}:{names.succeeded_topic}", f"{topics}:{names.failed_topic}"),
        ),
        *_artifacts(versions, region),
        *_images(versions, region),
        *_logs(deployment, region, model),
        *_secrets(versions),
        *_network(deployment, region, model),
        *use_by_alias(deployment, region=region, alias=names.key_alias),
        *_second_key(deployment, region),
    ]


def _other_copies(deployment: Deployment, region: str) -> list[str]:
    """Inputs and uploads of other regions, whose jobs run here when they are moved."""
    if not deployment.region_after(region):
        return []
    replica = f"arn:aws:s3:::{deployment.names.replica_bucket(region)}"
    return [f"{replica}/inputs/*", f"{replica}/uploads/*"]


def _second_key(deployment: Deployment, region: str) -> tuple[Grant, ...]:
    if not deployment.region_after(region):
        return ()
    return use_by_alias(
        deployment,
        region=region,
        alias=deployment.names.replica_key_alias,
        actions=("kms:Decrypt",),
    )


def _artifacts(versions: Iterable[Version], region: str) -> list[Grant]:
    addresses = {version.artifact.s3_in(region) for version in versions}
    objects = sorted(address.removeprefix("s3://") for address in addresses if address)
    if not objects:
        return []
    return [
        Grant(
            actions=("s3:GetObject",),
            resources=tuple(f"arn:aws:s3:::{address}" for address in objects),
        )
    ]


def _images(versions: Iterable[Version], region: str) -> list[Grant]:
    repositories = set()
    for version in versions:
        registry, _, image = version.image_in(region).partition("/")
        repository = image.partition("@")[0].partition(":")[0]
        account = registry.partition(".")[0]
        repositories.add(f"arn:aws:ecr:{region}:{account}:repository/{repository}")
    return [
        Grant(
            actions=("ecr:GetAuthorizationToken",),
            resources=("*",),
            why="A login to the registry belongs to no repository.",
        ),
        Grant(
            actions=(
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ),
            resources=tuple(sorted(repositories)),
        ),
    ]


def _logs(deployment: Deployment, region: str, model: str) -> list[Grant]:
    group = f"/aws/sagemaker/Endpoints/{deployment.names.endpoint(model, '*')}"
    return [
        Grant(
            actions=("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
            resources=(f"arn:aws:logs:{region}:{deployment.account}:log-group:{group}:*",),
            why="Every version and instance has a log of its own.",
        ),
        Grant(
            actions=("cloudwatch:PutMetricData",),
            resources=("*",),
            conditions={"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
            why="Metrics have no address; the condition names the namespace.",
        ),
    ]


def _secrets(versions: Iterable[Version]) -> list[Grant]:
    secrets = sorted({arn for version in versions for arn in version.secrets.values()})
    if not secrets:
        return []
    return [Grant(actions=("secretsmanager:GetSecretValue",), resources=tuple(secrets))]


def _network(deployment: Deployment, region: str, model: str) -> list[Grant]:
    if region not in deployment.models[model].network:
        return []
    return [
        Grant(
            actions=(
                "ec2:CreateNetworkInterface",
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ),
            resources=("*",),
            why="SageMaker's documentation of models in a VPC; describing has no addresses.",
        )
    ]
