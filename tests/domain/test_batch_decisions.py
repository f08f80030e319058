"""Batches: what is done next, how many jobs are made, and what is read of lines."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from config.schema import load
from lambdas.domain.batch_lines import (
    CUSTOM_ID_LENGTH_MAX,
    ERRORS_MAX,
    LINES_MAX,
    Cutter,
    Line,
    read_line,
    tell_answer,
    tell_end,
)
from lambdas.domain.batches import (
    AHEAD_LINES_MAX,
    BLOCK_BYTES_MAX,
    BLOCK_LINES_MAX,
    OUTPUT_BYTES_MAX,
    PATIENCE_MS,
    Batch,
    BatchStatus,
    Step,
    batch_id,
    batch_view,
    impatient,
    in_turn,
    is_batch_id,
    last_status,
    next_step,
    read_batch_request,
    room,
)
from lambdas.domain.errors import ApiError
from lambdas.domain.job import Job, Status, is_job_id
from lambdas.domain.policy import Policy
from tests.handlers.region import CONFIG, MODEL

ENDPOINT = "/v1/embeddings"
BATCH = Batch(
    id="batch_" + "a" * 26,
    status=BatchStatus.IN_PROGRESS,
    step=3,
    owner="us-east-1",
    tenant="acme",
    created_ms=0,
    expires_ms=86_400_000,
    endpoint=ENDPOINT,
    input_file="file-" + "a" * 26,
    request_hash=b"hash",
    in_flight_max=100,
    kept_s=3600,
    bounds="[0, 250, 400]",
    total=400,
)
JOB = Job(
    id="job_" + "a" * 26,
    status=Status.COMPLETED,
    attempt=1,
    owner="us-east-1",
    home="us-east-1",
    tenant="acme",
    model=MODEL,
    tier="batch",
    created_ms=0,
    deadline_ms=1,
    request_hash=b"",
    api="embeddings",
)
LINE = Line(custom_id="a", body={})


@cache
def policy() -> Policy:
    """That of config/dev.yaml."""
    return load(CONFIG).policy()


def raw(**changes: Any) -> bytes:
    """A line of a batch's file."""
    body = {"model": MODEL, "input": "text"}
    request = {"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": body} | changes
    return json.dumps(request).encode()


@pytest.mark.parametrize(
    ("changes", "now_ms", "step"),
    [
        ({"bounds": None, "total": 0, "status": BatchStatus.VALIDATING}, 0, Step.SPLIT),
        ({"bounds": None, "total": 0, "status": BatchStatus.CANCELLING}, 0, Step.END),
        ({"bounds": None, "total": 0, "status": BatchStatus.VALIDATING}, 86_400_000, Step.END),
        # Another region took it over: its jobs are there, whatever became of it since.
        ({"bounds": None, "status": BatchStatus.CANCELLING}, 0, Step.SPLIT),
        ({"bounds": None}, 86_400_000, Step.SPLIT),
        ({}, 0, Step.WORK),
        ({"collected": 1}, 90_000_000, Step.WORK),
        ({"collected": 2}, 0, Step.FINALIZE),
        ({"collected": 2, "status": BatchStatus.FINALIZING}, 0, Step.FINALIZE),
        *[({"status": status}, 0, Step.TIDY) for status in BatchStatus if status.terminal],
    ],
)
def test_what_is_next_follows_from_the_item_alone(
    changes: dict[str, Any], now_ms: int, step: Step
) -> None:
    """Whoever goes on with a batch knows nothing but that."""
    assert next_step(replace(BATCH, **changes), now_ms=now_ms) is step


