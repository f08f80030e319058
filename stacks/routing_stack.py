"""A region's part in the deployment's domain: certificate, names, health check and records."""

from typing import Any

from aws_cdk import CfnOutput, Environment, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from config.schema import Deployment, Domain
from stacks.api_construct import STAGE

HEALTH_PATH = "/health/ready"
CHECK_S = 10
FAILURES = 3
KINDS = ("A", "AAAA")


def api_parameter(deployment: Deployment) -> str:
    """The name under which a Region stack leaves the id of its API.

    A parameter and no export: an export locks the stack that it comes from.
    """
    return f"/{deployment.name}/api"


class RoutingStack(Stack):
    """Leads the shared name to this region while it is healthy, and the region's own name always.

    Nothing here refers to another region: each adds its own records beside those of the others,
    and in an outage only health changes, never a record.
    """

    def __init__(
        self, scope: Construct, *, deployment: Deployment, domain: Domain, region: str
    ) -> None:
        super().__init__(
            scope,
            f"Routing-{region}",
            stack_name=f"{deployment.name}-Routing-{region}",
            description=f"Spillway {deployment.name}: the domain's names in this region.",
            env=Environment(account=deployment.account, region=region),
        )
        self._domain = domain
        self._zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=domain.zone_id, zone_name=domain.zone_name
        )
        own = domain.of(region)
        certificate = acm.Certificate(
            self,
            "Certificate",
            domain_name=domain.name,
            subject_alternative_names=[own],
            validation=acm.CertificateValidation.from_dns(self._zone),
        )
        api_id = ssm.StringParameter.value_for_string_parameter(self, api_parameter(deployment))
        shared_target = self._served("Shared", domain.name, certificate, api_id)
        own_target = self._served("Own", own, certificate, api_id)
        check = self._health_check(deployment, own)
        self._records("Own", own, own_target)
        if domain.policy == "latency":
            self._records(
                "Shared",
                domain.name,
                shared_target,
                region=region,
                set_identifier=region,
                health_check_id=check.attr_health_check_id,
            )
        else:
            self._fail_over(deployment, region, shared_target, check)
        CfnOutput(self, "Url", value=f"https://{own}/", description="This region's own name.")

    def _served(
        self, construct_id: str, name: str, certificate: acm.ICertificate, api_id: str
    ) -> route53.CfnRecordSet.AliasTargetProperty:
        """Let the region's API answer to a name; where a record must lead for that."""
        served = apigateway.DomainName(
            self,
            construct_id,
            domain_name=name,
            certificate=certificate,
            endpoint_type=apigateway.EndpointType.REGIONAL,
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
        )
        apigateway.CfnBasePathMapping(
            self,
            f"{construct_id}Mapping",
            domain_name=served.domain_name,
            rest_api_id=api_id,
            stage=STAGE,
        )
        return route53.CfnRecordSet.AliasTargetProperty(
            dns_name=served.domain_name_alias_domain_name,
            hosted_zone_id=served.domain_name_alias_hosted_zone_id,
        )

    def _health_check(self, deployment: Deployment, own: str) -> route53.CfnHealthCheck:
        """Look at the region by its own name, which leads nowhere else.

        By the shared name a checker would ask whichever region answers for it just then.
        """
        return route53.CfnHealthCheck(
            self,
            "Health",
            health_check_config=route53.CfnHealthCheck.HealthCheckConfigProperty(
                type="HTTPS",
                fully_qualified_domain_name=own,
                port=443,
                resource_path=HEALTH_PATH,
                # API Gateway finds certificate and API by the name in the handshake.
                enable_sni=True,
                request_interval=CHECK_S,
                failure_threshold=FAILURES,
            ),
            health_check_tags=[
                route53.CfnHealthCheck.HealthCheckTagProperty(
                    key="Name", value=f"{deployment.name} {self.region}"
                )
            ],
        )

    def _fail_over(
        self,
        deployment: Deployment,
        region: str,
        target: route53.CfnRecordSet.AliasTargetProperty,
        check: route53.CfnHealthCheck,
    ) -> None:
        """Records of the first healthy region in the configuration's order.

        Route 53 knows one primary and one secondary for a name. With three regions the secondary
        of the shared name is a second such pair, under a name of its own.
        """
        place, names = deployment.regions.index(region), self._domain
        here: dict[str, Any] = {
            "set_identifier": region,
            "health_check_id": check.attr_health_check_id,
        }
        if place == 0:
            self._records("Shared", names.name, target, failover="PRIMARY", **here)
        elif len(deployment.regions) == 2:  # noqa: PLR2004 the pair that Route 53 knows
            self._records("Shared", names.name, target, failover="SECONDARY", **here)
        elif place == 1:
            self._records("Standby", names.standby, target, failover="PRIMARY", **here)
        else:
            last = self._records("Standby", names.standby, target, failover="SECONDARY", **here)
            pair = route53.CfnRecordSet.AliasTargetProperty(
                dns_name=names.standby,
                hosted_zone_id=names.zone_id,
                # The pair is as healthy as the better one of its two.
                evaluate_target_health=True,
            )
            shared = self._records(
                "Shared", names.name, pair, failover="SECONDARY", set_identifier="standby"
            )
            for record, named in zip(shared, last, strict=True):
                record.add_resource_dependency(
                    named
                )  # Route 53 refuses an alias of what is not there.

    def _records(
        self,
        construct_id: str,
        name: str,
        target: route53.CfnRecordSet.AliasTargetProperty,
        **routing: Any,
    ) -> list[route53.CfnRecordSet]:
        """One alias for IPv4 and one for IPv6."""
        return [
            route53.CfnRecordSet(
                self,
                f"{construct_id}{kind}",
                hosted_zone_id=self._domain.zone_id,
                name=f"{name}.",
                type=kind,
                alias_target=target,
                **routing,
            )
            for kind in KINDS
        ]
