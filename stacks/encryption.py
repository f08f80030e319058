"""A key of the deployment's own for one region, and how others may use it by its alias."""

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from config.schema import Deployment
from stacks.lifetime import removal
from stacks.roles import Grant

READ_AND_WRITE = ("kms:Decrypt", "kms:GenerateDataKey")
REPLICATE = ("kms:Encrypt", "kms:GenerateDataKey")


def own_key(
    scope: Construct, construct_id: str, *, deployment: Deployment, alias: str, description: str
) -> kms.Key | None:
    """The key of the data in this stack; none when AWS-owned keys were chosen."""
    if deployment.encryption == "aws-owned":
        return None
    key = kms.Key(
        scope,
        construct_id,
        description=description,
        enable_key_rotation=True,
        removal_policy=removal(retain=deployment.retain),
    )
    # The alias is how other stacks name the key: deterministic, so nothing is imported.
    kms.CfnAlias(scope, f"{construct_id}Alias", alias_name=alias, target_key_id=key.key_arn)
    return key


def let_services_use(key: kms.Key, *, deployment: Deployment, region: str) -> None:
    """Let CloudWatch Logs keep the deployment's logs, and SNS fill its queues, under the key.

    The topics stand here by name: they refer to the key, and cannot be referred to by it.
    """
    logs = f"arn:aws:logs:{region}:{deployment.account}:log-group"
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(f"logs.{region}.amazonaws.com")],
            # As the documentation of CloudWatch Logs lists them.
            actions=[
                "kms:Decrypt*",
                "kms:Describe*",
                "kms:Encrypt*",
                "kms:GenerateDataKey*",
                "kms:ReEncrypt*",
            ],
            resources=["*"],  # In a key's own policy this means the key.
            conditions={
                "ArnLike": {
                    "kms:EncryptionContext:aws:logs:arn": [
                        f"{logs}:/aws/{service}/{deployment.name}-*"
                        for service in ("lambda", "apigateway", "sagemaker/Endpoints")
                    ]
                }
            },
        )
    )
    topics = (deployment.names.succeeded_topic, deployment.names.failed_topic)
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("sns.amazonaws.com")],
            actions=list(READ_AND_WRITE),
            resources=["*"],
            conditions={
                "ArnEquals": {
                    "aws:SourceArn": [
                        f"arn:aws:sns:{region}:{deployment.account}:{topic}" for topic in topics
                    ]
                }
            },
        )
    )


def use_by_alias(
    deployment: Deployment,
    *,
    region: str,
    alias: str,
    actions: tuple[str, ...] = READ_AND_WRITE,
) -> tuple[Grant, ...]:
    """Permission to use whichever key bears the alias, when the deployment has its own keys."""
    if deployment.encryption == "aws-owned":
        return ()
    return (
        Grant(
            actions=actions,
            resources=(f"arn:aws:kms:{region}:{deployment.account}:key/*",),
            conditions={"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}},
            why="A key's id exists only after deployment; the condition names the one key.",
        ),
    )


def alias_arn(deployment: Deployment, *, region: str, alias: str) -> str:
    """The address of an alias in a region."""
    return f"arn:aws:kms:{region}:{deployment.account}:{alias}"
