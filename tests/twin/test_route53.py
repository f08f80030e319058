"""Route 53 in the twin: who is healthy, since when, and where clients are led.

"Developer Guide" is the Amazon Route 53 Developer Guide.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from moto import mock_aws

from spillway.twin.apigateway import ApiGateway
from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.functions import FunctionDefinition, Functions
from spillway.twin.http import AsyncTransport, Transport
from spillway.twin.regions import Regions, Services
from spillway.twin.resources import Resource, UnsupportedError
from spillway.twin.route53 import NoSuchNameError, Resolver, Route53, latency_ms

FIRST, SECOND, THIRD = REGIONS = ("us-east-1", "us-east-2", "us-west-2")
NAME, ZONE = "api.example.com", "Z0123456789ABC"


class Submit:
    """A function that says where it is, and is as ready as the test wants."""

    def __init__(self) -> None:
        self.ready = dict.fromkeys(REGIONS, 200)
        self.takes_s = 0.0
        self.asked: list[tuple[float, str, str]] = []

    def environment(self, *, environ: Any, sleep: Callable[[float], None], **_: Any) -> Any:
        """Start an execution environment."""
        region = environ["AWS_REGION"]

        def handle(event: Any, _: Any) -> Any:
            self.asked.append((self.now(), region, event["path"]))
            sleep(self.takes_s)
            health = event["path"].startswith("/health")
            return {"statusCode": self.ready[region] if health else 200, "body": region}

        return handle

    now: Callable[[], float] = staticmethod(lambda: 0.0)


class World:
    """An API in three regions, and a domain as the Routing stacks deploy it."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(virtual=True, seed=1)
        self.hook = Hook(self.scheduler)
        self.functions = Functions(self.scheduler, self.hook, cold_start_s=0.0)
        self.gateway = ApiGateway(self.scheduler, self.functions)
        self.route53 = Route53(self.scheduler, self.gateway)
        self.submit = Submit()
        self.submit.now = self.scheduler.now
        services: dict[str, Any] = {name: Mock() for name in Services.__dataclass_fields__}
        services["dynamodb"].regions.return_value = []
        self.regions = Regions(
            self.hook,
            Services(**services | {"functions": self.functions, "gateway": self.gateway}),
            names=REGIONS,
        )
        self.apis: dict[str, str] = {}
        self.targets: dict[tuple[str, str], str] = {}
        for region in REGIONS:
            self._deploy(region)

    def close(self) -> None:
        """End it all."""
        self.scheduler.close()
        self.functions.close()
        self.hook.close()

    def create(self, kind: str, region: str, name: str = "", **properties: Any) -> Resource:
        """Create a resource of a template."""
        resource = Resource(
            type=f"AWS::{kind}",
            logical_id=name or kind,
            physical_id=f"stack-{region}-{name or kind}",
            region=region,
            account="123456789012",
            stack=f"stack-{region}",
            properties=properties,
        )
        service = self.route53 if kind.startswith("Route53") else self.gateway
        return service.create(resource) or resource

    def _deploy(self, region: str) -> None:
        """An API, and its two names."""
        self.functions.deploy(
            FunctionDefinition(name="submit", region=region, timeout_s=30, code=self.submit)
        )
        api = self.create("ApiGateway::RestApi", region, Name="app")
        self.apis[region] = api.physical_id
        ids = {"RestApiId": api.physical_id}
        path = self.create(
            "ApiGateway::Resource",
            region,
            ParentId=api.attributes["RootResourceId"],
            PathPart="{proxy+}",
            **ids,
        )
        arn = f"arn:aws:lambda:{region}:123456789012:function:submit"
        self.create(
            "ApiGateway::Method",
            region,
            HttpMethod="ANY",
            ResourceId=path.physical_id,
            Integration={"Type": "AWS_PROXY", "Uri": f"arn:path/functions/{arn}/invocations"},
            **ids,
        )
        deployment = self.create("ApiGateway::Deployment", region, **ids)
        self.create(
            "ApiGateway::Stage",
            region,
            StageName="api",
            DeploymentId=deployment.physical_id,
            **ids,
        )
        for name in (NAME, f"{region}.{NAME}"):
            self.domain(region, name)
            self.create(
                "ApiGateway::BasePathMapping", region, name, DomainName=name, Stage="api", **ids
            )

    def domain(self, region: str, name: str, **changed: Any) -> Resource:
        """A custom domain."""
        settings: dict[str, Any] = {
            "DomainName": name,
            "EndpointConfiguration": {"Types": ["REGIONAL"]},
            "RegionalCertificateArn": "arn:aws:acm:…",
            "SecurityPolicy": "TLS_1_2",
        }
        domain = self.create("ApiGateway::DomainName", region, name, **settings | changed)
        self.targets[region, name] = domain.attributes["RegionalDomainName"]
        return domain

    def check(self, region: str, **changed: Any) -> str:
        """A region's health check, as the Routing stack has it; its id."""
        config: Mapping[str, Any] = {
            "Type": "HTTPS",
            "FullyQualifiedDomainName": f"{region}.{NAME}",
            "Port": 443,
            "ResourcePath": "/health/ready",
            "EnableSNI": True,
            "RequestInterval": 10,
            "FailureThreshold": 3,
        }
        made = self.create("Route53::HealthCheck", region, HealthCheckConfig={**config, **changed})
        return made.attributes["HealthCheckId"]

    def record(
        self,
        name: str,
        target: str,
        *,
        kinds: tuple[str, ...] = ("A", "AAAA"),
        follow: bool = False,
        **routing: Any,
    ) -> None:
        """Aliases of a name."""
        for kind in kinds:
            self.create(
                "Route53::RecordSet",
                FIRST,
                Name=f"{name}.",
                Type=kind,
                HostedZoneId=ZONE,
                AliasTarget={
                    "DNSName": target,
                    "HostedZoneId": "Z",
                    **({"EvaluateTargetHealth": True} if follow else {}),
                },
                **routing,
            )

    def latency(self) -> None:
        """Records by latency, each with its health check."""
        for region in REGIONS:
            check = self.check(region)
            self.record(f"{region}.{NAME}", self.targets[region, f"{region}.{NAME}"])
            self.record(
                NAME,
                self.targets[region, NAME],
                Region=region,
                SetIdentifier=region,
                HealthCheckId=check,
            )

    def failover(self) -> None:
        """Records that fail over from each region to the next."""
        checks = {region: self.check(region) for region in REGIONS}
        for region in REGIONS:
            self.record(f"{region}.{NAME}", self.targets[region, f"{region}.{NAME}"])
        for name, region, place in (
            (NAME, FIRST, "PRIMARY"),
            (f"standby.{NAME}", SECOND, "PRIMARY"),
            (f"standby.{NAME}", THIRD, "SECONDARY"),
        ):
            self.record(
                name,
                self.targets[region, NAME],
                Failover=place,
                SetIdentifier=region,
                HealthCheckId=checks[region],
            )
        self.record(
            NAME, f"standby.{NAME}", Failover="SECONDARY", SetIdentifier="standby", follow=True
        )

    def led(self, near: str = FIRST, name: str = NAME) -> str:
        """The region that a client is led to now."""
        return self.route53.resolve(name, client_region=near).region

    def client(self, near: str, name: str = NAME) -> httpx.Client:
        """A client with a resolver of its own."""
        resolver = Resolver(self.scheduler, self.route53, near=near)
        transport = Transport(self.scheduler, self.gateway, resolver=resolver)
        return httpx.Client(transport=transport, base_url=f"https://{name}", timeout=5.0)

    def until(self, region: str, near: str, limit_s: float) -> float:
        """Seconds until DNS leads clients near one region to another one."""
        began_s = self.scheduler.now()
        assert self.scheduler.run_until_true(lambda: self.led(near) == region, limit_s)
        return self.scheduler.now() - began_s


