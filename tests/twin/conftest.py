"""A small AWS in virtual time: queues, functions, event source mappings and schedules."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws

from spillway.twin.calls import Hook
from spillway.twin.clock import Scheduler
from spillway.twin.event_sources import EventSources
from spillway.twin.functions import Answer, FunctionDefinition, Functions
from spillway.twin.schedules import Schedules
from spillway.twin.sqs import Sqs

REGION = "us-east-1"


class Code:
    """A function's code: `handle(event, context, session, sleep)`."""

    def __init__(self, handle: Callable[..., Any]) -> None:
        self.handle = handle
        self.environs: list[dict[str, str]] = []

    def environment(self, *, environ: Any, session: Any, sleep: Any) -> Callable[..., Any]:
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
        sqs = Sqs(scheduler)
        functions = Functions(scheduler, hook)
        try:
            yield World(scheduler, hook, sqs, functions)
        finally:
            scheduler.close()
            functions.close()
            sqs.close()
            hook.close()
