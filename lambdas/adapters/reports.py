"""The deliveries queue: what became of tries to deliver webhooks, on its way to the ledger."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdas.domain.deliveries import LINE_LENGTH_MAX
from lambdas.domain.job import is_job_id

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Report:
    """A message of the deliveries queue: a line for the log of a job."""

    job: str
    line: str


@dataclass(frozen=True, slots=True)
class Reports:
    """The deliveries queue of one region."""

    client: "SQSClient"
    url: str

    def send(self, report: Report) -> None:
        """Have a line written into the log of a job."""
        body = {"format": FORMAT, "job": report.job, "line": report.line}
        self.client.send_message(QueueUrl=self.url, MessageBody=json.dumps(body))


def read_report(body: str) -> Report | None:
    """Read a message's body; None if it is malformed."""
    try:
        document = json.loads(body)
        job, line = document["job"], document["line"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(job, str) or not is_job_id(job):
        return None
    if not isinstance(line, str) or not 0 < len(line) <= LINE_LENGTH_MAX:
        return None
    return Report(job, line)
