"""Batches: many requests in one file, answered within a day into another one.

A batch is worked off in blocks of lines. Everything that is decided about it follows from its item
in the ledger, and every change of that is a conditional write that counts a step further: who dies,
or comes too late, is repeated or refused.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lambdas.domain.admission import Caller
from lambdas.domain.errors import invalid
from lambdas.domain.files import KEPT_S_MAX, KEPT_S_MIN
from lambdas.domain.job import CHAT, EMBEDDINGS, ENTROPY_BYTES_MIN, RESPONSES, job_id
from lambdas.domain.requests import (
    METADATA_NAME_LENGTH_MAX,
    METADATA_VALUE_LENGTH_MAX,
    Metadata,
)

WINDOW_S = 86_400
"""The one window that OpenAI's clients can ask for: 24 hours."""
GRACE_MS = 10_800_000
"""Three hours after its window a batch ends whatever its jobs do: longer than any attempt that
began within it, and the end of one whose model is no longer there."""
REFUSED_GRACE_MS = 2 * GRACE_MS
"""So long after its window a batch ends that AWS refuses to bring on, without its answers: an
outage is waited for, pieces that are gone are not."""
PATIENCE_MS = 600_000
"""A cancelled batch ends within ten minutes, as OpenAI promises; so does one that has expired."""
ENDPOINTS = {
    "/v1/chat/completions": CHAT,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/responses": RESPONSES,
}
BLOCK_LINES_MAX = 250
"""A block is collected when all of its jobs have ended: its answers are read in one go."""
BLOCK_BYTES_MAX = 16 << 20
"""Of its lines, which are held in memory."""
AHEAD_LINES_MAX = 1000
"""Lines whose jobs are made before those of the oldest block have ended."""
IN_FLIGHT_PART = 2
"""A tenant's batches take one half of the jobs that it may have unfinished; its other requests
find room beside them."""
OUTPUT_BYTES_MAX = 1 << 30
"""Of one output file, which one run of a function puts together."""
_ID_PREFIX = "batch_"
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")


class BatchStatus(StrEnum):
    """Where a batch stands, in OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether a batch in this state stays in it for ever."""
        return self in {
            BatchStatus.FAILED,
            BatchStatus.COMPLETED,
            BatchStatus.EXPIRED,
            BatchStatus.CANCELLED,
        }


