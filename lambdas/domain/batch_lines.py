"""The lines of a batch: one request each, and one answer or error.

Source:
    OpenAI API reference, "Batch": the request input and the request output object.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lambdas.domain.admission import Caller
from lambdas.domain.batches import (
    BLOCK_BYTES_MAX,
    BLOCK_LINES_MAX,
    OUTPUT_BYTES_MAX,
    Batch,
    BatchStatus,
)
from lambdas.domain.errors import ApiError, invalid
from lambdas.domain.job import RESPONSES, Job, Status
from lambdas.domain.openai_answers import completion, failure, response
from lambdas.domain.openai_requests import read_request
from lambdas.domain.policy import Policy
from lambdas.domain.requests import (
    BODY_BYTES_MAX,
    Submission,
    check_live,
    read_document,
)
from lambdas.domain.responses import usage_of

LINES_MAX = 50_000
INPUT_BYTES_MAX = 200_000_000
"""What OpenAI takes: lines and bytes of a batch's file."""
LINE_BYTES_MAX = BODY_BYTES_MAX + 4096
"""A body of the route, and what stands around it."""
CUSTOM_ID_LENGTH_MAX = 256
ERRORS_MAX = 50
"""Faults that are told of one file: the ledger's item holds them."""
MESSAGE_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request of a batch.

    Attributes:
        custom_id: As its client calls it.
        body: Of the request.
    """

    custom_id: str
    body: dict[str, Any]


def read_line(raw: bytes, endpoint: str) -> Line:
    """Read a line.

    Raises:
        ApiError: It is no request of that endpoint; `param` names the field.
    """
    if len(raw) > LINE_BYTES_MAX:
        raise invalid(f"The line is larger than {LINE_BYTES_MAX} bytes.", param=None)
    try:
        document = read_document(raw, part="body")
    except ApiError as error:
        code = "invalid_json_line" if error.code == "invalid_json" else error.code
        message = error.message.replace("The body", "The line")
        raise invalid(message, param=error.param, code=code) from None
    for name in ("custom_id", "method", "url", "body"):
        if name not in document:
            raise invalid(f"{name} is required.", param=name, code="missing_required_parameter")
    custom_id, body = document["custom_id"], document["body"]
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= CUSTOM_ID_LENGTH_MAX:
        raise invalid(
            f"custom_id is a text of 1 to {CUSTOM_ID_LENGTH_MAX} characters.", param="custom_id"
        )
    if document["method"] != "POST":
        raise invalid("method is POST.", param="method", code="invalid_method")
    if document["url"] != endpoint:
        raise invalid(
            f"url is the batch's endpoint, {endpoint}.", param="url", code="mismatched_url"
        )
    if not isinstance(body, dict):
        raise invalid("body is a JSON object.", param="body")
    return Line(custom_id=custom_id, body=body)


def read_job(
    line: Line, batch: Batch, policy: Policy, caller: Caller, *, deadline_s: int
) -> Submission:
    """Make a line a job's submission, as its route would; but of the tier batch.

    Raises:
        ApiError: As the route.
    """
    body = {**line.body, "service_tier": "flex"}
    if batch.api == RESPONSES:
        body["background"] = True
    submission = read_request(
        batch.api, body, policy, caller, deadline_s=deadline_s, background=True
    )
    check_live(policy.models[submission.request.model])
    return submission


@dataclass(slots=True)
class Cutter:
    """Checks the lines of a batch's file, and cuts them into blocks.

    Attributes:
        batch: Whose.
        policy: Knows the models.
        checking: Whether faults are looked for; not when a batch that began is cut again.
        errors: What was wrong, as OpenAI tells it.
        bounds: The first line of each block.
        block: The lines of the block that is being filled.
        models: Which models the lines ask for.
    """

    batch: Batch
    policy: Policy
    checking: bool
    errors: list[dict[str, Any]] = field(default_factory=list)
    bounds: list[int] = field(default_factory=lambda: [0])
    block: list[bytes] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    total: int = 0
    _bytes: int = 0
    _seen: set[bytes] = field(default_factory=set)

    @property
    def hopeless(self) -> bool:
        """Whether looking further tells nobody anything."""
        return len(self.errors) >= ERRORS_MAX or self.total > LINES_MAX

    def add(self, number: int, raw: bytes) -> list[bytes] | None:
        """Take a line of the file; gives the block that was full before it, if it was."""
        if not raw.strip():
            return None
        if self.checking:
            self._check(number, raw)
        full = None
        if self.block and (
            len(self.block) == BLOCK_LINES_MAX or self._bytes + len(raw) > BLOCK_BYTES_MAX
        ):
            full = self.rest()
        self.block.append(raw)
        self.total += 1
        self._bytes += len(raw)
        if self.checking and self.total == LINES_MAX + 1:
            message = f"A batch has at most {LINES_MAX} lines."
            self._fault(number, ApiError(400, "", "too_many_lines", message))
        return full

    def rest(self) -> list[bytes]:
        """The block that is being filled, which is full now; the next one is begun."""
        full, self.block, self._bytes = self.block, [], 0
        self.bounds.append(self.bounds[-1] + len(full))
        return full

    def _check(self, number: int, raw: bytes) -> None:
        try:
            line = read_line(raw, self.batch.endpoint)
            custom_id = hashlib.sha256(line.custom_id.encode(errors="surrogatepass")).digest()[:16]
            if custom_id in self._seen:
                raise invalid(
                    "custom_id stands in an earlier line too.",
                    param="custom_id",
                    code="duplicate_custom_id",
                )
            self._seen.add(custom_id)
            submission = read_job(line, self.batch, self.policy, self.batch.caller, deadline_s=1)
            self.models.add(submission.request.model)
        except ApiError as error:
            self._fault(number, error)

    def _fault(self, number: int, error: ApiError) -> None:
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(
                {
                    "code": error.code,
                    "line": number,
                    "message": error.message[:MESSAGE_LENGTH_MAX],
                    "param": error.param,
                }
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a batch's files say of one line.

    Attributes:
        text: The line of JSON, without its end.
        good: Whether it is an answer, and stands in the output file.
        late: Whether the job did not start in time.
        input_tokens: Of the answer, where the model counts.
        output_tokens: As above.
    """

    text: bytes
    good: bool = False
    late: bool = False
    input_tokens: int = 0
    output_tokens: int = 0


