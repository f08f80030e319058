"""record: keeps the delivery logs of jobs, in the ledger.

notify speaks to hosts that somebody else chose, and so may not touch the ledger: what became of its
tries it tells here. A line is written once however often its message comes, only into a job that is
there and not erased, and the newest lines alone are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.reports import Report, read_report
from lambdas.domain.deliveries import KEPT_MAX, in_the_way
from lambdas.wiring import Execution, Function, Handler

WRITES_MAX = 4
"""Of one line, each after room was made for it: others may write into the same log."""


@dataclass(frozen=True, slots=True)
class Record:
    """Writes lines into the logs of jobs."""

    ledger: Ledger

    def handle(self, event: Mapping[str, Any], _context: object) -> dict[str, Any]:
        """Work off messages of the deliveries queue; those that were not written come back."""
        failed = [record["messageId"] for record in event["Records"] if not self._settle(record)]
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

    def _settle(self, record: Mapping[str, Any]) -> bool:
        """Whether a message may leave the queue."""
        report = read_report(record["body"])
        if report is None:
            logger.warning("report dropped", message_id=record["messageId"])
            return True
        try:
            return self._write(report)
        except AWS_ERRORS as error:
            logger.warning("try not recorded", job_id=report.job, reason=reason(error))
            return False

    def _write(self, report: Report) -> bool:
        for _ in range(WRITES_MAX):
            kept = self.ledger.log_try(report.job, report.line, lines_max=KEPT_MAX)
            if kept is None:
                return True
            oldest = in_the_way(kept, report.line)
            if oldest is None:
                return True
            self.ledger.forget_try(report.job, oldest)
        return False


def create(execution: Execution) -> Handler:
    """Wire the function to the ledger."""
    return Record(Ledger(execution.client("dynamodb"), execution.names.ledger)).handle


handle = Function(create)
