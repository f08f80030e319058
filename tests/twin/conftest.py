"""A small AWS in virtual time: queues, functions, schedules, metrics, alarms and events."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from moto import mock_aws

from spillway.twin.alarm_messages import AlarmEvent
from spillway.twin.alarms import Alarms
from spillway.twin.calls import Hook
from spillway.twin.clock import START_S, Scheduler
from spillway.twin.event_sources import EventSources
from spillway.twin.events import Events
from spillway.twin.functions import Answer, FunctionDefinition, Functions
from spillway.twin.metrics import Metric, Metrics
from spillway.twin.schedules import Schedules
from spillway.twin.sqs import Sqs

REGION = "us-east-1"
PRESSURE = Metric("Spillway", "Pressure")


class Code:
    """A function's code: `handle(event, context, session, sleep)`."""

    def __init__(self, handle: Callable[..., Any]) -> None:
        self.handle = handle
        self.environs: list[dict[str, str]] = []

    def environment(
        self, *, environ: Any, session: Any, sleep: Any, **_: Any
    ) -> Callable[..., Any]:
        """Start an execution environment, and remember its variables."""
        self.environs.append(environ)
        return lambda event, context: self.handle(event, context, session, sleep)


class World:
    """What runs in it, and short ways to use it from outside."""

    def __init__(self, scheduler: Scheduler, hook: Hook, sqs: Sqs, functions: Functions) -> None:
        self.scheduler = scheduler
        self.hook = hook
        self.sqs = sqs
        self.functions = functions
        self.sources = EventSources(scheduler, hook, sqs, functions)
        self.schedules = Schedules(scheduler, functions)
        self.events = Events(scheduler, functions, self.schedules)
        self.metrics = Metrics(scheduler)
        self.acted: list[tuple[float, str, AlarmEvent]] = []
        self.alarms = Alarms(scheduler, self.metrics, act=self._act)

    def close(self) -> None:
        """End it all."""
        self.scheduler.close()
        for service in (self.alarms, self.metrics, self.functions, self.sqs, self.hook):
            service.close()

    def _act(self, region: str, action: str, event: AlarmEvent) -> None:
        self.acted.append((round(self.scheduler.now() - START_S), action, event))

    def alarm(self, name: str = "high", **properties: Any) -> None:
        """Create an alarm: three minutes in a row above 10, unless told otherwise."""
        self.alarms.put(
            "123456789012",
            REGION,
            {
                "AlarmName": name,
                "Namespace": "Spillway",
                "MetricName": "Pressure",
                "Statistic": "Maximum",
                "Period": 60,
                "EvaluationPeriods": 3,
                "Threshold": 10,
                "ComparisonOperator": "GreaterThanThreshold",
                **properties,
            },
        )

    def feed(
        self, values: Sequence[float | None], *, every_s: float = 60.0, **settings: Any
    ) -> None:
        """Let time pass, and put a value in the middle of each period; None puts nothing."""
        for value in values:
            self.scheduler.run_for(every_s / 2)
            if value is not None:
                self.metrics.put(REGION, PRESSURE, [value], **settings)
            self.scheduler.run_for(every_s / 2)

    def state(self, name: str = "high") -> str:
        """An alarm's state, as an operator sees it."""
        answer = self.client("cloudwatch").describe_alarms(AlarmNames=[name])
        shown: list[str] = [
            alarm["StateValue"] for alarm in answer["MetricAlarms"] + answer["CompositeAlarms"]
        ]
        assert shown == [self.alarms.state(REGION, name).value]
        return shown[0]

    def client(self, service: str, function: str = "operator") -> Any:
        """A client of somebody outside of any task."""
        return self.hook.session(region=REGION, function=function).client(service)

    def deploy(self, name: str, handle: Callable[..., Any], **settings: Any) -> Code:
        """Deploy a function."""
        code = Code(handle)
        self.functions.deploy(FunctionDefinition(name=name, region=REGION, code=code, **settings))
        return code

    def invoke(self, name: str, payload: Any = None) -> Answer:
        """Invoke a function and run until it answered."""
        task = self.functions.invoke(REGION, name, payload)
        answer: Answer = self.scheduler.call(self.scheduler.wait, task)
        return answer

    def queue(self, name: str = "work", **attributes: str) -> str:
        """Make a queue; its URL."""
        url: str = self.client("sqs").create_queue(QueueName=name, Attributes=attributes)[
            "QueueUrl"
        ]
        return url

    def arn(self, url: str) -> str:
        """A queue's ARN."""
        return f"arn:aws:sqs:{REGION}:123456789012:{url.rpartition('/')[2]}"


@pytest.fixture
def world() -> Iterator[World]:
    """A fresh world at the same virtual time, with the same seed."""
    with mock_aws(config={"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}):
        scheduler = Scheduler(virtual=True, seed=1)
        hook = Hook(scheduler)
        world = World(scheduler, hook, Sqs(scheduler), Functions(scheduler, hook))
        try:
            yield world
        finally:
            world.close()
