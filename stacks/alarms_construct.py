"""The alarms that people read, in one stack, and the topic on which a region's alarms tell them."""

from collections.abc import Iterable

from aws_cdk import CfnResource
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from config.operator_alarms import OperatorAlarm, Reading, Together, description
from config.schema import Deployment
from stacks.encryption import READ_AND_WRITE
from stacks.lifetime import removal

SIGNS = {
    ">": "GreaterThanThreshold",
    ">=": "GreaterThanOrEqualToThreshold",
    "<": "LessThanThreshold",
}


class AlarmsTopic(Construct):
    """Where a region's alarms tell people, by e-mail too, encrypted under a key of ours.

    CloudWatch may not use the key that AWS manages for SNS: its messages would be lost without a
    word. So a deployment whose data is under keys of AWS has one for its alarms alone.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        region: str,
        key: kms.Key | None,
    ) -> None:
        super().__init__(scope, construct_id)
        alarms = f"arn:aws:cloudwatch:{region}:{deployment.account}:alarm:{deployment.name}-*"
        ours = {
            "ArnLike": {"aws:SourceArn": alarms},
            "StringEquals": {"aws:SourceAccount": deployment.account},
        }
        cloudwatch_itself = iam.ServicePrincipal("cloudwatch.amazonaws.com")
        used = key or kms.Key(
            self,
            "Key",
            description=f"What alarms of {deployment.name} tell.",
            enable_key_rotation=True,
            removal_policy=removal(retain=deployment.retain),
        )
        used.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[cloudwatch_itself],
                actions=list(READ_AND_WRITE),
                resources=["*"],  # In a key's own policy this means the key.
                conditions=ours,
            )
        )
        topic = sns.Topic(
            self,
            "Topic",
            topic_name=deployment.names.alarms_topic,
            enforce_ssl=True,
            master_key=used,
        )
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[cloudwatch_itself],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions=ours,
            )
        )
        for number, address in enumerate(deployment.alarms.emails):
            sns.CfnSubscription(
                self,
                f"Email{number}",
                topic_arn=topic.topic_arn,
                protocol="email",
                endpoint=address,
            )


class Alarms(Construct):
    """Alarms that a person reads; each tells the region's topic when it rings and when it ends."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        region: str,
        of: Iterable[OperatorAlarm | Together],
    ) -> None:
        super().__init__(scope, construct_id)
        self._deployment = deployment
        topic = deployment.names.alarms_topic
        # By name, as everywhere: alarms of a model's stack tell the topic of the region's.
        self._topics = [f"arn:aws:sns:{region}:{deployment.account}:{topic}"]
        self._made: dict[str, CfnResource] = {}
        for alarm in of:
            if isinstance(alarm, Together):
                self._together(alarm)
            else:
                self._alarm(alarm)

    def _alarm(self, alarm: OperatorAlarm) -> None:
        """One metric alarm."""
        watched = _one(alarm.readings["m"]) if not alarm.expression else _several(alarm)
        told = [] if alarm.silent else self._topics
        self._made[alarm.name] = CfnResource(
            self,
            self._id(alarm.name),
            type="AWS::CloudWatch::Alarm",
            properties={
                "AlarmName": alarm.name,
                "AlarmDescription": description(alarm, self._deployment),
                "AlarmActions": told,
                "OKActions": told,
                "ComparisonOperator": SIGNS[alarm.sign],
                "Threshold": alarm.threshold,
                "EvaluationPeriods": alarm.periods,
                "DatapointsToAlarm": alarm.needed,
                "TreatMissingData": alarm.missing,
                **({"Period": alarm.period_s} if not alarm.expression else {}),
                **(_warm_up(alarm.quiet_minutes) if alarm.quiet_minutes else {}),
                **watched,
            },
        )

    def _together(self, alarm: Together) -> None:
        """One composite alarm, after the alarms of this stack that it is made of."""
        made = cloudwatch.CfnCompositeAlarm(
            self,
            self._id(alarm.name),
            alarm_name=alarm.name,
            alarm_description=description(alarm, self._deployment),
            alarm_rule=alarm.rule,
            alarm_actions=self._topics,
            ok_actions=self._topics,
        )
        for name in alarm.any_of:
            made.add_resource_dependency(self._made[name])

    def _id(self, name: str) -> str:
        """Short, and the same whatever the deployment's name is."""
        return name.removeprefix(self._deployment.names.alarm(""))


def _warm_up(minutes: int) -> dict[str, object]:
    """An alarm's properties that keep it from being looked at while it is new."""
    settings = {
        "WarmUpPeriodDurationInMinutes": minutes,
        "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True,
    }
    return {"WarmUpConfiguration": settings}


def _one(reading: Reading) -> dict[str, object]:
    """An alarm's properties that name one series."""
    return {
        "Namespace": reading.namespace,
        "MetricName": reading.metric,
        "Dimensions": _pairs(reading),
        "Statistic": reading.statistic,
    }


def _several(alarm: OperatorAlarm) -> dict[str, object]:
    """An alarm's properties that name several series and what is computed of them."""
    queries: list[dict[str, object]] = [
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {
                "Metric": {
                    "Namespace": reading.namespace,
                    "MetricName": reading.metric,
                    "Dimensions": _pairs(reading),
                },
                "Period": alarm.period_s,
                "Stat": reading.statistic,
            },
        }
        for name, reading in alarm.readings.items()
    ]
    return {"Metrics": [*queries, {"Id": "all", "Expression": alarm.expression}]}


def _pairs(reading: Reading) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in reading.dimensions.items()]
