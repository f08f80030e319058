"""The records of releases as operators read and change them.

What becomes of a release is decided by the functions of each region, every minute; an operator
holds it, lets it go on, or takes it back, in the ledger, where every region sees it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdas.domain import release as releases
from lambdas.domain.policy import Model
from lambdas.domain.release import LEAST_URGENT_FIRST, STEPS, Release, Step, place, planned_shares

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

CHANGE_TRIES_MAX = 8
"""Each is lost only to another change of the same record, of which there are a few a minute, or to
a write of it in another region at the same moment."""
CHANGE_WAIT_S = 0.1
"""Before the next try: longer than a write takes to be everywhere."""

Change = Callable[[Release], Release | None]


class ReleaseError(RuntimeError):
    """A release that is not in a state for what was asked.

    Args:
        message: What is wrong, and what is allowed.
        code: `no_release`, `nothing_waits`, `not_named`, `not_serving`, `no_other_version`,
            `not_quarantined` or `contended`.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a deployment.

    Args:
        client: DynamoDB in any region of the ledger.
        table: The ledger's name.
        wait: Waits so many seconds before a change is tried again.
    """

    client: "DynamoDBClient"
    table: str
    wait: Callable[[float], None] = lambda _: None

    def find(self, model: str) -> Release | None:
        """A model's record; None before there is one."""
        reply = self.client.get_item(TableName=self.table, Key=_key(model), ConsistentRead=True)
        item: Any = reply.get("Item")
        return Release.read(json.loads(item["document"]["S"])) if item else None

    def read(self, model: str) -> Release:
        """A model's record.

        Raises:
            ReleaseError: There is none yet.
        """
        found = self.find(model)
        if found is None:
            raise ReleaseError(
                f"{model} has no record of releases yet: the first region writes one within a "
                "minute after it was deployed",
                code="no_release",
            )
        return found

    def change(self, model: str, change: Change) -> tuple[Release, bool]:
        """Change a record as it stands, again if somebody else changes it meanwhile.

        Returns:
            The record, and whether it changed.

        Raises:
            ReleaseError: There is none, or others change it all the time.
        """
        for tried in range(CHANGE_TRIES_MAX):
            if tried:
                self.wait(CHANGE_WAIT_S)
            current = self.read(model)
            wanted = change(current)
            if wanted is None:
                return current, False
            if self._write(wanted):
                return wanted, True
        raise ReleaseError(f"the record of {model} changes all the time: again", code="contended")

    def _write(self, release: Release) -> bool:
        document = json.dumps(release.document(), sort_keys=True)
        known = self.client.exceptions
        try:
            self.client.put_item(
                TableName=self.table,
                Item={
                    **_key(release.model),
                    "revision": {"N": str(release.revision)},
                    "document": {"S": document},
                },
                ConditionExpression="#revision = :before",
                ExpressionAttributeNames={"#revision": "revision"},
                ExpressionAttributeValues={":before": {"N": str(release.revision - 1)}},
            )
        except (
            known.ConditionalCheckFailedException,
            known.ReplicatedWriteConflictException,
            known.TransactionConflictException,
        ):
            # A write that timed out and was sent again may have been ours.
            current = self.find(release.model)
            return current == release
        return True


@dataclass(slots=True)
class TakeBack:
    """Take a version back, the same one however often the record has to be read for it.

    A lost race, another replica and a second command all find the record changed: what was meant
    is what was meant at first, and a version that is in quarantine already stays there.

    Args:
        model: As configured.
        version: Which; without a name the one that is on trial when the record is first read.
            Afterwards, the version that was meant.
        why: For the history.
        now_ms: When.
    """

    model: Model
    version: str | None
    why: str
    now_ms: int

    def __call__(self, release: Release) -> Release | None:
        """The record without the version; None if it is in quarantine already.

        Raises:
            ReleaseError: Nothing is on trial and none is named, or the version serves nobody, or
                nothing else could answer.
        """
        if self.version is None:
            self.version = self._on_trial(release)
        if self.version in release.quarantined:
            return None
        back = releases.roll_back(
            release, self.model, self.version, why=self.why, now_ms=self.now_ms
        )
        if back is None:
            raise self._refusal(release, self.version)
        return back

    def _on_trial(self, release: Release) -> str:
        if release.candidate is not None:
            return release.candidate
        if self.model.wanted in release.quarantined:
            return self.model.wanted
        raise ReleaseError(
            f"nothing of {release.model} is on trial, and {release.live} is live: "
            f"to take that back, name it: rollback {release.model} {release.live}",
            code="not_named",
        )

    def _refusal(self, release: Release, version: str) -> ReleaseError:
        if version != release.live:
            trial = f"{release.candidate} is on trial" if release.candidate else "none is on trial"
            return ReleaseError(
                f"{version} is neither on trial nor live: {trial}, and {release.live} is live",
                code="not_serving",
            )
        return ReleaseError(
            f"{version} is live and nothing else could answer: "
            + _why_nothing_else(release, self.model),
            code="no_other_version",
        )


