"""`/v1/files`: what clients bring for batches and fetch from them."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lambdas.adapters.clock import now_ms
from lambdas.adapters.file_objects import FileObjects
from lambdas.adapters.files import FileRecords
from lambdas.adapters.logs import logger
from lambdas.adapters.payloads import Payloads
from lambdas.domain.batch_lines import INPUT_BYTES_MAX
from lambdas.domain.errors import too_large
from lambdas.domain.files import (
    CONTENT_BYTES_MAX,
    File,
    FileRequest,
    file_id,
    file_view,
    is_file_id,
    no_file,
    read_listing,
    read_upload,
)
from lambdas.domain.job import ENTROPY_BYTES_MIN
from lambdas.domain.multipart import read_form
from lambdas.domain.policy import Policy
from lambdas.domain.regions import LOST
from lambdas.domain.requests import BODY_BYTES_MAX, read_body
from lambdas.domain.uploads import KEPT_S, object_key
from lambdas.handlers.api import Request, Route, answer
from lambdas.handlers.rates import Rates
from lambdas.handlers.snapshots import Snapshots
from lambdas.handlers.uploads import Uploads

JSON = "application/json"
ANSWER_BYTES_MAX = 5_500_000
"""Of an answer as the function writes it, with every quote escaped; Lambda takes 6 MB."""

PAGES_MAX = 5
"""Pages of files that are gone, or have expired, which one request passes over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Keeps files and gives them back, in one region."""

    region: str
    policy: Policy
    records: FileRecords
    objects: FileObjects
    payloads: Payloads
    snapshots: Snapshots
    rates: Rates
    uploads: Uploads

    def routes(self) -> Mapping[str, Route]:
        """What answers each route."""
        return {
            "POST /v1/files": self.post,
            "GET /v1/files": self.list_files,
            "GET /v1/files/{id}": self.get,
            "DELETE /v1/files/{id}": self.delete,
            "GET /v1/files/{id}/content": self.content,
        }

    def post(self, request: Request) -> dict[str, Any]:
        """`POST /v1/files`: two copies of the bytes, then the record, which is the acceptance."""
        if request.headers.get("content-type", "").partition(";")[0].strip() == JSON:
            return self._of_upload(request)
        if len(request.body) > BODY_BYTES_MAX:
            raise too_large(f"The form is larger than {BODY_BYTES_MAX} bytes.", param="file")
        form = read_form(request.headers.get("content-type", ""), request.body)
        upload = read_upload(form, retention_s=self.policy.retention_s)
        self.rates.count(request.known_caller)
        at_ms = now_ms()
        identity = file_id(at_ms, secrets.token_bytes(ENTROPY_BYTES_MIN))
        key = f"files/{identity}"
        copied = self.payloads.keep_input(key, upload.body, region=self.region, lost=self._lost())
        file = File(
            id=identity,
            tenant=request.known_caller.tenant,
            purpose=upload.purpose,
            filename=upload.filename,
            size=len(upload.body),
            created_ms=at_ms,
            expires_ms=at_ms + 1000 * upload.kept_s,
            home=self.region,
            copied=copied,
            key=key,
        )
        self.records.create(file)
        logger.info("file kept", file_id=file.id, tenant=file.tenant, bytes=file.size)
        return answer(200, file_view(file))

    def _of_upload(self, request: Request) -> dict[str, Any]:
        """A file of an upload that is where it must be: the same bytes, and the same id again."""
        asked, caller = read_body(request.body, FileRequest), request.known_caller
        upload, copies = self.uploads.there(
            caller,
            asked.upload_id,
            most=(INPUT_BYTES_MAX, "a batch takes"),
            param="upload_id",
            lost=self._lost(),
        )
        self.rates.count(caller)
        # No longer than the bucket keeps an upload.
        kept_s = min(self.policy.retention_s, KEPT_S)
        file = File(
            id=file_id(upload.created_ms, upload.id.encode()),
            tenant=caller.tenant,
            purpose=asked.purpose,
            filename=asked.filename,
            size=upload.size,
            created_ms=upload.created_ms,
            expires_ms=upload.created_ms + 1000 * kept_s,
            home=upload.region,
            copied=min(copies - {upload.region}, default=upload.region),
            key=object_key(caller.tenant, upload.id),
        )
        self.records.create(file)
        logger.info("file kept", file_id=file.id, tenant=file.tenant, bytes=file.size)
        return answer(200, file_view(file))

    def list_files(self, request: Request) -> dict[str, Any]:
        """`GET /v1/files`: the caller's files, the newest first unless told otherwise."""
        listing, at_ms = read_listing(request.query), now_ms()
        since_ms = at_ms - 1000 * self.policy.retention_s
        data: list[dict[str, Any]] = []
        following: str | None = None
        for _ in range(PAGES_MAX):  # a page without any would end the list for OpenAI's clients
            found, following = self.records.listed(
                request.known_caller.tenant, listing, since_ms=since_ms
            )
            data = [file_view(file) for file in found if file.expires_ms > at_ms]
            if data or following is None:
                break
            listing = replace(listing, after=following)
        return answer(
            200,
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": following is not None,
            },
        )

    def get(self, request: Request) -> dict[str, Any]:
        """`GET /v1/files/{id}`."""
        return answer(200, file_view(self.find(request)))

    def content(self, request: Request) -> dict[str, Any]:
        """`GET /v1/files/{id}/content`: the bytes, or a link that ordinary clients follow."""
        file = self.find(request)
        if file.size <= CONTENT_BYTES_MAX:
            body = self.objects.read(file)
            if body is None:
                raise no_file()
            text = _text(body)
            if text is not None:
                return _bytes(text)
        headers = {"Location": self.objects.link(file, lost=self._lost())}
        return answer(303, {"id": file.id, "object": "file"}, headers)

    def delete(self, request: Request) -> dict[str, Any]:
        """`DELETE /v1/files/{id}`: the bytes everywhere, then the record.

        In that order asking again does the rest, in case it was cut short.
        """
        file = self.find(request)
        self.payloads.erase_input(file.key, stored=file.home, copied=file.copied)
        self.records.delete(file)
        logger.info("file erased", file_id=file.id)
        return answer(200, {"id": file.id, "object": "file", "deleted": True})

    def find(self, request: Request) -> File:
        """The file that the path names, if it is the caller's.

        Raises:
            ApiError: 404; the same for an unknown id, an erased file and another tenant's.
        """
        return self.owned(request.known_caller.tenant, str(request.parameters.get("id", "")))

    def owned(self, tenant: str, identity: str) -> File:
        """A file of a tenant.

        Raises:
            ApiError: 404, as for `find`.
        """
        file = self.records.get(identity) if is_file_id(identity) else None
        if file is None or file.tenant != tenant or file.expires_ms <= now_ms():
            raise no_file()
        return file

    def _lost(self) -> set[str]:
        peers = self.snapshots.here().get("peers", {})
        return {region for region, peer in peers.items() if peer["state"] == LOST}


def _text(body: bytes) -> str | None:
    """Bytes as an answer of a function can hold them: text, and not too much of it.

    API Gateway would make bytes of base64 for clients alone that accept just such a type.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if len(json.dumps(text)) <= ANSWER_BYTES_MAX else None


def _bytes(text: str) -> dict[str, Any]:
    return {
        "statusCode": 200,
        "headers": {
            "Content-Type": "application/octet-stream",
            "Cache-Control": "no-store",
            # It is the client's own text: no browser is to make more of it.
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": "attachment",
        },
        "body": text,
        "isBase64Encoded": False,
    }
