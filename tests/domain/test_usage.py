"""What is counted of tenants' jobs, and how it is added up."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from config.schema import load
from lambdas.domain.errors import ApiError
from lambdas.domain.job import Job, Status
from lambdas.domain.usage import (
    DAY_S,
    TOKENS_MAX,
    Tokens,
    counters_of,
    day_of,
    ended,
    key_of,
    over_quota,
    read_period,
    rows,
    tokens_of,
    total,
    work,
)
from tests.handlers.region import CONFIG

START_MS = 1_700_000_000_000
MODEL = replace(
    load(CONFIG).policy().models["embedder"],
    concurrency=4,
    invocation_timeout_s=60,
    usd_per_hour={"v1": 3.6},
)
JOB = Job(
    id="job_a",
    status=Status.COMPLETED,
    attempt=1,
    owner="us-east-1",
    home="us-east-1",
    tenant="acme",
    model="embedder",
    tier="batch",
    created_ms=START_MS - 5000,
    deadline_ms=START_MS + 60_000,
    request_hash=b"",
    started_ms=START_MS,
    finished_ms=START_MS + 2000,
    version="v1",
)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, (3, 4, 7)),
        ({"input_tokens": 3, "output_tokens": 4, "total_tokens": 9}, (3, 4, 9)),
        ({"prompt_tokens": 3, "total_tokens": 3}, (3, 0, 3)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4, 7)),
        ({"total_tokens": 5}, (0, 0, 5)),
        ({"total_tokens": 0}, (0, 0, 0)),
        ({"prompt_tokens": -3, "total_tokens": TOKENS_MAX + 1}, None),
        ({"prompt_tokens": True, "total_tokens": "7"}, None),
        ({"total_tokens": 1.5}, None),
        ({}, None),
        ([], None),
        ("many", None),
    ],
)
def test_tokens_are_read_as_either_api_words_them(
    usage: Any, tokens: tuple[int, int, int] | None
) -> None:
    """A model that reports nonsense must not spoil its tenant's sum for good."""
    found = tokens_of(json.dumps({"usage": usage}).encode())

    wanted = tokens and Tokens(input=tokens[0], output=tokens[1], total=tokens[2])
    assert found == wanted


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b'"usage"', b'["usage"]', b'{"usage": ', b"[" * 10**5]
)
def test_answers_without_tokens_are_no_error(body: bytes) -> None:
    """Most models write no tokens, and their jobs are counted all the same."""
    assert tokens_of(body) is None


def test_an_attempt_takes_its_part_of_an_instance() -> None:
    """Four jobs at once on one GPU are not four GPUs."""
    counted = work(JOB, MODEL, until_ms=START_MS + 2000)

    # 2 s of a quarter of an instance at 3.60 dollars an hour, which is a tenth of a cent a second.
    assert counted == {"embedder/v1/gpu_ms": 500, "embedder/v1/nano_usd": 500_000}


@pytest.mark.parametrize(
    ("job", "until_ms", "gpu_ms"),
    [
        (JOB, START_MS + 3_600_000, 15_000),  # sweep found it after an hour; it cannot have run so
        (JOB, START_MS - 1, 0),  # clocks of two machines
        (replace(JOB, started_ms=None, version=None), START_MS, 0),
    ],
)
def test_time_that_no_model_can_have_worked_is_not_counted(
    job: Job, until_ms: int, gpu_ms: int
) -> None:
    """A tenant would pay for our being late."""
    assert work(job, MODEL, until_ms=until_ms)["embedder/v1/gpu_ms"] == gpu_ms


def test_a_version_without_a_price_costs_nobody_knows_what() -> None:
    """Zero dollars would be a lie that somebody sums up."""
    counted = work(replace(JOB, version="v9"), MODEL, until_ms=START_MS + 2000)

    assert counted == {"embedder/v9/gpu_ms": 500}
    assert total([("2026-01-01", counted)], model=None)["cost_usd"] is None


def test_a_completed_job_counts_once_with_its_tokens() -> None:
    """The quota is held against all tokens, the usage shows both kinds."""
    tokens = Tokens(input=3, output=4, total=9)

    counted = ended(JOB, MODEL, tokens=tokens, until_ms=START_MS + 2000)

    assert counted == work(JOB, MODEL, until_ms=START_MS + 2000) + Counter(
        {
            "embedder/v1/completed": 1,
            "embedder/v1/tokens_in": 3,
            "embedder/v1/tokens_out": 4,
            "tokens": 9,
        }
    )


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_other_ends_count_without_tokens(status: Status) -> None:
    """What nobody got is not charged by the token."""
    job = replace(JOB, status=status, started_ms=None, version=None)

    counted = ended(job, MODEL, tokens=Tokens(input=1, output=1, total=2), until_ms=START_MS)

    assert counted == {f"embedder/-/{status}": 1}


