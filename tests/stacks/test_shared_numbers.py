"""What templates and functions must agree on, and cannot import from each other."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from config.schema import Deployment
from lambdas.adapters import queues
from lambdas.adapters.payloads import Payloads
from lambdas.domain.webhooks import DELIVERIES_MAX
from lambdas.handlers import sweep
from tests.stacks.assemblies import Assembly

HERE = "Region-us-east-1"


def dispatch_s(dev: Assembly) -> int:
    """The longest run of dispatch."""
    function = dev.one("AWS::Lambda::Function", stack=HERE, FunctionName="spillway-dev-dispatch")
    return int(function.properties["Timeout"])


def test_a_slot_is_repaired_only_when_its_dispatcher_is_gone(dev: Assembly) -> None:
    """A slot that is freed under a running dispatcher is given away twice."""
    assert 2 * 1000 * dispatch_s(dev) == sweep.DISPATCH_MS_MAX


def test_a_message_is_hidden_as_long_as_its_queue_says(dev: Assembly) -> None:
    """Dispatch asks for the time itself; a shorter one would show messages to a second one."""
    tiers = [
        queue.properties["VisibilityTimeout"]
        for queue in dev.resources("AWS::SQS::Queue", stack="Model-")
        if "VisibilityTimeout" in queue.properties
    ]

    assert len(tiers) >= 3
    assert min(tiers) == queues.HIDDEN_S >= 2 * dispatch_s(dev)


def test_the_last_try_of_a_webhook_is_the_queues_last(dev: Assembly) -> None:
    """Notify gives up after its last try by leaving the message to the queue's dead letters."""
    queue = dev.one("AWS::SQS::Queue", stack=HERE, QueueName="spillway-dev-webhooks")

    assert queue.properties["RedrivePolicy"]["maxReceiveCount"] == DELIVERIES_MAX


class Bucket:
    """An S3 client that only remembers which buckets it wrote to."""

    def __init__(self, written: set[str]) -> None:
        self._written = written

    def put_object(self, **wanted: Any) -> None:
        """Remember."""
        self._written.add(wanted["Bucket"])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_second_copies_lie_where_the_templates_keep_them(
    assembly: Callable[[str], Assembly], number: int
) -> None:
    """Submit writes to the bucket after a region's; one that is not there refuses every job."""
    deployment = assembly("dev").deployment
    regions = deployment.regions[:number]
    smaller: Deployment = deployment.model_copy(update={"regions": regions})
    for region in regions:
        written: set[str] = set()
        payloads = Payloads(
            client_in=cast("Any", lambda _, to=written: Bucket(to)),
            names=smaller.names,
            region=regions[0],
            regions=regions,
        )
        payloads.keep_input("inputs/one", b"{}", region=region)

        after = smaller.region_after(region)
        second = {smaller.names.replica_bucket(after)} if after else set()
        assert written == {smaller.names.bucket(region)} | second
