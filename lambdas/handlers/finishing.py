"""The end of a batch: one file of answers, one of errors, and nothing else left."""

import secrets
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms
from lambdas.adapters.files import FileRecords
from lambdas.adapters.logs import logger
from lambdas.adapters.outbox import Outbox
from lambdas.adapters.pieces import Pieces
from lambdas.domain.batches import Batch, BatchStatus, last_status
from lambdas.domain.files import MADE, File, created_ms_of, file_id
from lambdas.domain.job import ENTROPY_BYTES_MIN
from lambdas.domain.policy import Policy
from lambdas.handlers.cutting import piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """Ends the batches of one region."""

    region: str
    policy: Policy
    records: BatchRecords
    files: FileRecords
    pieces: Pieces
    outbox: Outbox

    def finish(self, batch: Batch) -> bool:
        """Put the files together, then end the batch.

        The files' ids are decided first, so that who repeats it writes the same files.
        """
        # Whoever took the batch over may have collected what its first region could not.
        unnamed = (batch.gathered and batch.output_file is None) or (
            batch.missed and batch.error_file is None
        )
        if batch.finalizing_ms is None or unnamed:
            return self._decide(batch)
        for what, identity in (("output", batch.output_file), ("error", batch.error_file)):
            if identity is not None:
                self._assemble(batch, what, identity)
        status = last_status(batch)
        written = self.records.change(
            batch,
            status=status,
            finished_ms=now_ms(),
            completed=batch.gathered,
            failed=batch.missed,
        )
        if written.won:
            logger.info("batch ended", batch_id=batch.id, status=status)
        return True

    def end(self, batch: Batch) -> bool:
        """End a batch that nobody looked into, or that cannot be gone on with."""
        cancelled = batch.status is BatchStatus.CANCELLING
        status = BatchStatus.CANCELLED if cancelled else BatchStatus.EXPIRED
        self.records.change(batch, status=status, finished_ms=now_ms())
        return True

    def tidy(self, batch: Batch) -> bool:
        """Delete the pieces, which hold what the files do, tell of the end, put the batch by."""
        blocks = range(len(batch.blocks) - 1)
        kinds = ("lines", "output", "error")
        self.pieces.delete({piece(batch, what, number) for what in kinds for number in blocks})
        if batch.webhook is not None and batch.finished_ms is not None:
            self.outbox.announce_batch(
                batch.id,
                status=batch.status,
                tenant=batch.tenant,
                address=batch.webhook,
                ended_ms=batch.finished_ms,
            )
        until_ms = (batch.finished_ms or now_ms()) + 1000 * self.policy.retention_s
        self.records.put_by(batch, until_ms=until_ms)
        return True

    def _decide(self, batch: Batch) -> bool:
        at_ms = now_ms()

        def named(lines: int) -> str | None:
            return file_id(at_ms, secrets.token_bytes(ENTROPY_BYTES_MIN)) if lines else None

        cancelled = batch.status is BatchStatus.CANCELLING
        values: dict[str, Any] = {} if cancelled else {"status": BatchStatus.FINALIZING}
        self.records.change(
            batch,
            finalizing_ms=batch.finalizing_ms or at_ms,
            output_file=batch.output_file or named(batch.gathered),
            error_file=batch.error_file or named(batch.missed),
            **values,
        )
        return True

    def _assemble(self, batch: Batch, what: str, identity: str) -> None:
        """Join the blocks; a copy in the next region is made by S3 itself."""
        key = f"outputs/{identity}"
        writer = self.pieces.writer(key)
        for number in range(len(batch.blocks) - 1):
            for chunk in self.pieces.chunks(piece(batch, what, number)):
                writer.write(chunk)
        writer.close()
        regions, created_ms = self.policy.regions, created_ms_of(identity)
        self.files.create(
            File(
                id=identity,
                tenant=batch.tenant,
                purpose=MADE,
                filename=f"{batch.id}_{what}.jsonl",
                size=writer.size,
                created_ms=created_ms,
                expires_ms=created_ms + 1000 * batch.kept_s,
                home=self.region,
                copied=regions[(regions.index(self.region) + 1) % len(regions)],
                key=key,
            )
        )
