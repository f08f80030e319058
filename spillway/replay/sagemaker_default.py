"""Fleets scaled as SageMaker documents it, in place of the deployment's own policies.

Target tracking on the backlog per instance, and a step policy that leaves zero: the configuration
of the developer guide, "Autoscale an asynchronous endpoint"
(docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html), with the cooldowns of the
notebook that SageMaker publishes for it. It is what `spillway replay --scaling` compares with.
"""

from typing import Any, Final

from config.schema import Deployment
from spillway.local import waiting
from spillway.twin.sagemaker import Endpoint
from spillway.twin.sagemaker_metrics import NAMESPACE, PER_INSTANCE
from spillway.twin.twin import Twin

TARGET: Final = 5.0
"""Requests queued and in process for each instance."""
IN_COOLDOWN_S: Final = 600
OUT_COOLDOWN_S: Final = 300
STEP_COOLDOWN_S: Final = 300
SAMPLES_EVERY_S: Final = 10.0
"""What AWS documents of these metrics are averages and extremes of a minute; from several samples
the default sees a burst a minute sooner than from one at its end."""
DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"


def install(twin: Twin, deployment: Deployment) -> None:
    """Replace the policies of every endpoint that is wanted, on a running twin.

    Spillway keeps SageMaker's own queue shallow, so what waits in the tier queues is told as
    SageMaker's backlog: the default sees what it would see if every job were handed over at once.

    Args:
        twin: Deployed; its templates stay as they are.
        deployment: What it runs.
    """
    names = deployment.names
    models = {
        names.endpoint(name, model.wanted): name
        for name, model in deployment.models.items()
        if model.state == "live"
    }

    def elsewhere(endpoint: Endpoint) -> int:
        model = models.get(endpoint.name)
        return 0 if model is None else waiting(twin, deployment, endpoint.region, model).total()

    twin.sagemaker_metrics.elsewhere = elsewhere
    twin.sagemaker_metrics.every_s = SAMPLES_EVERY_S
    for endpoint in twin.sagemaker.endpoints():
        if endpoint.name in models:
            _replace(twin, endpoint)


def _replace(twin: Twin, endpoint: Endpoint) -> None:
    """Take an endpoint's own policies away and give it those of the guide."""
    session = twin.operator(endpoint.region)
    scaling = session.client("application-autoscaling")
    resource = f"endpoint/{endpoint.name}/variant/{endpoint.variant['VariantName']}"
    target: dict[str, Any] = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": DIMENSION,
    }
    present = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=resource)[
        "ScalingPolicies"
    ]
    for policy in present:
        scaling.delete_scaling_policy(PolicyName=policy["PolicyName"], **target)
    metric = {"Name": "EndpointName", "Value": endpoint.name}
    scaling.put_scaling_policy(
        PolicyName="BacklogPerInstance",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": TARGET,
            "CustomizedMetricSpecification": {
                "MetricName": PER_INSTANCE,
                "Namespace": NAMESPACE,
                "Dimensions": [metric],
                "Statistic": "Average",
            },
            "ScaleInCooldown": IN_COOLDOWN_S,
            "ScaleOutCooldown": OUT_COOLDOWN_S,
        },
        **target,
    )
    step = scaling.put_scaling_policy(
        PolicyName="HasBacklogWithoutCapacity",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": STEP_COOLDOWN_S,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
        **target,
    )
    session.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{endpoint.name}-has-backlog-without-capacity",
        MetricName="HasBacklogWithoutCapacity",
        Namespace=NAMESPACE,
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        DatapointsToAlarm=2,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
        Dimensions=[metric],
        AlarmActions=[step["PolicyARN"]],
    )
