"""Versions that are released on a local deployment to be seen failing, and taken back."""

import json
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from config.schema import Deployment, load
from spillway import local
from spillway.assembly import LocalError, synthesize
from spillway.replay.bad_version import FAILS_ONE_IN, flawed, wanting
from spillway.twin.containers import Factory
from spillway.twin.twin import Twin

UPDATE_S_MAX = 300.0


class BadReleases:
    """What fails of a deployment when somebody says so.

    A model's version that is not wanted is served as the configuration says until it is released
    from here; from then on it fails every third job, but for the smoke jobs, as versions do that
    are bad in a way that nobody thought of.

    Args:
        config: The deployment's file.
        folder: Where changed files are written.
        replaced: What serves some endpoints instead of what the configuration says.
    """

    def __init__(
        self, config: Path, folder: Path, *, replaced: Mapping[str, Factory] | None = None
    ) -> None:
        self._config = config
        self._folder = folder
        self._deployment = load(config)
        self._replaced = dict(replaced or {})
        self._bad: set[str] = set()
        self._twin: Twin | None = None

    def containers(self) -> Mapping[str, Factory]:
        """What serves instead of what the configuration says, versions that may go bad included."""
        deployment = self._deployment
        sound = local.containers(deployment) | self._replaced
        return self._replaced | {
            endpoint: flawed(sound[endpoint], partial(self._fails, endpoint, model.release.smoke))
            for name, model in deployment.models.items()
            for version in model.versions
            if version != model.wanted
            for endpoint in [deployment.names.endpoint(name, version)]
        }

    def watch(self, twin: Twin) -> None:
        """Release on this twin, which was started with the containers."""
        self._twin = twin

    def version(self, model: str) -> str | None:
        """The version that would be released; None if the configuration has only one."""
        configured = self._deployment.models[model]
        others = [version for version in configured.versions if version != configured.wanted]
        fresh = (v for v in others if self._endpoint(model, v) not in self._bad)
        return next(fresh, others[-1] if others else None)

    def release(self, model: str) -> Deployment:
        """Deploy the configuration with that version wanted, and let it fail.

        Raises:
            LocalError: There is none, or it cannot be deployed.
        """
        version = self.version(model)
        if version is None or self._twin is None:
            raise LocalError(f"{model} has no other version to release")
        changed = wanting(self._config, model, version, self._folder)
        # Made here and not in the twin's loop, which would stand still for as long.
        synthesize(changed)
        endpoint = self._endpoint(model, version)
        self._bad.add(endpoint)
        try:
            deployment: Deployment = self._twin.scheduler.call(
                partial(local.update, self._twin, changed, replaced=self.containers()),
                timeout_s=UPDATE_S_MAX,
                name="update",
            )
        except BaseException:
            self._bad.discard(endpoint)
            raise
        self._config = changed
        return deployment

    def _endpoint(self, model: str, version: str) -> str:
        return self._deployment.names.endpoint(model, version)

    def _fails(self, endpoint: str, smoke: Sequence[Any], body: bytes) -> bool:
        if endpoint not in self._bad or zlib.crc32(body) % FAILS_ONE_IN:
            return False
        try:
            return json.loads(body) not in smoke
        except ValueError:
            return True
