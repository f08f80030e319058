"""What beat tells CloudWatch of a model: the numbers that alarms and graphs read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lambdas.adapters.metrics import Metrics
from lambdas.domain import bursts, capacity, dispatch, metrics
from lambdas.domain.bursts import Arrivals
from lambdas.domain.capacity import Load
from lambdas.domain.metrics import Metric
from lambdas.domain.policy import Model, Policy

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
            model: Which.
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
        arrivals = Arrivals.read(last.get("arrivals"))
        if "ended" in last and seconds > 0:
            rate = _arrived(seen, last) / seconds
            arrivals = arrivals.after(rate, seconds)
            values.append((metrics.ARRIVAL_RATE, rate))
        values.append((metrics.BURST_RATIO, bursts.burst_ratio(model, arrivals, load)))
        starts = _starts(seen, last)
        share = dispatch.lowest_share(self.policy.tiers, starts, backlog)
        if share is not None:
            values.append((metrics.LOWEST_SHARE, share))
        seen |= {"arrivals": arrivals.document(), "starts": starts}
        self.metrics.publish({"Model": model.name}, values, at_ms=now_ms)
        for tier in self.policy.tiers:
            self.metrics.publish(
                {"Model": model.name, "Tier": tier.name},
                [
                    (metrics.BACKLOG, backlog.get(tier.name, 0)),
                    (metrics.OLDEST_WAIT, seen["oldest_s"].get(tier.name, 0.0)),
                ],
                at_ms=now_ms,
            )


def _arrived(seen: Mapping[str, Any], last: Mapping[str, Any]) -> int:
    return bursts.arrived(Load.read(seen), seen["ended"], Load.read(last), last["ended"])


def _starts(seen: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, float]:
    """Recent starts by tier."""
    earlier, kept = last.get("started", seen["started"]), last.get("starts", {})
    return {
        tier: STARTS_DECAY * kept.get(tier, 0.0) + max(0, number - earlier.get(tier, 0))
        for tier, number in seen["started"].items()
    }
