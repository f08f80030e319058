"""Taking a job: decide, then message before ledger before bell.

In that order every accepted job has a message; the ledger write is the acceptance. Dying between
any two steps leaves either nothing that counts or a job that will run.
"""

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from zlib import crc32

from lambdas.adapters.aws import AWS_ERRORS, reason
from lambdas.adapters.clock import now_ms, now_s
from lambdas.adapters.functions import Functions
from lambdas.adapters.gate import Gate
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.adapters.queues import RECEIVE_MAX, Queues
from lambdas.adapters.signing import Signings
from lambdas.domain import admission, fallback, payloads, regions, uploads
from lambdas.domain.admission import Caller
from lambdas.domain.errors import ApiError, conflict, invalid, unavailable
from lambdas.domain.job import ENTROPY_BYTES_MIN, RESPONSES, Job, Status, job_id
from lambdas.domain.masking import masked
from lambdas.domain.policy import Model, Policy
from lambdas.domain.regions import DRAINED, LOST
from lambdas.domain.requests import Submission, check_live
from lambdas.domain.spill import Offer
from lambdas.domain.uploads import Upload
from lambdas.handlers.counting import Quotas
from lambdas.handlers.outcomes import Outcomes
from lambdas.handlers.rates import Rates
from lambdas.handlers.uploads import Uploads

