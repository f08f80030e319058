"""The configuration's schema: closed, range-checked, and read before any construct exists."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config.alarms import Alarms
from config.costs import instance_prices
from config.fields import (
    WORDS,
    EnvironmentName,
    Region,
    SecretArn,
    Slug,
    Strict,
    listed,
    problem,
    text,
)
from config.guards import Guards
from config.output import Output
from config.releases import EVALUATION_S, Release, bake_s_least
from config.scaling import Scaling
from lambdas.domain import policy as policies
from lambdas.domain.metrics import LIVE
from lambdas.domain.names import Names
from lambdas.domain.uploads import KEPT_S

TierName = Literal["interactive", "standard", "batch"]
TIERS: tuple[TierName, ...] = ("interactive", "standard", "batch")

STRONG_SETS: tuple[frozenset[str], ...] = (
    frozenset({"us-east-1", "us-east-2", "us-west-2"}),
    frozenset({"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1"}),
    frozenset({"ap-northeast-1", "ap-northeast-2", "ap-northeast-3"}),
)
"""Regions that one strongly consistent table may span (DynamoDB developer guide, MRSC)."""

LOCAL_STORAGE = frozenset(
    {"g4dn", "g5", "g6", "g6e", "gr6", "p3dn", "p4d", "p4de", "p5", "p5e", "p5en"}
)
"""Instance families with disks of their own, to which SageMaker attaches no volume."""

TENANT_RATE_PER_S_MIN = 0.1
"""Submissions are counted in windows of 10 s, and no window can let less than one through."""
SLOTS_MAX = 8_000
"""The gate is one item of at most 400 KB (DynamoDB quotas), in which a slot takes some 30 bytes."""


class ConfigError(ValueError):
    """A configuration that cannot be deployed, with file, field, value and what is allowed."""


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

    s3: Annotated[
        str | None,
        text(r"^s3://[a-z0-9.{}-]+/.+\.tar\.gz$", "s3://BUCKET-WITH-{region}/.../NAME.tar.gz"),
    ] = None
    directory: Annotated[str | None, Field(description="Packed and uploaded to `s3`.")] = None
    hub: Annotated[str | None, text(r"^[\w.-]+/[\w.-]+$", "OWNER/MODEL")] = None
    revision: Annotated[
        str | None, text(r"^[0-9a-f]{7,40}$", "the hash of a commit, which never moves")
    ] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.hub is None) == (self.s3 is None):
            raise problem("", "needs exactly one of s3 (with or without directory) or hub")
        if self.hub is not None and self.revision is None:
            raise problem("revision", "hub needs a revision: an immutable version pins both")
        if self.hub is None and self.revision is not None:
            raise problem("revision", "only hub has a revision", self.revision)
        if self.hub is not None and self.directory is not None:
            raise problem("directory", "goes with s3, where it is uploaded", self.directory)
        if self.s3 is not None and "{region}" not in self.s3:
            raise problem(
                "s3", "must contain {region}: SageMaker reads artifacts of its own region", self.s3
            )
        return self

    def s3_in(self, region: str) -> str | None:
        """The address of a region's own copy, unless the weights come from a hub."""
        return self.s3.replace("{region}", region) if self.s3 else None


