"""`/v1/uploads`: links to write large inputs to, and whether those are where they must be.

Nothing here is a write to the ledger: S3 says what is there, and the job that an upload becomes
is named after it. Every step may be repeated.
"""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lambdas.adapters.clock import now_ms
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.logs import logger
from lambdas.adapters.uploads import UploadBuckets
from lambdas.domain import uploads
from lambdas.domain.access import JOBS_WRITE
from lambdas.domain.admission import Caller
from lambdas.domain.batch_lines import INPUT_BYTES_MAX
from lambdas.domain.errors import ApiError, busy, conflict, invalid, too_large
from lambdas.domain.job import ENTROPY_BYTES_MIN, job_id
from lambdas.domain.policy import Model, Policy
from lambdas.domain.uploads import State, Upload, UploadRequest
from lambdas.domain.views import moment
from lambdas.handlers.api import Request, Route, answer
from lambdas.handlers.rates import Rates

COPIES_AFTER_S = 5
"""When to ask again for copies: S3 makes most of them in seconds, nearly all in 15 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Uploads, as one region answers for them.

    Attributes:
        region: This one: uploads that begin here are written to it.
        policy: Which models take how much.
        buckets: Where they are.
        ledger: Knows the jobs that they became.
        rates: Counts uploads that begin like submissions.
    """

    region: str
    policy: Policy
    buckets: UploadBuckets
    ledger: Ledger
    rates: Rates

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {
            "POST /v1/uploads": self.begin,
            "GET /v1/uploads/{id}": self.get,
            "POST /v1/uploads/{id}/complete": self.complete,
            "DELETE /v1/uploads/{id}": self.erase,
        }

    def begin(self, request: Request) -> dict[str, Any]:
        """`POST /v1/uploads`: links to write to, for an hour."""
        caller = request.known_caller
        wanted = uploads.read_request(request.body)
        self._fits_somewhere(wanted, caller)
        self.rates.count(caller)
        identity = uploads.upload_id(self.region, secrets.token_bytes(ENTROPY_BYTES_MIN))
        size = uploads.part_bytes(wanted)
        key = uploads.object_key(caller.tenant, identity)
        upload = Upload(
            id=identity,
            size=wanted.bytes,
            content_type=wanted.content_type,
            created_ms=now_ms(),
            part_bytes=size,
            multipart=None
            if size is None
            else self.buckets.begin(key, home=self.region, content_type=wanted.content_type),
        )
        self.buckets.put_about(
            uploads.about_key(caller.tenant, identity), upload.document(), home=self.region
        )
        logger.info("upload begun", upload=identity, tenant=caller.tenant, bytes=upload.size)
        place = f"{request.path.rstrip('/')}/{identity}"
        view = self._view(caller, upload, State.WAITING)
        return answer(201, view, {"Location": place})

    def get(self, request: Request) -> dict[str, Any]:
        """`GET /v1/uploads/{id}`: how far it is; while it waits, with links that are new."""
        caller, upload = self._own(request)
        return answer(200, self._view(caller, upload, self._state(caller, upload)))

    def complete(self, request: Request) -> dict[str, Any]:
        """`POST /v1/uploads/{id}/complete`: make one object of its parts; again: the same answer.

        The parts are listed here, so that no client has to remember what S3 said of each.
        """
        caller, upload = self._own(request)
        key = uploads.object_key(caller.tenant, upload.id)
        if self.buckets.size(key, home=upload.region) is None:
            self._put_together(key, upload)
            logger.info("upload complete", upload=upload.id)
        return answer(200, self._view(caller, upload, self._state(caller, upload)))

    def erase(self, request: Request) -> dict[str, Any]:
        """`DELETE /v1/uploads/{id}`: gone everywhere, unless it became a job."""
        caller, upload = self._own(request)
        job = self.ledger.get(job_id(caller.tenant, uploads.job_key(upload.id), b""))
        if job is not None and not job.erased:
            raise conflict(
                f"The upload became job {job.id}: erase that.",
                code="upload_used",
                param="id",
                job=job.id,
            )
        if upload.multipart is not None:
            key = uploads.object_key(caller.tenant, upload.id)
            self.buckets.abort(key, upload.multipart, home=upload.region)
        self.forget(caller.tenant, upload.id)
        return answer(200, {"id": upload.id, "object": "upload", "deleted": True})

    def forget(self, tenant: str, upload: str) -> None:
        """Delete all that is kept of an upload; what is known of it goes last, to be asked again.

        Raises:
            botocore.exceptions.ClientError: A region did not do it.
        """
        home = uploads.region_of(upload) or self.region
        for key in (uploads.object_key(tenant, upload), uploads.about_key(tenant, upload)):
            self.buckets.erase(key, home=home)
        logger.info("upload erased", upload=upload)

    def known(self, tenant: str, identity: str) -> Upload | None:
        """An upload, if it is this tenant's; the same for an unknown one and another tenant's."""
        home = uploads.region_of(identity)
        if home is None or home not in self.policy.regions:
            return None
        found = self.buckets.about(uploads.about_key(tenant, identity), home=home)
        return None if found is None else Upload.read(found)

    def ready(
        self, caller: Caller, identity: str, model: Model, *, lost: Collection[str]
    ) -> tuple[Upload, set[str]]:
        """An upload that may become a job, and the regions that have it.

        Args:
            caller: Whose it is.
            identity: As sent.
            model: What should answer.
            lost: Regions that are not waited for.

        Raises:
            ApiError: There is no such upload, it is not there or not complete, it is too large for
                the model or too old, or it has to be waited for.
        """
        return self.there(
            caller,
            identity,
            most=(model.input_bytes_max, f"model {model.name} takes"),
            param="input_upload",
            lost=lost,
        )

    def there(
        self,
        caller: Caller,
        identity: str,
        *,
        most: tuple[int, str],
        param: str,
        lost: Collection[str],
    ) -> tuple[Upload, set[str]]:
        """An upload that is complete, and the regions that have it.

        Args:
            caller: Whose it is.
            identity: As sent.
            most: Bytes that it may have, and who takes so many.
            param: The field that names it.
            lost: Regions that are not waited for.

        Raises:
            ApiError: As for `ready`.
        """
        upload = self.known(caller.tenant, identity)
        if upload is None or not upload.usable(now_ms=now_ms()):
            raise invalid(
                "There is no such upload, or it is older than a day.",
                param=param,
                code="upload_not_found",
            )
        if upload.size > most[0]:
            raise too_large(
                f"The upload is larger than the {most[0]} bytes that {most[1]}.", param=param
            )
        state, copies = self._looked_at(caller, upload, lost=lost)
        if upload.region in lost and not copies:
            raise busy(
                f"Region {upload.region}, which has the upload, is lost, and no other one has it "
                "yet: send this again when it is back, or bring the input anew.",
                code="upload_not_ready",
                retry_after_s=COPIES_AFTER_S,
            )
        if state is State.WAITING:
            raise conflict(
                "The upload is not complete: write it to its links first.",
                code="upload_incomplete",
                param=param,
            )
        if state is State.UPLOADED:
            raise busy(
                "The upload is on its way to the other regions; send this again soon.",
                code="upload_not_ready",
                retry_after_s=COPIES_AFTER_S,
            )
        return upload, {upload.region, *copies}

    def _fits_somewhere(self, wanted: UploadRequest, caller: Caller) -> None:
        """Refuse at once what no model and no batch would take."""
        inputs = (
            model.input_bytes_max
            for model in self.policy.models.values()
            if caller.may_use(model.name)
        )
        most = max([INPUT_BYTES_MAX, *inputs])
        if wanted.bytes > most:
            raise too_large(
                f"No model that this key may use, and no batch, takes more than {most} bytes.",
                param="bytes",
            )

    def _own(self, request: Request) -> tuple[Caller, Upload]:
        caller = request.known_caller
        upload = self.known(caller.tenant, str(request.parameters.get("id", "")))
        if upload is None:
            raise ApiError(
                404, "not_found_error", "upload_not_found", "There is no such upload.", param="id"
            )
        return caller, upload

    def _put_together(self, key: str, upload: Upload) -> None:
        found = None
        if upload.multipart is not None:
            found = self.buckets.parts(key, upload.multipart, home=upload.region)
            if found is None:
                # Put together, or thrown away, since it was looked at.
                if self.buckets.size(key, home=upload.region) is not None:
                    return
                found = {}
        parts = found or {}
        lacking = upload.lacks({number: part.size for number, part in parts.items()})
        if upload.multipart is None or lacking:
            which = f"parts {', '.join(map(str, lacking[:10]))} are" if lacking else "it is"
            raise conflict(
                f"The upload is not complete: {which} not there.",
                code="upload_incomplete",
                param="id",
            )
        wanted = {number: parts[number] for number in upload.parts}
        self.buckets.put_together(key, upload.multipart, wanted, home=upload.region)

    def _state(self, caller: Caller, upload: Upload) -> State:
        return self._looked_at(caller, upload, lost=())[0]

    def _looked_at(
        self, caller: Caller, upload: Upload, *, lost: Collection[str]
    ) -> tuple[State, set[str]]:
        """How far an upload is, and which other regions have it.

        A region that is lost is not waited for, nor one that does not answer if another one has a
        copy: like the two copies of inputs that come with their request.
        """
        key = uploads.object_key(caller.tenant, upload.id)
        home = upload.region in lost or self.buckets.size(key, home=upload.region) is not None
        if not home:
            return State.WAITING, set()
        copies, silent = self.buckets.copies(key, home=upload.region, lost=lost)
        needed = set(self.policy.regions) - {upload.region} - set(lost)
        if copies:
            needed -= silent
        elif upload.region in lost:
            return State.WAITING, set()
        return uploads.state(home=True, copies=copies, needed=needed), copies

    def _view(self, caller: Caller, upload: Upload, state: State) -> dict[str, Any]:
        """The upload as its client sees it; with links to write to for as long as it waits."""
        links: dict[str, Any] = {"method": None, "url": None, "headers": None, "parts": None}
        expires_ms = None
        # Who may only read gets no link to write to.
        if state is State.WAITING and caller.has_scope(JOBS_WRITE):
            links |= self._links(caller, upload)
            expires_ms = now_ms() + 1000 * uploads.LINK_S
        return {
            "id": upload.id,
            "object": "upload",
            "status": state.value,
            "bytes": upload.size,
            "content_type": upload.content_type,
            "region": upload.region,
            "created_at": moment(upload.created_ms),
            "expires_at": None if expires_ms is None else moment(expires_ms),
            **links,
        }

    def _links(self, caller: Caller, upload: Upload) -> dict[str, Any]:
        key = uploads.object_key(caller.tenant, upload.id)
        if upload.multipart is None:
            url = self.buckets.link(
                key,
                home=upload.region,
                size=upload.size,
                content_type=upload.content_type,
                expires_s=uploads.LINK_S,
            )
            headers = {"Content-Type": upload.content_type, "If-None-Match": "*"}
            return {"method": "PUT", "url": url, "headers": headers}
        urls = self.buckets.part_links(
            key, upload.multipart, upload.parts, home=upload.region, expires_s=uploads.LINK_S
        )
        parts = [
            {"number": number, "bytes": size, "url": urls[number]}
            for number, size in upload.parts.items()
        ]
        return {"method": "PUT", "headers": {}, "parts": parts}
