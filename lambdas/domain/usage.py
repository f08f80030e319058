"""What tenants used: counters by tenant, day, model and version, and what may still be used.

A region counts what ends in it, in one item a tenant and day; a reader adds the regions up.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from lambdas.domain.errors import ApiError, busy, invalid
from lambdas.domain.job import Job, Status
from lambdas.domain.policy import Model

DAY_S: Final = 86_400
KEPT_S: Final = 400 * DAY_S
"""A year, and time to look at it."""
DAYS_MAX: Final = 92
"""Of one question: a quarter."""
DAYS_DEFAULT: Final = 30
TOKENS_MAX: Final = 10**12
"""Of one answer. What reports more does not report tokens, and would spoil the sum for good."""
ENDS: Final = ("completed", "failed", "refused", "cancelled", "expired")
TOTAL: Final = "tokens"
"""What the daily quota is held against: all tokens of a tenant's day in a region."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NO_VERSION = "-"
_NO_COUNTERS = frozenset({"pk", "expires_s", "last_write"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a model says that a job took.

    Attributes:
        input: Read by the model.
        output: Written by it.
        total: Both, and what else the model counts.
    """

    input: int
    output: int
    total: int


def tokens_of(body: bytes) -> Tokens | None:
    """The tokens that an answer reports, in the words of either of OpenAI's APIs.

    Args:
        body: As the model wrote it.

    Returns:
        None without an object `usage` that holds whole numbers in bounds.
    """
    if b'"usage"' not in body:  # most answers of models without tokens are not parsed once more
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    usage = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(usage, dict):
        return None
    read = _number(usage, "input_tokens", "prompt_tokens")
    written = _number(usage, "output_tokens", "completion_tokens")
    total = _number(usage, "total_tokens")
    if read is None and written is None and total is None:
        return None
    both = (read or 0) + (written or 0)
    return Tokens(input=read or 0, output=written or 0, total=both if total is None else total)


def _number(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TOKENS_MAX:
            return value
    return None


def day_of(at_ms: int) -> str:
    """The day of a moment, `YYYY-MM-DD` in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def key_of(region: str, tenant: str, day: str) -> str:
    """The key of the item in which a region counts a tenant's day, in that region's gate."""
    return f"usage#{region}#{tenant}#{day}"


def counters_of(item: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """The day and the counters of such an item, as DynamoDB's own types."""
    day = str(item["pk"]["S"]).rpartition("#")[2]
    return day, {name: int(value["N"]) for name, value in item.items() if name not in _NO_COUNTERS}


def name_of(model: str, version: str | None, counter: str) -> str:
    """A counter's name in the item of a tenant and day."""
    return f"{model}/{version or _NO_VERSION}/{counter}"


def work(job: Job, model: Model | None, *, until_ms: int) -> Counter[str]:
    """What an attempt took of a GPU.

    Args:
        job: At work, or just ended.
        model: What the policy knows of the model; None if it is gone from there.
        until_ms: When the attempt was over.

    Returns:
        `gpu_ms`, the attempt's part of an instance: its time through the jobs that an instance
        works on at once, at most as long as an invocation may run; and `nano_usd`, what that
        costs, if the price is known.
    """
    if model is None or job.started_ms is None:
        return Counter()
    lasted_ms = min(max(0, until_ms - job.started_ms), 1000 * model.invocation_timeout_s)
    gpu_ms = lasted_ms / model.concurrency
    counted = Counter({name_of(job.model, job.version, "gpu_ms"): round(gpu_ms)})
    usd_per_hour = model.usd_per_hour.get(job.version or "")
    if usd_per_hour is not None:
        nano_usd = round(gpu_ms * usd_per_hour * 1_000_000 / 3600)
        counted[name_of(job.model, job.version, "nano_usd")] = nano_usd
    return +counted


def ended(job: Job, model: Model | None, *, tokens: Tokens | None, until_ms: int) -> Counter[str]:
    """What to count of a job that just ended; arguments as of `work`.

    A model that took the job over counts for the job; what the first one worked was counted then.
    """
    counted = work(job, model, until_ms=until_ms)
    counted[name_of(job.model, job.version, job.status.value)] += 1
    if tokens is not None and job.status in {Status.COMPLETED, Status.REFUSED}:
        counted[name_of(job.model, job.version, "tokens_in")] += tokens.input
        counted[name_of(job.model, job.version, "tokens_out")] += tokens.output
        counted[TOTAL] += tokens.total
    return +counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Days that somebody asks about, the last one included."""

    first: date
    last: date

    def days(self) -> list[str]:
        """Each of them, `YYYY-MM-DD`."""
        count = (self.last - self.first).days + 1
        return [(self.first + timedelta(days=number)).isoformat() for number in range(count)]


def read_period(since: str | None, until: str | None, *, now_ms: int) -> Period:
    """Read the days of a question; without them, the last 30 days.

    Args:
        since: The first day, `YYYY-MM-DD` in UTC.
        until: The last day.
        now_ms: This region's time.

    Raises:
        ApiError: 400 naming the parameter: no date, in the wrong order, or too many days.
    """
    last = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    if until is not None:
        last = _date(until, "to")
    first = _date(since, "from") if since is not None else _before(last, DAYS_DEFAULT - 1)
    if not 0 <= (last - first).days < DAYS_MAX:
        raise invalid(
            f"from is at most {DAYS_MAX - 1} days before to, and not after it.", param="from"
        )
    return Period(first=first, last=last)


def _before(day: date, days: int) -> date:
    try:
        return day - timedelta(days=days)
    except OverflowError:
        return date.min


def _date(text: str, param: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise invalid(f"{param} is a day like 2026-01-31, in UTC.", param=param)


def rows(
    counted: Iterable[tuple[str, Mapping[str, int]]], *, model: str | None
) -> list[dict[str, Any]]:
    """What was counted, by day, model and version.

    Args:
        counted: Days and their counters; a day may come once from each region.
        model: Only this one's; None for all.

    Returns:
        JSON objects, ordered by day, model and version.
    """
    summed: dict[tuple[str, str, str], Counter[str]] = {}
    for day, name, version, counter, number in _of_versions(counted, model):
        summed.setdefault((day, name, version), Counter())[counter] += number
    return [
        {
            "day": day,
            "model": name,
            "version": None if version == _NO_VERSION else version,
            **_measures(summed[day, name, version]),
        }
        for day, name, version in sorted(summed)
    ]


def total(counted: Iterable[tuple[str, Mapping[str, int]]], *, model: str | None) -> dict[str, Any]:
    """The sum of what `rows` lists."""
    summed: Counter[str] = Counter()
    for _, _, _, counter, number in _of_versions(counted, model):
        summed[counter] += number
    return _measures(summed)


def _of_versions(
    counted: Iterable[tuple[str, Mapping[str, int]]], model: str | None
) -> Iterator[tuple[str, str, str, str, int]]:
    """Day, model, version, counter and number of what `name_of` named, of one model or of all."""
    for day, counters in counted:
        for name, number in counters.items():
            parts = name.split("/")
            if len(parts) == len(("model", "version", "counter")) and model in {None, parts[0]}:
                yield day, parts[0], parts[1], parts[2], number


def _measures(counted: Mapping[str, int]) -> dict[str, Any]:
    def number(name: str) -> int:
        return counted.get(name, 0)

    priced = number("nano_usd") or not number("gpu_ms")
    return {
        "jobs": {end: number(end) for end in ENDS},
        "tokens": {"input": number("tokens_in"), "output": number("tokens_out")},
        "gpu_s": number("gpu_ms") / 1000,
        "cost_usd": number("nano_usd") / 1_000_000_000 if priced else None,
        "feedback": {
            "ratings": number("ratings"),
            "rating_sum": number("rating_sum"),
            "corrections": number("corrections"),
        },
    }


def regional_share(tokens_per_day: int, *, regions: int) -> int:
    """How much of a tenant's daily tokens each region may give: it knows of no other's."""
    return max(1, tokens_per_day // regions)


def over_quota(tokens_per_day: int, used: int, *, regions: int, now_ms: int) -> ApiError | None:
    """The refusal of a submission, if the tenant's tokens of the day are used up here.

    Args:
        tokens_per_day: The tenant's quota.
        used: Counted in this region on this day.
        regions: Serving regions, which share the quota alike.
        now_ms: This region's time.
    """
    share = regional_share(tokens_per_day, regions=regions)
    if used < share:
        return None
    return busy(
        f"You have used {used} tokens today in this region; its share of your {tokens_per_day} "
        f"a day is {share}. A new day begins at 00:00 UTC.",
        code="token_quota",
        retry_after_s=DAY_S - now_ms / 1000 % DAY_S,
    )
