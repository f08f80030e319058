"""release: every minute, and whenever a guard alarm fires: what becomes of new versions.

Whatever called it says nothing that is believed: alarms are asked what they say now.
"""

from typing import Any

from lambdas.adapters.alarms import Alarms
from lambdas.adapters.leases import Leases
from lambdas.adapters.logs import logger
from lambdas.adapters.registry import Registry
from lambdas.adapters.releases import Releases
from lambdas.handlers.ports import endings
from lambdas.handlers.releasing import Releasing
from lambdas.wiring import Execution, Function, Handler


def create(execution: Execution) -> Handler:
    """Wire the releases of an execution environment."""
    names, shared = execution.names, endings(execution)
    dynamodb = execution.client("dynamodb")
    releasing = Releasing(
        region=execution.region,
        policy=execution.policy,
        releases=Releases(dynamodb, names.ledger),
        leases=Leases(dynamodb, names.ledger),
        alarms=Alarms(execution.client("cloudwatch")),
        registry=Registry(execution.client("sagemaker")),
        gate=shared.gate,
        ledger=shared.ledger,
        queues=shared.queues,
        functions=shared.functions,
    )

    def handle(_event: dict[str, Any], context: Any) -> dict[str, int]:
        changes = releasing.once(time_left_ms=context.get_remaining_time_in_millis)
        logger.info("releases decided", changes=changes)
        return changes

    return handle


handle = Function(create)
