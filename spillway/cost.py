"""What a deployment costs: by the hour, idle and at most, and per million jobs by service.

Three inputs, each a file that can be read and checked: `prices.yaml` (dated list prices),
`calls_per_job.json` (counted from the twin's call log, or marked as an estimate), and the
synthesized templates (keys, firewall rules, alarms and schedules that cost money by existing).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from config.costs import instance_prices
from config.schema import Deployment, Model, Version
from lambdas.domain.metrics import FELL_BACK, METRICS
from lambdas.domain.moves import WHYS

PRICES = Path(__file__).with_name("prices.yaml")
COUNTS = Path(__file__).with_name("calls_per_job.json")

MINUTES_PER_HOUR = 60
JOBS = 1_000_000
EMPTY_POLLS_PER_MINUTE = 15
"""Lambda polls an idle queue with five long polls of 20 s at a time (Lambda developer guide,
"Using Lambda with Amazon SQS"), and every poll is a paid request."""
BYTES_PER_GB = 1_000_000_000
SECONDS_PER_MONTH = 30 * 86_400
FAST_ALARM_PERIOD_S = 60
"""Alarms on shorter periods are high-resolution alarms, at three times the price."""
CHECKS_PER_MINUTE = 16 * 6
"""About sixteen of Route 53's checkers look every 10 s, each for itself."""
CHECK = {
    "api_gateway.request": 1.0,
    "waf.request": 1.0,
    "lambda.request": 1.0,
    "lambda.gb_s": 0.005,
    "gate.read_unit": 0.5,
    "logs.byte": 236.0,
}
"""What one look at `/health/ready` uses at most: 10 ms of submit, half a read, an access log line.

Every other look finds beat's verdict in the function's memory, and reads nothing.
"""
APART = ("API Gateway", "WAF")
"""Paid for every HTTP request, whatever it asks for: shown apart from the path of a job."""


class CostError(ValueError):
    """A cost that cannot be computed, with the file that would have to know more."""


@dataclass(frozen=True, slots=True)
class Meter:
    """One thing that AWS counts: which bill it is on, and dollars for one."""

    service: str
    usd: float