def test_days_are_added_up_over_regions() -> None:
    """Each region counts for itself: whoever asks wants one number."""
    here = {
        "embedder/v1/completed": 2,
        "embedder/v1/gpu_ms": 1500,
        "embedder/v1/nano_usd": 3,
        "tokens": 7,
    }
    there = {"embedder/v1/completed": 1, "embedder/-/expired": 1, "chat/v2/failed": 4}
    days = [("2026-01-01", here), ("2026-01-01", there), ("2026-01-02", there)]

    listed = rows(days, model=None)

    assert [(each["day"], each["model"], each["version"]) for each in listed] == [
        ("2026-01-01", "chat", "v2"),
        ("2026-01-01", "embedder", None),
        ("2026-01-01", "embedder", "v1"),
        ("2026-01-02", "chat", "v2"),
        ("2026-01-02", "embedder", None),
        ("2026-01-02", "embedder", "v1"),
    ]
    assert listed[2] == {
        "day": "2026-01-01",
        "model": "embedder",
        "version": "v1",
        "jobs": {"completed": 3, "failed": 0, "refused": 0, "cancelled": 0, "expired": 0},
        "tokens": {"input": 0, "output": 0},
        "gpu_s": 1.5,
        "cost_usd": 3e-9,
        "feedback": {"ratings": 0, "rating_sum": 0, "corrections": 0},
    }
    assert {each["model"] for each in rows(days, model="chat")} == {"chat"}
    assert total(days, model=None)["jobs"]["completed"] == 4
    assert total(days, model="chat")["jobs"]["failed"] == 8


def test_an_item_says_its_day_and_its_counters() -> None:
    """What else lies in the item must not be added to anybody's jobs."""
    key = key_of("us-east-1", "acme", "2026-01-01")
    item = {
        "pk": {"S": key},
        "expires_s": {"N": "1"},
        "last_write": {"S": "x"},
        "m/v/failed": {"N": "2"},
    }

    assert counters_of(item) == ("2026-01-01", {"m/v/failed": 2})


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        (None, None, ("2023-10-16", "2023-11-14", 30)),
        ("2023-11-14", None, ("2023-11-14", "2023-11-14", 1)),
        (None, "2023-01-31", ("2023-01-02", "2023-01-31", 30)),
        ("2023-01-01", "2023-04-02", ("2023-01-01", "2023-04-02", 92)),
    ],
)
def test_a_period_is_days(since: str | None, until: str | None, days: tuple[str, str, int]) -> None:
    """A month without options is what most want to see."""
    period = read_period(since, until, now_ms=START_MS)

    listed = period.days()
    assert (listed[0], listed[-1], len(listed)) == days


@pytest.mark.parametrize(
    ("since", "until", "param"),
    [
        ("2023-01-01", "2023-04-03", "from"),
        ("2023-01-02", "2023-01-01", "from"),
        ("2023-1-1", None, "from"),
        ("20230101", None, "from"),
        ("2023-02-30", None, "from"),
        ("yesterday", None, "from"),
        ("", None, "from"),
        ("\u0662\u0660\u0662\u0663-01-01", None, "from"),
        (None, "2023-W01-1", "to"),
        (None, "9" * 5000, "to"),
    ],
)
def test_what_is_no_period_is_refused_by_name(
    since: str | None, until: str | None, param: str
) -> None:
    """A question over all time would read until it times out."""
    with pytest.raises(ApiError) as refused:
        read_period(since, until, now_ms=START_MS)

    assert (refused.value.status, refused.value.param) == (400, param)


def test_the_first_day_of_all_has_none_before_it() -> None:
    """An answer, not a stack trace."""
    assert read_period(None, "0001-01-05", now_ms=START_MS).days()[0] == "0001-01-01"


@pytest.mark.parametrize(("used", "refused"), [(0, False), (332, False), (333, True), (999, True)])
def test_a_region_gives_its_share_of_a_quota(used: int, refused: bool) -> None:
    """No region knows what another gave just now: together they must not give it three times."""
    refusal = over_quota(1000, used, regions=3, now_ms=START_MS)

    assert (refusal is not None) is refused
    if refusal is not None:
        left_s = DAY_S - START_MS // 1000 % DAY_S
        assert (refusal.status, refusal.code, refusal.retry_after_s) == (429, "token_quota", left_s)
        assert "333" in refusal.message
        assert day_of(START_MS + 1000 * left_s) == "2023-11-15"


def test_a_quota_smaller_than_the_regions_lets_something_pass() -> None:
    """A share of nothing would be a tenant that is locked out by a rounding."""
    assert over_quota(1, 0, regions=3, now_ms=START_MS) is None