class Version(Strict):
    """One immutable release of a model, served by an endpoint of its own."""

    image: Annotated[
        str,
        text(
            r"^\d{12}\.dkr\.ecr\.\{region\}\.amazonaws\.com/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})$",
            "ACCOUNT.dkr.ecr.{region}.amazonaws.com/REPOSITORY:TAG (or @sha256:DIGEST)",
        ),
    ]
    artifact: Artifact
    environment: Annotated[
        dict[EnvironmentName, Annotated[str, Field(max_length=1024)]], Field(max_length=80)
    ] = {}
    secrets: Annotated[
        dict[EnvironmentName, SecretArn],
        Field(
            max_length=16, description="The container finds the ARN in NAME_SECRET_ARN and reads."
        ),
    ] = {}
    instance_type: Annotated[
        str, text(r"^ml\.[a-z0-9]+\.[a-z0-9]+$", "a SageMaker instance type, like ml.g5.xlarge")
    ]
    usd_per_hour: Annotated[
        float | None, Field(gt=0, le=1000, description="Of an instance, if not the list price.")
    ] = None
    volume_gb: Annotated[int | None, Field(ge=1, le=512)] = None
    startup_timeout_s: Annotated[int, Field(ge=60, le=3600)] = 600
    inference_ami: str | None = None
    local_command: Annotated[
        tuple[str, ...] | None,
        Field(description="Serves this version on the twin; {python} is this interpreter."),
    ] = None
    service: Service = Service()
    package: Annotated[
        str | None,
        text(
            r"^arn:aws:sagemaker:\{region\}:\d{12}:model-package/[\w-]+/\d+$",
            "arn:aws:sagemaker:{region}:ACCOUNT:model-package/GROUP/NUMBER",
        ),
    ] = None

    @model_validator(mode="after")
    def _volume_attachable(self) -> Self:
        if self.volume_gb is not None and self.instance_type.split(".")[1] in LOCAL_STORAGE:
            raise problem(
                "volume_gb",
                f"{self.instance_type} has disks of its own; leave volume_gb out",
                self.volume_gb,
            )
        return self

    @property
    def content(self) -> str:
        """A digest of what answers: another one is another version, and needs another name.

        What may change in place is left out: how long an instance may take to start and how large
        its disk is, what it costs and is expected to do, and what serves it on the twin. So is what
        is not set: a field that we add later must not make other versions of those that are there.
        """
        held: dict[str, Any] = self.model_dump(
            mode="json",
            exclude_none=True,
            include={
                "image",
                "environment",
                "secrets",
                "instance_type",
                "inference_ami",
                "package",
            },
        )
        held["artifact"] = self.artifact.model_dump(
            mode="json", exclude={"directory"}, exclude_none=True
        )
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def instance_usd_per_hour(self) -> float | None:
        """What an instance costs, or None if nobody knows."""
        return self.usd_per_hour or instance_prices().get(self.instance_type)

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
    scaling: Scaling = Scaling()
    network: dict[Region, Network] = {}
    invocation_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 300
    request_ttl_s: Annotated[int, Field(ge=60, le=21_600)] = 300
    attempts_max: Annotated[int, Field(ge=1, le=10)] = 3
    retry_delay_s: Annotated[float, Field(ge=0, le=300)] = 5
    input_bytes_max: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000_000,
            description="A request carries 4,000,000 bytes at most; more comes by an upload.",
        ),
    ] = 1_000_000
    output: Output | None = None
    fallback: Annotated[
        Slug | None,
        Field(
            description="Another model of the same input shape, which takes a job over once: when "
            "this one's attempts are used up, or the job's deadline is at risk."
        ),
    ] = None
    apis: Annotated[
        tuple[Literal["chat.completions", "embeddings", "responses"], ...],
        Field(
            max_length=3,
            description="OpenAI's routes that the container answers at /invocations. A model of "
            "chat.completions answers POST /v1/responses too: requests are translated.",
        ),
    ] = ("chat.completions", "embeddings")
    guards: Guards = Guards()
    release: Release = Release()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.wanted not in self.versions:
            raise problem("wanted", f"must be one of {listed(self.versions)}", self.wanted)
        if self.instances_min > self.instances_max:
            raise problem(
                "instances_min",
                f"must be at most instances_max, {self.instances_max}",
                self.instances_min,
            )
        if self.attempts_max == 1 and self.instances_min < self.instances_max:
            raise problem(
                "attempts_max",
                "must be at least 2 with instances_min below instances_max: an instance that is "
                "let go may have a job, which needs another attempt",
                self.attempts_max,
            )
        for number, schedule in enumerate(self.scaling.schedule):
            if schedule.instances_min > self.instances_max:
                raise problem(
                    f"scaling.schedule.{number}.instances_min",
                    f"must be at most instances_max, {self.instances_max}",
                    schedule.instances_min,
                )
        if self.instances_max * self.concurrency > SLOTS_MAX:
            raise problem(
                "instances_max",
                f"must be at most {SLOTS_MAX // self.concurrency} with a concurrency of "
                f"{self.concurrency}: {SLOTS_MAX} jobs at a time in one region",
                self.instances_max,
            )
        return self

    @model_validator(mode="after")
    def _watched_long_enough(self) -> Self:
        window_s = self.guards.window_s
        least_s = bake_s_least(
            guard_window_s=window_s, invocation_timeout_s=self.invocation_timeout_s
        )
        for field in ("bake_s", "final_bake_s"):
            given = getattr(self.release, field)
            if given is not None and given < least_s:
                raise problem(
                    f"release.{field}",
                    f"must be at least {least_s}, or left out: {EVALUATION_S} s more than "
                    f"guards.window_s, {window_s}, and invocation_timeout_s, "
                    f"{self.invocation_timeout_s}; a shorter step ends before its guards have seen "
                    "it, or before an attempt that hangs has failed",
                    given,
                )
        return self

    @model_validator(mode="after")
    def _canary_can_be_judged(self) -> Self:
        """Refuse guards that no load could ever make look: all instances busy, for one tier."""
        if len(self.versions) == 1:
            return self
        quickest_s = min(version.service.typical_s for version in self.versions.values())
        share, places = self.release.canary_share, self.instances_max * self.concurrency
        # The live version's fleet works on the rest of the jobs, so it bounds the canary's.
        most = int(
            self.guards.window_s * places / max(quickest_s, 1e-3) * min(1.0, share / (1 - share))
        )
        if most < self.guards.attempts_min:
            raise problem(
                "guards.attempts_min",
                f"must be at most {most}, or guards.window_s or release.canary_share larger: no "
                f"canary of {share:g} can end more in {self.guards.window_s} s, beside "
                f"{self.instances_max} instances with {self.concurrency} jobs at a time of "
                f"{quickest_s:g} s each",
                self.guards.attempts_min,
            )
        return self

    @model_validator(mode="after")
    def _none_is_called_live(self) -> Self:
        if LIVE in self.versions:
            raise problem(
                f"versions.{LIVE}",
                "must have another name: in metrics this one stands for the version that is live",
            )
        return self


