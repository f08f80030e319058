"""release: every minute, and whenever a guard alarm fires: what becomes of new versions.

Whatever called it says nothing that is believed: alarms are asked what they say now.
"""

from typing import Any

from lambdas.adapters.alarms import Alarms
from lambdas.adapters.clock import now_ms
from lambdas.adapters.leases import Leases
from lambdas.adapters.logs import logger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.registry import Registry
from lambdas.adapters.releases import Releases
from lambdas.domain import metrics
from lambdas.handlers.ports import endings
from lambdas.handlers.releasing import Releasing
from lambdas.wiring import Execution, Function, Handler


def create(execution: Execution) -> Handler:
    """Wire the releases of an execution environment."""
    names, shared = execution.names, endings(execution)
    telling = Metrics(names.metrics)
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
        decided = releasing.once(time_left_ms=context.get_remaining_time_in_millis)
        told = [(metrics.RELEASES_DECIDED, float(decided.about_all))]
        telling.publish({"Region": execution.region}, told, at_ms=now_ms())
        logger.info("releases decided", changes=decided.changes, about_all=decided.about_all)
        return decided.changes

    return handle


handle = Function(create)
