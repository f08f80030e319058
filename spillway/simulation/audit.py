"""What can be seen of a run from outside: the ledger's items, the gate, and who wrote when.

Nothing here calls AWS: it would take the twin's time, and be a call among those that go wrong.
"""

import base64
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType, Item

from config.schema import Deployment
from spillway.simulation.faults import Target
from spillway.twin.calls import Call
from spillway.twin.twin import Twin

WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
TERMINAL: Final = frozenset({"completed", "failed", "refused", "cancelled", "expired"})
OK: Final = 200


@dataclass(frozen=True, slots=True)
class Change:
    """An item of the ledger, as it was after a write.

    Attributes:
        at_s: When it was looked at.
        item: Its attributes; empty when there is none any more.
        call: The write after which it was looked at.
    """

    at_s: float
    item: dict[str, Any]
    call: Call | None

    @property
    def status(self) -> str:
        """The job's; empty without an item."""
        return str(self.item.get("status", ""))


@dataclass(frozen=True, slots=True)
class Decision:
    """An acceptance or a start that took effect.

    Attributes:
        at_s: When its execution last asked the gate whether it may.
        told_s: When it heard the answer.
        region: Where it ran.
        what: `accept` or `start`.
        job: Which.
        owner: Whose queue the job is in.
    """

    at_s: float
    told_s: float
    region: str
    what: str
    job: str
    owner: str


