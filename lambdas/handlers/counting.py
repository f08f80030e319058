"""Counting what tenants use, and holding new jobs against their daily quotas."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.logs import logger
from lambdas.adapters.usage import UsageCounters
from lambdas.domain import usage
from lambdas.domain.admission import Caller
from lambdas.domain.errors import ApiError
from lambdas.domain.job import Job
from lambdas.domain.policy import Policy
from lambdas.domain.release import RELEASE_TENANT
from lambdas.domain.usage import Tokens

QUOTA_KEPT_S = 5
"""How long an execution environment believes what it read of a tenant's tokens: a beat."""
TENANTS_MAX = 10_000
"""Whose tokens one environment remembers; beyond it all are read anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """Collects what a batch of endings used, to count it together: a write a tenant and day.

    A job is counted by whoever ended it, once it has: dying before `write` loses the count of the
    batch, and nothing makes it up. A lost count is a cheaper fault than a second one: nobody is
    billed for what was not done, and a quota lets a little more pass.
    """

    policy: Policy
    counters: UsageCounters
    pending: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def ended(self, job: Job, *, until_ms: int, tokens: Tokens | None = None) -> None:
        """Note that a job ended, whose last attempt was over at `until_ms`.

        Only for whoever ended it: others would count it again.
        """
        model = self.policy.models.get(job.model)
        counted = usage.ended(job, model, tokens=tokens, until_ms=until_ms)
        self.add(job, counted, at_ms=job.finished_ms or until_ms)

    def worked(self, job: Job, *, until_ms: int) -> None:
        """Note that an attempt was over at `until_ms`, and its job goes on."""
        model = self.policy.models.get(job.model)
        self.add(job, usage.work(job, model, until_ms=until_ms), at_ms=until_ms)

    def add(self, job: Job, counted: Counter[str], *, at_ms: int) -> None:
        """Note counters of a job's tenant, on the day of `at_ms`; smoke jobs are nobody's."""
        if counted and job.tenant != RELEASE_TENANT:
            self.pending[job.tenant, usage.day_of(at_ms)].update(counted)

    def write(self) -> None:
        """Count what was noted since the last time.

        What cannot be written is logged and lost: its jobs have ended, and whoever waits for
        their messages to be deleted must not wait for a statistic.
        """
        while self.pending:
            (tenant, day), counted = self.pending.popitem()
            try:
                self.counters.add(tenant, day, counted)
            except AWS_ERRORS as error:
                logger.error(
                    "usage not counted", tenant=tenant, day=day, lost=counted, reason=reason(error)
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Holds new jobs against what their tenants may use in a day; costs nothing without a quota."""

    policy: Policy
    counters: UsageCounters
    seen: dict[str, tuple[float, int]] = field(default_factory=dict)

    def check(self, caller: Caller, *, at_s: float) -> None:
        """Whether a tenant may use more tokens today.

        Raises:
            ApiError: 429: it has used what this region may give.
        """
        refusal = self.refusal(caller, at_s=at_s)
        if refusal is not None:
            logger.info("refused", tenant=caller.tenant, code=refusal.code)
            raise refusal

    def refusal(self, caller: Caller, *, at_s: float) -> ApiError | None:
        """What a tenant is told that may use no more tokens today; None if it may."""
        if caller.tokens_per_day is None:
            return None
        return usage.over_quota(
            caller.tokens_per_day,
            self._used(caller.tenant, at_s),
            regions=len(self.policy.regions),
            now_ms=int(1000 * at_s),
        )

    def _used(self, tenant: str, at_s: float) -> int:
        day = usage.day_of(int(1000 * at_s))
        read_s, used = self.seen.get(tenant, (0.0, 0))
        if at_s - read_s < QUOTA_KEPT_S and usage.day_of(int(1000 * read_s)) == day:
            return used
        if len(self.seen) >= TENANTS_MAX:
            self.seen.clear()
        used = self.counters.tokens(tenant, day)
        self.seen[tenant] = (at_s, used)
        return used
