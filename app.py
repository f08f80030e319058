"""The deployment, top to bottom: one ledger, then in every region its functions and its models."""

import json
import os
import sys
from pathlib import Path

from stacks.node import node_binary

node_binary()  # jsii starts the Node of the Python wheel: before the first import of aws_cdk.

import aws_cdk as cdk  # noqa: E402

from config.schema import ConfigError, Deployment, load  # noqa: E402
from stacks.asset import built_layer, staged_code  # noqa: E402
from stacks.data_stack import DataStack  # noqa: E402
from stacks.model_stack import ModelStack  # noqa: E402
from stacks.region_stack import RegionStack  # noqa: E402
from stacks.replica_stack import ReplicaStack  # noqa: E402
from stacks.routing_stack import RoutingStack  # noqa: E402

ROOT = Path(__file__).parent


def compose(app: cdk.App, deployment: Deployment, *, code: Path, layer: Path) -> None:
    """Put the stacks together, each after those it needs."""
    data = DataStack(app, deployment=deployment)
    replicas = {
        region: ReplicaStack(app, deployment=deployment, region=region)
        for region in deployment.regions
        if deployment.region_after(region)
    }
    for region in deployment.regions:
        serving = RegionStack(app, deployment=deployment, region=region, code=code, layer=layer)
        serving.add_stack_dependency(data)
        for other, replica in replicas.items():
            if other != region:
                serving.add_stack_dependency(replica)
        if domain := deployment.domain:
            names = RoutingStack(app, deployment=deployment, domain=domain, region=region)
            names.add_stack_dependency(serving)
        for model in deployment.models:
            endpoints = ModelStack(app, deployment=deployment, region=region, model=model)
            endpoints.add_stack_dependency(serving)


def create(*, outdir: Path | str, context: dict[str, object] | None = None) -> cdk.App:
    """Build the application from the files alone: no account, git or network is asked."""
    settings = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = cdk.App(
        analytics_reporting=False,
        # The command line checks the bootstrap version before it deploys; a rule repeats it.
        default_stack_synthesizer=cdk.DefaultStackSynthesizer(
            generate_bootstrap_version_rule=False
        ),
        outdir=str(outdir),
        # Feature flags hold however the application is started; the command line's -c wins.
        context=settings | (context or {}),
    )
    deployment = load(ROOT / app.node.get_context("config"))
    layer = built_layer(app, default=ROOT / "build" / "layer")
    description = ROOT / "docs" / "openapi.json"
    with staged_code(app, deployment, source=ROOT / "lambdas", description=description) as code:
        compose(app, deployment, code=code, layer=layer)
    return app


if __name__ == "__main__":
    # The command line says where the assembly goes; without it, where the command line would.
    try:
        create(outdir=os.environ.get("CDK_OUTDIR", ROOT / "cdk.out")).synth()  # noqa: TID251
    except ConfigError as error:
        sys.exit(str(error))
