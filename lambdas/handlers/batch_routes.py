"""`/v1/batches`: taking batches, telling of them, cancelling them."""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lambdas.adapters.batches import BatchRecords
from lambdas.adapters.clock import now_ms, now_s
from lambdas.adapters.functions import Functions
from lambdas.adapters.logs import logger
from lambdas.adapters.signing import Signings
from lambdas.domain.admission import Caller
from lambdas.domain.batch_lines import INPUT_BYTES_MAX
from lambdas.domain.batches import (
    CANCELLABLE,
    WINDOW_S,
    Batch,
    BatchRequest,
    BatchStatus,
    batch_id,
    batch_view,
    is_batch_id,
    read_batch_request,
)
from lambdas.domain.errors import conflict, invalid, not_found, too_large
from lambdas.domain.files import BROUGHT, PAGE_MAX, is_file_id, read_limit
from lambdas.domain.job import ENTROPY_BYTES_MIN
from lambdas.domain.masking import masked
from lambdas.domain.policy import Policy
from lambdas.domain.requests import check_tier, compact, read_document, read_idempotency_key
from lambdas.handlers.api import Request, Route, answer
from lambdas.handlers.counting import Quotas
from lambdas.handlers.files import Files
from lambdas.handlers.rates import Rates
from lambdas.handlers.repeating import REPEATED_MS_MAX, is_repeated, looked_again

