"""The net below a lost message: a waiting job whose queue is empty gets another one.

Messages come before the ledger, so a waiting job has one. If it is lost nevertheless, by a queue
that was purged or by a fault of ours or of SQS, nobody else would find the job until its deadline.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.logs import logger
from lambdas.adapters.queues import RECEIVE_MAX, Queues
from lambdas.domain.job import Job

WAITED_S = 300
"""A job that waits for so long is looked at: every message that is hidden shows again within two
minutes, and SQS's counts are right after one."""
RESENT_MAX = 500
"""Messages sent again for one model and tier in one run; the next one goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resending:
    """One run's look at the waiting jobs of one model.

    Attributes:
        queues: Of this region.
        model: Whose jobs.
        long: Job, attempt and tenant of those that have waited long, by tier.
    """

    queues: Queues
    model: str
    long: dict[str, list[tuple[str, int, str]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, waiting: Iterable[Job], *, now_ms: int) -> None:
        """Note jobs that are queued in this region; not necessarily all of them."""
        for job in waiting:
            noted = self.long[job.tier]
            if now_ms - job.created_ms >= 1000 * WAITED_S and len(noted) < RESENT_MAX:
                noted.append((job.id, job.attempt, job.tenant))

    def run(self) -> int:
        """Send messages for jobs that none is left for; returns how many.

        Only for a tier whose queue holds nothing at all: one message among others cannot be looked
        for. A message too many does no harm: its attempt has started, or is over.
        """
        sent = 0
        for tier, long in sorted(self.long.items()):
            try:
                if not long or self.queues.held(self.model, tier) > 0:
                    continue
                for start in range(0, len(long), RECEIVE_MAX):
                    few = long[start : start + RECEIVE_MAX]
                    sent += len(self.queues.send_many(self.model, tier, few))
            except AWS_ERRORS as error:
                logger.warning("messages not sent again", model=self.model, reason=reason(error))
        if sent:
            logger.warning("messages sent again", model=self.model, messages=sent)
        return sent
