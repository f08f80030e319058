"""The configuration's schema: closed, range-checked, and read before any construct exists."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lambdas.domain import policy as domain
from lambdas.domain.names import Names

TierName = Literal["interactive", "standard", "batch"]
TIERS: tuple[TierName, ...] = ("interactive", "standard", "batch")

STRONG_SETS: tuple[frozenset[str], ...] = (
    frozenset({"us-east-1", "us-east-2", "us-west-2"}),
    frozenset({"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1"}),
    frozenset({"ap-northeast-1", "ap-northeast-2", "ap-northeast-3"}),
)
"""Regions that one strongly consistent table may span (DynamoDB developer guide, MRSC)."""

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$", examples=["embedder"])]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}-[a-z]+-\d$", examples=["us-east-1"])]
SecretArn = Annotated[str, Field(pattern=r"^arn:aws:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+$")]


class ConfigError(ValueError):
    """A configuration that cannot be deployed, with file, field, value and what is allowed."""


class Strict(BaseModel):
    """Frozen and closed: a typing error in a field name is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tier(Strict):
    """How soon a tier should start, and what it is guaranteed when there is too little room."""

    target_wait_s: Annotated[float, Field(gt=0, le=86_400, description="Promised wait, seconds.")]
    share_min: Annotated[float, Field(ge=0, lt=1, description="Guaranteed part of all starts.")]


class Service(Strict):
    """Expected service time of one job; the twin simulates models that have no local command."""

    overhead_s: Annotated[float, Field(ge=0, le=3600)] = 0.02
    input_tokens_per_s: Annotated[float, Field(gt=0)] = 4000.0
    output_token_s: Annotated[float, Field(ge=0, le=60)] = 0.0427
    input_tokens_typical: Annotated[int, Field(ge=0)] = 500
    output_tokens_typical: Annotated[int, Field(ge=0)] = 50

    def seconds(self, input_tokens: float, output_tokens: float) -> float:
        """Seconds that a job of that size takes on a warm instance."""
        return (
            self.overhead_s
            + input_tokens / self.input_tokens_per_s
            + output_tokens * self.output_token_s
        )

    @property
    def typical_s(self) -> float:
        """Seconds of a typical job."""
        return self.seconds(self.input_tokens_typical, self.output_tokens_typical)


class Artifact(Strict):
    """Where a version's weights come from: exactly one of `s3`, `directory` or `hub`.

    `{region}` in `s3` stands for the region: every region reads its own copy.
    """

    s3: Annotated[str | None, Field(pattern=r"^s3://[a-z0-9.{}-]+/.+\.tar\.gz$")] = None
    directory: Annotated[str | None, Field(description="Packed and uploaded to `s3`.")] = None
    hub: Annotated[str | None, Field(pattern=r"^[\w.-]+/[\w.-]+$")] = None
    revision: Annotated[str | None, Field(pattern=r"^[0-9a-f]{7,40}$")] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.hub is None) == (self.s3 is None):
            raise ValueError("needs exactly one of s3 (with or without directory) or hub")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision belong together: an immutable version pins both")
        if self.s3 is not None and "{region}" not in self.s3:
            raise ValueError(
                "s3 must contain {region}: SageMaker reads artifacts of its own region"
            )
        return self

    def s3_in(self, region: str) -> str | None:
        """The address of a region's own copy, unless the weights come from a hub."""
        return self.s3.replace("{region}", region) if self.s3 else None


