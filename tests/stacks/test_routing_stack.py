"""The deployment's domain: one name for all regions, one for each, and which one is answered."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import aws_cdk as cdk
import pytest
import yaml
from cdk_nag import AwsSolutionsChecks
from cfnlint.api import lint
from cfnlint.config import ConfigMixIn
from cfnlint.runner import Runner

from config.schema import Deployment
from stacks.routing_stack import RoutingStack
from tests.stacks.assemblies import ROOT, Assembly, Synthesize, changed_dev

NAME, ZONE = "api.example.com", "Z0123456789ABC"
REGIONS = ("us-east-1", "us-east-2", "us-west-2")
Routed = Callable[..., Assembly]


def with_domain(document: dict[str, Any], policy: str = "latency") -> None:
    """Give a configuration a domain."""
    document["domain"] = {
        "name": NAME,
        "zone_id": ZONE,
        "zone_name": "example.com",
        "policy": policy,
    }


@pytest.fixture(scope="session")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Routed:
    """The Routing stacks by themselves, which takes a second and not ten."""

    @cache
    def synthesize(policy: str = "latency", source: str = "dev") -> Assembly:
        document = yaml.safe_load((ROOT / "config" / f"{source}.yaml").read_text())
        with_domain(document, policy)
        deployment = Deployment.model_validate(document)
        assert deployment.domain is not None
        path = tmp_path_factory.mktemp("routing")
        app = cdk.App(
            analytics_reporting=False,
            outdir=str(path),
            default_stack_synthesizer=cdk.DefaultStackSynthesizer(
                generate_bootstrap_version_rule=False
            ),
            context=json.loads((ROOT / "cdk.json").read_text())["context"],
        )
        for region in deployment.regions:
            RoutingStack(app, deployment=deployment, domain=deployment.domain, region=region)
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        app.synth()  # Raises on any finding of cdk-nag.
        return Assembly(
            path=path,
            deployment=deployment,
            manifest=json.loads((path / "manifest.json").read_text()),
            templates={
                file.name.removesuffix(".template.json"): json.loads(file.read_text())
                for file in sorted(path.glob("*.template.json"))
            },
        )

    return synthesize


def records(assembly: Assembly, name: str, kind: str = "A") -> dict[str, dict[str, Any]]:
    """The records of a name, by the region whose stack has them."""
    return {
        record.stack.removeprefix("Routing-"): record.properties
        for record in assembly.resources("AWS::Route53::RecordSet")
        if (record.properties["Name"], record.properties["Type"]) == (f"{name}.", kind)
    }


def target(record: dict[str, Any]) -> Any:
    """The construct, or the name, that an alias leads to."""
    name = record["AliasTarget"]["DNSName"]
    return name if isinstance(name, str) else name["Fn::GetAtt"][0]


@pytest.mark.parametrize("policy", ["latency", "failover"])
def test_cfn_lint_finds_nothing_in_the_names(routed: Routed, policy: str) -> None:
    """What CloudFormation would refuse after ten minutes is refused here."""
    assembly = routed(policy)
    rules = Runner(ConfigMixIn(regions=["us-east-1"])).rules
    for stack, artifact in assembly.stacks():
        region = artifact["environment"].rpartition("/")[2]
        template = (assembly.path / f"{stack}.template.json").read_text()
        assert not [str(match) for match in lint(template, rules=rules, regions=[region])], stack


def test_a_region_is_looked_at_by_its_own_name(routed: Routed) -> None:
    """By the shared name a dead region would pass, because a sound one answers the checker."""
    for region in REGIONS:
        check = routed().one("AWS::Route53::HealthCheck", stack=f"Routing-{region}")

        assert check.properties["HealthCheckConfig"] == {
            "Type": "HTTPS",
            "FullyQualifiedDomainName": f"{region}.{NAME}",
            "Port": 443,
            "ResourcePath": "/health/ready",
            "EnableSNI": True,
            "RequestInterval": 10,
            "FailureThreshold": 3,
        }
        own = records(routed(), f"{region}.{NAME}")
        assert list(own) == [region]
        # Whatever its health: the checker must reach the region to see it recover.
        assert not {"HealthCheckId", "Region", "Failover", "SetIdentifier"} & set(own[region])


@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_each_client_gets_the_nearest_healthy_region(routed: Routed, kind: str) -> None:
    """A record without its health check would go on leading clients to a dead region."""
    shared = records(routed(), NAME, kind)

    assert list(shared) == list(REGIONS)
    for region, record in shared.items():
        assert (record["Region"], record["SetIdentifier"]) == (region, region)
        assert record["HealthCheckId"] == {"Fn::GetAtt": ["Health", "HealthCheckId"]}
        assert record["HostedZoneId"] == ZONE


def test_two_regions_fail_over_in_the_configurations_order(routed: Routed) -> None:
    """The first region listed takes the work; the second only when the first is away."""
    shared = records(routed("failover", "prod"), NAME)

    assert {region: record["Failover"] for region, record in shared.items()} == {
        "us-east-1": "PRIMARY",
        "us-east-2": "SECONDARY",
    }
    assert all("HealthCheckId" in record for record in shared.values())


@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_three_regions_fail_over_one_after_the_other(routed: Routed, kind: str) -> None:
    """Route 53 takes one secondary a name; a third region must not be forgotten for that."""
    assembly = routed("failover")
    shared, standby = records(assembly, NAME, kind), records(assembly, f"standby.{NAME}", kind)

    assert {region: record["Failover"] for region, record in shared.items()} == {
        "us-east-1": "PRIMARY",
        "us-west-2": "SECONDARY",
    }
    assert target(shared["us-west-2"]) == f"standby.{NAME}"
    assert shared["us-west-2"]["AliasTarget"]["EvaluateTargetHealth"] is True
    assert {region: record["Failover"] for region, record in standby.items()} == {
        "us-east-2": "PRIMARY",
        "us-west-2": "SECONDARY",
    }
    assert all("HealthCheckId" in record for record in standby.values())
    template = assembly.templates["Routing-us-west-2"]["Resources"]
    assert template[f"Shared{kind}"]["DependsOn"] == [f"Standby{kind}"]


@pytest.mark.parametrize("policy", ["latency", "failover"])
def test_every_answer_leads_to_an_api_that_serves_the_name(routed: Routed, policy: str) -> None:
    """API Gateway refuses a name that it has no domain for, however well DNS answers."""
    assembly = routed(policy)
    for record in assembly.resources("AWS::Route53::RecordSet"):
        if target(record.properties) == f"standby.{NAME}":
            continue
        domain = assembly.templates[record.stack]["Resources"][target(record.properties)]
        asked = record.properties["Name"].rstrip(".").replace("standby.", "")
        assert domain["Type"] == "AWS::ApiGateway::DomainName"
        assert domain["Properties"]["DomainName"] == asked
        assert domain["Properties"]["SecurityPolicy"] == "TLS_1_2"
        assert domain["Properties"]["EndpointConfiguration"] == {"Types": ["REGIONAL"]}


def test_each_region_certifies_both_names_by_itself(routed: Routed) -> None:
    """A certificate is good in its own region only, and must not wait for a mail to be read."""
    for region in REGIONS:
        certificate = routed().one(
            "AWS::CertificateManager::Certificate", stack=f"Routing-{region}"
        )
        names = {NAME, f"{region}.{NAME}"}

        assert {
            certificate.properties["DomainName"],
            *certificate.properties["SubjectAlternativeNames"],
        } == names
        assert certificate.properties["ValidationMethod"] == "DNS"
        validated = certificate.properties["DomainValidationOptions"]
        assert {each["DomainName"]: each["HostedZoneId"] for each in validated} == dict.fromkeys(
            names, ZONE
        )


def test_names_need_nothing_from_another_stack_but_a_parameter(routed: Routed) -> None:
    """An export of the API's id would lock the stack with the functions."""
    for stack, template in routed("failover").templates.items():
        kinds = {body["Type"] for body in template["Resources"].values()}
        assert "Fn::ImportValue" not in json.dumps(template)
        assert not [kind for kind in kinds if kind.startswith(("Custom::", "AWS::CDK"))], stack
        assert [body["Default"] for body in template["Parameters"].values()] == [
            "/spillway-dev/api"
        ]


