"""The job: its states, the one table of transitions between them, and its ids.

Nothing else writes a job. Every transition is a conditional write guarded by status, owner and
attempt, as the table says.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

FORMAT = 1
"""Format of items and messages. Readers ignore unknown fields and still read earlier formats."""


ENTROPY_BYTES_MIN = 16
"""128 bits: two jobs without idempotency keys never meet."""


ATTEMPT_MAX = 999_999_999
"""Far beyond any job's: a message that names a higher one is malformed."""
_JOB_ID = re.compile(r"job_[a-z2-7]{26}")
_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")


CHAT, EMBEDDINGS, RESPONSES = "chat.completions", "embeddings", "responses"
APIS = (CHAT, EMBEDDINGS, RESPONSES)
"""What OpenAI calls the routes, through which a job can come and which a model can answer."""


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether a job in this state stays in it for ever."""
        return self not in LIVE


LIVE = frozenset({Status.QUEUED, Status.IN_PROGRESS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of the table.

    Attributes:
        sources: The states it may leave.
        target: The state it enters, or None for the one it is in.
        fenced: Whether owner and attempt must match as well; only a client's wish is not fenced.
        resumes: Whether the same transition may be repeated by the same queue message: a
            redelivered message of the same attempt starts again with the same ids.
        unchanged: Whether it is refused once anybody has written the job since the caller did:
            another execution may have resumed the attempt, and handed it over.
        before_deadline: Whether it is refused once the job's deadline has passed.
        keeps: Attributes that it writes only when they are not there yet, so that a repetition
            finds what the first one decided.
        sets: Attributes that it writes, besides status and token.
        removes: Attributes that it takes away.
    """

    sources: frozenset[Status]
    target: Status | None
    fenced: bool = True
    resumes: bool = False
    unchanged: bool = False
    before_deadline: bool = False
    keeps: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    removes: frozenset[str] = frozenset()


_RUN = frozenset({"started_ms", "lease_ms", "version", "as_live", "slot", "message"})
_END = frozenset({"live", "lease_ms", "input", "input_key"})
_RUNNING = frozenset({Status.IN_PROGRESS})
_MOVED = frozenset({"attempt", "owner", "live", "moves"})
_FELL_BACK = frozenset({"attempt", "model", "live", "asked", "earlier"})
_OF_MODEL = frozenset({"declined_by", "spared"})
"""Says something of the model that had the job, and nothing of the one that takes it over."""
_TOLD = frozenset({"live"})
"""Kept by the end of a job whose client wants to hear of it, until that is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the ledger holds it. Times are milliseconds since the epoch.

    Attributes:
        id: See `job_id`.
        status: Where it stands.
        attempt: The current try, numbered from 1: the fencing token.
        owner: The region whose queue holds the job now.
        home: The region that accepted it.
        tenant: Owner of the key that submitted it.
        model: What should answer: in its queue the job waits, or the fallback model that took over.
        tier: How urgent it is.
        created_ms: When it was accepted.
        deadline_ms: When it expires if it has not started.
        request_hash: Of the request's body, to tell a replay from a reused idempotency key.
        input: Compressed JSON, when small enough to travel in the ledger.
        input_key: Otherwise the object's key, in the bucket of the region where it is stored and
            in the replica bucket of another.
        stored: That region, when it is not the home region.
        upload: The id of the upload that the input came by: then the object is in the region that
            it names, and replicated to all others. It stays when the job is erased.
        content_type: Of an uploaded input.
        copied: The region of the other copy; the same one if no other region was there to keep it.
        moves: How often the job was moved to another region: no fault of its own, so that these
            attempts are not counted.
        spared: How many of its attempts failed of a version that was on trial or taken back, or
            while the breaker was open: they are not counted either.
        declined_by: The version that found fault with the input, in an earlier attempt: if another
            attempt is answered, the fault was that version's.
        asked: The model that the client asked for, when it fell back to another one.
        earlier: Attempts of that model, spared ones too, and moves left out: those of the fallback
            model are counted anew, and so is what they are spared.
        metadata: The client's own JSON, kept as it came.
        trace_id: The trace that the request belonged to.
        webhook: Where the client wants to hear of the job's end.
        api: Through which of OpenAI's routes it came, by `APIS`; None through our own.
        background: Whether its client does not wait for it, of a job through Responses.
        started_ms: When the current attempt was handed over.
        lease_ms: When the current attempt is given up. A cancelled job has one for as long as the
            model may still be at work on it.
        version: Which version serves the current attempt.
        as_live: Whether that was the live one when the attempt was handed over: what others are
            compared with. None if there are no others.
        slot: The gate's token that the current attempt holds.
        message: The queue message that started the current attempt.
        token: Written by every transition, to recognise our own write after a time-out.
        live: Its partition of the index of jobs that something is still to be done for: until it
            ends, until a cancelled one's model is no longer at work, until its end is announced.
        finished_ms: When it reached a terminal state.
        output: The compressed answer, when small.
        output_key: Otherwise the object's key in the owner region's bucket.
        error: `code` and `message` of the last failure.
        feedback: What a user said of the answer, as JSON.
        erased: Whether the client had payload and result removed.
        deliveries: What became of tries to tell of its end, a line each; see `deliveries`. Only
            record writes it, and no transition.
    """

    id: str
    status: Status
    attempt: int
    owner: str
    home: str
    tenant: str
    model: str
    tier: str
    created_ms: int
    deadline_ms: int
    request_hash: bytes
    input: bytes | None = None
    input_key: str | None = None
    stored: str | None = None
    upload: str | None = None
    content_type: str | None = None
    copied: str | None = None
    moves: int | None = None
    spared: int | None = None
    declined_by: str | None = None
    asked: str | None = None
    earlier: int | None = None
    metadata: str | None = None
    trace_id: str | None = None
    webhook: str | None = None
    api: str | None = None
    background: bool | None = None
    started_ms: int | None = None
    lease_ms: int | None = None
    version: str | None = None
    as_live: bool | None = None
    slot: str | None = None
    message: str | None = None
    token: str | None = None
    live: str | None = None
    finished_ms: int | None = None
    output: bytes | None = None
    output_key: str | None = None
    error: dict[str, str] | None = None
    feedback: str | None = None
    erased: bool = False
    deliveries: frozenset[str] | None = None

    @property
    def wished(self) -> str:
        """The model that the client asked for."""
        return self.asked or self.model