PAGE_DEFAULT = 20
CHANGE_TRIES_MAX = 5
"""Of a cancellation that meets the worker's own changes."""
LOOKED_AT_MAX = 10
"""Of the tenant's latest batches, for the one that a repeated request made before."""
TIER = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRoutes:
    """Takes batches in one region."""

    region: str
    policy: Policy
    records: BatchRecords
    files: Files
    functions: Functions
    rates: Rates
    quotas: Quotas
    signings: Signings
    sleep: Callable[[float], None]

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {
            "POST /v1/batches": self.post,
            "GET /v1/batches": self.list_batches,
            "GET /v1/batches/{id}": self.get,
            "POST /v1/batches/{id}/cancel": self.cancel,
        }

    def post(self, request: Request) -> dict[str, Any]:
        """`POST /v1/batches`: one write, and a call to whoever works on it."""
        caller = request.known_caller
        key = read_idempotency_key(request.headers.get("idempotency-key"))
        asked = read_batch_request(read_document(request.body, part=None))
        check_tier(TIER, caller, param="endpoint")
        digest = hashlib.sha256(compact(asked.model_dump(), in_order=True)).digest()[:16]
        batch = self._batch(asked, caller, key, digest)
        repeated = key is None and is_repeated(request)
        if repeated:
            earlier = self._alike(caller, digest, now_ms() - REPEATED_MS_MAX)
        else:
            earlier = None if key is None else self.records.get(batch.id)
        if earlier is None:
            self._input(caller.tenant, asked)
            self.rates.count(caller)
            self.quotas.check(caller, at_s=now_s())
            if repeated:
                earlier = looked_again(partial(self._alike, caller, digest), self.sleep)
            earlier = earlier or self._created(batch)
        if earlier is not None:
            if earlier.tenant != caller.tenant or earlier.request_hash != digest:
                raise conflict(
                    "This Idempotency-Key was used for another request.",
                    code="idempotency_key_reused",
                    param="Idempotency-Key",
                )
            return answer(200, batch_view(earlier), {"Idempotent-Replayed": "true"})
        self.functions.work_on_batches()
        logger.info("batch accepted", batch_id=batch.id, tenant=batch.tenant)
        return answer(200, batch_view(batch))

    def _created(self, batch: Batch) -> Batch | None:
        """Accept a batch; the one that is there already under its id, if any."""
        signing = self.signings.of(batch.tenant)
        webhook = None if signing is None else signing.address
        return self.records.create(replace(batch, webhook=webhook))

    def list_batches(self, request: Request) -> dict[str, Any]:
        """`GET /v1/batches`: the caller's batches, the newest first."""
        tenant, after = request.known_caller.tenant, request.query.get("after")
        limit = read_limit(request.query.get("limit"), default=PAGE_DEFAULT, most=PAGE_MAX)
        last = None
        if after is not None:
            last = self.records.get(after) if is_batch_id(after) else None
            if last is None or last.tenant != tenant:
                raise invalid(
                    "after is the id of the last batch of an earlier list.", param="after"
                )
        found, more = self.records.listed(tenant, limit=limit, after=last)
        data = [batch_view(batch) for batch in found]
        return answer(
            200,
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": more,
            },
        )

    def get(self, request: Request) -> dict[str, Any]:
        """`GET /v1/batches/{id}`."""
        return answer(200, batch_view(self._find(request)))

    def cancel(self, request: Request) -> dict[str, Any]:
        """`POST /v1/batches/{id}/cancel`; again: the same answer."""
        batch = self._find(request)
        for _ in range(CHANGE_TRIES_MAX):
            if batch.status in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}:
                return answer(200, batch_view(batch))
            if batch.status not in CANCELLABLE:
                raise conflict(
                    f"The batch is {batch.status} already.", code="batch_finished", param="id"
                )
            written = self.records.change(
                batch, status=BatchStatus.CANCELLING, cancelling_ms=now_ms()
            )
            if written.batch is None:
                raise not_found("batch")
            batch = written.batch
            if written.won:
                self.functions.work_on_batches()
                logger.info("batch cancelled", batch_id=batch.id)
        if batch.status is BatchStatus.CANCELLING:
            return answer(200, batch_view(batch))
        raise conflict("The batch is changing just now; try again.", code="batch_changing")

    def _find(self, request: Request) -> Batch:
        """The batch that the path names, if it is the caller's."""
        identity = str(request.parameters.get("id", ""))
        batch = self.records.get(identity) if is_batch_id(identity) else None
        if batch is None or batch.tenant != request.known_caller.tenant:
            raise not_found("batch")
        return batch

    def _input(self, tenant: str, asked: BatchRequest) -> None:
        """Refuse a batch without an input that can be read."""
        record = (
            self.files.records.get(asked.input_file_id)
            if (is_file_id(asked.input_file_id))
            else None
        )
        if record is None or record.tenant != tenant or record.expires_ms <= now_ms():
            raise invalid("There is no such file.", param="input_file_id", code="file_not_found")
        if record.purpose != BROUGHT:
            raise invalid(f"The file's purpose is not {BROUGHT}.", param="input_file_id")
        if record.size > INPUT_BYTES_MAX:
            raise too_large(
                f"The file is larger than {INPUT_BYTES_MAX} bytes.", param="input_file_id"
            )

    def _alike(self, caller: Caller, digest: bytes, since_ms: int) -> Batch | None:
        """What an earlier sending of a request made since a time."""
        latest, _ = self.records.listed(caller.tenant, limit=LOOKED_AT_MAX, since_ms=since_ms)
        return next((batch for batch in latest if batch.request_hash == digest), None)

    def _batch(self, asked: BatchRequest, caller: Caller, key: str | None, digest: bytes) -> Batch:
        at_ms, kept = now_ms(), asked.output_expires_after
        metadata = masked(asked.metadata, caller.metadata_mask)
        window_s = min(WINDOW_S, self.policy.deadline_s_max)
        return Batch(
            id=batch_id(caller.tenant, key, secrets.token_bytes(ENTROPY_BYTES_MIN)),
            status=BatchStatus.VALIDATING,
            step=1,
            owner=self.region,
            tenant=caller.tenant,
            created_ms=at_ms,
            expires_ms=at_ms + 1000 * window_s,
            endpoint=asked.endpoint,
            input_file=asked.input_file_id,
            request_hash=digest,
            in_flight_max=caller.in_flight_max,
            kept_s=min(kept.seconds, self.policy.retention_s) if kept else self.policy.retention_s,
            models=_list(caller.models),
            tiers=_list(caller.tiers),
            tokens_per_day=caller.tokens_per_day,
            metadata=json.dumps(metadata) if metadata else None,
            masks=json.dumps(dict(caller.metadata_mask)) if caller.metadata_mask else None,
        )


def _list(names: frozenset[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))
