"""Route 53: health checks with their real timing, and the answers that follow from them.

One checker stands for the sixteen or so that AWS runs for every health check: here no two of them
could see different things. What a checker does and how answers follow is as in the Route 53
developer guide, "How Amazon Route 53 determines whether a health check is healthy" and "How Amazon
Route 53 chooses records when health checking is configured".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from spillway.twin.apigateway import ApiGateway, HttpRequest, UnknownDomainError, UnreachableError
from spillway.twin.clock import Scheduler
from spillway.twin.resources import Resource, UnsupportedError

TTL_S: Final = 60.0
"""Alias answers live as long as those of what they lead to; API Gateway's do a minute."""

CONNECT_SECONDS_MAX: Final = 4.0
RESPONSE_SECONDS_MAX: Final = 2.0
INTERVALS_S: Final = (10, 30)
FAILURES_MAX: Final = 10
KINDS: Final = ("A", "AAAA")
POLICIES: Final = ("Region", "Failover")
HTTPS: Final = 443
EARTH_RADIUS_KM: Final = 6371.0
FIBRE_KM_PER_MS: Final = 100.0
"""How far light gets and back in a millisecond: 200,000 km/s, both ways."""

PLACES: Final[Mapping[str, tuple[float, float]]] = {
    "af-south-1": (-33.9, 18.4),
    "ap-east-1": (22.3, 114.2),
    "ap-northeast-1": (35.7, 139.7),
    "ap-northeast-2": (37.6, 127.0),
    "ap-northeast-3": (34.7, 135.5),
    "ap-south-1": (19.1, 72.9),
    "ap-south-2": (17.4, 78.5),
    "ap-southeast-1": (1.3, 103.8),
    "ap-southeast-2": (-33.9, 151.2),
    "ap-southeast-3": (-6.2, 106.8),
    "ap-southeast-4": (-37.8, 145.0),
    "ca-central-1": (45.5, -73.6),
    "ca-west-1": (51.0, -114.1),
    "eu-central-1": (50.1, 8.7),
    "eu-central-2": (47.4, 8.5),
    "eu-north-1": (59.3, 18.1),
    "eu-south-1": (45.5, 9.2),
    "eu-south-2": (41.6, -0.9),
    "eu-west-1": (53.3, -6.3),
    "eu-west-2": (51.5, -0.1),
    "eu-west-3": (48.9, 2.4),
    "il-central-1": (32.1, 34.8),
    "me-central-1": (24.5, 54.4),
    "me-south-1": (26.1, 50.6),
    "mx-central-1": (20.6, -100.4),
    "sa-east-1": (-23.5, -46.6),
    "us-east-1": (38.9, -77.4),
    "us-east-2": (40.0, -83.0),
    "us-west-1": (37.4, -122.0),
    "us-west-2": (45.8, -119.7),
}
"""About where regions are, in degrees of latitude and longitude.

Route 53 goes by latencies that it measures and does not publish. Here the nearest on the globe is
the fastest, which is right but for regions that are nearly equally far.
"""


class NoSuchNameError(LookupError):
    """No record has the name."""


