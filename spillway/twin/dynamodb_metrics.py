"""What DynamoDB publishes about its tables, where throttling is a fault that somebody injected.

The page: docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html. Throttle
events are told when there are some, and never as 0; consumed units are counted as requests, only of
tables that an alarm watches.
"""

from collections import Counter
from typing import Final

from spillway.twin.calls import THROTTLED, Call, Hook
from spillway.twin.clock import Scheduler
from spillway.twin.dynamodb import READS, WRITES, tables_of
from spillway.twin.metrics import MINUTE_S, Metric, Metrics

NAMESPACE: Final = "AWS/DynamoDB"
THROTTLES: Final = frozenset(
    {
        THROTTLED["dynamodb"][0],
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
    }
)
KINDS: Final = (("Read", READS), ("Write", WRITES))


class DynamoDbMetrics:
    """Publishes what becomes of calls to DynamoDB.

    Args:
        scheduler: Time.
        hook: Whose calls.
        metrics: Where to.
    """

    def __init__(self, scheduler: Scheduler, hook: Hook, metrics: Metrics) -> None:
        self._scheduler = scheduler
        self._metrics = metrics
        self._served: Counter[tuple[str, Metric]] = Counter()
        hook.log.observers.append(self._called)
        self._plan()

    def _called(self, call: Call) -> None:
        if call.service != "dynamodb":
            return
        kind = next((name for name, operations in KINDS if call.operation in operations), None)
        if kind is None:
            return
        index = call.params.get("IndexName")
        for table in tables_of(call.params):
            of = {("TableName", table)} | (
                {("GlobalSecondaryIndexName", index)} if index else set()
            )
            if call.error in THROTTLES:
                operation = frozenset({("TableName", table), ("Operation", call.operation)})
                self._put(call, Metric(NAMESPACE, "ThrottledRequests", operation))
                self._put(call, Metric(NAMESPACE, f"{kind}ThrottleEvents", frozenset(of)))
            elif not call.error:
                units = Metric(NAMESPACE, f"Consumed{kind}CapacityUnits", frozenset(of))
                self._served[call.region, units] += 1

    def _put(self, call: Call, metric: Metric) -> None:
        self._metrics.put(call.region, metric, [1.0], unit="Count")

    def _plan(self) -> None:
        minute = int(self._scheduler.now() // MINUTE_S) + 1
        self._scheduler.at(minute * MINUTE_S, self._publish)

    def _publish(self) -> None:
        """Tell the units of the minute that ends."""
        self._plan()
        at_s = self._scheduler.now() - 1.0
        for region, metric in self._metrics.watched(NAMESPACE):
            units = self._served.get((region, metric))
            if units:
                self._metrics.put(region, metric, [units], unit="Count", at_s=at_s)
        self._served.clear()
