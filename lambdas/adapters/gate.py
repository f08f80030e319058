"""The gate: the regional table that says how much may be on its way to the endpoints.

Reserving and releasing slots are additions to and deletions from a string set, so both may be
repeated, and any number of dispatchers may run.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lambdas.adapters.clock import now_ms as current_ms
from lambdas.adapters.logs import logger
from lambdas.domain.breaker import Breaker
from lambdas.domain.shares import Plan

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

RATE_WINDOW_S = 10
"""Submissions are counted per window, so that a short burst within the rate is not refused."""

PLAN_KEPT_S = 600
"""In which no plan of an earlier record replaces a later one's: longer than any beat runs. After a
restored ledger revisions begin anew."""

OFFER_KEPT_S = 600
"""How long it is remembered how much of an offer is used; by then nobody believes the offer."""

PLACES_KEPT_S = 600
"""How long it is remembered which places to wait a tenant held; by then all of them are free."""

_BRINGING: Mapping[str, Any] = {"pk": {"S": "bringing"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """A model's gate in one region.

    Attributes:
        used: Tokens of the slots in use.
        wanted_ms: When a dispatcher last found the gate full with work waiting, or None.
        capacity: Slots, as beat last saw them; None before the first beat.
        capacity_ms: When beat saw them.
        serving: Instances in service by version, as beat last saw them.
        may_start_ms: Until when jobs may be started, by the region's lease; None without one.
        credits: By tier, starts that the tier is owed.
        breaker: The model's breaker, and the outcomes that it counts.
        ended: Attempts that ended since counting began, by tier.
        started: Starts by tier since counting began, while several tiers had work.
        tried: Attempts since counting began that ended on another version than the live one.
        plan: Which versions are to have which part of the jobs; None before the first beat.
    """

    used: frozenset[str] = frozenset()
    wanted_ms: int | None = None
    capacity: int | None = None
    capacity_ms: int = 0
    serving: Mapping[str, int] = field(default_factory=dict)
    may_start_ms: int | None = None
    credits: Mapping[str, float] = field(default_factory=dict)
    breaker: Breaker = field(default_factory=Breaker)
    ended: Mapping[str, int] = field(default_factory=dict)
    started: Mapping[str, int] = field(default_factory=dict)
    tried: int = 0
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Slots, credits, rates and the region's snapshot in DynamoDB."""

    client: "DynamoDBClient"
    table: str

    def state(self, model: str) -> GateState:
        """Read a model's gate, strongly consistent."""
        reply = self.client.get_item(TableName=self.table, Key=_model(model), ConsistentRead=True)
        return _state(reply.get("Item", {}))

    def reserve(self, model: str, tokens: Collection[str], *, capacity: int) -> bool:
        """Take slots, all or none. The tokens are new: one that is there, an earlier send took.

        Returns:
            Whether `len(tokens)` slots were free within `capacity`.
        """
        room = capacity - len(tokens)
        if room < 0:
            return False
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_model(model),
                UpdateExpression="ADD used :tokens",
                ConditionExpression=(
                    "attribute_not_exists(used) OR size(used) <= :room OR contains(used, :token)"
                ),
                ExpressionAttributeValues={
                    ":tokens": {"SS": sorted(tokens)},
                    ":token": {"S": min(tokens)},
                    ":room": {"N": str(room)},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def want(self, model: str, *, capacity: int, now_ms: int) -> bool:
        """Leave word that work waits, on the condition that the gate is full.

        Returns:
            False if a slot came free meanwhile: then nobody would have heard the word.
        """
        if capacity <= 0:
            return True
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_model(model),
                UpdateExpression="SET wanted_ms = :now",
                ConditionExpression="attribute_exists(used) AND size(used) >= :capacity",
                ExpressionAttributeValues={
                    ":now": {"N": str(now_ms)},
                    ":capacity": {"N": str(capacity)},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def unwant(self, model: str, *, seen_ms: int) -> bool:
        """Take the word off that work waits, unless somebody left it again since it was seen.

        Returns:
            False if somebody did: then there may be work.
        """
        try:
            self.client.update_item(
                TableName=self.table,
                Key=_model(model),
                UpdateExpression="REMOVE wanted_ms",
                ConditionExpression="wanted_ms = :seen",
                ExpressionAttributeValues={":seen": {"N": str(seen_ms)}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def release(
        self,
        model: str,
        tokens: Collection[str],
        *,
        ok: int = 0,
        bad: int = 0,
        ended: Mapping[str, int] | None = None,
        tried: int = 0,
    ) -> GateState:
        """Give slots back and count outcomes. May be repeated; only the counts would then drift.

        Args:
            model: Whose slots.
            tokens: Of the slots.
            ok: Attempts that succeeded.
            bad: Attempts that failed, but for those that say nothing of what serves now.
            ended: All attempts that ended, by tier.
            tried: Those of them that ended on another version than the live one.
        """
        values: dict[str, Any] = {}
        clauses = []
        if tokens:
            clauses.append("DELETE used :tokens")
            values[":tokens"] = {"SS": sorted(tokens)}
        if ok or bad or ended:
            added = {"ok": ok, "bad": bad}
            added |= {f"ended_{tier}": number for tier, number in (ended or {}).items()}
            added |= {"tried": tried} if tried else {}
            clauses.append("ADD " + ", ".join(f"{name} :{name}" for name in added))
            values |= {f":{name}": {"N": str(number)} for name, number in added.items()}
        if not clauses:
            return self.state(model)
        reply = self.client.update_item(
            TableName=self.table,
            Key=_model(model),
            UpdateExpression=" ".join(clauses),
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        return _state(reply.get("Attributes", {}))

    def owe(self, model: str, changes: Mapping[str, float], *, started: Mapping[str, int]) -> None:
        """Change what tiers are owed, and count what was started of each.

        Starts count only with a change: there is one whenever several tiers have work.
        """
        added = {f"credit_{tier}": f"{change:.6f}" for tier, change in changes.items() if change}
        if not added:
            return
        added |= {f"started_{tier}": str(number) for tier, number in started.items() if number}
        self.client.update_item(
            TableName=self.table,
            Key=_model(model),
            UpdateExpression="ADD " + ", ".join(f"{name} :{name}" for name in added),
            ExpressionAttributeValues={f":{name}": {"N": value} for name, value in added.items()},
        )

    def observe(
        self,
        model: str,
        *,
        capacity: int,
        serving: Mapping[str, int],
        now_ms: int,
        breaker: Breaker,
        may_start_ms: int | None,
        plan: Plan | None = None,
    ) -> None:
        """Write what beat saw: capacity and where it is, the breaker, and the lease's end.

        And the plan by which versions share the jobs; without one, the last one stays. So it does
        if it was made by a later record within `PLAN_KEPT_S`: a slow beat would give jobs to a
        version that was taken back. The rest is written all the same.
        """
        values: dict[str, Any] = {
            ":capacity": {"N": str(capacity)},
            ":serving": {"M": {name: {"N": str(number)} for name, number in serving.items()}},
            ":now": {"N": str(now_ms)},
            ":ok": {"N": f"{breaker.ok:.3f}"},
            ":bad": {"N": f"{breaker.bad:.3f}"},
        }
        kept, gone = "", []
        for name, moment_ms in (("may_start_ms", may_start_ms), ("open_ms", breaker.open_ms)):
            if moment_ms is None:
                gone.append(name)
            else:
                kept += f", {name} = :{name}"
                values[f":{name}"] = {"N": str(moment_ms)}
        if plan is not None:
            try:
                self._write_seen(model, kept, gone, values, plan)
            except self.client.exceptions.ConditionalCheckFailedException:
                logger.info("plan of a later record kept", model=model, revision=plan.revision)
            else:
                return
        self._write_seen(model, kept, gone, values, None)

    def _write_seen(
        self, model: str, kept: str, gone: list[str], values: dict[str, Any], plan: Plan | None
    ) -> None:
        """Write what was seen: `kept` is set beside it and `gone` removed."""
        names: dict[str, str] = {"#capacity": "capacity"}
        condition: Any = {}
        if plan is not None:
            at_ms = current_ms()
            names["#plan"] = "plan"
            kept += ", #plan = :plan, plan_revision = :revision, plan_ms = :plan_ms"
            values = values | {
                ":plan": {"S": json.dumps(plan.document())},
                ":revision": {"N": str(plan.revision)},
                ":plan_ms": {"N": str(at_ms)},
                ":old": {"N": str(at_ms - 1000 * PLAN_KEPT_S)},
            }
            condition["ConditionExpression"] = (
                "attribute_not_exists(plan_revision) OR plan_revision <= :revision "
                "OR plan_ms < :old"
            )
        self.client.update_item(
            TableName=self.table,
            Key=_model(model),
            UpdateExpression=(
                "SET #capacity = :capacity, serving = :serving, capacity_ms = :now, "
                f"ok = :ok, bad = :bad{kept}" + (f" REMOVE {', '.join(gone)}" if gone else "")
            ),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            **condition,
        )

    def lease(self, model: str, may_start_ms: int | None) -> None:
        """Write only until when a model's jobs may be started, by the region's lease."""
        change: Any = {"UpdateExpression": "REMOVE may_start_ms"}
        if may_start_ms is not None:
            change = {
                "UpdateExpression": "SET may_start_ms = :until",
                "ExpressionAttributeValues": {":until": {"N": str(may_start_ms)}},
            }
        self.client.update_item(TableName=self.table, Key=_model(model), **change)

    def count_submissions(self, tenant: str, number: int, *, window: int, limit: int) -> int | None:
        """Count submissions of a tenant in this region, all or none.

        Args:
            tenant: Whose.
            number: How many.
            window: Number of the current window, of `RATE_WINDOW_S` seconds.
            limit: How many the tenant may make in a window.

        Returns:
            Submissions counted in the window, or None when the limit does not leave so many.
        """
        try:
            reply = self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": f"rate#{tenant}#{window}"}},
                UpdateExpression="ADD submissions :number SET expires_s = :expires",
                ConditionExpression="attribute_not_exists(submissions) OR submissions <= :room",
                ExpressionAttributeValues={
                    ":number": {"N": str(number)},
                    ":room": {"N": str(limit - number)},
                    ":expires": {"N": str((window + 10) * RATE_WINDOW_S)},
                },
                ReturnValues="UPDATED_NEW",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return int(reply["Attributes"]["submissions"]["N"])

    def take_place(
        self, tenant: str, place: int, *, who: str, until_ms: int, now_ms: int
    ) -> Mapping[int, int] | None:
        """Hold one of a tenant's places to wait, if nobody does or the holder's time is up.

        Args:
            tenant: Whose.
            place: Which, from 0.
            who: Unique: names this holding.
            until_ms: When it ends, if it is not left before.
            now_ms: The time.

        Returns:
            None if it is held now; else until when each place of the tenant is held.
        """
        return self._hold(_places(tenant), place, who=who, until_ms=until_ms, now_ms=now_ms)

    def leave_place(self, tenant: str, place: int, *, who: str) -> None:
        """Hold a place no more, unless somebody else holds it by now."""
        self._leave(_places(tenant), place, who=who)

    def take_bringing(self, *, who: str, until_ms: int, now_ms: int) -> bool:
        """Be the one dispatcher of the region that brings an upload; arguments as of `take_place`.

        Returns:
            Whether nobody else is, or was and has run out of time.
        """
        return self._hold(_BRINGING, 0, who=who, until_ms=until_ms, now_ms=now_ms) is None

    def leave_bringing(self, *, who: str) -> None:
        """Let another one bring uploads, unless another one does by now."""
        self._leave(_BRINGING, 0, who=who)

    def _hold(
        self, key: Mapping[str, Any], place: int, *, who: str, until_ms: int, now_ms: int
    ) -> Mapping[int, int] | None:
        """Hold one of an item's places; as `take_place`."""
        try:
            self.client.update_item(
                TableName=self.table,
                Key=key,
                UpdateExpression="SET #until = :until, #who = :who, expires_s = :expires",
                ConditionExpression="attribute_not_exists(#until) OR #until < :now OR #who = :who",
                ExpressionAttributeNames={"#until": f"until_{place}", "#who": f"who_{place}"},
                ExpressionAttributeValues={
                    ":until": {"N": str(until_ms)},
                    ":who": {"S": who},
                    ":now": {"N": str(now_ms)},
                    ":expires": {"N": str(until_ms // 1000 + PLACES_KEPT_S)},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self.client.exceptions.ConditionalCheckFailedException as refusal:
            item: Any = refusal.response.get("Item") or {}
            return {
                int(name.removeprefix("until_")): int(value["N"])
                for name, value in item.items()
                if name.startswith("until_")
            }
        return None

    def _leave(self, key: Mapping[str, Any], place: int, *, who: str) -> None:
        with suppress(self.client.exceptions.ConditionalCheckFailedException):
            self.client.update_item(
                TableName=self.table,
                Key=key,
                UpdateExpression="REMOVE #until, #who",
                ConditionExpression="#who = :who",
                ExpressionAttributeNames={"#until": f"until_{place}", "#who": f"who_{place}"},
                ExpressionAttributeValues={":who": {"S": who}},
            )

    def take_credit(self, peer: str, model: str, *, offered_ms: int, limit: int) -> bool:
        """Use one job of what a peer offered to take; False if all of it is used.

        Args:
            peer: Who offered.
            model: Which.
            offered_ms: When, by the peer's clock: names the offer.
            limit: How many jobs it was for.
        """
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"pk": {"S": f"spill#{peer}#{model}#{offered_ms}"}},
                UpdateExpression="ADD used :one SET expires_s = :expires",
                ConditionExpression="attribute_not_exists(used) OR used < :limit",
                ExpressionAttributeValues={
                    ":one": {"N": "1"},
                    ":limit": {"N": str(limit)},
                    ":expires": {"N": str(offered_ms // 1000 + OFFER_KEPT_S)},
                },
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def write_snapshot(self, snapshot: Mapping[str, Any]) -> None:
        """Keep what beat saw of the whole region, for submit's decisions and answers."""
        self.client.put_item(
            TableName=self.table,
            Item={"pk": {"S": "snapshot"}, "document": {"S": json.dumps(snapshot)}},
        )

    def snapshot(self) -> dict[str, Any]:
        """What beat last saw of the region; empty before its first time."""
        reply = self.client.get_item(TableName=self.table, Key={"pk": {"S": "snapshot"}})
        item = reply.get("Item")
        return dict(json.loads(item["document"]["S"])) if item else {}


def _places(tenant: str) -> dict[str, Any]:
    return {"pk": {"S": f"waits#{tenant}"}}


def _model(model: str) -> dict[str, Any]:
    return {"pk": {"S": f"model#{model}"}}


def _state(item: Mapping[str, Any]) -> GateState:
    def number(name: str) -> float:
        return float(item[name]["N"]) if name in item else 0.0

    return GateState(
        used=frozenset(item["used"]["SS"]) if "used" in item else frozenset(),
        wanted_ms=int(number("wanted_ms")) or None,
        capacity=int(number("capacity")) if "capacity" in item else None,
        capacity_ms=int(number("capacity_ms")),
        serving={
            version: int(instances["N"])
            for version, instances in item.get("serving", {}).get("M", {}).items()
        },
        may_start_ms=int(number("may_start_ms")) if "may_start_ms" in item else None,
        credits={
            name.removeprefix("credit_"): number(name)
            for name in item
            if name.startswith("credit_")
        },
        breaker=Breaker(
            ok=number("ok"),
            bad=number("bad"),
            open_ms=int(number("open_ms")) if "open_ms" in item else None,
        ),
        ended=_counts(item, "ended_"),
        started=_counts(item, "started_"),
        tried=int(number("tried")),
        plan=Plan.read(json.loads(item["plan"]["S"])) if "plan" in item else None,
    )


def _counts(item: Mapping[str, Any], prefix: str) -> dict[str, int]:
    """What was counted by tier."""
    return {
        name.removeprefix(prefix): int(float(value["N"]))
        for name, value in item.items()
        if name.startswith(prefix)
    }