CANCELLABLE = frozenset({BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as the ledger holds it. Times are milliseconds since the epoch.

    Attributes:
        id: See `batch_id`.
        status: Where it stands.
        step: Rises with every change: a change is refused that was decided on an earlier one.
        owner: The region that works on it.
        tenant: Whose it is.
        created_ms: When it was accepted.
        expires_ms: When its window is over.
        endpoint: One of `ENDPOINTS`.
        input_file: The id of the file with its lines.
        request_hash: Of its request, to tell a replay from a reused idempotency key.
        models: What its key may use, as JSON; None for all.
        tiers: How urgently its key may ask, as JSON; None for any.
        in_flight_max: Unfinished jobs that its tenant may have.
        tokens_per_day: Its tenant's quota when it was made, of all regions; None for none.
        metadata: The client's own JSON, of which the tenant's rules left this.
        masks: Those rules, as JSON, for the metadata of its lines.
        kept_s: How long its files are to be kept.
        webhook: The tenant's own address, which is told of its end.
        bounds: The first line of each block, and the number of lines at the end, as JSON; None
            until they are cut, and again when another region took over.
        total: Lines.
        model: What all lines ask for; None if they ask for several.
        submitted: Lines whose jobs were made.
        collected: Blocks whose answers were.
        completed: Lines that are known to have an answer.
        failed: Lines that are known to have none.
        gathered: Of the completed ones, those in collected blocks.
        missed: Of the failed ones, those in collected blocks.
        late: Lines in collected blocks that did not start within the window.
        output_bytes: Of the answers that were collected.
        input_tokens: Of them, where the model counts.
        output_tokens: As above.
        errors: What is wrong with its lines, as JSON.
        output_file: The id of the file with its answers.
        error_file: The id of the file with its errors.
        in_progress_ms: When it began.
        cancelling_ms: When its client cancelled it.
        finalizing_ms: When its last block was collected.
        finished_ms: When it reached a terminal state.
        tidied: Whether its pieces are gone.
        token: Written by every change, to recognise our own write after a time-out.
    """

    id: str
    status: BatchStatus
    step: int
    owner: str
    tenant: str
    created_ms: int
    expires_ms: int
    endpoint: str
    input_file: str
    request_hash: bytes
    in_flight_max: int
    kept_s: int
    models: str | None = None
    tiers: str | None = None
    tokens_per_day: int | None = None
    metadata: str | None = None
    masks: str | None = None
    webhook: str | None = None
    bounds: str | None = None
    total: int = 0
    model: str | None = None
    submitted: int = 0
    collected: int = 0
    completed: int = 0
    failed: int = 0
    gathered: int = 0
    missed: int = 0
    late: int = 0
    output_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    errors: str | None = None
    output_file: str | None = None
    error_file: str | None = None
    in_progress_ms: int | None = None
    cancelling_ms: int | None = None
    finalizing_ms: int | None = None
    finished_ms: int | None = None
    tidied: bool = False
    token: str | None = None

    @property
    def api(self) -> str:
        """Which of OpenAI's routes its lines go through."""
        return ENDPOINTS[self.endpoint]

    @property
    def blocks(self) -> tuple[int, ...]:
        """The first line of each block, and the number of lines."""
        return tuple(json.loads(self.bounds)) if self.bounds else (0,)

    @property
    def caller(self) -> Caller:
        """Whose key made it, as far as its lines depend on that."""
        return Caller(
            tenant=self.tenant,
            models=_set(self.models),
            tiers=_set(self.tiers),
            rate_per_s=0,
            in_flight_max=self.in_flight_max,
            tokens_per_day=self.tokens_per_day,
            metadata_mask=json.loads(self.masks) if self.masks else {},
        )

    def job(self, line: int) -> str:
        """The id of the job of a line: whoever makes it anew finds the first one.

        No client's idempotency key holds what separates the two.
        """
        return job_id(self.tenant, f"{self.id}\0{line}", b"")


RESTARTED: Mapping[str, Any] = {
    # What a region does over that takes a batch from another one: its pieces were there.
    "bounds": None,
    "collected": 0,
    "gathered": 0,
    "missed": 0,
    "late": 0,
    "output_bytes": 0,
    "input_tokens": 0,
    "output_tokens": 0,
}


def batch_id(tenant: str, idempotency_key: str | None, entropy: bytes) -> str:
    """Name a batch so that a repeated request finds the first one.

    Raises:
        ValueError: Too little entropy for a batch without a key.
    """
    if idempotency_key is None:
        if len(entropy) < ENTROPY_BYTES_MIN:
            raise ValueError(f"{ENTROPY_BYTES_MIN} random bytes are needed")
        seed = entropy
    else:
        seed = f"batch\0{tenant}\0{idempotency_key}".encode()
    return _ID_PREFIX + base64.b32encode(hashlib.sha256(seed).digest()).decode().lower()[:26]


def is_batch_id(text: str) -> bool:
    """Whether it could be what `batch_id` gave."""
    tail = text.removeprefix(_ID_PREFIX)
    return text.startswith(_ID_PREFIX) and len(tail) == 26 and set(tail) <= _BASE32  # noqa: PLR2004 130 bits


class Step(StrEnum):
    """What is to be done for a batch next."""

    SPLIT = "split"
    WORK = "work"
    FINALIZE = "finalize"
    END = "end"
    TIDY = "tidy"


def next_step(batch: Batch, *, now_ms: int) -> Step:
    """What is to be done for a batch, wherever it was left.

    `WORK` makes jobs, looks at them and collects the block whose turn it is.
    """
    if batch.status.terminal:
        return Step.TIDY
    if batch.bounds is None:
        # Nobody has looked at its lines, and nobody needs to any more.
        return Step.END if not batch.total and stopped(batch, now_ms=now_ms) else Step.SPLIT
    return Step.WORK if batch.collected < len(batch.blocks) - 1 else Step.FINALIZE


def stopped(batch: Batch, *, now_ms: int) -> bool:
    """Whether no further jobs are made for a batch."""
    return batch.status is BatchStatus.CANCELLING or now_ms >= batch.expires_ms


def impatient(batch: Batch, *, now_ms: int) -> bool:
    """Whether answers are no longer waited for that are there, but cannot be read just now."""
    over_ms = batch.expires_ms if batch.cancelling_ms is None else batch.cancelling_ms
    return now_ms >= min(batch.expires_ms, over_ms) + PATIENCE_MS


def room(batch: Batch, *, unended: int, elsewhere: int) -> int:
    """Lines whose jobs can be made now.

    Args:
        batch: Which.
        unended: Its jobs that have not ended.
        elsewhere: Those of the tenant's other batches in this region.
    """
    half = max(1, batch.in_flight_max // IN_FLIGHT_PART)
    ahead = batch.blocks[batch.collected] + AHEAD_LINES_MAX - batch.submitted
    return max(0, min(half - unended - elsewhere, ahead, batch.total - batch.submitted))


def in_turn(batches: Iterable[tuple[str, str]], turns: Mapping[str, int]) -> list[str]:
    """In which order batches are worked on: one of each tenant, then a second one of each.

    Whoever makes a thousand batches makes his own wait.

    Args:
        batches: The id and the tenant of each, the oldest first.
        turns: By id, when a batch had its last turn; a tenant's next is the one whose is longest
            ago.
    """
    places: Counter[str] = Counter()
    ordered: list[tuple[int, int, str]] = []
    for identity, tenant in sorted(batches, key=lambda each: turns.get(each[0], 0)):
        ordered.append((places[tenant], turns.get(identity, 0), identity))
        places[tenant] += 1
    return [identity for *_, identity in sorted(ordered, key=lambda each: each[:2])]


def last_status(batch: Batch) -> BatchStatus:
    """How a batch ends whose blocks are all collected."""
    if batch.status is BatchStatus.CANCELLING:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if batch.late else BatchStatus.COMPLETED


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    anchor: Literal["created_at"]
    seconds: int = Field(ge=KEPT_S_MIN, le=KEPT_S_MAX)


class BatchRequest(BaseModel):
    """The body of `POST /v1/batches`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_file_id: str = Field(
        max_length=64, description="the id of a file with the purpose batch, see POST /v1/files"
    )
    endpoint: Literal["/v1/chat/completions", "/v1/embeddings", "/v1/responses"] = Field(
        description="/v1/chat/completions, /v1/embeddings or /v1/responses"
    )
    completion_window: Literal["24h"] = Field(description="24h")
    metadata: Metadata | None = Field(
        None,
        max_length=16,
        description=(
            "an object of at most 16 texts, returned with the batch; names have at most "
            f"{METADATA_NAME_LENGTH_MAX} and texts at most {METADATA_VALUE_LENGTH_MAX} characters"
        ),
    )
    output_expires_after: _Kept | None = Field(
        None,
        description=f"anchor, which is created_at, and seconds, {KEPT_S_MIN} to {KEPT_S_MAX}",
    )


def read_batch_request(document: dict[str, Any]) -> BatchRequest:
    """Check the body of `POST /v1/batches`.

    Raises:
        ApiError: 400 naming the field and what is allowed.
    """
    try:
        return BatchRequest.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        # A name that is not Unicode has no place.
        field = str(problem["loc"][0]) if problem["loc"] else ""
        if field not in BatchRequest.model_fields:
            raise invalid(
                "There is no field of that name; the fields are "
                f"{', '.join(BatchRequest.model_fields)}.",
                param=field[:METADATA_NAME_LENGTH_MAX] or None,
                code="unknown_field",
            ) from None
        description = BatchRequest.model_fields[field].description
        if problem["type"] == "missing" and len(problem["loc"]) == 1:
            raise invalid(
                f"{field} is required: {description}.", param=field, code="missing_field"
            ) from None
        raise invalid(f"{field} is {description}.", param=field) from None


def batch_view(batch: Batch) -> dict[str, Any]:
    """The batch as clients see it: OpenAI's `Batch`."""
    told: dict[str, Any] = {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": None,
        "input_file_id": batch.input_file,
        "completion_window": "24h",
        "status": batch.status.value,
        "output_file_id": batch.output_file if batch.status.terminal else None,
        "error_file_id": batch.error_file if batch.status.terminal else None,
        "created_at": batch.created_ms // 1000,
        "in_progress_at": _seconds(batch.in_progress_ms),
        "expires_at": batch.expires_ms // 1000,
        "finalizing_at": _seconds(batch.finalizing_ms),
        "completed_at": _ended(batch, BatchStatus.COMPLETED),
        "failed_at": _ended(batch, BatchStatus.FAILED),
        "expired_at": _ended(batch, BatchStatus.EXPIRED),
        "cancelling_at": _seconds(batch.cancelling_ms),
        "cancelled_at": _ended(batch, BatchStatus.CANCELLED),
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "metadata": json.loads(batch.metadata) if batch.metadata else None,
    }
    if batch.errors is not None:
        told["errors"] = {"object": "list", "data": json.loads(batch.errors)}
    return told


def _ended(batch: Batch, status: BatchStatus) -> int | None:
    return _seconds(batch.finished_ms) if batch.status is status else None


def _seconds(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms // 1000


def _set(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(json.loads(text))