def tell_answer(batch: Batch, line: Line, job: Job, output: Any) -> Told:
    """What the output file says of a job that was answered.

    Raises:
        ApiError: The answer has not the form of the route.
    """
    body = response(job, output) if batch.api == RESPONSES else completion(job, output)
    usage = usage_of(output) if isinstance(output, dict) else None
    text = _line(line.custom_id, job.id, response=_response(job.id, 200, body))
    if batch.output_bytes + len(text) > OUTPUT_BYTES_MAX:
        return tell_unread(line, job, "The output file is full")
    return Told(
        text=text,
        good=True,
        input_tokens=_tokens(usage, "input_tokens"),
        output_tokens=_tokens(usage, "output_tokens"),
    )


def tell_refusal(line: Line, identity: str, error: ApiError) -> Told:
    """What the error file says of a request that its route would have refused, or failed."""
    body = _response(identity, error.status, error.body())
    return Told(text=_line(line.custom_id, identity, response=body))


def tell_unread(line: Line, job: Job, why: str) -> Told:
    """What the error file says of an answer that no file can hold."""
    return _error(line, job.id, "output_unavailable", f"{why}; the answer is at /v1/jobs/{job.id}.")


def tell_forgotten(line: Line, identity: str) -> Told:
    """What the error file says of a line whose job is no longer kept."""
    return _error(
        line, identity, "job_forgotten", "The job of this request ended, and is no longer kept."
    )


def tell_end(batch: Batch, line: Line, identity: str, job: Job | None) -> Told:
    """What the files say of a line whose job has no answer, or does not exist.

    Args:
        batch: Which.
        line: Its request.
        identity: The id that the job has, or would have.
        job: The job.
    """
    if job is not None and job.erased:
        return _error(line, identity, "job_erased", "The job of this request was erased.")
    if job is not None and job.status is Status.REFUSED and batch.api == RESPONSES:
        body = _response(identity, 200, response(job))
        return Told(text=_line(line.custom_id, identity, response=body), good=True)
    if job is not None and job.status in {Status.FAILED, Status.REFUSED}:
        return tell_refusal(line, identity, failure(job))
    if batch.status is BatchStatus.CANCELLING:
        return _error(
            line, identity, "batch_cancelled", "The batch was cancelled before this request began."
        )
    if job is not None and job.status is Status.CANCELLED:
        return _error(line, identity, "job_cancelled", "The job of this request was cancelled.")
    told = _error(
        line,
        identity,
        "batch_expired",
        "This request was not answered before the batch's window was over.",
    )
    return Told(text=told.text, late=True)


def _error(line: Line, identity: str, code: str, message: str) -> Told:
    return Told(text=_line(line.custom_id, identity, error={"code": code, "message": message}))


def _line(
    custom_id: str,
    identity: str,
    *,
    response: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> bytes:
    document = {
        "id": f"batch_req_{identity.removeprefix('job_')}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _response(identity: str, status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": identity, "body": body}


def _tokens(usage: Mapping[str, Any] | None, name: str) -> int:
    number = (usage or {}).get(name)
    return number if isinstance(number, int) and 0 <= number < 1 << 40 else 0