class Domain(Strict):
    """One name for the API of every region, and one for each, in a zone that is there already."""

    name: Annotated[
        str,
        text(
            r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$",
            "a domain name in lower case, like api.example.com",
            # The first name of a certificate (ACM user guide, "Quotas").
            64,
        ),
    ]
    zone_id: Annotated[
        str, text(r"^Z[A-Z0-9]{1,31}$", "the id of a Route 53 hosted zone, like Z0123456789ABC")
    ]
    zone_name: Annotated[
        str,
        text(
            r"^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]{2,63}$",
            "the name of that zone in lower case, like example.com",
            253,
        ),
    ]
    policy: Literal["latency", "failover"] = "latency"

    @model_validator(mode="after")
    def _within_zone(self) -> Self:
        if self.name != self.zone_name and not self.name.endswith(f".{self.zone_name}"):
            raise problem(
                "name", f"must be {self.zone_name} or end with .{self.zone_name}", self.name
            )
        return self

    def of(self, region: str) -> str:
        """A region's own name, at which its health is looked at."""
        return f"{region}.{self.name}"

    @property
    def standby(self) -> str:
        """The name that stands for the second and the third region of three, with failover."""
        return f"standby.{self.name}"


class Limits(Strict):
    """Bounds that hold for every tenant without limits of its own."""

    deadline_s_default: Annotated[int, Field(ge=60, le=518_400)] = 86_400
    deadline_s_max: Annotated[int, Field(ge=60, le=518_400)] = 518_400
    retention_s: Annotated[int, Field(ge=3600, le=31_536_000)] = 604_800
    wait_s_max: Annotated[int, Field(ge=1, le=25, description="API Gateway ends at 29 s.")] = 25
    tenant_rate_per_s: Annotated[float, Field(ge=TENANT_RATE_PER_S_MIN, le=10_000)] = 50
    tenant_in_flight_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000

    @property
    def upload_life_s(self) -> int:
        """Seconds from the beginning of an upload until no attempt reads it any more."""
        return KEPT_S + self.deadline_s_max

    @model_validator(mode="after")
    def _default_within(self) -> Self:
        if self.deadline_s_default > self.deadline_s_max:
            raise problem(
                "deadline_s_default",
                f"must be at most deadline_s_max, {self.deadline_s_max}",
                self.deadline_s_default,
            )
        return self


