"""The jobs of a batch's lines: made a few at a time, and looked at until they have ended."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms, now_s
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.adapters.pieces import Pieces
from lambdas.adapters.queues import RECEIVE_MAX, Queues, UnsentError
from lambdas.domain import payloads
from lambdas.domain.batch_lines import read_job, read_line
from lambdas.domain.batches import GRACE_MS, Batch, BatchStatus, room, stopped
from lambdas.domain.errors import ApiError
from lambdas.domain.job import Job, Status
from lambdas.domain.masking import masked
from lambdas.domain.policy import Policy
from lambdas.domain.regions import LOST
from lambdas.domain.requests import Submission
from lambdas.handlers.counting import Counting, Quotas
from lambdas.handlers.cutting import piece

LOOK_MAX = 200
"""Jobs of a batch that are read at one look: those that were made first mostly end first."""
LOOKS_MAX = 6
"""Looks of one round, while all that were looked at have ended."""
SUBMIT_MAX = 100
"""Jobs that are made in one step."""
TIER = "batch"


@dataclass(slots=True)
class _Seen:
    """What is known of a batch's jobs.

    Attributes:
        tenant: Whose they are.
        unended: How many have not ended.
        held: Whether its tenant may use no more tokens today.
        good: By line, of those that ended, whether well.
    """

    tenant: str
    unended: int = 0
    held: bool = False
    good: dict[int, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Makes the jobs of one region's batches.

    Attributes:
        seen: By batch, which of its jobs are known to have ended, and whether well; a hint that is
            found again by looking.
    """

    region: str
    policy: Policy
    ledger: Ledger
    gate: Gate
    queues: Queues
    functions: Functions
    payloads: Payloads
    records: BatchRecords
    pieces: Pieces
    usage: Counting
    quotas: Quotas
    seen: dict[str, _Seen] = field(default_factory=dict)

    def keep(self, ids: Collection[str], batches: Iterable[Batch]) -> None:
        """Forget what was seen of other batches than these ids', and know of these batches.

        What another batch of the tenant has unfinished counts before anybody has looked at it.
        """
        for identity in set(self.seen) - set(ids):
            del self.seen[identity]
        for batch in batches:
            unended = batch.submitted - batch.completed - batch.failed
            self.seen.setdefault(batch.id, _Seen(batch.tenant, unended))

    def ended(self, batch: Batch) -> Batch | None:
        """Look at the jobs that were made; the batch with its counts as they are now.

        Returns:
            None if it changed meanwhile.
        """
        seen = self.seen[batch.id]
        first, last = batch.blocks[batch.collected], self._made(batch)
        open_lines = [line for line in range(first, last) if line not in seen.good]
        if now_ms() >= batch.expires_ms + GRACE_MS:
            seen.good.update(dict.fromkeys(open_lines, False))
        for start in range(0, LOOKS_MAX * LOOK_MAX, LOOK_MAX):
            some = open_lines[start : start + LOOK_MAX]
            self._look(batch, some, seen)
            if not some or any(line not in seen.good for line in some):
                break
        seen.unended = sum(line not in seen.good for line in range(first, last))
        for line in [line for line in seen.good if line < first]:
            del seen.good[line]
        mine = [good for line, good in seen.good.items() if first <= line < batch.submitted]
        completed = batch.gathered + sum(mine)
        failed = batch.missed + len(mine) - sum(mine)
        told = batch.completed + batch.failed
        # A new environment, or another region, has seen fewer: nobody is told of that.
        if (completed, failed) == (batch.completed, batch.failed) or completed + failed < told:
            return batch
        written = self.records.change(batch, completed=completed, failed=failed)
        return written.batch if written.won else None

    def done(self, batch: Batch, number: int) -> bool:
        """Whether all jobs of a block have ended, as far as there will be any."""
        first, end = batch.blocks[number], batch.blocks[number + 1]
        if end > batch.submitted and not stopped(batch, now_ms=now_ms()):
            return False
        good = self.seen[batch.id].good
        return all(line in good for line in range(first, min(end, self._made(batch))))

    def submit(self, batch: Batch) -> bool:
        """Make the jobs of a few further lines; whether there were any to be made.

        Jobs that are there already are left alone: who died after making some makes the others.

        Raises:
            UnsentError: A queue did not take all messages: the others' jobs are made the next time.
        """
        seen = self.seen[batch.id]
        if stopped(batch, now_ms=now_ms()):
            seen.held = False
            return False
        if self._held(batch, seen):
            return False
        others = sum(
            other.unended
            for identity, other in self.seen.items()
            if identity != batch.id and other.tenant == batch.tenant
        )
        number = (
            next(n for n, end in enumerate(batch.blocks[1:]) if batch.submitted < end)
            if (batch.submitted < batch.total)
            else 0
        )
        count = min(
            room(batch, unended=seen.unended, elsewhere=others),
            SUBMIT_MAX,
            batch.blocks[number + 1] - batch.submitted,
        )
        if count <= 0:
            return False
        block = self.pieces.get(piece(batch, "lines", number)).split(b"\n")
        offset = batch.submitted - batch.blocks[number]
        lines = dict(enumerate(block[offset : offset + count], start=batch.submitted))
        if not self._make(batch, lines):
            raise UnsentError
        self.records.change(batch, submitted=batch.submitted + count)
        seen.unended += count
        return True

    def rests(self, batch: Batch) -> bool:
        """Whether nothing of a batch is under way until its tenant may use tokens again."""
        seen = self.seen[batch.id]
        return seen.held and not seen.unended

    def _held(self, batch: Batch, seen: _Seen) -> bool:
        """Whether further lines wait for the tenant's next day."""
        waiting = batch.submitted < batch.total
        held = waiting and self.quotas.refusal(batch.caller, at_s=now_s()) is not None
        if held and not seen.held:
            logger.info("lines held", batch_id=batch.id, tenant=batch.tenant)
        seen.held = held
        return held

    def _made(self, batch: Batch) -> int:
        """Up to which line there may be jobs: who died may have made some that it did not count."""
        if stopped(batch, now_ms=now_ms()):
            return min(batch.total, batch.submitted + SUBMIT_MAX)
        return batch.submitted

    def _look(self, batch: Batch, lines: Sequence[int], seen: _Seen) -> None:
        if not lines:
            return
        ids = {batch.job(line): line for line in lines}
        jobs = self.ledger.get_many(ids, consistent=False)
        if len(jobs) < len(ids):
            # Just made, or never: its line was refused, or nobody came to it.
            jobs |= self.ledger.get_many(set(ids) - set(jobs))
        for identity, line in ids.items():
            job = jobs.get(identity)
            if job is not None and not job.status.terminal:
                if job.status is not Status.QUEUED or batch.status is not BatchStatus.CANCELLING:
                    continue
                job = self._cancelled(job)
                if job is None:
                    continue
            seen.good[line] = job is not None and job.status is Status.COMPLETED
        self.usage.write()

    def _cancelled(self, job: Job) -> Job | None:
        """A waiting job after its cancellation; None if it changed meanwhile."""
        at_ms = now_ms()
        outcome = self.ledger.apply(job, "cancel", now_ms=at_ms, finished_ms=at_ms)
        if not outcome.won or outcome.job is None:
            return None
        self.usage.ended(outcome.job, until_ms=at_ms)
        return outcome.job

    def _make(self, batch: Batch, lines: Mapping[int, bytes]) -> bool:
        """Make jobs that are not there; False if not all messages were taken."""
        at_ms = now_ms()
        there = self.ledger.get_many(batch.job(line) for line in lines)
        jobs: dict[str, list[Job]] = {}
        for line, raw in lines.items():
            identity = batch.job(line)
            if identity in there:
                continue
            try:
                deadline_s = max(1, (batch.expires_ms - at_ms) // 1000)
                submission = read_job(
                    read_line(raw, batch.endpoint),
                    batch,
                    self.policy,
                    batch.caller,
                    deadline_s=deadline_s,
                )
            except ApiError as error:
                # A model may have gone since: the error file tells it.
                logger.info("line refused", batch_id=batch.id, line=line, code=error.code)
                continue
            job = self._job(batch, identity, submission, at_ms)
            jobs.setdefault(job.model, []).append(job)
        sent = True
        for model, wanted in jobs.items():
            for start in range(0, len(wanted), RECEIVE_MAX):
                sent &= self._accept(model, wanted[start : start + RECEIVE_MAX])
            self.functions.ring(model=model, tier=None, jobs=None)
        return sent

    def _accept(self, model: str, jobs: Sequence[Job]) -> bool:
        """Message before ledger, as for every job; whether all messages were taken."""
        sent = self.queues.send_many(model, TIER, [(job.id, 1, job.tenant) for job in jobs])
        for job in jobs:
            if job.id in sent:
                self.ledger.create(job)
        return len(sent) == len(jobs)

    def _job(self, batch: Batch, identity: str, submission: Submission, at_ms: int) -> Job:
        request = submission.request
        metadata = masked(request.metadata, batch.caller.metadata_mask)
        packed = payloads.pack(submission.input_bytes)
        key = payloads.input_key(identity, submission.digest) if packed is None else None
        copied = None
        if key is not None:
            copied = self.payloads.keep_input(
                key, submission.input_bytes, region=self.region, lost=self._lost()
            )
        return Job(
            id=identity,
            status=Status.QUEUED,
            attempt=1,
            owner=self.region,
            home=self.region,
            tenant=batch.tenant,
            model=request.model,
            tier=TIER,
            created_ms=at_ms,
            deadline_ms=batch.expires_ms,
            request_hash=submission.digest,
            input=packed,
            input_key=key,
            copied=copied,
            metadata=json.dumps(metadata) if metadata else None,
            api=submission.api,
            background=submission.background or None,
        )

    def _lost(self) -> set[str]:
        peers = self.gate.snapshot().get("peers", {})
        return {region for region, peer in peers.items() if peer["state"] == LOST}
