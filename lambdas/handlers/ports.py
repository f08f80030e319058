"""Ports that several functions share, wired for one execution environment."""

from collections.abc import Callable
from functools import cache

from lambdas.adapters.file_objects import FileObjects
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.outbox import Outbox
from lambdas.adapters.payloads import Payloads
from lambdas.adapters.pieces import Pieces
from lambdas.adapters.queues import Queues
from lambdas.adapters.releases import Releases
from lambdas.adapters.uploads import UploadBuckets
from lambdas.adapters.usage import UsageCounters
from lambdas.handlers.counting import Counting
from lambdas.handlers.endings import Endings
from lambdas.handlers.outcomes import Outcomes
from lambdas.wiring import LARGE_COPIES, SDK_DEFAULTS, SEND_ONCE, SIGNED_LINKS, Execution


def endings(execution: Execution) -> Endings:
    """What ends attempts in this region."""
    names, region = execution.names, execution.region
    dynamodb, sqs = execution.client("dynamodb"), execution.client("sqs")
    return Endings(
        policy=execution.policy,
        ledger=Ledger(dynamodb, names.ledger),
        gate=Gate(dynamodb, names.gate),
        releases=Releases(dynamodb, names.ledger),
        queues=Queues(sqs, names, region),
        outbox=Outbox(sqs, names.queue_url(region, names.webhooks)),
        functions=Functions(execution.client("lambda"), names),
        outcomes=Outcomes(metrics=Metrics(names.metrics)),
        usage=Counting(
            policy=execution.policy, counters=UsageCounters(dynamodb, names.gate, region)
        ),
    )


def usage_in(execution: Execution) -> Callable[[str], UsageCounters]:
    """What was used in any region. One that does not answer is done without, and soon."""
    return cache(
        lambda region: UsageCounters(
            execution.client("dynamodb", SEND_ONCE, region=region), execution.names.gate, region
        )
    )


def functions_in(execution: Execution, *, probing: bool = False) -> Callable[[str], Functions]:
    """The functions of any region of the deployment; a probe is sent once and waits briefly."""
    config = SEND_ONCE if probing else SDK_DEFAULTS
    return cache(
        lambda region: Functions(execution.client("lambda", config, region=region), execution.names)
    )


def queues_in(execution: Execution) -> Callable[[str], Queues]:
    """The queues of any region of the deployment."""
    return cache(
        lambda region: Queues(execution.client("sqs", region=region), execution.names, region)
    )


def payload_store(execution: Execution) -> Payloads:
    """The payload buckets, as this region uses them."""
    return Payloads(
        cache(lambda region: execution.client("s3", SIGNED_LINKS, region=region)),
        execution.names,
        execution.region,
        execution.policy.regions,
    )


def upload_buckets(execution: Execution) -> UploadBuckets:
    """The buckets of uploads, as this region uses them."""
    return UploadBuckets(
        cache(lambda region: execution.client("s3", SIGNED_LINKS, region=region)),
        cache(lambda region: execution.client("s3", LARGE_COPIES, region=region)),
        execution.names,
        execution.region,
        execution.policy.regions,
    )


def file_objects(execution: Execution) -> FileObjects:
    """The bytes of files, in whichever region they are."""
    return FileObjects(
        cache(lambda region: execution.client("s3", SIGNED_LINKS, region=region)), execution.names
    )


def batch_pieces(execution: Execution) -> Pieces:
    """What this region's batches are made of."""
    return Pieces(
        lambda: execution.client("s3", SIGNED_LINKS), execution.names.bucket(execution.region)
    )