class Concurrency(Strict):
    """Reserved concurrency of the functions that need a bound or a guarantee."""

    wait: Annotated[int, Field(ge=3, le=1000)] = 50
    dispatch: Annotated[int, Field(ge=2, le=100)] = 10
    complete: Annotated[int, Field(ge=2, le=100)] = 10
    beat: Annotated[int, Field(ge=3, le=10)] = 3
    sweep: Annotated[int, Field(ge=1, le=50)] = 10
    release: Annotated[int, Field(ge=1, le=10)] = 2

    @property
    def wait_open(self) -> int:
        """Of the places to wait those that are anybody's, first come, first served: two fifths."""
        return max(1, self.wait * 2 // 5)

    @property
    def wait_kept(self) -> int:
        """The other places, which are kept for clients that find the open ones taken."""
        return self.wait - self.wait_open

    @property
    def wait_kept_of_tenant(self) -> int:
        """A tenant's share of those: a sixth, so that with all open ones it has half of all."""
        return max(1, self.wait_kept // 6)


class Deployment(Strict):
    """One residency zone: regions that share one strongly consistent ledger."""

    name: Annotated[
        str,
        text(
            r"^[a-z][a-z0-9]*-[a-z0-9]+$",
            # With exactly one hyphen no deployment's name begins another's, and a permission on
            # `spillway-dev-*` can never cover a neighbour in the same account.
            "APPLICATION-STAGE in lower-case letters and digits, with one hyphen, at most 20 "
            "characters, like spillway-dev",
            20,
        ),
    ]
    account: Annotated[str, text(r"^\d{12}$", "twelve digits in quotes")]
    retain: Annotated[bool, Field(description="Keep tables and payloads when stacks go.")]
    regions: Annotated[
        tuple[Region, ...],
        Field(
            min_length=1,
            max_length=3,
            description="Which and in which order is fixed after the first deployment.",
        ),
    ]
    witness: Annotated[
        Region | None, Field(description="As fixed as `regions` after the first deployment.")
    ] = None
    encryption: Annotated[
        Literal["aws-owned", "customer-managed"],
        Field(description="Key of the regional data; global tables use AWS-owned keys."),
    ] = "customer-managed"
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 180, 365] = 30
    replicate_results: bool = False
    requests_per_5_min_per_address: Annotated[int, Field(ge=100, le=2_000_000_000)] = 100_000
    limits: Limits = Limits()
    concurrency: Concurrency = Concurrency()
    domain: Domain | None = None
    alarms: Alarms = Alarms()
    cost_hourly_max_usd: Annotated[float | None, Field(gt=0, le=1_000_000)] = None
    tiers: dict[TierName, Tier]
    models: Annotated[dict[Slug, Model], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _one_strong_set(self) -> Self:
        members = [*self.regions, *([self.witness] if self.witness else [])]
        if len(set(members)) != len(members):
            raise problem("regions", "a region is listed twice, or is also the witness", members)
        if (len(self.regions), self.witness is not None) not in {(1, False), (3, False), (2, True)}:
            raise problem(
                "regions",
                "must be one region, three, or two and a witness: "
                "that is what a strongly consistent table can span",
                members,
            )
        if len(members) > 1 and not any(set(members) <= zone for zone in STRONG_SETS):
            sets = "; ".join(listed(zone) for zone in STRONG_SETS)
            raise problem("regions", f"must all be in one strong set: {sets}", members)
        return self

    @model_validator(mode="after")
    def _somewhere_to_fail_over_to(self) -> Self:
        if self.domain and self.domain.policy == "failover" and len(self.regions) == 1:
            raise problem(
                "domain.policy", "must be latency with one region: there is no second", "failover"
            )
        return self

    @model_validator(mode="after")
    def _tiers_share(self) -> Self:
        if set(self.tiers) != set(TIERS):
            raise problem("tiers", f"must be exactly {', '.join(TIERS)}", sorted(self.tiers))
        shares = [self.tiers[name].share_min for name in TIERS]
        if sum(shares) > 1:
            raise problem("tiers", "share_min must add up to at most 1", shares)
        waits = [self.tiers[name].target_wait_s for name in TIERS]
        if waits != sorted(waits):
            raise problem("tiers", f"target_wait_s must not fall along {', '.join(TIERS)}", waits)
        return self

    @model_validator(mode="after")
    def _networks_known(self) -> Self:
        for name, model in self.models.items():
            if model.network and set(model.network) != set(self.regions):
                raise problem(
                    f"models.{name}.network",
                    f"must name every region or none: {listed(self.regions)}",
                    sorted(model.network),
                )
        return self

    @model_validator(mode="after")
    def _fallbacks_lead_somewhere(self) -> Self:
        for name, model in self.models.items():
            if model.fallback is None:
                continue
            field, other = f"models.{name}.fallback", self.models.get(model.fallback)
            if other is None or other is model:
                others = listed(each for each in self.models if each != name)
                allowed = f"must be another model of this deployment: {others or 'there is none'}"
                raise problem(field, allowed, model.fallback)
            if other.input_bytes_max < model.input_bytes_max:
                raise problem(
                    field,
                    f"must take what {name} takes: its input_bytes_max is "
                    f"{other.input_bytes_max}, and {name}'s is {model.input_bytes_max}",
                    model.fallback,
                )
            if not set(model.apis) <= set(other.apis):
                raise problem(
                    field,
                    f"must answer what {name} does: its apis are {listed(other.apis)}",
                    model.fallback,
                )
            circle = _circle(name, self.models)
            if circle:
                raise problem(field, f"leads back: {' -> '.join(circle)}", model.fallback)
        return self

    @model_validator(mode="after")
    def _endpoints_apart(self) -> Self:
        taken: dict[str, str] = {}
        for name, model in self.models.items():
            for version in model.versions:
                endpoint = self.names.endpoint(name, version)
                field = f"models.{name}.versions.{version}"
                if endpoint in taken:
                    raise problem(
                        field, f"would have the same endpoint as {taken[endpoint]}", endpoint
                    )
                taken[endpoint] = field
        return self

    @model_validator(mode="after")
    def _within_cost(self) -> Self:
        if self.cost_hourly_max_usd is None:
            return self
        most, parts = 0.0, []
        for name, model in self.models.items():
            for version, settings in model.versions.items() if model.state != "off" else ():
                usd = settings.instance_usd_per_hour
                if usd is None:
                    raise problem(
                        f"models.{name}.versions.{version}.usd_per_hour",
                        f"is required with cost_hourly_max_usd: config/instances.yaml has no price "
                        f"of {settings.instance_type}",
                    )
                all_of_it = usd * model.instances_max * len(self.regions)
                most += all_of_it
                parts.append(f"{name} {version} {all_of_it:.2f}")
        if most > self.cost_hourly_max_usd:
            raise problem(
                "cost_hourly_max_usd",
                f"must be at least {most:.2f}, what all instances of all versions in all regions "
                f"cost an hour ({', '.join(parts)}), or instances_max must be lower",
                self.cost_hourly_max_usd,
            )
        return self

    @model_validator(mode="after")
    def _flood_above_rate(self) -> Self:
        needed = math.ceil(300 * self.limits.tenant_rate_per_s)
        if self.requests_per_5_min_per_address < needed:
            raise problem(
                "requests_per_5_min_per_address",
                f"must be at least {needed}: limits.tenant_rate_per_s for five minutes, or the "
                "firewall would stop a tenant that keeps to its rate",
                self.requests_per_5_min_per_address,
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

    def policy(self) -> policies.Policy:
        """What the functions need to know, for `policy.json` in their asset."""
        return policies.Policy(
            deployment=self.name,
            account=self.account,
            regions=self.regions,
            primary_region=self.primary_region,
            places_kept=self.concurrency.wait_kept_of_tenant,
            tiers=tuple(
                policies.Tier(name=name, **self.tiers[name].model_dump()) for name in TIERS
            ),
            models={name: _domain_model(name, model) for name, model in self.models.items()},
            **self.limits.model_dump(),
        )


def _circle(name: str, models: Mapping[str, Model]) -> list[str]:
    """The way from a model over fallbacks back to itself; empty if there is none."""
    way = [name]
    for _ in models:
        following = models[way[-1]].fallback if way[-1] in models else None
        if following is None:
            return []
        way.append(following)
        if following == name:
            return way
    return []


def _domain_model(name: str, model: Model) -> policies.Model:
    return policies.Model(
        name=name,
        state=model.state,
        versions={version: float(version == model.wanted) for version in model.versions},
        service_s=model.versions[model.wanted].service.typical_s,
        output=model.output.domain() if model.output else None,
        release=model.release.domain(model.guards, invocation_timeout_s=model.invocation_timeout_s),
        schedule=tuple(policies.Minimum(**each.model_dump()) for each in model.scaling.schedule),
        usd_per_hour={
            name: usd
            for name, version in model.versions.items()
            if (usd := version.instance_usd_per_hour) is not None
        },
        packages={
            name: policies.Package(
                arn=version.package, image=version.image, artifact=version.artifact.s3
            )
            for name, version in model.versions.items()
            if version.package is not None
        },
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
                "fallback",
                "apis",
            }
        ),
    )


class _Loader(yaml.SafeLoader):
    """Refuses a field that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 the parent's signature
        """Build a mapping with every key once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a field's name is a word, not a list or mapping", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path | str) -> Deployment:
    """Read and check a configuration file.

    Raises:
        ConfigError: The file is missing, is not YAML, or breaks the schema; the message names
            file, field, what was given and what is allowed.
    """
    path = Path(path)
    try:
        document: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 a safe loader
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping of fields, like config/dev.yaml")
    try:
        # By way of JSON, where strict means: a list for a tuple, a whole number for a fraction,
        # and nothing else for anything. YAML's dates become texts, which no field takes.
        return Deployment.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(_explain(path, found) for found in error.errors(include_url=False))
        ) from None


