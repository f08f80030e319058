"""A region's keeper of second copies for the region before it in the ring."""

from aws_cdk import Environment, Stack
from aws_cdk import aws_s3 as s3
from constructs import Construct

from config.schema import Deployment
from stacks.buckets import private_bucket
from stacks.encryption import own_key


class ReplicaStack(Stack):
    """Deployed before the region that writes here: replication needs its destination."""

    def __init__(self, scope: Construct, *, deployment: Deployment, region: str) -> None:
        super().__init__(
            scope,
            f"Replica-{region}",
            stack_name=f"{deployment.name}-Replica-{region}",
            description=f"Spillway {deployment.name}: second copies of another region's payloads.",
            env=Environment(account=deployment.account, region=region),
            termination_protection=deployment.retain,
        )
        names = deployment.names
        key = own_key(
            self,
            "Key",
            deployment=deployment,
            alias=names.replica_key_alias,
            description=f"Second copies of payloads of {deployment.name}.",
        )
        self.bucket: s3.Bucket = private_bucket(
            self, "Payloads", deployment=deployment, name=names.replica_bucket(region), key=key
        )
