"""Which jobs of other regions this region takes over, decided at every beat."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from lambdas.domain.capacity import Load, predicted_wait_s, slots
from lambdas.domain.policy import Policy
from lambdas.domain.regions import DRAINED, LOST, SERVING, Part, believed, parts, survivors

EXECUTIONS = 8
"""Into how many executions a survivor splits a long list: one write after the other takes some
30 ms, and ten thousand jobs are to be moved by two survivors in a minute."""
LONG = 500
"""With so many unfinished jobs it is split."""
AGAIN_S = 60
"""When jobs are looked for again that are left in a region that is lost or drained: by then the
executions before have ended."""
RELIEVE_EVERY_S = 10
"""How often jobs are taken from an overloaded region: two beats, so that its snapshot knows."""
OVERLOADED = 1.5
"""Predicted wait over target wait from which a region is relieved; one without an instance is
relieved in any case, because nobody knows when it gets one."""
IDLE = 0.5
"""And up to which another one is idle enough to take from it."""
MOVES_MAX = 3
"""A job that was moved so often stays where it is while its region serves."""

WHYS: Final = {LOST: "evacuate", DRAINED: "drain", SERVING: "relieve"}
"""Why jobs are moved, by the state of their region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one execution is to move here.

    Attributes:
        source: The region that holds the jobs now.
        state: The state in which that region must be: `lost`, `drained`, or `serving` if it is
            overloaded. Only a lost one's running jobs are taken.
        part: Which of its jobs.
        model: Only this one's; None for all.
        jobs: At most so many; None for all.
        skip: Leave so many to their region, which is about to start them.
    """

    source: str
    state: str
    part: Part
    model: str | None = None
    jobs: int | None = None
    skip: int = 0

    @property
    def why(self) -> str:
        """A word for the log and for metrics."""
        return WHYS.get(self.state, WHYS[SERVING])

    def document(self) -> dict[str, Any]:
        """What `read` reads."""
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read an order."""
        part = Part(number=int(document["part"]["number"]), of=int(document["part"]["of"]))
        return cls(
            source=str(document["source"]),
            state=str(document["state"]),
            part=part,
            model=document.get("model"),
            jobs=document.get("jobs"),
            skip=int(document.get("skip") or 0),
        )


def due(peer: Mapping[str, Any], before: Mapping[str, Any], *, now_ms: int) -> bool:
    """Whether jobs of a peer should be looked for now.

    Args:
        peer: What is seen of it now.
        before: What was noted at the last beat; `moved_ms` is when jobs were last looked for.
        now_ms: This region's time.
    """
    if peer["state"] != before.get("state"):
        return str(peer["state"]) != SERVING
    wait_s = RELIEVE_EVERY_S if peer["state"] == SERVING else AGAIN_S
    return now_ms - int(before.get("moved_ms", 0)) >= 1000 * wait_s


def taking_over(
    region: str, source: str, peers: Mapping[str, Mapping[str, Any]], *, unfinished: int
) -> list[Order]:
    """The orders that bring this region's share of a lost or drained region's jobs.

    Args:
        region: This one.
        source: The region that is gone.
        peers: What is seen of all others.
        unfinished: Its jobs that are known to be left, as far as was counted.
    """
    executions = EXECUTIONS if unfinished >= LONG else 1
    among = survivors(region, peers)
    return [
        Order(source=source, state=str(peers[source]["state"]), part=part)
        for part in parts(region, among, executions=executions)
    ]


def relieving(
    policy: Policy,
    source: str,
    peer: Mapping[str, Any],
    here: Mapping[str, Any],
    grants: Mapping[str, int],
    *,
    beat_s: float,
    now_ms: int,
) -> Iterator[Order]:
    """The orders that take jobs from a region which misses a target while this one is idle.

    Args:
        policy: Models and tiers.
        source: The region that may be overloaded.
        peer: What is seen of it.
        here: What beat saw of this region's models.
        grants: What this region offers each peer by model: it takes no more by itself either.
        beat_s: Seconds between beats.
        now_ms: This region's time.
    """
    if not believed(peer, now_ms=now_ms):
        return
    for name, model in policy.models.items():
        if name not in peer["models"] or name not in here or not grants.get(name):
            continue
        there, own = Load.read(peer["models"][name]), Load.read(here[name])
        misses = any(
            (
                there.instances == 0
                or predicted_wait_s(model, policy.tiers, tier.name, there)
                > OVERLOADED * tier.target_wait_s
            )
            and predicted_wait_s(model, policy.tiers, tier.name, own) < IDLE * tier.target_wait_s
            for tier in policy.tiers
            if there.waiting.get(tier.name, 0)
        )
        if misses:
            soon = there.instances * model.concurrency / model.service_s * beat_s
            yield Order(
                source=source,
                state=SERVING,
                part=Part(number=0, of=1),
                model=name,
                jobs=grants[name],
                skip=slots(model, there.instances) + int(soon),
            )
