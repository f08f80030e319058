"""The first step of a batch: its file is checked as a whole, and cut into blocks."""

import json
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms
from lambdas.adapters.file_objects import FileObjects
from lambdas.adapters.files import FileRecords
from lambdas.adapters.logs import logger
from lambdas.adapters.pieces import Pieces
from lambdas.domain.batch_lines import LINE_BYTES_MAX, Cutter
from lambdas.domain.batches import Batch, BatchStatus
from lambdas.domain.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """Cuts the files of batches into blocks of this region."""

    policy: Policy
    records: BatchRecords
    files: FileRecords
    objects: FileObjects
    pieces: Pieces

    def cut(self, batch: Batch) -> bool:
        """Check and cut a batch's file; a batch with a fault in any line fails as a whole.

        One that began in another region is cut again, and not checked: models may have gone.
        """
        began = batch.total > 0
        cutter = Cutter(batch=batch, policy=self.policy, checking=not began)
        written: list[str] = []
        errors = self._read(batch, cutter, written)
        if began and not errors and cutter.total != batch.total:
            errors = [_fault("input_file_changed", "The input file is not what it was.")]
        if errors:
            self.pieces.delete(written)
            logger.info("batch refused", batch_id=batch.id, errors=len(errors))
            return self._write(
                batch,
                status=BatchStatus.FAILED,
                errors=json.dumps(errors),
                finished_ms=now_ms(),
            )
        values: dict[str, Any] = {"bounds": json.dumps(cutter.bounds, separators=(",", ":"))}
        if not began:
            values["total"] = cutter.total
            values["in_progress_ms"] = now_ms()
            if batch.status is BatchStatus.VALIDATING:
                values["status"] = BatchStatus.IN_PROGRESS
            if len(cutter.models) == 1:
                values["model"] = cutter.models.pop()
        logger.info("batch begun", batch_id=batch.id, lines=cutter.total)
        return self._write(batch, **values)

    def _read(self, batch: Batch, cutter: Cutter, written: list[str]) -> list[dict[str, Any]]:
        """Go through the file; what is wrong with it."""
        file = self.files.get(batch.input_file)
        lines = None
        if file is not None and file.tenant == batch.tenant:
            lines = self.objects.lines(file, bytes_max=LINE_BYTES_MAX)
        if lines is None:
            return [_fault("input_file_not_found", "The input file is not there any more.")]
        for number, raw in enumerate(lines, start=1):
            block = cutter.add(number, raw)
            if cutter.hopeless:
                break
            if block is not None and not cutter.errors:
                written.append(self._put(batch, len(written), block))
        if not cutter.total:
            return [_fault("empty_file", "The input file has no line.")]
        if not cutter.errors:
            written.append(self._put(batch, len(written), cutter.rest()))
        return cutter.errors

    def _put(self, batch: Batch, number: int, block: list[bytes]) -> str:
        key = piece(batch, "lines", number)
        self.pieces.put(key, b"\n".join(block))
        return key

    def _write(self, batch: Batch, **values: Any) -> bool:
        return self.records.change(batch, **values).won


def piece(batch: Batch, what: str, number: int) -> str:
    """The key of a block's `lines`, `output` or `error`."""
    return f"batches/{batch.id}/{what}-{number:05}.jsonl"


def _fault(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "line": None, "message": message, "param": "input_file_id"}