RETRY_AFTER_NO_REGION_S = 5
"""A beat: a region that wins its lease back says so with its next one."""
PEERS_ASKED_MAX = 2
"""Each that does not answer takes some seconds, and the request has 29."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepting:
    """Takes jobs in one region."""

    region: str
    policy: Policy
    ledger: Ledger
    gate: Gate
    queues_in: Callable[[str], Queues]
    payloads: Payloads
    signings: Signings
    functions_in: Callable[[str], Functions]
    outcomes: Outcomes
    quotas: Quotas
    rates: Rates
    uploads: Uploads
    rung_ms: dict[str, int] = field(default_factory=dict)

    def accept(
        self,
        caller: Caller,
        submission: Submission,
        *,
        key: str | None,
        trace_id: str,
        again: Callable[[], Job | None] | None = None,
    ) -> tuple[Job, bool, dict[str, Any] | None]:
        """Take a job, or find the one that the same request made before.

        Args:
            caller: Whose it will be.
            submission: What it asks for.
            key: Its idempotency key, if it has one.
            trace_id: Of the request.
            again: Looks once more for the job that the same request may have made. It takes its
                time, so who is refused does not wait for it.

        Returns:
            The job, whether it is a replay, and the snapshot of the region whose queue holds it,
            if it was decided on.

        Raises:
            ApiError: It is refused; nothing was kept.
        """
        webhook = self._webhook(caller, submission)
        uploaded = submission.request.input_upload
        if uploaded is not None:
            key = uploads.job_key(uploaded)
        identity = job_id(caller.tenant, key, secrets.token_bytes(ENTROPY_BYTES_MIN))
        if key is not None:
            earlier = self.ledger.get(identity)
            if earlier is not None:
                return _replayed(earlier, submission), True, None
        check_live(self.policy.models[submission.request.model])
        snapshot, model, offers = self._room(caller, submission)
        if again is not None and (earlier := again()) is not None:
            return earlier, True, None
        job = replace(self._job(identity, caller, submission, model, trace_id), webhook=webhook)
        if uploaded is not None:
            upload, there = self.uploads.ready(caller, uploaded, model, lost=_lost(snapshot))
            job = _of_upload(job, upload)
            offers = [offer for offer in offers if offer.region in there]
        job = self._queued(job, submission, offers, snapshot)
        earlier = self._created(job, repeatable=key is not None)
        if earlier is not None:
            return _replayed(earlier, submission), True, None
        if job.asked is not None:
            self.outcomes.fell_back(job)
            self.outcomes.publish()
            logger.info("fell back", job_id=job.id, model=job.asked, to=job.model, why="submitted")
        if job.owner != self.region:
            self.functions_in(job.owner).ring(model=job.model, tier=job.tier, jobs=1)
            logger.info("spilled", job_id=job.id, to=job.owner, model=job.model, tier=job.tier)
            return job, False, None
        self._ring(job, snapshot)
        logger.info("accepted", job_id=job.id, tenant=job.tenant, model=job.model, tier=job.tier)
        return job, False, snapshot

    def _created(self, job: Job, *, repeatable: bool) -> Job | None:
        """Accept a job; the one that is there already under its id, if any.

        Raises:
            ApiError: 503: it is not known whether the job was accepted, and a client without a key
                that repeated the request might get two.
        """
        try:
            return self.ledger.create(job)
        except AWS_ERRORS as error:
            if repeatable:
                raise
            logger.error(
                "acceptance unknown",
                job_id=job.id,
                operation=getattr(error, "operation_name", ""),
                reason=reason(error),
            )
            raise unavailable(
                f"Whether the job was taken is not known; look for it at /v1/jobs/{job.id}.",
                code="temporarily_unavailable",
                retry_after_s=RETRY_AFTER_NO_REGION_S,
                should_retry=False,
                job=job.id,
            ) from None

    def _queued(
        self,
        job: Job,
        submission: Submission,
        offers: Sequence[Offer],
        snapshot: Mapping[str, Any],
    ) -> Job:
        """Put a job's payload and message where it will run: at a peer that offers, or here.

        A peer that does not answer is left alone; the message that it may have got nevertheless
        names a job of another region there, and is dropped.
        """
        drained, lost = _drained(snapshot), _lost(snapshot)
        for offer in islice(self._takers(job, offers, drained=drained), PEERS_ASKED_MAX):
            away = replace(job, owner=offer.region)
            if job.input_key is not None and job.upload is None:
                away = replace(away, stored=offer.region)
            try:
                return self._sent(away, submission, lost)
            except AWS_ERRORS as error:
                logger.warning("not spilled", to=offer.region, reason=reason(error))
        if drained:
            raise _no_region()
        return self._sent(job, submission, lost)

    def _takers(self, job: Job, offers: Sequence[Offer], *, drained: bool) -> Iterator[Offer]:
        """The peers to which a job may go, in order; a credit of each is taken when it is asked.

        A drained region sends jobs away also when all offers are used up: then to all peers alike.
        """
        for offer in offers:
            if offer.jobs > 0 and self.gate.take_credit(
                offer.region, job.model, offered_ms=offer.at_ms, limit=offer.jobs
            ):
                yield offer
        if drained:
            yield from sorted(offers, key=lambda offer: crc32(f"{offer.region}{job.id}".encode()))

    def _sent(self, job: Job, submission: Submission, lost: Collection[str]) -> Job:
        """Keep a job's input where it will run and elsewhere, then send its message."""
        if job.input_key is not None and job.upload is None:
            copied = self.payloads.keep_input(
                job.input_key, submission.input_bytes, region=job.owner, lost=lost
            )
            if copied == job.owner and len(self.policy.regions) > 1:
                logger.warning("input kept once: all other regions are lost", job_id=job.id)
            job = replace(job, copied=copied)
        self.queues_in(job.owner).send(
            model=job.model, tier=job.tier, job_id=job.id, attempt=1, tenant=job.tenant
        )
        return job

    def _ring(self, job: Job, snapshot: dict[str, Any]) -> None:
        """Call a dispatcher, unless one comes anyway.

        It does when the word stands that work waits: whoever takes that off looks into the queues
        afterwards, and this job's message is there already.
        """
        model, load = self.policy.models[job.model], admission.load_of(snapshot, job.model)
        fresh = admission.is_fresh(snapshot, now_ms=job.created_ms)
        if fresh and not admission.bell_needed(model, load):
            return
        waiting = sum(load.waiting.values())
        recent = job.created_ms - self.rung_ms.get(job.model, 0) < 1000 * admission.BEAT_S
        if fresh and (waiting or recent) and self._word_stands(job.model):
            return
        self.rung_ms[job.model] = job.created_ms
        few = waiting < RECEIVE_MAX
        self.functions_in(self.region).ring(
            model=job.model, tier=job.tier if few else None, jobs=1 if few else None
        )

    def _word_stands(self, model: str) -> bool:
        try:
            return self.gate.state(model).wanted_ms is not None
        except AWS_ERRORS:
            return False  # the job is accepted: a bell too many does no harm

    def _webhook(self, caller: Caller, submission: Submission) -> str | None:
        """Who is told of the job's end: clients of OpenAI's cannot say, their operator can.

        Raises:
            ApiError: A webhook that nobody can verify, before anything is kept.
        """
        asked = submission.request.webhook
        unnamed = submission.api == RESPONSES and submission.background
        if asked is None and not unnamed:
            return None
        signing = self.signings.of(caller.tenant)
        if asked is None:
            return None if signing is None else signing.address
        if signing is None:
            raise invalid(
                "A webhook needs a signing secret; an operator sets one for the tenant.",
                param="webhook",
            )
        return asked

    def _room(
        self, caller: Caller, submission: Submission
    ) -> tuple[dict[str, Any], Model, Sequence[Offer]]:
        """What was decided on, who should answer, and the peers that the job should rather go to.

        Raises:
            ApiError: There is no room, or the region may not accept.
        """
        at_s = now_s()
        self.quotas.check(caller, at_s=at_s)
        self.rates.count(caller)
        snapshot = self.gate.snapshot()
        if regions.fenced(snapshot, regions=len(self.policy.regions), now_ms=int(1000 * at_s)):
            raise _no_region()
        request = submission.request
        model, decision = fallback.admitted(
            caller=caller,
            policy=self.policy,
            model=self.policy.models[request.model],
            tier=request.tier,
            snapshot=snapshot,
            deadline_s=request.deadline_s or self.policy.deadline_s_default,
            now_ms=int(1000 * at_s),
        )
        if decision.refusal is not None:
            logger.info(
                "refused",
                tenant=caller.tenant,
                model=request.model,
                tier=request.tier,
                code=decision.refusal.code,
                wait_s=decision.predicted_wait_s,
            )
            raise decision.refusal
        return snapshot, model, decision.offers

    def _job(
        self,
        identity: str,
        caller: Caller,
        submission: Submission,
        model: Model,
        trace_id: str,
    ) -> Job:
        request, at_ms = submission.request, now_ms()
        deadline_s = request.deadline_s or self.policy.deadline_s_default
        metadata = masked(request.metadata, caller.metadata_mask)
        uploaded = request.input_upload is not None
        packed = None if uploaded else payloads.pack(submission.input_bytes)
        kept = packed is not None or uploaded
        key = None if kept else payloads.input_key(identity, submission.digest)
        return Job(
            id=identity,
            status=Status.QUEUED,
            attempt=1,
            owner=self.region,
            home=self.region,
            tenant=caller.tenant,
            model=model.name,
            asked=request.model if request.model != model.name else None,
            tier=request.tier,
            created_ms=at_ms,
            deadline_ms=at_ms + 1000 * deadline_s,
            request_hash=submission.digest,
            input=packed,
            input_key=key,
            metadata=json.dumps(metadata) if metadata else None,
            trace_id=trace_id[:100] or None,
            api=submission.api,
            background=submission.background or None,
        )