@pytest.mark.parametrize(
    ("changes", "unended", "elsewhere", "lines"),
    [
        ({}, 0, 0, 50),
        ({}, 20, 10, 20),
        ({}, 20, 100, 0),
        ({"in_flight_max": 1}, 0, 0, 1),
        ({"in_flight_max": 1}, 1, 0, 0),
        ({"submitted": 390}, 0, 0, 10),
        ({"in_flight_max": 10**6, "bounds": "[0, 9000]", "total": 9000}, 0, 0, AHEAD_LINES_MAX),
    ],
)
def test_a_tenants_batches_leave_room_for_its_other_jobs(
    changes: dict[str, Any], unended: int, elsewhere: int, lines: int
) -> None:
    """Half of what it may have unfinished, all its batches together; and not all at once."""
    assert room(replace(BATCH, **changes), unended=unended, elsewhere=elsewhere) == lines


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, BatchStatus.COMPLETED),
        ({"late": 1}, BatchStatus.EXPIRED),
        ({"late": 1, "status": BatchStatus.CANCELLING}, BatchStatus.CANCELLED),
    ],
)
def test_how_a_batch_ends(changes: dict[str, Any], status: BatchStatus) -> None:
    """One line that did not start in time, and its client must ask for it again."""
    assert last_status(replace(BATCH, **changes)) is status


def test_ids_are_the_same_for_the_same_request_and_line() -> None:
    """A repetition must not make a second batch, nor a second job."""
    assert batch_id("a", "k", b"") == batch_id("a", "k", b"") != batch_id("b", "k", b"")
    assert is_batch_id(batch_id("a", None, b"x" * 16))
    assert not is_batch_id("batch_" + "A" * 26)
    assert is_job_id(BATCH.job(7))
    assert len({BATCH.job(1), BATCH.job(2), replace(BATCH, tenant="b").job(1)}) == 3
    with pytest.raises(ValueError, match="16 random bytes"):
        batch_id("a", None, b"")


