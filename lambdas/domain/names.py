"""Every fixed resource name, so that stacks, functions and commands agree without lookups.

Permissions are granted by the deployment's prefix, and references across regions need names
that are known before the other region's stack exists.
"""

from dataclasses import dataclass

FUNCTIONS = (
    "authorize",
    "submit",
    "wait",
    "linger",
    "dispatch",
    "complete",
    "notify",
    "record",
    "beat",
    "sweep",
    "batches",
    "release",
)
COMPARED = tuple(
    f"{what}-{tier}" for what in ("slow", "size") for tier in ("interactive", "standard", "batch")
)
"""Guards that compare a version with the live one: of that one itself they say nothing."""
GUARDS = ("failures", "invalid", "refused", "slow", *COMPARED)
"""What is watched of each version, by an alarm of its own in each region."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one deployment's resources in one account.

    Args:
        deployment: The prefix of every name, at most 20 characters.
        account: Twelve digits.
    """

    deployment: str
    account: str

    @property
    def ledger(self) -> str:
        """The global, strongly consistent table of jobs, releases and region leases."""
        return f"{self.deployment}-ledger"

    @property
    def directory(self) -> str:
        """The global, eventually consistent table of tenants, keys and snapshots."""
        return f"{self.deployment}-directory"

    @property
    def gate(self) -> str:
        """The regional table of slots, rates and credits."""
        return f"{self.deployment}-gate"

    def bucket(self, region: str) -> str:
        """The payload bucket of a region; bucket names are global, so it carries the account."""
        return f"{self.deployment}-{self.account}-{region}-payloads"

    def replica_bucket(self, region: str) -> str:
        """The bucket in a region that keeps second copies for the region before it."""
        return f"{self.deployment}-{self.account}-{region}-replica"

    def function(self, function: str) -> str:
        """A function, by one of `FUNCTIONS`."""
        return f"{self.deployment}-{function}"

    @property
    def metrics(self) -> str:
        """CloudWatch's namespace of the deployment's own metrics."""
        return f"Spillway/{self.deployment}"

    @property
    def api(self) -> str:
        """The REST API of a region."""
        return f"{self.deployment}-api"

    def tier_queue(self, model: str, tier: str) -> str:
        """The queue in which a model's jobs of one tier wait."""
        return f"{self.deployment}-{model}-{tier}"

    def tier_dead_letters(self, model: str, tier: str) -> str:
        """Where messages of a tier queue go that were received too often."""
        return f"{self.tier_queue(model, tier)}-dead"

    @property
    def results(self) -> str:
        """The queue of SageMaker's notifications, read by complete."""
        return f"{self.deployment}-results"

    @property
    def results_dead_letters(self) -> str:
        """Notifications that complete could not work off."""
        return f"{self.deployment}-results-dead"

    @property
    def webhooks(self) -> str:
        """The queue of webhook deliveries, read by notify."""
        return f"{self.deployment}-webhooks"

    @property
    def webhooks_dead_letters(self) -> str:
        """Deliveries that were given up."""
        return f"{self.deployment}-webhooks-dead"

    @property
    def deliveries(self) -> str:
        """The queue of what became of tries to deliver, read by record."""
        return f"{self.deployment}-deliveries"

    @property
    def beats(self) -> str:
        """The queue whose delayed messages beat every five seconds."""
        return f"{self.deployment}-beats"

    @property
    def succeeded_topic(self) -> str:
        """Where SageMaker announces results."""
        return f"{self.deployment}-succeeded"

    @property
    def failed_topic(self) -> str:
        """Where SageMaker announces failures."""
        return f"{self.deployment}-failed"

    @property
    def alarms_topic(self) -> str:
        """Where a region's alarms tell people."""
        return f"{self.deployment}-alarms"

    def dashboard(self, region: str | None) -> str:
        """A region's dashboard, or that of all of them; names of dashboards are global."""
        return self.deployment if region is None else f"{self.deployment}-{region}"

    def alarm(self, what: str) -> str:
        """An alarm that a person reads, by what it tells of."""
        return f"{self.deployment}-alarm-{what}"

    def endpoint(self, model: str, version: str) -> str:
        """The asynchronous endpoint that serves one immutable version."""
        return f"{self.deployment}-{model}-{version}"

    def guard_alarm(self, model: str, version: str, guard: str) -> str:
        """The alarm that takes a version back, by one of `GUARDS`."""
        return f"{self.deployment}-guard-{model}-{version}-{guard}"

    def scaling(self, model: str, version: str, what: str) -> str:
        """A policy that scales a version's fleet, and the alarm that calls it."""
        return f"{self.deployment}-scaling-{model}-{version}-{what}"

    def package_group(self, model: str) -> str:
        """The group of a model's packages in the model registry."""
        return f"{self.deployment}-{model}"

    @property
    def key_alias(self) -> str:
        """The alias of a region's own key, when the deployment has keys of its own."""
        return f"alias/{self.deployment}"

    @property
    def replica_key_alias(self) -> str:
        """The alias of the key of a region's replica bucket."""
        return f"alias/{self.deployment}-replica"

    def queue_url(self, region: str, queue: str) -> str:
        """The address of a queue, without a call to look it up."""
        return f"https://sqs.{region}.amazonaws.com/{self.account}/{queue}"