def latency_ms(one: str, other: str) -> float:
    """Milliseconds from a region to another and back, along a straight fibre.

    Raises:
        ValueError: It is not known where one of them is.
    """
    for region in (one, other):
        if region not in PLACES:
            raise ValueError(f"it is not known where {region} is; there is {', '.join(PLACES)}")
    (a, b), (c, d) = (map(math.radians, PLACES[region]) for region in (one, other))
    haversine = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(haversine)) / FIBRE_KM_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where a name leads.

    Args:
        target: The address of an API's domain: `d-….execute-api.us-east-1.amazonaws.com`.
        region: Where that is.
        ttl_s: How long a client may keep it.
    """

    target: str
    region: str
    ttl_s: float = TTL_S


@dataclass(slots=True, kw_only=True)
class HealthCheck:
    """What a checker thinks of an endpoint.

    Attributes:
        id: As records refer to it.
        name: The endpoint's domain name.
        path: What is asked for.
        interval_s: From check to check.
        threshold: So many checks in a row change its mind, to either side.
        healthy: Its mind; a new health check passes for healthy.
        against: Checks in a row that say otherwise.
    """

    id: str
    name: str
    path: str
    interval_s: float
    threshold: int
    healthy: bool = True
    against: int = 0

    def note(self, *, passed: bool) -> None:
        """Take in the outcome of one check."""
        self.against = 0 if passed == self.healthy else self.against + 1
        if self.against >= self.threshold:
            self.healthy, self.against = passed, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    zone: str
    name: str
    kind: str
    target: str
    follows_target: bool
    set_id: str
    region: str
    failover: Literal["", "PRIMARY", "SECONDARY"]
    check: HealthCheck | None

    @property
    def policy(self) -> str:
        return "latency" if self.region else "failover" if self.failover else "simple"


class Route53:
    """The zones of a deployment, whose health checks begin as soon as they are deployed.

    Args:
        scheduler: Time and chance.
        gateway: Whose domains records lead to, and which the checkers ask.

    Attributes:
        checks: The health checks by the name that they look at.
    """

    def __init__(self, scheduler: Scheduler, gateway: ApiGateway) -> None:
        self.checks: dict[str, HealthCheck] = {}
        self._scheduler = scheduler
        self._gateway = gateway
        self._records: dict[tuple[str, str], list[_Record]] = {}

    # ---- deployment

    def create(self, resource: Resource) -> Resource:
        """Create a health check or a record of a template.

        Raises:
            ValueError: Route 53 would refuse it.
            UnsupportedError: The twin cannot run it.
        """
        if resource.type == "AWS::Route53::HealthCheck":
            return self._create_check(resource)
        return self._create_record(resource)

    def _create_check(self, resource: Resource) -> Resource:
        settings = resource.properties["HealthCheckConfig"]
        for field, only in (("Type", "HTTPS"), ("EnableSNI", True), ("Port", HTTPS)):
            if settings.get(field, only) != only:
                raise UnsupportedError(f"HealthCheckConfig.{field}: only {only} runs")
        check = HealthCheck(
            id=resource.physical_id,
            name=_plain(settings["FullyQualifiedDomainName"]),
            path=settings.get("ResourcePath", "/"),
            interval_s=settings.get("RequestInterval", INTERVALS_S[-1]),
            threshold=settings.get("FailureThreshold", 3),
        )
        if check.interval_s not in INTERVALS_S or not 1 <= check.threshold <= FAILURES_MAX:
            raise ValueError("RequestInterval must be 10 or 30, FailureThreshold from 1 to 10")
        if check.name in self.checks:
            raise UnsupportedError(f"a second health check of {check.name}")
        self.checks[check.name] = check
        # Checkers do not wait for one another.
        self._scheduler.after(self._scheduler.random.uniform(0, check.interval_s), self._due, check)
        return replace(resource, attributes={"HealthCheckId": check.id})

    def _create_record(self, resource: Resource) -> Resource:
        properties = resource.properties
        alias = properties.get("AliasTarget")
        if alias is None or properties["Type"] not in KINDS:
            raise UnsupportedError("only aliases of types A and AAAA run")
        record = _Record(
            zone=properties["HostedZoneId"],
            name=_plain(properties["Name"]),
            kind=properties["Type"],
            target=_plain(alias["DNSName"]),
            follows_target=alias.get("EvaluateTargetHealth", False),
            set_id=properties.get("SetIdentifier", ""),
            region=properties.get("Region", ""),
            failover=properties.get("Failover", ""),
            check=self._check(properties.get("HealthCheckId")),
        )
        self._refuse(record)
        self._records.setdefault((record.name, record.kind), []).append(record)
        return replace(resource, physical_id=record.name)

    def _check(self, identity: str | None) -> HealthCheck | None:
        if identity is None:
            return None
        for check in self.checks.values():
            if check.id == identity:
                return check
        raise ValueError(f"there is no health check {identity}")

    def _refuse(self, record: _Record) -> None:
        """Raise what Route 53 would say about a record beside those of the same name."""
        what = f"{record.name} {record.kind}"
        if bool(record.region) + bool(record.failover) != bool(record.set_id):
            raise ValueError(f"{what}: one of {' or '.join(POLICIES)}, with a SetIdentifier")
        if record.region and record.region not in PLACES:
            raise UnsupportedError(f"Region: it is not known where {record.region} is")
        beside = self._records.get((record.name, record.kind), [])
        for other in beside:
            if other.policy != record.policy:
                raise ValueError(f"{what}: {record.policy} beside a record with {other.policy}")
            same = (other.region, other.failover) == (record.region, record.failover)
            if same or other.set_id == record.set_id:
                raise ValueError(f"{what}: there is a record like it already")
        aliased = self._records.get((record.target, record.kind), [])
        if self._gateway.region_of(record.target) is None and not any(
            other.zone == record.zone for other in aliased
        ):
            raise ValueError(f"{what}: an alias of {record.target}, which is not there")

    # ---- health

    def _due(self, check: HealthCheck) -> None:
        self._scheduler.after(check.interval_s, self._due, check)
        self._scheduler.spawn(self._look, check, name="health check")

    def _look(self, check: HealthCheck) -> None:
        check.note(passed=self._passes(check))

    def _passes(self, check: HealthCheck) -> bool:
        """Ask once, as a checker does: by the name alone, with its two timeouts."""
        request = HttpRequest(
            method="GET",
            path=check.path,
            headers=[("Host", check.name), ("User-Agent", "Amazon-Route53-Health-Check-Service")],
        )
        try:
            answer = self.resolve(check.name, client_region="us-east-1")
            task = self._scheduler.spawn(
                self._gateway.serve, answer.target, request, name="health check request"
            )
            response = self._scheduler.wait(task, RESPONSE_SECONDS_MAX)
        except UnreachableError as error:
            if not error.connected:
                self._scheduler.sleep(CONNECT_SECONDS_MAX)
            return False
        except (NoSuchNameError, TimeoutError, UnknownDomainError):
            return False
        return 200 <= int(response.status) < 400  # noqa: PLR2004 what Route 53 calls healthy

    def _healthy(self, record: _Record) -> bool:
        if record.check is not None and not record.check.healthy:
            return False
        if not record.follows_target:
            return True
        # The address of an API follows nothing: API Gateway reports no health of its own.
        aliased = self._records.get((record.target, record.kind), [])
        return not aliased or any(self._healthy(other) for other in aliased)

    # ---- answers

    def resolve(self, name: str, *, client_region: str, kind: str = "A") -> Answer:
        """Where a client is led, by the health that is known now.

        Args:
            name: Without regard to case or a dot at the end.
            client_region: The region that the client is nearest to.
            kind: `A` or `AAAA`.

        Raises:
            NoSuchNameError: No record has the name.
            ValueError: It is not known where the client's region is.
        """
        wanted = _plain(name)
        # Each step leads to another name of the zone, and none leads back.
        for _ in range(1 + len(self._records)):
            records = self._records.get((wanted, kind))
            if not records:
                break
            wanted = self._chosen(records, client_region).target
            region = self._gateway.region_of(wanted)
            if region is not None:
                return Answer(target=wanted, region=region)
        raise NoSuchNameError(f"there is no record {_plain(name)} {kind}")

    def _chosen(self, records: Sequence[_Record], client_region: str) -> _Record:
        """The record that answers; where nothing is healthy, Route 53 answers as if all were."""
        healthy = [record for record in records if self._healthy(record)] or records
        if records[0].policy == "latency":
            return min(healthy, key=lambda record: latency_ms(client_region, record.region))
        return min(healthy, key=lambda record: record.failover)  # PRIMARY before SECONDARY.


class Resolver:
    """A client's resolver, which keeps every answer for as long as it may.

    Args:
        scheduler: The twin's clock.
        route53: Asked for what is not kept.
        near: The region that the client is nearest to.
    """

    def __init__(self, scheduler: Scheduler, route53: Route53, *, near: str) -> None:
        latency_ms(near, near)  # Known at all?
        self._scheduler = scheduler
        self._route53 = route53
        self._near = near
        self._kept: dict[str, tuple[float, Answer]] = {}

    def lookup(self, name: str) -> Answer:
        """Where the name leads this client.

        Raises:
            NoSuchNameError: No record has the name.
        """
        until_s, answer = self._kept.get(name, (0.0, None))
        if answer is None or until_s <= self._scheduler.now():
            answer = self._route53.resolve(name, client_region=self._near)
            self._kept[name] = (self._scheduler.now() + answer.ttl_s, answer)
        return answer


def _plain(name: Any) -> str:
    return str(name).rstrip(".").lower()