@pytest.fixture(scope="session")
def whole(synthesize: Synthesize, tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """All stacks of one region with a domain."""
    return synthesize(changed_dev(tmp_path_factory.mktemp("domain"), with_domain))


def test_the_names_come_after_the_api_that_they_lead_to(whole: Assembly) -> None:
    """The parameter with the API's id must be there before it is read."""
    needed = dict(whole.stacks())["Routing-us-east-1"]["dependencies"]
    region = whole.templates["Region-us-east-1"]["Resources"]
    parameter = whole.one("AWS::SSM::Parameter", Name="/spillway-dev/api")

    assert "Region-us-east-1" in needed
    api = parameter.properties["Value"]["Ref"]
    assert region[api]["Type"] == "AWS::ApiGateway::RestApi"
    mappings = whole.resources("AWS::ApiGateway::BasePathMapping")
    assert len(mappings) == 2
    (name,) = whole.templates["Routing-us-east-1"]["Parameters"]
    for mapping in mappings:
        assert mapping.properties["RestApiId"] == {"Ref": name}
        assert "BasePath" not in mapping.properties


def test_the_firewall_stands_before_every_name(whole: Assembly) -> None:
    """A name that went around the firewall would be found."""
    stage = whole.one("AWS::ApiGateway::Stage")
    protected = json.dumps(
        whole.one("AWS::WAFv2::WebACLAssociation").properties["ResourceArn"], sort_keys=True
    )

    assert stage.logical_id in protected
    for mapping in whole.resources("AWS::ApiGateway::BasePathMapping"):
        assert mapping.properties["Stage"] == stage.properties["StageName"]


def test_the_regional_url_stays_open(whole: Assembly) -> None:
    """A client that fails over by itself needs neither Route 53 nor the zone's owner."""
    api = whole.one("AWS::ApiGateway::RestApi")

    assert not api.properties.get("DisableExecuteApiEndpoint")


def test_without_a_domain_nothing_of_it_is_there(dev: Assembly) -> None:
    """Most deployments begin without a zone, and pay for no health check."""
    assert not [name for name, _ in dev.stacks() if name.startswith("Routing")]
    assert not dev.resources("AWS::SSM::Parameter")
