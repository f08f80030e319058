"""What each function may do: one method per function, by the deployment's names alone.

Addresses are plain text, so a policy can be read, compared and tested without deploying it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from config.schema import TIERS, Deployment
from stacks.encryption import use_by_alias
from stacks.roles import Grant

OBJECTS = "Every job has an object of its own."
QUEUES = "Models have queues in stacks of their own; the tier ends every such name."


@dataclass(frozen=True, slots=True)
class Permissions:
    """The grants of the functions in one region."""

    deployment: Deployment
    region: str

    def of(self, function: str) -> list[Grant]:
        """All that a function may do, beside writing its log."""
        grants: list[Grant] = getattr(self, function)()
        return grants

    def authorize(self) -> list[Grant]:
        """Find the tenant of a key."""
        return [self._table(self.deployment.names.directory, "GetItem")]

    def submit(self) -> list[Grant]:
        """Answer clients: accept, read, list, cancel and erase jobs, wherever they ran."""
        names = self.deployment.names
        return [
            self._table(
                names.ledger, "BatchGetItem", "DeleteItem", "GetItem", "PutItem", "UpdateItem"
            ),
            self._index(names.ledger, "listing"),
            self._table(names.directory, "GetItem"),
            self._table(names.gate, "GetItem", "UpdateItem"),
            self._usage(),
            self._tier_queues("SendMessage", regions=self.deployment.regions),
            self._queue(names.webhooks, "SendMessage"),
            self._objects("PutObject", self._inputs(*self.deployment.regions)),
            self._objects("PutObject", self._kept_here("files")),
            self._objects("GetObject", self._results(*self.deployment.regions)),
            self._objects("GetObject", self._files()),
            self._objects("DeleteObject", self._payloads() + self._files()),
            *self._uploads(),
            self._invoke("dispatch", regions=self.deployment.regions),
            self._invoke("wait", "linger", "batches"),
            *self._keys(),
        ]

    def wait(self) -> list[Grant]:
        """Look at one job until it is finished."""
        return [self._table(self.deployment.names.ledger, "GetItem")]

    def linger(self) -> list[Grant]:
        """Look at one job, as `wait` does."""
        return self.wait()

    def dispatch(self) -> list[Grant]:
        """Take jobs from the queues and start them on endpoints."""
        names = self.deployment.names
        return [
            self._table(names.gate, "GetItem", "UpdateItem"),
            self._table(names.ledger, "GetItem", "UpdateItem"),
            self._tier_queues(
                "ChangeMessageVisibility", "DeleteMessage", "ReceiveMessage", "SendMessage"
            ),
            self._queue(names.webhooks, "SendMessage"),
            self._endpoints("InvokeEndpointAsync"),
            *self._inputs_brought(),
            self._invoke("dispatch"),
            *(self._keys() if self.deployment.region_after(self.region) else self._key()),
        ]

    def complete(self) -> list[Grant]:
        """Commit results, or send a job back for another attempt."""
        names = self.deployment.names
        return [
            self._consume(names.results),
            self._table(names.ledger, "GetItem", "UpdateItem"),
            self._table(names.gate, "GetItem", "UpdateItem"),
            self._tier_queues("SendMessage"),
            self._queue(names.webhooks, "SendMessage"),
            self._objects("GetObject", self._left_here()),
            self._objects("DeleteObject", self._left_here()),
            self._bucket(),
            self._invoke("dispatch"),
            *self._key(),
        ]

    def notify(self) -> list[Grant]:
        """Deliver webhooks: it speaks to anybody's hosts, so it may do nothing else."""
        names = self.deployment.names
        return [
            self._consume(names.webhooks, "ChangeMessageVisibility"),
            self._queue(names.deliveries, "SendMessage"),
            self._signing(),
            *self._key(),
        ]

    def record(self) -> list[Grant]:
        """Keep the delivery logs of jobs."""
        names = self.deployment.names
        return [
            self._consume(names.deliveries),
            self._table(names.ledger, "UpdateItem"),
            *self._key(),
        ]

    def beat(self) -> list[Grant]:
        """Renew the region's lease, watch its peers, publish its state, ring for forgotten work."""
        names = self.deployment.names
        return [
            self._consume(names.beats, "SendMessage"),
            self._table(names.ledger, "BatchGetItem", "UpdateItem"),
            self._index(names.ledger, "live"),
            self._table(names.directory, "GetItem"),
            self._snapshot(),
            self._table(names.gate, "GetItem", "PutItem", "UpdateItem"),
            self._tier_queues("GetQueueAttributes"),
            self._endpoints("DescribeEndpoint"),
            self._invoke("dispatch", "sweep"),
            *self._probe(),
            *self._key(),
        ]

    def sweep(self) -> list[Grant]:
        """Repair what was left behind: leases, deadlines, dead letters, old jobs."""
        names = self.deployment.names
        return [
            self._table(names.ledger, "BatchGetItem", "DeleteItem", "GetItem", "UpdateItem"),
            self._index(names.ledger, "listing", "live"),
            self._table(names.directory, "Scan"),
            self._table(names.gate, "GetItem", "UpdateItem"),
            self._tier_queues("GetQueueAttributes", "SendMessage"),
            self._tier_queues("DeleteMessage", "ReceiveMessage", suffix="-dead"),
            self._queue(names.webhooks, "SendMessage"),
            self._objects("GetObject", self._results(self.region)),
            self._objects("DeleteObject", self._left_here()),
            self._bucket(),
            self._invoke("dispatch"),
            *self._key(),
        ]

    def batches(self) -> list[Grant]:
        """Check the files of batches, make their jobs, collect the answers, forget old files."""
        names = self.deployment.names
        here = names.bucket(self.region)
        return [
            self._table(
                names.ledger, "BatchGetItem", "DeleteItem", "GetItem", "PutItem", "UpdateItem"
            ),
            self._index(names.ledger, "live"),
            self._table(names.gate, "GetItem"),
            self._counting(),
            self._tier_queues("SendMessage"),
            self._queue(names.webhooks, "SendMessage"),
            self._objects("GetObject", self._files("files", "uploads")),
            self._objects("GetObject", self._results(*self.deployment.regions)),
            self._objects("PutObject", self._kept_here("inputs")),
            self._objects("GetObject", [f"{here}/batches"]),
            self._objects("PutObject", [f"{here}/batches", f"{here}/outputs"]),
            self._objects(
                "DeleteObject", [f"{here}/batches", *self._files("files", "outputs", "uploads")]
            ),
            self._invoke("dispatch"),
            *self._keys(),
        ]

    def release(self) -> list[Grant]:
        """Begin, advance and take back releases; try new versions with jobs of its own."""
        names = self.deployment.names
        return [
            self._table(names.ledger, "BatchGetItem", "GetItem", "PutItem"),
            self._table(names.gate, "GetItem"),
            self._tier_queues("SendMessage"),
            self._guard_alarms(),
            *self._packages(),
            self._invoke("dispatch"),
            *self._key(),
        ]

    def _guard_alarms(self) -> Grant:
        return Grant(
            actions=("cloudwatch:DescribeAlarms",),
            # Narrower, AWS refuses the call: it is of "alarm:*" whatever it names (aws-samples/
            # amazon-cloudwatch-auto-alarms, issue 1), and then nothing would be taken back.
            resources=(self._arn("cloudwatch", "alarm:*"),),
            why="Versions have alarms in stacks of their own, and alarms are described all alike.",
        )

    def _packages(self) -> list[Grant]:
        """Ask whether versions are approved, where any is in a registry."""
        packages = {
            version.package.replace("{region}", self.region)
            for model in self.deployment.models.values()
            for version in model.versions.values()
            if version.package is not None
        }
        if not packages:
            return []
        return [
            Grant(actions=("sagemaker:DescribeModelPackage",), resources=tuple(sorted(packages)))
        ]

    def _arn(self, service: str, resource: str, *, region: str = "") -> str:
        place = region or self.region
        return f"arn:aws:{service}:{place}:{self.deployment.account}:{resource}"

    def _table(self, table: str, *operations: str) -> Grant:
        return Grant(
            actions=tuple(f"dynamodb:{operation}" for operation in operations),
            resources=(self._arn("dynamodb", f"table/{table}"),),
        )

    def _snapshot(self) -> Grant:
        """Write this region's snapshot, and nothing else beside the tenants and their keys."""
        return Grant(
            actions=("dynamodb:PutItem",),
            resources=(self._arn("dynamodb", f"table/{self.deployment.names.directory}"),),
            conditions={
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [f"snapshot#{self.region}"]}
            },
        )

    def _usage(self) -> Grant:
        """Read what tenants used, in every region, and nothing else of the other regions' gates."""
        table = f"table/{self.deployment.names.gate}"
        return Grant(
            actions=("dynamodb:BatchGetItem",),
            resources=tuple(
                self._arn("dynamodb", table, region=region) for region in self.deployment.regions
            ),
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["usage#*"]}},
        )

    def _counting(self) -> Grant:
        """Count what tenants used in this region, and change nothing else of its gate."""
        return Grant(
            actions=("dynamodb:UpdateItem",),
            resources=(self._arn("dynamodb", f"table/{self.deployment.names.gate}"),),
            conditions={
                "ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"usage#{self.region}#*"]}
            },
        )

    def _signing(self) -> Grant:
        """Read the secrets that sign tenants' webhooks, and nothing else of the directory."""
        return Grant(
            actions=("dynamodb:GetItem",),
            resources=(self._arn("dynamodb", f"table/{self.deployment.names.directory}"),),
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["webhook#*"]}},
        )

    def _index(self, table: str, *indexes: str) -> Grant:
        return Grant(
            actions=("dynamodb:Query",),
            resources=tuple(
                self._arn("dynamodb", f"table/{table}/index/{index}") for index in indexes
            ),
        )

    def _queue(self, queue: str, *operations: str) -> Grant:
        return Grant(
            actions=tuple(f"sqs:{operation}" for operation in operations),
            resources=(self._arn("sqs", queue),),
        )

    def _consume(self, queue: str, *operations: str) -> Grant:
        """What an event source mapping asks of the function's role, and what it does itself."""
        return self._queue(
            queue,
            "DeleteMessage",
            "GetQueueAttributes",
            "ReceiveMessage",
            *operations,
        )

    def _tier_queues(
        self, *operations: str, suffix: str = "", regions: Sequence[str] = ()
    ) -> Grant:
        return Grant(
            actions=tuple(f"sqs:{operation}" for operation in operations),
            resources=tuple(
                self._arn("sqs", f"{self.deployment.name}-*-{tier}{suffix}", region=region)
                for region in regions or (self.region,)
                for tier in TIERS
            ),
            why=QUEUES,
        )

    def _objects(self, operation: str, places: list[str]) -> Grant:
        return Grant(
            actions=(f"s3:{operation}",),
            resources=tuple(f"arn:aws:s3:::{place}/*" for place in places),
            why=OBJECTS,
        )

    def _inputs(self, *regions: str) -> list[str]:
        """Where an input is kept that runs in one of the regions: there and in the next one."""
        names = self.deployment.names
        seconds = filter(None, map(self.deployment.region_after, regions))
        return [
            *(f"{names.bucket(region)}/inputs" for region in regions),
            *(f"{names.replica_bucket(after)}/inputs" for after in seconds),
        ]

    def _uploads(self) -> list[Grant]:
        """Write uploads, here and, in parts, where they began; look where they are.

        Links to write to carry this right: whoever has one can do what is signed, and no more.
        """
        names, regions = self.deployment.names, self.deployment.regions
        homes = [f"{names.bucket(region)}/uploads" for region in regions]
        copies = [names.replica_bucket(region) for region in regions] if len(regions) > 1 else []
        buckets = [*(names.bucket(region) for region in regions), *copies]
        return [
            self._objects("PutObject", homes),
            self._objects("AbortMultipartUpload", homes),
            self._objects("ListMultipartUploadParts", homes),
            self._objects("GetObject", [*homes, *(f"{bucket}/uploads" for bucket in copies)]),
            # Without it S3 answers 403 instead of 404 for an object that is not there.
            Grant(
                actions=("s3:ListBucket",),
                resources=tuple(f"arn:aws:s3:::{bucket}" for bucket in buckets),
            ),
        ]

    def _inputs_brought(self) -> list[Grant]:
        """See whether an upload is there; bring an input that another region keeps."""
        names, regions = self.deployment.names, self.deployment.regions
        buckets = [names.bucket(region) for region in regions]
        if len(regions) > 1:
            buckets += [names.replica_bucket(region) for region in regions]
        uploads = [f"{bucket}/uploads" for bucket in buckets]
        # Else an upload that is not there looks like one that may not be read.
        look = Grant(
            actions=("s3:ListBucket",),
            resources=tuple(f"arn:aws:s3:::{bucket}" for bucket in buckets),
        )
        if len(regions) == 1:
            return [self._objects("GetObject", uploads), look]
        return [
            self._objects("GetObject", [*self._inputs(*regions), *uploads]),
            self._objects("PutObject", [f"{names.bucket(self.region)}/inputs"]),
            look,
        ]

    def _probe(self) -> list[Grant]:
        """Ask another region whether it is there, as the health check does."""
        peers = [region for region in self.deployment.regions if region != self.region]
        return [self._invoke("submit", regions=peers)] if peers else []

    def _results(self, *regions: str) -> list[str]:
        return [f"{self.deployment.names.bucket(region)}/results" for region in regions]

    def _left_here(self) -> list[str]:
        """What attempts leave in this region: results and errors."""
        bucket = self.deployment.names.bucket(self.region)
        return [f"{bucket}/{prefix}" for prefix in ("results", "failures")]

    def _payloads(self) -> list[str]:
        """All that a job leaves in buckets, in whichever region it was accepted and ran."""
        names, regions = self.deployment.names, self.deployment.regions
        kept = [names.bucket(region) for region in regions]
        copies = [names.replica_bucket(region) for region in regions] if len(regions) > 1 else []
        copied = ("inputs", "results", "uploads")
        return [
            *(f"{bucket}/{prefix}" for bucket in kept for prefix in (*copied, "failures")),
            *(f"{bucket}/{prefix}" for bucket in copies for prefix in copied),
        ]

    def _files(self, *prefixes: str) -> list[str]:
        """What clients brought for batches and what these made, with their second copies."""
        names, regions = self.deployment.names, self.deployment.regions
        places = [names.bucket(region) for region in regions]
        places += [names.replica_bucket(region) for region in regions] if len(regions) > 1 else []
        return [f"{p}/{prefix}" for p in places for prefix in prefixes or ("files", "outputs")]

    def _kept_here(self, prefix: str) -> list[str]:
        """Where this region keeps what clients bring: here, and in whichever other takes it."""
        names, here = self.deployment.names, self.region
        others = [region for region in self.deployment.regions if region != here]
        return [
            f"{names.bucket(here)}/{prefix}",
            *(f"{names.replica_bucket(region)}/{prefix}" for region in others),
        ]

    def _bucket(self) -> Grant:
        """Without it S3 answers 403 instead of 404 for an object that is not there."""
        bucket = self.deployment.names.bucket(self.region)
        return Grant(actions=("s3:ListBucket",), resources=(f"arn:aws:s3:::{bucket}",))

    def _endpoints(self, operation: str) -> Grant:
        return Grant(
            actions=(f"sagemaker:{operation}",),
            resources=(self._arn("sagemaker", f"endpoint/{self.deployment.name}-*"),),
            why="Models have endpoints in stacks of their own; the deployment begins their names.",
        )

    def _invoke(self, *functions: str, regions: Sequence[str] = ()) -> Grant:
        names = self.deployment.names
        return Grant(
            actions=("lambda:InvokeFunction",),
            resources=tuple(
                self._arn("lambda", f"function:{names.function(function)}", region=region)
                for region in regions or (self.region,)
                for function in functions
            ),
        )

    def _key(self) -> tuple[Grant, ...]:
        """Use of this region's key."""
        alias = self.deployment.names.key_alias
        return use_by_alias(self.deployment, region=self.region, alias=alias)

    def _keys(self) -> list[Grant]:
        """Use of every region's key, and of those that second copies are kept under."""
        names, regions = self.deployment.names, self.deployment.regions
        aliases = [(region, names.key_alias) for region in regions]
        if len(regions) > 1:
            aliases += [(region, names.replica_key_alias) for region in regions]
        return [
            grant
            for region, alias in aliases
            for grant in use_by_alias(self.deployment, region=region, alias=alias)
        ]