@pytest.fixture
def world() -> Iterator[World]:
    """Three regions, without records yet."""
    with mock_aws(config={"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}):
        world = World()
        try:
            yield world
        finally:
            world.close()


# ---- latency


@pytest.mark.parametrize(
    ("near", "region"),
    [
        (FIRST, FIRST),
        (SECOND, SECOND),
        (THIRD, THIRD),
        ("us-west-1", THIRD),
        ("eu-west-1", FIRST),
        ("ap-northeast-1", THIRD),
        ("mx-central-1", SECOND),
    ],
)
def test_a_client_is_led_to_the_nearest_region(world: World, near: str, region: str) -> None:
    """Developer Guide, "Latency-based routing"."""
    world.latency()

    assert world.led(near) == region
    assert world.led(near, "API.Example.com.") == region


def test_latencies_are_about_those_of_the_world() -> None:
    """Distances stand for what Route 53 measures; a wrong place would lead clients astray."""
    assert latency_ms(FIRST, FIRST) == 0
    assert 3 < latency_ms(FIRST, SECOND) < 15
    assert 30 < latency_ms(FIRST, THIRD) < 70
    assert 50 < latency_ms(FIRST, "eu-west-1") < 80
    assert latency_ms("eu-west-1", THIRD) == pytest.approx(latency_ms(THIRD, "eu-west-1"))
    with pytest.raises(ValueError, match="it is not known where moon-1 is"):
        latency_ms(FIRST, "moon-1")


def test_three_failed_checks_take_a_region_out(world: World) -> None:
    """Developer Guide: "the failure threshold" is of consecutive checks, 10 s apart."""
    world.latency()
    world.scheduler.run_for(100)
    world.submit.ready[FIRST] = 503

    seconds = world.until(SECOND, FIRST, 31)

    assert 20 < seconds <= 30
    # Those whose nearest region is another one notice nothing.
    assert world.led(THIRD) == THIRD


def test_three_good_checks_bring_a_region_back(world: World) -> None:
    """The threshold holds for recovery too: one good answer proves little."""
    world.latency()
    world.submit.ready[FIRST] = 503
    world.scheduler.run_for(100)
    assert world.led() == SECOND
    world.submit.ready[FIRST] = 200

    seconds = world.until(FIRST, FIRST, 31)

    assert 20 < seconds <= 30


def test_two_failed_checks_change_nothing(world: World) -> None:
    """A hiccup must not throw every client over to another region."""
    world.latency()
    check = world.route53.checks[f"{FIRST}.{NAME}"]
    for _ in range(10):
        world.submit.ready[FIRST] = 503
        assert world.scheduler.run_until_true(lambda: check.against == 2, 31)
        world.submit.ready[FIRST] = 200
        assert world.scheduler.run_until_true(lambda: check.against == 0, 31)
        assert world.led() == FIRST


def test_an_answer_later_than_two_seconds_is_a_failed_check(world: World) -> None:
    """Developer Guide: a status code "within two seconds after connecting"."""
    world.latency()
    world.submit.takes_s = 1.9
    world.scheduler.run_for(60)
    assert all(check.healthy for check in world.route53.checks.values())
    world.submit.takes_s = 2.1
    world.scheduler.run_for(60)

    assert not any(check.healthy for check in world.route53.checks.values())


@pytest.mark.parametrize(("status", "healthy"), [(204, True), (302, True), (404, False)])
def test_every_status_below_400_is_healthy(world: World, status: int, healthy: bool) -> None:
    """Developer Guide: "2xx or 3xx"."""
    world.latency()
    world.submit.ready[FIRST] = status
    world.scheduler.run_for(60)

    assert (world.led() == FIRST) is healthy


def test_nothing_healthy_is_answered_as_if_everything_were(world: World) -> None:
    """Developer Guide: Route 53 "considers all of them healthy": some may work after all."""
    world.latency()
    world.submit.ready = dict.fromkeys(REGIONS, 503)
    world.scheduler.run_for(60)

    assert not any(check.healthy for check in world.route53.checks.values())
    assert [world.led(near) for near in REGIONS] == list(REGIONS)


def test_a_checker_asks_the_region_and_no_other(world: World) -> None:
    """By the shared name a sound region would answer for a dead one."""
    world.latency()
    world.scheduler.run_for(60)

    checked = [region for _, region, path in world.submit.asked if path == "/health/ready"]
    assert {checked.count(region) for region in REGIONS} == {6}
    times = [at for at, region, _ in world.submit.asked if region == FIRST]
    assert {round(b - a, 6) for a, b in pairwise(times)} == {10}


# ---- failover


def test_regions_take_over_one_after_the_other(world: World) -> None:
    """Developer Guide, "How health checks work in complex Amazon Route 53 configurations"."""
    world.failover()
    led = []
    for region in REGIONS:
        world.scheduler.run_for(60)
        led.append(world.led(THIRD))
        world.submit.ready[region] = 503
    world.scheduler.run_for(60)

    assert led == list(REGIONS)
    # Nothing is healthy: the primary, as if it were.
    assert world.led(THIRD) == FIRST


def test_the_first_region_takes_over_again(world: World) -> None:
    """A region that is back gets its work back without anybody's doing."""
    world.failover()
    world.submit.ready[FIRST] = world.submit.ready[SECOND] = 503
    world.scheduler.run_for(60)
    assert world.led() == THIRD
    world.submit.ready[SECOND] = 200
    world.scheduler.run_for(60)
    assert world.led() == SECOND
    world.submit.ready[FIRST] = 200
    world.scheduler.run_for(60)

    assert world.led() == FIRST


def test_an_unhealthy_standby_of_a_sound_region_changes_nothing(world: World) -> None:
    """What nobody uses may be broken without anybody's noticing at the API."""
    world.failover()
    world.submit.ready[SECOND] = world.submit.ready[THIRD] = 503
    world.scheduler.run_for(60)

    assert world.led() == FIRST


# ---- clients


def test_a_client_keeps_an_answer_for_a_minute(world: World) -> None:
    """A client follows a failover when its answer's time to live is over, not before."""
    world.latency()
    client = world.client(FIRST)
    assert client.get("/v1/models").text == FIRST
    world.submit.ready[FIRST] = 503
    kept_s = world.scheduler.now()
    world.scheduler.run_for(50)
    assert world.led() == SECOND

    assert client.get("/v1/models").text == FIRST
    assert world.client(FIRST).get("/v1/models").text == SECOND
    world.scheduler.run_until(kept_s + 60)
    assert client.get("/v1/models").text == SECOND


def test_a_dead_region_loses_its_clients_within_94_seconds(world: World) -> None:
    """Three checks, the last one's four seconds to connect, and an answer's minute."""
    world.latency()
    client = world.client(FIRST)
    world.scheduler.run_for(35)
    client.get("/v1/models")
    world.regions.kill(FIRST)
    killed_s = world.scheduler.now()

    def reached() -> str:
        try:
            return client.get("/v1/models", timeout=1.0).text
        except httpx.ConnectTimeout:
            return ""

    outage = []
    while not (region := reached()):
        outage.append(world.scheduler.now())
        world.scheduler.run_for(1)
    assert region == SECOND
    assert 30 < world.scheduler.now() - killed_s <= 94 + 2
    assert outage[0] - killed_s == pytest.approx(1)

    world.regions.restore(FIRST)
    world.scheduler.run_for(30 + 60)
    assert reached() == FIRST


def test_a_region_that_only_clients_cannot_reach_is_left_too(world: World) -> None:
    """Checkers are on the clients' side of an outage."""
    world.latency()
    world.regions.isolate(FIRST, "clients")
    world.scheduler.run_for(35)

    assert world.led() == SECOND


def test_a_regions_own_name_leads_there_whatever_its_health(world: World) -> None:
    """An operator looks into a sick region, and a client that fails over by itself may try it."""
    world.latency()
    world.submit.ready[THIRD] = 503
    world.scheduler.run_for(60)

    assert world.client(FIRST, f"{THIRD}.{NAME}").get("/v1/models").text == THIRD


@pytest.mark.parametrize("name", ["nowhere.example.com", "us-east-3.api.example.com"])
def test_a_name_without_a_record_cannot_be_connected_to(world: World, name: str) -> None:
    """As on a network, where a name that does not exist is no HTTP status."""
    world.latency()

    with pytest.raises(httpx.ConnectError, match="there is no record"):
        world.client(FIRST, name).get("/v1/models")
    with pytest.raises(NoSuchNameError):
        world.led(name=name)


def test_a_name_without_a_domain_has_no_certificate(world: World) -> None:
    """Where the standby's name leads, API Gateway knows only the shared one."""
    world.failover()

    with pytest.raises(httpx.ConnectError, match="no certificate"):
        world.client(FIRST, f"standby.{NAME}").get("/v1/models")


async def _get(world: World) -> str:
    resolver = Resolver(world.scheduler, world.route53, near=THIRD)
    transport = AsyncTransport(world.scheduler, world.gateway, resolver=resolver)
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{NAME}") as client:
        return (await client.get("/v1/models")).text


def test_asynchronous_clients_are_led_alike(world: World) -> None:
    """Both of our clients take the domain."""
    world.latency()

    assert asyncio.run(_get(world)) == THIRD


# ---- refusals


def test_what_the_gateway_would_refuse_of_a_domain_is_refused(world: World) -> None:
    """A template that AWS refuses must not pass here."""
    with pytest.raises(ValueError, match="already exists"):
        world.domain(FIRST, NAME)
    with pytest.raises(ValueError, match="certificate"):
        world.domain(FIRST, "other.example.com", RegionalCertificateArn="")
    with pytest.raises(UnsupportedError, match="REGIONAL"):
        world.domain(FIRST, "other.example.com", EndpointConfiguration={"Types": ["EDGE"]})

    def mapping(region: str, name: str, *, api: str = FIRST, stage: str = "api") -> None:
        world.create(
            "ApiGateway::BasePathMapping",
            region,
            DomainName=name,
            RestApiId=world.apis[api],
            Stage=stage,
        )

    with pytest.raises(ValueError, match="no domain"):
        mapping(FIRST, "other.example.com")
    with pytest.raises(ValueError, match="Base path already exists"):
        mapping(FIRST, NAME)
    with pytest.raises(ValueError, match="Invalid stage"):
        mapping(FIRST, NAME, stage="other")
    with pytest.raises(ValueError, match="Invalid stage"):
        mapping(SECOND, NAME, api=FIRST)


def test_a_domain_without_an_api_answers_403(world: World) -> None:
    """As API Gateway does, while a mapping is missing."""
    world.domain(FIRST, "bare.example.com")
    world.record("bare.example.com", world.targets[FIRST, "bare.example.com"])

    response = world.client(FIRST, "bare.example.com").get("/v1/models")

    assert (response.status_code, response.json()) == (403, {"message": "Forbidden"})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Type": "TCP"}, "HealthCheckConfig.Type: only HTTPS"),
        ({"EnableSNI": False}, "HealthCheckConfig.EnableSNI"),
        ({"Port": 8443}, "HealthCheckConfig.Port"),
    ],
)
def test_a_health_check_that_does_not_run_is_named(
    world: World, config: dict[str, Any], said: str
) -> None:
    """A check that silently always passes would be found in an outage."""
    with pytest.raises(UnsupportedError, match=said):
        world.check(FIRST, **config)


