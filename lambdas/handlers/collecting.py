"""The answers of a batch, block by block, in the order of its lines."""

import json
from dataclasses import dataclass, replace

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.adapters.pieces import Pieces
from lambdas.domain import payloads
from lambdas.domain.batch_lines import (
    Line,
    Told,
    read_job,
    read_line,
    tell_answer,
    tell_end,
    tell_forgotten,
    tell_refusal,
    tell_unread,
)
from lambdas.domain.batches import Batch, impatient
from lambdas.domain.errors import ApiError
from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Policy
from lambdas.handlers.cutting import piece
from lambdas.handlers.endings import RESULT_BYTES_MAX
from lambdas.handlers.lines import Lines

GONE = frozenset({"NoSuchKey", "404", "NotFound", "AccessDenied", "403"})
"""S3 answers the latter for what is not there, where it may not be listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """Collects the blocks of one region's batches."""

    policy: Policy
    ledger: Ledger
    payloads: Payloads
    records: BatchRecords
    pieces: Pieces
    lines: Lines

    def collect(self, batch: Batch) -> bool:
        """Collect the block whose turn it is, if all of its jobs have ended; whether they have."""
        if not self.lines.done(batch, batch.collected):
            return False
        counted = self._block(batch, batch.collected)
        if counted is None:
            return False
        written = self.records.change(
            batch,
            collected=counted.collected,
            gathered=counted.gathered,
            missed=counted.missed,
            late=counted.late,
            output_bytes=counted.output_bytes,
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
        )
        if written.won:
            logger.info("block collected", batch_id=batch.id, block=batch.collected)
        return True

    def _block(self, batch: Batch, number: int) -> Batch | None:
        """Write what the files say of a block; the batch as it is after it, or None: not yet."""
        first = batch.blocks[number]
        block = self.pieces.get(piece(batch, "lines", number)).split(b"\n")
        ids = {line: batch.job(line) for line in range(first, first + len(block))}
        jobs = self.ledger.get_many(ids.values())
        good = self.pieces.writer(piece(batch, "output", number))
        bad = self.pieces.writer(piece(batch, "error", number))
        silent: set[str] = set()
        for line, raw in enumerate(block, start=first):
            told = self._told(batch, raw, jobs.get(ids[line]), line=line, silent=silent)
            if told is None:
                return None
            (good if told.good else bad).write(told.text + b"\n")
            batch = replace(
                batch,
                gathered=batch.gathered + told.good,
                missed=batch.missed + (not told.good),
                late=batch.late + told.late,
                output_bytes=batch.output_bytes + (len(told.text) + 1) * told.good,
                input_tokens=batch.input_tokens + told.input_tokens,
                output_tokens=batch.output_tokens + told.output_tokens,
            )
        good.close()
        bad.close()
        return replace(batch, collected=number + 1)

    def _told(
        self, batch: Batch, raw: bytes, job: Job | None, *, line: int, silent: set[str]
    ) -> Told | None:
        """What the files say of a line; None if its answer cannot be read just now."""
        identity = batch.job(line)
        try:
            request = read_line(raw, batch.endpoint)
        except ApiError as error:  # it was checked; but its reader may have changed since
            return tell_refusal(Line(custom_id="", body={}), identity, error)
        if job is None:
            return self._without_job(batch, request, identity, made=line < batch.submitted)
        if job.status is not Status.COMPLETED or job.erased:
            return tell_end(batch, request, identity, job)
        return self._read(batch, request, job, silent)

    def _read(self, batch: Batch, line: Line, job: Job, silent: set[str]) -> Told | None:
        """What the files say of a job that was answered; None if that cannot be read just now.

        Args:
            batch: Which.
            line: Its request.
            job: As it ended.
            silent: Regions that gave no answer: nobody waits for each of 250 time-outs.
        """
        if job.output is not None:
            return self._answered(batch, line, job, payloads.unpack(job.output))
        if job.owner in silent:
            return tell_unread(line, job, "The answer could not be read")
        try:
            result = self.payloads.result(
                str(job.output_key), region=job.owner, bytes_max=RESULT_BYTES_MAX
            )
        except AWS_ERRORS as error:
            # Its region may be lost, or busy: that is waited for as long as the batch may take.
            if reason(error) not in GONE:
                logger.warning("answer not read", job_id=job.id, reason=reason(error))
                if not impatient(batch, now_ms=now_ms()):
                    return None
                silent.add(job.owner)
            return tell_unread(line, job, "The answer could not be read")
        if result.body is None:
            return tell_unread(line, job, "The answer is too large for a file")
        return self._answered(batch, line, job, result.body)

    def _answered(self, batch: Batch, line: Line, job: Job, body: bytes) -> Told:
        try:
            return tell_answer(batch, line, job, json.loads(body))
        except ApiError as error:
            return tell_refusal(line, job.id, error)
        except (ValueError, RecursionError):
            return tell_unread(line, job, "The answer is no JSON that a file can hold")

    def _without_job(self, batch: Batch, line: Line, identity: str, *, made: bool) -> Told:
        """Of a line without a job: nobody came to it, its route refuses it, or it was forgotten."""
        if not made:
            return tell_end(batch, line, identity, None)
        try:
            read_job(line, batch, self.policy, batch.caller, deadline_s=1)
        except ApiError as error:
            return tell_refusal(line, identity, error)
        return tell_forgotten(line, identity)
