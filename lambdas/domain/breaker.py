"""The breaker: a model that fails most of its attempts is probed, one job at a time.

Guard alarms take a bad version back; this is for when no better one is left, or until they do. The
queue waits, and what the probes fail costs no job an attempt, so that no job fails of it.
"""

from dataclasses import dataclass

ATTEMPTS_MIN = 10
"""Below so many recent attempts a failure rate says nothing."""
FAILED_SHARE = 0.5
"""A model that fails more of its attempts is not only given bad input."""
PROBES_MIN = 3
"""Answers in a row after which the model is trusted again."""
COUNTS_KEPT = 0.98
"""Of the outcome counts at each beat: half of them are forgotten in about three minutes."""
COUNTED_MAX = 20.0
"""Outcomes that count: after so many failures, that a model was busy and well is outweighed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A model's breaker in one region.

    Attributes:
        ok: Attempts that succeeded: recent ones, or since the last probe failed.
        bad: Attempts that failed, of the same ones.
        open_ms: Since when only probes are sent, or None.
    """

    ok: float = 0
    bad: float = 0
    open_ms: int | None = None

    @property
    def open(self) -> bool:
        """Whether only probes are sent; from the failure on that is one too many."""
        return self.open_ms is not None or self._trips

    @property
    def _trips(self) -> bool:
        attempts = self.ok + self.bad
        return attempts >= ATTEMPTS_MIN and self.bad > FAILED_SHARE * attempts

    def at_beat(self, *, now_ms: int) -> "Breaker":
        """What is written at a beat.

        While it is open nothing is forgotten, however slow the probes are: it closes after
        `PROBES_MIN` answers since the last failure.
        """
        if self.open_ms is None:
            if self._trips:
                return Breaker(open_ms=now_ms)
            kept = min(COUNTS_KEPT, COUNTED_MAX / max(self.ok + self.bad, 1))
            return Breaker(ok=self.ok * kept, bad=self.bad * kept)
        if self.bad > 0:
            return Breaker(open_ms=self.open_ms)
        return Breaker(ok=self.ok, open_ms=None if self.ok >= PROBES_MIN else self.open_ms)