@dataclass(slots=True, eq=False)
class Audit:
    """Follows the ledger through a run.

    Attributes:
        jobs: Changes of each job's item, by id.
        leases: Changes of each region's lease, by region.
        renewed_s: When beats began whose renewal of the lease was answered, by region.
        decisions: In order.
        bare: Jobs at work whose slot the gate did not know, and when that was seen.
        slots_seen: How many slots were looked for.
        used: Slots in use after each change of a gate, and when, by region and model.
    """

    target: Target
    jobs: defaultdict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))
    leases: defaultdict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))
    renewed_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    decisions: list[Decision] = field(default_factory=list)
    bare: list[tuple[str, float, str]] = field(default_factory=list)
    slots_seen: int = 0
    used: defaultdict[str, list[tuple[float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _put_back: defaultdict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    _asked: dict[str, Call] = field(default_factory=dict)
    _began_s: dict[str, float] = field(default_factory=dict)

    @property
    def twin(self) -> Twin:
        """The twin that is looked at."""
        return self.target.twin

    def begin(self) -> None:
        """Take note of what is there, and of every call from now on."""
        self.twin.hook.log.observers.append(self.observe)
        for item in list(self._table().items.values()):
            self._look(str(item.hash_key.value), None)

    def finish(self) -> None:
        """Look at every item once more: a write whose sender heard nothing shows here."""
        self.twin.hook.log.observers.remove(self.observe)
        known = {f"job#{job}" for job in self.jobs}
        there = {str(item.hash_key.value) for item in list(self._table().items.values())}
        for pk in sorted(known | there):
            self._look(pk, None)

    def observe(self, call: Call) -> None:
        """Look at what a call may have changed."""
        if call.service != "dynamodb" or not call.execution:
            return
        names, table = self.target.deployment.names, call.params.get("TableName")
        self._began_s.setdefault(call.execution, call.at_s)
        if table == names.gate and call.operation == "GetItem" and call.status == OK:
            self._asked[call.execution] = call
        if table == names.gate and call.operation == "UpdateItem" and call.status == OK:
            self._look_for_slots(call)
        if table != names.ledger or call.operation not in WRITES:
            return
        key = call.params.get("Key") or call.params["Item"]
        pk = str(key["pk"]["S"])
        self._look(pk, call)
        values = call.params.get("ExpressionAttributeValues") or {}
        if values.get(":target") == {"S": "queued"}:
            self._put_back[pk.removeprefix("job#")].append(call)
        if call.status == OK:
            self._note(pk, call)

    def put_back(self, job: str, since_s: float, until_s: float) -> bool:
        """Whether a write that lets a job wait again may have had its effect in a time."""
        return any(call.at_s <= until_s and call.ended_s >= since_s for call in self._put_back[job])

    def _note(self, pk: str, call: Call) -> None:
        kind, _, name = pk.partition("#")
        function = call.function.rpartition("-")[2]
        values = call.params.get("ExpressionAttributeValues") or {}
        if kind == "region" and function == "beat" and name == call.caller_region:
            self.renewed_s[name].append(self._began_s[call.execution])
        accepted = call.operation == "PutItem" and function == "submit"
        started = function == "dispatch" and values.get(":target") == {"S": "in_progress"}
        if kind == "job" and (accepted or started):
            item = self.jobs[name][-1].item if self.jobs.get(name) else {}
            asked = self._asked.get(call.execution, call)
            self.decisions.append(
                Decision(
                    at_s=asked.at_s,
                    told_s=asked.ended_s,
                    region=call.caller_region,
                    what="accept" if accepted else "start",
                    job=name,
                    owner=str(item.get("owner", "")),
                )
            )

    def _look_for_slots(self, call: Call) -> None:
        """After a change of the gate, look there for the slots of all jobs that are at work."""
        key = str(call.params["Key"]["pk"]["S"])
        if not key.startswith("model#"):
            return
        place = f"{call.region} {key.removeprefix('model#')}"
        used = gates(self.twin, self.target.deployment)[place]
        self.used[place].append((self.twin.scheduler.now(), len(used)))
        for job, changes in list(self.jobs.items()):
            slot = self._slot(changes, call.region)
            if not slot:
                continue
            self.slots_seen += 1
            if slot not in used:
                # A write whose sender gave up may have been seen by nobody yet.
                self._look(f"job#{job}", None)
                if self._slot(changes, call.region) == slot:
                    self.bare.append((job, self.twin.scheduler.now(), f"{slot} in {place}"))

    @staticmethod
    def _slot(changes: list[Change], region: str) -> str:
        """The slot of a job that is at work in a region; empty if it is not."""
        item = changes[-1].item
        if item.get("status") != "in_progress" or item.get("owner") != region:
            return ""
        return str(item.get("slot", ""))

    def _look(self, pk: str, call: Call | None) -> None:
        kind, _, name = pk.partition("#")
        log = {"job": self.jobs, "region": self.leases}.get(kind)
        if log is None:
            return
        changes = log.get(name, [])
        found = self._table().get_item(DynamoType({"S": pk}), None)
        if found is not None and not changes and kind == "job":
            self.target.other_item(found)
        item = plain(found) if found is not None else {}
        # A write that failed, of a job that never was, is nothing to follow.
        if (changes[-1].item if changes else {}) != item:
            log[name].append(Change(self.twin.scheduler.now(), item, call))

    def _table(self) -> Any:
        deployment = self.target.deployment
        backend = dynamodb_backends[self.twin.account][deployment.primary_region]
        return backend.tables[deployment.names.ledger]


def gates(twin: Twin, deployment: Deployment) -> dict[str, set[str]]:
    """Tokens of the slots in use, by region and model."""
    found = {}
    for region in deployment.regions:
        table = dynamodb_backends[twin.account][region].tables[deployment.names.gate]
        for model in deployment.models:
            item = table.get_item(DynamoType({"S": f"model#{model}"}), None)
            used = plain(item).get("used", []) if item is not None else []
            found[f"{region} {model}"] = set(used)
    return found


def plain(item: Item) -> dict[str, Any]:
    """An item's attributes as Python's own values."""
    return {name: _value(value) for name, value in item.attrs.items()}


def _value(value: DynamoType) -> Any:
    kind, content = value.type, value.value
    if kind == "N":
        return float(content)
    if kind == "B":
        return base64.b64decode(content) if isinstance(content, str) else bytes(content)
    if kind == "M":
        return {name: _value(part) for name, part in content.items()}
    if kind == "L":
        return [_value(part) for part in content]
    if kind == "SS":
        return sorted(content)
    return content
