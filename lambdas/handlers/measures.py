"""What beat tells CloudWatch of a model: the numbers that alarms and graphs read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lambdas.adapters.metrics import Metrics
from lambdas.domain import bursts, capacity, demand, dispatch, metrics
from lambdas.domain.bursts import Arrivals
from lambdas.domain.capacity import Load
from lambdas.domain.demand import Demand
from lambdas.domain.metrics import Metric
from lambdas.domain.policy import Model, Policy
from lambdas.domain.schedule import minimum

STARTS_DECAY = 0.9
"""Kept of the counts of starts at each beat: half of them are forgotten in about 33 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """One region's measures."""

    policy: Policy
    metrics: Metrics

    def tell(
        self,
        model: Model,
        seen: dict[str, Any],
        last: Mapping[str, Any] | None,
        *,
        seconds: float,
        now_ms: int,
    ) -> None:
        """Publish what beat saw of a model.

        Args:
            model: Which, with the service time that was measured.
            seen: What it saw; what the next beat needs to know of it is added here.
            last: What the last beat saw, if there was one.
            seconds: Since then.
            now_ms: This region's time.
        """
        last = last or {}
        backlog = capacity.backlog(seen["waiting"], seen["unfinished"])
        load = replace(Load.read(seen), waiting=backlog)
        values: list[tuple[Metric, float]] = [
            (metrics.PRESSURE, capacity.pressure(model, self.policy.tiers, load)),
            (metrics.INSTANCES, load.instances),
            (metrics.IN_FLIGHT, load.in_use),
        ]
        kept = last.get("arrivals", {})
        arrivals = {tier.name: Arrivals.read(kept.get(tier.name)) for tier in self.policy.tiers}
        if isinstance(last.get("ended"), Mapping) and seconds > 0:
            came = bursts.arrived(
                seen["unfinished"], seen["ended"], last["unfinished"], last["ended"]
            )
            arrivals = {
                tier: before.after(came.get(tier, 0) / seconds, seconds, model=model)
                for tier, before in arrivals.items()
            }
            values.append((metrics.ARRIVAL_RATE, sum(came.values()) / seconds))
        held = bursts.averaged(
            last.get("held", 0.0), load.in_use, seconds, constant_s=model.warm_up_s
        )
        whole = Demand(
            instances=load.instances,
            ordered=load.instances,
            in_use=load.in_use,
            held=held,
            waiting=backlog,
            oldest_s=seen["oldest_s"],
            arrivals=arrivals,
        )
        ratio = demand.burst_ratio(model, self.policy.tiers, whole)
        values.append((metrics.BURST_RATIO, ratio))
        starts = _starts(seen, last)
        share = dispatch.lowest_share(self.policy.tiers, starts, backlog)
        if share is not None:
            values.append((metrics.LOWEST_SHARE, share))
        seen |= {
            "arrivals": {tier: each.document() for tier, each in arrivals.items()},
            "starts": starts,
            "held": held,
        }
        self.metrics.publish({"Model": model.name}, values, at_ms=now_ms)
        self._tell_tiers(model, backlog, seen["oldest_s"], now_ms)
        self._tell_versions(model, seen, whole, now_ms)

    def _tell_tiers(
        self,
        model: Model,
        backlog: Mapping[str, int],
        oldest: Mapping[str, float],
        now_ms: int,
    ) -> None:
        """Publish how much of each tier waits, and for how many seconds at most."""
        for tier in self.policy.tiers:
            waiting = backlog.get(tier.name, 0)
            oldest_s = oldest.get(tier.name, 0.0)
            if not waiting and oldest_s < model.lease_s:
                oldest_s = 0.0  # Dispatch has just taken it, or its end is on its way.
            self.metrics.publish(
                {"Model": model.name, "Tier": tier.name},
                [(metrics.BACKLOG, waiting), (metrics.OLDEST_WAIT, oldest_s)],
                at_ms=now_ms,
            )

    def _tell_versions(
        self, model: Model, seen: Mapping[str, Any], whole: Demand, now_ms: int
    ) -> None:
        """Publish what each version's alarms read: its part of the work, and its instances."""
        tiers, plan = self.policy.tiers, seen["versions"]
        parts = {
            version: demand.part(
                whole,
                {tier: each.get(version, 0.0) for tier, each in plan["shares"].items()},
                instances=serving,
                ordered=ordered,
            )
            for version, (serving, ordered) in seen["fleet"].items()
        }
        least = minimum(model, now_ms=now_ms)
        floors = {
            version: demand.floor(
                model,
                least=least if version in plan["lasting"] else 0,
                warm=version in plan["warm"],
            )
            for version in parts
        }
        named = {version for each in plan["shares"].values() for version in each}
        kept = demand.kept(model, tiers, parts, floors, named=named)
        for version, part in parts.items():
            pressure = demand.version_pressure(model, tiers, part)
            if floors[version] and not part.ordered:
                pressure = max(1.0, pressure)
            ratio = demand.burst_ratio(model, tiers, part, floor=floors[version])
            self.metrics.publish(
                {"Model": model.name, "Version": version},
                [
                    (metrics.VERSION_PRESSURE, pressure),
                    (metrics.VERSION_BURST_RATIO, ratio),
                    (metrics.VERSION_INSTANCES, part.instances),
                    (metrics.SPARE, demand.spare(part, kept=kept[version])),
                ],
                at_ms=now_ms,
            )

    def tell_ready(self, region: str, *, ready: bool, now_ms: int) -> None:
        """Publish whether this region accepts and starts jobs."""
        self.metrics.publish({"Region": region}, [(metrics.READY, float(ready))], at_ms=now_ms)


def _starts(seen: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, float]:
    """Recent starts by tier."""
    earlier, kept = last.get("started", seen["started"]), last.get("starts", {})
    return {
        tier: STARTS_DECAY * kept.get(tier, 0.0) + max(0, number - earlier.get(tier, 0))
        for tier, number in seen["started"].items()
    }