def _of_upload(job: Job, upload: Upload) -> Job:
    """The job with an input that is where it must be already."""
    return replace(
        job,
        upload=upload.id,
        input_key=uploads.object_key(job.tenant, upload.id),
        stored=upload.region,
        content_type=upload.content_type,
    )


def _drained(snapshot: Mapping[str, Any]) -> bool:
    return (snapshot.get("lease") or {}).get("state") == DRAINED


def _lost(snapshot: Mapping[str, Any]) -> set[str]:
    """The peers that are not there to keep anything."""
    return {region for region, peer in snapshot.get("peers", {}).items() if peer["state"] == LOST}


def _no_region() -> ApiError:
    return unavailable(
        "This region takes no jobs now; send the request, with its Idempotency-Key, to another.",
        code="region_unavailable",
        retry_after_s=RETRY_AFTER_NO_REGION_S,
    )


def _replayed(earlier: Job, submission: Submission) -> Job:
    if earlier.upload is not None and (earlier.erased or earlier.request_hash != submission.digest):
        raise conflict(
            f"The upload became job {earlier.id}, and becomes no other one.",
            code="upload_used",
            param="input_upload",
            job=earlier.id,
        )
    if earlier.erased:
        raise conflict(
            "The job of this Idempotency-Key was erased.",
            code="job_erased",
            param="Idempotency-Key",
            job=earlier.id,
        )
    if earlier.request_hash != submission.digest:
        raise conflict(
            "This Idempotency-Key was used for another request.",
            code="idempotency_key_reused",
            param="Idempotency-Key",
            job=earlier.id,
        )
    return earlier
