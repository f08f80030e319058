"""The resolved policy: what every function knows about the deployment.

It travels as `policy.json` inside the function asset, since a function's environment holds only
4 KB. `config.schema` checks the values and writes it; the functions read it once at start.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from lambdas.domain.job import CHAT, EMBEDDINGS
from lambdas.domain.names import Names
from lambdas.domain.output import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One class of urgency. Tiers are ordered: the first is the most urgent.

    Attributes:
        name: `interactive`, `standard` or `batch`.
        target_wait_s: The wait that the deployment promises to try for.
        share_min: The part of a model's starts that the tier gets while it has work, 0 to 1.
    """

    name: str
    target_wait_s: float
    share_min: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Releasing:
    """How a new version of a model is released.

    Attributes:
        canary_share: Its part of a tier's jobs while it is on trial, 0 to 1.
        bake_s: How long each such step is watched before the next.
        final_bake_s: How long a region runs wholly on it before the next region begins.
        smoke: Inputs of the jobs that it must answer before it gets any of a client's.
        guard_window_s: How far back its guards look: so long a guard of another version may still
            tell of what it did.
        guard_attempts_min: With fewer attempts in that time they conclude nothing.
    """

    canary_share: float = 0.1
    bake_s: int = 300
    final_bake_s: int = 900
    smoke: tuple[Any, ...] = ()
    guard_window_s: int = 300
    guard_attempts_min: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The model package that a version is; `{region}` stands for the region in all of them.

    Attributes:
        arn: The package's address in the registry.
        image: The container image that the version runs.
        artifact: The `s3://` address of its weights, or None if they come from a hub.
    """

    arn: str
    image: str
    artifact: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """Another minimum of the live version, from a time on until the next one.

    Attributes:
        cron: When, in the six fields of Application Auto Scaling.
        timezone: Of that time.
        instances_min: Fewest instances in a region from then on.
    """

    cron: str
    timezone: str
    instances_min: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model as the functions see it.

    Attributes:
        name: The model's name in the API.
        state: `live` takes and runs jobs, `draining` runs what it has, `off` runs nothing.
        versions: Shares by version name, summing to 1; the configuration's wanted version has 1.
        concurrency: Jobs that one instance works on at a time.
        service_s: Expected seconds of one job on an instance.
        warm_up_s: Expected seconds from asking for an instance to its first answer.
        handoff_s: Expected seconds from invoking to the start of the work.
        instances_min: Fewest instances in a region.
        instances_max: Most instances in a region.
        invocation_timeout_s: Longest run of one attempt.
        request_ttl_s: Longest stay in SageMaker's own queue.
        attempts_max: Attempts before a job fails.
        retry_delay_s: Wait before the second attempt; doubles with every further one.
        input_bytes_max: Largest input accepted, in bytes of JSON.
        output: What the model promises of its answers; None for JSON, whatever it says.
        release: How a new version is released.
        packages: Of the versions that must be approved in a registry before their release.
        fallback: The model that takes a job over once this one cannot answer it; None for none.
        schedule: Other minimums by the clock.
        apis: Which of OpenAI's routes it answers, by `job.APIS`.
        usd_per_hour: Dollars an hour of one instance by version, where the price is known.
    """

    name: str
    state: str
    versions: dict[str, float]
    concurrency: int
    service_s: float
    warm_up_s: float
    handoff_s: float
    instances_min: int
    instances_max: int
    invocation_timeout_s: int
    request_ttl_s: int
    attempts_max: int
    retry_delay_s: float
    input_bytes_max: int
    output: Output | None = None
    release: Releasing = Releasing()
    packages: dict[str, Package] = field(default_factory=dict)
    fallback: str | None = None
    schedule: tuple[Minimum, ...] = ()
    apis: tuple[str, ...] = (CHAT, EMBEDDINGS)
    usd_per_hour: dict[str, float] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """The version that the configuration wants to answer everything.

        Raises:
            ValueError: None has a share; the configuration's schema lets no such thing pass.
        """
        for version, share in self.versions.items():
            if share > 0:
                return version
        raise ValueError(f"no version of {self.name} is wanted")

    @property
    def lease_s(self) -> int:
        """How long an attempt may hold its slot: request TTL + invocation timeout + margin.

        The margin covers a notification's way through SNS and SQS (60 s).
        """
        return self.request_ttl_s + self.invocation_timeout_s + 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that the configuration decides about running functions.

    Attributes:
        deployment: Prefix of every name.
        account: Twelve digits.
        regions: The serving regions.
        primary_region: Where operators' tables and the Data stack are.
        tiers: Most urgent first.
        models: By name.
        deadline_s_default: Deadline of a job that names none.
        deadline_s_max: Longest deadline a client may ask for.
        retention_s: How long a finished job can be read.
        wait_s_max: Longest single wait on one request.
        tenant_rate_per_s: Submissions a second of a tenant that has no limit of its own.
        tenant_in_flight_max: Unfinished jobs of a tenant that has no limit of its own.
        places_kept: Clients of one tenant that may wait in a region whose open places are taken.
    """

    deployment: str
    account: str
    regions: tuple[str, ...]
    primary_region: str
    tiers: tuple[Tier, ...]
    models: dict[str, Model]
    deadline_s_default: int
    deadline_s_max: int
    retention_s: int
    wait_s_max: int
    tenant_rate_per_s: float
    tenant_in_flight_max: int
    places_kept: int = 5

    @property
    def names(self) -> Names:
        """The fixed names of the deployment's resources."""
        return Names(self.deployment, self.account)

    def tier(self, name: str) -> Tier:
        """The tier of that name.

        Raises:
            KeyError: There is none.
        """
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The document that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read a policy, ignoring fields that a later release may have added."""
        values = _known(cls, document)
        values["regions"] = tuple(values["regions"])
        values["tiers"] = tuple(Tier(**_known(Tier, tier)) for tier in values["tiers"])
        values["models"] = {name: _read_model(model) for name, model in values["models"].items()}
        return cls(**values)


def _read_model(document: dict[str, Any]) -> Model:
    values = _known(Model, document)
    if (output := values.get("output")) is not None:
        values["output"] = Output.read(output)
    if "apis" in values:
        values["apis"] = tuple(values["apis"])
    if "release" in values:
        releasing = _known(Releasing, values["release"])
        values["release"] = Releasing(**releasing | {"smoke": tuple(releasing.get("smoke", ()))})
    if "schedule" in values:
        values["schedule"] = tuple(Minimum(**_known(Minimum, e)) for e in values["schedule"])
    if "packages" in values:
        values["packages"] = {
            version: Package(**_known(Package, package))
            for version, package in values["packages"].items()
        }
    return Model(**values)


def _known(kind: type, document: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in document.items() if name in names}