@dataclass(frozen=True, slots=True)
class Prices:
    """The price table.

    Attributes:
        path: Where it was read from, for messages.
        dated: When its prices held, as an ISO date.
        regions: Regions for which it is known to hold.
        hours_per_month: To turn monthly prices into hourly ones.
        meters: By name.
        instances: Dollars an hour by instance type; what config/instances.yaml has, and its own.
    """

    path: Path
    dated: str
    regions: frozenset[str]
    hours_per_month: float
    meters: Mapping[str, Meter]
    instances: Mapping[str, float]

    @classmethod
    def load(cls, path: Path = PRICES) -> Self:
        """Read a price table.

        Raises:
            CostError: It is missing, or is not of the format.
        """
        try:
            return cls._of(path, yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise CostError(f"{path}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CostError(f"{path}: is not YAML: {error}") from error
        except (AttributeError, KeyError, TypeError, ZeroDivisionError) as error:
            lacking = f"; it lacks {error}" if isinstance(error, KeyError) else ""
            raise CostError(
                f"{path}: is no price table like spillway/prices.yaml{lacking}"
            ) from error

    @classmethod
    def _of(cls, path: Path, table: Any) -> Self:
        return cls(
            path=path,
            dated=str(table["dated"]),
            regions=frozenset(table["regions"]),
            hours_per_month=table["hours_per_month"],
            meters={
                name: Meter(meter["service"], meter["usd"] / meter["per"])
                for name, meter in table["meters"].items()
            },
            instances=dict(instance_prices())
            | {
                name: instance["usd_per_hour"]
                for name, instance in table.get("instances", {}).items()
            },
        )

    def instance(self, version: Version) -> float:
        """Dollars an hour of one instance of a version.

        Raises:
            CostError: It does not say, and no table knows the type.
        """
        usd = version.usd_per_hour or self.instances.get(version.instance_type)
        if usd is None:
            raise CostError(
                f"config/instances.yaml has no price for {version.instance_type}; add one with its "
                f"date, give the version its usd_per_hour, or use one of "
                f"{', '.join(sorted(self.instances))}"
            )
        return usd


@dataclass(frozen=True, slots=True)
class Counts:
    """What jobs and idle minutes use, as amounts by meter.

    Amounts of the tables are counted once and named after the table (`ledger.write_unit`);
    how many replicas pay for them is the deployment's business.

    Attributes:
        basis: `counted` from a run, or `estimate`.
        dated: When.
        profiles: Per job: `idle`, `loaded`, and what `waiting` on one adds.
        region_minute: Per region and minute without jobs.
        model_region_minute: The same for every model in it.
    """

    basis: str
    dated: str
    profiles: Mapping[str, Mapping[str, float]]
    region_minute: Mapping[str, float]
    model_region_minute: Mapping[str, float]

    @classmethod
    def load(cls, path: Path = COUNTS) -> Self:
        """Read counts, written by hand or by the benchmark."""
        document = json.loads(path.read_text(encoding="utf-8"))
        background = document["background"]
        return cls(
            basis=document["basis"],
            dated=document["dated"],
            profiles=document["profiles"],
            region_minute=background["region_minute"],
            model_region_minute=background["model_region_minute"],
        )


@dataclass(slots=True)
class Inventory:
    """What costs money by existing, counted in the templates of a whole deployment."""

    amounts: dict[str, float] = field(default_factory=dict)
    pollers: int = 0

    @classmethod
    def of(cls, templates: Iterable[Mapping[str, Any]]) -> Self:
        """Count the resources of synthesized templates."""
        inventory = cls()
        for template in templates:
            for resource in template.get("Resources", {}).values():
                inventory._add(resource["Type"], resource.get("Properties", {}))
        return inventory

    @classmethod
    def read(cls, assembly: Path, deployment: str | None = None) -> Self:
        """Count the resources of a cloud assembly.

        Args:
            assembly: Its folder.
            deployment: The name of the deployment that it must be of; any without it.

        Raises:
            CostError: There is none, or it is of another deployment.
        """
        paths = sorted(assembly.glob("*.template.json"))
        if not paths:
            raise CostError(f"{assembly} holds no templates; `make synth` writes them")
        if deployment is not None:
            _refuse_other(assembly, deployment)
        return cls.of(json.loads(path.read_text(encoding="utf-8")) for path in paths)

    def _add(self, kind: str, properties: Mapping[str, Any]) -> None:
        if kind == "AWS::Lambda::EventSourceMapping":
            self.pollers += 1
        for meter, amount in _standing(kind, properties):
            self.amounts[meter] = self.amounts.get(meter, 0) + amount


def _refuse_other(assembly: Path, deployment: str) -> None:
    """Refuse an assembly with a stack of another deployment, which its manifest names.

    Raises:
        CostError: It has one.
    """
    manifest = assembly / "manifest.json"
    if not manifest.exists():
        return
    for artifact in json.loads(manifest.read_text(encoding="utf-8")).get("artifacts", {}).values():
        stack = artifact.get("properties", {}).get("stackName", f"{deployment}-")
        if not stack.startswith(f"{deployment}-"):
            raise CostError(
                f"{assembly} holds {stack}, which is of another deployment than {deployment}; "
                "give the --config that it was made of"
            )


def _standing(kind: str, properties: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What one resource costs by existing, as meters and amounts."""
    if kind == "AWS::WAFv2::WebACL":
        return [("waf.acl_month", 1), ("waf.rule_month", len(properties.get("Rules", [])))]
    if kind == "AWS::CloudWatch::Alarm":
        queries = [each for each in properties.get("Metrics", []) if "MetricStat" in each]
        periods = [properties.get("Period", FAST_ALARM_PERIOD_S)]
        periods += [each["MetricStat"]["Period"] for each in queries]
        fast = min(periods) < FAST_ALARM_PERIOD_S
        meter = "cloudwatch.fast_alarm_month" if fast else "cloudwatch.alarm_month"
        return [(meter, max(1, len(queries)))]
    meter = _ONE_OF_A_KIND.get(kind, "")
    return [(meter, 1)] if meter else []


_ONE_OF_A_KIND = {
    "AWS::CloudWatch::CompositeAlarm": "cloudwatch.composite_alarm_month",
    "AWS::CloudWatch::Dashboard": "cloudwatch.dashboard_month",
    "AWS::KMS::Key": "kms.key_month",
    "AWS::KMS::ReplicaKey": "kms.key_month",
    "AWS::Route53::HealthCheck": "route53.health_check_month",
    "AWS::SecretsManager::Secret": "secrets.secret_month",
}

_MONTHLY = {
    "waf.acl_month": "web ACLs",
    "waf.rule_month": "WAF rules",
    "kms.key_month": "KMS keys",
    "cloudwatch.alarm_month": "alarmed metrics",
    "cloudwatch.fast_alarm_month": "alarmed metrics, high resolution",
    "cloudwatch.composite_alarm_month": "composite alarms",
    "cloudwatch.dashboard_month": "dashboards",
    "cloudwatch.metric_month": "custom metrics",
    "route53.health_check_month": "health checks",
    "secrets.secret_month": "secrets",
}


def _copies(deployment: Deployment, name: str) -> tuple[str, float]:
    """The meter behind a table's amount, and how many copies of it are paid.

    A witness is counted as paying for writes: whether it does could not be looked up. It keeps
    what changes and no copy of the table (DynamoDB API reference, GlobalTableWitnessUpdates).
    """
    replicas = len(deployment.regions)
    strong = replicas + (1 if deployment.witness else 0)
    month = deployment.limits.retention_s / SECONDS_PER_MONTH
    table, _, unit = name.partition(".")
    if table not in {"ledger", "directory", "gate"}:
        return name, 1
    copies = {
        ("ledger", "write_unit"): strong,
        ("ledger", "index_write_unit"): replicas,
        ("directory", "write_unit"): replicas,
    }.get((table, unit), 1)
    if unit == "stored_byte":
        return "dynamodb.gb_month", replicas * month / BYTES_PER_GB
    if unit == "replicated_byte":
        return "transfer.inter_region_byte", strong - 1
    return f"dynamodb.{unit.removeprefix('index_')}", copies


def _priced(
    amounts: Mapping[str, float], deployment: Deployment, prices: Prices
) -> list[tuple[str, str, float]]:
    """Service, what, and dollars for every amount."""
    lines = []
    for name, amount in amounts.items():
        meter_name, copies = _copies(deployment, name)
        if meter_name not in prices.meters:
            raise CostError(f"{_shown(prices.path)} has no meter {meter_name}")
        meter = prices.meters[meter_name]
        lines.append((meter.service, name, amount * copies * meter.usd))
    return lines


def _shown(path: Path) -> str:
    """The file as a reader of the project knows it."""
    return path.name if path != PRICES else f"{path.parent.name}/{path.name}"


def _by_service(lines: Iterable[tuple[str, str, float]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for service, _, usd in lines:
        totals[service] = totals.get(service, 0.0) + usd
    return {service: round(usd, 4) for service, usd in sorted(totals.items())}


def _scaled(amounts: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: amount * factor for name, amount in amounts.items()}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a deployment costs.

    Args:
        deployment: Regions, replicas, models and fleets.
        inventory: What its templates hold.
        prices: The price table.
        counts: What jobs and minutes use.
    """

    deployment: Deployment
    inventory: Inventory
    prices: Prices
    counts: Counts

    def document(self) -> dict[str, Any]:
        """Everything that `spillway cost --json` prints.

        Raises:
            CostError: The price table lacks something.
        """
        parts = [
            *self._gpus(),
            *self._standing(),
            *self._metrics(),
            *self._checked(),
            *self._background(),
        ]
        idle = sum(part["idle"] for part in parts)
        most = sum(part["maximum"] for part in parts)
        month = self.prices.hours_per_month
        return {
            "deployment": self.deployment.name,
            "currency": "USD",
            "prices": {"file": _shown(self.prices.path), "dated": self.prices.dated},
            "counts": {"basis": self.counts.basis, "dated": self.counts.dated},
            "hourly": {"idle": round(idle, 4), "maximum": round(most, 4), "parts": parts},
            "monthly": {"idle": round(idle * month, 2), "maximum": round(most * month, 2)},
            "per_million_jobs": {profile: self._jobs(profile) for profile in ("idle", "loaded")},
            "notes": self._notes(),
        }

    def _gpus(self) -> list[dict[str, Any]]:
        regions = len(self.deployment.regions)
        parts = []
        for name, model in self.deployment.models.items():
            for version, least, most in _fleets(model):
                instance_type = model.versions[version].instance_type
                usd = self.prices.instance(model.versions[version])
                parts.append(
                    {
                        "service": "SageMaker",
                        "what": f"{name} {version}: {least} to {most} {instance_type} "
                        f"x {regions} regions",
                        "idle": round(usd * least * regions, 4),
                        "maximum": round(usd * most * regions, 4),
                    }
                )
        return parts

    def _standing(self) -> list[dict[str, Any]]:
        amounts = self.inventory.amounts
        lines = _priced(amounts, self.deployment, self.prices)
        return [
            _part(service, f"{amounts[name]:g} {_MONTHLY[name]}", usd / self.prices.hours_per_month)
            for service, name, usd in lines
        ]

    def _metrics(self) -> list[dict[str, Any]]:
        """Our own metrics, paid by the hour in which they have data: a version's need jobs."""
        least, most = series(self.deployment, busy=False), series(self.deployment, busy=True)
        ((service, _, usd),) = _priced({"cloudwatch.metric_month": 1}, self.deployment, self.prices)
        hourly = usd / self.prices.hours_per_month
        return [
            {
                "service": service,
                "what": f"{least} to {most} {_MONTHLY['cloudwatch.metric_month']}",
                "idle": round(least * hourly, 6),
                "maximum": round(most * hourly, 6),
            }
        ]

    def _checked(self) -> list[dict[str, Any]]:
        checks = self.inventory.amounts.get("route53.health_check_month", 0)
        amounts = _scaled(CHECK, checks * CHECKS_PER_MINUTE * MINUTES_PER_HOUR)
        services = _by_service(_priced(amounts, self.deployment, self.prices)) if checks else {}
        what = f"requests of {checks:g} health checks"
        return [_part(service, what, usd) for service, usd in services.items()]

    def _background(self) -> list[dict[str, Any]]:
        amounts: dict[str, float] = {}
        for scope, minute in (
            ("region", self.counts.region_minute),
            ("model_region", self.counts.model_region_minute),
        ):
            for name, amount in minute.items():
                amounts[name] = amounts.get(name, 0.0) + self._per_region(amount, scope)
        polls = EMPTY_POLLS_PER_MINUTE * self.inventory.pollers
        lines = _priced(_scaled(amounts, MINUTES_PER_HOUR), self.deployment, self.prices)
        parts = [
            _part(service, "beat and sweep, without jobs", usd)
            for service, usd in _by_service(lines).items()
        ]
        idle = _priced({"sqs.request": polls * MINUTES_PER_HOUR}, self.deployment, self.prices)
        parts += [
            _part(service, f"polls of {self.inventory.pollers} event sources", usd)
            for service, _, usd in idle
        ]
        return parts

    def _per_region(self, amount: float, scope: str) -> float:
        models = sum(model.state != "off" for model in self.deployment.models.values())
        regions = len(self.deployment.regions)
        return amount * regions * (models if scope == "model_region" else 1)

    def _jobs(self, profile: str) -> dict[str, Any]:
        amounts = _scaled(self.counts.profiles[profile], JOBS)
        services = _by_service(_priced(amounts, self.deployment, self.prices))
        waiting = _scaled(self.counts.profiles["waiting"], JOBS)
        path = {name: usd for name, usd in services.items() if name not in APART}
        return {
            "total": round(sum(path.values()), 2),
            "services": path,
            "apart": {
                **{name: usd for name, usd in services.items() if name in APART},
                "waiting": round(
                    sum(usd for _, _, usd in _priced(waiting, self.deployment, self.prices)), 2
                ),
                **{
                    f"GPU {name}": round(self._gpu_per_million(model), 2)
                    for name, model in self.deployment.models.items()
                    if model.state != "off"
                },
            },
        }

    def _gpu_per_million(self, model: Model) -> float:
        """Dollars for a million typical jobs on an instance that is never idle."""
        version = model.versions[model.wanted]
        seconds = version.service.typical_s / model.concurrency
        return self.prices.instance(version) / 3600 * seconds * JOBS

    def _notes(self) -> list[str]:
        notes = []
        if self.counts.basis != "counted":
            notes.append(
                "calls per job and idle minute are an estimate from the path of a job, "
                "not counted from a run"
            )
        unknown = sorted(set(self.deployment.regions) - self.prices.regions)
        if unknown:
            notes.append(f"{', '.join(unknown)}: priced like us-east-1; expect more")
        if self.deployment.witness:
            notes.append("the witness region is counted as paying for ledger writes")
        notes.append(
            "GPU per million jobs: typical jobs on instances that are never idle; "
            "waiting: what a million requests that wait add"
        )
        return notes


def series(deployment: Deployment, *, busy: bool) -> int:
    """Series of our own metrics, in all regions; busy, also those of what only happens at times."""
    whys = len(WHYS) if len(deployment.regions) > 1 else 0
    tiers = len(deployment.tiers)
    serving = [model for model in deployment.models.values() if model.state != "off"]
    versions = sum(len(model.versions) for model in serving)
    each: dict[tuple[str, ...], int] = {
        ("Model",): len(deployment.models),
        ("Model", "Tier"): len(deployment.models) * tiers,
        ("Model", "Version"): versions,
        # Where there are others, what the live version does is told once more, as the live one's.
        ("Model", "Version", "Tier"): tiers
        * (versions + sum(len(model.versions) > 1 for model in serving)),
        ("Region",): 1,
        ("Why",): whys,
    }
    counted = [metric for metric in METRICS if busy or metric.without_jobs]
    absent = sum(model.fallback is None for model in deployment.models.values())
    per_region = sum(each[metric.dimensions] for metric in counted)
    return (per_region - (absent if FELL_BACK in counted else 0)) * len(deployment.regions)


def _fleets(model: Model) -> list[tuple[str, int, int]]:
    """Version, fewest and most instances in one region."""
    if model.state == "off":
        return []
    return [
        (
            name,
            model.instances_min if name == model.wanted else 0,
            model.instances_max,
        )
        for name in model.versions
    ]


def _part(service: str, what: str, usd_per_hour: float) -> dict[str, Any]:
    usd = round(usd_per_hour, 6)
    return {"service": service, "what": what, "idle": usd, "maximum": usd}
