"""record: what became of deliveries is in the job's log, once, and only while there is a job."""

import json
from typing import Any

import pytest

from lambdas.adapters.reports import Report, read_report
from lambdas.domain.deliveries import KEPT_MAX, Try, read_line, write_line
from lambdas.domain.webhooks import Failure, Verdict
from lambdas.handlers import record
from tests.handlers.region import Region, aws, error

MESSAGE = "0f8a1c2e"


def line(number: int, *, message: str = MESSAGE, at_ms: int | None = None) -> str:
    """A line of a log."""
    return write_line(
        Try(
            at_ms=1_700_000_000_000 + 1000 * number if at_ms is None else at_ms,
            message=message,
            number=number,
            status=503,
            failure=None,
            elapsed_ms=12,
            verdict=Verdict.RETRY,
            next_ms=None,
        )
    )


def receive(region: Region, *reports: Any) -> list[str]:
    """Have the function work off messages; those that come back."""
    records = [
        {
            "messageId": f"m-{number}",
            "body": report
            if isinstance(report, str)
            else json.dumps({"format": 1, "job": report.job, "line": report.line}),
        }
        for number, report in enumerate(reports)
    ]
    reply = region.handler(record)({"Records": records}, None)
    return [failure["itemIdentifier"] for failure in reply["batchItemFailures"]]


def test_a_line_is_in_the_log_once_however_often_it_comes(region: Region) -> None:
    """SQS delivers at least once: tries that were none would tell of a receiver that is down."""
    job = region.submitted()

    for _ in range(2):
        assert receive(region, Report(job, line(1)), Report(job, line(2))) == []

    assert region.job(job).deliveries == frozenset({line(1), line(2)})


def test_a_log_keeps_its_newest_lines(region: Region) -> None:
    """A log without a bound would outgrow the job's item, and every write of it would cost more."""
    job = region.submitted()

    for number in range(1, KEPT_MAX + 4):
        assert receive(region, Report(job, line(number))) == []
    # What was let go does not come back, nor does it push anything out.
    assert receive(region, Report(job, line(1))) == []
    assert receive(region, Report(job, line(KEPT_MAX))) == []

    kept = region.job(job).deliveries
    assert kept == frozenset(line(number) for number in range(4, KEPT_MAX + 4))


def test_a_job_that_is_gone_does_not_come_back_as_a_log(region: Region) -> None:
    """An item that nothing would ever sweep, of a job whose owner thinks it is forgotten."""
    job = region.submitted()
    region.ask("POST /v1/jobs/{id}/cancel", job=job)
    region.ledger.forget(job)

    assert receive(region, Report(job, line(1))) == []

    assert region.ledger.get(job) is None


def test_an_erased_job_stays_erased(region: Region) -> None:
    """When a job was told of is about its owner, too."""
    job = region.submitted()
    region.ask("POST /v1/jobs/{id}/cancel", job=job)
    receive(region, Report(job, line(1)))
    region.ask("DELETE /v1/jobs/{id}", job=job)
    assert region.job(job).deliveries is None

    assert receive(region, Report(job, line(2))) == []

    assert region.job(job).deliveries is None


def test_writing_into_a_log_disturbs_no_transition(region: Region) -> None:
    """A job would be run twice, or not at all, because somebody was told of another end."""
    job = region.submitted()
    region.start(job)
    before = region.job(job)

    receive(region, Report(job, line(1)))

    after = region.job(job)
    assert (after.token, after.status, after.attempt) == (
        before.token,
        before.status,
        before.attempt,
    )


def test_a_ledger_that_does_not_answer_gets_the_line_later(region: Region) -> None:
    """One message that failed must not repeat its whole batch, nor be lost."""
    job, other = region.submitted(), region.submitted()
    region.calls.clear()

    def refuse() -> None:
        raise error("ThrottlingException", "UpdateItem")

    region.faults = {"UpdateItem#1": refuse}
    assert receive(region, Report(job, line(1)), Report(other, line(1))) == ["m-0"]
    region.faults = {}
    assert receive(region, Report(job, line(1))) == []

    assert region.job(job).deliveries == region.job(other).deliveries == frozenset({line(1)})


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[]",
        "{}",
        '{"job": 1, "line": "x"}',
        '{"job": "job_x", "line": "x"}',
        json.dumps({"job": f"job_{'a' * 26}", "line": ""}),
        json.dumps({"job": f"job_{'a' * 26}", "line": "x" * 301}),
    ],
)
def test_a_malformed_report_is_dropped(region: Region, body: str) -> None:
    """It would come back for a day."""
    assert read_report(body) is None
    assert receive(region, body) == []


def test_a_line_reads_as_it_was_written() -> None:
    """A log that nobody can read is none; and a line of a later release must not break it."""
    tried = Try(
        at_ms=1,
        message=MESSAGE,
        number=20,
        status=None,
        failure=Failure.TIMEOUT,
        elapsed_ms=10_000,
        verdict=Verdict.GIVEN_UP,
        next_ms=None,
    )

    assert read_line(write_line(tried)) == tried
    for text in ("", "[]", "{}", '{"at_ms":"x"}', write_line(tried).replace("given_up", "other")):
        assert read_line(text) is None


def test_its_queue_is_written_by_name(region: Region) -> None:
    """Notify and record must mean the same queue."""
    assert aws("sqs").get_queue_url(QueueName=region.names.deliveries)