class Version(Strict):
    """One immutable release of a model, served by an endpoint of its own."""

    image: Annotated[
        str,
        Field(
            pattern=r"^\d{12}\.dkr\.ecr\.\{region\}\.amazonaws\.com/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})$"
        ),
    ]
    artifact: Artifact
    environment: dict[Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")], str] = {}
    secrets: dict[Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")], SecretArn] = {}
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9]+\.[a-z0-9]+$")]
    volume_gb: Annotated[int | None, Field(ge=1, le=512)] = None
    startup_timeout_s: Annotated[int, Field(ge=60, le=3600)] = 600
    inference_ami: str | None = None
    local_command: Annotated[
        tuple[str, ...] | None,
        Field(description="Serves this version on the twin; {python} is this interpreter."),
    ] = None
    service: Service = Service()

    def image_in(self, region: str) -> str:
        """The image's address in a region's own registry."""
        return self.image.replace("{region}", region)


class Network(Strict):
    """Existing subnets and security groups of one region."""

    subnets: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
    security_groups: Annotated[tuple[str, ...], Field(min_length=1, max_length=5)]


class Model(Strict):
    """Something served, in every region of the deployment."""

    state: Literal["live", "draining", "off"] = "live"
    wanted: Slug
    versions: Annotated[dict[Slug, Version], Field(min_length=1, max_length=10)]
    concurrency: Annotated[int, Field(ge=1, le=1000, description="Jobs at a time per instance.")]
    warm_up_s: Annotated[float, Field(gt=0, le=3600)]
    handoff_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    instances_min: Annotated[int, Field(ge=0, le=500)]
    instances_max: Annotated[int, Field(ge=1, le=500)]
    network: dict[Region, Network] = {}
    invocation_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 300
    request_ttl_s: Annotated[int, Field(ge=60, le=21_600)] = 300
    attempts_max: Annotated[int, Field(ge=1, le=10)] = 3
    retry_delay_s: Annotated[float, Field(ge=0, le=300)] = 5
    input_bytes_max: Annotated[int, Field(ge=1, le=4_000_000)] = 1_000_000

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.wanted not in self.versions:
            raise ValueError(f"wanted {self.wanted!r} is not one of {sorted(self.versions)}")
        if self.instances_min > self.instances_max:
            raise ValueError("instances_min is above instances_max")
        return self


class Limits(Strict):
    """Bounds that hold for every tenant without limits of its own."""

    deadline_s_default: Annotated[int, Field(ge=60, le=518_400)] = 86_400
    deadline_s_max: Annotated[int, Field(ge=60, le=518_400)] = 518_400
    retention_s: Annotated[int, Field(ge=3600, le=31_536_000)] = 604_800
    wait_s_max: Annotated[int, Field(ge=1, le=25, description="API Gateway ends at 29 s.")] = 25
    tenant_rate_per_s: Annotated[float, Field(gt=0, le=10_000)] = 50
    tenant_in_flight_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000


class Concurrency(Strict):
    """Reserved concurrency of the functions that need a bound or a guarantee."""

    wait: Annotated[int, Field(ge=1, le=1000)] = 50
    dispatch: Annotated[int, Field(ge=2, le=100)] = 10
    complete: Annotated[int, Field(ge=2, le=100)] = 10
    beat: Annotated[int, Field(ge=2, le=10)] = 2
    sweep: Annotated[int, Field(ge=1, le=10)] = 1


class Deployment(Strict):
    """One residency zone: regions that share one strongly consistent ledger."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,19}$")]
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    retain: Annotated[bool, Field(description="Keep tables and payloads when stacks go.")]
    regions: Annotated[tuple[Region, ...], Field(min_length=1, max_length=3)]
    witness: Region | None = None
    encryption: Annotated[
        Literal["aws-owned", "customer-managed"],
        Field(description="Key of the regional data; global tables use AWS-owned keys."),
    ] = "customer-managed"
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 180, 365] = 30
    replicate_results: bool = False
    requests_per_5_min_per_address: Annotated[int, Field(ge=100, le=2_000_000_000)] = 10_000
    limits: Limits = Limits()
    concurrency: Concurrency = Concurrency()
    tiers: dict[TierName, Tier]
    models: Annotated[dict[Slug, Model], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _one_strong_set(self) -> Self:
        members = [*self.regions, *([self.witness] if self.witness else [])]
        if len(set(members)) != len(members):
            raise ValueError("a region is listed twice")
        shape = (len(self.regions), self.witness is not None)
        if shape not in {(1, False), (3, False), (2, True)}:
            raise ValueError(
                "regions must be one region, three, or two and a witness: "
                "that is what a strongly consistent table can span"
            )
        if len(members) > 1 and not any(set(members) <= zone for zone in STRONG_SETS):
            raise ValueError(
                f"regions {members} are not in one strong set; the sets are "
                + "; ".join(", ".join(sorted(zone)) for zone in STRONG_SETS)
            )
        return self

    @model_validator(mode="after")
    def _tiers_share(self) -> Self:
        if set(self.tiers) != set(TIERS):
            raise ValueError(f"tiers must be exactly {', '.join(TIERS)}")
        if sum(tier.share_min for tier in self.tiers.values()) > 1:
            raise ValueError("the tiers' share_min add up to more than 1")
        waits = [self.tiers[name].target_wait_s for name in TIERS]
        if waits != sorted(waits):
            raise ValueError("target_wait_s must rise from interactive to standard to batch")
        return self

    @model_validator(mode="after")
    def _networks_known(self) -> Self:
        for name, model in self.models.items():
            foreign = set(model.network) - set(self.regions)
            missing = set(self.regions) - set(model.network) if model.network else set()
            if foreign or missing:
                raise ValueError(
                    f"models.{name}.network must name every region or none; "
                    f"missing {sorted(missing)}, unknown {sorted(foreign)}"
                )
        return self

    @property
    def names(self) -> Names:
        """The fixed names of the deployment's resources."""
        return Names(self.name, self.account)

    @property
    def primary_region(self) -> str:
        """Where the Data stack is deployed."""
        return self.regions[0]

    def region_after(self, region: str) -> str | None:
        """The region that keeps second copies for this one; none when it is the only one."""
        if len(self.regions) == 1:
            return None
        return self.regions[(self.regions.index(region) + 1) % len(self.regions)]

    def policy(self) -> domain.Policy:
        """What the functions need to know, for `policy.json` in their asset."""
        return domain.Policy(
            deployment=self.name,
            account=self.account,
            regions=self.regions,
            primary_region=self.primary_region,
            tiers=tuple(domain.Tier(name=name, **self.tiers[name].model_dump()) for name in TIERS),
            models={name: _domain_model(name, model) for name, model in self.models.items()},
            **self.limits.model_dump(),
        )


def _domain_model(name: str, model: Model) -> domain.Model:
    return domain.Model(
        name=name,
        state=model.state,
        versions={version: float(version == model.wanted) for version in model.versions},
        service_s=model.versions[model.wanted].service.typical_s,
        **model.model_dump(
            include={
                "concurrency",
                "warm_up_s",
                "handoff_s",
                "instances_min",
                "instances_max",
                "invocation_timeout_s",
                "request_ttl_s",
                "attempts_max",
                "retry_delay_s",
                "input_bytes_max",
            }
        ),
    )


def load(path: Path | str) -> Deployment:
    """Read and check a configuration file.

    Raises:
        ConfigError: The file is missing, is not YAML, or breaks the schema; the message names
            file, field, what was given and what is allowed.
    """
    path = Path(path)
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping of fields, like config/dev.yaml")
    try:
        return Deployment.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_explain(path, error)) from None


_UNSHOWN = re.compile(r"secret|password|token|key", re.IGNORECASE)


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"]) or "(the whole file)"
        given = problem["input"]
        shown = (
            ""
            if isinstance(given, dict | list | tuple) or _UNSHOWN.search(field)
            else (f"; given {given!r}")
        )
        allowed = {
            "extra_forbidden": "there is no such field",
            "missing": "this field is required",
        }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        lines.append(f"{path}: {field}: {allowed}{shown}")
    return "\n".join(lines)