def promoted(now_ms: int) -> Change:
    """Let the present step end as soon as all is well, without waiting longer."""

    def change(release: Release) -> Release | None:
        at = place(release)
        if at is None:
            raise ReleaseError(
                f"nothing of {release.model} is being released: {release.live} is live",
                code="nothing_waits",
            )
        if at.step is Step.SMOKE:
            raise ReleaseError(
                f"{release.candidate} is at its smoke jobs in {at.region}: they cannot be skipped, "
                "only the waiting in later steps",
                code="nothing_waits",
            )
        if release.paused:
            raise ReleaseError(
                f"the release of {release.candidate} is paused: resume it first",
                code="nothing_waits",
            )
        return releases.promote(release, now_ms=now_ms)

    return change


def cleared(version: str | None, *, now_ms: int) -> Change:
    """Let a version out of quarantine; without a name, the only one that is there."""

    def change(release: Release) -> Release | None:
        held = sorted(release.quarantined)
        name = version or (held[0] if len(held) == 1 else None)
        if name not in release.quarantined:
            there = f"there is {', '.join(held)}" if held else "nothing is there"
            asked = f"{version} is not in quarantine" if version else "name a version"
            raise ReleaseError(f"{asked}: {there}", code="not_quarantined")
        return releases.clear(release, str(name), now_ms=now_ms)

    return change


def paused(now_ms: int) -> Change:
    """Hold everything but rollbacks."""
    return lambda release: releases.pause(release, now_ms=now_ms)


def resumed(now_ms: int) -> Change:
    """Go on, with the present step anew."""
    return lambda release: releases.resume(release, now_ms=now_ms)


def status(release: Release, model: Model, regions: tuple[str, ...]) -> dict[str, Any]:
    """What there is to know of a release now, for programs."""
    at = place(release)
    document: dict[str, Any] = {
        "model": release.model,
        "wanted": model.wanted,
        "live": release.live,
        "previous": release.previous,
        "candidate": release.candidate,
        "region": at.region if at else None,
        "step": at.step.value if at else None,
        "step_number": release.step + 1 if at else None,
        "steps": len(STEPS) * len(release.order) if at else None,
        "order": list(release.order),
        "since_ms": release.since_ms if at else None,
        "until_ms": _until_ms(release, model) if at else None,
        "judged": _judged(release) if at else None,
        "waits": release.waits,
        "paused": release.paused,
        "quarantined": dict(release.quarantined),
        "revision": release.revision,
    }
    document["shares"] = {
        region: {tier: planned_shares(release, model, region, tier) for tier in LEAST_URGENT_FIRST}
        for region in regions
    }
    return document


def _judged(release: Release) -> str | None:
    """What judged the step before the present one; None at the first one."""
    for event in reversed(release.events):
        if event.what.startswith("step ") or event.what == "began":
            return event.why or None
    return None


def _until_ms(release: Release, model: Model) -> int | None:
    """When the step has been watched long enough; None for one that no time ends."""
    at = place(release)
    if at is None or at.step is Step.SMOKE or release.paused or release.anew:
        return None
    last = at.step is Step.FULL
    bake_s = model.release.final_bake_s if last else model.release.bake_s
    return release.since_ms if release.promoted else release.since_ms + 1000 * bake_s


def _why_nothing_else(release: Release, model: Model) -> str:
    if release.previous is None:
        return "no version was live before it"
    if release.previous in release.quarantined:
        return f"{release.previous}, which was before it, is in quarantine"
    if release.previous not in model.versions:
        return f"{release.previous}, which was before it, is not configured any more"
    return f"{release.previous} was before it"


def _key(model: str) -> dict[str, Any]:
    return {"pk": {"S": f"release#{model}"}}