@pytest.mark.parametrize("config", [{"RequestInterval": 5}, {"FailureThreshold": 0}])
def test_a_health_check_out_of_range_is_refused(world: World, config: dict[str, Any]) -> None:
    """As Route 53 does."""
    with pytest.raises(ValueError, match="RequestInterval must be 10 or 30"):
        world.check(FIRST, **config)


def test_records_that_route_53_refuses_are_refused(world: World) -> None:
    """Each of these fails a deployment after minutes, half of the names created."""
    world.latency()
    target = world.targets[FIRST, NAME]
    refused: tuple[tuple[str, dict[str, Any]], ...] = (
        ("failover beside a record with latency", {"Failover": "PRIMARY", "SetIdentifier": "x"}),
        ("simple beside a record with latency", {}),
        ("there is a record like it", {"Region": FIRST, "SetIdentifier": "x"}),
        ("there is a record like it", {"Region": "eu-west-1", "SetIdentifier": FIRST}),
        ("with a SetIdentifier", {"Region": "eu-west-1"}),
        ("with a SetIdentifier", {"SetIdentifier": "x"}),
        ("there is no health check", {"HealthCheckId": "x"}),
    )
    for said, routing in refused:
        with pytest.raises(ValueError, match=said):
            world.record(NAME, target, **routing)
    with pytest.raises(ValueError, match="which is not there"):
        world.record("other.example.com", "nowhere.example.com")
    with pytest.raises(UnsupportedError, match="A and AAAA"):
        world.record("other.example.com", target, kinds=("CNAME",))
    with pytest.raises(UnsupportedError, match="Region: it is not known where"):
        world.record("other.example.com", target, Region="cn-north-1", SetIdentifier="x")
