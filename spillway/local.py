"""A deployment on this machine: from a configuration file to a twin that runs its templates."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from config.schema import Deployment, Service, load
from spillway.assembly import ROOT, LocalError, synthesize
from spillway.directory import Directory
from spillway.replay.plan import LETTERS_PER_TOKEN, tokens_in
from spillway.twin.cloudformation import AssemblyError, DeploymentError
from spillway.twin.containers import Answer, Factory, LocalProcess, Simulated
from spillway.twin.resources import UnsupportedError
from spillway.twin.twin import Twin


def containers(deployment: Deployment) -> dict[str, Factory]:
    """What serves each endpoint of a deployment here: the one place where that is decided.

    A version with a local command runs as real processes; any other takes the time that its
    configuration predicts for a request of that size, and answers what it counted.
    """
    factories: dict[str, Factory] = {}
    for name, model in deployment.models.items():
        for version_name, version in model.versions.items():
            endpoint = deployment.names.endpoint(name, version_name)
            service_s = partial(_service_s, version.service)
            if version.local_command is not None:
                factories[endpoint] = partial(
                    LocalProcess,
                    command=version.local_command,
                    directory=ROOT,
                    service_s=service_s,
                    warm_up_s=model.warm_up_s,
                )
            else:
                factories[endpoint] = partial(
                    Simulated,
                    service_s=service_s,
                    answers=partial(_counted, version.service),
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
        return twin.deploy()
    except BaseException as error:
        twin.close()
        if isinstance(error, DeploymentError | UnsupportedError):
            raise LocalError(str(error)) from error
        raise


def directory(twin: Twin, deployment: Deployment) -> Directory:
    """The directory of a deployment that runs here."""
    session = twin.operator(deployment.primary_region)
    table = session.resource("dynamodb", region_name=deployment.primary_region)
    return Directory(table.Table(deployment.names.directory), twin.scheduler.now)


def _tokens(service: Service, body: bytes) -> tuple[float, float]:
    typical = (service.input_tokens_typical, service.output_tokens_typical)
    try:
        document = json.loads(body)
    except ValueError:
        return len(body) / LETTERS_PER_TOKEN, float(typical[1])
    return tokens_in(document if isinstance(document, dict) else {}, typical=typical)


def _service_s(service: Service, body: bytes) -> float:
    return service.seconds(*_tokens(service, body))


def _counted(service: Service, body: bytes) -> Answer:
    """A simulated model's answer: its size, and the row of a trace that it belongs to."""
    tokens, answered = _tokens(service, body)
    document: dict[str, Any] = {
        "object": "simulated",
        "usage": {"prompt_tokens": int(tokens), "completion_tokens": int(answered)},
    }
    with suppress(ValueError, AttributeError):
        document["row"] = json.loads(body).get("row")
    return Answer(body=json.dumps(document).encode())