TRANSITIONS: dict[str, Transition] = {
    "start": Transition(
        sources=frozenset({Status.QUEUED}),
        target=Status.IN_PROGRESS,
        resumes=True,
        before_deadline=True,
        keeps=frozenset({"started_ms", "version", "as_live", "slot", "message"}),
        sets=frozenset({"lease_ms"}),
    ),
    "complete": Transition(
        sources=_RUNNING,
        target=Status.COMPLETED,
        keeps=_TOLD,
        sets=frozenset({"finished_ms", "output", "output_key"}),
        # What an earlier attempt failed of is no error of a job that has its result.
        removes=_END | {"error"},
    ),
    "fail": Transition(
        sources=_RUNNING,
        target=Status.FAILED,
        keeps=_TOLD,
        sets=frozenset({"finished_ms", "error"}),
        removes=_END,
    ),
    "refuse": Transition(
        sources=_RUNNING,
        target=Status.REFUSED,
        keeps=_TOLD,
        sets=frozenset({"finished_ms", "error"}),
        removes=_END,
    ),
    # The endpoint did not take it, which says nothing of the job: the same attempt waits again.
    "defer": Transition(sources=_RUNNING, target=Status.QUEUED, unchanged=True, removes=_RUN),
    "retry": Transition(
        sources=_RUNNING,
        target=Status.QUEUED,
        sets=frozenset({"attempt", "error", "spared", "declined_by"}),
        removes=_RUN,
    ),
    # Another model's turn, once: of a job whose attempt failed, and of one that waits in vain.
    "fall_back": Transition(
        sources=_RUNNING,
        target=Status.QUEUED,
        sets=_FELL_BACK | {"error"},
        removes=_RUN | _OF_MODEL,
    ),
    "divert": Transition(
        sources=frozenset({Status.QUEUED}),
        target=Status.QUEUED,
        sets=_FELL_BACK,
        removes=_RUN | _OF_MODEL,
    ),
    "move": Transition(
        sources=frozenset({Status.QUEUED}),
        target=Status.QUEUED,
        sets=_MOVED,
        removes=_RUN,
    ),
    # Only from a lost region: in any other the model may be at work on it.
    "evacuate": Transition(sources=LIVE, target=Status.QUEUED, sets=_MOVED, removes=_RUN),
    "cancel": Transition(
        sources=frozenset({Status.QUEUED}),
        target=Status.CANCELLED,
        fenced=False,
        keeps=_TOLD,
        sets=frozenset({"finished_ms"}),
        removes=_END,
    ),
    # SageMaker cannot be told to stop: the job stays live, and its slot taken, until the attempt
    # is over. Else sweep would give the slot away while the model is still at work.
    "abandon": Transition(
        sources=_RUNNING,
        target=Status.CANCELLED,
        fenced=False,
        sets=frozenset({"finished_ms"}),
        removes=_END - {"live", "lease_ms"},
    ),
    # Nothing is left to be done: the model is no longer at work on it, and its end is announced.
    "vacate": Transition(
        sources=frozenset(Status) - LIVE,
        target=None,
        removes=frozenset({"live", "lease_ms"}),
    ),
    "expire": Transition(
        sources=frozenset({Status.QUEUED}),
        target=Status.EXPIRED,
        keeps=_TOLD,
        sets=frozenset({"finished_ms", "error"}),
        removes=_END,
    ),
}


def job_id(tenant: str, idempotency_key: str | None, entropy: bytes) -> str:
    """Name a job so that a repeated request finds the first one with a single put.

    Args:
        tenant: Owner of the key: two tenants may use the same idempotency key.
        idempotency_key: As the client sent it, or None.
        entropy: At least 16 random bytes, used when there is no key.

    Returns:
        `job_` and 26 characters of lower-case base32 (130 bits).

    Raises:
        ValueError: Too little entropy for a job without a key.
    """
    if idempotency_key is None:
        if len(entropy) < ENTROPY_BYTES_MIN:
            raise ValueError(
                f"{ENTROPY_BYTES_MIN} random bytes are needed, {len(entropy)} were given"
            )
        digest = hashlib.sha256(entropy).digest()
    else:
        digest = hashlib.sha256(f"{tenant}\0{idempotency_key}".encode()).digest()
    return "job_" + base64.b32encode(digest).decode().lower()[:26]


def is_job_id(text: str) -> bool:
    """Whether it could be what `job_id` gave: what clients send may be anything, of any length."""
    return _JOB_ID.fullmatch(text) is not None


def inference_id(job: str, attempt: int) -> str:
    """The id under which an attempt travels through SageMaker, at most 64 characters."""
    return f"{job}.{attempt}"


def parse_inference_id(value: str) -> tuple[str, int]:
    """Read job and attempt back from an inference id.

    Raises:
        ValueError: The id is not one of ours.
    """
    job, _, attempt = value.rpartition(".")
    if not is_job_id(job) or not _ATTEMPT.fullmatch(attempt):
        raise ValueError("an inference id looks like job_<26 characters>.<attempt>")
    return job, int(attempt)
