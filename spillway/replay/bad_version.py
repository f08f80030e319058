"""A version that fails jobs is released in the middle of a replay, until it is taken back."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from config.schema import Deployment
from lambdas.domain.release import LEAST_URGENT_FIRST, Release, place, planned_shares

if TYPE_CHECKING:
    from spillway.twin.clock import Scheduler
    from spillway.twin.containers import Container, Factory, Reply
    from spillway.twin.twin import Twin

FAILS_ONE_IN: Final = 3
LOOK_EVERY_S: Final = 2.0
"""Virtual seconds between two looks at the record."""
STEP_S_MAX: Final = 300.0
"""In which a region takes a step of a release that nothing is in the way of: it looks every minute,
and asks that an instance of the version serves."""


@dataclass(slots=True)
class TakenBack:
    """What became of the version; moments are seconds since the first request.

    Attributes:
        model: Whose version.
        version: Which.
        tried_s: When a region first gave it jobs of clients; None if none did.
        region: Which region.
        share: What part of its least urgent tier.
        failed: How many jobs it failed.
        back_s: When it was taken back everywhere; None if it was not.
        why: What took it back.
    """

    model: str
    version: str
    tried_s: float | None = None
    region: str = ""
    share: float = 0.0
    failed: int = 0
    back_s: float | None = None
    why: str = ""

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {name: getattr(self, name) for name in self.__slots__}


class BadVersion:
    """Watches a version that fails some of its jobs.

    Args:
        deployment: In which it is the wanted version.
        model: Whose.
        before: The version that answers so far.
    """

    def __init__(self, deployment: Deployment, *, model: str, before: str) -> None:
        self.seen = TakenBack(model, deployment.models[model].wanted)
        self.before = before
        self._policy = deployment.policy()
        self._table = deployment.names.ledger
        self._looked_s = 0.0

    def container(self, sound: "Factory") -> "Factory":
        """What serves the version here: as the sound one would, but for the jobs that it fails."""
        return flawed(sound, self._fail)

    def _fail(self, body: bytes) -> bool:
        fails = b'"row"' in body and zlib.crc32(body) % FAILS_ONE_IN == 0
        self.seen.failed += fails
        return fails

    def released_before(self, twin: "Twin") -> bool:
        """Wait until a record says that the version before is live; whether there is one."""

        def stands() -> bool:
            found = self._record(twin)
            return found is not None and found.live == self.before

        return twin.scheduler.run_until_true(stands, STEP_S_MAX, every_s=LOOK_EVERY_S)

    def passed_smoke(self, twin: "Twin") -> bool:
        """Wait until a region gives the version jobs of clients; whether one does."""

        def tried() -> bool:
            found = self._record(twin)
            return found is not None and self._share(found) > 0

        return twin.scheduler.run_until_true(tried, STEP_S_MAX, every_s=LOOK_EVERY_S)

    def look(self, twin: "Twin", *, first_s: float) -> None:
        """See how far things are, if it is time to.

        Args:
            twin: On which it runs.
            first_s: When the first request came, on its clock.
        """
        now_s, seen = twin.scheduler.now(), self.seen
        if seen.back_s is not None or now_s < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = now_s
        release = self._record(twin)
        if release is None:
            return
        at, share = place(release), self._share(release)
        if at is not None and share and seen.tried_s is None:
            seen.tried_s, seen.region, seen.share = now_s - first_s, at.region, share
        if seen.version in release.quarantined:
            seen.back_s, seen.why = now_s - first_s, release.quarantined[seen.version]

    def _share(self, release: Release) -> float:
        """The version's part of the least urgent jobs, where it is its turn."""
        at, model = place(release), self._policy.models[self.seen.model]
        if at is None:
            return 0.0
        shares = planned_shares(release, model, at.region, LEAST_URGENT_FIRST[0])
        return shares.get(self.seen.version, 0.0)

    def _record(self, twin: "Twin") -> Release | None:
        # Of the last region: the others may be away.
        client = twin.operator(self._policy.regions[-1]).client("dynamodb")
        key = {"pk": {"S": f"release#{self.seen.model}"}}
        item = client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return Release.read(json.loads(item["document"]["S"])) if item else None


def flawed(sound: "Factory", fails: Callable[[bytes], bool]) -> "Factory":
    """What serves as the sound one would, but for the requests that it fails.

    Args:
        sound: The other one.
        fails: Whether a request's body is one of them.
    """
    return partial(_Flawed, sound, fails)


def wanting(config: Path, model: str, version: str, folder: Path) -> Path:
    """Write a deployment's file anew, with another version of a model wanted.

    Args:
        config: The file as it is.
        model: Whose version.
        version: Which is wanted.
        folder: Where the new file comes; not the old one's own.

    Returns:
        The new file.
    """
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    document["models"][model]["wanted"] = version
    changed = folder / config.name
    changed.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return changed


class _Flawed:
    """A container whose model answers some requests with an error, after as long as the others."""

    def __init__(
        self,
        sound: "Factory",
        fails: Callable[[bytes], bool],
        scheduler: "Scheduler",
        environment: Mapping[str, str],
    ) -> None:
        self._container: Container = sound(scheduler, environment)
        self._fails = fails
        self.warm_up_s = self._container.warm_up_s

    def start(self) -> None:
        self._container.start()

    def ready(self) -> bool:
        return self._container.ready()

    def invoke(self, body: bytes, headers: Mapping[str, str], reply: "Reply") -> None:
        if not self._fails(body):
            self._container.invoke(body, headers, reply)
            return
        from spillway.twin.containers import Answer  # noqa: PLC0415 commands load no twin before

        error = Answer(status=500, body=b'{"error": "the new tokenizer has no such token"}')
        self._container.invoke(
            body, headers, lambda answer: reply(None if answer is None else error)
        )

    def stop(self) -> None:
        self._container.stop()
