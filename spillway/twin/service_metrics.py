"""Metrics that AWS services publish themselves: of functions, and of queues that are watched.

Only what somebody may set an alarm on here: AWS/Lambda from every execution, AWS/SQS once a minute
and only of queues that an alarm watches, because counting all of them would cost time for nothing.
"""

from typing import Any, Final

from moto.sqs.models import sqs_backends

from spillway.twin.clock import Scheduler
from spillway.twin.functions import Functions, Report
from spillway.twin.metrics import MINUTE_S, Metric, Metrics

QUEUES: Final = "AWS/SQS"
FUNCTIONS: Final = "AWS/Lambda"


class ServiceMetrics:
    """What Lambda and SQS publish in every region.

    Args:
        scheduler: Time.
        metrics: Where it goes.
        functions: Whose executions are counted.
        account: Of the queues.
    """

    def __init__(
        self, scheduler: Scheduler, metrics: Metrics, functions: Functions, *, account: str
    ) -> None:
        self.scheduler = scheduler
        self._metrics = metrics
        self._account = account
        functions.observers.append(self._executed)
        self._plan()

    def _executed(self, report: Report) -> None:
        """Count an execution, at the time of its beginning.

        Source:
            Lambda developer guide, "Types of metrics for Lambda functions".
        """
        pairs = frozenset({("FunctionName", report.function)})
        for name, value, unit in (
            ("Invocations", 1.0, "Count"),
            ("Errors", float(bool(report.error)), "Count"),
            ("Duration", 1000 * report.duration_s, "Milliseconds"),
        ):
            metric = Metric(FUNCTIONS, name, pairs)
            self._metrics.put(report.region, metric, [value], unit=unit, at_s=report.at_s)

    def _plan(self) -> None:
        minute = int(self.scheduler.now() // MINUTE_S) + 1
        self.scheduler.at(minute * MINUTE_S, self._look)

    def _look(self) -> None:
        """Publish what the queues that are watched hold, for the minute that ends.

        Source:
            SQS developer guide, "Available CloudWatch metrics for Amazon SQS".
        """
        self._plan()
        now_s = self.scheduler.now()
        for region, metric in self._metrics.watched(QUEUES):
            name = dict(metric.dimensions).get("QueueName", "")
            value = self._measure(region, name, metric.name)
            if value is not None:
                self._metrics.put(region, metric, [value], unit="Count", at_s=now_s - 1.0)

    def _measure(self, region: str, name: str, metric: str) -> float | None:
        queue = sqs_backends[self._account][region].queues.get(name)
        if queue is None:
            return None
        if metric == "ApproximateNumberOfMessagesVisible":
            return float(queue.approximate_number_of_messages)
        if metric == "ApproximateNumberOfMessagesNotVisible":
            return float(queue.approximate_number_of_messages_not_visible)
        if metric == "ApproximateNumberOfMessagesDelayed":
            return float(queue.approximate_number_of_messages_delayed)
        if metric == "ApproximateAgeOfOldestMessage":
            messages: list[Any] = queue._messages  # noqa: SLF001 moto has no other way
            now_s = self.scheduler.now()
            return max((now_s - message.sent_timestamp / 1000 for message in messages), default=0.0)
        return None