def test_files_are_told_once_they_can_be_read() -> None:
    """Their ids are decided before their bytes are there."""
    made: Any = {"output_file": "file-x", "error_file": "file-y"}
    before = batch_view(replace(BATCH, status=BatchStatus.FINALIZING, **made))
    after = batch_view(replace(BATCH, status=BatchStatus.COMPLETED, finished_ms=5000, **made))

    assert (before["output_file_id"], before["error_file_id"]) == (None, None)
    assert (after["output_file_id"], after["completed_at"]) == ("file-x", 5)
    assert after["failed_at"] is None


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'{"a": 1, "a": 2}', "invalid_json_line", None),
        (b"{}", "missing_required_parameter", "custom_id"),
        (raw(custom_id=5), "invalid_value", "custom_id"),
        (raw(custom_id="x" * (CUSTOM_ID_LENGTH_MAX + 1)), "invalid_value", "custom_id"),
        (raw(method="post"), "invalid_method", "method"),
        (raw(url="/v1/responses"), "mismatched_url", "url"),
        (raw(body="text"), "invalid_value", "body"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_by_its_field(
    line: bytes, code: str, param: str | None
) -> None:
    """Its writer looks for it among thousands."""
    with pytest.raises(ApiError) as refusal:
        read_line(line, ENDPOINT)
    assert (refusal.value.code, refusal.value.param) == (code, param)


def cut(lines: list[bytes], *, checking: bool = True) -> tuple[Cutter, list[int]]:
    """Cut lines; the cutter and the sizes of the blocks."""
    cutter = Cutter(batch=BATCH, policy=policy(), checking=checking)
    sizes = []
    for number, line in enumerate(lines, start=1):
        block = cutter.add(number, line)
        if block is not None:
            sizes.append(len(block))
    if cutter.block:
        sizes.append(len(cutter.rest()))
    return cutter, sizes


def test_a_file_is_cut_by_lines_and_by_bytes() -> None:
    """A block is held in memory."""
    cutter, sizes = cut([b"x"] * (BLOCK_LINES_MAX + 1) + [b"", b" "], checking=False)
    assert (sizes, cutter.bounds) == ([BLOCK_LINES_MAX, 1], [0, BLOCK_LINES_MAX, 251])

    _, sizes = cut([b"x" * (BLOCK_BYTES_MAX // 2 + 1)] * 3, checking=False)
    assert sizes == [1, 1, 1]


def test_the_same_name_twice_is_one_fault_with_its_line() -> None:
    """Two answers of one name: nobody could tell whose they are."""
    cutter, _ = cut([raw(), raw(custom_id="b"), raw()])

    (fault,) = cutter.errors
    assert (fault["line"], fault["code"]) == (3, "duplicate_custom_id")
    assert cutter.models == {MODEL}


def test_looking_for_faults_ends() -> None:
    """Nobody reads fifty thousand of them."""
    cutter, _ = cut([b"{"] * (ERRORS_MAX + 5))
    assert (len(cutter.errors), cutter.hopeless) == (ERRORS_MAX, True)

    many = Cutter(batch=BATCH, policy=policy(), checking=True, total=LINES_MAX)
    many.add(1, raw())
    assert (many.errors[0]["code"], many.hopeless) == ("too_many_lines", True)


def test_an_output_file_that_is_full_says_where_the_answer_is() -> None:
    """A file that no function can put together is no file."""
    output: Any = {"data": [], "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    told = tell_answer(BATCH, LINE, JOB, output)
    assert (told.good, told.input_tokens, told.output_tokens) == (True, 2, 0)

    full = tell_answer(replace(BATCH, output_bytes=OUTPUT_BYTES_MAX), LINE, JOB, output)
    error = json.loads(full.text)["error"]
    assert (full.good, error["code"]) == (False, "output_unavailable")
    assert JOB.id in error["message"]


@pytest.mark.parametrize(
    ("changes", "status", "code", "late"),
    [
        (None, BatchStatus.IN_PROGRESS, "batch_expired", True),
        (None, BatchStatus.CANCELLING, "batch_cancelled", False),
        ({"status": Status.EXPIRED}, BatchStatus.IN_PROGRESS, "batch_expired", True),
        ({"status": Status.CANCELLED}, BatchStatus.IN_PROGRESS, "job_cancelled", False),
        ({"status": Status.CANCELLED}, BatchStatus.CANCELLING, "batch_cancelled", False),
        ({"erased": True}, BatchStatus.IN_PROGRESS, "job_erased", False),
    ],
)
def test_why_a_line_has_no_answer(
    changes: dict[str, Any] | None, status: BatchStatus, code: str, late: bool
) -> None:
    """What its client does next depends on it."""
    job = None if changes is None else replace(JOB, **changes)

    told = tell_end(replace(BATCH, status=status), LINE, JOB.id, job)

    assert json.loads(told.text)["error"]["code"] == code
    assert (told.good, told.late) == (False, late)


def test_what_a_model_refused_is_an_answer_to_responses_and_an_error_elsewhere() -> None:
    """As the routes themselves tell it."""
    job = replace(JOB, status=Status.REFUSED, error={"code": "refused", "message": "no"})
    elsewhere = tell_end(BATCH, LINE, JOB.id, job)
    response = tell_end(
        replace(BATCH, endpoint="/v1/responses"), LINE, JOB.id, replace(job, api="responses")
    )

    assert json.loads(elsewhere.text)["response"]["status_code"] == 400
    assert (elsewhere.good, response.good) == (False, True)
    assert json.loads(response.text)["response"]["body"]["output"][0]["type"] == "message"


def test_each_tenant_has_its_turns_whatever_another_one_makes() -> None:
    """A tenant with a thousand batches holds up nobody's but its own."""
    listed = [(f"a{number}", "busy") for number in range(1000)] + [("b", "modest")]

    assert in_turn(listed, {})[:3] == ["a0", "b", "a1"]
    assert in_turn(listed, {"a0": 1, "b": 2})[:3] == ["a1", "b", "a2"]
    assert sorted(in_turn(listed, {"a0": 1})) == sorted(each for each, _ in listed)


def test_an_answer_is_waited_for_no_longer_than_the_batch_may_take() -> None:
    """A client that cancels is not kept waiting for a region that is lost."""
    batch = BATCH
    over_ms = batch.expires_ms
    assert not impatient(batch, now_ms=over_ms)
    assert impatient(batch, now_ms=over_ms + PATIENCE_MS)
    cancelled = replace(batch, cancelling_ms=batch.created_ms)
    assert not impatient(cancelled, now_ms=batch.created_ms + PATIENCE_MS - 1)
    assert impatient(cancelled, now_ms=batch.created_ms + PATIENCE_MS)


def test_a_batchs_field_whose_name_is_not_unicode_is_refused() -> None:
    """JSON can write half of a surrogate pair, and no answer can name it."""
    with pytest.raises(ApiError) as refusal:
        read_batch_request({"endpoint": ENDPOINT, "\ud800": 1})
    assert (refusal.value.status, refusal.value.code) == (400, "unknown_field")
