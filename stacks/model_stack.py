"""One model in one region: its queues and alarms, and an endpoint for each of its versions."""

from aws_cdk import Environment, Stack
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from config.operator_alarms import of_model
from config.schema import TIERS, Deployment, Version
from stacks.alarms_construct import Alarms
from stacks.encryption import alias_arn
from stacks.guards_construct import Guards
from stacks.model_permissions import model_grants
from stacks.queues import queue_with_dead_letters
from stacks.roles import role_of
from stacks.scaling_construct import ScalingConstruct

VARIANT = "live"
VISIBILITY_S = 120
RECEIVES_MAX = 50
"""dispatch puts back what it has no slot for; only a message that always fails comes this far."""


class ModelStack(Stack):
    """Depends on its region by names alone: a change to a function never touches a GPU."""

    def __init__(
        self, scope: Construct, *, deployment: Deployment, region: str, model: str
    ) -> None:
        super().__init__(
            scope,
            f"Model-{model}-{region}",
            stack_name=f"{deployment.name}-Model-{model}-{region}",
            description=f"Spillway {deployment.name}: the model {model}.",
            env=Environment(account=deployment.account, region=region),
        )
        self._deployment = deployment
        self._region = region
        self._name = model
        self._model = deployment.models[model]
        self._queues()
        if self._model.state == "off":
            return
        Alarms(self, "Alarms", deployment=deployment, region=region, of=of_model(deployment, model))
        role = role_of(
            self,
            "Role",
            service="sagemaker.amazonaws.com",
            grants=model_grants(deployment, region=region, model=model),
        )
        for version in self._model.versions:
            self._endpoint(version, role)

    def _queues(self) -> None:
        """A queue per tier, in which the model's jobs wait, with dead letters of its own."""
        key: kms.IAlias | None = None
        if self._deployment.encryption == "customer-managed":
            key = kms.Alias.from_alias_name(self, "Key", self._deployment.names.key_alias)
        for tier in TIERS:
            queue_with_dead_letters(
                self,
                tier.capitalize(),
                name=self._deployment.names.tier_queue(self._name, tier),
                dead_letters_name=self._deployment.names.tier_dead_letters(self._name, tier),
                key=key,
                visibility_s=VISIBILITY_S,
                receives_max=RECEIVES_MAX,
            )

    def _endpoint(self, name: str, role: iam.Role) -> None:
        """An asynchronous endpoint for one immutable version, and the bounds of its fleet.

        Ids of what answers follow from what it is, and the endpoint's name from its version: with
        another content the endpoint would be a new resource whose name is taken, which
        CloudFormation refuses. Nothing then changes what a version is but a release.
        """
        version = self._model.versions[name]
        within = Construct(self, f"Version-{name}")
        answers = Construct(within, version.content)
        endpoint_name = self._deployment.names.endpoint(self._name, name)
        model = sagemaker.CfnModel(
            answers,
            "Model",
            execution_role_arn=role.role_arn,
            primary_container=self._container(version),
            vpc_config=self._network(),
        )
        configuration = self._configuration(answers, name, version, model.attr_model_name)
        endpoint = sagemaker.CfnEndpoint(
            answers,
            "Endpoint",
            endpoint_name=endpoint_name,
            endpoint_config_name=configuration.attr_endpoint_config_name,
            # An update keeps the instances that scaling asked for.
            retain_all_variant_properties=True,
        )
        wanted = self._model.state == "live" and name == self._model.wanted
        fleet = autoscaling.CfnScalableTarget(
            within,
            "Fleet",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{endpoint_name}/variant/{VARIANT}",
            min_capacity=self._least if wanted else 0,
            max_capacity=self._model.instances_max,
            scheduled_actions=self._scheduled() if wanted else None,
        )
        fleet.add_resource_dependency(endpoint)
        Guards(
            within,
            "Guards",
            deployment=self._deployment,
            region=self._region,
            model=self._name,
            version=name,
        )
        ScalingConstruct(
            within, deployment=self._deployment, model=self._name, version=name, fleet=fleet
        )

    @property
    def _least(self) -> int:
        """The least that ever holds: beat, which knows the time, has alarms ask for the rest."""
        scheduled = (each.instances_min for each in self._model.scaling.schedule)
        return min((self._model.instances_min, *scheduled))

    def _scheduled(self) -> list[autoscaling.CfnScalableTarget.ScheduledActionProperty] | None:
        """Minimums by the clock; both bounds are given, as their order is checked at that time."""
        return [
            autoscaling.CfnScalableTarget.ScheduledActionProperty(
                schedule=f"cron({schedule.cron})",
                timezone=schedule.timezone,
                scheduled_action_name=f"minimum-{number}",
                scalable_target_action=(
                    autoscaling.CfnScalableTarget.ScalableTargetActionProperty(
                        min_capacity=schedule.instances_min,
                        max_capacity=self._model.instances_max,
                    )
                ),
            )
            for number, schedule in enumerate(self._model.scaling.schedule)
        ] or None

    def _container(self, version: Version) -> sagemaker.CfnModel.ContainerDefinitionProperty:
        """The image with its weights and settings; secrets stay in their store, by address."""
        artifact = version.artifact
        hub = (
            {"HF_MODEL_ID": artifact.hub, "HF_REVISION": artifact.revision} if artifact.hub else {}
        )
        secrets = {f"{name}_SECRET_ARN": arn for name, arn in version.secrets.items()}
        return sagemaker.CfnModel.ContainerDefinitionProperty(
            image=version.image_in(self._region),
            model_data_url=artifact.s3_in(self._region),
            environment={**hub, **version.environment, **secrets} or None,
        )

    def _network(self) -> sagemaker.CfnModel.VpcConfigProperty | None:
        network = self._model.network.get(self._region)
        if network is None:
            return None
        return sagemaker.CfnModel.VpcConfigProperty(
            subnets=list(network.subnets), security_group_ids=list(network.security_groups)
        )

    def _configuration(
        self, within: Construct, name: str, version: Version, model_name: str
    ) -> sagemaker.CfnEndpointConfig:
        """Unnamed, because it cannot be changed: another content is another configuration."""
        names = self._deployment.names
        bucket = names.bucket(self._region)
        topics = f"arn:aws:sns:{self._region}:{self._deployment.account}"
        return sagemaker.CfnEndpointConfig(
            within,
            "Configuration",
            production_variants=[
                sagemaker.CfnEndpointConfig.ProductionVariantProperty(
                    variant_name=VARIANT,
                    model_name=model_name,
                    instance_type=version.instance_type,
                    # SageMaker creates no endpoint without an instance. More come from the
                    # scalable target, which raises the fleet to its minimum when it is registered
                    # (Application Auto Scaling API reference, RegisterScalableTarget): a count
                    # that followed the configuration here would replace the whole fleet.
                    initial_instance_count=1,
                    initial_variant_weight=1,
                    volume_size_in_gb=version.volume_gb,
                    container_startup_health_check_timeout_in_seconds=version.startup_timeout_s,
                    model_data_download_timeout_in_seconds=version.startup_timeout_s,
                    inference_ami_version=version.inference_ami,
                )
            ],
            async_inference_config=sagemaker.CfnEndpointConfig.AsyncInferenceConfigProperty(
                client_config=sagemaker.CfnEndpointConfig.AsyncInferenceClientConfigProperty(
                    max_concurrent_invocations_per_instance=self._model.concurrency
                ),
                output_config=sagemaker.CfnEndpointConfig.AsyncInferenceOutputConfigProperty(
                    s3_output_path=f"s3://{bucket}/results/{self._name}/{name}/",
                    s3_failure_path=f"s3://{bucket}/failures/{self._name}/{name}/",
                    kms_key_id=self._key_arn(),
                    notification_config=(
                        sagemaker.CfnEndpointConfig.AsyncInferenceNotificationConfigProperty(
                            success_topic=f"{topics}:{names.succeeded_topic}",
                            error_topic=f"{topics}:{names.failed_topic}",
                            include_inference_response_in=[
                                "SUCCESS_NOTIFICATION_TOPIC",
                                "ERROR_NOTIFICATION_TOPIC",
                            ],
                        )
                    ),
                ),
            ),
        )

    def _key_arn(self) -> str | None:
        if self._deployment.encryption == "aws-owned":
            return None
        return alias_arn(
            self._deployment, region=self._region, alias=self._deployment.names.key_alias
        )