_KINDS = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be a text in quotes",
}


def _bounds(info: FieldInfo) -> str:
    """What else a field says about what it takes."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    limits = [
        f"{word} {getattr(each, name)}"
        for each in info.metadata
        for name, word in words.items()
        if hasattr(each, name)
    ]
    said = [" and ".join(limits)] if limits else []
    said += [info.description] if info.description else []
    return "".join(f", {each}" for each in said)


def _fields(where: tuple[int | str, ...]) -> dict[str, FieldInfo]:
    """The fields at a place in the configuration."""
    kind: Any = Deployment
    for part in where:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = get_args(kind)[-1]
        while get_args(kind) and get_origin(kind) in {Annotated, UnionType}:
            kind = get_args(kind)[0]  # Of an optional section, what it is when it is there.
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _explain(path: Path, found: ErrorDetails) -> str:
    """One problem in one line: file, field, what is allowed, what was given."""
    context = found.get("ctx", {})
    where = [str(part) for part in found["loc"] if part != "[key]"]
    given: object = found["input"]
    allowed = found["msg"]
    match found["type"]:
        case "problem":
            where += [context["field"]] if context["field"] else []
            given = context["given"]
        case "extra_forbidden":
            given = None
            allowed = f"there is no such field; there are {listed(_fields(found['loc'][:-1]))}"
        case "missing":
            given = None
            allowed = "this field is required"
        case "string_pattern_mismatch":
            allowed = f"must be {WORDS[context['pattern']]}"
        case kind if kind in _KINDS:
            allowed = _KINDS[kind]
            if info := _fields(found["loc"][:-1]).get(str(found["loc"][-1])):
                allowed += _bounds(info)
    # Mappings are long, and what somebody wrote in place of a secret's address is a secret.
    secret = {"environment", "secrets"} & set(where)
    shown = "" if given is None or isinstance(given, dict) or secret else f"; given {given!r}"
    return f"{path}: {'.'.join(where) or '(the whole file)'}: {allowed}{shown}"
