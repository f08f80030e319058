"""How long stored things live, and when they go with their stack."""

import math

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3

from config.schema import Deployment

LOG_RETENTION = {
    days: getattr(logs.RetentionDays, name)
    for days, name in {
        1: "ONE_DAY",
        3: "THREE_DAYS",
        5: "FIVE_DAYS",
        7: "ONE_WEEK",
        14: "TWO_WEEKS",
        30: "ONE_MONTH",
        60: "TWO_MONTHS",
        90: "THREE_MONTHS",
        180: "SIX_MONTHS",
        365: "ONE_YEAR",
    }.items()
}


def removal(*, retain: bool) -> RemovalPolicy:
    """Keep what is stored, except when its own first deployment failed.

    Without the exception a failed first deployment leaves named resources behind that make the
    second one fail as well.
    """
    return RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if retain else RemovalPolicy.DESTROY


def payload_rules(deployment: Deployment) -> list[s3.LifecycleRule]:
    """Backstop of the sweep function: nothing outlives the last moment a client may read it."""
    kept_s = deployment.limits.deadline_s_max + deployment.limits.retention_s
    return [
        s3.LifecycleRule(
            id="payloads",
            expiration=Duration.days(math.ceil(kept_s / 86_400) + 1),
            # A deleted payload is gone a day later: replication needs versions, readers do not.
            noncurrent_version_expiration=Duration.days(1),
            abort_incomplete_multipart_upload_after=Duration.days(1),
        ),
        # Nobody reads them again, and they are large; those that never became a job go with them.
        s3.LifecycleRule(
            id="uploads",
            prefix="uploads/",
            expiration=Duration.days(math.ceil(deployment.limits.upload_life_s / 86_400) + 1),
        ),
    ]
