"""A deployment on this machine: from a configuration file to a twin that runs its templates."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from config.schema import Deployment, load
from spillway.assembly import ROOT, LocalError, synthesize
from spillway.directory import Directory
from spillway.simulated import counted, service_s
from spillway.twin.calls import OPERATOR
from spillway.twin.cloudformation import AssemblyError, DeploymentError
from spillway.twin.containers import Factory, LocalProcess, Simulated
from spillway.twin.resources import UnsupportedError
from spillway.twin.twin import Twin

BACKGROUND = ("beat", "sweep", "release")
"""Functions that run without jobs: what they call is no cost of a job."""


def containers(deployment: Deployment) -> dict[str, Factory]:
    """What serves each endpoint of a deployment here: the one place where that is decided.

    A version with a local command runs as real processes; any other takes the time that its
    configuration predicts for a request of that size, and answers what it counted.
    """
    factories: dict[str, Factory] = {}
    for name, model in deployment.models.items():
        for version_name, version in model.versions.items():
            endpoint = deployment.names.endpoint(name, version_name)
            takes_s = partial(service_s, version.service)
            if version.local_command is not None:
                factories[endpoint] = partial(
                    LocalProcess,
                    command=version.local_command,
                    directory=ROOT,
                    service_s=takes_s,
                    warm_up_s=model.warm_up_s,
                )
            else:
                factories[endpoint] = partial(
                    Simulated,
                    service_s=takes_s,
                    answers=partial(counted, version.service),
                    warm_up_s=model.warm_up_s,
                )
    return factories


def start(
    config: Path | str,
    *,
    virtual: bool,
    seed: int = 0,
    assembly: Path | None = None,
    replaced: Mapping[str, Factory] | None = None,
    **settings: Any,
) -> Twin:
    """Boot a deployment: synthesize it, and create its stacks in this process.

    Args:
        config: The deployment.
        virtual: Whether time jumps from event to event, instead of passing.
        seed: Of everything random.
        assembly: Templates of that configuration, if they were synthesized before.
        replaced: What serves some endpoints instead of what the configuration says.
        settings: The twin's own.

    Raises:
        LocalError: Synth failed, or the templates cannot be run here.
        ConfigError: The configuration breaks the schema.
    """
    deployment = load(config)
    serving = containers(deployment) | dict(replaced or {})
    folder = assembly or synthesize(config)
    try:
        twin = Twin(folder, virtual=virtual, containers=serving, seed=seed, **settings)
    except AssemblyError as error:
        raise LocalError(str(error)) from error
    try:
        twin.deploy()
        # As if the minute's tick had just come: nobody should have to wait for the first one,
        # before which no region has a lease.
        for region in deployment.regions:
            twin.functions.invoke_async(region, deployment.names.function("beat"), {})
    except BaseException as error:
        twin.close()
        if isinstance(error, DeploymentError | UnsupportedError):
            raise LocalError(str(error)) from error
        raise
    return twin


def update(
    twin: Twin, config: Path | str, *, replaced: Mapping[str, Factory] | None = None
) -> Deployment:
    """Deploy a changed configuration over the one that runs.

    Args:
        twin: Which was started with the former one.
        config: The deployment, with the same name, regions and models.
        replaced: What serves some endpoints instead of what the configuration says.

    Raises:
        LocalError: Synth failed, or the change cannot be made: here, or anywhere, as with another
            content of a version that is there.
        ConfigError: The configuration breaks the schema.
    """
    deployment = load(config)
    try:
        twin.update(synthesize(config), containers=containers(deployment) | dict(replaced or {}))
    except (AssemblyError, UnsupportedError) as error:
        raise LocalError(str(error)) from error
    except DeploymentError as error:
        edited = _edited(str(error), deployment)
        raise LocalError(f"{error}{edited}") from error
    return deployment


def _edited(refused: str, deployment: Deployment) -> str:
    """What to do about a refusal, if it is of the endpoint of a version that was edited."""
    for name, model in deployment.models.items():
        for version in model.versions:
            if f": {deployment.names.endpoint(name, version)} already exists" in refused:
                return (
                    f". Versions never change: add what {name} {version} is to be now under a "
                    "name of its own, and leave this one as it is"
                )
    return ""


def directory(twin: Twin, deployment: Deployment) -> Directory:
    """The directory of a deployment that runs here."""
    session = twin.operator(deployment.primary_region)
    table = session.resource("dynamodb", region_name=deployment.primary_region)
    return Directory(table.Table(deployment.names.directory), twin.scheduler.now)


@dataclass(frozen=True, slots=True)
class Work:
    """What a deployment on this machine still has to do, as the twin itself sees it.

    What lies in a region that was killed is left out: nothing can become of it until it is back.

    Attributes:
        queued: Messages in the tier queues, by tier.
        running: Jobs handed over to endpoints.
        notices: Results and webhooks that are on their way.
    """

    queued: Counter[str]
    running: int
    notices: int

    @property
    def none(self) -> bool:
        """Whether nothing is queued, running or on its way."""
        return not self.queued.total() and not self.running and not self.notices


def work_left(twin: Twin, deployment: Deployment) -> Work:
    """Look at queues and endpoints without a call to AWS, which would take time and be counted."""
    names = deployment.names
    queued: Counter[str] = Counter()
    running = notices = 0
    for region in deployment.regions:
        if twin.regions.killed(region):
            continue
        queues = (names.results, names.webhooks, names.deliveries)
        notices += sum(_messages(twin, region, queue) for queue in queues)
        for name, model in deployment.models.items():
            queued.update(waiting(twin, deployment, region, name))
            if model.state != "off":
                running += sum(
                    twin.sagemaker.endpoint(region, names.endpoint(name, version)).backlog
                    for version in model.versions
                )
    return Work(queued, running, notices)


def waiting(twin: Twin, deployment: Deployment, region: str, model: str) -> Counter[str]:
    """Messages in a model's tier queues in a region, by tier, without a call to AWS."""
    names = deployment.names
    return Counter(
        {tier: _messages(twin, region, names.tier_queue(model, tier)) for tier in deployment.tiers}
    )


def _messages(twin: Twin, region: str, queue: str) -> int:
    state = twin.sqs.queue(f"arn:aws:sqs:{region}:{twin.account}:{queue}")
    return int(
        state.approximate_number_of_messages
        + state.approximate_number_of_messages_delayed
        + state.approximate_number_of_messages_not_visible
    )


def calls_of_jobs(twin: Twin, deployment: Deployment) -> int:
    """AWS calls that jobs caused so far: of functions, and of the queues that feed them."""
    background = tuple(deployment.names.function(name) for name in BACKGROUND)
    return sum(
        count
        for (caller, _, _), count in twin.hook.log.counts.items()
        if caller != OPERATOR and not caller.endswith(background)
    )


def unfinished(twin: Twin, deployment: Deployment) -> list[str]:
    """Ids of the jobs that wait or hold a slot, from the ledger's index of them."""
    client = twin.operator(deployment.primary_region).client("dynamodb")
    pages = client.get_paginator("query")
    return [
        item["pk"]["S"].removeprefix("job#")
        for region in deployment.regions
        for model in deployment.models
        for page in pages.paginate(
            TableName=deployment.names.ledger,
            IndexName="live",
            KeyConditionExpression="live = :live",
            ExpressionAttributeValues={":live": {"S": f"{region}#{model}"}},
        )
        for item in page["Items"]
    ]
