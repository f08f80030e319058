"""Dashboards: one for each region, in its stack, and one for all of them."""

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from config.dashboards import body
from config.schema import Deployment


class Dashboard(Construct):
    """The states of alarms and the graphs of metrics, of one region or of several."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        regions: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        names = deployment.names
        alone = regions[0] if len(regions) == 1 else None
        cloudwatch.CfnDashboard(
            self,
            "Dashboard",
            dashboard_name=names.dashboard(alone),
            dashboard_body=body(deployment, regions),
        )
